# SPDX-License-Identifier: LGPL-3.0-or-later
"""Memory for copies of wide values, used again and again.

Fresh memory costs more than the copy into it: the kernel has to find and clear every page, for
a frame of 100 kB some ten times the copy. So copies go into long arrays, and such an array is
used again as soon as nobody holds it or a view of it.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

SLAB_BYTES = 4 << 20
UNUSED = 3
"""Count of references to a slab that only its list, a loop and the counting itself hold."""

Place: TypeAlias = tuple[NDArray[Any], int]
"""A slab, and the number of a value in it."""


class Slabs:
    """Copies of values of one dtype and shape.

    >>> slabs = Slabs(np.dtype("u1"), (2,))
    >>> places = [slabs.copy(np.array([i, i], "u1")) for i in range(3)]
    >>> slabs.join(places).tolist()
    [[0, 0], [1, 1], [2, 2]]
    """

    def __init__(self, dtype: np.dtype, shape: tuple[int, ...]) -> None:
        self._dtype = dtype
        self._shape = shape
        nbytes = dtype.itemsize * int(np.prod(shape))
        self._rows = 1 << max(0, (SLAB_BYTES // nbytes).bit_length() - 1)
        self._slabs: list[NDArray[Any]] = []
        self._next = self._end = 0
        self._slab: NDArray[Any] = np.empty(0)

    def copy(self, value: NDArray[Any]) -> Place:
        """Copy a value, and return where it is."""
        if self._next >= self._end:
            self._slab = np.empty(0)
            self._slab = self._unused()
            self._next, self._end = 0, self._rows
        place = self._slab, self._next
        self._slab[self._next] = value
        self._next += 1
        return place

    def _unused(self) -> NDArray[Any]:
        for slab in self._slabs:
            if sys.getrefcount(slab) == UNUSED:
                return slab
        # The second half is there for `join`; memory that is never written to costs nothing.
        slab = np.empty((2 * self._rows, *self._shape), dtype=self._dtype)
        self._slabs.append(slab)
        return slab

    def join(self, places: Sequence[Place]) -> NDArray[Any]:
        """Return the values as one array; a view where they lie side by side."""
        slab, first = places[0]
        if all(s is slab and i == k for k, (s, i) in enumerate(places, first)):
            return slab[first : first + len(places)]
        last_slab, last = places[-1]
        if last_slab is self._slab:
            # Rows are taken out of step with the slabs. Let this one end where the next will.
            self._end = min(last + 1 + self._rows, len(last_slab))
        joined = self._unused()[: len(places)] if len(places) <= self._rows else None
        return np.stack([slab[index] for slab, index in places], out=joined)

# SPDX-License-Identifier: LGPL-3.0-or-later
"""Memory for copies of wide values, used again and again; and their packing, once it is full.

Fresh memory costs more than the copy into it: the kernel has to find and clear every page, for
a frame of 100 kB some ten times the copy. So copies go into long arrays, and such an array is
used again as soon as nobody holds it or a view of it.

Whoever stores the values can have each slab packed when it is full. Then one array is enough,
and it stays in the processor's cache, if it is small: recorded in packs of 16, a frame of
100 kB costs 51 us, in packs of 64 it costs 67.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

SLAB_BYTES = 4 << 20
UNUSED = 3
"""Count of references to a slab's memory that only its list, a loop and the counting hold."""


class Packed(NamedTuple):
    """Values that were packed, as whoever stores them knows how to unpack."""

    rows: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Parts:
    """Values one after another, in arrays or packed."""

    parts: list[NDArray[Any] | Packed]

    def __len__(self) -> int:
        """Return how many values there are."""
        return sum(part.rows if isinstance(part, Packed) else len(part) for part in self.parts)


@dataclass(frozen=True, slots=True)
class Packing:
    """How whoever stores the values wants them packed."""

    pack: Callable[[NDArray[Any]], bytes]
    unpack: Callable[[bytes], NDArray[Any]]
    rows: int
    """How many values are packed together."""
    first: int
    """How many of them come first: what is stored already may have begun a pack."""


class Slab:
    """Some values, in memory until they are packed."""

    __slots__ = ("data", "values")

    def __init__(self, values: NDArray[Any]) -> None:
        self.values: NDArray[Any] | None = values
        self.data = b""


Place: TypeAlias = tuple[Slab, int]
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
        self.rows = 1 << max(0, (SLAB_BYTES // nbytes).bit_length() - 1)
        """How many values a slab holds."""
        self._memory: list[NDArray[Any]] = []
        self._packing: Packing | None = None
        self._next = self._end = 0
        self._slab: Slab | None = None
        self._values: NDArray[Any] = np.empty(0)

    def pack_with(self, packing: Packing) -> None:
        """Pack each slab when it is full. Call it before the first copy."""
        self._packing = packing
        self.rows = packing.rows

    def copy(self, value: NDArray[Any]) -> Place:
        """Copy a value, and return where it is."""
        if self._next == self._end:
            self._begin()
        place = self._slab, self._next
        self._values[self._next] = value
        self._next += 1
        return place  # type: ignore[return-value]

    def forget(self) -> None:
        """Take back the last copy; nobody is to hold its place any more."""
        self._next -= 1

    def _begin(self) -> None:
        """Begin a slab. The one before is packed only now: until then a copy can be taken back."""
        rows = self.rows
        if self._packing is not None:
            if self._slab is None:
                rows = self._packing.first
            elif self._end == rows:
                self._slab.data = self._packing.pack(self._values[:rows])
                self._slab.values = None
        self._values = np.empty(0)
        self._values = self._unused()
        self._slab = Slab(self._values)
        self._next, self._end = 0, rows

    def _unused(self) -> NDArray[Any]:
        for values in self._memory:
            if sys.getrefcount(values) == UNUSED:
                return values
        values = np.empty((self.rows, *self._shape), dtype=self._dtype)
        self._memory.append(values)
        return values

    def join(self, places: Sequence[Place]) -> NDArray[Any] | Parts:
        """Return the values: as one array; in parts if they are packed."""
        parts = [self._part(slab, start, stop) for slab, start, stop in _runs(places)]
        if self._packing is not None:
            return Parts(parts)
        arrays = [part for part in parts if not isinstance(part, Packed)]
        if len(arrays) == 1:
            return arrays[0]
        joined = self._unused()[: len(places)] if len(places) <= self.rows else None
        return np.concatenate(arrays, out=joined)

    def _part(self, slab: Slab, start: int, stop: int) -> NDArray[Any] | Packed:
        # Another thread may pack the slab just now: the memory goes after the pack is there.
        values = slab.values
        if values is not None:
            return values[start:stop]
        if (start, stop) == (0, self.rows):
            return Packed(stop, slab.data)
        unpack = self._packing.unpack  # type: ignore[union-attr]
        return unpack(slab.data)[start:stop]


def _runs(places: Sequence[Place]) -> Iterator[tuple[Slab, int, int]]:
    """Iterate over the slabs, each with the first of its values and the one after the last."""
    begin, size = 0, len(places)
    while begin < size:
        slab, start = places[begin]
        end = begin + 1
        while end < size and places[end][0] is slab and places[end][1] == start + end - begin:
            end += 1
        yield slab, start, start + end - begin
        begin = end

# SPDX-License-Identifier: LGPL-3.0-or-later
"""The reference: arrays in memory, with no format between."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.askers import Asker, Episode, Numbers
from benchmarks.rows import Rows


class Arrays(Asker):
    """One ``.npy`` file for each column, mapped into memory, and asked only when it is there."""

    resident = True

    def __init__(self, folder: Path) -> None:
        # As plain arrays: NumPy is slow at indexing its own memmaps.
        columns = (np.load(folder / f"{name}.npy", mmap_mode="r") for name in Rows._fields)
        self._rows = Rows(*map(np.asarray, columns))
        self._starts = np.asarray(np.load(folder / "starts.npy", mmap_mode="r"))

    @classmethod
    def write(cls, data: Rows, folder: Path) -> None:
        """Write each column as it is, and where episodes begin."""
        for name, column in data._asdict().items():
            np.save(folder / f"{name}.npy", column)
        np.save(folder / "starts.npy", starts(data))

    def count(self) -> int:
        """Return how many rows there are."""
        return len(self._rows.reward)

    def rewarded(self) -> Numbers:
        """Look at two columns."""
        return np.flatnonzero((self._rows.reward > 0) & ~self._rows.terminated)

    def above(self, limit: float) -> Numbers:
        """Look at one column."""
        return np.flatnonzero(self._rows.reward > limit)

    def returns(self) -> NDArray[np.float64]:
        """Add up all rewards."""
        return np.add.reduceat(self._rows.reward, self._starts)

    def episode(self, number: int) -> Episode:
        """Copy three slices."""
        start, stop = bounds(self._starts, number, self.count())
        rows = self._rows
        return (
            rows.time[start:stop].copy(),
            rows.reward[start + 1 : stop].copy(),
            rows.action[start + 1 : stop].copy(),
        )


def starts(data: Rows) -> Numbers:
    """Return the rows that begin an episode."""
    return np.flatnonzero(data.step == 0)


def bounds(starts: Numbers, number: int, count: int) -> tuple[int, int]:
    """Return the first row of an episode, and the row after its last."""
    start, *following = starts[number : number + 2].tolist()
    return start, (following or [count])[0]

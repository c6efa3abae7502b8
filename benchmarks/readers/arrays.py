# SPDX-License-Identifier: LGPL-3.0-or-later
"""The reference: raw arrays, mapped into memory, with no format between."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.experience import Experience
from benchmarks.readers import Places, Reader, Transitions


class Arrays(Reader):
    """One ``.npy`` file for each column."""

    def __init__(self, folder: Path) -> None:
        # As plain arrays: NumPy is slow at indexing its own memmaps.
        columns = [
            np.asarray(np.load(folder / f"{name}.npy", mmap_mode="r"))
            for name in Experience._fields
        ]
        self._data = Experience(*columns)
        self._places = Places(self._data.lengths)

    @classmethod
    def write(cls, data: Experience, folder: Path) -> None:
        """Write each column as it is."""
        for name, column in data._asdict().items():
            np.save(folder / f"{name}.npy", column)

    def count(self) -> int:
        """Return how many episodes there are."""
        return len(self._data.lengths)

    def episode(self, number: int) -> NDArray[Any]:
        """Return a copy, as all others do."""
        start = self._places.starts[number]
        return self._data.observations[start : start + self._data.lengths[number]].copy()

    def sample(self, batch: int, seed: int) -> Transitions:
        """Pick rows out of each column."""
        data, rows = self._data, self._places.rows(batch, seed)
        return Transitions(
            data.observations[rows - 1],
            data.actions[rows],
            data.rewards[rows],
            data.terminated[rows],
            data.observations[rows],
        )

    def rewarded(self) -> tuple[NDArray[Any], NDArray[Any]]:
        """Look at all rewards."""
        rows = np.flatnonzero(self._data.rewards > 0)
        return self._data.observations[rows], self._data.actions[rows]

    def returns_above(self, limit: float) -> tuple[list[int], list[float]]:
        """Add up all rewards."""
        returns = np.add.reduceat(self._data.rewards, self._places.starts)
        numbers = np.flatnonzero(returns > limit)
        return numbers.tolist(), returns[numbers].tolist()

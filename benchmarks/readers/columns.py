# SPDX-License-Identifier: LGPL-3.0-or-later
"""Formats that hold columns: h5py's and Zarr's arrays are asked in the same words."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.readers import Places, Reader, Rows, Transitions


class Columns(Reader):
    """Columns of a file, by the names of `benchmarks.experience`; small ones are kept."""

    def __init__(self, columns: Any) -> None:
        self._columns = columns
        self._lengths = columns["lengths"][:]
        self._places = Places(self._lengths)

    def take(self, name: str, rows: Rows) -> NDArray[Any]:
        """Return a column at ascending rows."""
        raise NotImplementedError

    def count(self) -> int:
        """Return how many episodes there are."""
        return len(self._lengths)

    def episode(self, number: int) -> NDArray[Any]:
        """Return all observations of an episode."""
        start = self._places.starts[number]
        found: NDArray[Any] = self._columns["observations"][start : start + self._lengths[number]]
        return found

    def sample(self, batch: int, seed: int) -> Transitions:
        """Read each chunk once: all rows are asked for together, in order."""
        rows = self._places.rows(batch, seed)
        unique, places = np.unique(rows, return_inverse=True)
        actions, rewards, terminated = (
            self.take(name, unique)[places] for name in ("actions", "rewards", "terminated")
        )
        frames, places = np.unique(np.concatenate([rows - 1, rows]), return_inverse=True)
        observations = self.take("observations", frames)
        now, then = np.split(places, 2)
        return Transitions(observations[now], actions, rewards, terminated, observations[then])

    def rewarded(self) -> tuple[NDArray[Any], NDArray[Any]]:
        """Read all rewards."""
        rows = np.flatnonzero(self._columns["rewards"][:] > 0)
        return self.take("observations", rows), self.take("actions", rows)

    def returns_above(self, limit: float) -> tuple[list[int], list[float]]:
        """Read all rewards and add them up."""
        returns = np.add.reduceat(self._columns["rewards"][:], self._places.starts)
        numbers = np.flatnonzero(returns > limit)
        return numbers.tolist(), returns[numbers].tolist()

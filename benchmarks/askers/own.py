# SPDX-License-Identifier: LGPL-3.0-or-later
"""gymbag itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import gymbag
from benchmarks.askers import Asker, Episode, Numbers
from benchmarks.rows import Rows, record

FILE = "rows.h5"


class Gymbag(Asker):
    """A file of gymbag's, recorded row by row."""

    def __init__(self, folder: Path) -> None:
        self._store = gymbag.open(folder / FILE)

    @classmethod
    def write(cls, data: Rows, folder: Path) -> None:
        """Record what happened, call by call."""
        record(folder / FILE, [data])

    def close(self) -> None:
        """Close the file."""
        self._store.close()

    def count(self) -> int:
        """Return how many rows there are."""
        return len(self._store)

    def rewarded(self) -> Numbers:
        """Ask in words."""
        return self._store.where("reward > 0 and not terminated").rows

    def above(self, limit: float) -> Numbers:
        """Ask in words."""
        return self._store.where("reward > x", x=limit).rows

    def returns(self) -> NDArray[np.float64]:
        """Ask the table of episodes."""
        return self._store.episodes.returns

    def episode(self, number: int) -> Episode:
        """Read one episode."""
        episode = self._store.episodes[number]
        return episode.times, episode.rewards, episode.actions

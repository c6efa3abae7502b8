# SPDX-License-Identifier: LGPL-3.0-or-later
"""The peers of `benchmarks.asking`: one file for each way to keep narrow rows.

Rows are numbered as in `benchmarks.rows`; answers are rows' numbers, ascending, as int64.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from benchmarks.peer import Peer

Numbers: TypeAlias = NDArray[np.int64]
Episode: TypeAlias = tuple[NDArray[Any], NDArray[Any], NDArray[Any]]


class Asker(Peer):
    """Rows in files."""

    def count(self) -> int:
        """Return how many rows there are."""
        raise NotImplementedError

    def rewarded(self) -> Numbers:
        """Return the rows of which ``reward > 0 and not terminated`` holds."""
        raise NotImplementedError

    def above(self, limit: float) -> Numbers:
        """Return the rows with a larger reward."""
        raise NotImplementedError

    def returns(self) -> NDArray[np.float64]:
        """Return the sum of the rewards of every episode."""
        raise NotImplementedError

    def episode(self, number: int) -> Episode:
        """Return an episode: times of all its rows, rewards and actions of all but the reset's."""
        raise NotImplementedError

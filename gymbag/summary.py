# SPDX-License-Identifier: LGPL-3.0-or-later
"""What can be said of all episodes of a data set at once, without reading a single row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gymbag.steps import Ended
from gymbag.store import Store


@dataclass(frozen=True, slots=True)
class Summary:
    """The episodes of a data set, one entry each, in the order in which they were recorded."""

    returns: NDArray[np.float64]
    """May be NaN or infinite, as rewards may be."""
    lengths: NDArray[np.int64]
    """How many actions each has."""
    ended: NDArray[np.str_]
    """Why each ended, in the words of `Ended`."""
    seeded: NDArray[np.bool_]
    """Whether its reset was given a seed."""
    start_times: NDArray[np.float64]
    """Unix times of the resets, in seconds; NaN where nobody knows."""
    end_times: NDArray[np.float64]

    @property
    def ends(self) -> dict[str, int]:
        """How many episodes ended for each reason, only those that there are."""
        counts = {ended.value: int(np.sum(self.ended == ended.value)) for ended in Ended}
        return {ended: count for ended, count in counts.items() if count}


def summarize(store: Store) -> Summary:
    """Return what there is to say of a data set's episodes."""
    table = store._records.episodes
    return Summary(
        table["episode_return"].astype(np.float64),
        table["rows"].astype(np.int64) - 1,
        np.char.decode(table["ended"], "ascii"),
        table["seeded"].astype(np.bool_),
        table["start_time"].astype(np.float64),
        table["end_time"].astype(np.float64),
    )


def bucket_means(values: Sequence[float] | NDArray[Any], most: int) -> list[float]:
    """Return the means of runs of values, in their order, at most so many; NaN is left out.

    >>> bucket_means([1, 2, 3, 4, float("nan"), 6], 3)
    [1.5, 3.5, 6.0]
    """
    finite = np.asarray(values, np.float64)
    finite = finite[np.isfinite(finite)]
    parts = np.array_split(finite, min(most, len(finite))) if len(finite) else []
    # Each is made small first: a sum of huge ones would be infinite.
    return [float(np.sum(part / len(part))) for part in parts]

# SPDX-License-Identifier: LGPL-3.0-or-later
"""Polars over a Parquet file that it wrote itself."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.askers import Asker, Episode, Numbers
from benchmarks.rows import Rows

# Read when it is imported.
os.environ.setdefault("POLARS_MAX_THREADS", "2")
import polars as pl

FILE = "rows.parquet"


class Polars(Asker):
    """A lazy frame; nothing of the file is kept from one question to the next."""

    def __init__(self, folder: Path) -> None:
        self._rows = pl.scan_parquet(folder / FILE)

    @classmethod
    def write(cls, data: Rows, folder: Path) -> None:
        """Write with zstd, and whatever else Polars does by itself."""
        pl.DataFrame(data._asdict()).write_parquet(folder / FILE, compression="zstd")

    def count(self) -> int:
        """Return how many rows there are."""
        return int(self._rows.select(pl.len()).collect().item())

    def rewarded(self) -> Numbers:
        """Ask as an expression."""
        return self._numbers((pl.col("reward") > 0) & ~pl.col("terminated"))

    def above(self, limit: float) -> Numbers:
        """Ask as an expression."""
        return self._numbers(pl.col("reward") > limit)

    def returns(self) -> NDArray[np.float64]:
        """Group by the episode."""
        groups = self._rows.group_by("episode").agg(pl.col("reward").sum()).sort("episode")
        return groups.collect()["reward"].to_numpy()

    def episode(self, number: int) -> Episode:
        """Filter by the episode, of which the file has statistics."""
        rows = self._rows.filter(pl.col("episode") == number)
        found = rows.select("time", "reward", "action").collect()
        times, rewards, actions = (column.to_numpy() for column in found.get_columns())
        return times, rewards[1:], actions[1:]

    def _numbers(self, condition: Any) -> Numbers:
        found = self._rows.with_row_index("row").filter(condition).select("row").collect()
        return found["row"].to_numpy().astype(np.int64)

# SPDX-License-Identifier: LGPL-3.0-or-later
"""DuckDB over a Parquet file that it wrote itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import numpy as np
from numpy.typing import NDArray

from benchmarks.askers import Asker, Episode, Numbers
from benchmarks.rows import Rows

FILE = "rows.parquet"
CONFIG = {"threads": 2}


class DuckDB(Asker):
    """A connection of its own; DuckDB decides what it keeps of the file."""

    def __init__(self, folder: Path) -> None:
        self._database = duckdb.connect(config=CONFIG)
        self._file = str(folder / FILE)

    @classmethod
    def write(cls, data: Rows, folder: Path) -> None:
        """Write with zstd, and whatever else DuckDB does by itself."""
        with duckdb.connect(config=CONFIG) as database:
            database.register("data", data._asdict())
            database.execute(
                f"COPY (SELECT * FROM data) TO '{folder / FILE}' (FORMAT parquet, CODEC zstd)"
            )

    def close(self) -> None:
        """Close the connection."""
        self._database.close()

    def count(self) -> int:
        """Return how many rows there are."""
        return int(self._ask("SELECT count(*) AS n FROM read_parquet(?)")["n"][0])

    def rewarded(self) -> Numbers:
        """Ask in SQL."""
        return self._numbers("reward > 0 AND NOT terminated")

    def above(self, limit: float) -> Numbers:
        """Ask in SQL."""
        return self._numbers("reward > ?", limit)

    def returns(self) -> NDArray[np.float64]:
        """Group by the episode."""
        rows = "SELECT sum(reward) AS total FROM read_parquet(?) GROUP BY episode ORDER BY episode"
        return self._ask(rows)["total"]

    def episode(self, number: int) -> Episode:
        """Filter by the episode, of which the file has statistics."""
        rows = "SELECT time, reward, action FROM read_parquet(?) WHERE episode = ? ORDER BY step"
        found = self._ask(rows, number)
        return found["time"], found["reward"][1:], found["action"][1:]

    def _numbers(self, condition: str, *values: Any) -> Numbers:
        rows = "SELECT file_row_number FROM read_parquet(?, file_row_number = true) WHERE "
        found = self._ask(f"{rows}{condition} ORDER BY file_row_number", *values)
        return found["file_row_number"]

    def _ask(self, question: str, *values: Any) -> dict[str, Any]:
        asked = self._database.execute(question, [self._file, *values])
        answer: dict[str, Any] = asked.fetchnumpy()
        return answer

# SPDX-License-Identifier: LGPL-3.0-or-later
"""PyTables, with LZ4: one table, or one array for each column. Both know where episodes begin."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import tables
from numpy.typing import NDArray

from benchmarks.askers import Asker, Episode, Numbers
from benchmarks.askers.arrays import bounds, starts
from benchmarks.rows import Rows

FILE = "rows.h5"
FILTERS = tables.Filters(complevel=5, complib="blosc:lz4", shuffle=True)


class PyTables(Asker):
    """An HDF5 file of either kind."""

    def __init__(self, folder: Path) -> None:
        self._file = tables.open_file(str(folder / FILE))
        self._root = self._file.root
        self._starts = self._root.starts[:]

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def returns(self) -> NDArray[np.float64]:
        """Add up all rewards."""
        return np.add.reduceat(self._column("reward"), self._starts)

    def _column(self, name: str) -> NDArray[Any]:
        raise NotImplementedError


class Table(PyTables):
    """One table, asked with its own language."""

    @classmethod
    def write(cls, data: Rows, folder: Path) -> None:
        """Write rows of all columns."""
        fields = [(name, column.dtype) for name, column in data._asdict().items()]
        rows = np.empty(len(data.step), fields)
        for name, column in data._asdict().items():
            rows[name] = column
        with tables.open_file(str(folder / FILE), "w", filters=FILTERS) as file:
            file.create_table("/", "rows", rows, expectedrows=len(rows))
            file.create_array("/", "starts", starts(data))

    def count(self) -> int:
        """Return how many rows there are."""
        return int(self._root.rows.nrows)

    def rewarded(self) -> Numbers:
        """Ask in words."""
        found: Numbers = self._root.rows.get_where_list("(reward > 0) & ~terminated")
        return found

    def above(self, limit: float) -> Numbers:
        """Ask in words."""
        found: Numbers = self._root.rows.get_where_list("reward > limit", {"limit": limit})
        return found

    def episode(self, number: int) -> Episode:
        """Read a slice of all columns at once: each chunk holds them all."""
        rows = self._root.rows[slice(*bounds(self._starts, number, self.count()))]
        return rows["time"], rows["reward"][1:], rows["action"][1:]

    def _column(self, name: str) -> NDArray[Any]:
        found: NDArray[Any] = self._root.rows.read(field=name)
        return found


class Arrays(PyTables):
    """An extendable array for each column, asked with NumPy."""

    @classmethod
    def write(cls, data: Rows, folder: Path) -> None:
        """Write one column after another."""
        with tables.open_file(str(folder / FILE), "w", filters=FILTERS) as file:
            for name, column in data._asdict().items():
                atom = tables.Atom.from_dtype(column.dtype)
                array = file.create_earray("/", name, atom, (0,), expectedrows=len(column))
                array.append(column)
            file.create_array("/", "starts", starts(data))

    def count(self) -> int:
        """Return how many rows there are."""
        return int(self._root.step.nrows)

    def rewarded(self) -> Numbers:
        """Read two columns."""
        return np.flatnonzero((self._column("reward") > 0) & ~self._column("terminated"))

    def above(self, limit: float) -> Numbers:
        """Read one column."""
        return np.flatnonzero(self._column("reward") > limit)

    def episode(self, number: int) -> Episode:
        """Read a slice of each column."""
        start, stop = bounds(self._starts, number, self.count())
        return (
            self._root.time[start:stop],
            self._root.reward[start + 1 : stop],
            self._root.action[start + 1 : stop],
        )

    def _column(self, name: str) -> NDArray[Any]:
        found: NDArray[Any] = self._root[name][:]
        return found

# SPDX-License-Identifier: LGPL-3.0-or-later
"""What can be read of a data set, wherever its columns stand."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gymbag.schema import Column, jsonable
from gymbag.schema.text import split_bytes
from gymbag.storage.bounds import Bounds
from gymbag.storage.meta import Meta
from gymbag.storage.sizes import ColumnSize
from gymbag.storage.writer import EXTRA_COLUMNS


class Reader(ABC):
    """Reads any rows of any column of one data set, as it was when it was opened."""

    filename: str
    max_bytes: int
    """How many bytes a file may make this process allocate at once."""
    meta: Meta
    episodes: NDArray[Any]
    """The table of episodes."""
    lanes: NDArray[np.int64] | None
    """The lane of each episode, where a vector of environments was recorded."""
    rows: int
    """Rows of all finished episodes."""

    @abstractmethod
    def take(self, column: Column, rows: NDArray[np.int64]) -> NDArray[Any]:
        """Return the entries of a column at `rows`; the array is the caller's own.

        Rows may come in any order; each part of the file is decoded once.
        """

    @abstractmethod
    def view(self, column: Column, rows: slice) -> NDArray[Any]:
        """Return the entries of a column at rows that follow one another, to be read only."""

    @abstractmethod
    def take_column(
        self, column: Column, rows: NDArray[np.int64]
    ) -> tuple[NDArray[Any], NDArray[np.int64]]:
        """Return the entries at `rows`, and for ragged ones their lengths and where the items are.

        The second array holds the numbers of the items that belong to the rows; it is empty
        for columns that are not ragged.
        """

    @abstractmethod
    def bounds(self, column: Column) -> Bounds | None:
        """Return between which values a column's entries lie; None if nothing is known of it."""

    @abstractmethod
    def has(self, column: Column) -> bool:
        """Return whether the column is there; that of JSON cells comes with the first."""

    @abstractmethod
    def column_sizes(self) -> list[ColumnSize]:
        """Return what each table and array of the data set takes."""

    @property
    def files(self) -> list[str]:
        """The files it stands in."""
        return [self.filename]

    @abstractmethod
    def close(self) -> None:
        """Give the file back."""

    def cells(self, columns: tuple[Column, Column], rows: NDArray[np.int64]) -> list[bytes]:
        """Return ragged bytes, one cell for each row; none at all if no row has any."""
        if not self.has(columns[0]):
            return []
        lengths, items = self.take_column(columns[0], rows)
        return split_bytes(lengths.astype(np.uint64), self.take(columns[1], items))

    def extra(self, episode: int) -> dict[str, Any]:
        """Return the JSON cell of an episode."""
        cells = self.cells(EXTRA_COLUMNS, np.array([episode]))
        return jsonable.loads(cells[0]) if cells and cells[0] else {}

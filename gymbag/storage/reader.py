# SPDX-License-Identifier: LGPL-3.0-or-later
"""Reads the columns of one data set of a file: any rows of any column, and nothing else."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gymbag.errors import NoSuchDataset
from gymbag.schema import Column, jsonable
from gymbag.schema.text import split_bytes
from gymbag.storage.cache import ChunkCache
from gymbag.storage.handles import LOCK, Connection
from gymbag.storage.meta import Meta
from gymbag.storage.names import EPISODES, META, STEPS, escape, unescape
from gymbag.storage.writer import EXTRA_COLUMNS

CACHE_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class ColumnSize:
    """What a column takes."""

    name: str
    dtype: np.dtype
    shape: tuple[int, ...]
    compression: str
    nbytes: int
    """Bytes of its values."""
    stored: int
    """Bytes of them in the file."""


class DatasetReader:
    """One data set, as it was when it was opened or last refreshed.

    Args:
        filename: the file.
        name: the data set in it; None if it holds only one.
        cache_bytes: how many bytes of decoded chunks to keep.

    Raises:
        NoSuchDataset: it holds no such data set, or several and none was named.
        FileError: the file cannot be opened, or is not ours.
    """

    def __init__(
        self,
        filename: str | os.PathLike[str],
        name: str | None = None,
        *,
        cache_bytes: int = CACHE_BYTES,
    ) -> None:
        self.filename = os.fspath(filename)
        self._connection = Connection(filename)
        self._cache = ChunkCache(cache_bytes)
        self._chunks: dict[str, int] = {}
        try:
            self._group = f"/{escape(self._choose(name))}"
            self.refresh()
        except BaseException:
            self._connection.close()
            raise

    def _choose(self, name: str | None) -> str:
        with LOCK:
            names = dataset_names(self._connection)
        if name is None and len(names) == 1:
            return names[0]
        held = f"it holds {', '.join(map(repr, names))}" if names else "it holds none yet"
        if name is None:
            advice = "; say which, as name=" if names else ""
            raise NoSuchDataset(f"{self.filename}: no data set was named, and {held}{advice}")
        if name not in names:
            raise NoSuchDataset(f"{self.filename}: there is no data set {name!r}; {held}")
        return name

    def refresh(self) -> None:
        """Move on to what has been committed since."""
        self._cache.clear()
        with LOCK:
            self.meta = Meta.parse(self._node(META)[:].tobytes(), self.filename)
            self.episodes: NDArray[Any] = self._node(EPISODES)[:]
            """The table of episodes."""
        self._in_table = {column.name for column in self.meta.schema.table}
        last = self.episodes[-1] if len(self.episodes) else None
        self.rows = 0 if last is None else int(last["first_row"] + last["rows"])
        """Rows of all finished episodes."""

    def _node(self, name: str) -> Any:
        return self._connection.node(f"{self._group}/{name}")

    def extra(self, episode: int) -> dict[str, Any]:
        """Return the JSON cell of an episode."""
        cells = self.cells(EXTRA_COLUMNS, np.array([episode]))
        return jsonable.loads(cells[0]) if cells and cells[0] else {}

    def take(self, column: Column, rows: NDArray[np.int64]) -> NDArray[Any]:
        """Return the entries of a column at `rows`; the array is the caller's own.

        Rows may come in any order; each chunk is decoded once if they ascend.
        """
        out = np.empty((len(rows), *column.shape), dtype=column.dtype)
        if not len(rows):
            return out
        name = escape(column.name)
        in_table = column.name in self._in_table
        leaf = STEPS if in_table else name
        chunk_rows = self._chunk_rows(leaf)
        numbers = rows // chunk_rows
        cuts = np.flatnonzero(numbers[1:] != numbers[:-1]) + 1
        for start, stop in zip([0, *cuts.tolist()], [*cuts.tolist(), len(rows)], strict=True):
            number = int(numbers[start])
            chunk = self._chunk(leaf, number, chunk_rows)
            values = chunk[name] if in_table else chunk
            places = rows[start:stop] - number * chunk_rows
            first, last = int(places[0]), int(places[-1])
            if last - first + 1 == len(places) and (places[1:] > places[:-1]).all():
                out[start:stop] = values[first : last + 1]
            else:
                out[start:stop] = values[places]
        return out

    def take_column(
        self, column: Column, rows: NDArray[np.int64]
    ) -> tuple[NDArray[Any], NDArray[np.int64]]:
        """Return the entries at `rows`, and for ragged ones their lengths and where the items are.

        The second array holds the numbers of the items that belong to the rows; it is empty
        for columns that are not ragged.
        """
        if not column.ragged:
            return self.take(column, rows), rows[:0]
        ends = self.take(column, rows).astype(np.int64)
        starts = np.zeros(len(rows), dtype=np.int64)
        inner = rows > 0
        starts[inner] = self.take(column, rows[inner] - 1).astype(np.int64)
        lengths = ends - starts
        first = np.repeat(starts - np.concatenate(([0], np.cumsum(lengths)[:-1])), lengths)
        return lengths, first + np.arange(len(first))

    def cells(self, columns: tuple[Column, Column], rows: NDArray[np.int64]) -> list[bytes]:
        """Return ragged bytes, one cell for each row; none at all if no row has any."""
        with LOCK:
            if not self._connection.has(f"{self._group}/{escape(columns[0].name)}"):
                return []
        lengths, items = self.take_column(columns[0], rows)
        return split_bytes(lengths.astype(np.uint64), self.take(columns[1], items))

    def column_sizes(self) -> list[ColumnSize]:
        """Return what each table and array of the data set takes."""
        with LOCK:
            leaves = list(self._connection.node(self._group)._f_iter_nodes())
            return [
                ColumnSize(
                    name=unescape(leaf._v_name),
                    dtype=leaf.dtype,
                    shape=tuple(int(size) for size in leaf.shape[1:]),
                    compression=f"{leaf.filters.complib or 'none'}-{leaf.filters.complevel}",
                    nbytes=int(leaf.size_in_memory),
                    stored=int(leaf.size_on_disk),
                )
                for leaf in leaves
            ]

    def close(self) -> None:
        """Give the file back."""
        self._cache.clear()
        self._connection.close()

    def _chunk_rows(self, leaf: str) -> int:
        if leaf not in self._chunks:
            with LOCK:
                self._chunks[leaf] = int(self._node(leaf).chunkshape[0])
        return self._chunks[leaf]

    def _chunk(self, leaf: str, number: int, rows: int) -> NDArray[Any]:
        def load() -> NDArray[Any]:
            with LOCK:
                values: NDArray[Any] = self._node(leaf).read(number * rows, (number + 1) * rows)
            return values

        return self._cache.get((leaf, number), load)


def dataset_names(connection: Connection) -> list[str]:
    """Return the names of the data sets in a file; call with `LOCK` held."""
    file = connection.file
    groups = sorted(file.root._v_groups)
    return [unescape(group) for group in groups if f"/{group}/{META}" in file]


def list_datasets(filename: str | os.PathLike[str]) -> list[str]:
    """Return the names of the data sets in a file of gymbag's, sorted.

    Raises:
        FileError: there is no such file, or it is not ours.
    """
    connection = Connection(filename)
    try:
        with LOCK:
            return dataset_names(connection)
    finally:
        connection.close()

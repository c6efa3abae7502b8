# SPDX-License-Identifier: LGPL-3.0-or-later
"""Reads the columns of one data set of a file: any rows of any column, and nothing else."""

from __future__ import annotations

import os
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gymbag.errors import FileError, NoSuchDataset, NotAStore
from gymbag.schema import Column, jsonable
from gymbag.schema.text import split_bytes
from gymbag.storage.access import open_to_read
from gymbag.storage.cache import ChunkCache, ColumnCache, WholeColumn
from gymbag.storage.meta import Meta
from gymbag.storage.names import EPISODES, META, STEPS, escape, unescape
from gymbag.storage.parallel import each
from gymbag.storage.snapshot import MAX_BYTES, Snapshot, StoredColumn
from gymbag.storage.writer import EPISODE_DTYPE, EXTRA_COLUMNS

CACHE_BYTES = 256 << 20
TOGETHER = 8
"""So many chunks of a table are unpacked in one call, each of which costs Blosc2 20 us."""
CHUNK_SHARE = 4
"""This part of the cache is for single chunks, of columns that are too large to be kept."""


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
        cache_bytes: how many bytes of decoded values to keep.
        max_bytes: how many bytes the file may make this process allocate at once.

    Raises:
        NoSuchDataset: it holds no such data set, or several and none was named.
        FileError: the file cannot be opened, is damaged, or is not ours.
    """

    def __init__(
        self,
        filename: str | os.PathLike[str],
        name: str | None = None,
        *,
        cache_bytes: int = CACHE_BYTES,
        max_bytes: int = MAX_BYTES,
    ) -> None:
        self.filename = os.fspath(filename)
        self.max_bytes = max_bytes
        self._cache = ChunkCache(cache_bytes // CHUNK_SHARE)
        self._kept = ColumnCache(cache_bytes - cache_bytes // CHUNK_SHARE)
        self._snapshot = open_to_read(self.filename, max_bytes)
        self._group = f"/{escape(self._choose(name))}"
        self._take_up()

    def _choose(self, name: str | None) -> str:
        names = dataset_names(self._snapshot)
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
        self._snapshot = open_to_read(self.filename, self.max_bytes)
        self._take_up()

    def _take_up(self) -> None:
        self._forget()
        self.meta = Meta.parse(self._all(META).tobytes(), self.filename)
        self.episodes: NDArray[Any] = self._all(EPISODES)
        """The table of episodes."""
        self._in_table = {column.name for column in self.meta.schema.table}
        self._check()
        last = self.episodes[-1] if len(self.episodes) else None
        self.rows = 0 if last is None else int(last["first_row"] + last["rows"])
        """Rows of all finished episodes."""

    def _check(self) -> None:
        """Check that the columns are those that the description speaks of, and fit together."""
        if self.episodes.dtype != EPISODE_DTYPE:
            raise self._damaged(EPISODES, "its columns are not those of a table of episodes")
        first, rows = self.episodes["first_row"], self.episodes["rows"]
        ends = first + rows
        if len(first) and (first[0] != 0 or (rows < 1).any() or (first[1:] != ends[:-1]).any()):
            raise self._damaged(EPISODES, "episodes that do not follow one another")
        steps = self._column(STEPS)
        if len(first) and ends[-1] > steps.rows:
            raise self._damaged(STEPS, f"{steps.rows} rows, where {ends[-1]} belong to episodes")
        for column in self.meta.schema.table:
            name = escape(column.name)
            if name not in (steps.spec.dtype.names or ()) or steps.spec.dtype[name] != (
                np.dtype((column.dtype, column.shape))
            ):
                raise self._damaged(STEPS, f"no column {name!r} of {column.dtype}{column.shape}")
        info = [c for info_column in self.meta.info_columns for c in info_column.columns]
        for column in (*self.meta.schema.beside, *info):
            spec = self._column(escape(column.name)).spec
            if (spec.dtype, spec.shape) != (column.dtype, column.shape):
                raise self._damaged(column.name, f"{spec.dtype}{spec.shape} in the file")

    def _damaged(self, name: str, reason: str) -> NotAStore:
        return NotAStore(f"{self.filename}: {self._group}/{name}: damaged: {reason}")

    def _column(self, name: str) -> StoredColumn:
        if self._snapshot.closed:
            raise FileError(f"{self.filename}: closed; open it again to read on")
        try:
            return self._snapshot.columns[f"{self._group}/{name}"]
        except KeyError:
            raise self._damaged(name, "it is not there") from None

    def _all(self, name: str) -> NDArray[Any]:
        column = self._column(name)
        if column.rows * column.spec.row_nbytes > self.max_bytes:
            raise NotAStore(
                f"{self.filename}: {self._group}/{name} claims "
                f"{column.rows * column.spec.row_nbytes:,} bytes, more than the limit of "
                f"{self.max_bytes:,}; if you trust the file, open it with a larger max_bytes="
            )
        return column.read(0, column.rows)

    def extra(self, episode: int) -> dict[str, Any]:
        """Return the JSON cell of an episode."""
        cells = self.cells(EXTRA_COLUMNS, np.array([episode]))
        return jsonable.loads(cells[0]) if cells and cells[0] else {}

    def take(self, column: Column, rows: NDArray[np.int64]) -> NDArray[Any]:
        """Return the entries of a column at `rows`; the array is the caller's own.

        Rows may come in any order; each part of the file is decoded once if they ascend.
        """
        if not len(rows):
            return np.empty((0, *column.shape), dtype=column.dtype)
        run = _run(rows)
        kept = self._keep(column)
        if kept is None:
            return self._take_by_parts(column, rows)
        if run is None:
            self._load(column, kept, rows // self._stored(column).spec.chunk_rows)
            return kept.take(rows)
        return self.view(column, run).copy()

    def view(self, column: Column, rows: slice) -> NDArray[Any]:
        """Return the entries of a column at rows that follow one another, to be read only."""
        kept = self._keep(column)
        if kept is None or rows.start == rows.stop:
            return self.take(column, np.arange(rows.start, rows.stop))
        size = self._stored(column).spec.chunk_rows
        self._load(column, kept, np.arange(rows.start // size, -(-rows.stop // size)))
        return kept.view(rows)

    def _leaf(self, column: Column) -> str:
        return STEPS if column.name in self._in_table else escape(column.name)

    def _stored(self, column: Column) -> StoredColumn:
        return self._column(self._leaf(column))

    def _keep(self, column: Column) -> WholeColumn | None:
        """Return the one array for all of a column; None if it is too large for that."""
        stored = self._stored(column)
        shape = (stored.rows, *column.shape)
        return self._kept.column(column.name, column.dtype, shape, stored.spec.chunk_rows)

    def _load(self, column: Column, kept: WholeColumn, numbers: NDArray[np.int64]) -> None:
        """Bring those chunks of a column into its array that are not there."""
        stored, field = self._stored(column), column.name in self._in_table
        name, size = escape(column.name), stored.spec.chunk_rows

        def load(numbers: range) -> None:
            place = kept.place(numbers)
            full = len(place) == len(numbers) * size
            if not (field and full and stored.load_field(numbers, name, place)):
                for start, number in zip(range(0, len(place), size), numbers, strict=True):
                    chunk = self._chunk(STEPS, number)[name] if field else stored.load(number)
                    place[start : start + size] = chunk[: len(place) - start]
            self._kept.arrived(kept, numbers)

        each(load, _runs(kept.missing(numbers), TOGETHER))

    def _take_by_parts(self, column: Column, rows: NDArray[np.int64]) -> NDArray[Any]:
        """Return the entries of a column that is too large to be kept."""
        out = np.empty((len(rows), *column.shape), dtype=column.dtype)
        size = self._stored(column).spec.part_rows
        numbers = rows // size
        cuts = np.flatnonzero(numbers[1:] != numbers[:-1]) + 1

        def take(part: tuple[int, int]) -> None:
            start, stop = part
            number = int(numbers[start])
            places = rows[start:stop] - number * size
            run = _run(places)
            out[start:stop] = self._part(column, number)[places if run is None else run]

        each(take, list(pairwise([0, *cuts.tolist(), len(rows)])))
        return out

    def _part(self, column: Column, number: int) -> NDArray[Any]:
        """Return the entries that are unpacked together: a block, or all of a chunk."""
        leaf = self._leaf(column)
        stored = self._column(leaf)
        size = stored.spec.part_rows
        chunk, block = divmod(number, stored.spec.chunk_rows // size)
        if size == stored.spec.chunk_rows:
            values = self._chunk(leaf, chunk)
            return values[escape(column.name)] if stored.spec.table else values

        def load() -> NDArray[Any]:
            values = np.empty((size, *stored.spec.shape), stored.spec.dtype)
            if stored.load_block(chunk, block, values):
                return values
            return self._chunk(leaf, chunk)[block * size : (block + 1) * size]

        return self._cache.get((leaf, chunk, block), load)

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
        if f"{self._group}/{escape(columns[0].name)}" not in self._snapshot.columns:
            return []
        lengths, items = self.take_column(columns[0], rows)
        return split_bytes(lengths.astype(np.uint64), self.take(columns[1], items))

    def column_sizes(self) -> list[ColumnSize]:
        """Return what each table and array of the data set takes."""
        return [
            ColumnSize(
                name=unescape(path.rpartition("/")[2]),
                dtype=column.spec.dtype,
                shape=column.spec.shape,
                compression=f"{column.spec.compression.codec}-{column.spec.compression.level}",
                nbytes=column.rows * column.spec.row_nbytes,
                stored=column.stored,
            )
            for path, column in sorted(self._snapshot.columns.items())
            if path.startswith(self._group + "/")
        ]

    def close(self) -> None:
        """Give the file back."""
        self._forget()
        self._snapshot.close()

    def _forget(self) -> None:
        self._cache.clear()
        self._kept.clear()

    def _chunk(self, leaf: str, number: int) -> NDArray[Any]:
        column = self._column(leaf)
        return self._cache.get((leaf, number), lambda: column.load(number))


def _run(rows: NDArray[np.int64]) -> slice | None:
    """Return rows that follow one another as a slice, which NumPy copies sooner."""
    first, last = int(rows[0]), int(rows[-1])
    follow = last - first + 1 == len(rows) and bool((rows[1:] > rows[:-1]).all())
    return slice(first, last + 1) if follow else None


def _runs(numbers: list[int], most: int) -> list[range]:
    """Return ascending numbers as ranges, each of `most` at most.

    >>> _runs([1, 2, 3, 7], 2)
    [range(1, 3), range(3, 4), range(7, 8)]
    """
    runs: list[range] = []
    for number in numbers:
        if runs and runs[-1].stop == number and len(runs[-1]) < most:
            runs[-1] = range(runs[-1].start, number + 1)
        else:
            runs.append(range(number, number + 1))
    return runs


def dataset_names(snapshot: Snapshot) -> list[str]:
    """Return the names of the data sets in a file."""
    groups = (path[1:].partition("/") for path in snapshot.columns)
    return sorted(unescape(group) for group, _, name in groups if name == META)


def list_datasets(filename: str | os.PathLike[str]) -> list[str]:
    """Return the names of the data sets in a file of gymbag's, sorted.

    Raises:
        FileError: there is no such file, or it is not ours.
    """
    snapshot = open_to_read(os.fspath(filename), MAX_BYTES)
    try:
        return dataset_names(snapshot)
    finally:
        snapshot.close()

# SPDX-License-Identifier: LGPL-3.0-or-later
"""Reads the columns of one data set of a file: any rows of any column, and nothing else."""

from __future__ import annotations

import os
import threading
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gymbag.errors import FileError, NoSuchDataset, NotAStore
from gymbag.schema import Column
from gymbag.storage.access import open_to_read
from gymbag.storage.blocks import Block, BlockReader
from gymbag.storage.bounds import VALUES, Bounds, no_bounds
from gymbag.storage.cache import ColumnCache, WholeColumn
from gymbag.storage.datasets import stored_names
from gymbag.storage.entries import Reader
from gymbag.storage.excerpt import unpack_field
from gymbag.storage.meta import Meta
from gymbag.storage.names import EPISODES, META, STEPS, escape, unescape
from gymbag.storage.parallel import each
from gymbag.storage.runs import as_slice, ranges
from gymbag.storage.sizes import ColumnSize
from gymbag.storage.snapshot import MAX_BYTES, Snapshot
from gymbag.storage.stored import StoredColumn
from gymbag.storage.writer import EPISODE_DTYPE

CACHE_BYTES = 256 << 20
TOGETHER = 8
"""So many chunks of a table are unpacked in one call, each of which costs Blosc2 20 us."""
FEW = 1 << 10
"""Up to so many rows it takes longer to ask whether they follow one another than to copy them."""
CHUNK_SHARE = 4
"""This part of the cache is for single chunks, of columns that are too large to be kept."""


class DatasetReader(Reader):
    """One data set of one file, as it was when it was opened.

    Args:
        filename: the file.
        name: the data set in it; None if it holds only one.
        cache_bytes: how many bytes of decoded values to keep.
        max_bytes: how many bytes the file may make this process allocate at once.
        lane: its number, if it is one of a vector of environments.
        snapshot: the file, if it has been opened.

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
        lane: int | None = None,
        snapshot: Snapshot | None = None,
    ) -> None:
        self.filename = os.fspath(filename)
        self.max_bytes = max_bytes
        self._blocks = BlockReader(cache_bytes // CHUNK_SHARE)
        self._kept = ColumnCache(cache_bytes - cache_bytes // CHUNK_SHARE)
        self._latest = threading.local()  # what each thread read last
        self._snapshot = snapshot or open_to_read(self.filename, max_bytes)
        self._group = f"/{escape(self._choose(name))}"
        self.meta = Meta.parse(self._all(META).tobytes(), self.filename)
        self.episodes = self._all(EPISODES)
        self._in_table = {column.name for column in self.meta.schema.table}
        self._check()
        last = self.episodes[-1] if len(self.episodes) else None
        self.rows = 0 if last is None else int(last["first_row"] + last["rows"])
        self.lanes = None if lane is None else np.full(len(self.episodes), lane)

    def _choose(self, name: str | None) -> str:
        names = stored_names(self._snapshot)
        if name is None and len(names) == 1:
            return names[0]
        held = f"it holds {', '.join(map(repr, names))}" if names else "it holds none yet"
        if name is None:
            advice = "; say which, as name=" if names else ""
            raise NoSuchDataset(f"{self.filename}: no data set was named, and {held}{advice}")
        if name not in names:
            raise NoSuchDataset(f"{self.filename}: there is no data set {name!r}; {held}")
        return name

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

    def take(self, column: Column, rows: NDArray[np.int64]) -> NDArray[Any]:
        """Return the entries of a column at `rows`; the array is the caller's own.

        Rows may come in any order; each part of the file is decoded once.
        """
        complete = self._kept.complete.get(column.name)
        if complete is not None and len(rows) < FEW:
            return complete[rows]
        if not len(rows):
            return np.empty((0, *column.shape), dtype=column.dtype)
        kept = self._keep(column)
        if kept is None:
            stored, in_table = self._stored(column), column.name in self._in_table
            field = escape(column.name) if in_table else None
            block = Block(field, (stored.spec.part_rows, *column.shape), column.dtype)
            return self._blocks.take(stored, block, rows)
        run = as_slice(rows)
        if isinstance(run, slice):
            return self.view(column, run).copy()
        self._load(column, kept, rows // self._stored(column).spec.chunk_rows)
        return kept.take(rows)

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

        def unpack(numbers: range) -> None:
            place = kept.place(numbers)
            full = len(place) == len(numbers) * size
            packed = self._packed(stored, numbers) if field and full else [None]
            chunks = [chunk for chunk in packed if chunk is not None]
            alone = len(chunks) == len(packed)
            if not (alone and unpack_field(chunks, stored.spec.dtype, name, place)):
                for start, number in zip(range(0, len(place), size), numbers, strict=True):
                    load = self._blocks.chunk if field else StoredColumn.load
                    chunk = load(stored, number)[name if field else ...]
                    place[start : start + size] = chunk[: len(place) - start]
            self._kept.arrived(kept, numbers)

        each(unpack, ranges(kept.missing(numbers), TOGETHER))

    def _packed(self, steps: StoredColumn, numbers: range) -> list[memoryview | None]:
        """Return chunks of the table as they were packed: a question asks for several fields."""
        latest: tuple[range | None, list[memoryview | None]]
        latest = getattr(self._latest, "packed", (None, []))
        if latest[0] != numbers:
            latest = self._latest.packed = numbers, [steps.packed(number) for number in numbers]
        return latest[1]

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

    def bounds(self, column: Column) -> Bounds | None:
        """Return between which values a column's entries lie; None if nothing is known of it."""
        stored = self._stored(column)
        name = escape(column.name) if column.name in self._in_table else VALUES
        known = stored.bounds()
        if name not in (known.dtype.names or ()):
            return None
        # Nothing is known of the rows after the last full chunk.
        known = np.concatenate([known, no_bounds(1, known.dtype)])
        count = min(len(known), -(-self.rows // stored.spec.chunk_rows))
        stops = np.arange(1, count + 1) * stored.spec.chunk_rows
        stops[-1:] = self.rows
        some = known[name][:count]
        return Bounds(stops, some["low"], some["high"], some["nan"])

    def has(self, column: Column) -> bool:
        """Return whether the column is there; that of JSON cells comes with the first."""
        return f"{self._group}/{escape(column.name)}" in self._snapshot.columns

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
        self._snapshot.close()
        self._latest = threading.local()
        self._blocks.clear()
        self._kept.clear()

# SPDX-License-Identifier: LGPL-3.0-or-later
"""Appends blocks to one data set of a file. One writer has the data set at a time."""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from gymbag.block import Block, EpisodeRow
from gymbag.errors import FileBusy, NotAStore, SchemaError
from gymbag.schema import Column, Schema, jsonable
from gymbag.schema.codecs import Arrays
from gymbag.schema.columns import ROWS
from gymbag.schema.info import CELL_COLUMNS, InfoColumn, fits_int64
from gymbag.schema.text import bytes_columns, join_bytes
from gymbag.storage.buffer import ColumnBuffer
from gymbag.storage.columns import ColumnSpec
from gymbag.storage.compression import TEXT, Compression, find_policy, in_lanes
from gymbag.storage.file import open_to_write, release
from gymbag.storage.meta import Meta, Session, dataset_line, info_lines
from gymbag.storage.names import EPISODES, EXTRA, META, STEPS, escape
from gymbag.storage.stored import StoredColumn

EPISODE_DTYPE = np.dtype(
    [
        ("id", "<i8"),
        ("first_row", "<i8"),
        ("rows", "<i8"),
        ("episode_return", "<f8"),
        ("start_time", "<f8"),
        ("end_time", "<f8"),
        ("seed", "<i8"),
        ("seeded", "?"),
        ("ended", "S16"),
        ("crc", "<u4"),
    ]
)
"""Columns of the table of episodes. `seed` counts where `seeded` says so; a seed that needs more
than 64 bits is in the episode's JSON cell alone. `crc` is the CRC-32 of the episode's rows in the
table of steps, packed as they stand there."""
EXTRA_COLUMNS = bytes_columns(EXTRA, EPISODES)

Columns: TypeAlias = Mapping[str, StoredColumn]
"""By path inside the file."""
NONE_YET: Columns = MappingProxyType({})


class DatasetWriter:
    """The one writer of a data set.

    Args:
        filename: the file; made if there is none.
        name: the data set in it; made if there is none of that name.
        schema: its columns.
        session: what the data set says of this recording.
        compression: name of a policy in `gymbag.storage.compression`.
        lanes: how many data sets are written side by side.

    Raises:
        SchemaError: the data set exists and has other spaces.
        FileError: the file cannot be opened, is not ours, or is being written to.
    """

    def __init__(
        self,
        filename: str | os.PathLike[str],
        name: str,
        schema: Schema,
        session: Session,
        *,
        compression: str = "default",
        lanes: int = 1,
    ) -> None:
        self._policy = find_policy(compression)
        self._lanes = lanes
        self.name = name
        self.filename = os.fspath(filename)
        self._group = f"/{escape(name)}"
        self._schema = schema
        self._buffers: dict[str, ColumnBuffer] = {}
        self._ends: dict[str, int] = {}
        self._crc = 0
        self.closed = False
        about = session.line()  # before there is a file: metadata may be refused
        self.file = open_to_write(filename)
        """The file, shared with the other writers of this process."""
        try:
            with self.file.lock:
                self._open(about)
        except BaseException:
            release(self.file)
            raise

    def _open(self, about: bytes) -> None:
        if self._group in self.file.datasets:
            raise FileBusy(
                f"{self.filename}: data set {self.name!r} is being recorded to in this process; "
                "close that recording first, or give this one another name"
            )
        if self._group[1:] in self.file.taken:
            raise NotAStore(
                f"{self.filename}: {self._group}: something of another program's has the name; "
                "give this data set another"
            )
        # To look at what is committed takes the longer the more data sets there are.
        snapshot = self.file.committed() if self._group in self.file.known else None
        committed = snapshot.columns if snapshot else {}
        self._open_column(META, np.dtype("u1"), (), TEXT, committed)
        self.info_columns: tuple[InfoColumn, ...] = ()
        if self._path(META) in committed:
            self.info_columns = self._same_schema(committed)
        else:
            self._append_meta(dataset_line(self.name, self._schema))
        self._append_meta(about)
        steps = np.dtype([(escape(c.name), c.dtype, c.shape) for c in self._schema.table])
        self._open_column(STEPS, steps, (), self._policy.table, committed, table=True)
        self._open_column(EPISODES, EPISODE_DTYPE, (), self._policy.table, committed, table=True)
        info_columns = [c for column in self.info_columns for c in column.columns]
        for column in (*self._schema.beside, *info_columns):
            self._open_array(column, committed)
        for columns in (CELL_COLUMNS, EXTRA_COLUMNS):
            if self._path(columns[0].name) in committed:
                for column in columns:
                    self._open_array(column, committed)
        if snapshot:
            snapshot.close()
        for column, slabs in self._schema.observation.wide():
            slabs.pack_with(self._buffers[column.name].packing())
        self.file.datasets.add(self._group)

    def _same_schema(self, committed: Columns) -> tuple[InfoColumn, ...]:
        """Check that the data set there has our spaces, and return its info columns."""
        meta_column = committed[self._path(META)]
        lines = meta_column.read(0, meta_column.rows).tobytes()
        meta = Meta.parse(lines, self.filename)
        try:
            meta.schema.require_same(self._schema, mine="the data set", others="this environment")
        except SchemaError as error:
            raise SchemaError(
                f"{self.filename}: data set {self.name!r} has another space: "
                f"{error}; record under another name, for example name={self.name + '-2'!r}"
            ) from None
        return meta.info_columns

    def _open_column(
        self,
        name: str,
        dtype: np.dtype,
        shape: tuple[int, ...],
        compression: Compression,
        committed: Columns,
        *,
        table: bool = False,
    ) -> None:
        path = self._path(name)
        stored = committed.get(path)
        chunk_rows = stored.spec.chunk_rows if stored else compression.chunk_rows
        compression = replace(compression, block_rows=min(compression.block_rows, chunk_rows))
        spec = ColumnSpec(path, table, dtype, shape, chunk_rows, compression)
        self._buffers[name] = ColumnBuffer(self.file, spec, stored)

    def _open_array(self, column: Column, committed: Columns = NONE_YET) -> None:
        compression = in_lanes(self._policy.column(column), column, self._lanes)
        self._open_column(column.name, column.dtype, column.shape, compression, committed)
        if column.ragged:
            stored = committed.get(self._path(column.name))
            self._ends[column.name] = 0
            if stored and stored.rows:
                last = stored.read(stored.rows - 1, stored.rows)
                self._ends[column.name] = int(last[0])

    def _path(self, name: str) -> str:
        return f"{self._group}/{escape(name)}"

    @property
    def rows(self) -> int:
        """Rows appended so far."""
        return self._buffers[STEPS].rows

    @property
    def episodes(self) -> int:
        """Episodes appended so far."""
        return self._buffers[EPISODES].rows

    def append(self, block: Block) -> None:
        """Append a block of rows, and the episodes that end in it.

        Raises:
            FileError: the log of the file cannot be written.
        """
        with self.file.lock:
            for name, values in self._columns(block, self._ends):
                self._buffers[name].append(values)

    def append_provisional(self, block: Block) -> None:
        """Add to the next commit, and to it alone, how a block would follow what was appended."""
        with self.file.lock:
            kept = self._crc
            for name, values in self._columns(block, dict(self._ends)):
                self._buffers[name].contribute_provisional(values)
            self._crc = kept
            # The columns of a new info are there from now on; so is what says of them.
            self._buffers[META].contribute()

    def contribute(self, *, last: bool = False) -> None:
        """Add all that was appended to the next commit of the file.

        Args:
            last: whether nothing more will be appended.
        """
        for buffer in self._buffers.values():
            buffer.contribute(last=last)

    def close(self, *, commit: bool = True) -> None:
        """Add all that was appended, and give the file back.

        Args:
            commit: whether to have that count at once, or with the next commit.
        """
        if self.closed:
            return
        self.closed = True
        try:
            with self.file.lock:
                # After a failure, the file is the last commit; the failure was told.
                if self.file.failed is None:
                    self.contribute(last=True)
                    if commit and self.file.users > 1:
                        self.file.commit()
                        self.file.sync()
        finally:
            self.file.datasets.discard(self._group)
            release(self.file)

    def _columns(self, block: Block, ends: dict[str, int]) -> Iterator[tuple[str, Any]]:
        """Iterate over what a block adds to each column, the steps last."""
        values = block.columns
        rows = np.empty(block.rows, dtype=self._buffers[STEPS].spec.dtype)
        for column in self._schema.table:
            rows[escape(column.name)] = values[column.name]
        yield from self._info(block, ends)
        for column in self._schema.beside:
            yield column.name, _ended(column, values[column.name], ends)
        yield from self._episodes(block.episodes, rows, ends)
        yield STEPS, rows

    def _info(self, block: Block, ends: dict[str, int]) -> Iterator[tuple[str, Any]]:
        values = block.info.values
        new = block.info.columns[len(self.info_columns) :]
        for info_column in new:
            self._begin(info_column.columns, self.rows)
            self._append_meta(info_lines([info_column]))
        self.info_columns = block.info.columns
        for info_column in self.info_columns:
            for column in info_column.columns:
                if column.name in values:
                    yield column.name, values[column.name]
                else:
                    yield column.name, np.zeros(block.rows, column.dtype)
        cells = [values[column.name] for column in CELL_COLUMNS if column.name in values]
        yield from self._cells(CELL_COLUMNS, cells, self.rows, block.rows, ends)

    def _episodes(
        self, episodes: tuple[EpisodeRow, ...], steps: NDArray[Any], ends: dict[str, int]
    ) -> Iterator[tuple[str, Any]]:
        crcs = self._checksums(episodes, steps)
        if not episodes:
            return
        rows = np.zeros(len(episodes), dtype=EPISODE_DTYPE)
        *plain, ended, seeds, options = zip(*episodes, strict=True)
        for name, values in zip(EpisodeRow._fields, plain, strict=False):
            rows[name] = values
        rows["ended"] = ended
        rows["seeded"] = [seed is not None for seed in seeds]
        rows["seed"] = [seed if _in_table(seed) else 0 for seed in seeds]
        rows["crc"] = crcs
        cells = []
        if any(options) or not all(seed is None or _in_table(seed) for seed in seeds):
            cells = join_bytes([_cell(episode) for episode in episodes])
        yield from self._cells(EXTRA_COLUMNS, cells, self.episodes, len(episodes), ends)
        yield EPISODES, rows

    def _checksums(self, episodes: tuple[EpisodeRow, ...], steps: NDArray[Any]) -> list[int]:
        """Return the checksums of episodes that end among these rows of the table of steps."""
        data = memoryview(steps.view(np.uint8).data)
        size, before, begin, crc, crcs = steps.dtype.itemsize, self.rows, 0, self._crc, []
        for episode in episodes:
            end = (episode.first_row + episode.rows - before) * size
            crcs.append(zlib.crc32(data[begin:end], crc))
            crc, begin = 0, end
        self._crc = zlib.crc32(data[begin:], crc)
        return crcs

    def _cells(
        self,
        columns: tuple[Column, Column],
        arrays: Arrays,
        before: int,
        count: int,
        ends: dict[str, int],
    ) -> Iterator[tuple[str, Any]]:
        """Iterate over JSON cells; their columns are made when the first comes.

        Most data sets need none.
        """
        lengths = columns[0]
        if arrays and lengths.name not in self._buffers:
            self._begin(columns, before)
            ends.setdefault(lengths.name, 0)
        if arrays or lengths.name in self._buffers:
            empty = [np.zeros(count, lengths.dtype), np.zeros(0, columns[1].dtype)]
            for column, values in zip(columns, arrays or empty, strict=True):
                yield column.name, _ended(column, values, ends)

    def _begin(self, columns: Iterable[Column], rows: int) -> None:
        """Make columns of which so many rows had nothing."""
        for column in columns:
            self._open_array(column)
            if column.frame in (ROWS, EPISODES):
                self._buffers[column.name].skip(rows)
                # What is provisional may follow in the same commit.
                self._buffers[column.name].contribute()

    def _append_meta(self, lines: bytes) -> None:
        self._buffers[META].append(np.frombuffer(lines, dtype=np.uint8))


def _ended(column: Column, values: Any, ends: dict[str, int]) -> Any:
    """Return lengths of ragged rows as where they end, counted from the column's beginning."""
    if column.ragged and len(values):
        values = np.cumsum(values, dtype=np.uint64) + np.uint64(ends[column.name])
        ends[column.name] = int(values[-1])
    return values


def _cell(episode: EpisodeRow) -> bytes:
    """Return what the table cannot hold of an episode as JSON; mostly nothing."""
    extra: dict[str, Any] = {}
    if episode.seed is not None and not _in_table(episode.seed):
        extra["seed"] = episode.seed
    if episode.options is not None:
        extra["options"] = dict(episode.options)
    return jsonable.dumps(extra).encode() if extra else b""


def _in_table(seed: int | None) -> bool:
    return seed is not None and fits_int64(seed)

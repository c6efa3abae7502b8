# SPDX-License-Identifier: LGPL-3.0-or-later
"""Appends blocks to one data set of a file.

`append` takes whole blocks; `commit` is an act of its own, and makes what was appended so far
readable. One writer has the data set at a time.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

import numpy as np
import tables
from numpy.typing import NDArray

from gymbag.episode import Block, EpisodeRow
from gymbag.errors import FileBusy, SchemaError
from gymbag.schema import Column, Schema, jsonable
from gymbag.schema.codecs import Arrays
from gymbag.schema.columns import ROWS
from gymbag.schema.info import CELL_COLUMNS, InfoColumn, fits_int64
from gymbag.schema.text import bytes_columns, join_bytes
from gymbag.storage.chunks import ColumnWriter
from gymbag.storage.compression import TABLE, Compression, find_policy
from gymbag.storage.handles import LOCK, Connection, create_file, unnatural_names
from gymbag.storage.meta import Meta, Session, dataset_line, info_lines
from gymbag.storage.names import EPISODES, EXTRA, META, STEPS, escape

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
    ]
)
"""Columns of the table of episodes. `seed` counts where `seeded` says so; a seed that needs more
than 64 bits is in the episode's JSON cell alone."""
EXTRA_COLUMNS = bytes_columns(EXTRA, EPISODES)


class DatasetWriter:
    """The one writer of a data set.

    Args:
        filename: the file; made if there is none.
        name: the data set in it; made if there is none of that name.
        schema: its columns.
        session: what the data set says of this recording.
        compression: name of a policy in `gymbag.storage.compression`.

    Raises:
        SchemaError: the data set exists and has other spaces.
        FileError: the file cannot be opened, is not ours, or the data set is being written to.
    """

    def __init__(
        self,
        filename: str | os.PathLike[str],
        name: str,
        schema: Schema,
        session: Session,
        *,
        compression: str = "default",
    ) -> None:
        self._policy = find_policy(compression)
        self.name = name
        self._group = f"/{escape(name)}"
        self._schema = schema
        self._writers: dict[str, ColumnWriter] = {}
        self._ends: dict[str, int] = {}
        self.closed = False
        create_file(filename)
        self._connection = Connection(filename, writing=True)
        try:
            with LOCK, unnatural_names():
                self._open(session)
        except BaseException:
            self._connection.close()
            raise

    def _open(self, session: Session) -> None:
        file = self._connection.file
        if (self._connection.shared.path, self._group) in _written:
            raise FileBusy(
                f"{self._connection.filename}: data set {self.name!r} is being recorded to in "
                "this process; close that recording first, or give this one another name"
            )
        if self._group not in file:
            self._create(file)
        meta = Meta.parse(self._node(META)[:].tobytes(), self._connection.filename)
        try:
            meta.schema.require_same(self._schema)
        except SchemaError as error:
            raise SchemaError(
                f"{self._connection.filename}: data set {self.name!r} has another space: "
                f"{error}; record under another name, for example name={self.name + '-2'!r}"
            ) from None
        self._append_meta(session.line())
        self.info_columns: tuple[InfoColumn, ...] = meta.info_columns
        for table in (STEPS, EPISODES):
            self._writers[table] = ColumnWriter(self._connection, self._path(table), TABLE)
        info_columns = [c for column in meta.info_columns for c in column.columns]
        for column in (*self._schema.beside, *info_columns):
            self._open_column(column)
        for columns in (CELL_COLUMNS, EXTRA_COLUMNS):
            if self._path(columns[0].name) in file:
                self._open_cells(columns)
        self._key = (self._connection.shared.path, self._group)
        _written.add(self._key)

    def _create(self, file: Any) -> None:
        group = file.create_group("/", self._group[1:])
        byte = tables.Atom.from_dtype(np.dtype("u1"))
        file.create_earray(group, META, byte, (0,), chunkshape=(4096,))
        self._append_meta(dataset_line(self.name, self._schema))
        steps = np.dtype([(escape(c.name), c.dtype, c.shape) for c in self._schema.table])
        for name, dtype in ((STEPS, steps), (EPISODES, EPISODE_DTYPE)):
            file.create_table(
                group, name, dtype, filters=_filters(TABLE), chunkshape=(TABLE.chunk_rows,)
            )
        for column in self._schema.beside:
            self._create_column(column)

    def _create_column(self, column: Column) -> None:
        compression = self._policy(column)
        self._connection.file.create_earray(
            self._group,
            escape(column.name),
            tables.Atom.from_dtype(column.dtype),
            (0, *column.shape),
            filters=_filters(compression),
            chunkshape=(compression.chunk_rows, *column.shape),
        )

    def _open_column(self, column: Column) -> None:
        path = self._path(column.name)
        writer = ColumnWriter(self._connection, path, self._policy(column))
        self._writers[column.name] = writer
        if column.ragged:
            self._ends[column.name] = int(self._connection.node(path)[-1]) if writer.rows else 0

    def _open_cells(self, columns: tuple[Column, Column]) -> None:
        for column in columns:
            self._open_column(column)

    def _path(self, name: str) -> str:
        return f"{self._group}/{escape(name)}"

    @property
    def rows(self) -> int:
        """Rows appended so far."""
        return self._writers[STEPS].rows

    @property
    def episodes(self) -> int:
        """Episodes appended so far."""
        return self._writers[EPISODES].rows

    def _node(self, name: str) -> Any:
        return self._connection.node(f"{self._group}/{name}")

    def append(self, block: Block) -> None:
        """Append a block of rows, and the episodes that end in it."""
        self._append_info(block)
        for column in self._schema.beside:
            self._append_column(column, block.columns[column.name])
        self._append_episodes(block.episodes)
        rows = np.empty(block.rows, dtype=self._writers[STEPS].dtype)
        for column in self._schema.table:
            rows[escape(column.name)] = block.columns[column.name]
        self._writers[STEPS].append(rows)

    def _append_column(self, column: Column, values: NDArray[Any]) -> None:
        if column.ragged and len(values):
            values = np.cumsum(values, dtype=np.uint64) + np.uint64(self._ends[column.name])
            self._ends[column.name] = int(values[-1])
        self._writers[column.name].append(values)

    def _append_info(self, block: Block) -> None:
        values = block.info.values
        new = block.info.columns[len(self.info_columns) :]
        for info_column in new:
            self._begin(info_column.columns, self.rows)
            self._append_meta(info_lines([info_column]))
        self.info_columns = block.info.columns
        for info_column in self.info_columns:
            for column in info_column.columns:
                if column.name in values:
                    self._writers[column.name].append(values[column.name])
                else:
                    self._writers[column.name].skip(block.rows)
        cells = [values[column.name] for column in CELL_COLUMNS if column.name in values]
        self._append_cells(CELL_COLUMNS, cells, self.rows, block.rows)

    def _append_episodes(self, episodes: tuple[EpisodeRow, ...]) -> None:
        if not episodes:
            return
        rows = np.zeros(len(episodes), dtype=EPISODE_DTYPE)
        *plain, ended, seeds, options = zip(*episodes, strict=True)
        for name, values in zip(EpisodeRow._fields, plain, strict=False):
            rows[name] = values
        rows["ended"] = ended
        rows["seeded"] = [seed is not None for seed in seeds]
        rows["seed"] = [seed if _in_table(seed) else 0 for seed in seeds]
        cells = []
        if any(options) or not all(seed is None or _in_table(seed) for seed in seeds):
            cells = join_bytes([_cell(episode) for episode in episodes])
        self._append_cells(EXTRA_COLUMNS, cells, self.episodes, len(episodes))
        self._writers[EPISODES].append(rows)

    def _append_cells(
        self, columns: tuple[Column, Column], arrays: Arrays, before: int, count: int
    ) -> None:
        """Append JSON cells; their columns are made when the first comes, as most need none."""
        lengths = columns[0]
        if arrays and lengths.name not in self._writers:
            self._begin(columns, before)
        if arrays or lengths.name in self._writers:
            empty = [np.zeros(count, lengths.dtype), np.zeros(0, columns[1].dtype)]
            for column, values in zip(columns, arrays or empty, strict=True):
                self._append_column(column, values)

    def _begin(self, columns: Iterable[Column], rows: int) -> None:
        """Make columns of which so many rows had nothing."""
        with LOCK, unnatural_names():
            for column in columns:
                self._create_column(column)
                self._open_column(column)
                if column.frame in (ROWS, EPISODES):
                    self._writers[column.name].skip(rows)

    def _append_meta(self, lines: bytes) -> None:
        with LOCK:
            self._node(META).append(np.frombuffer(lines, dtype=np.uint8))

    def commit(self) -> None:
        """Make everything appended so far readable."""
        for writer in self._writers.values():
            writer.flush()
        self._connection.flush()

    def close(self) -> None:
        """Commit, and give the file back."""
        if self.closed:
            return
        self.closed = True
        try:
            self.commit()
        finally:
            _written.discard(self._key)
            self._connection.close()

    @property
    def before_read(self) -> list[Any]:
        """What is called before another part of this process opens the file for reading."""
        return self._connection.shared.before_read


def _filters(compression: Compression) -> tables.Filters:
    """Return what HDF5 is told of the compression; the chunks come compressed already."""
    return tables.Filters(
        complevel=compression.level,
        complib=f"blosc2:{compression.codec}",
        shuffle=compression.shuffle,
    )


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


_written: set[tuple[str, str]] = set()
"""Data sets that this process writes to: the file's path and the group."""

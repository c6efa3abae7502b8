# SPDX-License-Identifier: LGPL-3.0-or-later
"""Several data sets read as one: the lanes of a vector of environments, and those of many files."""

from __future__ import annotations

import glob
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from gymbag.errors import NoSuchDataset, NoSuchFile, SchemaError
from gymbag.schema import Column
from gymbag.schema.columns import ROWS
from gymbag.schema.info import CELL_COLUMNS, InfoColumn
from gymbag.storage.access import open_to_read
from gymbag.storage.bounds import Bounds
from gymbag.storage.bounds import joined as joined_bounds
from gymbag.storage.datasets import dataset_names, lane_of, stored_names
from gymbag.storage.entries import Reader
from gymbag.storage.meta import Meta, joined_views
from gymbag.storage.names import EPISODES
from gymbag.storage.reader import CACHE_BYTES, DatasetReader
from gymbag.storage.sizes import ColumnSize
from gymbag.storage.writer import EXTRA_COLUMNS

Path: TypeAlias = str | os.PathLike[str]
Numbers = NDArray[np.int64]


def open_reader(source: Path | Sequence[Path], name: str | None, max_bytes: int) -> Reader:
    """Open a data set for reading; where it has several parts, all of them as one.

    Args:
        source: a file, a pattern of names such as ``runs/*.h5``, or several files.
        name: the data set; None if there is only one.
        max_bytes: how many bytes a file may make this process allocate at once.

    Raises:
        NoSuchFile: there is no such file.
        NoSuchDataset: there is no data set of that name, or several and none was named.
        SchemaError: the parts have different spaces.
        FileError: a file cannot be opened, is damaged, or is not ours.
    """
    paths = files_of(source)
    shown = os.fspath(source) if isinstance(source, str | os.PathLike) else ", ".join(paths)
    snapshots = [open_to_read(path, max_bytes) for path in paths]
    stored = [stored_names(snapshot) for snapshot in snapshots]
    if name is None or not any(name in names and lane_of(name)[1] is not None for names in stored):
        name = _chosen(name, {n for snapshot in snapshots for n in dataset_names(snapshot)}, shown)
        stored = [[own for own in names if lane_of(own)[0] == name] for names in stored]
    else:
        stored = [[own for own in names if own == name] for names in stored]
    share = CACHE_BYTES // max(1, sum(map(len, stored)))
    parts = [
        DatasetReader(
            path,
            own,
            cache_bytes=share,
            max_bytes=max_bytes,
            lane=lane_of(own)[1],
            snapshot=snapshot,
        )
        for path, snapshot, names in zip(paths, snapshots, stored, strict=True)
        for own in names
    ]
    return parts[0] if len(parts) == 1 else JoinedReader(shown, name, parts)


def files_of(source: Path | Sequence[Path]) -> list[str]:
    """Return the files that are meant.

    Raises:
        NoSuchFile: there is none.
    """
    if not isinstance(source, str | os.PathLike):
        if not source:
            raise NoSuchFile("an empty list of files; expected one file or more")
        return [os.fspath(path) for path in source]
    path = os.fspath(source)
    if not glob.has_magic(path) or os.path.exists(path):
        return [path]
    found = sorted(glob.glob(path))
    if not found:
        raise NoSuchFile(f"{path}: no file has such a name")
    return found


def _chosen(name: str | None, names: set[str], shown: str) -> str:
    """Return the data set that is meant."""
    if name is None and len(names) == 1:
        return next(iter(names))
    held = f"it holds {', '.join(map(repr, sorted(names)))}" if names else "it holds none yet"
    if name is None:
        advice = "; say which, as name=" if names else ""
        raise NoSuchDataset(f"{shown}: no data set was named, and {held}{advice}")
    if name not in names:
        raise NoSuchDataset(f"{shown}: there is no data set {name!r}; {held}")
    return name


class JoinedReader(Reader):
    """The rows of several data sets, one after another."""

    def __init__(self, filename: str, name: str, parts: Sequence[DatasetReader]) -> None:
        self.filename = filename
        self.max_bytes = parts[0].max_bytes
        self._name = name
        self._parts = parts
        first, *others = self._parts
        for part in others:
            try:
                part.meta.schema.require_same(first.meta.schema)
            except SchemaError as error:
                raise SchemaError(
                    f"{part.filename}: data set {part.meta.name!r} cannot be read as one with "
                    f"{first.meta.name!r} of {first.filename}: {error}; open it by itself"
                ) from None
        info, self._own = _joined_info([part.meta.info_columns for part in self._parts])
        metas = [part.meta for part in self._parts]
        sessions = sorted((s for meta in metas for s in meta.sessions), key=lambda s: s.start_time)
        views = joined_views(metas)
        self.meta = Meta(self._name, first.meta.schema, tuple(sessions), info, views)
        ragged = [*self.meta.schema.observation.columns, *self.meta.schema.action.columns]
        self._ragged = {
            column.name: column
            for column in (*ragged, CELL_COLUMNS[0], EXTRA_COLUMNS[0])
            if column.ragged
        }
        self._starts: dict[str, Numbers] = {}
        tables = [part.episodes.copy() for part in self._parts]
        for table, start in zip(tables, self._first(ROWS).tolist(), strict=False):
            table["first_row"] += start
        self.episodes = np.concatenate(tables)
        self.episodes["id"] = np.arange(len(self.episodes))
        self.rows = int(self._first(ROWS)[-1])
        lanes = [part.lanes for part in self._parts]
        # What is no lane of a vector has the number -1.
        numbers = [
            np.full(len(part.episodes), -1) if lane is None else lane
            for part, lane in zip(self._parts, lanes, strict=True)
        ]
        self.lanes = None if all(lane is None for lane in lanes) else np.concatenate(numbers)

    def _first(self, frame: str) -> Numbers:
        """Return where the entries of each part begin among all, and where the last end."""
        if frame not in self._starts:
            counts = [self._count(part, frame) for part in self._parts]
            self._starts[frame] = np.cumsum([0, *counts], dtype=np.int64)
        return self._starts[frame]

    def _count(self, part: DatasetReader, frame: str) -> int:
        """Return how many entries the columns of a frame have in a part."""
        if frame == ROWS:
            return part.rows
        if frame == EPISODES:
            return len(part.episodes)
        ragged = self._ragged[frame]
        count = self._count(part, ragged.frame) if part.has(ragged) else 0
        return int(part.take(ragged, np.array([count - 1]))[0]) if count else 0

    def _part_column(self, part: int, column: Column) -> Column | None:
        """Return what a column is called in a part; None if it is not there."""
        if column.name in self._own:
            return self._own[column.name][part]
        table = column.name in {own.name for own in self.meta.schema.table}
        return column if table or self._parts[part].has(column) else None

    def _each(
        self, column: Column, rows: Numbers, work: Callable[[int, Column, Numbers, Numbers], None]
    ) -> None:
        """Do work on each part that has some of the rows: with their places and own numbers."""
        starts = self._first(column.frame)
        parts = np.searchsorted(starts, rows, side="right") - 1
        for part in np.unique(parts).tolist():
            own = self._part_column(part, column)
            if own is not None:
                places = np.flatnonzero(parts == part)
                work(part, own, places, rows[places] - starts[part])

    def take(self, column: Column, rows: Numbers) -> NDArray[Any]:
        """Return the entries of a column at `rows`; zeros where a part has no such column."""
        out = np.zeros((len(rows), *column.shape), column.dtype)

        def take(part: int, own: Column, places: Numbers, rows: Numbers) -> None:
            out[places] = self._parts[part].take(own, rows)

        self._each(column, rows, take)
        return out

    def view(self, column: Column, rows: slice) -> NDArray[Any]:
        """Return the entries at rows that follow one another, to be read only."""
        starts = self._first(column.frame)
        part = int(np.searchsorted(starts, rows.start, side="right")) - 1
        if rows.start < rows.stop <= starts[part + 1]:
            own = self._part_column(part, column)
            start = int(starts[part])
            if own is not None:
                return self._parts[part].view(own, slice(rows.start - start, rows.stop - start))
        return self.take(column, np.arange(rows.start, rows.stop))

    def take_column(self, column: Column, rows: Numbers) -> tuple[NDArray[Any], Numbers]:
        """Return the entries at `rows`, and for ragged ones lengths and where the items are."""
        if not column.ragged:
            return self.take(column, rows), rows[:0]
        lengths = np.zeros(len(rows), np.int64)
        first = np.zeros(len(rows), np.int64)

        def take(part: int, own: Column, places: Numbers, rows: Numbers) -> None:
            count, items = self._parts[part].take_column(own, rows)
            lengths[places] = count
            begin = np.concatenate(([0], np.cumsum(count)))[:-1]
            some = count > 0
            first[places[some]] = items[begin[some]] + self._first(column.name)[part]

        self._each(column, rows, take)
        before = np.concatenate(([0], np.cumsum(lengths)[:-1]))
        items = np.repeat(first - before, lengths)
        return lengths, items + np.arange(len(items))

    def bounds(self, column: Column) -> Bounds | None:
        """Return between which values a column's entries lie; None if that is not known of all."""
        parts: list[Bounds] = []
        for number, part in enumerate(self._parts):
            own = self._part_column(number, column)
            bounds = _zeros(column, part.rows) if own is None else part.bounds(own)
            if bounds is None:
                return None
            parts.append(bounds)
        return joined_bounds(parts)

    def has(self, column: Column) -> bool:
        """Return whether any part has the column."""
        return any(self._part_column(n, column) is not None for n in range(len(self._parts)))

    def column_sizes(self) -> list[ColumnSize]:
        """Return what each table and array takes, that of all parts together."""
        sizes = sorted((s for p in self._parts for s in p.column_sizes()), key=lambda s: s.name)
        groups = (list(group) for _, group in groupby(sizes, key=lambda s: s.name))
        return [
            replace(
                group[0],
                nbytes=sum(size.nbytes for size in group),
                stored=sum(size.stored for size in group),
            )
            for group in groups
        ]

    @property
    def files(self) -> list[str]:
        """The files it stands in."""
        return list(dict.fromkeys(part.filename for part in self._parts))

    def close(self) -> None:
        """Give the files back."""
        for part in self._parts:
            part.close()


def _zeros(column: Column, rows: int) -> Bounds:
    """Return the bounds of a column that is not there."""
    zeros = np.zeros((min(rows, 1), *column.shape), column.dtype)
    stops = np.full(len(zeros), rows)
    return Bounds(stops, zeros, zeros, np.zeros(len(zeros), np.bool_))


def _joined_info(
    parts: Iterable[Sequence[InfoColumn]],
) -> tuple[tuple[InfoColumn, ...], dict[str, list[Column | None]]]:
    """Return the columns of all infos, and what each is called in each part.

    A column's name tells its type where an earlier one has the key, so it can be another in each.
    """
    known = [{(column.keys, column.type): column for column in columns} for columns in parts]
    joined: list[InfoColumn] = []
    own: dict[str, list[Column | None]] = {}
    taken: set[str] = set()
    for kind, column in {kind: c for columns in known for kind, c in columns.items()}.items():
        name = column.name
        while name in taken:
            name += f":{column.type}"
        taken.add(name)
        joined.append(replace(column, name=name))
        of_parts = [columns.get(kind) for columns in known]
        for place, new in enumerate(joined[-1].columns):
            own[new.name] = [None if part is None else part.columns[place] for part in of_parts]
    return tuple(joined), own

# SPDX-License-Identifier: LGPL-3.0-or-later
"""Makes a file anew: column after column, chunk after chunk, as it is or without some episodes.

A file that is being made needs no log, for nobody reads it: HDF5 is handed the chunks as they
come, the index is written behind it, and the file is synced. What makes it count is that it is
given its name, in one step.

When episodes are left out, the others move up: rows, items of ragged rows, the ends of those, the
numbers of the episodes in both tables, and the episodes' checksums.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gymbag.errors import FileError
from gymbag.schema import Column
from gymbag.schema.columns import ROWS
from gymbag.storage import disk, pytables
from gymbag.storage.columns import ColumnSpec
from gymbag.storage.compression import TEXT, Compression, Policy
from gymbag.storage.frames import Compressor, is_zero
from gymbag.storage.merge import Notes, write_index
from gymbag.storage.names import EPISODES, META, STEPS, escape
from gymbag.storage.stored import StoredColumn
from gymbag.storage.survey import Part, conform, present
from gymbag.storage.writer import EPISODE_DTYPE

Frames = Iterable[tuple[int, bytes]]
Values = Iterator[NDArray[Any]]


class NewColumn(NamedTuple):
    """A column of a file that is to be made."""

    spec: ColumnSpec
    rows: int
    frames: Frames
    """Those of its chunks that do not hold zeros alone, by their number."""


class Span(NamedTuple):
    """Entries that follow one another."""

    start: int
    stop: int
    blank: bool = False
    """Whether zeros, or ragged rows without an item, take their place."""


def build(filename: str, columns: Iterable[NewColumn], *, sequence: int = 0) -> None:
    """Make a file that is safe from a power cut when this returns.

    Args:
        filename: it must not be there yet.
        columns: each is consumed before the next is asked for.
        sequence: number of the last record of the log that is in the file.

    Raises:
        FileError: what is copied is damaged, or the file cannot be written.
    """
    notes: dict[str, Notes] = {}

    def changes() -> Iterator[pytables.Change]:
        for column in columns:
            note = notes[column.spec.path] = Notes(column.spec, column.rows)
            yield column.spec, column.rows, note.noting(column.frames)

    try:
        places = pytables.store(filename, changes(), new=True)
    except FileError as error:
        # What is wrong with the source is no fault of the target.
        raise (error.__cause__ if isinstance(error.__cause__, FileError) else error) from None
    descriptor = disk.open_to_change(filename)
    try:
        indexed = {path: note.index(places[path]) for path, note in notes.items()}
        write_index(filename, descriptor, sequence, indexed)
    finally:
        os.close(descriptor)


def as_it_is(column: StoredColumn) -> NewColumn:
    """Return a column to be copied chunk by chunk, without decoding what has a checksum."""
    if column.checked and not column.logged:
        numbers = present(column).tolist()
        frames = ((number, column.frame(number)) for number in numbers)
        return NewColumn(column.spec, column.rows, frames)
    return recoded(column, column.spec)


def recoded(column: StoredColumn, spec: ColumnSpec) -> NewColumn:
    """Return a column to be compressed anew."""
    values = Cursor(column).values([Span(0, column.rows)])
    return NewColumn(spec, column.rows, frames_of(spec, values))


def spec_of(path: str, column: Column, policy: Policy, stored: ColumnSpec | None) -> ColumnSpec:
    """Return how a column is to stand in a new file."""
    name = path.rpartition("/")[2]
    fixed: Mapping[str, Compression] = {META: TEXT, STEPS: policy.table, EPISODES: policy.table}
    compression = fixed.get(name) or policy.column(column)
    table = name in (STEPS, EPISODES)
    chunk_rows = compression.chunk_rows
    if stored is not None:
        compression, chunk_rows = stored.compression, stored.chunk_rows
    compression = replace(compression, block_rows=min(compression.block_rows, chunk_rows))
    return ColumnSpec(path, table, column.dtype, column.shape, chunk_rows, compression)


def frames_of(spec: ColumnSpec, values: Values) -> Iterator[tuple[int, bytes]]:
    """Iterate over the frames of values that come in any portions."""
    compressor = Compressor(spec)
    size, filled, number = spec.chunk_rows, 0, 0
    chunk = np.zeros(spec.chunk_shape, spec.dtype)
    for part in values:
        while len(part):
            some, part = part[: size - filled], part[size - filled :]
            chunk[filled : filled + len(some)] = some
            filled += len(some)
            if filled == size:
                if not is_zero(chunk):
                    yield number, compressor.frame(chunk)
                number, filled = number + 1, 0
                chunk[:] = 0
    if filled and not is_zero(chunk):
        yield number, compressor.frame(chunk)


class Cursor:
    """Reads a column, mostly forwards; keeps the chunk that was decoded last."""

    def __init__(self, column: StoredColumn) -> None:
        self._column = column
        self._number = -1
        self._chunk: NDArray[Any] = np.zeros(0)

    def chunk(self, number: int) -> NDArray[Any]:
        """Return a chunk's values."""
        if number != self._number:
            self._chunk = self._column.load(number)
            self._number = number
        return self._chunk

    def entry(self, row: int) -> Any:
        """Return one value."""
        size = self._column.spec.chunk_rows
        return self.chunk(row // size)[row % size]

    def values(self, spans: Iterable[Span]) -> Values:
        """Iterate over the values of some spans, no portion larger than a chunk."""
        spec = self._column.spec
        for span in spans:
            start = span.start
            while start < span.stop:
                first = start % spec.chunk_rows
                count = min(span.stop - start, spec.chunk_rows - first)
                if span.blank:
                    yield np.zeros((count, *spec.shape), spec.dtype)
                else:
                    yield self.chunk(start // spec.chunk_rows)[first : first + count]
                start += count


@dataclass(slots=True)
class Copy:
    """A data set, to be copied with some of its episodes."""

    group: str
    """Its path in the new file."""
    columns: Mapping[str, StoredColumn]
    parts: list[Part]
    numbers: NDArray[np.int64]
    """The episodes to keep, ascending."""
    episodes: NDArray[Any]
    """Their rows in the table of episodes, as they were."""
    spec: Callable[[str, Column], ColumnSpec]
    """How a column is to stand in the new file, by its path."""
    blank: Mapping[str, NDArray[np.bool_]] = field(default_factory=dict)
    """For some columns, which of these episodes are to have nothing there."""
    _crcs: list[int] = field(default_factory=list)

    def new_columns(self) -> Iterator[NewColumn]:
        """Iterate over the columns, each to be consumed before the next."""
        meta = self.columns[META]
        everything = Cursor(meta).values([Span(0, meta.rows)])
        yield self._new(META, Column(META, np.dtype("u1")), meta.rows, everything)
        for column, _ in self.parts:
            spans = self._spans(column)
            rows = sum(span.stop - span.start for span in spans)
            if column.ragged:
                values = self._ends(column, spans)
            elif column.name == STEPS:
                values = self._steps(column, spans)
            else:
                values = self._read(column, spans)
            yield self._new(column.name, column, rows, values)
        # The checksums are known by now.
        table = Column(EPISODES, EPISODE_DTYPE)
        yield self._new(EPISODES, table, len(self.episodes), self._episodes())

    def _new(self, name: str, column: Column, rows: int, values: Values) -> NewColumn:
        spec = self.spec(f"{self.group}/{escape(name)}", column)
        return NewColumn(spec, rows, frames_of(spec, values))

    def _spans(self, column: Column) -> list[Span]:
        """Return which entries of a column are kept."""
        if column.frame == ROWS:
            starts = self.episodes["first_row"]
            return self._merged(column, starts, starts + self.episodes["rows"])
        if column.frame == EPISODES:
            return self._merged(column, self.numbers, self.numbers + 1)
        ends = next(part.column for part in self.parts if part.column.name == column.frame)
        if escape(ends.name) not in self.columns:
            return []
        cursor = Cursor(self.columns[escape(ends.name)])
        return [
            Span(self._end(cursor, span.start), self._end(cursor, span.stop))
            for span in self._spans(ends)
            if not span.blank
        ]

    def _end(self, ends: Cursor, entry: int) -> int:
        """Return where the items begin of an entry of ragged rows."""
        return int(ends.entry(entry - 1)) if entry else 0

    def _merged(self, column: Column, starts: Any, stops: Any) -> list[Span]:
        """Return spans, those that follow one another as one."""
        blank = self.blank.get(column.name, np.zeros(len(starts), np.bool_))
        merged: list[Span] = []
        for start, stop, is_blank in zip(
            *(x.tolist() for x in (starts, stops, blank)), strict=True
        ):
            if merged and merged[-1].stop == start and merged[-1].blank == is_blank:
                start = merged.pop().start
            merged.append(Span(start, stop, is_blank))
        return merged

    def _read(self, column: Column, spans: list[Span]) -> Values:
        """Iterate over the values of spans as the description has them."""
        stored = self.columns.get(escape(column.name))
        if stored is None:
            for start, stop, _ in spans:
                yield np.zeros((stop - start, *column.shape), column.dtype)
            return
        for span in spans:
            if span.blank:
                yield np.zeros((span.stop - span.start, *column.shape), column.dtype)
            else:
                for values in Cursor(stored).values([span]):
                    yield conform(values, column)

    def _ends(self, column: Column, spans: list[Span]) -> Values:
        """Iterate over the ends of ragged rows, counted from the first item that is kept."""
        last = 0
        stored = self.columns.get(escape(column.name))
        cursor = Cursor(stored) if stored is not None else None
        for span in spans:
            if span.blank or cursor is None:
                yield np.full(span.stop - span.start, last, column.dtype)
                continue
            begin = self._end(cursor, span.start)
            for values in cursor.values([span]):
                moved = values.astype(np.int64) - begin + last
                yield moved.astype(column.dtype)
            last += self._end(cursor, span.stop) - begin

    def _steps(self, column: Column, spans: list[Span]) -> Values:
        """Iterate over the steps with the episodes' new numbers, noting their checksums."""
        stops = np.cumsum(self.episodes["rows"])
        row, self._crcs = 0, [0] * len(stops)
        for values in self._read(column, spans):
            values = values.copy()
            numbers = np.searchsorted(stops, np.arange(row, row + len(values)), side="right")
            values["episode"] = numbers
            data, size = memoryview(values.view(np.uint8).data), values.itemsize
            begin = 0
            for number in range(int(numbers[0]), int(numbers[-1]) + 1):
                end = min(int(stops[number]) - row, len(values))
                part = data[begin * size : end * size]
                self._crcs[number] = zlib.crc32(part, self._crcs[number])
                begin = end
            row += len(values)
            yield values

    def _episodes(self) -> Values:
        table = self.episodes.copy()
        table["id"] = np.arange(len(table))
        table["first_row"] = np.cumsum(table["rows"]) - table["rows"]
        table["crc"] = self._crcs
        yield table

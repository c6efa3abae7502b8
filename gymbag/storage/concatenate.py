# SPDX-License-Identifier: LGPL-3.0-or-later
"""Data sets with the same spaces, one after another, as the columns of one data set to be made.

The whole chunks of the first are copied as they are. Those of the others begin in the middle of a
chunk, mostly, so they are decoded and compressed again, a chunk at a time.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gymbag.errors import FileError
from gymbag.schema import Column
from gymbag.schema.columns import ROWS
from gymbag.schema.info import InfoColumn
from gymbag.storage.columns import ColumnSpec
from gymbag.storage.compression import POLICIES
from gymbag.storage.meta import Meta, dataset_line, info_lines, joined_views
from gymbag.storage.names import EPISODES, META, STEPS, escape, unescape
from gymbag.storage.reader import DatasetReader
from gymbag.storage.rewrite import Cursor, Frames, NewColumn, Span, Values, frames_of, spec_of
from gymbag.storage.stored import StoredColumn
from gymbag.storage.survey import conform, parts_of, present
from gymbag.storage.writer import EPISODE_DTYPE


@dataclass(frozen=True, slots=True)
class Member:
    """A data set that becomes a part of another."""

    reader: DatasetReader
    """Has checked that all of it fits together."""
    columns: Mapping[str, StoredColumn]
    """By their names in the file."""

    @property
    def meta(self) -> Meta:
        """What it says of itself."""
        return self.reader.meta

    @property
    def where(self) -> str:
        """File and name, for messages."""
        return f"{self.reader.filename}: {self.meta.name}"

    def require_known(self) -> None:
        """Check that nothing in it would be lost.

        Raises:
            FileError: it has columns that a later gymbag wrote.
        """
        known = {META, EPISODES}
        known |= {escape(part.column.name) for part in parts_of(self.meta, self.columns)}
        unknown = sorted(map(unescape, set(self.columns) - known))
        if unknown:
            raise FileError(
                f"{self.where}: this gymbag does not know {', '.join(map(repr, unknown))}, so it "
                "cannot say what of that belongs to which episode; install a later one"
            )


class Concatenation:
    """Members that become one data set.

    Args:
        name: its name in the new file.
        members: at least one; the spaces of all are the same.
    """

    def __init__(self, name: str, members: Sequence[Member]) -> None:
        self.name = name
        self.members = members
        self.info_columns, self._own = _joined_info([m.meta.info_columns for m in members])
        self.sessions = [session for member in members for session in member.meta.sessions]
        """Of all members, in the order in which they were recorded."""
        if len(members) > 1:  # of one, it is known already
            self.sessions.sort(key=lambda session: session.start_time)
        schema = members[0].meta.schema
        meta = Meta(name, schema, tuple(self.sessions), self.info_columns)
        everything = {name: column for member in members for name, column in member.columns.items()}
        self.views = joined_views(member.meta for member in members)
        self._columns = [part.column for part in parts_of(meta, everything)]
        self._ragged = {column.name: column for column in self._columns if column.ragged}
        self._crcs: list[int] = []

    @property
    def episodes(self) -> int:
        """How many it will have."""
        return sum(len(member.reader.episodes) for member in self.members)

    @property
    def rows(self) -> int:
        """How many it will have."""
        return sum(member.reader.rows for member in self.members)

    def new_columns(self) -> Iterator[NewColumn]:
        """Iterate over the columns, each to be consumed before the next."""
        lines = [dataset_line(self.name, self.members[0].meta.schema)]
        lines += [*(session.line() for session in self.sessions), info_lines(self.info_columns)]
        lines += [view.line() for view in self.views.values()]
        meta = np.frombuffer(b"".join(lines), np.uint8)
        yield self._new(META, Column(META, np.dtype("u1")), len(meta), iter([meta]))
        for column in self._columns:
            spec = self._spec(column.name, column)
            rows = sum(self._count(member, column.frame) for member in self.members)
            yield NewColumn(spec, rows, self._frames(spec, column))
        # The checksums are known by now.
        table = Column(EPISODES, EPISODE_DTYPE)
        yield self._new(EPISODES, table, self.episodes, iter([self._episodes()]))

    def _new(self, name: str, column: Column, rows: int, values: Values) -> NewColumn:
        spec = self._spec(name, column)
        return NewColumn(spec, rows, frames_of(spec, values))

    def _spec(self, name: str, column: Column) -> ColumnSpec:
        """Return how a column is to stand in the new file: as in the first member that has it."""
        path = f"/{escape(self.name)}/{escape(name)}"
        stored = (self._stored(member, column) for member in self.members)
        first = next((found.spec for found in stored if found is not None), None)
        return spec_of(path, column, POLICIES["default"], first)

    def _stored(self, member: Member, column: Column) -> StoredColumn | None:
        """Return the column of a member; None if it has no such."""
        own: str | None = column.name
        if column.name in self._own:
            own = self._own[column.name][self.members.index(member)]
        return None if own is None else member.columns.get(escape(own))

    def _count(self, member: Member, frame: str) -> int:
        """Return how many entries the columns of a frame have in a member."""
        if frame == ROWS:
            return member.reader.rows
        if frame == EPISODES:
            return len(member.reader.episodes)
        ends = self._ragged[frame]
        stored, count = self._stored(member, ends), self._count(member, ends.frame)
        return int(Cursor(stored).entry(count - 1)) if stored is not None and count else 0

    def _frames(self, spec: ColumnSpec, column: Column) -> Frames:
        """Iterate over the chunks of a column, those of the first member as they are."""
        first = self.members[0]
        stored, whole = self._stored(first, column), 0
        sound = stored is not None and stored.checked and not stored.logged
        if stored is not None and sound and replace(stored.spec, path=spec.path) == spec:
            whole = self._count(first, column.frame) // spec.chunk_rows
            for number in present(stored).tolist():
                if number < whole:
                    yield number, stored.frame(number)
        for number, frame in frames_of(spec, self._values(column, whole * spec.chunk_rows)):
            yield whole + number, frame

    def _values(self, column: Column, begin: int) -> Values:
        """Iterate over the values of a column as they are to be, from an entry of the first on."""
        items = episodes = 0
        for number, member in enumerate(self.members):
            start, stop = 0 if number else begin, self._count(member, column.frame)
            stored = self._stored(member, column)
            if stored is None:
                values = _zeros(column, stop - start)
            else:
                read = Cursor(stored).values([Span(start, stop)])
                values = (conform(some, column) for some in read)
            if column.ragged:
                shift = column.dtype.type(items)
                values = (some + shift for some in values)
                items += self._count(member, column.name)
            elif column.name == STEPS:
                values = self._renumbered(member, values, episodes)
                episodes += len(member.reader.episodes)
            yield from values

    def _renumbered(self, member: Member, values: Values, before: int) -> Values:
        """Iterate over steps with the episodes' new numbers, noting the episodes' checksums."""
        table = member.reader.episodes
        if not before:  # nothing changes
            self._crcs = table["crc"].tolist()
            yield from values
            return
        stops = (table["first_row"] + table["rows"]).tolist()
        row, crc, episode = 0, 0, 0
        for some in values:
            moved = some.copy()
            moved["episode"] += np.uint32(before)
            data, size, begin = memoryview(moved.view(np.uint8).data), moved.itemsize, 0
            while episode < len(stops) and stops[episode] <= row + len(moved):
                end = (stops[episode] - row) * size
                self._crcs.append(zlib.crc32(data[begin:end], crc))
                crc, begin, episode = 0, end, episode + 1
            crc = zlib.crc32(data[begin:], crc)
            row += len(moved)
            yield moved

    def _episodes(self) -> NDArray[Any]:
        table = np.concatenate([member.reader.episodes for member in self.members])
        table["id"] = np.arange(len(table))
        table["first_row"] = np.cumsum(table["rows"]) - table["rows"]
        table["crc"] = self._crcs
        return table


def _zeros(column: Column, count: int) -> Values:
    """Iterate over so many zeros, few of them at a time."""
    most = max(1, (1 << 20) // max(1, column.nbytes))
    for start in range(0, count, most):
        yield np.zeros((min(most, count - start), *column.shape), column.dtype)


def _joined_info(
    members: Iterable[Sequence[InfoColumn]],
) -> tuple[tuple[InfoColumn, ...], dict[str, list[str | None]]]:
    """Return the columns of all infos; and for each column what it is called in each member.

    The name of a column tells its type where an earlier one has the key, so it may differ.
    """
    known = [{(column.keys, column.type): column for column in columns} for columns in members]
    joined: list[InfoColumn] = []
    own: dict[str, list[str | None]] = {}
    for kind, column in {kind: c for columns in known for kind, c in columns.items()}.items():
        plain = column.name.removesuffix(f"#{column.type}")
        taken = any(other.keys == column.keys for other in joined)
        joined.append(replace(column, name=f"{plain}#{column.type}" if taken else plain))
        found = [columns.get(kind) for columns in known]
        for place, new in enumerate(joined[-1].columns):
            own[new.name] = [None if c is None else c.columns[place].name for c in found]
    return tuple(joined), own


__all__ = ["Concatenation", "Member"]

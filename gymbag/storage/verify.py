# SPDX-License-Identifier: LGPL-3.0-or-later
"""Reads a whole file, and says what of it is damaged: which rows, of which episodes, and why."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from gymbag.errors import FileBusy, FileError, NewerFormat, NoSuchFile, NotAStore
from gymbag.storage import disk, undo
from gymbag.storage.bounds import covers
from gymbag.storage.footer import IndexedColumn, digest_of
from gymbag.storage.foreign import scanned_footer
from gymbag.storage.lock import writer_lives
from gymbag.storage.names import unescape
from gymbag.storage.snapshot import Snapshot
from gymbag.storage.stored import StoredColumn
from gymbag.storage.survey import OF_EPISODES, Survey, present, survey

Progress = Callable[[int, int], None]
"""Is told how many of how many chunks are done."""

HDF5 = "what HDF5 keeps"
INDEX = "the index"


@dataclass(frozen=True, slots=True)
class Damage:
    """Something in a file that is not as it was written."""

    dataset: str
    """The data set; empty if it concerns the file as a whole."""
    column: str
    first: int | None
    """The first row of the data set that is damaged; None if it concerns no rows."""
    last: int | None
    episodes: tuple[int, int] | None
    """The first and the last episode that it concerns."""
    reason: str

    def __str__(self) -> str:
        rows = "" if self.first is None else f", rows {self.first} to {self.last}"
        episodes = "" if self.episodes is None else ", episodes {} to {}".format(*self.episodes)
        place = ": ".join(filter(None, (self.dataset, self.column)))
        return f"{place}{rows}{episodes}: {self.reason}"


@dataclass(frozen=True, slots=True)
class Report:
    """What reading a whole file found; true if the file is sound."""

    filename: str
    datasets: int
    episodes: int
    chunks: int
    """Chunks read."""
    nbytes: int
    """Bytes of them in the file."""
    damages: tuple[Damage, ...] = ()
    notes: tuple[str, ...] = ()
    """What could not be checked, and why; and what else is worth knowing."""

    def __bool__(self) -> bool:
        """Return whether the file is sound."""
        return not self.damages

    def __str__(self) -> str:
        found = f"{len(self.damages)} damages" if self.damages else "sound"
        sets = f"{self.datasets} data set{'s' * (self.datasets != 1)}"
        about = f"{sets}, {self.episodes} episodes, {self.chunks} chunks"
        lines = [f"{self.filename}: {found}; {about}", *map(str, self.damages), *self.notes]
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """Return it as plain JSON."""
        return {"sound": bool(self), **asdict(self)}


def verify(filename: str | os.PathLike[str], *, progress: Progress | None = None) -> Report:
    """Read all of a file, and say what of it is damaged.

    Nothing is changed, and no writer is disturbed; of a file that is being recorded to, what is
    committed is checked.

    Args:
        filename: the file.
        progress: is called with how many of how many chunks are done.

    Returns:
        What was found; it is true if the file is sound.

    Raises:
        NoSuchFile: there is none.
        NotAStore: it is not one of gymbag's.
        FileError: it cannot be looked at now.

    >>> bool(verify(filename))
    True
    """
    path = os.path.realpath(filename)
    check_journal(path)
    try:
        snapshot = Snapshot(path)
    except (NoSuchFile, NotAStore, NewerFormat, FileBusy):
        raise
    except (FileError, MemoryError) as error:
        reason = str(error) or "it claims more than there is memory"
        return Report(path, 0, 0, 0, 0, (Damage("", INDEX, None, None, None, reason),))
    try:
        return _verify(snapshot, progress or (lambda _done, _total: None))
    finally:
        snapshot.close()


def check_journal(path: str) -> None:
    """Refuse a file in the middle of a change that nobody is going to complete.

    Raises:
        FileError: there is a journal, and whoever wrote it is dead.
    """
    if not os.path.exists(path + undo.SUFFIX):
        return
    try:
        descriptor = disk.open_plain(path + "-wal")
    except NoSuchFile:
        alive = False
    else:
        alive = writer_lives(descriptor)
        os.close(descriptor)
    if not alive and os.path.exists(path + undo.SUFFIX):
        raise FileError(
            f"{path}: a writer died while it changed the file; open it where the folder can be "
            "written to, for example with gymbag info, which puts it right, and verify it then"
        )


def _verify(snapshot: Snapshot, progress: Progress) -> Report:
    groups = group_columns(snapshot.columns)
    total = sum(len(present(column)) for column in snapshot.columns.values())
    done = 0

    def tick() -> None:
        nonlocal done
        done += 1
        progress(done, total)

    damages, notes = _check_file(snapshot)
    episodes = 0
    for name, columns in sorted(groups.items()):
        found = survey(name, columns, tick)
        episodes += int(np.count_nonzero(found.episodes["rows"]))
        damages += damages_of(found)
        damages += _wrong_bounds(name, columns)
        notes += (f"{name}: this gymbag does not know the column {c!r}" for c in found.unknown)
    nbytes = sum(column.stored for column in snapshot.columns.values())
    sizes = len(groups), episodes, total, nbytes
    return Report(snapshot.filename, *sizes, tuple(damages), tuple(notes))


def group_columns(columns: Mapping[str, StoredColumn]) -> dict[str, dict[str, StoredColumn]]:
    """Return the columns of each data set, by its name and theirs in the file."""
    groups: dict[str, dict[str, StoredColumn]] = {}
    for path, column in columns.items():
        group, _, name = path[1:].partition("/")
        groups.setdefault(unescape(group), {})[name] = column
    return groups


def damages_of(found: Survey) -> list[Damage]:
    """Return the damages of a data set as they are told."""
    told = []
    for column, ranges in found.damages.items():
        for start, stop, reason in ranges:
            first: int | None = start
            last: int | None = stop - 1
            episodes = found.episode_range(start, stop)
            if column in OF_EPISODES:
                some = found.episodes[start:stop]
                some = some[some["rows"] > 0]
                episodes = (start, stop - 1)
                first = int(some["first_row"][0]) if len(some) else None
                last = int((some["first_row"] + some["rows"])[-1]) - 1 if len(some) else None
            if stop <= start:
                first = last = episodes = None
            told.append(Damage(found.name, column, first, last, episodes, reason))
    return told


def _wrong_bounds(name: str, columns: Mapping[str, StoredColumn]) -> list[Damage]:
    """Return the chunks with values that a question would not be told of."""
    told = []
    reason = (
        "its values lie beyond the bounds that the index has; gymbag repack FILE makes new ones"
    )
    for path, column in sorted(columns.items()):
        for number, bounds in enumerate(column.bounds()):
            first = number * column.spec.chunk_rows
            # Damaged ones have been told of.
            with suppress(FileError, MemoryError):
                if not covers(bounds, column.load(number)):
                    last = first + column.spec.chunk_rows - 1
                    told.append(Damage(name, unescape(path), first, last, None, reason))
    return told


def _check_file(snapshot: Snapshot) -> tuple[list[Damage], list[str]]:
    """Check the index, and that HDF5 sees the same."""
    notes = []
    if snapshot.contents.sequence >= 0:
        alive = writer_lives(snapshot.log_descriptor)
        who = "is recording to it" if alive else "died while it recorded to it"
        holder = snapshot.contents.holder
        notes.append(
            f"process {holder.get('pid')} on {holder.get('host')} {who}; what it committed is "
            "checked, of what stands in its log as well"
        )
        if alive:
            return [], [*notes, "what HDF5 sees is not checked beside a living writer"]
    try:
        if snapshot.footer.end == 0 and not snapshot.footer.columns:
            return [], [*notes, "no data set is in the file itself yet"]
        if not snapshot.checked:
            size = os.fstat(snapshot.descriptor).st_size
            return _check_missing_index(snapshot.footer.end, size, notes)
        return _check_hdf5(snapshot), notes
    except (NotAStore, FileError, MemoryError) as error:
        return [Damage("", HDF5, None, None, None, str(error) or "it is damaged")], notes


def _check_missing_index(end: int, size: int, notes: list[str]) -> tuple[list[Damage], list[str]]:
    """Tell an index that was cut off, as other programs do, from one that is damaged."""
    if size > end:
        reason = "it does not have its checksum; so no chunk's could be checked"
        return [Damage("", INDEX, None, None, None, reason)], notes
    return [], [
        *notes,
        "there are no checksums, as another program has written to the file; so it could only be "
        "checked that all of it can be decoded; gymbag repack FILE gives it checksums again",
    ]


def _check_hdf5(snapshot: Snapshot) -> list[Damage]:
    told, index = [], snapshot.footer
    seen = dict(scanned_footer(snapshot.filename).columns)
    for path, column in index.columns.items():
        other = seen.pop(path, None)
        if other is None or other.rows != column.rows or not _same_places(other, column):
            told.append(f"{path} is elsewhere, or has other rows, than the index says")
    told += (f"{path} is there, but not in the index" for path in sorted(seen))
    # A column's last chunk is in the checksum, too; it is told on its own.
    tails = any(_tail_is_damaged(column) for column in snapshot.columns.values())
    if not told and not tails and digest_of(snapshot.descriptor, index) != index.digest:
        told = ["it does not have its checksum"]
    return [Damage("", HDF5, None, None, None, reason) for reason in told]


def _same_places(one: IndexedColumn, other: IndexedColumn) -> bool:
    return all(np.array_equal(one.chunks[name], other.chunks[name]) for name in ("offset", "size"))


def _tail_is_damaged(column: StoredColumn) -> bool:
    try:
        if len(column.chunks) and column.chunks["size"][-1]:
            column.frame(len(column.chunks) - 1)
    except FileError:
        return True
    return False


__all__ = ["Damage", "Progress", "Report", "verify"]

# SPDX-License-Identifier: LGPL-3.0-or-later
"""Replaces a file by a better one: without freed space, compressed otherwise, or without episodes.

The new file is made beside the old one, under a name that begins with a dot, and takes its place
in one step when it is complete and safe on the disk. Until then the old file is as it was, also
after a kill; what a kill leaves behind, the next one here removes. Who has the old file open
reads on in it. Nobody records meanwhile, for the lock of the writer is held.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from glob import escape as glob_escape
from glob import glob

import numpy as np

from gymbag.errors import FileBusy, FileError, NoSuchDataset, NoSuchFile
from gymbag.schema import Column
from gymbag.storage import disk, lock, log, undo
from gymbag.storage.columns import ColumnSpec
from gymbag.storage.compression import POLICIES, find_policy
from gymbag.storage.datasets import lane_of
from gymbag.storage.file import recover
from gymbag.storage.look import look
from gymbag.storage.meta import Meta
from gymbag.storage.names import EPISODES, META, escape, unescape
from gymbag.storage.reader import DatasetReader
from gymbag.storage.rewrite import Copy, NewColumn, as_it_is, build, recoded, spec_of
from gymbag.storage.snapshot import Snapshot
from gymbag.storage.stored import StoredColumn
from gymbag.storage.survey import parts_of, present
from gymbag.storage.verify import Progress, group_columns
from gymbag.storage.writer import EPISODE_DTYPE

ATTEMPTS = 3
Groups = dict[str, dict[str, StoredColumn]]


def repack(
    filename: str | os.PathLike[str],
    target: str | os.PathLike[str] | None = None,
    *,
    compression: str | None = None,
    progress: Progress | None = None,
) -> tuple[int, int]:
    """Write a file anew: it becomes smaller if space in it was freed, and has its index again.

    Args:
        filename: the file.
        target: where to write; the file itself is replaced if there is none.
        compression: "default", "fast", "small" or "archive"; if it is not given, chunks stay as
            they are.
        progress: is called with how many of how many chunks are done.

    Returns:
        Bytes of the file before and after.

    Raises:
        FileBusy: it is being recorded to.
        FileError: it is damaged, or cannot be written; it is as it was.

    >>> before, after = repack(filename)
    """
    policy = find_policy(compression) if compression is not None else None

    def columns(groups: Groups) -> Iterator[NewColumn]:
        for group in groups.values():
            known = _known_columns(group) if policy else {}
            for name, column in group.items():
                if policy and name in known:
                    spec = spec_of(column.spec.path, known[name], policy, None)
                    yield recoded(column, spec)
                else:
                    yield as_it_is(column)

    return _rewrite(filename, target, columns, progress)


def delete_dataset(
    filename: str | os.PathLike[str], name: str, *, progress: Progress | None = None
) -> tuple[int, int]:
    """Delete a data set with all its lanes, or one lane, and give the space back.

    Returns:
        Bytes of the file before and after.

    Raises:
        NoSuchDataset: there is none of that name.
        FileError: as for `repack`.
    """

    def columns(groups: Groups) -> Iterator[NewColumn]:
        if not any(name == lane_of(other)[0] for other in groups):
            _find(filename, groups, name)
        for other, group in groups.items():
            if name not in (other, lane_of(other)[0]):
                yield from map(as_it_is, group.values())

    return _rewrite(filename, None, columns, progress)


def delete_episodes(
    filename: str | os.PathLike[str],
    name: str | None,
    episodes: Iterable[int],
    *,
    progress: Progress | None = None,
) -> tuple[int, int]:
    """Delete episodes of a data set, and give their space back; those that follow move up.

    Args:
        filename: the file.
        name: the data set; None if there is only one.
        episodes: their numbers.
        progress: is called with how many of how many chunks are done.

    Returns:
        Bytes of the file before and after.

    Raises:
        ValueError: there is no episode of such a number.
        NoSuchDataset: there is no such data set.
        FileError: as for `repack`.

    >>> sizes = delete_episodes(filename, None, [1])
    >>> len(gymbag.open(filename).episodes)
    1
    """
    numbers = set(episodes)

    def columns(groups: Groups) -> Iterator[NewColumn]:
        chosen = _find(filename, groups, name)
        for other, group in groups.items():
            if other == chosen:
                yield from _without(os.fspath(filename), chosen, group, numbers).new_columns()
            else:
                yield from map(as_it_is, group.values())

    return _rewrite(filename, None, columns, progress)


def _find(filename: str | os.PathLike[str], groups: Groups, name: str | None) -> str:
    if name is None and len(groups) == 1:
        return next(iter(groups))
    lanes = [other for other in groups if lane_of(other)[0] == name]
    if lanes and name not in groups:
        raise NoSuchDataset(
            f"{os.fspath(filename)}: {name!r} has {len(lanes)} lanes, each with its own episodes; "
            f"name one, for example {lanes[0]!r}"
        )
    held = ", ".join(map(repr, sorted(groups))) or "none"
    if name is None or name not in groups:
        asked = "say which data set, as name=" if name is None else f"there is no data set {name!r}"
        raise NoSuchDataset(f"{os.fspath(filename)}: {asked}; it holds {held}")
    return name


def _meta(group: dict[str, StoredColumn], where: str) -> Meta:
    if META not in group:
        raise FileError(f"{where}: its description is not there; gymbag rescue FILE -o NEW")
    return Meta.parse(group[META].read(0, group[META].rows).tobytes(), where)


def _known_columns(group: dict[str, StoredColumn]) -> dict[str, Column]:
    """Return the columns that may be compressed by another policy, by their names in the file."""
    if META not in group:
        return {}
    parts = parts_of(_meta(group, group[META].spec.path), group)
    known = {escape(part.column.name): part.column for part in parts}
    known |= {META: Column(META, np.dtype("u1")), EPISODES: Column(EPISODES, EPISODE_DTYPE)}
    return {
        name: column
        for name, column in known.items()
        if name in group and group[name].spec.dtype == column.dtype
    }


def _without(filename: str, name: str, group: dict[str, StoredColumn], gone: set[int]) -> Copy:
    """Return the copy of a data set without some episodes."""
    meta = _meta(group, f"{filename}: {name}")
    parts = parts_of(meta, group)
    unknown = set(group) - {META, EPISODES, *(escape(part.column.name) for part in parts)}
    if unknown:
        columns = ", ".join(map(repr, map(unescape, sorted(unknown))))
        raise FileError(
            f"{filename}: {name}: this gymbag does not know {columns}, so it cannot say what of "
            "that belongs to which episode; install a later one"
        )
    # The reader checks that all of it fits together.
    reader = DatasetReader(filename, name)
    table = reader.episodes
    reader.close()
    wrong = sorted(number for number in gone if not 0 <= number < len(table))
    if wrong:
        raise ValueError(f"{filename}: {name}: there is no episode {wrong[0]}; it has {len(table)}")
    numbers = np.setdiff1d(np.arange(len(table)), np.array(sorted(gone), np.int64))

    def spec(path: str, column: Column) -> ColumnSpec:
        stored = group[path.rpartition("/")[2]].spec
        return spec_of(path, column, POLICIES["default"], stored)

    return Copy(f"/{escape(name)}", group, parts, numbers, table[numbers], spec)


def _rewrite(
    filename: str | os.PathLike[str],
    target: str | os.PathLike[str] | None,
    columns: Callable[[Groups], Iterator[NewColumn]],
    progress: Progress | None,
) -> tuple[int, int]:
    path = os.path.realpath(filename)
    goal = path if target is None else os.path.realpath(target)
    if target is not None and os.path.lexists(goal):
        raise FileError(f"{os.fspath(target)}: exists already; choose another name")
    with exclusively(path):
        snapshot = Snapshot(path, alive=True)
        try:
            if goal == path:
                _remove_leftovers(path)
            groups = group_columns(snapshot.columns)
            _check_others(path, {escape(name) for name in groups})
            found = columns(groups)
            with replacing(goal, like=snapshot.descriptor) as new:
                total = sum(len(present(column)) for column in snapshot.columns.values())
                told = telling(found, progress, total)
                build(new, told, sequence=snapshot.footer.sequence)
            return os.fstat(snapshot.descriptor).st_size, os.stat(goal).st_size
        finally:
            snapshot.close()


def _check_others(path: str, groups: set[str]) -> None:
    """Refuse a file in which something stands that would not be copied."""
    try:
        scan = look(path)
    except FileBusy:
        raise
    except FileError:
        return  # what HDF5 cannot read of a file nobody else can use either
    others = {name for name, *_ in (*scan.refused, *(leaf.path for leaf in scan.leaves))} - groups
    if others:
        raise FileError(
            f"{path}: other things stand in the file that gymbag does not know and would not copy: "
            f"{', '.join(map(repr, sorted(others)))}; move them to another file first"
        )


@contextmanager
def exclusively(path: str) -> Iterator[None]:
    """Hold the writer's lock on a file that lies as it was closed.

    Raises:
        FileBusy: somebody writes to it.
        FileError: it cannot be recovered or locked.
    """
    for _ in range(ATTEMPTS):
        if not os.path.exists(path):
            raise NoSuchFile(f"{path}: no such file")
        if os.path.exists(path + log.SUFFIX) or os.path.exists(path + undo.SUFFIX):
            recover(path)
        descriptor, found = lock.acquire(path)
        if not found and not os.path.exists(path + undo.SUFFIX):
            break
        lock.release(descriptor)
    else:
        raise FileBusy(f"{path}: others write to it again and again; try it later")
    try:
        yield
    finally:
        disk.unlink(path + log.SUFFIX)
        lock.release(descriptor)


@contextmanager
def replacing(goal: str, *, like: int = -1) -> Iterator[str]:
    """Give a name to write to; what was written there takes the place of `goal` in the end."""
    folder, name = os.path.split(goal)
    if not os.path.isdir(folder):
        raise NoSuchFile(f"{goal}: the folder {folder} does not exist; create it")
    new = os.path.join(folder, f".{name}-new-{os.getpid()}")
    try:
        yield new
        if like >= 0:
            os.chmod(new, os.fstat(like).st_mode & 0o7777)
        disk.replace(new, goal)
        disk.sync_folder(goal)
    finally:
        with suppress(FileNotFoundError):
            disk.unlink(new)


def _remove_leftovers(path: str) -> None:
    """Remove what others left that were killed; the lock says that they no longer live."""
    folder, name = os.path.split(path)
    for left in glob(os.path.join(glob_escape(folder), f".{glob_escape(name)}-new-*")):
        disk.unlink(left)


def telling(
    columns: Iterator[NewColumn], progress: Progress | None, total: int
) -> Iterator[NewColumn]:
    """Tell of each chunk that is written."""
    done = 0

    def counted(frames: Iterable[tuple[int, bytes]]) -> Iterator[tuple[int, bytes]]:
        nonlocal done
        for one in frames:
            yield one
            done += 1
            if progress:
                progress(done, max(done, total))

    for column in columns:
        yield column._replace(frames=counted(column.frames))


__all__ = ["delete_dataset", "delete_episodes", "repack"]

# SPDX-License-Identifier: LGPL-3.0-or-later
"""Puts several recordings into one new file, and loses nothing on the way.

Data sets of the same name become one, episode after episode, in the order of the files. So do the
lanes of a vector of environments: lane 3 of each file is lane 3 of the new one.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

from gymbag.errors import FileBusy, FileError, NoSuchFile, NotAStore, SchemaError
from gymbag.schema import jsonable
from gymbag.storage.access import open_to_read
from gymbag.storage.concatenate import Concatenation, Member
from gymbag.storage.datasets import lane_name, lane_of, stored_names
from gymbag.storage.file import written_here
from gymbag.storage.joined import Path, files_of
from gymbag.storage.lock import writer_lives
from gymbag.storage.look import look
from gymbag.storage.meta import Session
from gymbag.storage.names import escape
from gymbag.storage.reader import DatasetReader
from gymbag.storage.repack import replacing, telling
from gymbag.storage.rewrite import build
from gymbag.storage.snapshot import MAX_BYTES, Snapshot
from gymbag.storage.survey import present
from gymbag.storage.verify import Progress, group_columns

ALL_THERE = "the latest is what the store shows, all are in its sessions"


@dataclass(slots=True)
class Merged:
    """What was merged."""

    target: str
    files: int = 0
    episodes: int = 0
    rows: int = 0
    datasets: list[str] = field(default_factory=list)
    """Their names in the new file, the lanes of a vector as one."""
    notes: list[str] = field(default_factory=list)
    """What differed between the files, and what became of it, a sentence each."""

    def __str__(self) -> str:
        what = f"{self.episodes} episodes, {self.rows} rows, of {self.files} files"
        names = ", ".join(self.datasets)
        return "\n".join([f"{self.target}: {what}, in {names}", *self.notes])


def merge(
    sources: Path | Sequence[Path],
    target: Path,
    *,
    separate: bool = False,
    progress: Progress | None = None,
) -> Merged:
    """Put several recordings into one new file; the sources stay as they are.

    Data sets of the same name are appended to each other in the order of the files, with all that
    belongs to them: seeds, options, times, infos, how each episode ended, and of each recording its
    description, metadata, environment's spec and versions of packages. Lane 3 of a vector of
    environments is appended to lane 3. The new file appears under its name when it is complete.

    Args:
        sources: files that gymbag recorded; names, or patterns such as ``"runs/*.h5"``.
        target: the file to write.
        separate: whether data sets of the same name whose spaces differ are kept apart, the later
            ones as ``NAME-2``, ``NAME-3`` and so on; it is an error otherwise.
        progress: is called with how many of how many chunks are done.

    Raises:
        NoSuchFile: a source, or the folder of the target, does not exist.
        SchemaError: data sets of the same name have different spaces, and `separate` is not set.
        FileBusy: a source is being recorded to.
        FileError: a source is damaged, is not gymbag's, or is given twice; or the target exists.

    >>> merged = gymbag.merge([filename], filename + "-merged.h5")
    >>> merged.episodes, merged.rows, merged.datasets, merged.notes
    (2, 11, ['CartPole-v1'], [])
    """
    given = [sources] if isinstance(sources, str | os.PathLike) else sources
    paths = [path for source in given for path in files_of(source)]
    _check_paths(paths, target)
    result = Merged(os.fspath(target), len(paths))
    with ExitStack() as stack:
        opened = {path: stack.enter_context(_opened(path)) for path in paths}
        for path, snapshot in opened.items():
            result.notes += _not_ours(path, snapshot)
        wholes = [Concatenation(*plan) for plan in _plan(opened, separate).items()]
        if not wholes:
            raise FileError(f"{', '.join(paths)}: no data set, so there is nothing to merge")
        total = sum(
            len(present(c)) for snapshot in opened.values() for c in snapshot.columns.values()
        )
        columns = (column for whole in wholes for column in whole.new_columns())
        with replacing(os.path.realpath(target)) as new:
            build(new, telling(columns, progress, total))
    for whole in wholes:
        result.episodes += whole.episodes
        result.rows += whole.rows
    families: dict[str, list[Session]] = {}
    for whole in wholes:
        families.setdefault(lane_of(whole.name)[0], []).extend(whole.sessions)
    result.datasets = list(families)
    result.notes += (note for name, found in families.items() for note in _notes(name, found))
    result.notes += (note for whole in wholes for note in _lost_views(whole))
    return result


def _check_paths(paths: Sequence[str], target: Path) -> None:
    if not paths:
        raise NoSuchFile("an empty list of files; expected one file or more")
    if os.path.lexists(target):
        raise FileError(
            f"{os.fspath(target)}: exists already; choose another name, and give it as a source, "
            "too, if the others are to follow what it holds"
        )
    real: dict[str, str] = {}
    for path in paths:
        if os.path.isdir(path):
            raise FileError(
                f"{path}: a folder; only files of gymbag's are merged; make one of it: gymbag "
                f"convert {path} NEW.h5"
            )
        if os.path.realpath(path) in real:
            raise FileError(
                f"{path}: given twice, and would be in the new file twice; give it once"
            )
        real[os.path.realpath(path)] = path


@contextmanager
def _opened(path: str) -> Iterator[Snapshot]:
    """Open a file that nobody is recording to."""
    busy = FileBusy(f"{path}: is being recorded to; merge it when that is over")
    if written_here(path) is not None:
        raise busy
    try:
        snapshot = open_to_read(path, MAX_BYTES)
    except NotAStore as error:
        raise NotAStore(
            f"{error}; only gymbag's files are merged: gymbag convert OTHER NEW.h5 makes one"
        ) from None
    try:
        if snapshot.log_descriptor >= 0 and writer_lives(snapshot.log_descriptor):
            raise busy
        yield snapshot
    finally:
        snapshot.close()


def _not_ours(path: str, snapshot: Snapshot) -> Iterator[str]:
    """Iterate over what stands in a file and is not gymbag's."""
    try:
        scan = look(snapshot.filename)
    except FileError:
        return  # what HDF5 cannot read of a file nobody else can use either
    groups = {escape(name) for name in group_columns(snapshot.columns)}
    others = {name for name, *_ in (*scan.refused, *(leaf.path for leaf in scan.leaves))} - groups
    if others:
        names = ", ".join(map(repr, sorted(others)))
        yield f"{path}: {names}: not gymbag's, and not copied"


def _plan(opened: Mapping[str, Snapshot], separate: bool) -> dict[str, list[Member]]:
    """Return which data sets of the files become which of the new one."""
    every = {lane_of(name)[0] for snapshot in opened.values() for name in stored_names(snapshot)}
    firsts: dict[str, Member] = {}
    plan: dict[str, list[Member]] = {}
    for path, snapshot in opened.items():
        groups, chosen = group_columns(snapshot.columns), dict[str, str]()
        for stored in stored_names(snapshot):
            reader = DatasetReader(path, stored, snapshot=snapshot, cache_bytes=0)
            member = Member(reader, groups[stored])
            member.require_known()
            name, lane = lane_of(stored)
            if name not in chosen:
                chosen[name] = _choose(name, member, firsts, every, separate)
            _require_same(firsts[chosen[name]], member)
            whole = chosen[name] if lane is None else lane_name(chosen[name], lane)
            plan.setdefault(whole, []).append(member)
    return plan


def _choose(
    name: str, member: Member, firsts: dict[str, Member], every: set[str], separate: bool
) -> str:
    """Return what a data set is to be called in the new file."""
    names = _numbered(name, every) if separate else iter([name])
    chosen = next(n for n in names if n not in firsts or not separate or _same(firsts[n], member))
    firsts.setdefault(chosen, member)
    return chosen


def _numbered(name: str, every: set[str]) -> Iterator[str]:
    """Iterate over a name, and those like it that no other data set has."""
    yield name
    number = 2
    while True:
        if f"{name}-{number}" not in every:
            yield f"{name}-{number}"
        number += 1


def _same(one: Member, other: Member) -> bool:
    return one.meta.schema.to_json() == other.meta.schema.to_json()


def _require_same(first: Member, member: Member) -> None:
    one, other = first.reader.filename, member.reader.filename
    try:
        first.meta.schema.require_same(member.meta.schema, mine=one, others=other)
    except SchemaError as error:
        raise SchemaError(
            f"{member.where}: cannot follow that of {one}, for the spaces differ: {error}; to "
            f"keep both, one as {member.meta.name + '-2'!r}, merge with --separate, or "
            "separate=True"
        ) from None


def _notes(name: str, sessions: Sequence[Session]) -> Iterator[str]:
    """Iterate over what the recordings of one data set say differently of it."""
    about = {
        "description": [session.description or None for session in sessions],
        "environment's spec": [session.env_spec for session in sessions],
    }
    for key in dict.fromkeys(key for session in sessions for key in session.metadata):
        about[f"metadata {key!r}"] = [session.metadata.get(key) for session in sessions]
    for what, values in about.items():
        count = len({jsonable.dumps(value) for value in values if value is not None})
        if count > 1:
            yield f"{name}: {what}: {count} that differ; {ALL_THERE}"


def _lost_views(whole: Concatenation) -> Iterator[str]:
    """Iterate over the views that gave way to others of their names."""
    for member in whole.members:
        for name, view in member.meta.views.items():
            if view.line() != whole.views[name].line():
                yield f"{member.where}: view {name!r}: another before it has the name; left out"


__all__ = ["Merged", "merge"]

# SPDX-License-Identifier: LGPL-3.0-or-later
"""Saves every undamaged episode of a damaged file, gymbag's own or one of gymbag 0.4.9."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from gymbag.errors import FileError, FormatError, NotAStore
from gymbag.formats import hdf5
from gymbag.formats.legacy import FORMAT
from gymbag.formats.wreck import DamagedTable
from gymbag.storage import disk
from gymbag.storage import rescue as own
from gymbag.storage.cutoff import look_at_all
from gymbag.storage.look import Scan
from gymbag.storage.remains import with_remains
from gymbag.storage.rescue import Loss, Rescued
from gymbag.storage.verify import Progress

NO_CHECKSUMS = (
    "gymbag 0.4.9 wrote no checksums: damage that only made one number of another does not show, "
    "and is saved"
)


@dataclass(frozen=True, slots=True)
class LostRows(Loss):
    """Rows of a table of 0.4.9's that could not be saved. It numbered no episodes."""

    between: tuple[int, int]
    """The first and the last row."""
    about: int | None
    """About how many episodes they were; None if that cannot be told."""

    def __str__(self) -> str:
        first, last = self.between
        many = "some" if self.about is None else f"about {self.about}"
        episodes = "episode" if self.about == 1 else "episodes"
        rows = f"rows {first} to {last}, {many} {episodes}"
        return f"{self.dataset}: {rows}: lost, {self.rows} rows: {self.reason}"


def rescue(
    filename: str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    progress: Progress | None = None,
) -> Rescued:
    """Save every undamaged episode of a damaged file into a new one.

    The damaged file is only read; it may be one of gymbag 0.4.9. The new one is of today's format,
    and appears under its name when it is complete.

    Args:
        filename: the damaged file.
        target: the file to write; it must not exist.
        progress: is called with how many of how many chunks are read.

    Returns:
        What was saved and what was lost; it is true if nothing was lost.

    Raises:
        FileBusy: the file is being recorded to.
        FileError: nothing can be saved, or the new file cannot be written.

    >>> saved = rescue(filename, filename + "-saved.h5")
    >>> saved.episodes, saved.losses
    (2, [])
    """
    try:
        return own.rescue(filename, target, progress=progress)
    except NotAStore as error:
        refusal = error
    result = Rescued(os.fspath(filename), os.fspath(target))
    path, goal = Path(os.path.realpath(filename)), Path(os.path.realpath(target))
    with TemporaryDirectory(prefix=f".{goal.name}.", dir=goal.parent) as folder:
        scan = look_at_all(str(path), folder, result.notes)
        if not scan.legacy:
            raise refusal
        if scan.format is not None:
            raise NotAStore(
                f"{result.filename}: holds a table of gymbag 0.4.9's beside data sets of today's "
                "format, so another program made it; move the table to a file of its own first"
            )
        new = Path(folder) / "new.h5"
        _save(path, scan, new, result, progress)
        disk.replace(str(new), str(goal))
        disk.sync_folder(str(goal))
    return result


def _save(path: Path, scan: Scan, new: Path, result: Rescued, progress: Progress | None) -> None:
    """Write all whole episodes of a file of 0.4.9's.

    Raises:
        FileError: there is none, or they cannot be written.
    """
    leaves = with_remains(str(path), scan, result.notes)
    tick = _counter(2 * sum(len(leaf.numbers) for leaf in leaves), progress)
    found = {leaf.path for leaf in leaves}
    for place, reason in scan.refused.items():
        if place not in found:
            result.losses.append(Loss("/".join(place), None, 0, reason))
    for leaf in sorted(leaves, key=lambda leaf: leaf.path):
        try:
            table = DamagedTable(path, leaf, scan.refused.get(leaf.path), tick)
        except FormatError as error:
            result.losses.append(Loss("/".join(leaf.path), None, leaf.rows, str(error)))
            continue
        _note_gaps(table, result)
        known = table.observation_space is not None and table.action_space is not None
        if table.whole or (known and not table.gaps):
            made_up = hdf5.write(table, new)
            result.notes += [*table.notes, *made_up]
            result.datasets += 1
            result.episodes += len(table.whole)
            result.rows += sum(stop - first for first, stop in table.whole)
        elif not table.gaps:
            why = "; ".join(["it has no episode, and what its spaces are is lost", *table.notes])
            result.losses.append(Loss(table.name, None, 0, why))
    if not result.datasets:
        why = "; ".join([*map(str, result.losses), *result.notes])
        raise FileError(f"{result.filename}: nothing can be saved: {why or 'it is empty'}")
    result.notes += [*FORMAT.lacks, NO_CHECKSUMS]


def _note_gaps(table: DamagedTable, result: Rescued) -> None:
    for first, last, reasons in table.gaps:
        rows, reason = last - first + 1, "; ".join(reasons)
        lost = LostRows(table.name, None, rows, reason, (first, last), table.about(rows))
        result.losses.append(lost)


def _counter(total: int, progress: Progress | None) -> Callable[[], None]:
    """Return what tells of one chunk more."""
    done = 0

    def tick() -> None:
        nonlocal done
        done += 1
        if progress:
            progress(done, max(done, total))

    return tick


__all__ = ["LostRows", "rescue"]

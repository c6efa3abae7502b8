# SPDX-License-Identifier: LGPL-3.0-or-later
"""Saves every undamaged episode of a damaged file into a new one, and says what was lost.

An episode is saved if each of its rows can be read: the steps, the observations, the actions, all
parts of them. It can do without infos and without the options of its reset; where those are
damaged, the episode is kept without them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gymbag.errors import FileError
from gymbag.schema import Column
from gymbag.schema.info import CELL_COLUMNS
from gymbag.storage.columns import ColumnSpec
from gymbag.storage.compression import POLICIES
from gymbag.storage.names import META, STEPS, escape, unescape
from gymbag.storage.repack import replacing
from gymbag.storage.rewrite import Copy, NewColumn, build, spec_of
from gymbag.storage.salvage import SalvagedColumn, Wreck, opened_wreck
from gymbag.storage.survey import Survey, present, survey
from gymbag.storage.verify import Progress, group_columns
from gymbag.storage.writer import EXTRA_COLUMNS

Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Loss:
    """Something that could not be saved."""

    dataset: str
    episodes: tuple[int, int] | None
    """The first and the last episode that it concerns, by their old numbers; None for all."""
    rows: int
    """How many rows were lost; 0 if the episodes were saved without the rest."""
    reason: str

    def __str__(self) -> str:
        if self.episodes is None:
            return f"{self.dataset}: lost: {self.reason}"
        which = "episodes {} to {}".format(*self.episodes)
        if self.episodes[0] == self.episodes[1]:
            which = f"episode {self.episodes[0]}"
        what = f"lost, {self.rows} rows" if self.rows else "saved, but"
        return f"{self.dataset}: {which}: {what}: {self.reason}"


@dataclass(slots=True)
class Rescued:
    """What was saved, and what was not; true if nothing was lost."""

    filename: str
    target: str
    datasets: int = 0
    episodes: int = 0
    rows: int = 0
    losses: list[Loss] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        """Return whether nothing was lost."""
        return not self.losses

    def __str__(self) -> str:
        saved = f"saved {self.episodes} episodes, {self.rows} rows, of {self.datasets} data sets"
        return "\n".join([f"{self.target}: {saved}", *map(str, self.losses), *self.notes])

    def to_json(self) -> dict[str, Any]:
        """Return it as plain JSON."""
        return {"complete": bool(self), **asdict(self)}


def rescue(
    filename: str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    progress: Progress | None = None,
) -> Rescued:
    """Save every undamaged episode of a damaged file of today's format into a new one.

    `gymbag.formats.rescue` takes files of gymbag 0.4.9, too.

    Args:
        filename: the damaged file.
        target: the file to write; it must not exist.
        progress: is called with how many of how many chunks are read.

    Returns:
        What was saved and what was lost; it is true if nothing was lost.

    Raises:
        FileBusy: the file is being recorded to.
        NotAStore: it is not of today's format; gymbag 0.4.9 may have written it.
        FileError: nothing can be saved, or the new file cannot be written.

    >>> saved = rescue(filename, filename + "-saved.h5")
    >>> saved.episodes, saved.losses
    (2, [])
    """
    path, goal = os.path.realpath(filename), os.path.realpath(target)
    if os.path.lexists(goal):
        raise FileError(f"{os.fspath(target)}: exists already; choose another name")
    result = Rescued(os.fspath(filename), os.fspath(target))
    with replacing(goal) as new, opened_wreck(path, os.path.dirname(goal)) as wreck:
        build(new, _columns(wreck, result, progress))
        result.notes = [*wreck.notes, *result.notes]
        if not result.datasets:
            why = "; ".join([*map(str, result.losses), *wreck.notes])
            raise FileError(f"{os.fspath(filename)}: nothing can be saved: {why or 'it is empty'}")
    return result


def _columns(wreck: Wreck, result: Rescued, progress: Progress | None) -> Iterator[NewColumn]:
    total = sum(len(present(column)) for column in wreck.columns.values())
    done = 0

    def tick() -> None:
        nonlocal done
        done += 1
        if progress:
            progress(done, total)

    for group, reason in wreck.left_out.items():
        result.losses.append(Loss(unescape(group), None, 0, reason))
    for name, columns in sorted(group_columns(wreck.columns).items()):
        found = survey(name, columns, tick)
        if found.meta is None:
            reason = f"what it says of itself is damaged: {found.damages[META][0].reason}"
            result.losses.append(Loss(name, None, found.rows, reason))
            continue
        if STEPS not in columns:
            result.losses.append(Loss(name, None, 0, "its steps are not there"))
            continue
        copy = _copy(found, result)
        yield from copy.new_columns()
        result.datasets += 1
        result.episodes += len(copy.episodes)
        result.rows += int(copy.episodes["rows"].sum())
        _say_unchecked(found, result)


def _copy(found: Survey, result: Rescued) -> Copy:
    """Return the copy of what can be saved of a data set, and note the rest."""
    table = found.episodes
    lost = table["rows"] < 1
    reasons = np.where(lost, "it cannot be told which rows are its", "").astype(object)
    spare = _spare_groups(found)
    for part in found.parts:
        if not part.spare and part.column.name in found.damages:
            hit = found.hit(part.column.name)
            reasons[hit & ~lost] = _reason(found, part.column.name)
            lost |= hit
    _tell(result, found.name, lost, reasons, table["rows"])
    numbers = np.flatnonzero(~lost)
    blank: dict[str, Mask] = {}
    for names, about in spare:
        damaged = [name for name in names if name in found.damages]
        hit = np.logical_or.reduce([np.zeros(len(table), np.bool_), *map(found.hit, damaged)])
        if not hit.any():
            continue
        blank |= dict.fromkeys(names, hit[numbers])
        reason = f"without {about}: {_reason(found, damaged[0])}"
        _tell(result, found.name, hit & ~lost, np.full(len(table), reason, object), lost * 0)
    for name in found.unknown:
        result.notes.append(f"{found.name}: the column {name!r} is not known, and left out")
    if found.rebuilt:
        result.notes.append(
            f"{found.name}: the table of episodes is damaged, and {found.rebuilt} were found by "
            "their steps; their seeds are lost, and how they ended is told by their last row"
        )

    def spec(path: str, column: Column) -> ColumnSpec:
        return spec_of(path, column, POLICIES["default"], None)

    group = f"/{escape(found.name)}"
    return Copy(group, found.columns, found.parts, numbers, table[numbers], spec, blank)


def _spare_groups(found: Survey) -> list[tuple[tuple[str, ...], str]]:
    """Return columns that an episode has together or not at all, and what they are."""
    infos = found.meta.info_columns if found.meta else ()
    groups = [(tuple(c.name for c in info.columns), info.name) for info in infos]
    cells = tuple(column.name for column in CELL_COLUMNS)
    extras = tuple(column.name for column in EXTRA_COLUMNS)
    return [
        *groups,
        (cells, "what of its infos has no column"),
        (extras, "the options of its reset"),
    ]


def _reason(found: Survey, column: str) -> str:
    return f"{column}: {found.damages[column][0].reason}"


def _tell(result: Rescued, name: str, which: Mask, reasons: Any, rows: Any) -> None:
    """Note losses, those of episodes that follow one another for the same reason as one."""
    for number in np.flatnonzero(which).tolist():
        reason, count = str(reasons[number]), int(max(0, rows[number]))
        last = result.losses[-1] if result.losses else None
        first = number
        same = last and (last.dataset, last.reason) == (name, reason)
        if same and last and last.episodes and last.episodes[1] == number - 1:
            first, count = last.episodes[0], count + last.rows
            result.losses.pop()
        result.losses.append(Loss(name, (first, number), count, reason))


def _say_unchecked(found: Survey, result: Rescued) -> None:
    for name, column in found.columns.items():
        if isinstance(column, SalvagedColumn) and column.unchecked:
            result.notes.append(
                f"{found.name}: {name}: {len(column.unchecked)} chunks were saved of which the "
                "index, itself damaged, has no checksum; they may be damaged, too"
            )


__all__ = ["Loss", "Rescued", "rescue"]

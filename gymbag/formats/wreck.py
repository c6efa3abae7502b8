# SPDX-License-Identifier: LGPL-3.0-or-later
"""A damaged table of gymbag 0.4.9's: which of its rows are sound, and which episodes are whole.

0.4.9 wrote no checksums. So besides chunks that cannot be decompressed, those count as damaged that
hold what 0.4.9 never wrote, or what is out of line with the rest of the table. A float that
is another one now does not show.

An episode is whole if all of its rows are sound. Behind damaged rows the next one begins behind
the next row with `done`, or at the next reset: a row without reward and action. Some wrote
rewards there, too; where most resets of a table have one, they tell nothing. Where a reset comes
without a `done` before it, somebody gave an episode up; it is saved as one that did not end.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from gymbag.errors import FileError, FormatError
from gymbag.formats import limits
from gymbag.formats.legacy import LegacySource, Row, clock_of, read_chunk, times_of, unusual
from gymbag.formats.limits import require_fit
from gymbag.storage.look import ScannedLeaf

Mask = NDArray[np.bool_]
Tick = Callable[[], None]

FLAGS = ("lost", "done", "reset", "backwards", "odd_observation", "odd_action")
FLAG_BYTES = 24
"""What a row takes as flags, those in between included."""
EPISODE_BYTES = 512
"""What an episode takes as Python's objects, or the gap in its place."""
MOST_REASONS = 3


class Gap(NamedTuple):
    """Rows that are lost, one after another."""

    first: int
    last: int
    reasons: tuple[str, ...]


class DamagedTable(LegacySource):
    """A table of 0.4.9's that gives its whole episodes only, and says which rows are not theirs."""

    def __init__(self, path: Path, table: ScannedLeaf, missing: str | None, tick: Tick) -> None:
        """Read it once.

        Args:
            path: the file.
            table: what HDF5 says of the table.
            missing: why some of its chunks are not to be found, if that is known.
            tick: is called for each chunk, now and whenever one is read again.

        Raises:
            FormatError: it is not built as 0.4.9 built it, or takes too much memory.
        """
        size = path.stat().st_size
        stored = _as_stored(table, size)
        found = unusual(stored, size)
        if found is not None:
            raise FormatError(found)
        require_fit(FLAG_BYTES * stored.rows, f"what is to be known of {stored.rows} rows")
        super().__init__(path, stored)
        self.claimed = table.rows
        self.tick = tick
        self.notes: list[str] = []
        self.whole: list[tuple[int, int]] = []
        """The first row of each whole episode, and that behind its last."""
        self.gaps: list[Gap] = []
        self._missing = missing or "not in the file"
        self._reasons: dict[int, str] = {}
        """Why a chunk counts as damaged, by its number."""
        self._flags = {name: np.zeros(stored.rows, np.bool_) for name in FLAGS}
        self._flags["lost"][:] = True
        self._forget_wrong_spaces()
        self._read_all()
        self._judge_values()
        self._find_episodes(self._judge_times())
        sound = ~self._flags["lost"]
        self._sound, self._ends = int(sound.sum()), int((self._flags["done"] & sound).sum())

    def _forget_wrong_spaces(self) -> None:
        for name in ("observation", "action"):
            space, shape = getattr(self, f"{name}_space"), self.table.dtype[name].shape
            if space is not None and space.shape != shape:
                self._forget_space(name)

    def _forget_space(self, name: str) -> None:
        space = getattr(self, f"{name}_space")
        self.notes.append(f"{self.name}: the {name}s are not of {space}, which may be damaged")
        setattr(self, f"{name}_space", None)

    def _rows_of(self, number: int) -> slice:
        size = self.table.chunk_rows
        return slice(number * size, min((number + 1) * size, self.table.rows))

    def _read_all(self) -> None:
        """Fill the flags, chunk by chunk."""
        before = float("-inf")
        with self.path.open("rb", buffering=0) as file:
            for index, number in enumerate(self.table.numbers.tolist()):
                where = self._rows_of(number)
                used = where.stop - where.start
                try:
                    rows = read_chunk(file.fileno(), self.table, index)
                    _check(rows, used)
                except FileError as error:
                    self._reasons[number] = str(error)
                else:
                    self._note_rows(where, rows[:used], before)
                    before = times_of(rows[used - 1 : used])[0]
                self.tick()

    def _note_rows(self, where: slice, rows: NDArray[Any], before: float) -> None:
        """Fill the flags of some rows; `before` is the time of the last row that was sound."""
        flags = {name: flag[where] for name, flag in self._flags.items()}
        flags["lost"][:] = False
        flags["done"][:] = rows["done"]
        flags["reset"][:] = np.isnan(rows["reward"]) & _null(rows["action"])
        times = times_of(rows)
        flags["backwards"][:] = np.diff(times, prepend=before) < 0
        for name, space in (
            ("observation", self.observation_space),
            ("action", self.action_space),
        ):
            if isinstance(space, spaces.Discrete):
                values = np.nan_to_num(rows[name])
                fits = (values == np.floor(values)) & (values >= 0) & (values < space.n)
                flags[f"odd_{name}"][:] = ~fits

    def _judge_values(self) -> None:
        """Let go chunks with values that their space has not, or the space if all are so."""
        for name in ("observation", "action"):
            odd = self._flags[f"odd_{name}"] & ~self._flags["lost"]
            if 2 * odd.sum() > (~self._flags["lost"]).sum():
                self._forget_space(name)
            else:
                what = f"an {name} that is not of {getattr(self, f'{name}_space')}"
                self._let_go(odd, what)

    def _judge_times(self) -> Mask:
        """Let go chunks in which time runs backwards, and return before which rows it does.

        It may do so between episodes, and anywhere if the times were made up.
        """
        lost, done = self._flags["lost"], self._flags["done"]
        inside = ~lost & ~_shifted(lost | done, True) & ~self._flags["reset"]
        torn: Mask = self._flags["backwards"] & inside
        if 4 * torn.sum() >= inside.sum():
            return np.zeros_like(torn)
        within = torn.copy()
        within[:: self.table.chunk_rows] = False
        self._let_go(within, "its times run backwards")
        return torn & ~lost

    def _let_go(self, rows: Mask, reason: str) -> None:
        for number in np.unique(np.flatnonzero(rows) // self.table.chunk_rows).tolist():
            self._reasons.setdefault(number, reason)
            self._flags["lost"][self._rows_of(number)] = True

    def _find_episodes(self, torn: Mask) -> None:
        """Fill `whole` and `gaps`; `torn` is True before which rows something is wrong.

        Raises:
            FormatError: there are too many for memory.
        """
        lost, done, reset = (self._flags[name] for name in ("lost", "done", "reset"))
        after_lost = _shifted(lost, False)
        after_done = ~lost & ~after_lost & _shifted(done, True)
        stray = ~lost & ~after_lost & ~after_done & reset
        marked = after_done & reset
        telling = 2 * marked.sum() > after_done.sum() and 2 * stray.sum() < marked.sum()
        starts = after_done
        if telling:
            starts = after_done | (~lost & reset)
            torn = torn | (after_done & ~reset)
        cut = starts | (lost != after_lost)
        cut[:1] = True
        require_fit(EPISODE_BYTES * int(cut.sum()), f"what is to be known of {cut.sum()} episodes")
        given_up = 0
        for first, stop in pairwise([*np.flatnonzero(cut).tolist(), len(lost)]):
            cut_off = stop < self.claimed and (stop == len(lost) or lost[stop])
            reasons: tuple[str, ...] | None = None
            if lost[first]:
                reasons = self._why_lost(first, stop)
            elif not starts[first]:
                reasons = () if after_lost[first] else ("its reset is not there",)
            elif torn[first : stop + 1].any():
                reasons = ("its rows do not follow from one another",)
            elif not done[stop - 1] and cut_off:
                reasons = ()
            elif (stop - first) * self._row_bytes > limits.MAX_BYTES:
                reasons = ("an episode larger than gymbag.formats.limits.MAX_BYTES",)
            if reasons is not None:
                self._add_gap(Gap(first, stop - 1, reasons))
            elif stop - first > 1:
                self.whole.append((first, stop))
                given_up += not done[stop - 1] and stop < len(lost)
        if given_up:
            self.notes.append(
                f"{self.name}: {given_up} episodes have no `done` although another follows; they "
                "are saved as not ended"
            )
        if self.claimed > len(lost):
            self._add_gap(Gap(len(lost), self.claimed - 1, (self._missing,)))

    def about(self, rows: int) -> int | None:
        """Return about how many episodes some rows are; None if nothing tells."""
        if not self._ends or rows > self.table.rows:
            return None
        return max(1, round(rows * self._ends / self._sound))

    def _why_lost(self, first: int, stop: int) -> tuple[str, ...]:
        """Return what is wrong with the first chunks of some rows."""
        size = self.table.chunk_rows
        reasons = list[str]()
        for number in range(first // size, -(-stop // size))[: MOST_REASONS + 1]:
            where, why = self._rows_of(number), self._reasons.get(number, self._missing)
            reasons.append(f"rows {where.start} to {where.stop - 1}: {why}")
        return tuple(reasons)

    def _add_gap(self, gap: Gap) -> None:
        """Add rows to those that are lost, as one with those before them."""
        if self.gaps and self.gaps[-1].last == gap.first - 1:
            before = self.gaps.pop()
            gap = Gap(before.first, gap.last, before.reasons + gap.reasons)
        reasons = tuple(dict.fromkeys(gap.reasons))
        if len(reasons) > MOST_REASONS:
            reasons = (*reasons[:MOST_REASONS], "and so on")
        self.gaps.append(gap._replace(reasons=reasons))

    def _grouped(self) -> Iterator[list[Row]]:
        """Iterate over the rows of each whole episode."""
        size, numbers = self.table.chunk_rows, self.table.numbers.astype(np.int64)
        held, read = -1, np.empty(0, self.table.dtype)
        with self.path.open("rb", buffering=0) as file:
            for first, stop in self.whole:
                rows = list[Row]()
                for number in range(first // size, -(-stop // size)):
                    if number != held:
                        index = int(np.searchsorted(numbers, number))
                        held, read = number, read_chunk(file.fileno(), self.table, index)
                        self.tick()
                    some = read[max(0, first - number * size) : stop - number * size]
                    rows += zip(times_of(some).tolist(), some, strict=True)
                yield rows

    def _say_lost(self, nbytes: int, episode: int, step: int) -> None:
        self.notes.append(
            f"{self.name}: the info of episode {episode}, step {step} was cut off at {nbytes} "
            "bytes when it was written, and is lost; so may be later ones"
        )


def _as_stored(table: ScannedLeaf, size: int) -> ScannedLeaf:
    """Return a table with those chunks that end in the first `size` bytes of the file.

    It has no rows behind its last chunk.
    """
    there = table.offsets + table.sizes <= size
    numbers = table.numbers[there]
    rows = (int(numbers[-1]) + 1) * table.chunk_rows if len(numbers) else 0
    return replace(
        table,
        rows=min(table.rows, rows),
        numbers=numbers,
        offsets=table.offsets[there],
        sizes=table.sizes[there],
    )


def _check(rows: NDArray[Any], used: int) -> None:
    """Check that rows are such as 0.4.9 wrote; `used` are in the table, the others empty.

    Raises:
        FileError: they are not.
    """
    if any(rows[used:].tobytes()):
        raise FileError("something stands behind its last row")
    rows = rows[:used]
    if (rows["done"].view(np.uint8) > 1).any():
        raise FileError("a `done` that is neither True nor False")
    if (np.abs(clock_of(rows)[:, 0].astype(np.int64)) > 1_000_000).any():
        raise FileError("a time that cannot be")
    size = rows.dtype["info"].itemsize
    letters = np.ascontiguousarray(rows["info"]).view(np.uint8).reshape(used, size)
    empty = letters == 0
    if (np.logical_or.accumulate(empty, axis=1) & ~empty).any() or (letters > 127).any():
        raise FileError("an info that is no text")
    for cell in np.unique(rows["info"]).tolist():
        # One as long as its column was cut off when it was written.
        if cell and len(cell) < size and not _is_json(cell):
            raise FileError("an info that is no JSON")


def _is_json(cell: bytes) -> bool:
    try:
        json.loads(cell)
    except (ValueError, RecursionError):
        return False
    return True


def _null(actions: NDArray[Any]) -> Mask:
    """Return which actions are those of a reset: not a number, or 0 where they are discrete."""
    null: Mask = (np.isnan(actions) | (actions == 0)).all(axis=tuple(range(1, actions.ndim)))
    return null


def _shifted(flags: Mask, first: bool) -> Mask:
    """Return the flag of the row before each, `first` for the first."""
    return np.concatenate([[first], flags[:-1]])[: len(flags)]


__all__ = ["DamagedTable", "Gap"]

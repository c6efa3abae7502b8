# SPDX-License-Identifier: LGPL-3.0-or-later
"""The rows that a question selects: lazy, asked anew at every use, and combined with others."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gymbag.query import Expression, Plan, compile_query
from gymbag.records import Records, Rows, Span, numbers
from gymbag.segments import Segment, StoredEpisode
from gymbag.steps import Episode, Step, Transitions
from gymbag.storage.parallel import ordered

SCAN_ROWS = 1 << 17
"""Rows looked at together: enough to make NumPy's overhead small, few enough to fit in a cache."""

Mask = NDArray[np.bool_]


class Condition(ABC):
    """Says of rows whether they are selected."""

    @abstractmethod
    def episodes(self, records: Records) -> Mask:
        """Return which episodes can hold a selected row, as far as that is cheap to say."""

    @abstractmethod
    def mask(self, records: Records, rows: Rows | Span) -> Mask:
        """Return which of the rows are selected."""


@dataclass(frozen=True)
class Everything(Condition):
    """Every row."""

    def episodes(self, records: Records) -> Mask:
        """Return all episodes."""
        return np.ones(len(records.episodes), dtype=np.bool_)

    def mask(self, records: Records, rows: Rows | Span) -> Mask:
        """Return all rows."""
        return np.ones(len(rows), dtype=np.bool_)


@dataclass(frozen=True)
class Asked(Condition):
    """The rows of which a question holds."""

    plan: Plan

    def episodes(self, records: Records) -> Mask:
        """Return the episodes of which those terms hold that are about episodes."""
        n = len(records.episodes)
        if self.plan.episode is None:
            return np.ones(n, dtype=np.bool_)
        return self.plan.episode(records.episode_values, n)

    def mask(self, records: Records, rows: Rows | Span) -> Mask:
        """Ask the cheap terms first, and each next one only of what is left."""
        mask = None
        if self.plan.episode is not None:
            mask = self.episodes(records)[records.episode_of(numbers(rows))]
        if self.plan.row is not None:
            mask = _narrowed(mask, self.plan.row, records, rows, len(rows))
        if self.plan.wide is not None:
            mask = _narrowed(mask, self.plan.wide, records, rows, records.batch_rows)
        return np.ones(len(rows), dtype=np.bool_) if mask is None else mask


@dataclass(frozen=True)
class Both(Condition):
    """The rows that are in both."""

    one: Condition
    other: Condition

    def episodes(self, records: Records) -> Mask:
        """Return the episodes that are possible in both."""
        return self.one.episodes(records) & self.other.episodes(records)

    def mask(self, records: Records, rows: Rows | Span) -> Mask:
        """Ask the second of what the first left."""
        mask = self.one.mask(records, rows)
        mask[mask] = self.other.mask(records, numbers(rows)[mask])
        return mask


@dataclass(frozen=True)
class Either(Condition):
    """The rows that are in one of two, or in both."""

    one: Condition
    other: Condition

    def episodes(self, records: Records) -> Mask:
        """Return the episodes that are possible in either."""
        return self.one.episodes(records) | self.other.episodes(records)

    def mask(self, records: Records, rows: Rows | Span) -> Mask:
        """Ask the second of what the first left out."""
        mask = self.one.mask(records, rows)
        mask[~mask] = self.other.mask(records, numbers(rows)[~mask])
        return mask


@dataclass(frozen=True)
class Neither(Condition):
    """The rows that are not in another."""

    other: Condition

    def episodes(self, records: Records) -> Mask:
        """Return all: an episode that has rows in the other has some outside, too."""
        return np.ones(len(records.episodes), dtype=np.bool_)

    def mask(self, records: Records, rows: Rows | Span) -> Mask:
        """Return the rows that the other leaves out."""
        return ~self.other.mask(records, rows)


class Selection:
    """Rows of a data set, selected by a question and not read before they are used.

    Every use asks anew, so it can be iterated as often as you like, by several at a time. Three
    views are yours to choose from: `steps`, the rows themselves; `segments`, runs of them that
    follow one another inside an episode; `episodes`, whole episodes with at least one of them.
    """

    def __init__(self, records: Records, condition: Condition, text: str, name: str) -> None:
        self._records = records
        self._condition = condition
        self._text = text
        self._ends: tuple[int, Rows] = 0, np.empty(0, np.int64)
        self.name = name

    def where(self, text: str, **params: Any) -> Selection:
        """Select those of the rows of which a question holds.

        Args:
            text: the question, for example ``"reward > t and not terminated"``.
            **params: values for the names in it that are no fields.

        Raises:
            QueryError: the text is not understood; the message shows where.
        """
        asked = ask(self._records, text, params)
        everything = isinstance(self._condition, Everything)
        condition = asked if everything else Both(self._condition, asked)
        return self._derived(condition, text if everything else f"({self._text}) and ({text})")

    def __and__(self, other: Selection) -> Selection:
        """Return the rows that are in both."""
        return self._combined(other, Both, "and")

    def __or__(self, other: Selection) -> Selection:
        """Return the rows that are in either."""
        return self._combined(other, Either, "or")

    def __invert__(self) -> Selection:
        """Return the rows that are not in this selection."""
        return self._derived(Neither(self._condition), f"not ({self._text})")

    def _combined(self, other: Selection, how: type[Both | Either], word: str) -> Selection:
        if not isinstance(other, Selection):
            return NotImplemented
        if other._records is not self._records:
            raise ValueError("selections of two data sets, or of one opened twice, do not combine")
        text = f"({self._text}) {word} ({other._text})"
        return self._derived(how(self._condition, other._condition), text)

    def _derived(self, condition: Condition, text: str) -> Selection:
        return Selection(self._records, condition, text, self.name)

    def _scan(self) -> Iterator[Rows]:
        """Iterate over the selected rows, some at a time."""
        records, condition = self._records, self._condition
        possible = condition.episodes(records)

        def ask(window: int) -> Rows:
            rows = _rows_of(records, possible, window * SCAN_ROWS, (window + 1) * SCAN_ROWS)
            selected = np.flatnonzero(condition.mask(records, rows))
            return rows.start + selected if isinstance(rows, range) else rows[selected]

        for selected in ordered(ask, _windows(records, possible)):
            if len(selected):
                yield selected

    @property
    def rows(self) -> Rows:
        """The numbers of the selected rows in the data set, ascending, int64."""
        return np.concatenate([np.empty(0, dtype=np.int64), *self._scan()])

    def __len__(self) -> int:
        """Return how many rows are selected; this asks the question."""
        return sum(len(rows) for rows in self._scan())

    def __bool__(self) -> bool:
        """Return whether any row is selected."""
        return next(self._scan(), None) is not None

    def __getitem__(self, name: str) -> Any:
        """Return a field of the selected rows as an array, for example ``selection["reward"]``.

        Args:
            name: its path, as a question would name it; also ``observation``, ``action`` and
                ``info`` as a whole.
        """
        return self._records.column(name, self.rows)

    def __iter__(self) -> Iterator[Step]:
        """Iterate over the selected rows."""
        return self.steps()

    def steps(self) -> Iterator[Step]:
        """Iterate over the selected rows as `Step` records."""
        for rows in self._scan():
            yield from self._records.steps(rows)

    def segments(self) -> Iterator[Segment]:
        """Iterate over the longest runs of selected rows that follow one another in an episode."""
        run: list[Rows] = []
        for rows in self._scan():
            starts = np.isin(rows, self._records.first_rows)
            breaks = np.flatnonzero((np.diff(rows) > 1) | starts[1:]) + 1
            for part in np.split(rows, breaks):
                joins = run and part[0] == run[-1][-1] + 1
                if not joins or np.isin(part[0], self._records.first_rows):
                    yield from self._segment(run)
                    run = []
                run.append(part)
        yield from self._segment(run)

    def _segment(self, run: list[Rows]) -> Iterator[Segment]:
        if run:
            yield Segment(self._records, np.concatenate(run))

    def episodes(self) -> Iterator[Episode]:
        """Iterate over the whole episodes in which at least one row is selected."""
        last = -1
        for rows in self._scan():
            for episode in np.unique(self._records.episode_of(rows)).tolist():
                if episode != last:
                    yield StoredEpisode(self._records, episode)
                last = episode

    iter_episodes = episodes

    def transitions(self) -> Transitions:
        """Return the transitions that end at the selected rows, as arrays.

        A transition into row k has the action and the reward of row k, its observation as
        `next_observation`, and the observation of row k - 1. A reset's row ends none.
        """
        return self._records.transitions(self.rows)

    def sample(self, batch: int, rng: np.random.Generator | int | None = None) -> Transitions:
        """Return transitions drawn at random from those that end at the selected rows.

        All have the same chance, and one may come twice. The question is asked once for each
        state of the file; observations that are not in memory are read as `transitions` does.

        Args:
            batch: how many.
            rng: draws them; a number seeds a new generator at each call, and so gives the same
                ones again, and None gives others each time.

        Raises:
            ValueError: no transition ends at a selected row.

        >>> import numpy as np
        >>> rng = np.random.default_rng(0)
        >>> store.where("step < 9").sample(32, rng).reward.shape
        (32,)
        """
        rng = np.random.default_rng(rng)
        rows = self._ends_of_transitions()
        count = self._records.actions if rows is None else len(rows)
        if not count:
            raise ValueError(f"{self._text}: selects no row at which a transition ends")
        drawn = rng.integers(count, size=batch)
        chosen = self._records.rows_of_actions(drawn) if rows is None else rows[drawn]
        return self._records.transitions_into(chosen)

    def _ends_of_transitions(self) -> Rows | None:
        """Return the selected rows but for those of resets; None if that is all there are."""
        if isinstance(self._condition, Everything):
            return None
        version, rows = self._ends
        if version != self._records.version:
            rows = self.rows
            rows = rows[self._records.fixed("step", rows) > 0]
            self._ends = self._records.version, rows
        return rows

    @property
    def observation_space(self) -> Any:
        """The observation space."""
        return self._records.observation_space

    @property
    def action_space(self) -> Any:
        """The action space."""
        return self._records.action_space

    @property
    def description(self) -> str:
        """The data set's description."""
        return self._records.reader.meta.description

    @property
    def metadata(self) -> dict[str, Any]:
        """The data set's metadata."""
        return self._records.reader.meta.metadata

    @property
    def env_spec(self) -> str | None:
        """The environment's spec as JSON."""
        return self._records.reader.meta.env_spec

    def __repr__(self) -> str:
        return f"<Selection {self._text!r} of {self.name!r}>"


def _windows(records: Records, possible: Mask) -> list[int]:
    """Return which parts of the rows, of `SCAN_ROWS` each, hold rows of those episodes."""
    episodes = np.flatnonzero(possible)
    begin = records.first_rows[episodes] // SCAN_ROWS
    end = (records.end_rows[episodes] - 1) // SCAN_ROWS
    marks = np.zeros(records.rows // SCAN_ROWS + 2, np.int64)
    np.add.at(marks, begin, 1)
    np.add.at(marks, end + 1, -1)
    windows: list[int] = np.flatnonzero(np.cumsum(marks)).tolist()
    return windows


def _rows_of(records: Records, possible: Mask, start: int, stop: int) -> Rows | Span:
    """Return the rows between two that are of those episodes."""
    stop = min(stop, records.rows)
    first = int(records.episode_of(np.array([start]))[0])
    last = int(records.episode_of(np.array([stop - 1]))[0])
    there = np.flatnonzero(possible[first : last + 1])
    begin = np.maximum(records.first_rows[first : last + 1], start)
    end = np.minimum(records.end_rows[first : last + 1], stop)
    if there[-1] - there[0] + 1 == len(there):
        return range(int(begin[there[0]]), int(end[there[-1]]))
    return start + np.flatnonzero(np.repeat(possible[first : last + 1], end - begin))


def ask(records: Records, text: str, params: Mapping[str, Any]) -> Asked:
    """Return the condition that a question's text states."""
    return Asked(compile_query(text, records.catalogue, params))


def _narrowed(
    mask: Mask | None, expression: Expression, records: Records, rows: Rows | Span, batch: int
) -> Mask:
    """Return those rows of a mask, or of all, of which the expression holds."""
    batch = max(1, batch)
    if mask is None or mask.all():
        # All of them need not be picked out one by one.
        parts = [rows[start : start + batch] for start in range(0, len(rows), batch)]
        masks = [_asked(expression, records, part) for part in parts]
        return masks[0] if len(masks) == 1 else np.concatenate([np.empty(0, np.bool_), *masks])
    left = np.flatnonzero(mask)
    for start in range(0, len(left), batch):
        some = left[start : start + batch]
        mask[some] = _asked(expression, records, numbers(rows)[some])
    return mask


def _asked(expression: Expression, records: Records, rows: Rows | Span) -> Mask:
    return expression(lambda field: records.read(field, rows), len(rows))

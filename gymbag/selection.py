# SPDX-License-Identifier: LGPL-3.0-or-later
"""The rows that a question selects: lazy, asked anew at every use, and combined with others."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gymbag.query import Plan, compile_query
from gymbag.records import Records, Rows
from gymbag.segments import Segment, StoredEpisode
from gymbag.steps import Episode, Step, Transitions

SCAN_ROWS = 1 << 17
"""Rows looked at together: enough to make NumPy's overhead small, few enough to fit in a cache."""

Mask = NDArray[np.bool_]


class Condition(ABC):
    """Says of rows whether they are selected."""

    @abstractmethod
    def episodes(self, records: Records) -> Mask:
        """Return which episodes can hold a selected row, as far as that is cheap to say."""

    @abstractmethod
    def mask(self, records: Records, rows: Rows) -> Mask:
        """Return which of the rows are selected."""


@dataclass(frozen=True)
class Everything(Condition):
    """Every row."""

    def episodes(self, records: Records) -> Mask:
        """Return all episodes."""
        return np.ones(len(records.episodes), dtype=np.bool_)

    def mask(self, records: Records, rows: Rows) -> Mask:
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

    def mask(self, records: Records, rows: Rows) -> Mask:
        """Ask the cheap terms first, and each next one only of what is left."""
        mask = np.ones(len(rows), dtype=np.bool_)
        if self.plan.episode is not None:
            mask = self.episodes(records)[records.episode_of(rows)]
        if self.plan.row is not None:
            _narrow(mask, self.plan.row, records, rows, len(rows))
        if self.plan.wide is not None:
            _narrow(mask, self.plan.wide, records, rows, records.batch_rows)
        return mask


@dataclass(frozen=True)
class Both(Condition):
    """The rows that are in both."""

    one: Condition
    other: Condition

    def episodes(self, records: Records) -> Mask:
        """Return the episodes that are possible in both."""
        return self.one.episodes(records) & self.other.episodes(records)

    def mask(self, records: Records, rows: Rows) -> Mask:
        """Ask the second of what the first left."""
        mask = self.one.mask(records, rows)
        mask[mask] = self.other.mask(records, rows[mask])
        return mask


@dataclass(frozen=True)
class Either(Condition):
    """The rows that are in one of two, or in both."""

    one: Condition
    other: Condition

    def episodes(self, records: Records) -> Mask:
        """Return the episodes that are possible in either."""
        return self.one.episodes(records) | self.other.episodes(records)

    def mask(self, records: Records, rows: Rows) -> Mask:
        """Ask the second of what the first left out."""
        mask = self.one.mask(records, rows)
        mask[~mask] = self.other.mask(records, rows[~mask])
        return mask


@dataclass(frozen=True)
class Neither(Condition):
    """The rows that are not in another."""

    other: Condition

    def episodes(self, records: Records) -> Mask:
        """Return all: an episode that has rows in the other has some outside, too."""
        return np.ones(len(records.episodes), dtype=np.bool_)

    def mask(self, records: Records, rows: Rows) -> Mask:
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
        records = self._records
        possible = self._condition.episodes(records)
        edges = np.flatnonzero(np.diff(possible, prepend=False, append=False))
        for first, last in edges.reshape(-1, 2).tolist():
            entry = records.episodes[last - 1]
            stop = int(entry["first_row"] + entry["rows"])
            for start in range(int(records.first_rows[first]), stop, SCAN_ROWS):
                rows = np.arange(start, min(start + SCAN_ROWS, stop))
                selected = np.flatnonzero(self._condition.mask(records, rows))
                if len(selected):
                    yield start + selected

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


def ask(records: Records, text: str, params: Mapping[str, Any]) -> Asked:
    """Return the condition that a question's text states."""
    return Asked(compile_query(text, records.catalogue, params))


def _narrow(mask: Mask, expression: Any, records: Records, rows: Rows, batch: int) -> None:
    """Take out of `mask` the rows of which the expression does not hold."""
    # All of them need not be picked out one by one.
    left = None if mask.all() else np.flatnonzero(mask)
    for start in range(0, len(rows if left is None else left), max(1, batch)):
        part = slice(start, start + batch)
        some = part if left is None else left[part]
        asked = rows[some]
        mask[some] = expression(lambda field, at=asked: records.read(field, at), len(asked))

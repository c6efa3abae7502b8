# SPDX-License-Identifier: LGPL-3.0-or-later
"""What a selection asks of each row: one question, or some joined by and, or, not."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gymbag.query import (
    Expression,
    Outlook,
    Plan,
    all_of,
    any_of,
    compile_query,
    outlook,
    unknown,
)
from gymbag.records import Records, Rows, Span, numbers
from gymbag.schema.info import InfoColumn

Mask = NDArray[np.bool_]


class Condition(ABC):
    """Says of rows whether they are selected.

    It holds no data and no file, so it can be asked of any data set with the same fields, also
    of the same one in another process: it can be pickled.
    """

    @property
    def whole(self) -> bool:
        """Whether `episodes` says all: of an episode every row is selected, or none."""
        return False

    @abstractmethod
    def anew(self, records: Records) -> Condition:
        """Return the same as it is to be asked of these records.

        Infos that came since may have given a field another kind, or made it one of two.

        Raises:
            QueryError: a question makes no sense any more; the message shows where.
        """

    @abstractmethod
    def episodes(self, records: Records) -> Mask:
        """Return which episodes can hold a selected row, as far as that is cheap to say."""

    @abstractmethod
    def outlook(self, records: Records) -> Outlook:
        """Return in which stretches of rows some may be selected, and some may not be."""

    @abstractmethod
    def mask(self, records: Records, rows: Rows | Span) -> Mask:
        """Return which of the rows are selected."""


@dataclass(frozen=True)
class Everything(Condition):
    """Every row."""

    @property
    def whole(self) -> bool:
        """All of every episode."""
        return True

    def anew(self, records: Records) -> Everything:
        """Return this."""
        return self

    def episodes(self, records: Records) -> Mask:
        """Return all episodes."""
        return np.ones(len(records.episodes), dtype=np.bool_)

    def outlook(self, records: Records) -> Outlook:
        """Return that all of all are."""
        return all_of((), records.stretches)

    def mask(self, records: Records, rows: Rows | Span) -> Mask:
        """Return all rows."""
        return np.ones(len(rows), dtype=np.bool_)


@dataclass(frozen=True)
class Asked(Condition):
    """The rows of which a question holds."""

    plan: Plan
    info_columns: tuple[InfoColumn, ...]
    """What the infos had when the plan was made."""

    @property
    def whole(self) -> bool:
        """If all terms are about episodes."""
        return self.plan.row is None and self.plan.wide is None

    def anew(self, records: Records) -> Asked:
        """Return a new plan, if the infos have other columns by now."""
        if self.info_columns == records.reader.meta.info_columns:
            return self
        return ask(records, self.plan.text, self.plan.params)

    def episodes(self, records: Records) -> Mask:
        """Return the episodes of which those terms hold that are about episodes."""
        n = len(records.episodes)
        if self.plan.episode is None:
            return np.ones(n, dtype=np.bool_)
        return self.plan.episode(records.episode_values, n)

    def outlook(self, records: Records) -> Outlook:
        """Return what the index of the file says of the values."""
        n = records.stretches
        asked = [term for term in (self.plan.row, self.plan.wide) if term is not None]
        outlooks = [outlook(term, records.between, n) for term in asked]
        if self.plan.episode is not None:
            outlooks.append(unknown(n))
        return all_of(outlooks, n)

    def mask(self, records: Records, rows: Rows | Span) -> Mask:
        """Ask the cheap terms first, and each next one only of what is left."""
        mask = None
        if self.plan.episode is not None and len(rows):
            episodes = records.episode_of(numbers(rows))
            first, stop = int(episodes.min()), int(episodes.max()) + 1
            mask = self.plan.episode(
                lambda field: records.episode_values(field, slice(first, stop)), stop - first
            )[episodes - first]
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

    @property
    def whole(self) -> bool:
        """If both are."""
        return self.one.whole and self.other.whole

    def anew(self, records: Records) -> Both:
        """Return both anew."""
        return replace(self, one=self.one.anew(records), other=self.other.anew(records))

    def episodes(self, records: Records) -> Mask:
        """Return the episodes that are possible in both."""
        return self.one.episodes(records) & self.other.episodes(records)

    def outlook(self, records: Records) -> Outlook:
        """Return what is possible in both."""
        return all_of([c.outlook(records) for c in (self.one, self.other)], records.stretches)

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

    @property
    def whole(self) -> bool:
        """If both are."""
        return self.one.whole and self.other.whole

    def anew(self, records: Records) -> Either:
        """Return both anew."""
        return replace(self, one=self.one.anew(records), other=self.other.anew(records))

    def episodes(self, records: Records) -> Mask:
        """Return the episodes that are possible in either."""
        return self.one.episodes(records) | self.other.episodes(records)

    def outlook(self, records: Records) -> Outlook:
        """Return what is possible in either."""
        return any_of([c.outlook(records) for c in (self.one, self.other)], records.stretches)

    def mask(self, records: Records, rows: Rows | Span) -> Mask:
        """Ask the second of what the first left out."""
        mask = self.one.mask(records, rows)
        mask[~mask] = self.other.mask(records, numbers(rows)[~mask])
        return mask


@dataclass(frozen=True)
class Neither(Condition):
    """The rows that are not in another."""

    other: Condition

    def anew(self, records: Records) -> Neither:
        """Return the opposite of the other anew."""
        return replace(self, other=self.other.anew(records))

    def episodes(self, records: Records) -> Mask:
        """Return all: an episode that has rows in the other has some outside, too."""
        return np.ones(len(records.episodes), dtype=np.bool_)

    def outlook(self, records: Records) -> Outlook:
        """Return the opposite."""
        return ~self.other.outlook(records)

    def mask(self, records: Records, rows: Rows | Span) -> Mask:
        """Return the rows that the other leaves out."""
        return ~self.other.mask(records, rows)


def ask(records: Records, text: str, params: Mapping[str, Any]) -> Asked:
    """Return the condition that a question's text states."""
    plan = compile_query(text, records.catalogue, params)
    return Asked(plan, records.reader.meta.info_columns)


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

# SPDX-License-Identifier: LGPL-3.0-or-later
"""Windows: transitions of one episode that follow one another, for models of sequences.

A window is like a short episode: n transitions, n actions, n + 1 observations. Its first transition
comes ``before`` transitions before a selected one::

                                      before=2, length=4
    rows of the episode   0   1   2   3   4   5   6
    selected                          ^
    actions, rewards          1   2   3   4             shape (4,)
    observations          0   1   2   3   4             shape (5, ...)
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gymbag.gather import blank, gather, stacked
from gymbag.items import Items, at_least
from gymbag.records import Records, Rows
from gymbag.steps import Windows


class WindowItems(Items[Windows]):
    """Windows of transitions.

    Args:
        records: the rows.
        ends: rows at which the selected transitions end; None for all that there are.
        text: what selected them.
        length, before, stride, pad, stack: see `Selection.windows`.

    >>> windows = store.all().windows(4, stride=4)
    >>> windows[:].mask.astype(int)
    array([[1, 1, 1, 1],
           [1, 1, 1, 1],
           [1, 0, 0, 0]])
    """

    kind = "window"

    def __init__(
        self,
        records: Records,
        ends: Rows | None,
        text: str,
        *,
        length: int,
        before: int = 0,
        stride: int = 1,
        pad: bool = True,
        stack: int | None = None,
    ) -> None:
        self.length = at_least(1, "length", length)
        self.before = at_least(0, "before", before)
        self.stack = None if stack is None else at_least(1, "stack", stack)
        stride = at_least(1, "stride", stride)
        if self.before >= self.length:
            raise ValueError(
                f"before: found {before}; expected less than the length, {length}, so that the "
                "selected transition is in the window"
            )
        if ends is None and (stride > 1 or not pad):
            ends = records.rows_of_actions(np.arange(records.actions))
        if ends is not None:
            ends = _every(stride, ends)
            if not pad:
                ends = ends[self._fits(records, ends)]
        super().__init__(records, ends, text)

    def _fits(self, records: Records, ends: Rows) -> NDArray[np.bool_]:
        """Return whose windows lie in the episode as a whole."""
        episode = records.episode_of(ends)
        starts = ends - self.before
        inside = starts > records.first_rows[episode]
        return inside & (starts + self.length <= records.end_rows[episode])

    def _fetch(self, ends: Rows) -> Windows:
        records, schema = self._records, self._records.schema
        episode = records.episode_of(ends)[:, None]
        first, last = records.first_rows[episode], records.end_rows[episode] - 1
        # One observation more than transitions: the one before the first.
        rows = (ends - self.before - 1)[:, None] + np.arange(self.length + 1)
        nearest = np.clip(rows, first, last)
        mask = ((rows > first) & (rows <= last))[:, 1:]
        acted = nearest[:, 1:]
        seen = stacked(nearest, np.broadcast_to(first, rows.shape), self.stack)
        away = (rows != nearest).reshape(rows.shape + (1,) * (seen.ndim - 2))
        observation = gather(records, schema.observation, seen)
        action = gather(records, schema.action, acted)
        step = np.where(mask, acted - first - 1, 0)
        return Windows(
            blank(schema.observation, observation, np.broadcast_to(away, seen.shape)),
            blank(schema.action, action, ~mask),
            np.where(mask, self._column("reward", acted), 0.0),
            mask & self._column("terminated", acted),
            mask & self._column("truncated", acted),
            np.where(mask, self._returns_to_go(np.maximum(acted, first + 1), last[:, 0]), 0.0),
            step,
            mask,
        )

    def _column(self, name: str, rows: Rows) -> NDArray[Any]:
        return self._records.fixed(name, rows.ravel()).reshape(rows.shape)

    def _returns_to_go(self, rows: Rows, last: Rows) -> NDArray[np.float64]:
        """Return the sums of the rewards from each row on to the last ones of their episodes."""
        begin = rows[:, 0]
        lengths = last - begin + 1
        ends = np.cumsum(lengths)
        # Those of all windows are read at once, and summed each by itself: a sum is not to depend,
        # in its last bit, on what else is in the batch.
        rest = np.repeat(begin - ends + lengths, lengths) + np.arange(lengths.sum())
        rewards = self._records.fixed("reward", rest)
        to_go = np.empty(rows.shape)
        for i, (end, length) in enumerate(zip(ends.tolist(), lengths.tolist(), strict=True)):
            sums = rewards[end - length : end][::-1].cumsum()[::-1]
            to_go[i] = sums[rows[i] - begin[i]]
        return to_go


def _every(stride: int, ends: Rows) -> Rows:
    """Return the first of each run of transitions that follow one another, and each stride-th.

    An episode's first transition never follows another's last, for a reset lies between.

    >>> _every(2, np.array([1, 2, 3, 4, 8, 9])).tolist()
    [1, 3, 8]
    """
    place = np.arange(len(ends))
    begins = np.ones(len(ends), np.bool_)
    begins[1:] = np.diff(ends) != 1
    start = np.maximum.accumulate(np.where(begins, place, 0))
    every: Rows = ends[(place - start) % stride == 0]
    return every

# SPDX-License-Identifier: LGPL-3.0-or-later
"""Transitions, over one step or several, as arrays."""

from __future__ import annotations

import numpy as np

from gymbag.gather import gather, pick, stacked
from gymbag.items import Items, at_least
from gymbag.records import Records, Rows
from gymbag.steps import Transitions


class TransitionItems(Items[Transitions]):
    """Transitions that begin with those that end at some rows.

    Args:
        records: the rows.
        ends: those rows, none of which is a reset's; None for all that there are.
        text: what selected them.
        n_step, gamma, stack: see `Selection.transitions`.

    >>> items = store.all().transition_items(n_step=3, gamma=0.5)
    >>> items[:4].reward, items[-1].steps
    (array([1.75, 1.75, 1.75, 1.75]), np.int64(1))
    """

    kind = "transition"

    def __init__(
        self,
        records: Records,
        ends: Rows | None,
        text: str,
        *,
        n_step: int = 1,
        gamma: float = 0.99,
        stack: int | None = None,
    ) -> None:
        super().__init__(records, ends, text)
        self.n_step = at_least(1, "n_step", n_step)
        self.gamma = gamma
        self.stack = None if stack is None else at_least(1, "stack", stack)
        if not 0 <= gamma <= 1:
            raise ValueError(f"gamma: found {gamma!r}; expected a number from 0 to 1")

    def _fetch(self, ends: Rows) -> Transitions:
        records = self._records
        episode = records.episode_of(ends)
        last = np.minimum(ends + (self.n_step - 1), records.end_rows[episode] - 1)
        reward = records.fixed("reward", ends)
        for step in range(1, int((last - ends).max(initial=0)) + 1):
            on = np.flatnonzero(ends + step <= last)
            reward[on] += self.gamma**step * records.fixed("reward", ends[on] + step)
        codec = records.schema.observation
        rows = stacked(np.stack((ends - 1, last)), records.first_rows[episode], self.stack)
        both = gather(records, codec, rows)
        return Transitions(
            pick(codec, both, 0),
            records.actions_at(ends),
            reward,
            records.fixed("terminated", last),
            records.fixed("truncated", last),
            pick(codec, both, 1),
            last - ends + 1,
        )

# SPDX-License-Identifier: LGPL-3.0-or-later
"""Transitions, over one step or several, as arrays."""

from __future__ import annotations

import numpy as np

from gymbag.gather import gather, pick, stacked
from gymbag.items import Items, at_least
from gymbag.records import Records, Rows
from gymbag.schema import Batch
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
        records, last = self._records, ends
        reward = records.fixed("reward", ends)
        if self.n_step > 1:
            last = np.minimum(ends + self.n_step, records.end_rows[records.episode_of(ends)]) - 1
            for step in range(1, int((last - ends).max(initial=0)) + 1):
                on = np.flatnonzero(ends + step <= last)
                reward[on] += self.gamma**step * records.fixed("reward", ends[on] + step)
        observation, next_observation = self._observations(ends - 1, last)
        return Transitions(
            observation,
            records.actions_at(ends),
            reward,
            records.fixed("terminated", last),
            records.fixed("truncated", last),
            next_observation,
            last - ends + 1,
        )

    def _observations(self, *rows: Rows) -> list[Batch]:
        """Return the observations at several rows each; those of one chunk are read together."""
        records, codec, together = self._records, self._records.schema.observation, np.array(rows)
        if self.stack is not None:
            first = records.first_rows[records.episode_of(rows[0])]
            together = stacked(together, first, self.stack)
        batch = gather(records, codec, together)
        return [pick(codec, batch, i) for i in range(len(rows))]

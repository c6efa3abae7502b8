# SPDX-License-Identifier: LGPL-3.0-or-later
"""The rows that a question selects: lazy, asked anew at every use, and combined with others."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from gymbag.batches import Batches
from gymbag.conditions import Asked, Both, Condition, Either, Everything, Neither, ask
from gymbag.records import Dataset, Records, Rows
from gymbag.scan import scan
from gymbag.segments import Segment, StoredEpisode
from gymbag.statistics import Statistics, collect
from gymbag.steps import Episode, Step, Transitions
from gymbag.transitions import TransitionItems
from gymbag.windows import WindowItems

__all__ = ["Asked", "Everything", "Selection"]

MOST_KEPT = 1 << 20
"""So many numbers of rows are kept, for the next field that is asked for."""


class Selection:
    """Rows of a data set, selected by a question and not read before they are used.

    Every use asks anew, so it can be iterated as often as you like, by several at a time. Three
    views are yours to choose from: `steps`, the rows themselves; `segments`, runs of them that
    follow one another inside an episode; `episodes`, whole episodes with at least one of them.
    """

    def __init__(self, dataset: Dataset, condition: Condition, text: str, name: str) -> None:
        self._dataset = dataset
        self._condition = condition
        self._text = text
        self._found: WeakKeyDictionary[Records, Rows] = WeakKeyDictionary()
        self._ends: WeakKeyDictionary[Records, Rows] = WeakKeyDictionary()
        self.name = name

    @property
    def _records(self) -> Records:
        return self._dataset.records

    def where(self, text: str, /, **params: Any) -> Selection:
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
        if other._dataset is not self._dataset:
            raise ValueError("selections of two data sets, or of one opened twice, do not combine")
        text = f"({self._text}) {word} ({other._text})"
        return self._derived(how(self._condition, other._condition), text)

    def _derived(self, condition: Condition, text: str) -> Selection:
        return Selection(self._dataset, condition, text, self.name)

    def _scan(self, records: Records) -> Iterator[Rows]:
        return scan(records, self._condition.anew(records))

    @property
    def rows(self) -> Rows:
        """The numbers of the selected rows in the data set, ascending, int64."""
        return self._rows(self._records).copy()

    def _rows(self, records: Records) -> Rows:
        """Return the same, not to be changed: whoever wants one field mostly wants another."""
        rows = self._found.get(records)
        if rows is None:
            rows = np.concatenate([np.empty(0, dtype=np.int64), *self._scan(records)])
            if len(rows) <= MOST_KEPT:
                self._found[records] = rows
        return rows

    def __len__(self) -> int:
        """Return how many rows are selected; this asks the question."""
        return sum(len(rows) for rows in self._scan(self._records))

    def __bool__(self) -> bool:
        """Return whether any row is selected."""
        return next(self._scan(self._records), None) is not None

    def __getitem__(self, name: str) -> Any:
        """Return a field of the selected rows as an array, for example ``selection["reward"]``.

        Args:
            name: its path, as a question would name it; also ``observation``, ``action`` and
                ``info`` as a whole.
        """
        records = self._records
        return records.column(name, self._rows(records))

    def __iter__(self) -> Iterator[Step]:
        """Iterate over the selected rows."""
        return self.steps()

    def steps(self) -> Iterator[Step]:
        """Iterate over the selected rows as `Step` records."""
        records = self._records
        for rows in self._scan(records):
            yield from records.steps(rows)

    def segments(self) -> Iterator[Segment]:
        """Iterate over the longest runs of selected rows that follow one another in an episode."""
        records, run = self._records, list[Rows]()
        for rows in self._scan(records):
            starts = np.isin(rows, records.first_rows)
            breaks = np.flatnonzero((np.diff(rows) > 1) | starts[1:]) + 1
            for part in np.split(rows, breaks):
                joins = run and part[0] == run[-1][-1] + 1
                if run and (not joins or np.isin(part[0], records.first_rows)):
                    yield Segment(records, np.concatenate(run))
                    run = []
                run.append(part)
        if run:
            yield Segment(records, np.concatenate(run))

    def episodes(self) -> Iterator[Episode]:
        """Iterate over the whole episodes in which at least one row is selected."""
        records = self._records
        if self._condition.whole:
            condition = self._condition.anew(records)
            for episode in np.flatnonzero(condition.episodes(records)).tolist():
                yield StoredEpisode(records, episode)
            return
        last = -1
        for rows in self._scan(records):
            for episode in np.unique(records.episode_of(rows)).tolist():
                if episode != last:
                    yield StoredEpisode(records, episode)
                last = episode

    iter_episodes = episodes

    def transitions(
        self, n_step: int = 1, gamma: float = 0.99, *, stack: int | None = None
    ) -> Transitions:
        """Return the transitions that end at the selected rows, as arrays.

        A transition into row k has the action and the reward of row k, its observation as
        `next_observation`, and the observation of row k - 1. A reset's row ends none.

        Over several steps, each begins with the transition that ends at a selected row, and goes
        on through the rows after it, selected or not, until it has `n_step` or the episode ends.
        `Transitions` says what its fields are then.

        Args:
            n_step: over how many steps each goes, if the episode has so many left.
            gamma: by how much each next reward counts less. It is not used for one step.
            stack: how many observations to give in place of one, the latest last, along an axis
                of their own. The first of the episode stands for those before it.

        Raises:
            ValueError: an argument is not as it should be.

        >>> late = store.where("step > 5").transitions(n_step=2, gamma=0.5)
        >>> late.reward, late.truncated, late.steps
        (array([1.5, 1.5, 1. ]), array([False,  True,  True]), array([2, 2, 1]))
        """
        return self.transition_items(n_step, gamma, stack=stack)[:]

    def sample(
        self,
        batch: int,
        rng: np.random.Generator | int | None = None,
        *,
        n_step: int = 1,
        gamma: float = 0.99,
        stack: int | None = None,
    ) -> Transitions:
        """Return transitions drawn at random from those that end at the selected rows.

        All have the same chance, and one may come twice. The question is asked once for each
        state of the file; observations that are not in memory are read as `transitions` does.

        Args:
            batch: how many.
            rng: draws them; a number seeds a new generator at each call, and so gives the same
                ones again, and None gives others each time.
            n_step: see `transitions`.
            gamma: see `transitions`.
            stack: see `transitions`.

        Raises:
            ValueError: no transition ends at a selected row.

        >>> import numpy as np
        >>> rng = np.random.default_rng(0)
        >>> store.where("step < 9").sample(32, rng).reward.shape
        (32,)
        """
        return self.transition_items(n_step, gamma, stack=stack).sample(batch, rng)

    def transition_items(
        self, n_step: int = 1, gamma: float = 0.99, *, stack: int | None = None
    ) -> TransitionItems:
        """Return what `transitions` does as a sequence, of which each is read when it is used."""
        records = self._records
        ends = self._ends_of_transitions(records)
        return TransitionItems(records, ends, self._text, n_step=n_step, gamma=gamma, stack=stack)

    def batches(
        self,
        size: int,
        *,
        seed: int | None = None,
        n_step: int = 1,
        gamma: float = 0.99,
        stack: int | None = None,
        shuffle: bool = True,
        drop_last: bool = False,
    ) -> Batches[Transitions]:
        """Return batches of the transitions, shuffled anew in every epoch, and resumable.

        Args:
            size: how many transitions each has; the last of an epoch may have fewer.
            seed: decides the order; None draws one.
            n_step: see `transitions`.
            gamma: see `transitions`.
            stack: see `transitions`.
            shuffle: False keeps their order.
            drop_last: whether a last batch of fewer is left out.

        >>> for batch in store.where("reward > 0").batches(4, seed=0):
        ...     print(batch.observation.shape)
        (4, 4)
        (4, 4)
        (1, 4)
        """
        items = self.transition_items(n_step, gamma, stack=stack)
        return items.batches(size, seed=seed, shuffle=shuffle, drop_last=drop_last)

    def windows(
        self,
        length: int,
        *,
        before: int = 0,
        stride: int = 1,
        pad: bool = True,
        stack: int | None = None,
    ) -> WindowItems:
        """Return windows of transitions that follow one another, as a sequence read when used.

        There is one for each selected transition, which is the one at place `before` in it; the
        others are its neighbours in the episode, selected or not. `Windows` says what the arrays
        are that ``windows[i:j]``, ``windows.sample(n)`` and ``windows.batches(n)`` give.

        Args:
            length: how many transitions a window has.
            before: how many of them come before the selected one: 0 begins there, and
                ``length - 1`` ends there.
            stride: with more than 1, only the first of each run of selected transitions has a
                window, and each `stride`-th after it. ``stride=length`` cuts episodes up.
            pad: whether windows that go beyond their episode are filled up; if not, they are left
                out.
            stack: see `transitions`.

        Raises:
            ValueError: an argument is not as it should be.

        >>> windows = store.where("terminated or truncated").windows(5, before=4)
        >>> last_five = windows[0]
        >>> last_five.observation.shape, last_five.action.shape, last_five.mask.all()
        ((6, 4), (5,), np.True_)
        """
        records = self._records
        return WindowItems(
            records,
            self._ends_of_transitions(records),
            self._text,
            length=length,
            before=before,
            stride=stride,
            pad=pad,
            stack=stack,
        )

    def _ends_of_transitions(self, records: Records) -> Rows | None:
        """Return the selected rows but for those of resets; None if that is all there are."""
        if isinstance(self._condition, Everything):
            return None
        ends = self._ends.get(records)
        if ends is None:
            rows = self._rows(records)
            ends = self._ends[records] = rows[records.fixed("step", rows) > 0]
        return ends

    def statistics(self) -> Statistics:
        """Return means, spreads, extremes and quantiles of all fields of the selected rows.

        They are read once, some at a time. Returns and lengths are those of whole episodes.

        >>> field = store.where("step > 0").statistics()["observation"]
        >>> field.mean.shape, field.count
        ((4,), array([9, 9, 9, 9]))
        """
        records = self._records
        return collect(records, self.name, self._scan(records))

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

    def __reduce__(self) -> tuple[Any, ...]:
        # Selections that are pickled together, or with their items, share one open file again.
        return Selection, (self._dataset, self._condition, self._text, self.name)

    def __repr__(self) -> str:
        return f"<Selection {self._text!r} of {self.name!r}>"

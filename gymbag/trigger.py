# SPDX-License-Identifier: LGPL-3.0-or-later
"""Records some episodes and leaves others out: which, is decided as each begins, or as it ends."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np

from gymbag.held import HeldRecorder
from gymbag.recorder import Otherwise, Recorder, Step
from gymbag.steps import Ended, Episode

Trigger: TypeAlias = Callable[[int], bool]
"""Told the number of an episode, from 0; says whether to record it.

If it has a method ``keep``, that is told each chosen `Episode` once it has ended, and says whether
to keep it.
"""


def every(n: int) -> Trigger:
    """Record every n-th episode, the first included.

    Raises:
        ValueError: n is less than 1.

    >>> [episode for episode in range(7) if every(3)(episode)]
    [0, 3, 6]
    """
    if n < 1:
        raise ValueError(f"every: found {n!r}; expected at least 1")
    return lambda episode: episode % n == 0


def bernoulli(p: float, seed: int = 0) -> Trigger:
    """Record each episode with the probability p; the same ones for the same seed.

    Raises:
        ValueError: p is no probability, or the seed is negative.

    >>> sum(map(bernoulli(0.25, seed=1), range(1000)))
    247
    """
    if not 0 <= p <= 1:
        raise ValueError(f"bernoulli: found p={p!r}; expected a number from 0 to 1")
    if seed < 0:
        raise ValueError(f"bernoulli: found seed={seed!r}; expected at least 0")
    return lambda episode: bool(np.random.default_rng((seed, episode)).random() < p)


def maxima(above: float = -math.inf) -> Trigger:
    """Keep each episode whose return is higher than those of all before it.

    That is known at its end: until then it is held back, in memory or in a temporary file. So an
    episode that has not ended when the process is killed is not kept, whatever the durability;
    one that is cut off by `reset` or `close` counts with the return it has.

    The trigger remembers the highest return. The lanes of a vector share it: a lane's episode is
    kept if no lane has had a higher return. For a recording that goes on with an old one, give it
    the highest so far: ``maxima(above=store.episodes.returns.max())``.

    Args:
        above: returns up to this are not kept. A return of NaN never is.

    Raises:
        ValueError: above is NaN.

    >>> from gymbag import ListRecorder, Step, record_from_iter
    >>> returns = [3.0, 1.0, 3.0, 4.0]
    >>> episodes = [[Step(0.0, 0, 0, r, last, False, {}) for last in (0, 1)] for r in returns]
    >>> recorder = ListRecorder()
    >>> record_from_iter(TriggeredRecorder(recorder, maxima()), episodes)
    >>> [episode.episode_return for episode in recorder.iter_episodes()]
    [3.0, 4.0]
    """
    if math.isnan(above):
        raise ValueError(f"maxima: found above={above!r}; expected a number")
    return _Maxima(above)


class _Maxima:
    def __init__(self, above: float) -> None:
        self._highest = above

    def __call__(self, episode: int) -> bool:
        return True

    def keep(self, episode: Episode) -> bool:
        """Say whether an episode's return is higher than all before."""
        found = episode.episode_return
        higher = found > self._highest
        if higher:
            self._highest = found
        return higher

    def __repr__(self) -> str:
        return f"maxima(above={self._highest:g})"


def decides_at_the_end(trigger: Any) -> bool:
    """Return whether a trigger has a word to say when an episode has ended."""
    return callable(getattr(trigger, "keep", None))


class TriggeredRecorder(Recorder):
    """Passes on to a recorder the episodes that a trigger chooses, and no other.

    A trigger counts the episodes of the environment since it was wrapped, recorded or not. In the
    recording those that are there are numbered one after another.

    Args:
        recorder: where to.
        trigger: told the number of each episode at its reset; says whether to record it. If it has
            a method `keep`, that is told the `Episode` at its end, and says whether to keep it.
        spaces: that of the observations and that of the actions. If the trigger decides at the
            end, a long episode is held in a temporary file then, and else in memory.

    >>> from gymbag import ListRecorder, record_from_iter, generate_monotonic
    >>> recorder = ListRecorder()
    >>> record_from_iter(TriggeredRecorder(recorder, every(2)), generate_monotonic(episodes=5))
    >>> len(recorder.data)
    3
    """

    def __init__(
        self, recorder: Recorder, trigger: Trigger, spaces: tuple[Any, Any] | None = None
    ) -> None:
        if decides_at_the_end(trigger):
            recorder = HeldRecorder(recorder, trigger.keep, spaces)  # type: ignore[attr-defined]
        self.recorder = recorder
        self._trigger = trigger
        self._episode = 0
        self._skipping = False

    def on_reset(
        self,
        time: float,
        observation: Any,
        info: Mapping[Any, Any],
        *,
        seed: int | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        """Begin an episode, if the trigger says so."""
        chosen = bool(self._trigger(self._episode))
        self._episode += 1
        if not chosen and not self._skipping:
            self.recorder.on_end(Ended.RESET)
        self._skipping = not chosen
        if chosen:
            self.recorder.on_reset(time, observation, info, seed=seed, options=options)

    def on_step(
        self,
        time: float,
        observation: Any,
        action: Any,
        reward: float,
        terminated: bool,
        truncated: bool,
        info: Mapping[Any, Any],
    ) -> None:
        """Take a step, if its episode was chosen."""
        if not self._skipping:
            self.recorder.on_step(time, observation, action, reward, terminated, truncated, info)

    def around(self, step: Step, clock: Callable[[], float], otherwise: Otherwise) -> Step | None:
        """Return a function that takes a step and records it, if its episode was chosen."""
        quick = self.recorder.around(step, clock, otherwise)
        if quick is None:
            return None
        recorded = quick

        def chosen(action: Any) -> Any:
            if not self._skipping:
                return recorded(action)
            result = step(action)
            if result[2] or (len(result) == 5 and result[3]):
                # The next step is none of this episode; the recorder knows that none runs.
                self._skipping = False
            return result

        return chosen

    def on_end(self, ended: Ended) -> None:
        """End the episode that runs, if it was chosen."""
        if not self._skipping:
            self.recorder.on_end(ended)
        self._skipping = False

    def on_close(self) -> None:
        """Finish."""
        self.recorder.on_close()

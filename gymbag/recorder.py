# SPDX-License-Identifier: LGPL-3.0-or-later
"""What a recorder is: the interface for every place that experience can be recorded to."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

from gymbag.steps import CUT_OFF, Ended, Episode, as_step

Step: TypeAlias = Callable[[Any], Any]
"""Takes an action, and returns what an environment's `step` does."""
Otherwise: TypeAlias = Callable[[Any, Any, BaseException], None]
"""Told of a step that was not recorded: its action, what it returned, and why not."""


class Recorder(ABC):
    """Takes what an environment does, call by call. Subclass it to record to another format.

    Whoever calls it guarantees that `on_step` follows an `on_reset`, and that no step follows
    one with `terminated` or `truncated` before the next `on_reset`.
    """

    @abstractmethod
    def on_reset(
        self,
        time: float,
        observation: Any,
        info: Mapping[Any, Any],
        *,
        seed: int | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        """Begin an episode. One that has not ended was cut off by the user.

        Args:
            time: Unix time in seconds, just after the environment's `reset` returned.
            observation: what it returned; copy it to keep it.
            info: likewise.
            seed: the seed that `reset` was given, if any.
            options: the options that `reset` was given, if any.
        """

    @abstractmethod
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
        """Take a step; the fields are those of `gymbag.Step`. Copy what is to be kept."""

    def around(self, step: Step, clock: Callable[[], float], otherwise: Otherwise) -> Step | None:
        """Return a function that takes a step and records it, if that is quicker than `on_step`.

        Args:
            step: the `step` of an environment of Gymnasium's.
            clock: gives Unix time in seconds.
            otherwise: to be called where `on_step` would have raised.
        """
        return None

    def on_end(self, ended: Ended) -> None:
        """End the episode that runs, if one does, for a reason other than the environment's."""

    def on_close(self) -> None:
        """Finish. An episode that has not ended was cut off by the user."""


def record_from_iter(recorder: Recorder, episodes: Iterable[Any]) -> None:
    """Record episodes that exist already, and close the recorder.

    Args:
        recorder: where to.
        episodes: `Episode` objects, or iterables of `Step` or of gymbag 0.4.9's 6-tuples.

    >>> from gymbag import ListRecorder
    >>> recorder = ListRecorder()
    >>> record_from_iter(recorder, [[(0, 7, 0, None, False, None), (1, 8, 1, 3.0, True, None)]])
    >>> [step.observation for step in recorder.data[0]]
    [7, 8]
    """
    try:
        for episode in episodes:
            record_episode(recorder, episode)
    finally:
        recorder.on_close()


def record_episode(recorder: Recorder, episode: Any) -> None:
    """Record one episode that exists already, seed, options and the reason of its end included."""
    known = isinstance(episode, Episode)
    rows = episode.steps() if known else map(as_step, episode)
    first = next(rows, None)
    if first is None:
        return
    seed, options = (episode.seed, episode.options) if known else (None, None)
    ended = episode.ended if known else Ended.CLOSED
    recorder.on_reset(first.time, first.observation, first.info, seed=seed, options=options)
    for step in rows:
        step = step._replace(truncated=step.truncated and ended not in CUT_OFF)
        recorder.on_step(*step)
    recorder.on_end(ended)

# SPDX-License-Identifier: LGPL-3.0-or-later
"""The peers of `benchmarks.reading`: one file for each way to keep experience.

Rows are numbered as in `benchmarks.experience`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks.peer import Peer

Rows = NDArray[np.int64]


class Transitions(NamedTuple):
    """What a learner draws at random."""

    observation: NDArray[Any]
    action: NDArray[Any]
    reward: NDArray[Any]
    terminated: NDArray[Any]
    next_observation: NDArray[Any]


class Reader(Peer):
    """Experience in files."""

    def count(self) -> int:
        """Return how many episodes there are."""
        raise NotImplementedError

    def episodes(self) -> Iterator[NDArray[Any]]:
        """Iterate over the observations of each episode, copied into memory."""
        return map(self.episode, range(self.count()))

    def episode(self, number: int) -> NDArray[Any]:
        """Return all observations of an episode."""
        raise NotImplementedError

    def sample(self, batch: int, seed: int) -> Transitions:
        """Return transitions drawn at random, all with the same chance.

        All peers draw the same: ``default_rng(seed).integers(steps, size=batch)``.
        """
        raise NotImplementedError

    def rewarded(self) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return the observations and actions of the rows with a reward above 0."""
        raise NotImplementedError

    def returns_above(self, limit: float) -> tuple[list[int], list[float]]:
        """Return the numbers and returns of the episodes whose return is larger."""
        raise NotImplementedError


class Places:
    """Where the steps of episodes are, of which each has so many rows."""

    def __init__(self, lengths: Rows) -> None:
        self.starts = np.cumsum(lengths) - lengths
        # Before each episode there are as many resets as episodes.
        self._first_steps = self.starts - np.arange(len(lengths))
        self._steps = int(lengths.sum()) - len(lengths)

    def drawn(self, batch: int, seed: int) -> tuple[Rows, Rows]:
        """Draw steps; return their episodes, and their numbers there, 0 for the first action."""
        steps = np.random.default_rng(seed).integers(self._steps, size=batch)
        episodes = np.searchsorted(self._first_steps, steps, side="right") - 1
        return episodes, steps - self._first_steps[episodes]

    def rows(self, batch: int, seed: int) -> Rows:
        """Draw steps; return their rows."""
        episodes, steps = self.drawn(batch, seed)
        return self.starts[episodes] + steps + 1


def sampled(episodes: Any, drawn: tuple[Rows, Rows]) -> Transitions:
    """Return transitions out of whole episodes, each read once.

    `episodes` takes a number and returns observations, actions, rewards and flags.
    """
    numbers, steps = drawn
    found: list[Any] = [None] * len(numbers)
    for number in np.unique(numbers).tolist():
        observations, actions, rewards, terminated = episodes(number)
        for at in np.flatnonzero(numbers == number).tolist():
            k = steps[at]
            now, then = observations[k], observations[k + 1]
            found[at] = now, actions[k], rewards[k], terminated[k], then
    return Transitions(*map(np.array, zip(*found, strict=True)))

# SPDX-License-Identifier: LGPL-3.0-or-later
"""What an episode is: the records that cross every border of the package.

An episode of n actions is n + 1 rows. Which field means something where:

=============  ======================  =========================  ==========================
field          row 0, the reset        rows 1 … n-1               row n, the last
=============  ======================  =========================  ==========================
time           after ``reset``         after ``step``             after ``step``
observation    what `reset` returned   what `step` returned       the final observation
action         null (NaN, 0, empty)    the action taken           the action taken
reward         NaN                     its reward                 its reward
terminated     False                   False                      what the environment said
truncated      False                   False                      the same, or True where the
                                                                  user cut the episode off
info           the reset's info        the step's info            the step's info
=============  ======================  =========================  ==========================

So a transition is rows k-1 and k: ``(observation[k-1], action[k], reward[k], terminated[k],
truncated[k], observation[k])``, the final observation is always kept, and
``where("reward > 0")`` needs no special case. A reset that no step follows is no episode.

This module knows neither spaces nor files.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from enum import StrEnum
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray


class Step(NamedTuple):
    """One row of an episode.

    >>> step = Step(0.5, 3, 1, 1.0, False, True, {})
    >>> step.done
    True
    """

    time: float
    """Unix time in seconds, just after the environment's call returned."""
    observation: Any
    action: Any
    """The action that led here; the null action on the reset's row."""
    reward: float
    """The reward for that action; NaN on the reset's row."""
    terminated: bool
    truncated: bool
    info: dict[Any, Any]

    @property
    def done(self) -> bool:
        """Whether the episode ended here, whatever the reason."""
        return self.terminated or self.truncated


class SeedStep(NamedTuple):
    """A row as gymbag 0.4.9 gave it: ``time, observation, action, reward, done, info``."""

    time: float
    observation: Any
    action: Any
    reward: float
    done: bool
    info: dict[Any, Any] | None


class Transitions(NamedTuple):
    """N transitions as arrays with one entry each; nested spaces give dicts and tuples of them.

    Over one step they are as the table above says. Over several, from row k - 1 to row m, the first
    action counts, the rewards are summed, and the rest is of row m::

        target = reward + gamma**steps * ~terminated * value(next_observation)
    """

    observation: Any
    """(N, ...): observation[k-1]; (N, stack, ...) if frames are stacked."""
    action: Any
    """(N, ...): action[k]."""
    reward: NDArray[np.float64]
    """(N,): reward[k] + gamma * reward[k+1] + ... up to reward[m]."""
    terminated: NDArray[np.bool_]
    """(N,): terminated[m]."""
    truncated: NDArray[np.bool_]
    """(N,): truncated[m]."""
    next_observation: Any
    """As `observation`: observation[m]."""
    steps: NDArray[np.int64]
    """(N,): how many steps each covers, m - k + 1; fewer than asked for at the episode's end."""


class Windows(NamedTuple):
    """N windows of L transitions, as arrays; nested spaces give dicts and tuples of them.

    Where `mask` is False there is no transition, for the episode had not begun or was over; all
    fields are 0 or False there. Transition t goes from ``observation[:, t]`` to
    ``observation[:, t + 1]``, and so one observation of the padding is the final one.
    """

    observation: Any
    """(N, L + 1, ...); (N, L + 1, stack, ...) if frames are stacked."""
    action: Any
    """(N, L, ...): what was done at ``observation[:, :-1]``."""
    reward: NDArray[np.float64]
    """(N, L): what that gave."""
    terminated: NDArray[np.bool_]
    """(N, L): whether the environment ended the episode then."""
    truncated: NDArray[np.bool_]
    """(N, L): whether the episode was cut off then."""
    returns_to_go: NDArray[np.float64]
    """(N, L): sum of this reward and all later ones of the episode, also of those beyond L."""
    step: NDArray[np.int64]
    """(N, L): how many transitions of the episode were before this one."""
    mask: NDArray[np.bool_]
    """(N, L): whether there is a transition."""


class Ended(StrEnum):
    """Why an episode has no further row."""

    TERMINATED = "terminated"
    """The environment reached a terminal state."""
    TRUNCATED = "truncated"
    """The environment cut the episode off, for example by a time limit."""
    RESET = "reset"
    """The user called `reset` in mid-episode."""
    CLOSED = "closed"
    """The user closed the recording in mid-episode."""
    INTERRUPTED = "interrupted"
    """The recording process died in mid-episode."""
    UNKNOWN = "unknown"
    """The format that the episode came from does not say."""


CUT_OFF = (Ended.RESET, Ended.CLOSED, Ended.INTERRUPTED)
"""Ends that are not the environment's; the last row counts as truncated."""


def end_of(step: Step) -> Ended:
    """Return what the environment said of an episode whose last row is `step`."""
    if step.terminated:
        return Ended.TERMINATED
    return Ended.TRUNCATED if step.truncated else Ended.UNKNOWN


class Episode(ABC):
    """An episode of n actions, with Minari's field names.

    Arrays have one entry for each row or action along their first axis; a Dict space gives a
    dict of arrays, a Tuple space a tuple of them, and spaces whose values no array can hold
    (Text, Sequence, Graph, OneOf) a tuple of values.
    """

    id: int
    """Number of the episode in its source, from 0."""
    seed: int | None
    """The seed that `reset` was given; None if it was given none."""
    options: dict[str, Any] | None
    """The options that `reset` was given; None if it was given none."""
    ended: Ended
    """Why there is no further row."""

    @abstractmethod
    def steps(self) -> Iterator[Step]:
        """Iterate over the n + 1 rows, the reset first. Every call starts anew."""

    @property
    @abstractmethod
    def episode_length(self) -> int:
        """n, the number of actions."""

    @property
    @abstractmethod
    def observations(self) -> Any:
        """The n + 1 observations, the reset's first."""

    @property
    @abstractmethod
    def actions(self) -> Any:
        """The n actions."""

    @property
    @abstractmethod
    def rewards(self) -> NDArray[np.float64]:
        """The n rewards, float64."""

    @property
    @abstractmethod
    def terminations(self) -> NDArray[np.bool_]:
        """The n flags; only the last can be True."""

    @property
    @abstractmethod
    def truncations(self) -> NDArray[np.bool_]:
        """The n flags; only the last can be True."""

    @property
    @abstractmethod
    def infos(self) -> list[dict[Any, Any]]:
        """The n + 1 info dicts, the reset's first."""

    @property
    @abstractmethod
    def times(self) -> NDArray[np.float64]:
        """The n + 1 Unix times in seconds, float64; NaN where the source kept none."""

    @property
    def episode_return(self) -> float:
        """The sum of the rewards."""
        return float(sum(self.rewards.tolist()))

    def __len__(self) -> int:
        """Return n, the number of actions."""
        return self.episode_length

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(id={self.id}, episode_length={self.episode_length}, "
            f"episode_return={self.episode_return:g}, ended={self.ended.value!r}, "
            f"seed={self.seed})"
        )


class Source(Protocol):
    """Anything that holds episodes and says what they are: a Store, a Selection, a reader."""

    @property
    def name(self) -> str:
        """The data set's name, usually the environment's id."""

    @property
    def description(self) -> str:
        """What the user wrote about it."""

    @property
    def metadata(self) -> dict[str, Any]:
        """What the user kept with it."""

    @property
    def observation_space(self) -> Any:
        """The observation space, or None where the source does not know it."""

    @property
    def action_space(self) -> Any:
        """The action space, or None where the source does not know it."""

    @property
    def env_spec(self) -> str | None:
        """The environment's spec as JSON, or None."""

    def iter_episodes(self) -> Iterator[Episode]:
        """Iterate over the episodes; every call starts anew."""


def as_step(row: Any) -> Step:
    """Return a row given as a `Step`, as its 7 fields, or as the 6 fields of gymbag 0.4.9.

    Six fields do not say why an episode is done: it counts as terminated.

    >>> as_step((0.0, 7, 1, 1.0, True, None)).terminated
    True
    """
    if isinstance(row, Step):
        return row
    if len(row) == len(Step._fields):
        return Step(*row)
    if len(row) != len(SeedStep._fields):
        raise ValueError(
            f"a step has the 7 fields {Step._fields} or the 6 {SeedStep._fields}; "
            f"found {len(row)}: {row!r:.200}"
        )
    time, observation, action, reward, done, info = row
    reward = math.nan if reward is None else reward
    return Step(time, observation, action, reward, bool(done), False, info or {})


def iter_rows(source: Any) -> Iterator[Iterator[Step]]:
    """Iterate over the episodes of any source as iterators of rows.

    `source` is a `Source`, or an iterable of `Episode`, or of iterables of rows.

    >>> [len(list(rows)) for rows in iter_rows([[(0.0, 7, 1, 1.0, True, None)]])]
    [1]
    """
    episodes = source.iter_episodes() if hasattr(source, "iter_episodes") else iter(source)
    for episode in episodes:
        if isinstance(episode, Episode):
            yield episode.steps()
        else:
            yield map(as_step, episode)

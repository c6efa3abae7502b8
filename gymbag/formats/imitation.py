# SPDX-License-Identifier: LGPL-3.0-or-later
"""Trajectories of the library imitation.

Its release 1.0.1 asks for Gymnasium 0.29, and works with later ones: run ``pip install imitation``
first, and then ``pip install --upgrade gymbag stable-baselines3 gymnasium``.

A trajectory has one observation more than actions, as an episode has. Its `terminal` says that the
episode was over, whatever the reason; as Stable-Baselines3's environments do, the key
``TimeLimit.truncated`` of the last info says that it was truncated.

>>> trajectories = to_trajectories(store)
>>> [(len(t), t.terminal) for t in trajectories]
[(8, False), (1, False)]
>>> gymbag.compare([e.steps() for e in store.episodes], from_trajectories(trajectories)).first
Difference(field='truncated', a='True', b='False', episode=0, step=8)
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from gymnasium import spaces

from gymbag.formats.aligned import aligned_episode
from gymbag.formats.flat import (
    Flat,
    FlatSource,
    at,
    refuse,
    require_arrays,
    require_kind,
    usual_losses,
)
from gymbag.steps import CUT_OFF, Ended, Episode, Source

try:
    from imitation.data.types import DictObs, Trajectory, TrajectoryWithRew
except ImportError as error:
    raise ImportError(
        "gymbag.formats.imitation: needs imitation, which is not here; "
        "run: pip install imitation, then pip install --upgrade stable-baselines3 gymnasium"
    ) from error

WHOSE = "imitation"
LACKS = (
    "imitation keeps no spaces, times, seeds, options, or infos of resets",
    "imitation need not keep rewards; they are NaN then",
    "without the info TimeLimit.truncated, an episode that was over counts as terminated",
)
"""What trajectories do not say."""
TRUNCATED = "TimeLimit.truncated"


def to_trajectories(source: Source, *, strict: bool = False) -> list[TrajectoryWithRew]:
    """Return each episode of a source as a trajectory.

    They are in memory all together; select fewer, if they do not fit. An episode that the
    environment did not end (its user cut it off, or its process died) is not `terminal`.

    Args:
        source: a store, a selection (the episodes in which it has a row), or a reader. Its
            observations are arrays, or dicts of them, which give `DictObs`.
        strict: whether to refuse, if something has no place in them; see `losses`.

    Returns:
        Trajectories with the dtypes that were recorded. What needs float32 rewards casts them.

    Raises:
        FormatError: a trajectory has no place for values of the spaces.
    """
    if strict:
        refuse(losses(source), WHOSE)
    flat = Flat(source)
    require_arrays(flat.observation_space, "observation", WHOSE, spaces.Dict)
    require_arrays(flat.action_space, "action", WHOSE)
    return [_trajectory(episode) for episode in source.iter_episodes()]


def _trajectory(episode: Episode) -> TrajectoryWithRew:
    observations = episode.observations
    infos = [dict(info) for info in episode.infos[1:]]
    if episode.ended == Ended.TRUNCATED:
        infos[-1][TRUNCATED] = True
    return TrajectoryWithRew(
        obs=DictObs(observations) if isinstance(observations, dict) else observations,
        acts=np.asarray(episode.actions),
        infos=np.array(infos, dtype=object),
        terminal=episode.ended in (Ended.TERMINATED, Ended.TRUNCATED),
        rews=episode.rewards,
    )


def from_trajectories(
    trajectories: Sequence[Trajectory],
    *,
    observation_space: Any = None,
    action_space: Any = None,
) -> FlatSource:
    """Return trajectories as episodes, whose rows are views of their arrays.

    Args:
        trajectories: a list of them, or the sequence that `imitation.data.serialize.load` gives.
        observation_space: the space of their observations, if you know it.
        action_space: the space of their actions, if you know it.

    Returns:
        A source; `LACKS` says what is missing in it.

    Raises:
        FormatError: it is no sequence.
    """
    require_kind(trajectories, Sequence, "a list of trajectories")
    return FlatSource(
        lambda: _episodes(trajectories),
        observation_space=observation_space,
        action_space=action_space,
    )


def _episodes(trajectories: Sequence[Trajectory]) -> Iterator[Episode]:
    for number, trajectory in enumerate(trajectories):
        n, seen = len(trajectory), trajectory.obs
        seen = seen.unwrap() if isinstance(seen, DictObs) else seen
        infos: list[dict[Any, Any]] = [{} for _ in range(n + 1)]
        if trajectory.infos is not None:
            infos[1:] = [dict(info) for info in trajectory.infos]
        truncated = trajectory.terminal and bool(infos[-1].get(TRUNCATED))
        if truncated:
            del infos[-1][TRUNCATED]
        rewards = getattr(trajectory, "rews", None)
        yield aligned_episode(
            number,
            [at(seen, k) for k in range(n)],
            list(trajectory.acts),
            [math.nan] * n if rewards is None else rewards.tolist(),
            terminated=trajectory.terminal and not truncated,
            truncated=truncated,
            final=at(seen, n),
            infos=infos,
        )


def losses(source: Source) -> list[str]:
    """Return what of a source has no place in trajectories, a sentence each.

    >>> losses(store)[-1]
    'ended: kept as not terminal, and not that it was truncated: episode 0, episode 1'
    """
    lost = usual_losses(source, "info", "reward", "ended")
    for episode in source.iter_episodes():
        if episode.infos[0]:
            lost.add("info: that of the reset is not kept")
        if episode.ended in CUT_OFF:
            lost.add(
                "ended: kept as not terminal, and not that it was truncated",
                f"episode {episode.id}",
            )
    return list(lost)

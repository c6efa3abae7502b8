# SPDX-License-Identifier: LGPL-3.0-or-later
"""Data sets of d3rlpy's, for offline learning.

Its release 2.8.1 asks for Gymnasium 1.0.0, and works with later ones: run ``pip install d3rlpy``
first, and then ``pip install --upgrade gymbag gymnasium``.

An episode of n actions has n observations there: the final one is not kept. d3rlpy takes 0 in its
place where the episode terminated, and where it did not, leaves out the last transition; so an
episode of one action that did not terminate is left out altogether.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from gymbag.errors import FormatError
from gymbag.formats.aligned import SAYS_UNKNOWN, aligned_episode
from gymbag.formats.flat import (
    Flat,
    FlatSource,
    Run,
    at,
    channels_first,
    over_arrays,
    refuse,
    require_arrays,
    require_kind,
    usual_losses,
)
from gymbag.steps import Episode, Source

try:
    from d3rlpy import ActionSpace
    from d3rlpy.dataset import MDPDataset, ReplayBufferBase
except ImportError as error:
    raise ImportError(
        "gymbag.formats.d3rlpy: needs d3rlpy, which is not here; "
        "run: pip install d3rlpy, then pip install --upgrade gymbag gymnasium"
    ) from error

WHOSE = "d3rlpy"
LACKS = (
    "d3rlpy keeps no spaces, times, infos, seeds or options",
    f"d3rlpy keeps no final observations: episodes are {SAYS_UNKNOWN}",
    "d3rlpy does not tell an episode that was truncated from one that just stops",
)
"""What data sets do not say."""


def to_mdp_dataset(source: Source, *, strict: bool = False) -> MDPDataset:
    """Return a data set of all episodes of a source.

    Observations are in memory once, as large arrays of which the episodes are parts. Rewards are
    float32. Images (uint8, with 1 to 4 channels last) have their channels first, as d3rlpy's
    encoders of pixels want them.

    Args:
        source: a store, a selection (the episodes in which it has a row), or a reader. Observations
            are arrays, or tuples of them; actions are of Discrete, from 0 on, or of Box.
        strict: whether to refuse, if something has no place in it; see `losses`.

    Raises:
        FormatError: there is no such data set for the spaces, or there is no episode.
    """
    if strict:
        refuse(losses(source), WHOSE)
    flat = Flat(source)
    require_arrays(flat.observation_space, "observation", WHOSE, spaces.Tuple)
    action_space = flat.action_space
    discrete = isinstance(action_space, spaces.Discrete) and action_space.start == 0
    if not discrete and not (isinstance(action_space, spaces.Box) and len(action_space.shape) == 1):
        raise FormatError(
            f"action: d3rlpy has no place for {action_space}; expected Discrete from 0 on, "
            "or Box of one axis"
        )
    n = len(flat)
    if n == 0:
        raise FormatError(f"{source.name!r} has no episode, and d3rlpy has no empty data sets")
    arrays: Any = None
    start = 0
    for run in flat:
        values = _of(run)
        if arrays is None:
            arrays = over_arrays(lambda a: np.empty((n, *a.shape[1:]), a.dtype), values)
        some = slice(start, start + len(run))
        over_arrays(lambda to, a, some=some: to.__setitem__(some, a), arrays, values)
        start += len(run)
    return MDPDataset(
        *arrays,
        action_space=ActionSpace.DISCRETE if discrete else ActionSpace.CONTINUOUS,
        action_size=int(action_space.n if discrete else action_space.shape[0]),
    )


def _of(run: Run) -> tuple[Any, ...]:
    """Return what an `MDPDataset` is made of."""
    n = len(run)
    return (
        over_arrays(channels_first, run.observation),
        run.action.reshape(n, -1),
        run.reward.astype(np.float32).reshape(n, 1),
        run.terminated.astype(np.float32),
        (run.truncated & ~run.terminated).astype(np.float32),
    )


def from_d3rlpy(
    dataset: ReplayBufferBase, *, observation_space: Any = None, action_space: Any = None
) -> FlatSource:
    """Return the episodes of a data set, whose rows are views of it.

    Args:
        dataset: an `MDPDataset`, or any other replay buffer of d3rlpy's that holds episodes.
        observation_space: the space of its observations, if you know it. If its images have the
            channels last, those of the data set, which has them first, are turned.
        action_space: the space of its actions; by default Discrete where they are discrete.

    Returns:
        A source; `LACKS` says what is missing in it.

    Raises:
        FormatError: it is none, or its images are not those of the space.
    """
    require_kind(dataset, ReplayBufferBase, "an MDPDataset, or another replay buffer of d3rlpy's")
    discrete = dataset.dataset_info.action_space == ActionSpace.DISCRETE
    if action_space is None and discrete:
        action_space = spaces.Discrete(dataset.dataset_info.action_size)
    return FlatSource(
        lambda: _episodes(dataset, discrete, observation_space),
        observation_space=observation_space,
        action_space=action_space,
    )


def _episodes(dataset: Any, discrete: bool, space: Any) -> Iterator[Episode]:
    for number, episode in enumerate(dataset.episodes):
        seen, n = episode.observations, len(episode)
        seen = _like(tuple(seen) if isinstance(seen, list | tuple) else seen, space)
        yield aligned_episode(
            number,
            [at(seen, k) for k in range(n)],
            list(episode.actions[:, 0] if discrete else episode.actions),
            episode.rewards[:, 0].tolist(),
            terminated=episode.terminated,
            truncated=not episode.terminated,
        )


def _like(values: Any, space: Any) -> Any:
    """Return observations with the shapes of a space, images turned back if they were turned."""
    if isinstance(values, tuple):
        inner = space.spaces if isinstance(space, spaces.Tuple) else [None] * len(values)
        return tuple(_like(part, below) for part, below in zip(values, inner, strict=True))
    if space is None or values.shape[1:] == space.shape:
        return values
    turned: NDArray[Any] = np.moveaxis(values, 1, -1)
    if turned.shape[1:] != space.shape:
        raise FormatError(f"observation: found the shape {values.shape[1:]}; expected {space}")
    return turned


def losses(source: Source) -> list[str]:
    """Return what of a source has no place in a data set of d3rlpy's, a sentence each.

    >>> losses(store)[-1]
    'an episode of one action that did not terminate is left out: episode 1'
    """
    lost = usual_losses(source)
    lost.add("observation: the final one of each episode is not kept")
    for episode in source.iter_episodes():
        if episode.episode_length == 1 and not episode.terminations[-1]:
            lost.add(
                "an episode of one action that did not terminate is left out",
                f"episode {episode.id}",
            )
    return list(lost)

# SPDX-License-Identifier: LGPL-3.0-or-later
"""Buffers of Stable-Baselines3; `pip install 'gymbag[stable-baselines3]'`.

A buffer keeps each transition with both observations, and that an episode ended by a time limit
apart from that it is over: `dones` is True for both, and `timeouts` for the first.

>>> buffer = to_replay_buffer(store, device="cpu")
>>> buffer.size(), buffer.dones.sum(), buffer.timeouts.sum()
(9, np.float32(2.0), np.float32(2.0))
>>> print(gymbag.compare(store, from_replay_buffer(buffer), infos=False).first)
episode 0, seed: 1 is not None
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from gymbag.errors import FormatError
from gymbag.formats.aligned import SAYS_UNKNOWN, aligned_episode
from gymbag.formats.flat import (
    Flat,
    FlatSource,
    at,
    is_image,
    over_arrays,
    refuse,
    require_arrays,
    require_kind,
    usual_losses,
)
from gymbag.steps import Episode, Source, Transitions

try:
    from stable_baselines3.common.buffers import DictReplayBuffer, ReplayBuffer, RolloutBuffer
except ImportError as error:
    raise ImportError(
        "gymbag.formats.stable_baselines3: needs Stable-Baselines3, which is not here; "
        "run: pip install 'gymbag[stable-baselines3]'"
    ) from error

WHOSE = "Stable-Baselines3"
LACKS = (
    "Stable-Baselines3's buffers keep no times, infos, seeds or options",
    "with handle_timeout_termination=False, truncated episodes count as terminated",
    f"with optimize_memory_usage=True, episodes are {SAYS_UNKNOWN}",
    "the first episode of a buffer that has been full may lack its beginning",
)
"""What buffers do not say."""
ROLLOUT_LACKS = (
    LACKS[0],
    "Stable-Baselines3's rollouts do not tell terminated from truncated: all count as terminated",
    "the last reward before a time limit has the value of what would have followed added to it",
    f"episodes of rollouts are {SAYS_UNKNOWN}",
    "the first episode of an environment may lack its beginning, and the last one its end",
)
"""What rollouts do not say."""
BORDER_ROWS = 128
"""Transitions whose observations are compared together."""


def to_replay_buffer(
    source: Source,
    buffer: ReplayBuffer | None = None,
    *,
    scale_actions: bool = True,
    handle_timeout_termination: bool = True,
    device: Any = "auto",
    strict: bool = False,
) -> ReplayBuffer:
    """Fill a replay buffer with all transitions of the episodes of a source.

    Observations are put in some at a time, so that they are in memory once, in the buffer, which
    needs two of each. Give a model's own buffer, ``to_replay_buffer(store, model.replay_buffer)``,
    to train on: it is filled from where it is, and the oldest leave if it is too small. If its
    space is that of images with the channels first, as `VecTransposeImage` makes them, images are
    turned likewise.

    Args:
        source: a store, a selection (the episodes in which it has a row), or a reader.
        buffer: what to fill, of one environment; by default a new one that is just large enough.
        scale_actions: whether actions of a Box with bounds are scaled to -1 … 1, which is what
            SAC, TD3 and DDPG keep in their buffers.
        handle_timeout_termination: of a new buffer: whether it tells truncated from terminated.
        device: of a new buffer: where samples of it are put.
        strict: whether to refuse, if something has no place in it; see `losses`.

    Returns:
        The buffer: a `DictReplayBuffer` for a Dict space.

    Raises:
        FormatError: there is no such buffer for the spaces, or they are not those of the buffer.
    """
    if strict:
        refuse(losses(source), WHOSE)
    flat = Flat(source)
    require_arrays(flat.observation_space, "observation", WHOSE, spaces.Dict)
    require_arrays(flat.action_space, "action", WHOSE)
    if buffer is None:
        kind = DictReplayBuffer if isinstance(flat.observation_space, spaces.Dict) else ReplayBuffer
        buffer = kind(
            max(1, len(flat)),
            flat.observation_space,
            flat.action_space,
            device=device,
            handle_timeout_termination=handle_timeout_termination,
        )
    _require_fit(flat, buffer)
    for run in flat:
        _add(buffer, run, scale_actions)
    return buffer


def add_transitions(
    buffer: ReplayBuffer, transitions: Transitions, *, scale_actions: bool = True
) -> ReplayBuffer:
    """Put single transitions into a replay buffer, such as those that a question selects.

    Each is one by itself; that it is sampled with those before it matters to no algorithm for
    off-policy learning. `from_replay_buffer` cuts episodes where one does not follow.

    Args:
        buffer: of one environment, with the recorded spaces, such as ``model.replay_buffer``.
        transitions: as `Selection.transitions` and `Selection.sample` give them, over one step.
        scale_actions: as for `to_replay_buffer`.

    Returns:
        The buffer.

    Raises:
        FormatError: they are over several steps, the rewards of which a buffer takes for one.

    >>> buffer = to_replay_buffer(store, device="cpu")
    >>> late = store.where("step > 3").transitions()
    >>> add_transitions(buffer, late).pos
    5
    """
    if (transitions.steps != 1).any():
        raise FormatError(
            "the transitions are over several steps; expected n_step=1, for the buffer does not "
            "know how many steps a reward is of"
        )
    _add(buffer, transitions, scale_actions)
    return buffer


def _add(buffer: Any, run: Any, scale_actions: bool) -> None:
    """Put a run of transitions into a buffer."""
    scale = _scale(buffer.action_space) if scale_actions else None
    action = run.action if scale is None else 2 * (run.action - scale[0]) / scale[1] - 1
    observation = over_arrays(_like, run.observation, _spaces(buffer.observation_space))
    following = over_arrays(_like, run.next_observation, _spaces(buffer.observation_space))
    done = run.terminated | run.truncated
    for i in range(len(run.reward)):
        # What a vector of one environment would give; `add` knows where it belongs.
        some = slice(i, i + 1)
        buffer.add(
            at(observation, some),
            at(following, some),
            action[some],
            run.reward[some],
            done[some],
            [{"TimeLimit.truncated": bool(done[i] and not run.terminated[i])}],
        )


def _spaces(space: Any) -> Any:
    return dict(space.spaces) if isinstance(space, spaces.Dict) else space


def _like(values: NDArray[Any], space: Any) -> NDArray[Any]:
    """Return observations as a buffer of that space has them, images with the channels first."""
    return np.moveaxis(values, -1, 1) if _turned(values.shape[1:], space.shape) else values


def _require_fit(flat: Flat, buffer: Any) -> None:
    ours, theirs = _spaces(flat.observation_space), _spaces(buffer.observation_space)
    if isinstance(ours, dict) and isinstance(theirs, dict):
        fits = ours.keys() == theirs.keys() and all(_same(ours[key], theirs[key]) for key in ours)
    else:
        fits = not isinstance(ours, dict) and not isinstance(theirs, dict) and _same(ours, theirs)
    if buffer.n_envs != 1:
        raise FormatError(
            f"the buffer is of {buffer.n_envs} environments; expected one of a single environment, "
            "for an episode cannot be spread over several; make the model with one environment"
        )
    if not fits:
        raise FormatError(
            f"the buffer is of observations {buffer.observation_space}; "
            f"found {flat.observation_space}; make it, or the model, with the recorded space"
        )
    if buffer.action_space != flat.action_space:
        raise FormatError(
            f"the buffer is of actions {buffer.action_space}; found {flat.action_space}; "
            "make it, or the model, with the recorded space"
        )


def _same(ours: Any, theirs: Any) -> bool:
    return ours.dtype == theirs.dtype and (
        ours.shape == theirs.shape or _turned(ours.shape, theirs.shape)
    )


def _turned(ours: tuple[int, ...], theirs: tuple[int, ...]) -> bool:
    """Return whether theirs is the shape of images with the channels first, and ours last."""
    return ours != theirs and is_image(ours, np.uint8) and theirs == (ours[2], *ours[:2])


def _scale(space: Any) -> tuple[NDArray[Any], NDArray[Any]] | None:
    """Return the least action and the breadth of a Box with bounds."""
    if not isinstance(space, spaces.Box) or not space.is_bounded() or space.dtype.kind != "f":
        return None
    return space.low, space.high - space.low


def from_replay_buffer(buffer: ReplayBuffer, *, scale_actions: bool = True) -> FlatSource:
    """Return the episodes in a replay buffer, whose rows are views of it.

    Each environment's transitions are cut where one is done, and where the next does not go on
    from what was observed. Such an episode, and one that still ran, has no flag at its end.

    Args:
        buffer: what an algorithm for off-policy learning has collected, or `to_replay_buffer`.
        scale_actions: whether actions of a Box with bounds are scaled back from -1 … 1.

    Returns:
        A source; `LACKS` says what is missing in it. It changes as the buffer does.

    Raises:
        FormatError: it is no `ReplayBuffer`.
    """
    require_kind(buffer, ReplayBuffer, "a ReplayBuffer, as model.replay_buffer is one")
    return FlatSource(
        lambda: _episodes(buffer, scale_actions),
        observation_space=buffer.observation_space,
        action_space=buffer.action_space,
    )


def _episodes(buffer: Any, scale_actions: bool) -> Iterator[Episode]:
    places = np.arange(buffer.pos)
    if buffer.full:
        # Where memory is saved, the newest's next observation is in the oldest's place.
        skip = int(buffer.optimize_memory_usage)
        places = (buffer.pos + np.arange(skip, buffer.buffer_size)) % buffer.buffer_size
    number = 0
    for env in range(buffer.n_envs):
        for some in np.split(places, _borders(buffer, places, env)) if len(places) else ():
            yield _episode(buffer, number, some, env, scale_actions)
            number += 1


def _borders(buffer: Any, places: NDArray[np.int64], env: int) -> NDArray[np.int64]:
    """Return which transitions begin another episode than those before them."""
    ends = buffer.dones[places[:-1], env] != 0
    if not buffer.optimize_memory_usage:
        for start in range(0, len(ends), BORDER_ROWS):
            stop = min(start + BORDER_ROWS, len(ends))

            def differ(
                after: NDArray[Any],
                before: NDArray[Any],
                here: NDArray[np.int64] = places[start:stop],
                there: NDArray[np.int64] = places[start + 1 : stop + 1],
                into: NDArray[np.bool_] = ends[start:stop],
            ) -> None:
                one, other = after[here, env], before[there, env]
                same = (one == other) | ((one != one) & (other != other))
                into |= ~same.reshape(len(here), -1).all(axis=1)

            over_arrays(differ, buffer.next_observations, buffer.observations)
    return np.flatnonzero(ends) + 1


def _episode(
    buffer: Any, number: int, places: NDArray[np.int64], env: int, scale_actions: bool
) -> Episode:
    last = int(places[-1])
    done, timeout = bool(buffer.dones[last, env]), bool(buffer.timeouts[last, env])
    if not buffer.optimize_memory_usage:
        final = _value(buffer.observation_space, at(buffer.next_observations, (last, env)))
    elif (last + 1) % buffer.buffer_size == buffer.pos:
        final = _value(buffer.observation_space, at(buffer.observations, (buffer.pos, env)))
    else:
        final = None
    actions = buffer.actions[places, env].reshape(len(places), *buffer.action_space.shape)
    scale = _scale(buffer.action_space) if scale_actions else None
    if scale is not None:
        actions = (scale[0] + (actions + 1) * scale[1] / 2).astype(buffer.action_space.dtype)
    return aligned_episode(
        number,
        [
            _value(buffer.observation_space, at(buffer.observations, (place, env)))
            for place in places.tolist()
        ],
        list(actions),
        buffer.rewards[places, env].tolist(),
        terminated=done and not timeout,
        truncated=done and timeout,
        final=final,
    )


def from_rollout_buffer(buffer: RolloutBuffer) -> FlatSource:
    """Return the episodes in a rollout buffer, as PPO and A2C have one.

    What the policy said is in the infos: ``info.value`` where it saw an observation, and
    ``info.log_prob`` where its action was taken. Actions of a Box are as it drew them, and may lie
    outside. There is no way back: these algorithms want the values of the policy that they train,
    and those of an old one would mislead them.

    Args:
        buffer: what an algorithm for on-policy learning has collected.

    Returns:
        A source; `ROLLOUT_LACKS` says what is missing in it. It changes as the buffer does.

    Raises:
        FormatError: it is no `RolloutBuffer`.
    """
    require_kind(buffer, RolloutBuffer, "a RolloutBuffer, as model.rollout_buffer is one")
    return FlatSource(
        lambda: _rollouts(buffer),
        observation_space=buffer.observation_space,
        action_space=buffer.action_space,
    )


def _rollouts(buffer: Any) -> Iterator[Episode]:
    size = buffer.buffer_size if buffer.full else buffer.pos

    def lane(values: Any, env: int) -> Any:
        # Once it was sampled, the environments stand one after another in most arrays.
        if len(values) != buffer.buffer_size or values.shape[:2] != (len(values), buffer.n_envs):
            values = values.reshape(buffer.n_envs, buffer.buffer_size, *values.shape[1:])
            values = values.swapaxes(0, 1)
        return values[:size, env]

    number = 0
    for env in range(buffer.n_envs):
        observations = over_arrays(lambda some, e=env: lane(some, e), buffer.observations)
        actions, rewards, values, chances = (
            lane(array, env)
            for array in (buffer.actions, buffer.rewards, buffer.values, buffer.log_probs)
        )
        begins = lane(buffer.episode_starts, env) != 0
        borders = [0, *(np.flatnonzero(begins[1:]) + 1).tolist(), size]
        for start, stop in pairwise(borders if size else ()):
            some = range(start, stop)
            space = buffer.action_space
            infos: list[dict[Any, Any]] = [{"value": float(values[k].item())} for k in some]
            infos.append({})
            for row, k in enumerate(some, 1):
                infos[row]["log_prob"] = float(chances[k].item())
            yield aligned_episode(
                number,
                [_value(buffer.observation_space, at(observations, k)) for k in some],
                list(actions[start:stop].reshape(-1, *space.shape).astype(space.dtype)),
                rewards[start:stop].reshape(-1).tolist(),
                terminated=stop < size,
                truncated=False,
                infos=infos,
            )
            number += 1


def _value(space: Any, value: Any) -> Any:
    """Return a value of a space as it is outside the buffer, which gives each at least one axis."""
    if isinstance(space, spaces.Dict):
        return {key: _value(below, value[key]) for key, below in space.spaces.items()}
    return value.reshape(space.shape)[()]


def losses(source: Source) -> list[str]:
    """Return what of a source has no place in a replay buffer, a sentence each.

    >>> losses(store)[0]
    'name: not kept by this format'
    """
    lost = usual_losses(source)
    if isinstance(source.action_space, spaces.Box) and source.action_space.dtype.kind == "f":
        scaled = "scaled to -1 … 1, " * (_scale(source.action_space) is not None)
        if scaled or source.action_space.dtype == np.float64:
            lost.add(f"action: {scaled}rounded to 32 bits")
    return list(lost)

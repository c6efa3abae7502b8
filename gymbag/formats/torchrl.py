# SPDX-License-Identifier: LGPL-3.0-or-later
"""TorchRL's episode data as TensorDicts, and its replay buffers; `pip install 'gymbag[torchrl]'`.

The layout is TED, TorchRL's own: what was seen before the action at the root, what came of it under
``"next"``, the number of the episode under ``("collector", "traj_ids")``. The parts of a Dict
space stand at the root by their names, as `torchrl.envs.GymEnv` puts them; any other observation
is ``"observation"``. Actions of Discrete are numbers, not one-hot.

>>> data = to_tensordict(store)
>>> data.batch_size, data["next", "reward"].shape, data["next", "truncated"].sum()
(torch.Size([9]), torch.Size([9, 1]), tensor(2))
>>> gymbag.compare([e.steps() for e in store.episodes], from_tensordict(data), infos=False).first
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from gymbag.errors import FormatError
from gymbag.formats.aligned import aligned_episode
from gymbag.formats.flat import (
    Flat,
    FlatSource,
    Run,
    at,
    refuse,
    require_arrays,
    require_kind,
    usual_losses,
)
from gymbag.steps import Episode, Source

try:
    import torch
    from tensordict import TensorDict, TensorDictBase
    from torchrl.data import ReplayBuffer
except ImportError as error:
    raise ImportError(
        "gymbag.formats.torchrl: needs TorchRL, which is not here; "
        "run: pip install 'gymbag[torchrl]'"
    ) from error

WHOSE = "TorchRL"
LACKS = (
    "TorchRL's TensorDicts keep no times, infos, seeds or options",
    "where a batch of TorchRL's ends in mid-episode, the episode has no flag at its end",
)
"""What TensorDicts do not say."""
FLAGS = ("done", "terminated", "truncated")
TAKEN = {"action", "reward", "next", "collector", *FLAGS}
"""Names that mean something else at the root, or under "next"."""
TRAJECTORY = ("collector", "traj_ids")


def to_tensordict(source: Source, *, strict: bool = False) -> TensorDict:
    """Return all transitions of the episodes of a source, one after another.

    Observations are in memory once, but for those that TED has twice, as ``"next"`` ones.

    Args:
        source: a store, a selection (the episodes in which it has a row), or a reader. Its
            observations are arrays, or dicts of them.
        strict: whether to refuse, if something has no place in it; see `losses`.

    Returns:
        A TensorDict of batch size (N,). Rewards are float32, (N, 1), flags bool, (N, 1); what was
        recorded keeps its dtype and shape. An episode that just stops counts as truncated.

    Raises:
        FormatError: a TensorDict has no place for values of the spaces.
    """
    flat = _checked(source, strict)
    n, start = len(flat), 0
    if n == 0:
        raise FormatError(f"{source.name!r} has no episode, and so no tensors")
    whole: Any = None
    for run in flat:
        part = _tensordict(run)
        if whole is None:
            whole = part[:1].apply(lambda t: t.new_empty(n, *t.shape[1:]), batch_size=[n])
        whole[start : start + len(run)] = part
        start += len(run)
    return whole


def extend_replay_buffer(buffer: ReplayBuffer, source: Source, *, strict: bool = False) -> int:
    """Extend a replay buffer by all transitions of the episodes of a source.

    It is done in pieces, so that only the buffer, which may be on disk, needs room for all.

    Args:
        buffer: of TensorDicts, that is with a `LazyTensorStorage` or a `LazyMemmapStorage`.
        source: see `to_tensordict`.
        strict: see `to_tensordict`.

    Returns:
        How many transitions were added; if the buffer is smaller, it holds the last ones.

    Raises:
        FormatError: a TensorDict has no place for values of the spaces.
    """
    added = 0
    for run in _checked(source, strict):
        buffer.extend(_tensordict(run))
        added += len(run)
    return added


def _checked(source: Source, strict: bool) -> Flat:
    if strict:
        refuse(losses(source), WHOSE)
    flat = Flat(source)
    require_arrays(flat.observation_space, "observation", WHOSE, spaces.Dict)
    require_arrays(flat.action_space, "action", WHOSE)
    wrong = TAKEN & set(getattr(flat.observation_space, "spaces", ()))
    if wrong:
        raise FormatError(
            f"observation: the part {min(wrong)!r} has a name that means something else to "
            "TorchRL; record it under another"
        )
    return flat


def _tensordict(run: Run) -> TensorDict:
    n = len(run)
    flags = {
        "done": run.terminated | run.truncated,
        "terminated": run.terminated,
        "truncated": run.truncated,
    }
    following = _named(run.next_observation) | {"reward": run.reward.astype(np.float32)} | flags
    root = _named(run.observation) | {"action": run.action}
    root |= {name: np.zeros(n, np.bool_) for name in FLAGS}
    column = ("reward", *FLAGS)
    inner, outer = (
        {
            key: _tensor(value.reshape(n, 1) if key in column else value)
            for key, value in values.items()
        }
        for values in (following, root)
    )
    outer["next"] = TensorDict(inner, batch_size=[n])
    outer["collector"] = TensorDict({"traj_ids": torch.full([n], run.episode)}, batch_size=[n])
    return TensorDict(outer, batch_size=[n])


def _tensor(array: NDArray[Any]) -> torch.Tensor:
    # PyTorch has no tensors that are only to be read.
    return torch.from_numpy(np.require(array, requirements="W"))


def _named(observation: Any) -> dict[str, Any]:
    return dict(observation) if isinstance(observation, dict) else {"observation": observation}


def from_tensordict(
    data: TensorDictBase, *, observation_space: Any = None, action_space: Any = None
) -> FlatSource:
    """Return the episodes in a TensorDict in TED layout, whose rows are views of its tensors.

    An episode is over where ``("next", "done")`` says so, and where the number of the trajectory
    changes, if there is one. Axes of a batch of environments are put one after another: the last
    axis is time, as TorchRL has it.

    Args:
        data: what an environment's `rollout`, a collector, or a replay buffer (``buffer[:]``, of
            transitions in their order) gives.
        observation_space: the space of its observations, if you know it. All under ``"next"`` that
            is no reward or flag counts as observation, or the parts of a Dict space.
        action_space: the space of its actions, if you know it. One-hot actions become numbers if
            it is Discrete.

    Returns:
        A source; `LACKS` says what is missing in it.

    Raises:
        FormatError: it is not in that layout.
    """
    require_kind(data, TensorDictBase, "a TensorDict; of a ReplayBuffer, give buffer[:]")
    keys = _keys(data)
    if not keys >= {"next", "action"} or not _keys(data["next"]) >= {"reward", "done"}:
        raise FormatError(
            f"found the keys {sorted(keys)}; expected observations and 'action', "
            "and 'next' with 'reward' and 'done', which is the layout TED of TorchRL's"
        )
    return FlatSource(
        lambda: _episodes(data, observation_space, action_space),
        observation_space=observation_space,
        action_space=action_space,
    )


def _episodes(data: Any, space: Any, action_space: Any) -> Iterator[Episode]:
    length = data.batch_size[-1] if data.batch_size else 1
    flat = data.reshape(-1).detach().cpu()
    following = flat["next"]
    wanted = space.spaces if isinstance(space, spaces.Dict) else None
    names = list(wanted or sorted(_keys(following) - TAKEN))
    single = wanted is None and names == ["observation"]
    seen, then = (_arrays(part, names, single) for part in (flat, following))
    action = flat["action"].numpy()
    if isinstance(action_space, spaces.Discrete) and action.ndim > 1:
        action = action.argmax(-1) + action_space.start if action.shape[-1] > 1 else action[..., 0]
    n = len(action)
    done = _flag(following, "done", n)
    terminated = _flag(following, "terminated", n)
    truncated = _flag(following, "truncated", n)
    if not _keys(following) & {"terminated", "truncated"}:
        terminated = done
    ends = done | terminated | truncated
    ends[length - 1 :: length] = True
    if TRAJECTORY in flat.keys(include_nested=True):
        ids = flat[TRAJECTORY].numpy().reshape(n, -1)[:, 0]
        ends[:-1] |= np.diff(ids) != 0
    start = 0
    for number, stop in enumerate((np.flatnonzero(ends) + 1).tolist()):
        yield aligned_episode(
            number,
            [at(seen, k) for k in range(start, stop)],
            list(action[start:stop]),
            following["reward"][start:stop].reshape(-1).tolist(),
            terminated=bool(terminated[stop - 1]),
            truncated=bool(truncated[stop - 1]),
            final=at(then, stop - 1),
        )
        start = stop


def _keys(data: TensorDictBase) -> set[str]:
    return set(map(str, data.keys()))


def _arrays(part: Any, names: list[str], single: bool) -> Any:
    missing = set(names) - _keys(part)
    if missing or not names:
        raise FormatError(
            f"observation: found no {sorted(missing) or 'key for it'} among {sorted(_keys(part))}"
        )
    return part["observation"].numpy() if single else {name: part[name].numpy() for name in names}


def _flag(following: Any, name: str, n: int) -> NDArray[np.bool_]:
    if name not in _keys(following):
        return np.zeros(n, np.bool_)
    found: NDArray[np.bool_] = following[name].numpy().reshape(n).astype(np.bool_)
    return found


def losses(source: Source) -> list[str]:
    """Return what of a source has no place in a TensorDict, a sentence each.

    >>> losses(store)[0]
    'name: not kept by this format'
    """
    return list(usual_losses(source))

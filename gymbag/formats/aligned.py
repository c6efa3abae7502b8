# SPDX-License-Identifier: LGPL-3.0-or-later
"""Episodes of formats that keep as many observations as actions, as offline RL does.

Entry i of theirs is the observation before action i, that action, and its reward. So the final
observation is known only if a format says what followed the last action. If it does not, NaN
stands in its place, or 0 where a dtype has no NaN, and the info of that row has the key `UNKNOWN`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from gymbag.memory import MemoryEpisode
from gymbag.steps import Episode, Step

UNKNOWN = "final_observation_unknown"
"""True in the info of a final row whose observation is none; there is no such key in others."""
SAYS_UNKNOWN = (
    f"without a final observation, NaN or 0 stands in its place, and info.{UNKNOWN} is True"
)


def aligned_episode(
    number: int,
    observations: Sequence[Any],
    actions: Sequence[Any],
    rewards: Sequence[float],
    *,
    terminated: bool,
    truncated: bool,
    final: Any = None,
    infos: Sequence[dict[Any, Any]] = (),
    times: Sequence[float] = (),
    null_action: Any = None,
) -> MemoryEpisode:
    """Return an episode of n actions, n > 0.

    Args:
        number: its number.
        observations: those before each action.
        actions: the n actions.
        rewards: the n rewards.
        terminated: whether the last step says so.
        truncated: likewise.
        final: what was observed after the last action; None if that is not known.
        infos: of the n or n + 1 rows from the reset on; {} where there are fewer.
        times: likewise; NaN where there are fewer.
        null_action: what stands on the reset's row; made up like the first action if None.
    """
    n = len(actions)
    infos = [*infos, *({} for _ in range(n + 1 - len(infos)))]
    if final is None:
        final = null_like(observations[-1])
        infos[-1] = {**infos[-1], UNKNOWN: True}
    rows = [
        Step(*row)
        for row in zip(
            [*times, *[math.nan] * (n + 1 - len(times))],
            [*observations, final],
            [null_like(actions[0]) if null_action is None else null_action, *actions],
            [math.nan, *rewards],
            [*[False] * n, terminated],
            [*[False] * n, truncated],
            infos,
            strict=True,
        )
    ]
    return MemoryEpisode(number, rows)


def null_like(value: Any) -> Any:
    """Return what stands where there is no value, of which only examples are known.

    >>> null_like({"x": np.ones(2), "n": np.int64(3)})
    {'x': array([nan, nan]), 'n': np.int64(0)}
    """
    if isinstance(value, dict):
        return {key: null_like(item) for key, item in value.items()}
    if isinstance(value, tuple):
        return tuple(map(null_like, value))
    if isinstance(value, np.ndarray | np.generic):
        return np.full_like(value, np.nan if value.dtype.kind in "fc" else 0)[()]
    return type(value)()


def without_final(episode: Episode) -> bool:
    """Return whether the final observation of an episode is not known."""
    return bool(episode.infos[-1].get(UNKNOWN, False))

# SPDX-License-Identifier: LGPL-3.0-or-later
"""Gives a Gymnasium environment the API of gym 0.9.2, thinly.

Import it after `benchmarks.old_gymbag.activate` only.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import gym
import gym.spaces
import gymnasium


class OldGym(gym.Env):  # type: ignore[misc]
    """`env` as an environment of gym 0.9.2, whose recorders call `_reset` and `_step`."""

    def __init__(self, env: gymnasium.Env[Any, Any]) -> None:
        self.env = env
        self.observation_space = old_space(env.observation_space)
        self.action_space = old_space(env.action_space)
        # gymbag 0.4.9 names a table by it, and in 2017 no name had a namespace before a slash.
        self._spec = SimpleNamespace(id=env.spec.id.rpartition("/")[2]) if env.spec else None

    def _reset(self) -> Any:
        return self.env.reset()[0]

    def _step(self, action: Any) -> tuple[Any, Any, bool, dict[str, Any]]:
        observation, reward, terminated, truncated, info = self.env.step(action)
        return observation, reward, terminated or truncated, info

    def _close(self) -> None:
        self.env.close()


def old_space(space: gymnasium.Space[Any]) -> Any:
    if isinstance(space, gymnasium.spaces.Discrete):
        return gym.spaces.Discrete(int(space.n))
    if isinstance(space, gymnasium.spaces.Box):
        # Its bounds were float64, which is also what makes them fit for JSON.
        return gym.spaces.Box(space.low.astype(float), space.high.astype(float))
    raise TypeError(f"{space}: gymbag 0.4.9 records Box and Discrete only")

# SPDX-License-Identifier: LGPL-3.0-or-later
"""Makes episodes: out of nothing, or by driving an environment."""

from __future__ import annotations

import copy
import itertools
import math
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import Any

import gymnasium
import numpy as np
from gymnasium.envs.registration import EnvSpec

from gymbag.errors import EpisodeError
from gymbag.schema import null_sample
from gymbag.steps import Step, iter_rows

_END = object()
"""Says that there is no further action; an action may be anything, None included."""


class RandomEnv(gymnasium.Env[Any, Any]):
    """An environment of random observations, and of random rewards in [0, 1).

    `reset` with a seed makes all that follows reproducible, samples of its spaces included.

    Args:
        observation_space: where the observations are drawn from.
        action_space: nothing depends on it; agents may want one.
        episode_steps: at how many steps an episode terminates.

    >>> from gymnasium.spaces import Discrete
    >>> env = RandomEnv(Discrete(9), Discrete(2), episode_steps=1)
    >>> observation, info = env.reset(seed=1)
    >>> observation, reward, terminated, truncated, info = env.step(0)
    >>> terminated
    True
    """

    def __init__(
        self,
        observation_space: gymnasium.Space[Any],
        action_space: gymnasium.Space[Any] | None = None,
        episode_steps: int = 10,
    ) -> None:
        self.observation_space = observation_space
        self.action_space: Any = action_space
        self.episode_steps = episode_steps
        self.step_num = episode_steps
        self.spec = EnvSpec(
            "RandomEnv-v0",
            entry_point="gymbag.generate:RandomEnv",
            kwargs={
                "observation_space": observation_space,
                "action_space": action_space,
                "episode_steps": episode_steps,
            },
        )

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Begin an episode; return a random observation and an empty info."""
        super().reset(seed=seed, options=options)
        if seed is not None:
            for space in (self.observation_space, self.action_space):
                if space is not None:
                    space.seed(int(self.np_random.integers(2**31)))
        self.step_num = 0
        return self.observation_space.sample(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Take a step, whatever the action.

        Raises:
            EpisodeError: no episode is running.
        """
        if self.step_num == self.episode_steps:
            raise EpisodeError("step: no episode is running; call reset first")
        self.step_num += 1
        terminated = self.step_num == self.episode_steps
        return self.observation_space.sample(), self.np_random.random(), terminated, False, {}


class RandomAgent:
    """An agent that samples its actions.

    Args:
        action_space: where from.
        seed: makes the actions reproducible, and independent of who else samples the space.

    >>> from gymnasium.spaces import Discrete
    >>> one, other = RandomAgent(Discrete(9), seed=1), RandomAgent(Discrete(9), seed=1)
    >>> [one.act() for _ in range(20)] == [other.act() for _ in range(20)]
    True
    """

    def __init__(self, action_space: gymnasium.Space[Any], seed: int | None = None) -> None:
        self.action_space = action_space
        if seed is not None:
            self.action_space = copy.deepcopy(action_space)
            self.action_space.seed(seed)

    def act(self, observation: Any = None) -> Any:
        """Return a random action, whatever the observation."""
        return self.action_space.sample()


def generate_random(
    sample_observation: Callable[[], Any],
    sample_action: Callable[[], Any],
    sample_reward: Callable[[], float] = np.random.rand,
    episodes: int = 10,
    steps_per_episode: Callable[[], int] = lambda: np.random.randint(1, 11),
) -> Iterator[list[Step]]:
    """Return episodes of what the given functions return; the last row is terminated.

    Each is a list of its own, to be kept or skipped. The reset's action is None, for no space
    says what is null.

    Args:
        sample_observation: called for each row, before the two that follow.
        sample_action: called for each row but the reset's.
        sample_reward: likewise; by default uniform in [0, 1).
        episodes: how many.
        steps_per_episode: called for each episode; a reset's row is added. By default 1 to 10.

    >>> [[step.action for step in rows] for rows in generate_random(int, int, float, 2, lambda: 1)]
    [[None, 0], [None, 0]]
    """
    for _ in range(episodes):
        steps = steps_per_episode()
        rows = [Step(time.time(), sample_observation(), None, math.nan, False, False, {})]
        for step in range(1, steps + 1):
            observation, action, reward = sample_observation(), sample_action(), sample_reward()
            rows.append(Step(time.time(), observation, action, reward, step == steps, False, {}))
        yield rows


def generate_monotonic(episodes: int = 10, start_time: float = 0.0) -> Iterator[list[Step]]:
    """Return episodes that count, the same ones each time.

    Episode i has i + 1 actions. An observation is the pair of its episode and its step, float32,
    shape (2,); the action is the step, the reward ten times that, and NaN for the reset. The
    time goes up by a second from row to row. The last row is terminated.

    The spaces are ``Box(0, episodes, (2,))`` and ``Discrete(episodes + 1)``.

    Args:
        episodes: how many.
        start_time: Unix time of the first row, in seconds.

    >>> for step in next(generate_monotonic()):
    ...     print(step.time, step.observation, step.action, step.reward, step.terminated)
    0.0 [0. 0.] 0 nan False
    1.0 [0. 1.] 1 10.0 True
    """
    seconds = itertools.count()
    for episode in range(episodes):
        last = episode + 1
        yield [
            Step(
                start_time + next(seconds),
                np.array([episode, step], dtype=np.float32),
                step,
                step * 10.0 if step else math.nan,
                step == last,
                False,
                {},
            )
            for step in range(last + 1)
        ]


def run_episode(
    env: gymnasium.Env[Any, Any],
    actions: Iterable[Any] | None = None,
    max_steps: int | None = None,
    *,
    seed: int | None = None,
) -> Generator[Step, None, None]:
    """Run an environment for one episode, row by row as they are asked for.

    It ends when the environment says so, and before that when there is no further action or
    after `max_steps`; the last row is then truncated. With no action at all there is no row,
    and the environment is not reset.

    Args:
        env: its `step` returns five values.
        actions: as many are taken as there are steps, so an iterator goes on with the rest.
            The next one is taken before a row is given. None samples them.
        max_steps: at most so many steps.
        seed: for the reset, and for the actions if they are sampled.

    >>> from gymnasium.spaces import Discrete
    >>> env = RandomEnv(Discrete(9), Discrete(2))
    >>> [(step.action, step.done) for step in run_episode(env, actions=[1, 0])][1:]
    [(1, False), (0, True)]
    """
    chosen = itertools.islice(_choose(env, actions, seed), max_steps)
    action = next(chosen, _END)
    if action is _END:
        return
    null = None if env.action_space is None else null_sample(env.action_space)
    observation, info = env.reset(seed=seed)
    yield Step(time.time(), observation, null, math.nan, False, False, info)
    while action is not _END:
        observation, reward, terminated, truncated, info = env.step(action)
        now = time.time()
        following = _END if terminated or truncated else next(chosen, _END)
        cut = following is _END and not terminated
        yield Step(now, observation, action, float(reward), terminated, truncated or cut, info)
        action = following


def drive_env(
    env: gymnasium.Env[Any, Any],
    actions: Iterable[Any] | None = None,
    episodes: int | None = None,
    steps_per_episode: int | None = None,
    *,
    seed: int | None = None,
) -> Iterator[Iterator[Step]]:
    """Run an environment for several episodes, and close it.

    An episode runs while its rows are asked for; whoever goes on to the next episode before its
    end has no further rows of it.

    Args:
        env: its `step` returns five values.
        actions: of all episodes, one after another; it stops when there are no more. None
            samples them.
        episodes: at most so many; None goes on for ever, or until there are no more actions.
        steps_per_episode: at most so many in each.
        seed: for the first reset, and for the actions if they are sampled.

    >>> from gymnasium.spaces import Discrete
    >>> env = RandomEnv(Discrete(9), Discrete(2), episode_steps=3)
    >>> [len(list(rows)) for rows in drive_env(env, actions=[1, 0, 1, 1])]
    [4, 2]
    """
    chosen = _choose(env, actions, seed)
    try:
        for number in itertools.count() if episodes is None else range(episodes):
            rows = run_episode(env, chosen, steps_per_episode, seed=None if number else seed)
            reset = next(rows, None)
            if reset is None:
                break
            yield itertools.chain([reset], rows)
            rows.close()
    finally:
        env.close()


def get_actions(episodes: Any) -> Iterator[Iterator[Any]]:
    """Return the actions of each episode, without the reset's null action.

    Args:
        episodes: any source, or iterable of iterables of rows.

    >>> [list(actions) for actions in get_actions(generate_monotonic(2))]
    [[1], [1, 2]]
    """
    for rows in iter_rows(episodes):
        yield (step.action for step in itertools.islice(rows, 1, None))


def _choose(
    env: gymnasium.Env[Any, Any], actions: Iterable[Any] | None, seed: int | None
) -> Iterator[Any]:
    """Return the actions given, or endless samples."""
    if actions is not None:
        return iter(actions)
    agent = RandomAgent(env.action_space, seed)
    return (agent.act() for _ in itertools.count())

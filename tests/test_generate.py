# SPDX-License-Identifier: LGPL-3.0-or-later
"""Episodes that are made, and environments that are driven."""

from __future__ import annotations

import math
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.utils.env_checker import check_env
from hypothesis import given
from hypothesis import strategies as st

from gymbag import ListRecorder, RecordEnv
from gymbag.errors import EpisodeError
from gymbag.generate import (
    RandomAgent,
    RandomEnv,
    drive_env,
    generate_monotonic,
    generate_random,
    get_actions,
    run_episode,
)
from gymbag.steps import Step

SPACES: list[gymnasium.Space[Any]] = [
    spaces.Box(0, 1, (3,)),
    spaces.Discrete(4),
    spaces.Dict(camera=spaces.Box(0, 255, (6, 5, 3), np.uint8), goal=spaces.Discrete(3)),
    spaces.Tuple((spaces.Text(3), spaces.MultiBinary(2))),
]


def counting(steps: int = 3) -> RandomEnv:
    return RandomEnv(spaces.Discrete(1000), spaces.Discrete(1000), episode_steps=steps)


def lists(episodes: Any) -> list[list[Step]]:
    return [list(rows) for rows in episodes]


def timeless(episodes: Any) -> str:
    """Return all that is in the episodes but the time; a text, so that NaN equals NaN."""
    return repr([[step[1:] for step in rows] for rows in episodes])


@pytest.mark.parametrize("space", SPACES, ids=str)
def test_the_random_environment_is_one(space: gymnasium.Space[Any]) -> None:
    check_env(RandomEnv(space, spaces.Discrete(3), episode_steps=4))


def test_a_random_environment_begins_with_a_reset_and_ends() -> None:
    env = counting(steps=1)
    for _ in range(2):
        with pytest.raises(EpisodeError, match="call reset first"):
            env.step(0)
        env.reset()
        observation, reward, terminated, truncated, info = env.step(0)
        assert observation in env.observation_space
        assert 0 <= reward < 1
        assert (terminated, truncated, info) == (True, False, {})


def test_a_seeded_agent_shares_its_stream_with_nobody() -> None:
    space = spaces.Discrete(1000, seed=5)
    one, other = RandomAgent(space, seed=1), RandomAgent(space, seed=1)
    drawn = []
    for _ in range(20):
        space.sample()
        drawn.append(one.act())
    assert drawn == [other.act("anything") for _ in range(20)]
    assert RandomAgent(space).action_space is space


def test_random_episodes_may_be_kept_and_skipped() -> None:
    actions = iter(range(1000))
    lengths = iter([1, 3, 2])
    episodes = generate_random(lambda: 7, actions.__next__, lambda: 0.5, 3, lengths.__next__)
    kept = [next(episodes)]
    next(episodes)
    kept += episodes
    assert [[step.action for step in rows] for rows in kept] == [[None, 0], [None, 4, 5]]
    for rows in kept:
        assert math.isnan(rows[0].reward)
        assert all(step.reward == 0.5 for step in rows[1:])
        assert [step.done for step in rows] == [False] * (len(rows) - 1) + [True]
    assert [len(list(generate_random(int, int))), len(list(generate_random(int, int)))] == [10, 10]


@given(st.integers(0, 5), st.floats(0, 1e9))
def test_monotonic_episodes_count(episodes: int, start: float) -> None:
    found = lists(generate_monotonic(episodes, start_time=start))
    assert repr(found) == repr(lists(generate_monotonic(episodes, start_time=start)))
    assert len(found) == episodes
    assert [s.time for rows in found for s in rows] == [
        start + i for i in range(sum(map(len, found)))
    ]
    for episode, rows in enumerate(found):
        assert len(rows) == episode + 2
        assert math.isnan(rows[0].reward)
        for number, step in enumerate(rows):
            assert step.observation.dtype == np.float32
            assert step.observation.tolist() == [episode, number]
            assert step.observation in spaces.Box(0, episodes, (2,))
            assert step.action == number
            assert step.action in spaces.Discrete(episodes + 1)
            assert number == 0 or step.reward == number * 10
            assert (step.terminated, step.truncated) == (number == episode + 1, False)


limits = st.none() | st.integers(1, 6)


@given(st.integers(1, 4), st.integers(0, 12), limits, limits)
def test_driving_takes_as_many_actions_as_there_are_steps(
    steps: int, n: int, episodes: int | None, most: int | None
) -> None:
    actions = iter(range(n))
    length = min(steps, most or steps)
    found = lists(drive_env(counting(steps), actions, episodes, most))
    starts = range(0, n, length)[:episodes]
    expected = [list(range(start, min(start + length, n))) for start in starts]
    assert lists(get_actions(found)) == expected
    assert list(actions) == list(range(sum(map(len, expected)), n))
    for rows in found:
        assert not any(step.done for step in rows[:-1])
        whole = len(rows) - 1 == steps
        assert (rows[-1].terminated, rows[-1].truncated) == (whole, not whole)
        assert math.isnan(rows[0].reward)
        assert rows[0].action == 0


@pytest.mark.parametrize("space", SPACES, ids=str)
def test_what_is_driven_is_what_is_recorded_and_what_is_driven_again(
    space: gymnasium.Space[Any],
) -> None:
    recorder = ListRecorder(space, space)
    env = RecordEnv(RandomEnv(space, space, episode_steps=3), recorder)
    driven = lists(drive_env(env, episodes=4, steps_per_episode=3, seed=1))
    assert timeless(driven) == timeless(recorder.data)
    assert [episode.seed for episode in recorder.iter_episodes()] == [1, None, None, None]
    assert timeless(driven) == timeless(
        lists(drive_env(RandomEnv(space, space, 3), episodes=4, steps_per_episode=3, seed=1))
    )
    env = RandomEnv(space, spaces.Discrete(1000), episode_steps=3)
    driven = lists(drive_env(env, [4, 5, 6, 7], seed=2))
    actions = (action for episode in get_actions(driven) for action in episode)
    assert timeless(driven) == timeless(lists(drive_env(env, actions, seed=2)))


def test_a_driven_environment_is_closed() -> None:
    closed = []

    class Closing(RandomEnv):
        def close(self) -> None:
            closed.append(True)

    lists(drive_env(Closing(spaces.Discrete(2)), [1]))
    episodes = drive_env(Closing(spaces.Discrete(2), spaces.Discrete(2)))
    next(episodes)
    assert closed == [True]
    episodes.close()  # type: ignore[attr-defined]
    assert closed == [True, True]


def test_an_episode_left_early_has_no_further_rows() -> None:
    episodes = drive_env(counting(), range(9))
    first = next(episodes)
    assert [next(first).action, next(first).action] == [0, 0]
    second = next(episodes)
    assert list(first) == []
    assert [step.action for step in second] == [0, 2, 3, 4]


def test_without_an_action_there_is_no_episode() -> None:
    env = counting()
    assert list(run_episode(env, [])) == []
    with pytest.raises(EpisodeError):
        env.step(0)
    assert [step.action for step in run_episode(env, range(100, 200), max_steps=2)] == [0, 100, 101]

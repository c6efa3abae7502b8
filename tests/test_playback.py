# SPDX-License-Identifier: LGPL-3.0-or-later
"""What is played back is what was recorded, through every door and in every order."""

from __future__ import annotations

import copy
import itertools
import math
import pickle
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.utils.env_checker import check_env, data_equivalence
from hypothesis import given
from hypothesis import strategies as st

import gymbag
from gymbag import HDF5Recorder, ListRecorder, record_from_iter
from gymbag.errors import EpisodeError
from gymbag.generate import RandomEnv, drive_env, generate_monotonic
from gymbag.memory import MemoryEpisode, MemorySource
from gymbag.playback import PlaybackAgent, PlaybackEnv
from gymbag.steps import SeedStep, Step

ACTION = spaces.Discrete(3)
OBSERVATIONS: dict[str, gymnasium.Space[Any]] = {
    "box": spaces.Box(-1, 1, (2,)),
    "discrete": spaces.Discrete(5),
    "dict": spaces.Dict(camera=spaces.Box(0, 255, (6, 5), np.uint8), goal=spaces.Discrete(3)),
    "image": spaces.Box(0, 255, (6, 5, 3), np.uint8),
}


def source_of(space: gymnasium.Space[Any], episodes: int = 4) -> ListRecorder:
    recorder = ListRecorder(space, ACTION)
    record_from_iter(recorder, drive_env(RandomEnv(space, ACTION, 3), None, episodes, seed=1))
    return recorder


def write(path: Path, space: gymnasium.Space[Any], episodes: int = 4) -> str:
    record_from_iter(HDF5Recorder(path, space, ACTION), source_of(space, episodes).iter_episodes())
    return str(path)


def play(env: Any, action: Any = 0) -> list[list[Any]]:
    """Return what each call returned, until the environment is played out."""
    episodes = []
    while not env.played_out:
        calls: list[Any] = [env.reset()]
        done = False
        while not done:
            calls.append(env.step(action))
            done = any(calls[-1][2:-1])
        episodes.append(calls)
    return episodes


def calls_of(episodes: Any) -> list[list[Any]]:
    """Return what the calls should return."""
    return [
        [
            (rows[0].observation, rows[0].info),
            *((s.observation, s.reward, s.terminated, s.truncated, s.info) for s in rows[1:]),
        ]
        for rows in episodes
    ]


def counted(*lengths: int) -> list[list[Step]]:
    """Return episodes of so many actions; an observation is the pair (episode, step)."""
    return [
        [
            Step(0.0, np.array([e, n]), n, n if n else math.nan, n == length, False, {})
            for n in range(length + 1)
        ]
        for e, length in enumerate(lengths)
    ]


# -------------------------------------------------------------------------- what was recorded
rewards = st.lists(st.floats(allow_nan=False), max_size=5)
ends = st.sampled_from([(True, False), (False, True), (True, True), (False, False)])


@st.composite
def any_episode(draw: st.DrawFn) -> list[Step]:
    first = Step(0.0, draw(st.integers()), None, math.nan, False, False, {})
    given_ = draw(rewards)
    rows = [first] + [
        Step(0.0, draw(st.integers()), n, reward, False, False, {"n": n})
        for n, reward in enumerate(given_)
    ]
    terminated, truncated = draw(ends)
    return [*rows[:-1], rows[-1]._replace(terminated=terminated, truncated=truncated)]


def as_seed_step(step: Step) -> SeedStep:
    return SeedStep(step.time, step.observation, step.action, step.reward, step.done, step.info)


@given(st.lists(any_episode(), max_size=4))
def test_the_rows_come_back(episodes: list[list[Step]]) -> None:
    space = spaces.Discrete(9)
    whole = [rows for rows in episodes if len(rows) > 1]
    expected = [
        [*rows[:-1], rows[-1]._replace(truncated=rows[-1].truncated or not rows[-1].terminated)]
        for rows in whole
    ]
    forms: list[Any] = [
        episodes,
        (iter(rows) for rows in episodes),
        [[tuple(step) for step in rows] for rows in episodes],
        [MemoryEpisode(i, rows) for i, rows in enumerate(episodes)],
        MemorySource([MemoryEpisode(i, rows) for i, rows in enumerate(episodes)]),
    ]
    for source in forms:
        env = PlaybackEnv(source, space, space)
        assert play(env) == calls_of(expected)
    env = PlaybackEnv([[*map(as_seed_step, rows)] for rows in episodes], space, space)
    assert play(env) == calls_of(
        [
            [*rows[:-1], rows[-1]._replace(terminated=rows[-1].done, truncated=not rows[-1].done)]
            for rows in whole
        ]
    )


@pytest.mark.parametrize("name", OBSERVATIONS)
def test_a_file_plays_what_was_recorded(tmp_path: Path, name: str) -> None:
    recorded = calls_of(source_of(OBSERVATIONS[name]).data)
    path = write(tmp_path / "x.h5", OBSERVATIONS[name])
    with (
        gymbag.open(path) as store,
        gymbag.HDF5Reader(path) as reader,
        gymnasium.make("gymbag/Playback-v0", path=path) as made,
    ):
        for env in (PlaybackEnv(store), PlaybackEnv(reader), PlaybackEnv(store.all()), made):
            assert env.observation_space == OBSERVATIONS[name]
            assert env.action_space == ACTION
            played = play(env)
            assert data_equivalence(pickle.loads(pickle.dumps(played)), recorded, exact=True), (
                "values, their types and their order"
            )


def test_segments_are_played_as_episodes(tmp_path: Path) -> None:
    record_from_iter(
        HDF5Recorder(tmp_path / "x.h5", spaces.Box(0, 9, (2,), np.int64), spaces.Discrete(9)),
        counted(1, 5, 4),
    )
    with gymbag.open(tmp_path / "x.h5") as store:
        selection = store.where("step >= 2 and step < 5")
        env = PlaybackEnv(selection, segments=True)
        found = [[(call[0].tolist(), call[2:-1]) for call in calls] for calls in play(env)]
        cut, ended = ((False, True), (True, False))
        assert found == [
            [([1, 2], ()), ([1, 3], (False, False)), ([1, 4], cut)],
            [([2, 2], ()), ([2, 3], (False, False)), ([2, 4], ended)],
        ]
        env.reset(seed=0)
        assert env.episode == 0
        assert [len(calls) for calls in play(PlaybackEnv(selection))] == [6, 5]
    parts = SimpleNamespace(steps=lambda: counted(2)[0])
    source = SimpleNamespace(segments=lambda: iter([parts, counted(1)[0]]))
    env = PlaybackEnv(source, ACTION, ACTION, segments=True)
    assert [len(calls) for calls in play(env)] == [3, 2]
    env.reset(seed=1)
    assert env.episode == 0
    with pytest.raises(ValueError, match="segments: a list has none"):
        PlaybackEnv([], segments=True)


def test_what_is_given_is_the_callers_own() -> None:
    source = [[step._replace(info={"list": []}) for step in rows] for rows in counted(2)]
    env = PlaybackEnv(source)
    given_ = [env.reset(), env.step(0), env.step(0)]
    for call in given_:
        call[0][:] = -1
        call[-1]["list"].append(1)
    env.reset(seed=0)
    observation, *_, info = env.step(0)
    assert observation.tolist() == [0, 1]
    assert info == {"list": []}


# ----------------------------------------------------------------------- a real environment
@pytest.mark.parametrize("name", OBSERVATIONS)
def test_gymnasium_has_nothing_to_complain_of(tmp_path: Path, name: str) -> None:
    check_env(PlaybackEnv(source_of(OBSERVATIONS[name])), skip_render_check=True)
    made = gymnasium.make("gymbag/Playback-v0", path=write(tmp_path / "x.h5", OBSERVATIONS[name]))
    check_env(made, skip_render_check=name not in {"dict", "image"})
    made.close()


def test_reset_and_step_go_on_as_said() -> None:
    env = PlaybackEnv(counted(1, 2))
    did: list[Any] = []

    def note(observation: Any) -> None:
        did.append((observation.tolist(), env.episode, env.step_num, env.played_out))

    assert (env.episode, env.step_num, env.played_out) == (-1, 0, False)
    with pytest.raises(EpisodeError, match="call reset first"):
        env.step(0)
    note(env.reset()[0])
    note(env.step(0)[0])
    with pytest.raises(EpisodeError, match="call reset first"):
        env.step(0)
    note(env.reset()[0])
    note(env.step(0)[0])
    note(env.step(0)[0])
    with pytest.raises(EpisodeError, match="played out"):
        env.step(0)
    with pytest.raises(EpisodeError, match="played out"):
        env.reset()
    note(env.reset(seed=7)[0])
    note(env.reset()[0])
    with pytest.raises(EpisodeError, match="played out"):
        env.reset()
    assert did == [
        ([0, 0], 0, 0, False),
        ([0, 1], 0, 1, False),
        ([1, 0], 1, 0, False),
        ([1, 1], 1, 1, False),
        ([1, 2], 1, 2, True),
        ([0, 0], 0, 0, False),
        ([1, 0], 1, 0, False),
    ]
    assert env.played_out
    assert PlaybackEnv([], ACTION, ACTION).played_out


def streamed(*lengths: int) -> Iterator[Iterator[Step]]:
    """Return episodes that all come out of one stream, so that none can be left unread."""
    stream = itertools.chain.from_iterable(counted(*lengths))

    def until_done() -> Iterator[Step]:
        for step in stream:
            yield step
            if step.done:
                return

    for _ in lengths:
        yield until_done()


@pytest.mark.parametrize("steps", [0, 1, 2])
def test_an_episode_is_skipped_even_in_a_single_stream(steps: int) -> None:
    env = PlaybackEnv(streamed(3, 1, 2))
    env.reset(seed=1)
    for _ in range(steps):
        env.step(0)
    assert [[call[0].tolist() for call in calls] for calls in play(env)] == [
        [[1, 0], [1, 1]],
        [[2, 0], [2, 1], [2, 2]],
    ]
    with pytest.raises(EpisodeError, match="only once"):
        env.reset(seed=1)
    agent = PlaybackAgent(streamed(3, 1, 2))
    agent.next_episode()
    agent.next_episode()
    assert (agent.act(), agent.done) == (1, True)


def test_an_episode_ends_where_it_says_so() -> None:
    rows = counted(3)[0]
    rows[2] = rows[2]._replace(truncated=True)
    assert [len(calls) for calls in play(PlaybackEnv([rows, rows]))] == [3, 3]


def test_a_driven_environment_is_played_as_it_runs() -> None:
    env = RandomEnv(spaces.Discrete(9), ACTION, episode_steps=3)
    played = PlaybackEnv(drive_env(env, episodes=4), env.observation_space, ACTION)
    played.reset()
    assert [len(calls) for calls in play(played)] == [4, 4, 4]


# --------------------------------------------------------------------------------- the agent
@pytest.mark.parametrize("space", [ACTION, spaces.Box(-1, 1, (2,)), spaces.Dict(a=ACTION)], ids=str)
def test_strict_playback_follows_the_recorded_agent(space: gymnasium.Space[Any]) -> None:
    source = ListRecorder(spaces.Discrete(5), space)
    record_from_iter(source, drive_env(RandomEnv(spaces.Discrete(5), space, 3), None, 2, seed=1))
    env, agent = PlaybackEnv(source, strict=True), PlaybackAgent(source)
    assert agent.done
    with pytest.raises(EpisodeError, match="call next_episode"):
        agent.act()
    while agent.next_episode():
        env.reset()
        while not agent.done:
            action = agent.act(observation="anything")
            env.step(copy.deepcopy(action))
    assert env.played_out
    assert not agent.next_episode()


def test_a_departure_is_told_and_changes_nothing() -> None:
    rows = counted(2)[0]
    rows[2] = rows[2]._replace(action=np.array([np.nan, 1.0]))
    env = PlaybackEnv([rows, rows], ACTION, ACTION, strict=True)
    env.reset()
    env.step(1)
    for wrong in (2, np.array([0.0, 1.0]), np.array([np.nan, 1.0, 1.0])):
        with pytest.raises(EpisodeError, match=r"episode 0, step 2: .* is not the recorded array"):
            env.step(wrong)
    assert env.step(np.array([np.nan, 1.0]))[2]


def test_an_agent_passes_over_what_has_no_action() -> None:
    agent = PlaybackAgent(iter([counted(2)[0], counted(2)[0][:1], [], counted(3)[0]]))
    played = []
    while agent.next_episode():
        played.append(agent.act())
    assert played == [1, 1]


# ---------------------------------------------------------------------------- what it is made of
def test_the_loop_of_gymbag_0_4_9_works() -> None:
    env = PlaybackEnv(generate_monotonic(2), api="gym")
    assert (env.observation_space, env.action_space) == (None, None)
    found = []
    while not env.played_out:
        found.append(env.reset().tolist())
        done = False
        while not done:
            observation, reward, done, info = env.step(None)
            found.append((observation.tolist(), reward, done, info))
    assert found == [
        [0, 0],
        ([0, 1], 10, True, {}),
        [1, 0],
        ([1, 1], 10, False, {}),
        ([1, 2], 20, True, {}),
    ]
    assert (env.episode, env.step_num) == (1, 2)
    assert copy.copy(env).played_out
    env.close()


def test_spaces_are_given_known_or_inferred() -> None:
    env = PlaybackEnv(generate_monotonic(1))
    assert env.observation_space == spaces.Box(-np.inf, np.inf, (2,), np.float32)
    limits = np.iinfo(np.int64)
    assert env.action_space == spaces.Box(limits.min, limits.max, (), np.int64)
    env = PlaybackEnv(source_of(OBSERVATIONS["box"]), action_space=spaces.Discrete(99))
    assert env.observation_space == OBSERVATIONS["box"]
    assert env.action_space == spaces.Discrete(99)
    rows = [step._replace(observation={"a": 1}) for step in counted(1)[0]]
    with pytest.raises(ValueError, match=r"observation_space: .* pass observation_space="):
        PlaybackEnv([rows])
    with pytest.raises(ValueError, match=r"action_space: .* pass action_space="):
        PlaybackEnv([], observation_space=ACTION)
    assert PlaybackEnv([rows], ACTION, ACTION).observation_space == ACTION


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "source, path"),
        ({"source": [], "path": "x.h5"}, "source, path"),
        ({"source": [], "api": "dm"}, "api: found 'dm'"),
        ({"source": [], "render_mode": "human"}, "render_mode: found 'human'"),
    ],
)
def test_arguments_must_make_sense(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PlaybackEnv(**arguments)


@pytest.mark.parametrize("shape", [(6, 5), (6, 5, 1), (6, 5, 3)])
def test_an_image_is_rendered_wherever_it_is(shape: tuple[int, ...]) -> None:
    image = np.random.default_rng(0).integers(0, 255, shape, np.uint8)
    colours = np.broadcast_to(image.reshape(6, 5, -1), (6, 5, 3))
    for observation in (image, {"pose": np.zeros(3), "camera": image}, (1, (image, image + 1))):
        rows = [step._replace(observation=observation) for step in counted(1)[0]]
        env = PlaybackEnv([rows], ACTION, ACTION, render_mode="rgb_array")
        assert env.render() is None
        env.reset()
        frame = env.render()
        assert np.array_equal(frame, colours)
        frame[:] = 0
        assert np.array_equal(env.render(), colours)


def test_what_is_no_image_is_not_rendered() -> None:
    env = PlaybackEnv(counted(2), render_mode="rgb_array")
    env.reset()
    assert env.render() is None
    env = PlaybackEnv(counted(2), render_mode="ansi")
    assert env.render() == "EP -1 STEP 0"
    env.reset()
    env.step(1)
    assert env.render() == "EP 0 STEP 1 reward 1 action 1"
    assert PlaybackEnv(counted(2)).render() is None


def test_it_closes_what_it_opened_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "x.h5", OBSERVATIONS["discrete"])
    closed: list[str] = []
    monkeypatch.setattr(gymbag.Store, "close", lambda store: closed.append(store.filename))
    PlaybackEnv(gymbag.open(path)).close()
    assert closed == []
    PlaybackEnv(path=path, name="data").close()
    assert closed == [path]
    with pytest.raises(ValueError, match="pass a Selection"):
        PlaybackEnv(path=write(tmp_path / "y.h5", ACTION), segments=True)
    assert closed == [path, str(tmp_path / "y.h5")]

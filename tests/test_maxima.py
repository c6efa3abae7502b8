# SPDX-License-Identifier: LGPL-3.0-or-later
"""What a trigger keeps at the end of an episode is what a plain loop would keep."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import gym
import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete
from hypothesis import given, settings
from hypothesis import strategies as st

import gymbag
from gymbag import Episode, ListRecorder, Step, TriggeredRecorder, maxima, record_from_iter
from gymbag.held import HeldRecorder

rewards = st.sampled_from([-1.0, 0.0, 0.25, 1.0, 3.0, math.nan, math.inf])
plans = st.lists(
    st.tuples(st.lists(rewards, max_size=5), st.sampled_from(["terminated", "truncated", "cut"])),
    max_size=12,
)
"""The rewards of each episode, and how it ends."""


class Scripted(gymnasium.Env[Any, Any]):
    """Gives what a plan says, always in the same array."""

    observation_space = Box(-np.inf, np.inf, (2,), np.float64)
    action_space = Discrete(9)

    def __init__(self, plan: Any) -> None:
        self.plan, self.episode = plan, -1
        self.observation = np.zeros(2)

    def reset(self, **kwargs: Any) -> tuple[Any, dict[str, Any]]:
        self.episode += 1
        self.at = 0
        self.observation[:] = self.episode, 0
        return self.observation, {"episode": self.episode}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        given, end = self.plan[self.episode]
        reward = given[self.at]
        self.at += 1
        self.observation[:] = self.episode, self.at
        last = self.at == len(given)
        info = {"at": self.at}
        return (
            self.observation,
            reward,
            last and end == "terminated",
            last and end == "truncated",
            info,
        )


def play(env: Any, plan: Any) -> None:
    for number, (found, _) in enumerate(plan):
        env.reset(seed=number)
        for step in range(len(found)):
            env.step(step)


def records(plan: Any) -> Iterator[int]:
    """Yield the numbers of the episodes that set a record: the plain loop."""
    highest = -math.inf
    for number, (found, _) in enumerate(plan):
        total = sum(found)
        if found and total > highest:
            highest = total
            yield number


@pytest.mark.filterwarnings("ignore:.*invalid value")
@settings(max_examples=60)
@given(plans, st.sampled_from([1.0, "step", "episode", "close"]), st.booleans())
def test_as_a_plain_loop_would(plan: Any, durability: Any, spill: bool) -> None:
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        if spill:
            patch.setattr(HeldRecorder.__init__, "__defaults__", (None, 1))
        for name, trigger in (("all", None), ("best", maxima())):
            with gymbag.record_hdf5(
                Scripted(plan), f"{folder}/{name}", durability=durability, episode_trigger=trigger
            ) as env:
                play(env, plan)
        with gymbag.open(f"{folder}/all") as everything, gymbag.open(f"{folder}/best") as best:
            whole = {episode.seed: episode for episode in everything.episodes}
            assert [episode.seed for episode in best.episodes] == list(records(plan))
            for episode in best.episodes:
                other = whole[episode.seed]
                assert episode.ended == other.ended
                np.testing.assert_array_equal(episode.observations, other.observations)
                np.testing.assert_array_equal(episode.actions, other.actions)
                np.testing.assert_array_equal(episode.rewards, other.rewards)
                assert episode.infos == other.infos


class OldScripted(gym.Env):
    """The same with the four values of old."""

    observation_space = gym.spaces.Box(-np.inf, np.inf, (2,), np.float64)
    action_space = gym.spaces.Discrete(9)

    def __init__(self, plan: Any) -> None:
        self.env = Scripted(plan)

    def reset(self, **kwargs: Any) -> Any:
        return self.env.reset()[0]

    def step(self, action: Any) -> Any:
        observation, reward, terminated, truncated, info = self.env.step(action)
        return observation, reward, terminated or truncated, info


PLAN = [([float(r)] * 2, "terminated") for r in (1, 3, 2, 3, 5, 4)] + [([9.0], "cut")]


def test_environments_of_gym(tmp_path: Path) -> None:
    env: Any = gymbag.record_hdf5(OldScripted(PLAN), tmp_path / "x.h5", episode_trigger=maxima())
    play(env, PLAN)
    env.close()
    with gymbag.open(tmp_path / "x.h5") as store:
        assert store.episodes.returns.tolist() == [2, 6, 10]


@pytest.mark.parametrize("durability", [1.0, "step"])
@pytest.mark.parametrize("mode", list(gymnasium.vector.AutoresetMode)[:2])
def test_lanes_share_the_highest(tmp_path: Path, durability: Any, mode: Any) -> None:
    plans = [PLAN, [([0.0, 0.5], "terminated"), ([30.0, 1.0], "truncated"), ([50.0], "cut")]]
    vector = gymnasium.vector.SyncVectorEnv(
        [lambda plan=plan: Scripted(plan) for plan in plans], autoreset_mode=mode
    )
    envs = gymbag.record_hdf5(
        vector, tmp_path / "x.h5", durability=durability, episode_trigger=maxima(above=1.0)
    )
    envs.reset()
    for _ in range(5 if mode is gymnasium.vector.AutoresetMode.SAME_STEP else 7):
        envs.step(np.zeros(2, int))
    envs.close()
    with gymbag.open(tmp_path / "x.h5") as store:
        # Lane 0 has 2 at once, and after that 31 of lane 1 is above all but the last, cut off.
        returns = {lane: store.where(f"lane == {lane}") for lane in range(2)}
        found = {n: [e.episode_return for e in s.episodes()] for n, s in returns.items()}
    assert found == {0: [2.0, 6.0], 1: [31.0, 50.0]}


def test_a_trigger_of_ones_own() -> None:
    class Short:
        def __call__(self, episode: int) -> bool:
            return episode > 0

        def keep(self, episode: Episode) -> bool:
            return len(episode) < 3

    rows = [Step(float(n), n, 0, 1.0, False, False, {}) for n in range(4)]
    recorder = ListRecorder()
    record_from_iter(TriggeredRecorder(recorder, Short()), [rows[:2], rows, rows[:3], rows[:2]])
    assert [len(episode) for episode in recorder.data] == [3, 2]


def test_a_long_episode_is_in_a_file_that_goes(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    target = ListRecorder()
    recorder = HeldRecorder(
        target, lambda _: True, (Scripted.observation_space, Scripted.action_space), 10_000
    )
    recorder.on_reset(0.0, np.zeros(2), {}, seed=4, options={"a": 1})
    sizes = []
    for step in range(300):
        recorder.on_step(1.0, np.full(2, step), 1, 1.0, False, False, {"step": step})
        sizes.append(len(list((tmp_path / "temporary").iterdir())))
    assert sizes[0] == 0
    assert sizes[-1] == 1
    recorder.on_close()
    assert not list((tmp_path / "temporary").iterdir())
    [episode] = target.iter_episodes()
    assert (len(episode), episode.seed, episode.options) == (300, 4, {"a": 1})
    assert episode.ended == "closed"
    assert [info.get("step") for info in episode.infos] == [None, *range(300)]


LEAVES = """
import gymbag, numpy as np
from gymnasium.spaces import Box, Discrete
from gymbag.held import HeldRecorder
spaces = Box(0, 255, (9,), np.uint8), Discrete(2)
recorder = HeldRecorder(gymbag.HDF5Recorder("x.h5", *spaces), lambda _: True, spaces, 5000)
recorder.on_reset(0.0, np.zeros(9, np.uint8), {})
for _ in range(20):
    recorder.on_step(0.0, np.zeros(9, np.uint8), 1, 1.0, False, False, {})
"""


def test_who_exits_without_close_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "tmp").mkdir()
    environ = {"TMPDIR": str(tmp_path / "tmp"), "PYTHONPATH": str(Path(gymbag.__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, "-c", LEAVES], cwd=tmp_path, env=environ, capture_output=True, check=True
    )
    assert done.stderr == b""
    assert not list((tmp_path / "tmp").iterdir())


FORKS = """
import os, sys
pid = os.fork()
if pid == 0:
    sys.exit()
assert os.waitpid(pid, 0)[1] == 0
recorder.on_close()
assert len(gymbag.open("x.h5")) == 21
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_fork_that_exits_leaves_the_file_to_who_made_it(tmp_path: Path) -> None:
    (tmp_path / "tmp").mkdir()
    environ = {"TMPDIR": str(tmp_path / "tmp"), "PYTHONPATH": str(Path(gymbag.__file__).parents[1])}
    subprocess.run([sys.executable, "-c", LEAVES + FORKS], cwd=tmp_path, env=environ, check=True)
    assert not list((tmp_path / "tmp").iterdir())


def test_no_place_for_a_long_episode_stops_the_recording_only(
    tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "nowhere"))
    monkeypatch.setattr(HeldRecorder.__init__, "__defaults__", (None, 0))
    plan = [([1.0] * 9, "terminated")]
    env = gymbag.record_hdf5(
        Scripted(plan), tmp_path / "x.h5", episode_trigger=maxima(), on_error="stop"
    )
    with pytest.warns(gymbag.RecordingWarning, match="TMPDIR"):
        play(env, plan)
    env.close()


def test_what_is_no_trigger_is_said(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="above=nan"):
        maxima(math.nan)
    with pytest.raises(TypeError, match=r"gymbag\.maxima\(\)"):
        gymbag.record_hdf5(Scripted([]), tmp_path / "x.h5", episode_trigger=maxima)  # type: ignore

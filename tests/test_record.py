# SPDX-License-Identifier: LGPL-3.0-or-later
"""The wrapper: transparent, for every kind of environment, and careful with what is wrong."""

from __future__ import annotations

import copy
import errno
import os
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.envs.classic_control import CartPoleEnv
from gymnasium.utils import env_checker

import gymbag
from gymbag.errors import FileBusy, FileError, NotAStore, RecordingWarning, SchemaError
from gymbag.schema import Schema
from gymbag.steps import Ended
from tests.spaces import same


class Reusing(gymnasium.Env[Any, Any]):
    """Returns the same array and the same dict again and again, changed in place."""

    observation_space = spaces.Box(-1e6, 1e6, (2,), np.float64)
    action_space = spaces.Discrete(2)

    def __init__(self, length: int = 4) -> None:
        self.length = length
        self.observation = np.zeros(2)
        self.info = {"n": 0, "pose": np.zeros(2), "deep": {"list": [0]}}
        self.secret = "kept"

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.observation[:] = 0
        self.info["n"] = 0
        return self.observation, self.info

    def step(self, action: Any) -> Any:
        self.observation += 1
        self.info["n"] += 1
        self.info["pose"] += 1
        self.info["deep"]["list"][0] += 1
        return self.observation, 1.0, self.info["n"] == self.length, False, self.info


class Old:
    """An environment of 2017: four values, and a reset that returns the observation alone."""

    observation_space = spaces.Tuple((spaces.Discrete(9), spaces.Dict(a=spaces.Discrete(3))))
    action_space = spaces.Discrete(2)

    def __init__(self) -> None:
        self.n = 0

    def reset(self) -> Any:
        self.n = 0
        return (0, {"a": 1})

    def step(self, action: Any) -> Any:
        self.n += 1
        info = {"TimeLimit.truncated": True} if self.n == 3 else {}
        return (self.n, {"a": 2}), 0.5, self.n == 3, info

    def close(self) -> None:
        self.n = -1


def play(env: Any, episodes: int, **reset: Any) -> list[Any]:
    """Play to the end with the action 1, and return all that the environment returned."""
    seen = []
    for _ in range(episodes):
        seen.append(env.reset(**reset))
        done = False
        while not done:
            seen.append(env.step(np.int64(1)))
            done = seen[-1][2] or (len(seen[-1]) == 5 and seen[-1][3])
    return seen


def test_the_wrapper_returns_what_the_environment_returns(tmp_path: Path) -> None:
    bare, wrapped = gymnasium.make("CartPole-v1"), gymnasium.make("CartPole-v1")
    with gymbag.record_hdf5(wrapped, tmp_path / "x.h5") as env:
        for one, other in zip(play(bare, 3, seed=7), play(env, 3, seed=7), strict=True):
            assert same(one, other)
        assert isinstance(env, gymnasium.Wrapper)
        assert env.unwrapped is wrapped.unwrapped
        assert env.render_mode is None
    with gymbag.open(tmp_path / "x.h5") as store:
        assert [episode.seed for episode in store.episodes] == [7, 7, 7]
        assert store.name == "CartPole-v1"
        assert '"CartPole-v1"' in str(store.env_spec)
        assert {"python", "numpy", "tables", "gymnasium"} <= store.sessions[0].versions.keys()


def test_it_is_an_environment_that_the_checker_accepts(tmp_path: Path) -> None:
    env = gymbag.record_hdf5(CartPoleEnv(), tmp_path / "x.h5")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        env_checker.check_env(env, skip_render_check=True)
    env.close()


def test_the_spec_survives_and_makes_another_recording(tmp_path: Path) -> None:
    env = gymbag.record_hdf5(gymnasium.make("CartPole-v1"), tmp_path / "x.h5", "first")
    play(env, 1)
    spec = env.spec
    assert spec is not None
    assert "RecordHDF5" in spec.to_json()
    env.close()
    again = gymnasium.make(spec)
    play(again, 1)
    again.close()
    with gymbag.open(tmp_path / "x.h5") as store:
        assert len(store.episodes) == 2


def test_arrays_and_dicts_that_are_used_again_are_copied(tmp_path: Path) -> None:
    with gymbag.record_hdf5(Reusing(), tmp_path / "x.h5") as env:
        play(env, 2)
        assert env.get_wrapper_attr("secret") == "kept"
    with gymbag.open(tmp_path / "x.h5") as store:
        assert store.name == "Reusing"
        assert store["observation"][:, 0].tolist() == [0, 1, 2, 3, 4, 0, 1, 2, 3, 4]
        assert store["info.n"].tolist() == [0, 1, 2, 3, 4, 0, 1, 2, 3, 4]
        assert [info["deep"]["list"] for info in store.episodes[0].infos] == [
            [0],
            [1],
            [2],
            [3],
            [4],
        ]
        assert [info["pose"][0] for info in store.episodes[0].infos] == [0, 1, 2, 3, 4]


def test_old_environments_are_known_by_what_they_do(tmp_path: Path) -> None:
    env = gymbag.record_hdf5(Old(), tmp_path / "x.h5")
    assert env.reset() == (0, {"a": 1})
    for _ in range(3):
        _, reward, done, info = env.step(1)
    assert (reward, done, info, env.n) == (0.5, True, {"TimeLimit.truncated": True}, 3)
    env.close()
    with gymbag.open(tmp_path / "x.h5") as store:
        (episode,) = store.episodes
        assert episode.ended is Ended.TRUNCATED
        assert episode.observations[0].tolist() == [0, 1, 2, 3]


def test_environments_of_gym_get_a_wrapper_of_gym(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import gym

        inner = gym.make("CartPole-v1", disable_env_checker=True)
        env = gymbag.record_hdf5(inner, tmp_path / "x.h5")
        assert isinstance(env, gym.Wrapper)
        env.reset(seed=3)
        observation = env.step(1)[0]
        env.close()
    with gymbag.open(tmp_path / "x.h5") as store:
        assert store.episodes[0].seed == 3
        assert same(store.episodes[0].observations[1], observation)


def test_a_reset_in_mid_episode_is_the_users_truncation(tmp_path: Path) -> None:
    with gymbag.record_hdf5(gymnasium.make("CartPole-v1"), tmp_path / "x.h5") as env:
        env.reset()
        env.step(0)
        env.reset()
        env.reset(options={"low": -0.01, "high": 0.01})
        env.step(0)
        env.step(1)
    with gymbag.open(tmp_path / "x.h5") as store:
        assert [(e.ended, len(e)) for e in store.episodes] == [(Ended.RESET, 1), (Ended.CLOSED, 2)]
        assert [e.truncations.tolist() for e in store.episodes] == [[True], [False, True]]
        assert store.episodes[1].options == {"low": -0.01, "high": 0.01}
        assert store["ended"].tolist() == ["reset"] * 2 + ["closed"] * 3


def test_steps_out_of_order_are_the_environments_business(tmp_path: Path) -> None:
    env = gymbag.record_hdf5(gymnasium.make("CartPole-v1"), tmp_path / "x.h5")
    with pytest.raises(gymnasium.error.ResetNeeded):
        env.step(0)
    env.close()
    env = gymbag.record_hdf5(Reusing(2), tmp_path / "y.h5")
    play(env, 1)
    with pytest.warns(RecordingWarning, match="no episode is running"):
        env.step(0)
    env.step(0)
    env.close()
    with gymbag.open(tmp_path / "y.h5") as store:
        assert len(store) == 3


def test_what_does_not_fit_ends_the_episode_and_nothing_else(tmp_path: Path) -> None:
    inner = Reusing()
    env = gymbag.record_hdf5(inner, tmp_path / "x.h5")
    env.reset()
    env.step(1)
    with pytest.raises(SchemaError, match="action: found 5"):
        env.step(5)
    play(env, 1)
    env.close()
    with gymbag.open(tmp_path / "x.h5") as store:
        assert [len(episode) for episode in store.episodes] == [1, 4]


def test_files_hold_many_data_sets_and_are_appended_to(tmp_path: Path) -> None:
    filename = tmp_path / "x.h5"
    for name, episodes in (("a/b-v1", 2), ("%2F.é", 1), ("a/b-v1", 3)):
        with gymbag.record_hdf5(Reusing(), filename, f"{name} {episodes}", name=name) as env:
            play(env, episodes)
    assert gymbag.list_datasets(filename) == ["%2F.é", "a/b-v1"]
    with gymbag.open(filename, "a/b-v1") as store:
        assert len(store.episodes) == 5
        assert store.description == "a/b-v1 3"
        assert [session.description for session in store.sessions] == ["a/b-v1 2", "a/b-v1 3"]
    with pytest.raises(SchemaError, match=r"observation: .*Box.*record under another name"):
        gymbag.record_hdf5(gymnasium.make("MountainCar-v0"), filename, name="a/b-v1")
    with gymbag.record_hdf5(Reusing(), filename, name="busy"), pytest.raises(FileBusy):
        gymbag.record_hdf5(Reusing(), filename, name="busy")


def test_two_recordings_and_a_reader_share_a_file(tmp_path: Path) -> None:
    filename = tmp_path / "x.h5"
    one = gymbag.record_hdf5(Reusing(), filename, name="one")
    two = gymbag.record_hdf5(Reusing(), filename, name="two")
    play(one, 2)
    store = gymbag.open(filename, "one")
    play(two, 1)
    play(one, 1)
    assert len(store.episodes) == 2
    one.close()
    assert store["observation"].shape == (10, 2)
    store.refresh()
    assert len(store.episodes) == 3
    two.close()
    assert store["observation"].shape == (15, 2)
    store.close()


@pytest.mark.parametrize("content", [b"", b"not hdf5", None])
def test_files_that_are_none_of_ours_stay_as_they_are(
    tmp_path: Path, content: bytes | None
) -> None:
    filename = tmp_path / "x.h5"
    if content is None:
        import h5py

        with h5py.File(filename, "w") as file:
            file["data"] = [1, 2]
        content = filename.read_bytes()
    filename.write_bytes(content)
    if content:
        with pytest.raises(NotAStore, match=r"x\.h5"):
            gymbag.record_hdf5(Reusing(), filename)
        assert filename.read_bytes() == content
    else:
        gymbag.record_hdf5(Reusing(), filename).close()
    with pytest.raises(FileError, match="nowhere"):
        gymbag.record_hdf5(Reusing(), tmp_path / "nowhere" / "x.h5")


@pytest.mark.parametrize("first", ["", "import weakref; weakref.finalize(set, print)"])
def test_a_recording_that_nobody_closes_is_complete_at_exit(tmp_path: Path, first: str) -> None:
    script = f"""{first}
import gymnasium, gymbag
env = gymbag.record_hdf5(gymnasium.make("CartPole-v1"), {str(tmp_path / "x.h5")!r})
for seed in range(3):
    env.reset(seed=seed)
    done = False
    while not done:
        observation, reward, terminated, truncated, info = env.step(seed % 2)
        done = terminated or truncated
env.reset(seed=9)
env.step(0)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert not done.stderr
    with gymbag.open(tmp_path / "x.h5") as store:
        assert [episode.seed for episode in store.episodes] == [0, 1, 2, 9]
        assert store.episodes[3].ended is Ended.CLOSED


def test_an_error_of_the_writer_is_raised_once(tmp_path: Path, monkeypatch: Any) -> None:
    env = gymbag.record_hdf5(Reusing(10**6), tmp_path / "x.h5")
    env.reset()

    def fail(*arguments: Any) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("gymbag.storage.writer.DatasetWriter.append", fail)
    errors = 0
    for _ in range(10_000):
        try:
            env.step(0)
        except OSError:
            errors += 1
    assert errors == 1
    monkeypatch.undo()
    env.close()


def test_infos_that_cannot_be_stored_are_said_once_and_the_rest_is_kept(tmp_path: Path) -> None:
    recorder = gymbag.HDF5Recorder(tmp_path / "x.h5", spaces.Discrete(2), spaces.Discrete(2))
    info = {"deep": {"bad": play, "good": [1]}, "n": 3}
    message = r"info\.deep\[?.*bad.*: found a value of type function, which cannot be stored"
    with pytest.warns(RecordingWarning, match=message):
        recorder.on_reset(0.0, 0, info)
    recorder.on_step(1.0, 1, 0, 0.0, True, False, {})
    recorder.on_reset(0.0, 0, info)
    recorder.on_step(1.0, 1, 0, 0.0, True, False, {})
    recorder.on_close()
    with gymbag.open(tmp_path / "x.h5") as store:
        assert store.episodes[1].infos[0] == {"deep": {"good": [1]}, "n": 3}


def test_recording_from_memory_keeps_everything(tmp_path: Path) -> None:
    memory = gymbag.ListRecorder(Reusing.observation_space, Reusing.action_space)
    env = gymbag.RecordEnv(Reusing(), memory)
    play(env, 2, seed=4)
    env.reset()
    env.step(np.int64(1))
    env.close()
    recorder = gymbag.HDF5Recorder(tmp_path / "x.h5", env.observation_space, env.action_space)
    gymbag.record_from_iter(recorder, memory.iter_episodes())
    with gymbag.open(tmp_path / "x.h5") as store:
        for stored, kept in zip(store.episodes, memory.iter_episodes(), strict=True):
            for one, other in zip(stored.steps(), kept.steps(), strict=True):
                assert same(tuple(one), tuple(other))
            assert (stored.seed, stored.ended) == (kept.seed, kept.ended)


def test_an_environment_that_resets_itself_is_recorded_episode_by_episode(tmp_path: Path) -> None:
    inner = gymnasium.wrappers.Autoreset(Reusing(3))
    with gymbag.record_hdf5(inner, tmp_path / "x.h5") as env:
        env.reset(seed=5)
        for _ in range(11):
            env.step(0)
    with gymbag.open(tmp_path / "x.h5") as store:
        assert [len(episode) for episode in store.episodes] == [3, 3, 3]
        assert [episode.seed for episode in store.episodes] == [5, None, None]
        assert store["observation"][:, 0].tolist() == [0, 1, 2, 3] * 3


def test_odd_infos_and_rewards(tmp_path: Path) -> None:
    space = spaces.Discrete(2)
    recorder = gymbag.HDF5Recorder(tmp_path / "x.h5", space, space)
    circle: dict[str, Any] = {"n": 1}
    circle["self"] = circle
    with pytest.warns(RecordingWarning, match="cannot be stored"):
        recorder.on_reset(0.0, 0, circle)
    for reward in (None, "much", np.zeros(2)):
        with pytest.raises(SchemaError, match="reward: found"):
            recorder.on_step(1.0, 0, 0, reward, False, False, {})  # type: ignore[arg-type]
    many = {f"key {i}": i for i in range(600)}
    recorder.on_step(1.0, 0, 0, np.array([1.5]), True, False, many)  # type: ignore[arg-type]
    recorder.on_close()
    with gymbag.open(tmp_path / "x.h5") as store:
        assert store.episodes[0].infos[0]["n"] == 1
        assert store.episodes[0].infos[1] == many
        assert store.episodes[0].rewards.tolist() == [1.5]


class Unfinished(dict[str, int]):
    def items(self) -> Any:
        yield "key", 8
        yield "other", "text"
        raise OverflowError


def test_what_is_refused_for_its_info_leaves_nothing(tmp_path: Path) -> None:
    wide = spaces.Box(0, 255, (5000,), np.uint8)
    recorder = gymbag.HDF5Recorder(tmp_path / "x.h5", wide, spaces.Discrete(2))

    def observation(value: int) -> Any:
        return np.full(5000, value, np.uint8)

    for start in (0, 3):
        recorder.on_reset(0.0, observation(start), {})
        for info, error in ((7, SchemaError), (Unfinished(key=1), OverflowError)):
            refused: Any = info
            with pytest.raises(error):
                recorder.on_step(1.0, observation(8), 1, 1.0, False, False, refused)
        recorder.on_step(1.0, observation(start + 1), 1, 1.0, True, False, {"key": start})
        for info, error in ((7, SchemaError), (Unfinished(key=1), OverflowError)):
            refused = info
            with pytest.raises(error):
                recorder.on_reset(2.0, observation(8), refused)
    recorder.on_close()
    with gymbag.open(tmp_path / "x.h5") as store:
        assert store["episode"].tolist() == [0, 0, 1, 1]
        assert store["observation"][:, 0].tolist() == [0, 1, 3, 4]
        assert store["info.key"].tolist() == [None, 0, None, 3]
        assert "info.other" not in store.columns


def test_a_key_that_is_no_text_is_kept_in_a_cell(tmp_path: Path) -> None:
    recorder = gymbag.HDF5Recorder(tmp_path / "x.h5", spaces.Discrete(9), spaces.Discrete(2))
    infos = [{"x": 1, "outer": {"y": 2}}, {"\ud800": 1, "x": 2}, {"\udfff": {"y": 3}, "x": 3}]
    recorder.on_reset(0.0, 0, infos[0])
    for info in infos[1:]:
        recorder.on_step(1.0, 1, 1, 1.0, False, False, info)
    recorder.on_close()
    with gymbag.open(tmp_path / "x.h5") as store:
        assert store["info.x"].tolist() == [1, 2, 3]
        assert [step.info for step in store.steps()] == infos


def test_nulls_of_a_choice_are_taken_with_its_values(tmp_path: Path) -> None:
    """Not when they are encoded: another thread may do that, while this one copies a value."""
    image = spaces.Box(0, 255, (70, 70), np.uint8)
    schema = Schema.from_spaces(spaces.OneOf((spaces.Discrete(3), image)), spaces.Discrete(2))
    codec = schema.observation
    places = [codec.snapshot((1, np.full((70, 70), value, np.uint8))) for value in (7, 8)]
    for child in codec.children:  # type: ignore[attr-defined]
        child.snapshot = None
    choices, _, images = codec.encode([(0, 2), *places])
    assert choices.tolist() == [0, 1, 1]
    assert images[:, 0, 0].tolist() == [0, 7, 8]


def test_a_recording_is_not_copied(tmp_path: Path) -> None:
    with (
        gymbag.record_hdf5(Reusing(), tmp_path / "x.h5") as env,
        pytest.raises(TypeError, match="cannot be copied"),
    ):
        copy.deepcopy(env)


def test_training_goes_on_without_the_recording(tmp_path: Path, monkeypatch: Any) -> None:
    filename = tmp_path / "x.h5"
    env = gymbag.record_hdf5(
        gymnasium.make("CartPole-v1"), filename, on_error="stop", durability="step"
    )
    env.reset(seed=1)
    env.step(0)

    def fail(*_: Any) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr("gymbag.storage.disk.write_at", fail)
        with pytest.warns(RecordingWarning, match="No space left"):
            env.step(0)
    for _ in range(3):
        env.step(0)
    env.close()
    with gymbag.open(filename) as store:
        assert len(store) == 2
        assert store.episodes[0].ended == "interrupted"


def test_metadata_that_cannot_be_kept_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="metadata: found"):
        gymbag.record_hdf5(
            gymnasium.make("CartPole-v1"), tmp_path / "x.h5", metadata={"a": object()}
        )
    assert not list(tmp_path.iterdir())

# SPDX-License-Identifier: LGPL-3.0-or-later
"""A lane of a vector is recorded as the same environment would be alone."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete, MultiDiscrete, Text, Tuple
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv

import gymbag
from gymbag.errors import RecordingWarning, SchemaError

LANES, STEPS = 3, 60
SPACES = {
    "box": Box(-1, 1, (2,), np.float32),
    "discrete": Discrete(5, start=2),
    "dict": Dict(frame=Box(0, 255, (40, 40, 3), np.uint8), held=MultiDiscrete([3, 4])),
    "tuple": Tuple((Discrete(3), Text(5))),
}
WORDS = ("odd", "even")


class Lane(gymnasium.Env[Any, Any]):
    """Ends now and then; its observations, rewards and infos come of its seed and the actions."""

    def __init__(self, kind: str, *, wrong_at: int = -1) -> None:
        self.observation_space = SPACES[kind]
        self.action_space = Box(-1, 1, (2,), np.float32) if kind == "dict" else Discrete(4)
        self.wrong_at = wrong_at
        self.calls = 0

    def observe(self) -> Any:
        self.calls += 1
        if self.calls == self.wrong_at:
            return np.array([0.5, np.nan + 1j], dtype=complex)
        self.observation_space.seed(int(self.np_random.integers(2**31)))
        return self.observation_space.sample()

    def info(self, step: int, action: Any) -> dict[str, Any]:
        info: dict[str, Any] = {"nested": {"step": step, "word": WORDS[step % 2]}, "half": step / 2}
        if step % 3 == 0:
            info["sometimes"] = bool(step % 2)
            info["array" if step % 2 else "text"] = np.arange(2) + step if step % 2 else "text"
        return info | {"taken": float(np.sum(action))}

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.steps, self.last = 0, int(self.np_random.integers(1, 9))
        return self.observe(), self.info(0, 0) | {"options": str(options)}

    def step(self, action: Any) -> Any:
        self.steps += 1
        ends = self.steps == self.last
        reward = float(self.np_random.random() + np.sum(action))
        cut = ends and self.last % 2 == 0
        return self.observe(), reward, ends and not cut, cut, self.info(self.steps, action)


def alone(
    path: Path, kind: str, lane: int, actions: Any, mode: AutoresetMode, seed: int, options: Any
) -> gymbag.Store:
    """Record one lane by itself: with the same seeds, and those actions that are not ignored."""
    env = gymbag.record_hdf5(Lane(kind), path, name="alone")
    env.reset(seed=seed + lane, options=options)
    ended = False
    for number, action in enumerate(actions):
        if ended and mode is AutoresetMode.NEXT_STEP:
            env.reset()
            ended = False
            continue
        _, _, terminated, truncated, _ = env.step(action)
        ended = terminated or truncated
        if ended and mode is AutoresetMode.SAME_STEP:
            env.reset()
        elif ended and mode is AutoresetMode.DISABLED:
            env.reset(seed=number + lane, options={"again": number})
    env.close()
    return gymbag.open(path)


@pytest.mark.parametrize("mode", AutoresetMode)
@pytest.mark.parametrize(
    ("vector", "kind"), [*((SyncVectorEnv, kind) for kind in SPACES), (AsyncVectorEnv, "dict")]
)
def test_each_lane_is_recorded_as_if_it_were_alone(
    tmp_path: Path, kind: str, mode: AutoresetMode, vector: Callable[..., Any]
) -> None:
    bare = vector([partial(Lane, kind)] * LANES, autoreset_mode=mode)
    env = gymbag.record_hdf5(bare, tmp_path / "x.h5", "tried", name="A/b")
    env.action_space.seed(3)
    options = {"level": 1}
    env.reset(seed=7, options=dict(options))
    actions = [env.action_space.sample() for _ in range(STEPS)]
    for number, some in enumerate(actions):
        _, _, terminated, truncated, _ = env.step(some)
        ended = terminated | truncated
        if mode is AutoresetMode.DISABLED and ended.any():
            env.reset(seed=number, options={"reset_mask": ended, "again": number})
    env.close()
    assert gymbag.list_datasets(tmp_path / "x.h5") == ["A/b"]
    store = gymbag.open(tmp_path / "x.h5")
    assert store.description == "tried"
    first = 0
    for lane in range(LANES):
        mine = [some[lane] for some in actions]
        apart = alone(tmp_path / f"{lane}.h5", kind, lane, mine, mode, 7, options)
        one = gymbag.open(tmp_path / "x.h5", f"A/b [{lane}]")
        same = gymbag.compare(one, apart)
        assert same, same
        assert same.rows >= STEPS / 2
        # And as a part of all.
        assert store.where("lane == n", n=lane).rows.tolist() == list(
            range(first, first + len(one))
        )
        first += len(one)
    assert first == len(store)
    together = (e for n in range(LANES) for e in gymbag.open(tmp_path / f"{n}.h5").episodes)
    assert gymbag.compare(store, list(together))
    assert len(store.where("info.nested.step > 2 and reward > 1")) == sum(
        len(gymbag.open(tmp_path / f"{n}.h5").where("info.nested.step > 2 and reward > 1"))
        for n in range(LANES)
    )


@pytest.mark.filterwarnings("ignore")
def test_a_vector_of_gyms(tmp_path: Path) -> None:
    import gym

    vector = gym.vector.make("CartPole-v1", 2, asynchronous=False, disable_env_checker=True)
    env = gymbag.record_hdf5(vector, tmp_path / "x.h5")
    env.action_space.seed(0)
    seen = [env.reset(seed=3)[0]]
    finals = []
    for _ in range(80):
        observation, _, terminated, truncated, info = env.step(env.action_space.sample())
        seen.append(observation)
        for lane in np.flatnonzero(terminated | truncated):
            finals += [(lane, info["final_observation"][lane])]
    env.close()
    store = gymbag.open(tmp_path / "x.h5")
    assert store.name == "CartPole-v1"
    assert len(store) == 2 * 81 + len(finals)
    assert len(store.where("done and ended == 'terminated'")) == len(finals) > 3
    for lane in range(2):
        last = store.where("lane == n and terminated", n=lane)["observation"]
        assert np.array_equal(last, [final for which, final in finals if which == lane])
        rows = store.where("lane == n and not terminated", n=lane)["observation"]
        rest = [some[lane] for some in seen]
        assert np.array_equal(rows[: len(rest)], rest[: len(rows)])


def test_what_does_not_fit_ends_its_lane_until_the_next_reset(
    tmp_path: Path, monkeypatch: Any
) -> None:
    vector = SyncVectorEnv([partial(Lane, "box")] * 2, autoreset_mode=AutoresetMode.SAME_STEP)
    env = gymbag.record_hdf5(vector, tmp_path / "x.h5", name="x")
    env.reset(seed=1)
    inner, refused = vector.step, 0

    def step(actions: Any) -> Any:
        observation, (one, _), *rest = inner(actions)
        return observation, np.array([one, None], dtype=object), *rest

    for number in range(60):
        monkeypatch.setattr(vector, "step", step if number == 20 else inner)
        try:
            env.step(np.zeros(2, np.int64))
        except SchemaError:
            refused += 1
    env.close()
    assert refused == 1
    sound, other = (gymbag.open(tmp_path / "x.h5", f"x [{lane}]") for lane in range(2))
    assert len(sound.where("step > 0")) == 60
    assert 40 < len(other.where("step > 0")) < 60
    ends = [str(episode.ended) for episode in other.episodes]
    assert ends.count("closed") == 1 + (ends[-1] == "closed")


def test_a_disk_that_fails_stops_all_lanes(tmp_path: Path, monkeypatch: Any) -> None:
    vector = SyncVectorEnv([partial(Lane, "box")] * 2)
    env = gymbag.record_hdf5(
        vector, tmp_path / "x.h5", name="x", on_error="stop", durability="step"
    )
    env.reset(seed=1)
    env.step(np.zeros(2, np.int64))

    def fail(*_: Any) -> None:
        raise gymbag.errors.FileError("the disk is full")

    monkeypatch.setattr(env.recorders[0], "secure", fail)
    with pytest.warns(RecordingWarning, match="the disk is full"):
        env.step(np.zeros(2, np.int64))
    env.step(np.zeros(2, np.int64))
    env.close()
    assert [len(episode.rewards) for episode in gymbag.open(tmp_path / "x.h5").episodes] == [2, 2]


def test_many_files_are_read_as_one(tmp_path: Path) -> None:
    expected = []
    for number in range(3):
        env = gymbag.record_hdf5(Lane("tuple"), tmp_path / f"run-{number}.h5", name="run")
        env.reset(seed=number)
        for _ in range(20):
            if any(env.step(env.action_space.sample())[2:4]):
                env.reset()
        env.close()
        expected += list(gymbag.open(tmp_path / f"run-{number}.h5").episodes)
    store = gymbag.open(str(tmp_path / "run-*.h5"))
    assert gymbag.compare(store, expected)
    assert [e.seed for e in store.episodes if e.seed is not None] == [0, 1, 2]
    everything = gymbag.open([tmp_path / f"run-{number}.h5" for number in (2, 0)])
    assert everything.episodes[0].seed == 2
    answer = store.where("reward > 1 and has(info.sometimes)")
    parts = [
        gymbag.open(tmp_path / f"run-{n}.h5").where("reward > 1 and has(info.sometimes)")
        for n in range(3)
    ]
    assert answer["reward"].tolist() == [r for part in parts for r in part["reward"].tolist()]
    with pytest.raises(gymbag.errors.NoSuchFile, match="no file has such a name"):
        gymbag.open(str(tmp_path / "other-*.h5"))
    env = gymbag.record_hdf5(Lane("box"), tmp_path / "run-9.h5", name="run")
    env.close()
    with pytest.raises(SchemaError, match=r"run-9\.h5: data set 'run' cannot be read as one"):
        gymbag.open(str(tmp_path / "run-*.h5"))


def test_a_data_set_is_deleted_with_all_its_lanes(tmp_path: Path) -> None:
    for name in ("some", "other"):
        vector = SyncVectorEnv([partial(Lane, "box")] * 2)
        env = gymbag.record_hdf5(vector, tmp_path / "x.h5", name=name)
        env.reset(seed=1)
        for _ in range(9):
            env.step(np.zeros(2, np.int64))
        env.close()
    with pytest.raises(gymbag.errors.NoSuchDataset, match=r"has 2 lanes.*'some \[0\]'"):
        gymbag.delete_episodes(tmp_path / "x.h5", "some", [0])
    gymbag.delete_episodes(tmp_path / "x.h5", "other [1]", [0])
    gymbag.delete_dataset(tmp_path / "x.h5", "some")
    assert gymbag.list_datasets(tmp_path / "x.h5") == ["other"]
    left = gymbag.open(tmp_path / "x.h5")
    first, second = (gymbag.open(tmp_path / "x.h5", f"other [{n}]").episodes for n in range(2))
    assert left.episodes.lengths.tolist() == [*first.lengths, *second.lengths]
    assert left.episodes.returns.tolist() == [e.episode_return for e in left.episodes]

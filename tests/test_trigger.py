# SPDX-License-Identifier: LGPL-3.0-or-later
"""What a trigger chooses is recorded as ever, and nothing else is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.wrappers import Autoreset

import gymbag
from gymbag import ListRecorder, RecordEnv, TriggeredRecorder, bernoulli, every


def run(env: Any, episodes: int, cut: int = 1000) -> None:
    for seed in range(episodes):
        env.reset(seed=seed)
        for _ in range(cut):
            *_, terminated, truncated, _ = env.step(seed % 2)
            if terminated or truncated:
                break


@pytest.mark.parametrize("durability", [1.0, "step", "episode", "close"])
@pytest.mark.parametrize("cut", [4, 1000])
def test_a_file_holds_the_chosen_episodes(tmp_path: Path, durability: Any, cut: int) -> None:
    for name, trigger in (("all", None), ("some", every(3))):
        with gymbag.record_hdf5(
            gymnasium.make("CartPole-v1"),
            tmp_path / name,
            durability=durability,
            episode_trigger=trigger,
        ) as env:
            run(env, 8, cut)
    with gymbag.open(tmp_path / "all") as everything, gymbag.open(tmp_path / "some") as some:
        assert [episode.seed for episode in some.episodes] == [0, 3, 6]
        for episode in some.episodes:
            whole = everything.episodes[episode.seed or 0]
            np.testing.assert_array_equal(episode.observations, whole.observations)
            np.testing.assert_array_equal(episode.rewards, whole.rewards)
            assert episode.ended == whole.ended


def test_a_recorder_without_a_quick_way() -> None:
    recorder = ListRecorder()
    run(RecordEnv(gymnasium.make("CartPole-v1"), TriggeredRecorder(recorder, every(2))), 5)
    assert len(recorder.data) == 3


def test_an_environment_that_resets_itself(tmp_path: Path) -> None:
    env = gymbag.record_hdf5(
        Autoreset(gymnasium.make("CartPole-v1")), tmp_path / "x.h5", episode_trigger=every(2)
    )
    env.reset(seed=1)
    ends = 0
    while ends < 6:
        *_, terminated, truncated, _ = env.step(0)
        ends += terminated or truncated
    env.close()
    with gymbag.open(tmp_path / "x.h5") as store:
        assert len(store.episodes) == 3
        assert all(episode.ended == "terminated" for episode in store.episodes)


@pytest.mark.parametrize("durability", [1.0, "step"])
def test_lanes_count_each_for_itself(tmp_path: Path, durability: Any) -> None:
    envs = gymbag.record_hdf5(
        gymnasium.make_vec("CartPole-v1", num_envs=2, vectorization_mode="sync"),
        tmp_path / "x.h5",
        durability=durability,
        episode_trigger=every(2),
    )
    envs.reset(seed=1)
    ends = np.zeros(2, int)
    for _ in range(100):
        *_, terminated, truncated, _ = envs.step(np.array([0, 1]))
        ends += terminated | truncated
    envs.close()
    assert min(ends) > 4
    with gymbag.open(tmp_path / "x.h5") as store:
        for lane in range(2):
            whole = store.where(f"lane == {lane} and terminated")
            assert len(list(whole.episodes())) == (ends[lane] + 1) // 2


def test_triggers_and_what_is_none(tmp_path: Path) -> None:
    chosen = [episode for episode in range(2000) if bernoulli(0.3, 5)(episode)]
    assert 500 < len(chosen) < 700
    assert chosen == [episode for episode in range(2000) if bernoulli(0.3, 5)(episode)]
    for wrong in (lambda: every(0), lambda: bernoulli(1.5), lambda: bernoulli(0.5, -1)):
        with pytest.raises(ValueError, match="expected"):
            wrong()
    with pytest.raises(TypeError, match=r"gymbag\.every"):
        gymbag.record_hdf5(
            gymnasium.make("CartPole-v1"),
            tmp_path / "x.h5",
            episode_trigger=10,  # type: ignore[arg-type]
        )
    assert not (tmp_path / "x.h5").exists()

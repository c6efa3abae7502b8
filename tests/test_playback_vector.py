# SPDX-License-Identifier: LGPL-3.0-or-later
"""A vector plays every episode once, each lane its share, as it was recorded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, VectorEnv

import gymbag
from gymbag import PlaybackVectorEnv, generate_monotonic


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "cartpole.h5"
    with gymbag.record_hdf5(gymnasium.make("CartPole-v1"), path) as env:
        for seed in range(5):
            env.reset(seed=seed)
            done = False
            while not done:
                _, _, terminated, truncated, _ = env.step(seed % 2)
                done = terminated or truncated
    return path


@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP])
def test_what_it_plays_is_what_was_recorded(file: Path, tmp_path: Path, mode: Any) -> None:
    """Record the playback: the lanes' episodes are those of the file."""
    again = tmp_path / "again.h5"
    with gymbag.open(file) as store:
        envs = gymbag.record_hdf5(
            PlaybackVectorEnv(store, 2, autoreset_mode=mode), again, name="again"
        )
        assert isinstance(envs, VectorEnv)
        envs.reset()
        while not envs.env.played_out:  # type: ignore[attr-defined]
            envs.step(envs.action_space.sample())
        envs.close()
        with gymbag.open(again) as played:
            for lane in range(2):
                mine = list(played.where(f"lane == {lane}").episodes())
                expected = list(store.episodes[lane::2])
                whole = [episode for episode in mine if episode.ended != "closed"]
                assert len(whole) >= len(expected)
                for one, other in zip(whole, expected, strict=False):
                    np.testing.assert_array_equal(one.observations, other.observations)
                    np.testing.assert_array_equal(one.rewards, other.rewards)
                    np.testing.assert_array_equal(one.terminations, other.terminations)


def test_make_vec(file: Path) -> None:
    envs = gymnasium.make_vec("gymbag/Playback-v0", num_envs=3, path=file)
    assert isinstance(envs.unwrapped, PlaybackVectorEnv)
    first, _ = envs.reset()
    for _ in range(30):
        envs.step(envs.action_space.sample())
    again, _ = envs.reset(seed=1)
    np.testing.assert_array_equal(first, again)
    envs.close()


def test_a_list_of_episodes_and_segments(file: Path) -> None:
    episodes = [list(rows) for rows in generate_monotonic(episodes=4)]
    envs = PlaybackVectorEnv(episodes, 2)
    assert envs.reset()[0].shape[0] == 2
    with gymbag.open(file) as store:
        envs = PlaybackVectorEnv(store.where("step > 3"), 2, segments=True)
        observations, _ = envs.reset()
        np.testing.assert_array_equal(observations[1], store.episodes[1].observations[4])


def test_what_makes_no_sense_is_said(file: Path) -> None:
    with gymbag.open(file) as store:
        with pytest.raises(ValueError, match="no episode with a step for lane 5"):
            PlaybackVectorEnv(store, 6)
        with pytest.raises(ValueError, match="at least 1"):
            PlaybackVectorEnv(store, 0)
        with pytest.raises(ValueError, match="pass one of them"):
            PlaybackVectorEnv()
        with pytest.raises(ValueError, match="pass a Selection"):
            PlaybackVectorEnv(store, 2, segments=True)
        with pytest.raises(ValueError, match="only once"):
            PlaybackVectorEnv(iter(store.episodes), 2)

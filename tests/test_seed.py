# SPDX-License-Identifier: LGPL-3.0-or-later
"""The three snippets of gymbag 0.4.9's README, in one process, without closing anything."""

from __future__ import annotations

import itertools
import warnings
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest

from gymbag import HDF5Reader, PlaybackEnv, record_hdf5


def make(library: str) -> Any:
    if library == "gymnasium":
        return gymnasium.make("CartPole-v1")
    import gym

    return gym.make("CartPole-v1", disable_env_checker=True)


@pytest.mark.parametrize("library", ["gymnasium", "gym"])
def test_record_read_and_play_back(library: str, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    recorded = []
    with warnings.catch_warnings():
        # gym 0.26 announces its end, and uses what NumPy has given up.
        warnings.simplefilter("ignore")

        env = record_hdf5(make(library), "cartpole.h5")
        for _ in range(2):
            env.reset()
            done = False
            while not done:
                obs, reward, terminated, truncated, info = env.step(env.action_space.sample())
                done = terminated or truncated
                recorded.append((obs.copy(), reward, done, info))

    read = []
    for episode in HDF5Reader("cartpole.h5"):
        for time, obs, action, reward, done, info in episode:
            assert time > 1.7e9
            if np.isnan(reward):
                assert action == 0
            else:
                read.append((obs, reward, done, info))

    played = []
    env = PlaybackEnv(HDF5Reader("cartpole.h5"), api="gym")
    while not env.played_out:
        env.reset()
        done = False
        while not done:
            obs, reward, done, info = env.step(env.action_space.sample())
            played.append((obs, reward, done, info))

    assert len(recorded) == len(read) == len(played)
    for row in zip(recorded, read, played, strict=True):
        for (obs, *rest), (other, *others) in itertools.pairwise(row):
            assert np.array_equal(obs, other)
            assert rest == others

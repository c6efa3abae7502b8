# SPDX-License-Identifier: LGPL-3.0-or-later
"""A user's program with types: mypy checks what the public functions say that they return."""

from __future__ import annotations

from pathlib import Path
from typing import Any, assert_type

import gymnasium
import numpy as np
from numpy.typing import NDArray

import gymbag


def record(filename: Path, episodes: int) -> None:
    """Record episodes of CartPole."""
    env: gymnasium.Env[Any, Any] = gymnasium.make("CartPole-v1")
    with gymbag.record_hdf5(env, filename, "typed", metadata={"by": "hand"}) as recorded:
        for seed in range(episodes):
            _, info = recorded.reset(seed=seed)
            assert_type(info, dict[str, Any])
            done = False
            while not done:
                _, _, terminated, truncated, _ = recorded.step(seed % 2)
                done = terminated or truncated


def returns(source: gymbag.Store | gymbag.Selection) -> list[float]:
    """Return what each episode earned."""
    return [episode.episode_return for episode in source.iter_episodes()]


def longest(store: gymbag.Store) -> gymbag.Episode:
    """Return the longest episode."""
    return max(store.episodes, key=len)


def play(selection: gymbag.Selection) -> int:
    """Play an answer back; return how many steps it took."""
    env: gymnasium.Env[Any, Any] = gymbag.PlaybackEnv(selection)
    steps = 0
    env.reset()
    terminated = truncated = False
    while not (terminated or truncated):
        _, _, terminated, truncated, _ = env.step(None)
        steps += 1
    env.close()
    return steps


def main(folder: Path) -> None:
    """Record, ask, play back, convert, compare, verify."""
    filename, other = folder / "typed.h5", folder / "copy.h5"
    record(filename, 3)
    with gymbag.open(filename) as store:
        assert_type(store, gymbag.Store)
        found = assert_type(store.where("step < limit", limit=5), gymbag.Selection)
        assert_type(len(found), int)
        assert_type([episode.seed for episode in store.episodes], list[int | None])
        assert_type(longest(store).rewards, NDArray[np.float64])
        assert_type(returns(store), list[float])
        assert_type(returns(found), list[float])
        transitions = assert_type(found.transitions(), gymbag.Transitions)
        assert_type(transitions.terminated, NDArray[np.bool_])
        assert_type(store.sample(4, 1), gymbag.Transitions)
        assert_type(play(store.where("episode == 1")), int)
        for step in longest(store).steps():
            assert_type(step, gymbag.Step)
            assert_type(step.done, bool)
        assert_type(gymbag.list_datasets(filename), list[str])
        assert_type(gymbag.convert(store, other), list[str])
    with gymbag.open(filename) as one, gymbag.open(other) as two:
        comparison = assert_type(gymbag.compare(one, two, times=True), gymbag.Comparison)
    report = gymbag.verify(filename)
    if not (comparison and report):
        raise gymbag.GymbagError(f"{comparison}; {report}")

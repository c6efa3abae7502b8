# SPDX-License-Identifier: LGPL-3.0-or-later
"""Learn CartPole from what a policy of mixed quality did, and from its good episodes only.

    pip install 'gymbag[torch]'
    python examples/behaviour_cloning.py

Nine episodes in ten are those of a policy that looks at the pole's angle alone and soon drops it.
In the tenth it looks at the angle's velocity, too, and keeps it up. A question finds what is worth
cloning: the clone earns 475 or more, with which CartPole counts as solved; a clone of everything
earns less.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import gymnasium
import numpy as np
import torch
from torch.utils.data import DataLoader

import gymbag
from gymbag.torch import BatchStream

ENVIRONMENT = "CartPole-v1"


def record(filename: str | Path, episodes: int) -> None:
    """Record the policy, which is good in every tenth episode."""
    rng = np.random.default_rng(0)
    with gymbag.record_hdf5(gymnasium.make(ENVIRONMENT), filename, "of mixed quality") as env:
        for episode in range(episodes):
            observation, _ = env.reset(seed=episode)
            weight, done = (episode % 10 == 0), False
            while not done:
                falling = observation[2] + weight * observation[3] > 0
                action = int(rng.integers(2) if rng.random() < 0.1 else falling)
                observation, _, terminated, truncated, _ = env.step(action)
                done = terminated or truncated


def clone(selection: gymbag.Selection, epochs: int) -> torch.nn.Module:
    """Return a network that does what was done in the selected transitions."""
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Linear(4, 64), torch.nn.Tanh(), torch.nn.Linear(64, 2))
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    stream = BatchStream(selection.batches(256, seed=0), epochs)
    for batch in DataLoader(stream, batch_size=None):
        loss = torch.nn.functional.cross_entropy(network(batch.observation), batch.action)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return network


def mean_return(network: torch.nn.Module, episodes: int) -> float:
    """Return what the network's best actions earn in episodes of other seeds."""
    env, total = gymnasium.make(ENVIRONMENT), 0.0
    for episode in range(episodes):
        observation, _ = env.reset(seed=10_000 + episode)
        done = False
        while not done:
            with torch.no_grad():
                action = int(network(torch.from_numpy(observation)).argmax())
            observation, reward, terminated, truncated, _ = env.step(action)
            total += float(reward)
            done = terminated or truncated
    env.close()
    return total / episodes


def main(arguments: list[str] | None = None) -> float:
    """Record, clone, and return the mean return of the clone."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("filename", nargs="?", default="cartpole-mixed.h5")
    parser.add_argument("--episodes", type=int, default=300, help="how many to record")
    parser.add_argument("--better-than", type=float, default=150, help="than which return")
    parser.add_argument("--epochs", type=int, default=10)
    options = parser.parse_args(arguments)
    if not Path(options.filename).exists():
        record(options.filename, options.episodes)
    with gymbag.open(options.filename) as store:
        good = store.where("episode_return > least", least=options.better_than)
        score = mean_return(clone(good, options.epochs), 20)
        print(f"recorded: {store.describe()['mean_return']:.0f}, {store.total_episodes} episodes")
        print(f"clone of all: {mean_return(clone(store.all(), options.epochs), 20):.0f}")
        print(f"clone of the {len(list(good.episodes()))} good episodes: {score:.0f}")
    return score


if __name__ == "__main__":
    main()

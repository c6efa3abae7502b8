# SPDX-License-Identifier: LGPL-3.0-or-later
"""``gymbag generate``."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterable
from typing import Any

from gymnasium import Space
from gymnasium.spaces import Box, Discrete

from gymbag.cli.arguments import Subparsers, add_command, count
from gymbag.cli.output import progress
from gymbag.generate import RandomEnv, drive_env, generate_monotonic
from gymbag.hdf5 import HDF5Recorder
from gymbag.recorder import record_from_iter

Made = tuple[Space[Any], Space[Any], Iterable[Any]]


def add(subparsers: Subparsers[argparse.ArgumentParser]) -> None:
    """Say what the command takes."""
    parser = add_command(
        subparsers,
        "generate",
        run,
        "Make a recording out of nothing, to try things with.",
        "gymbag generate -o random.h5 --episodes 1000 --seed 7",
        "gymbag generate -o counting.h5 --kind monotonic",
    )
    parser.add_argument("-o", "--output", metavar="FILE", required=True, help="where to")
    parser.add_argument(
        "--kind",
        choices=list(KINDS),
        default="random",
        help="random numbers, or numbers that count up (default: random)",
    )
    parser.add_argument(
        "--episodes", metavar="N", type=count, default=10, help="how many (default: 10)"
    )
    parser.add_argument("--seed", metavar="S", type=int, default=0, help="of the random ones")


def run(arguments: argparse.Namespace) -> int:
    """Make episodes, and record them."""
    observations, actions, episodes = KINDS[arguments.kind](arguments.episodes, arguments.seed)
    recorder = HDF5Recorder(
        arguments.output, observations, actions, arguments.kind, start_time=time.time()
    )
    with progress() as bars:
        tracked = bars.track(episodes, total=arguments.episodes, description=arguments.kind)
        record_from_iter(recorder, tracked)
    print(f"{arguments.output}: {arguments.episodes:,} episodes")
    return 0


def random(episodes: int, seed: int) -> Made:
    """Return random episodes of ten steps, and their spaces."""
    env = RandomEnv(Box(0, 1, (4,)), Discrete(4))
    return env.observation_space, Discrete(4), drive_env(env, episodes=episodes, seed=seed)


def monotonic(episodes: int, seed: int) -> Made:
    """Return episodes that count, the same ones each time, and their spaces."""
    return Box(0, episodes, (2,)), Discrete(episodes + 1), generate_monotonic(episodes)


KINDS = {"random": random, "monotonic": monotonic}

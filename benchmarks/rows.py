# SPDX-License-Identifier: LGPL-3.0-or-later
"""Narrow rows by the million, as of an environment that says little and is fast."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from gymnasium.spaces import Discrete
from numpy.typing import NDArray

import gymbag

BLOCK = 1_000_000
SHORTEST, LONGEST = 50, 350
REWARDED = 0.1
SECONDS = 8e-6
LATE = 0.02
"""The last part of the rows, in which rewards come if they come late."""

SPREAD, CLUSTERED = "rewards spread", "rewards late"


class Rows(NamedTuple):
    """Columns of episodes; row 0 of each is its reset, whose action and reward are 0."""

    episode: NDArray[np.uint32]
    step: NDArray[np.uint32]
    time: NDArray[np.float64]
    reward: NDArray[np.float64]
    terminated: NDArray[np.bool_]
    truncated: NDArray[np.bool_]
    action: NDArray[np.uint8]


def make(name: str, count: int) -> Rows:
    """Return so many rows; `CLUSTERED` ones are rewarded only towards the end."""
    rows = Rows(*map(np.concatenate, zip(*blocks(count), strict=True)))
    if name == CLUSTERED:
        rows.reward[: round(count * (1 - LATE))] = 0
    return rows


def blocks(count: int) -> Iterator[Rows]:
    """Iterate over so many rows, some whole episodes at a time."""
    random = np.random.default_rng(0)
    episode, time = 0, 1.7e9
    for start in range(0, count, BLOCK):
        some = block(random, min(BLOCK, count - start), episode, time)
        yield some
        episode, time = int(some.episode[-1]) + 1, float(some.time[-1])


def block(random: np.random.Generator, count: int, episode: int, time: float) -> Rows:
    lengths = random.integers(SHORTEST, LONGEST + 1, size=count // SHORTEST + 1)
    ends = np.cumsum(lengths)
    # The last episode ends with the block.
    ends = np.append(ends[ends < count - 1], count)
    starts = np.concatenate([[0], ends[:-1]])
    numbers = np.repeat(np.arange(len(ends)), ends - starts)
    steps = np.arange(count) - starts[numbers]
    acted = steps > 0
    rewarded = acted & (random.random(count) < REWARDED)
    terminated = np.zeros(count, np.bool_)
    terminated[ends - 1] = True
    return Rows(
        episode=(episode + numbers).astype(np.uint32),
        step=steps.astype(np.uint32),
        time=time + np.cumsum(random.uniform(0.5, 1.5, count) * SECONDS),
        reward=np.where(rewarded, random.random(count), 0.0),
        terminated=terminated,
        truncated=np.zeros(count, np.bool_),
        action=np.where(acted, random.integers(2, size=count), 0).astype(np.uint8),
    )


def record(filename: Path, some: Any) -> None:
    """Record blocks of rows with gymbag, call by call."""
    spaces = Discrete(4), Discrete(2)
    recorder = gymbag.HDF5Recorder(filename, *spaces, "rows", durability="close")
    info: dict[str, Any] = {}
    try:
        for rows in some:
            columns = rows.step, rows.time, rows.reward, rows.terminated, rows.action
            for step, time, reward, terminated, action in zip(
                *(column.tolist() for column in columns), strict=True
            ):
                if step:
                    recorder.on_step(time, 0, action, reward, terminated, False, info)
                else:
                    recorder.on_reset(time, 0, info)
    finally:
        recorder.on_close()

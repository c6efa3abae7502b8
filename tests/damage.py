# SPDX-License-Identifier: LGPL-3.0-or-later
"""A recording with everything in it, cut into small chunks; and ways to damage it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import numpy as np
from gymnasium.spaces import Box, Dict, Discrete, Sequence, Text

import gymbag
from gymbag.schema import Column
from gymbag.storage import compression
from gymbag.storage.footer import Footer, read_footer

EPISODES = 40
NAME = "every/thing"
CHUNK_ROWS = 16


def small_chunks(column: Column) -> compression.Compression:
    return replace(compression.default(column), chunk_rows=CHUNK_ROWS, block_rows=CHUNK_ROWS // 4)


def record(path: Path) -> Path:
    """Record two data sets: one of ragged observations and infos of all kinds, and a plain one."""
    usual = compression.POLICIES["default"].table
    table = replace(usual, chunk_rows=CHUNK_ROWS, block_rows=CHUNK_ROWS)
    policies = {"default": compression.Policy(small_chunks, table)}
    with mock.patch.dict(compression.POLICIES, policies):
        _record(path)
    return path


def _record(path: Path) -> None:
    rng = np.random.default_rng(1)
    camera = Box(0, 255, (8, 8), np.uint8)
    observations = Dict({"camera": camera, "seen": Sequence(Sequence(Discrete(5)))})
    spaces = {NAME: (observations, Text(9)), "plain": (Box(-1, 1, (3,)), Discrete(3))}
    for name, (observation_space, action_space) in spaces.items():
        observation_space.seed(1)
        action_space.seed(1)
        recorder = gymbag.HDF5Recorder(path, observation_space, action_space, name, "tried")
        with ExitStack() as stack:
            stack.callback(recorder.on_close)
            for episode in range(EPISODES):
                options = {"level": episode} if episode % 3 == 0 else None
                seed = 2**70 if episode == 5 else episode
                recorder.on_reset(
                    episode, observation_space.sample(), _info(rng), seed=seed, options=options
                )
                for step in range(int(rng.integers(1, 6))):
                    values = observation_space.sample(), action_space.sample(), float(rng.random())
                    recorder.on_step(episode + step / 9, *values, step == 4, False, _info(rng))


def _info(rng: np.random.Generator) -> dict[str, Any]:
    info: dict[str, Any] = {}
    if rng.random() < 0.7:
        info |= {"lives": int(rng.integers(4)), "box": {"note": "x" * int(rng.integers(5))}}
    if rng.random() < 0.2:
        info["array"] = rng.integers(9, size=2).tolist()
    return info


class Place(NamedTuple):
    """A chunk of a column."""

    path: str
    number: int
    offset: int
    size: int


def index_of(path: Path) -> Footer:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        found = read_footer(descriptor)
    finally:
        os.close(descriptor)
    assert found is not None
    return found


def places(path: Path) -> Iterator[Place]:
    for column_path, column in index_of(path).columns.items():
        for number, chunk in enumerate(column.chunks.tolist()):
            if chunk[1]:
                yield Place(column_path, number, chunk[0], chunk[1])


def flip(path: Path, source: Path, offsets: list[int]) -> Path:
    """Write a copy of a file with one bit of some bytes changed."""
    data = bytearray(source.read_bytes())
    for offset in offsets:
        data[offset] ^= 0x10
    path.write_bytes(data)
    return path


def episode_texts(path: Path, name: str = NAME) -> list[str]:
    """Return all that each episode holds, as text that is equal if it is."""
    with gymbag.open(path, name) as store, np.printoptions(threshold=1 << 20):
        return [
            repr((e.seed, e.options, str(e.ended), list(e.steps()))) for e in store.iter_episodes()
        ]

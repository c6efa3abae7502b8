# SPDX-License-Identifier: LGPL-3.0-or-later
"""Flips bytes of real files and cuts them off: what is wrong is found, or makes no difference.

Run alone, it does so as often as one likes: ``python -m tests.flips --flips 2000 --cuts 200``.
"""

from __future__ import annotations

import argparse
import tempfile
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np

import gymbag
from gymbag.errors import GymbagError


def record(path: Path) -> None:
    """Make a file of two data sets, with late info keys, frames and JSON cells, opened twice."""
    for seed in range(2):
        with gymbag.record_hdf5(gymnasium.make("CartPole-v1"), path) as env:
            for episode in range(15):
                env.reset(seed=100 * seed + episode, options={"low": -0.02, "high": 0.02})
                done = False
                while not done:
                    _, _, terminated, truncated, _ = env.step(episode % 2)
                    done = terminated or truncated
    images = gymnasium.spaces.Box(0, 255, (40, 40, 3), np.uint8)
    random = gymbag.RandomEnv(images, gymnasium.spaces.Discrete(3))
    with gymbag.record_hdf5(random, path, name="random") as env:
        for _ in range(3):
            env.reset()
            for _ in range(10):
                env.step(1)


def read(path: Path) -> list[str]:
    """Return everything that a file holds, as text."""
    found = []
    for name in gymbag.list_datasets(path):
        with gymbag.open(path, name) as store:
            about = store.describe()
            found.append(repr((name, store.description, store.metadata, about["episodes"])))
            for episode in store.iter_episodes():
                found.append(repr((episode.seed, episode.options, episode.ended)))
                found += [repr(step) for step in episode.steps()]
    return found


def spoilt(good: bytes, flips: int, cuts: int, seed: int) -> Iterator[tuple[str, bytes]]:
    """Iterate over files of which one byte is another, or that end too soon."""
    rng = np.random.default_rng(seed)
    for place in rng.integers(len(good), size=flips).tolist():
        data = bytearray(good)
        data[place] ^= int(rng.integers(1, 256))
        yield f"byte {place}", bytes(data)
    for size in rng.integers(len(good), size=cuts).tolist():
        yield f"cut to {size}", good[:size]


def judge(path: Path, whole: list[str]) -> str:
    """Return what became of a spoilt file: "found", "no difference", or "WRONG"."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            sound = bool(gymbag.verify(path))
        except GymbagError:
            sound = False
        try:
            same = read(path) == whole
        except GymbagError:
            return "found" if not sound else "WRONG: verify said sound, reading fails"
    if same:
        return "no difference" if sound else "found, and read right"
    return "WRONG: other values than were recorded" if sound else "WRONG unless verified"


def run(folder: Path, flips: int, cuts: int, seed: int) -> tuple[Counter[str], list[str]]:
    """Return how many files came out how, and those that came out wrong."""
    good = folder / "good.h5"
    record(good)
    whole, data = read(good), good.read_bytes()
    results: Counter[str] = Counter()
    wrong = []
    path = folder / "spoilt.h5"
    for what, content in spoilt(data, flips, cuts, seed):
        path.write_bytes(content)
        result = judge(path, whole)
        results[result] += 1
        if result.startswith("WRONG"):
            wrong.append(f"{what}: {result}")
    return results, wrong


def main() -> int:
    parser: Any = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--flips", type=int, default=2000)
    parser.add_argument("--cuts", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        results, wrong = run(Path(folder), arguments.flips, arguments.cuts, arguments.seed)
    for result, count in sorted(results.items()):
        print(f"{count:6}  {result}")
    print("\n".join(wrong))
    return bool(wrong)


if __name__ == "__main__":
    raise SystemExit(main())

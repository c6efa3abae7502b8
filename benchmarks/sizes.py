# SPDX-License-Identifier: LGPL-3.0-or-later
"""What a recording takes in a file, and how fast it is packed and unpacked, by each policy.

    python -m benchmarks.sizes recording.h5
    python -m benchmarks.sizes

Without a file it makes recordings of four kinds: frames of Breakout, states of CartPole, joints
that move as at random walks, and noise, which nothing can make smaller.

Packing is a `gymbag.repack`, so that it includes the unpacking of what was there; unpacking reads
every field of every episode, one episode after another, and the quickest of three times counts.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import gymbag
from benchmarks import experience, harness
from benchmarks.experience import BREAKOUT, CARTPOLE, Experience, space_of
from benchmarks.readers.own import episodes
from benchmarks.stopwatch import Stopwatch
from gymbag.storage.compression import POLICIES

MEGABYTE = 1e6
STEPS = {BREAKOUT: 1_500, CARTPOLE: 300_000, "walks": 100_000, "noise": 100_000}
QUICK_STEPS = dict.fromkeys(STEPS, 300)
JOINTS, TORQUES = 17, 6
EPISODE = 1_000
ATTEMPTS = 3


class Packed(NamedTuple):
    """A recording, packed by one policy."""

    policy: str
    bytes_per_row: dict[str, float]
    """Of each column, and of the whole file, which is named ``file``."""
    packing: float
    """Megabytes a second, before compression."""
    unpacking: float


def walks(rows: int) -> Experience:
    """Return joints and torques that move a little at each step, in float64, as MuJoCo's do."""
    random = np.random.default_rng(0)
    joints = np.cumsum(random.normal(0, 0.01, (rows, JOINTS)), axis=0)
    torques = np.tanh(np.cumsum(random.normal(0, 0.1, (rows, TORQUES)), axis=0))
    return floats(rows, joints, torques, joints[:, 0] - (torques**2).sum(axis=1))


def noise(rows: int) -> Experience:
    """Return numbers without any order."""
    random = np.random.default_rng(0)
    parts = (random.normal(size=(rows, width)) for width in (JOINTS, TORQUES, 1))
    joints, torques, rewards = parts
    return floats(rows, joints, torques, rewards[:, 0])


def floats(rows: int, observations: Any, actions: Any, rewards: Any) -> Experience:
    steps = np.arange(rows) % EPISODE
    truncated = (steps == EPISODE - 1) | (np.arange(rows) == rows - 1)
    lengths = np.diff([*np.flatnonzero(steps == 0), rows])
    never = np.zeros(rows, np.bool_)
    return Experience(observations, actions.astype(np.float32), rewards, never, truncated, lengths)


MAKERS: dict[str, Callable[[int], Experience]] = {
    BREAKOUT: experience.breakout,
    CARTPOLE: experience.cartpole,
    "walks": walks,
    "noise": noise,
}


def recorded(folder: Path, steps: dict[str, int]) -> Iterator[Path]:
    """Record each kind into a file; one whose environment is not installed is left out."""
    for name, rows in steps.items():
        try:
            made = MAKERS[name](rows)
        except ImportError as reason:
            harness.say(f"{name}: left out: {reason}")
            continue
        yield record(made, folder / f"{name}.h5", name)


def packed(file: Path, folder: Path) -> Iterator[Packed]:
    """Iterate over the policies, by each of which the file is packed anew."""
    target = folder / f"{file.stem}-packed.h5"
    # Once for nothing: the first time pays for what is loaded and mapped.
    gymbag.repack(file, target)
    unpack(target)
    for policy in POLICIES:
        target.unlink()
        watch = Stopwatch()
        gymbag.repack(file, target, compression=policy)
        packing = watch.read().wall_seconds
        megabytes, rows, stored = 0.0, 0, {"file": float(target.stat().st_size)}
        for name in gymbag.list_datasets(target):
            with gymbag.open(target, name) as store:
                rows += len(store)
                for column in store.column_sizes():
                    stored[column.name] = stored.get(column.name, 0) + column.stored
                    megabytes += column.nbytes / MEGABYTE
        unpacking = min(unpack(target) for _ in range(ATTEMPTS))
        by_row = {name: size / max(1, rows) for name, size in stored.items()}
        yield Packed(policy, by_row, megabytes / packing, megabytes / unpacking)


def unpack(file: Path) -> float:
    """Return the seconds that reading every episode takes; nothing of it is kept."""
    watch = Stopwatch()
    for name in gymbag.list_datasets(file):
        with gymbag.open(file, name) as store:
            for episode in store.episodes:
                _ = episode.observations, episode.actions, episode.rewards
                _ = episode.times, episode.terminations, episode.truncations, episode.infos
    return watch.read().wall_seconds


def record(data: Experience, file: Path, name: str) -> Path:
    spaces = map(space_of, (data.observations, data.actions))
    recorder = gymbag.HDF5Recorder(file, *spaces, name, durability="close")
    gymbag.record_from_iter(recorder, episodes(data))
    return file


def lines(found: list[Packed]) -> Iterator[str]:
    """Iterate over the lines of a table: a row for each column, a column for each policy."""
    width = max(len(name) for packed in found for name in packed.bytes_per_row) + 2
    yield f"{'bytes a row':{width}}" + "".join(f"{packed.policy:>12}" for packed in found)
    for name in sorted(found[0].bytes_per_row, key=lambda name: -found[0].bytes_per_row[name]):
        sizes = (packed.bytes_per_row.get(name, 0.0) for packed in found)
        yield f"{name:{width}}" + "".join(f"{size:12,.2f}" for size in sizes)
    yield f"{'packing, MB/s':{width}}" + "".join(f"{packed.packing:12,.0f}" for packed in found)
    yield f"{'unpacking':{width}}" + "".join(f"{packed.unpacking:12,.0f}" for packed in found)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.sizes", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("file", type=Path, nargs="?", help="a recording of yours")
    parser.add_argument("--quick", action="store_true", help="few steps, to see that it works")
    args = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        steps = QUICK_STEPS if args.quick else STEPS
        for file in [args.file] if args.file else recorded(folder, steps):
            print(f"{file.name}:\n")
            print("\n".join(lines(list(packed(file, folder)))), end="\n\n")


if __name__ == "__main__":
    main()

# SPDX-License-Identifier: LGPL-3.0-or-later
"""Records so many rows with gymbag, reads some of them, and prints one line of JSON.

    python -m benchmarks.growing 100000 0

The second number is the seed of what is read.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymbag
from benchmarks.growth import BATCH, EPISODE, OPENING, RECORDING, SAMPLE
from benchmarks.harness import work
from benchmarks.rows import blocks, record
from benchmarks.stopwatch import ENOUGH, Cost, Stopwatch, timed


def main(rows: str, seed: str, enough: str = str(ENOUGH)) -> dict[str, Any]:
    count = int(rows)
    with tempfile.TemporaryDirectory() as name:
        file = Path(name) / "rows.h5"
        watch = Stopwatch()
        record(file, blocks(count))
        recorded = Cost(*(value / count for value in watch.read()))
        costs = {RECORDING: recorded} | read(file, int(seed), float(enough))
        size = file.stat().st_size
    about = {"peer": f"{count:,}", "rows": count, "seed": int(seed), "bytes": size}
    return {
        "runs": [
            about | {"question": question} | cost._asdict() for question, cost in costs.items()
        ]
    }


def read(file: Path, seed: int, enough: float) -> dict[str, Cost]:
    with gymbag.open(file) as store:
        episodes = len(store.episodes)

    def open_it(_: int) -> None:
        gymbag.open(file).close()

    def episode(call: int) -> None:
        with gymbag.open(file) as store:
            found = store.episodes[(episodes // 2 + seed + call) % episodes]
            _ = found.times, found.rewards, found.actions

    def sample(call: int) -> None:
        with gymbag.open(file) as store:
            store.sample(BATCH, seed + call)

    asked: dict[str, Callable[[int], None]] = {OPENING: open_it, EPISODE: episode, SAMPLE: sample}
    costs = {}
    for question, ask in asked.items():
        ask(0)
        costs[question] = timed(ask, enough)
    return costs


if __name__ == "__main__":
    sys.exit(work(main, *sys.argv[1:]))

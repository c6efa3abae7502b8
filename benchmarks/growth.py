# SPDX-License-Identifier: LGPL-3.0-or-later
"""What gymbag costs as a file grows: by the step, and for questions whose answers do not grow.

    python -m benchmarks.growth
    python -m benchmarks.growth --full

A repetition records each number of narrow rows once, in random order, each in a process of its
own, and reads from it. Time by the step includes the making of the rows.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from benchmarks import harness
from benchmarks.figures import Figure, Run, costs, paired

NAME = "growth"

BATCH = 256
RECORDING = "recording a step"
OPENING = "opening the file"
EPISODE = "one episode, file opened anew"
SAMPLE = f"{BATCH} random transitions, file opened anew"
QUESTIONS = [RECORDING, OPENING, EPISODE, SAMPLE]

SIZES = [100_000, 1_000_000, 10_000_000]
FULL_SIZES = [*SIZES, 100_000_000]
QUICK_SIZES = [1_000, 4_000]
REPETITIONS = 3

AGAIN = " again"
PACKAGES = ["blosc2", "gymbag", "numpy", "tables"]


def run_all(sizes: list[int], repetitions: int, quick: bool) -> Iterator[Run]:
    """Iterate over the runs; the smallest size is measured twice as a control."""
    rows = {f"{size:,}": size for size in sizes}
    rows |= {f"{sizes[0]:,}{AGAIN}": sizes[0]}
    part = harness.here if quick else harness.worker

    def measure(_: str, peer: str, seed: int) -> list[Run]:
        enough = [0] if quick else []
        found = part("benchmarks.growing", rows[peer], seed, *enough)["runs"]
        return [run | {"peer": peer} for run in found]

    for runs in harness.interleaved({"rows": [*rows]}, repetitions, measure):
        yield from runs


def figures(runs: list[Run], control: str) -> list[Figure]:
    """Return one row for each question and number of rows, in the order of the runs."""
    return [
        {key: some[0][key] for key in ("question", "peer", "rows")} | costs(some, controls)
        for some, controls in paired(runs, control, ("question",))
    ]


def place(run: Run) -> tuple[int, int, bool, int]:
    """Return where a run stands: by question, then size."""
    again = run["peer"].endswith(AGAIN)
    return QUESTIONS.index(run["question"]), run["rows"], again, run["seed"]


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = harness.parser(NAME, __doc__)
    parser.add_argument("--full", action="store_true", help=f"also {FULL_SIZES[-1]:,} rows")
    return harness.complete(parser.parse_args(arguments), NAME, REPETITIONS)


def main(arguments: list[str] | None = None) -> None:
    args = parse(arguments)
    sizes = QUICK_SIZES if args.quick else FULL_SIZES if args.full else SIZES
    runs = sorted(run_all(sizes, args.repeat, args.quick), key=place)
    command = harness.command(NAME, args, REPETITIONS, *(["--full"] if args.full else []))
    results = {
        "made": harness.made(command, args.repeat, PACKAGES),
        "figures": figures(runs, f"{sizes[0]:,}"),
        "runs": runs,
    }
    harness.save(results, args.out)


if __name__ == "__main__":
    main()

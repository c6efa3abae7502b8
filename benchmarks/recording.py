# SPDX-License-Identifier: LGPL-3.0-or-later
"""What recording costs, as ratios to the bare environment, for gymbag and for others.

    python -m benchmarks.recording

Each repetition runs every recorder once, in random order, each in a process of its own, on the
same seed and the same random actions. The result goes to ``results/recording.json``, from which
`benchmarks.table` makes the table of the README. What is not installed is left out and named:
``--gymbag-0.4.9`` installs the recorder of 2017, ``--gym-recording PATH`` says where the
original gym_recording lies.

Recordings go below the system's temporary directory (``TMPDIR`` changes it). gymbag syncs what it
commits, with its default durability; the other recorders sync nothing.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from statistics import median

from benchmarks import harness, old_gymbag
from benchmarks.figures import Figure, Run, costs, excess, grown_mb, paired
from benchmarks.recorders import CONTROL, OLD, RECORDERS

NAME = "recording"

STEPS = {"CartPole-v1": 100_000, "ALE/Breakout-v5": 3_000}
QUICK_STEPS = {"CartPole-v1": 500, "ALE/Breakout-v5": 20}
AIMS = {"CartPole-v1": (1.10, 15, 16), "ALE/Breakout-v5": (1.05, 300, 64)}
"""What gymbag is to cost: times bare, bytes a step, MB that come while recording."""
REPETITIONS = 9

PACKAGES = ["ale-py", "blosc2", "gym", "gymbag", "gymnasium", "numpy", "tables"]


def run_all(
    steps: dict[str, int],
    recorders: Sequence[str],
    repetitions: int,
    search: Path | None = None,
) -> Iterator[Run]:
    """Iterate over the runs; `search` holds further packages."""

    def measure(env_id: str, recorder: str, seed: int) -> Run:
        arguments = recorder, env_id, steps[env_id], seed
        return harness.worker("benchmarks.worker", *arguments, search=search)

    cases = {env_id: [*recorders] for env_id in steps}
    return harness.interleaved(cases, repetitions, measure)


def figures(runs: list[Run]) -> list[Figure]:
    """Return one row for each environment and recorder, in the order of the runs.

    >>> def run(recorder, seed, seconds):
    ...     costs = {"wall_seconds": seconds, "cpu_seconds": seconds, "bytes": 800}
    ...     where = {"environment": "CartPole-v1", "steps": 100, "seed": seed}
    ...     return {"recorder": recorder, "loaded_mb": 50.0, "peak_mb": 50.0} | where | costs
    >>> runs = [run("bare", 0, 1.0), run("a", 0, 2.0), run("bare", 1, 2.0), run("a", 1, 2.0)]
    >>> figures(runs)[1]["wall_ratio"]
    {'median': 1.5, 'min': 1.0, 'max': 2.0}
    """
    return [figure(*pair) for pair in paired(runs, CONTROL, ("environment",), "recorder")]


def figure(runs: list[Run], controls: list[Run]) -> Figure:
    """Return the figures of one recorder in one environment; controls[i] belongs to runs[i]."""
    pairs = list(zip(runs, controls, strict=True))
    first = runs[0]
    return {
        "environment": first["environment"],
        "steps": first["steps"],
        "recorder": first["recorder"],
        **costs(runs, controls),
        "bytes_per_step": round(median(run["bytes"] / run["steps"] for run in runs), 1),
        "extra_memory_mb": excess((run["peak_mb"], bare["peak_mb"]) for run, bare in pairs),
        "recording_memory_mb": excess((grown_mb(run), grown_mb(bare)) for run, bare in pairs),
    }


def place(run: Run) -> tuple[int, ...]:
    """Return where a run stands: by environment, then recorder, in their tables' order."""
    return [*STEPS].index(run["environment"]), [*RECORDERS].index(run["recorder"]), run["seed"]


def command(args: argparse.Namespace) -> str:
    words = ["--gym-recording PATH"] if args.gym_recording else []
    if args.old is not None:
        words.append("--gymbag-0.4.9" if args.old else "--no-old")
    return harness.command(NAME, args, REPETITIONS, *words)


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = harness.parser(NAME, __doc__)
    parser.add_argument(
        "--gym-recording", type=Path, metavar="PATH", help="folder with the original package"
    )
    old = parser.add_mutually_exclusive_group()
    old.add_argument(
        "--gymbag-0.4.9", dest="old", action="store_true", default=None, help="install it first"
    )
    old.add_argument(
        "--no-old", dest="old", action="store_false", help="leave out what needs gym 0.9.2"
    )
    return harness.complete(parser.parse_args(arguments), NAME, REPETITIONS)


def environments(quick: bool) -> dict[str, int]:
    steps = QUICK_STEPS if quick else STEPS
    if find_spec("ale_py"):
        return steps
    harness.say("ale-py is not installed: Breakout is left out")
    return {env_id: steps[env_id] for env_id in steps if not env_id.startswith("ALE/")}


def main(arguments: list[str] | None = None) -> None:
    args = parse(arguments)
    if args.old and not old_gymbag.installed():
        old_gymbag.install()
    recorders = [name for name in RECORDERS if args.old is not False or name not in OLD]
    runs = list(run_all(environments(args.quick), recorders, args.repeat, args.gym_recording))
    runs.sort(key=place)
    made = harness.made(command(args), args.repeat, PACKAGES)
    harness.save({"made": made, "figures": figures(runs), "runs": runs}, args.out)


if __name__ == "__main__":
    main()

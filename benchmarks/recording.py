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

This module imports neither NumPy nor an environment: a process inherits the peak memory of the
one that starts it, and a large one would hide what the recorders use.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import shlex
import subprocess
import sys
from collections.abc import Collection, Iterable, Iterator
from datetime import UTC, datetime
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks import old_gymbag
from benchmarks.figures import figures
from benchmarks.recorders import CONTROL, OLD, RECORDERS

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "recording.json"

STEPS = {"CartPole-v1": 100_000, "ALE/Breakout-v5": 3_000}
QUICK_STEPS = {"CartPole-v1": 500, "ALE/Breakout-v5": 20}
REPETITIONS = 5

PACKAGES = ["ale-py", "blosc2", "gym", "gymbag", "gymnasium", "numpy", "tables"]


class Unavailable(Exception):
    """A recorder is not installed."""


def measure(
    recorder: str, env_id: str, steps: int, seed: int, search: Path | None = None
) -> dict[str, Any]:
    """Return what `benchmarks.worker` measured; `search` holds further packages.

    Raises:
        Unavailable: The recorder is not installed.
    """
    path = [str(search.resolve())] if search else []
    path += filter(None, [os.environ.get("PYTHONPATH")])
    worker = ["-m", "benchmarks.worker", recorder, env_id, str(steps), str(seed)]
    done = subprocess.run(
        [sys.executable, *worker],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(path)},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode == os.EX_UNAVAILABLE:
        raise Unavailable(done.stderr.strip().rpartition("\n")[2])
    if done.returncode:
        raise SystemExit(f"{shlex.join(worker)} failed:\n{done.stderr}")
    run: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return run


def run_all(
    steps: dict[str, int],
    recorders: Iterable[str],
    repetitions: int,
    search: Path | None = None,
) -> Iterator[dict[str, Any]]:
    """Iterate over the runs; a recorder that is not installed is named once and left out."""
    left = list(recorders)
    order = random.Random(0)
    for repetition in range(repetitions):
        for env_id in steps:
            for recorder in order.sample(left, len(left)):
                try:
                    run = measure(recorder, env_id, steps[env_id], repetition, search)
                except Unavailable as reason:
                    print(f"{recorder}: left out: {reason}", file=sys.stderr)
                    left.remove(recorder)
                else:
                    print(
                        f"{repetition + 1}/{repetitions} {env_id} {recorder}: "
                        f"{run['wall_seconds']:.3f} s",
                        file=sys.stderr,
                    )
                    yield run


def made(args: argparse.Namespace) -> dict[str, Any]:
    """Return how, when and on what the figures were made; no names of machines or users."""
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "command": command(args),
        "repetitions": args.repeat,
        "python": platform.python_version(),
        "packages": dict(versions(PACKAGES)),
        "system": f"{platform.system()} {platform.machine()}",
        "cpus": os.cpu_count(),
    }


def place(run: dict[str, Any]) -> tuple[int, ...]:
    """Return where a run stands: by environment, then recorder, in their tables' order."""
    return [*STEPS].index(run["environment"]), [*RECORDERS].index(run["recorder"]), run["seed"]


def versions(packages: Iterable[str]) -> Iterator[tuple[str, str]]:
    for package in packages:
        try:
            yield package, metadata.version(package)
        except metadata.PackageNotFoundError:
            continue


def command(args: argparse.Namespace) -> str:
    words = ["python -m benchmarks.recording"]
    if args.quick:
        words.append("--quick")
    elif args.repeat != REPETITIONS:
        words.append(f"--repeat {args.repeat}")
    if args.gym_recording:
        words.append("--gym-recording PATH")
    if args.old is not None:
        words.append("--gymbag-0.4.9" if args.old else "--no-old")
    return " ".join(words)


def to_json(results: dict[str, Any]) -> str:
    """Return JSON with one row on one line, so that a diff of two results can be read."""

    def rows(value: Any) -> str:
        if isinstance(value, list):
            return "[\n  " + ",\n  ".join(map(json.dumps, value)) + "\n ]"
        return json.dumps(value)

    return "{\n " + ",\n ".join(f'"{key}": {rows(results[key])}' for key in results) + "\n}\n"


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.recording", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--quick", action="store_true", help="few steps, to see that it works")
    parser.add_argument("--repeat", type=int, metavar="N", help=f"{REPETITIONS}, or 1 if quick")
    parser.add_argument("--out", type=Path, help="where the JSON goes; quick: nowhere")
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
    args = parser.parse_args(arguments)
    if args.repeat is None:
        args.repeat = 1 if args.quick else REPETITIONS
    if args.out is None and not args.quick:
        args.out = RESULTS
    return args


def environments(quick: bool) -> dict[str, int]:
    steps = QUICK_STEPS if quick else STEPS
    if find_spec("ale_py"):
        return steps
    print("ale-py is not installed: Breakout is left out", file=sys.stderr)
    return {env_id: steps[env_id] for env_id in steps if not env_id.startswith("ALE/")}


def main(arguments: list[str] | None = None) -> None:
    args = parse(arguments)
    if args.old and not old_gymbag.installed():
        old_gymbag.install()
    left_out: Collection[str] = OLD if args.old is False else ()
    recorders = [name for name in RECORDERS if name not in left_out]
    runs = list(run_all(environments(args.quick), recorders, args.repeat, args.gym_recording))
    runs.sort(key=place)
    results = {"made": made(args), "figures": figures(runs, CONTROL), "runs": runs}
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(to_json(results))
    else:
        print(to_json(results), end="")


if __name__ == "__main__":
    main()

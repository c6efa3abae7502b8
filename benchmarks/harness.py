# SPDX-License-Identifier: LGPL-3.0-or-later
"""What all benchmarks share: workers in processes of their own, the order of runs, the results.

This module imports neither NumPy nor an environment: a process inherits the peak memory of the
one that starts it, and a large one would hide what is measured.
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
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from importlib import import_module, metadata
from pathlib import Path
from typing import Any, TypeVar

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"

T = TypeVar("T")


class Unavailable(Exception):
    """What should be measured is not installed."""


def worker(module: str, *arguments: object, search: Path | None = None) -> dict[str, Any]:
    """Return the JSON that `module` prints last, run as a program; `search` holds packages.

    Raises:
        Unavailable: It ended with the status EX_UNAVAILABLE.
    """
    path = [str(search.resolve())] if search else []
    path += filter(None, [os.environ.get("PYTHONPATH")])
    words = ["-m", module, *map(str, arguments)]
    done = subprocess.run(
        [sys.executable, *words],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(path)},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode == os.EX_UNAVAILABLE:
        raise Unavailable(done.stderr.strip().rpartition("\n")[2])
    if done.returncode:
        raise SystemExit(f"{shlex.join(words)} failed:\n{done.stderr}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def here(module: str, *arguments: object) -> dict[str, Any]:
    """Do as `worker`, but in this process, where it cannot be measured.

    Raises:
        Unavailable: Something is not installed.
    """
    try:
        found: dict[str, Any] = import_module(module).main(*map(str, arguments))
    except ImportError as error:
        raise Unavailable(error) from error
    return found


def work(main: Callable[..., dict[str, Any]], *arguments: str) -> int:
    """Print what `main` returns as `worker` expects it; return the status of the process."""
    try:
        print(json.dumps(main(*arguments)))
    except ImportError as error:
        print(error, file=sys.stderr)
        return os.EX_UNAVAILABLE
    return os.EX_OK


def interleaved(
    cases: Mapping[str, Sequence[str]],
    repetitions: int,
    measure: Callable[[str, str, int], T],
) -> Iterator[T]:
    """Iterate over what `measure` says of each task and peer, in each repetition.

    The peers of a task come in random order, next to each other. One that is not installed is
    named once and left out.
    """
    order = random.Random(0)
    gone: set[str] = set()
    for repetition in range(repetitions):
        for task, peers in cases.items():
            for peer in order.sample(peers, len(peers)):
                if peer in gone:
                    continue
                say(f"{repetition + 1}/{repetitions} {task}: {peer}")
                try:
                    yield measure(task, peer, repetition)
                except Unavailable as reason:
                    say(f"{peer}: left out: {reason}")
                    gone.add(peer)


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def made(command: str, repetitions: int, packages: Iterable[str]) -> dict[str, Any]:
    """Return how, when and on what the figures were made; no names of machines or users."""
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "command": command,
        "repetitions": repetitions,
        "python": platform.python_version(),
        "packages": dict(versions(packages)),
        "system": f"{platform.system()} {platform.machine()}",
        "cpus": os.cpu_count(),
    }


def versions(packages: Iterable[str]) -> Iterator[tuple[str, str]]:
    for package in packages:
        try:
            yield package, metadata.version(package)
        except metadata.PackageNotFoundError:
            continue


def to_json(results: dict[str, Any]) -> str:
    """Return JSON with one row on one line, so that a diff of two results can be read."""

    def rows(value: Any) -> str:
        if isinstance(value, list):
            return "[\n  " + ",\n  ".join(map(json.dumps, value)) + "\n ]"
        return json.dumps(value)

    return "{\n " + ",\n ".join(f'"{key}": {rows(results[key])}' for key in results) + "\n}\n"


def save(results: dict[str, Any], out: Path | None) -> None:
    """Write the results, or print them if there is no place for them."""
    if out:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(to_json(results))
    else:
        print(to_json(results), end="")


def parser(name: str, about: str | None) -> argparse.ArgumentParser:
    """Return a parser of the options that all benchmarks have; `about` is a docstring."""
    made = argparse.ArgumentParser(
        prog=f"python -m benchmarks.{name}", description=(about or "").partition("\n")[0]
    )
    made.add_argument("--quick", action="store_true", help="little work, to see that it works")
    made.add_argument("--repeat", type=int, metavar="N", help="repetitions; quick: 1")
    made.add_argument("--out", type=Path, help="where the JSON goes; quick: nowhere")
    return made


def complete(args: argparse.Namespace, name: str, repetitions: int) -> argparse.Namespace:
    """Fill in what was not said."""
    if args.repeat is None:
        args.repeat = 1 if args.quick else repetitions
    if args.out is None and not args.quick:
        args.out = results_of(name)
    return args


def results_of(name: str) -> Path:
    return RESULTS / f"{name}.json"


def command(name: str, args: argparse.Namespace, repetitions: int, *others: str) -> str:
    """Return the command that makes the results again."""
    words = [f"python -m benchmarks.{name}"]
    if args.quick:
        words.append("--quick")
    elif args.repeat != repetitions:
        words.append(f"--repeat {args.repeat}")
    return " ".join([*words, *others])

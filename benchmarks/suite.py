# SPDX-License-Identifier: LGPL-3.0-or-later
"""A benchmark that asks several peers the same questions of the same data.

Each peer keeps the data in files of its own, written once. In each repetition every peer answers
all questions about a data set in a process of its own, in random order; a quick run does all in
one process. Answers that differ end
the benchmark: times of different answers cannot be compared.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, TypeAlias

from benchmarks import harness
from benchmarks.figures import Figure, Run, costs, grown_mb, paired

ANSWER = "benchmarks.answer"

Part: TypeAlias = Callable[..., dict[str, Any]]
"""Does a part of `ANSWER`, in a process of its own or here."""


@dataclass(frozen=True)
class Question:
    """What is asked of a data set, in words and in code."""

    words: str
    data: str
    """The data set's name."""
    ask: Callable[[Any, int], Any]
    """Takes a peer and a seed. An iterator as the answer is drawn from as part of the work."""
    anew: bool = True
    """Whether each asking opens the file first; if not, one that was asked before is asked."""
    opens: bool = False
    """Whether opening is all there is to do."""
    aim: str = ""
    """What gymbag's time is to be: mostly, how many times the reference's."""


@dataclass(frozen=True)
class Suite:
    """The questions, who is asked, and what the data are."""

    name: str
    about: str | None
    """The docstring of the module."""
    questions: tuple[Question, ...]
    peers: Mapping[str, Mapping[str, str]]
    """For each data set the peers: each name with its class, as ``module:class``."""
    control: str
    """The peer that the others are compared with."""
    maker: str
    """A function of a data set's name and how much is wanted, as ``module:function``."""
    sizes: Mapping[str, int]
    quick_sizes: Mapping[str, int]
    packages: tuple[str, ...]
    repetitions: int = 5

    def asked_of(self, data: str) -> list[Question]:
        """Return the questions about a data set."""
        return [question for question in self.questions if question.data == data]


def run_suite(suite: Suite, arguments: list[str] | None = None) -> None:
    """Measure, and store or print the results."""
    args = harness.parser(suite.name, suite.about).parse_args(arguments)
    harness.complete(args, suite.name, suite.repetitions)
    sizes = suite.quick_sizes if args.quick else suite.sizes
    with tempfile.TemporaryDirectory() as name:
        part = partial(harness.here if args.quick else harness.worker, ANSWER, suite.name)
        files = list(write_all(suite, sizes, Path(name), part))
        runs = list(
            ask_all(files, args.repeat, Path(name), partial(part, "try" if args.quick else "time"))
        )
    runs.sort(key=lambda run: place(suite, run))
    same_answers(suite, runs)
    command = harness.command(suite.name, args, suite.repetitions)
    results = {
        "made": harness.made(command, args.repeat, suite.packages),
        "files": files_of(files, runs),
        "figures": figures(suite, runs),
        "runs": runs,
    }
    harness.save(results, args.out)


def write_all(suite: Suite, sizes: Mapping[str, int], folder: Path, part: Part) -> Iterator[Run]:
    """Make the data sets and each peer's files; a peer that is not installed is left out."""
    for data, rows in sizes.items():
        try:
            part("make", data, rows, folder)
        except harness.Unavailable as reason:
            harness.say(f"{data}: left out: {reason}")
            continue
        for peer in suite.peers[data]:
            harness.say(f"writing {data}: {peer}")
            try:
                written = part("write", data, peer, folder)
            except harness.Unavailable as reason:
                harness.say(f"{peer}: left out: {reason}")
            else:
                yield {"data": data, "rows": rows, "peer": peer, **written}


def ask_all(files: list[Run], repetitions: int, folder: Path, ask: Part) -> Iterator[Run]:
    """Iterate over the runs, one of each question, peer and repetition."""

    def measure(data: str, peer: str, seed: int) -> list[Run]:
        runs: list[Run] = ask(data, peer, folder, seed)["runs"]
        return runs

    cases: dict[str, list[str]] = {}
    for file in files:
        cases.setdefault(file["data"], []).append(file["peer"])
    for runs in harness.interleaved(cases, repetitions, measure):
        yield from runs


def same_answers(suite: Suite, runs: list[Run]) -> None:
    """Check that no peer's answer differs from the control's.

    Raises:
        SystemExit: One does.
    """
    for some, controls in paired(runs, suite.control, ("data", "question")):
        for run, control in zip(some, controls, strict=True):
            if run["answer"] != control["answer"]:
                raise SystemExit(f"{run['peer']} answers otherwise: {run['question']}")


def figures(suite: Suite, runs: list[Run]) -> list[Figure]:
    """Return one row for each question and peer, in the order of the runs."""
    return [
        {key: some[0][key] for key in ("data", "question", "peer")} | costs(some, controls)
        for some, controls in paired(runs, suite.control, ("data", "question"))
    ]


def files_of(files: list[Run], runs: list[Run]) -> list[Figure]:
    """Return what each peer's files and processes took."""
    return [
        {key: file[key] for key in ("data", "rows", "peer")}
        | {
            "bytes_per_row": round(file["bytes"] / file["rows"], 2),
            "write_seconds": file["wall_seconds"],
            "memory_mb": round(
                median(
                    grown_mb(run)
                    for run in runs
                    if (run["data"], run["peer"]) == (file["data"], file["peer"])
                ),
                1,
            ),
        }
        for file in files
    ]


def place(suite: Suite, run: Run) -> tuple[int, ...]:
    """Return where a run stands: by question, then peer, in their tables' order."""
    words = [(question.data, question.words) for question in suite.questions]
    peers = [*suite.peers[run["data"]]]
    return words.index((run["data"], run["question"])), peers.index(run["peer"]), run["seed"]

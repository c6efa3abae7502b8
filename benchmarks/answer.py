# SPDX-License-Identifier: LGPL-3.0-or-later
"""Does one part of a `benchmarks.suite` in a process of its own and prints one line of JSON.

    python -m benchmarks.answer reading make CartPole 100000 FOLDER
    python -m benchmarks.answer reading write CartPole gymbag FOLDER
    python -m benchmarks.answer reading time CartPole gymbag FOLDER SEED

``try`` instead of ``time`` asks only as often as an answer needs.

It ends with the status EX_UNAVAILABLE when something is not installed.
"""

from __future__ import annotations

import pickle
import sys
from collections.abc import Iterator
from hashlib import blake2b
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.figures import Run
from benchmarks.harness import work
from benchmarks.peer import Peer
from benchmarks.stopwatch import ENOUGH, Stopwatch, folder_bytes, peak_mb, timed
from benchmarks.suite import Question, Suite

DIGITS = 6
"""Decimal places of floats that must agree: sums differ with their order."""


def main(suite_name: str, part: str, *arguments: str) -> dict[str, Any]:
    suite: Suite = import_module(f"benchmarks.{suite_name}").SUITE
    if part == "make":
        data, rows, folder = arguments
        made = find(suite.maker)(data, int(rows))
        (Path(folder) / f"{data}.pickle").write_bytes(pickle.dumps(made, protocol=5))
        return {}
    data, peer, folder = arguments[:3]
    target = suite.peers[data][peer]
    place = Path(folder) / data / target.replace(":", ".")
    if part == "write":
        return write(find(target), Path(folder) / f"{data}.pickle", place)
    seed = int(arguments[3])
    about = {"data": data, "peer": peer, "seed": seed}
    enough = ENOUGH if part == "time" else 0
    return {"runs": answers(find(target), suite.asked_of(data), about, place, enough)}


def find(target: str) -> Any:
    """Return what ``module:name`` names."""
    module, _, name = target.partition(":")
    return getattr(import_module(module), name)


def write(peer: type[Peer], data: Path, place: Path) -> dict[str, Any]:
    if not place.exists():
        made = pickle.loads(data.read_bytes())
        place.mkdir(parents=True)
        watch = Stopwatch()
        peer.write(made, place)
        (place / "seconds").write_text(f"{watch.read().wall_seconds:.4g}")
    seconds = place / "seconds"
    size = folder_bytes(place) - seconds.stat().st_size
    return {"bytes": size, "wall_seconds": float(seconds.read_text())}


def answers(
    peer: type[Peer], questions: list[Question], about: Run, place: Path, enough: float
) -> list[Run]:
    """Return a run of each question that the peer's format can answer."""
    loaded, runs = peak_mb(), []
    for question in questions:
        try:
            runs.append(answer(peer, question, about["seed"], place, enough))
        except NotImplementedError:
            continue
    memory = {"loaded_mb": loaded, "peak_mb": peak_mb()}
    return [about | run | memory for run in runs]


def answer(
    peer: type[Peer], question: Question, seed: int, place: Path, enough: float
) -> dict[str, Any]:
    """Ask once for the answer, which also warms up, and then for the time.

    What stays open is asked with another seed each time, lest it have the answer at hand.
    """

    def opened(_: int) -> None:
        with peer(place) as fresh:
            exhaust(question.ask(fresh, seed))

    with peer(place) as kept:
        said = digest(question.ask(kept, seed))
        if question.opens or (question.anew and not peer.resident):
            cost = timed(opened, enough)
        else:
            cost = timed(lambda call: exhaust(question.ask(kept, seed + call)), enough)
    return {"question": question.words, **cost._asdict(), "answer": said}


def exhaust(answer: Any) -> None:
    if isinstance(answer, Iterator):
        for _ in answer:
            pass


def digest(answer: Any) -> str:
    """Return a short digest of an answer: equal for equal numbers, whatever their types.

    >>> digest([np.float32(2), np.array([1], np.uint8)]) == digest((2.0, np.array([True])))
    True
    """
    seen = blake2b(digest_size=8)
    for array in arrays(answer):
        seen.update(repr(array.shape).encode())
        seen.update(np.ascontiguousarray(array).data)
    return seen.hexdigest()


def arrays(answer: Any) -> Iterator[Any]:
    """Iterate over the arrays in an answer; numbers become int64 or float64, but for frames."""
    if isinstance(answer, (tuple, list, Iterator)):
        for part in answer:
            yield from arrays(part)
        return
    array = np.asarray(answer)
    if array.dtype.kind == "f":
        # Nothing is added to 0.0 but its sign taken from -0.0.
        yield np.round(array.astype(np.float64), DIGITS) + 0.0
    else:
        yield array if array.ndim > 1 else array.astype(np.int64)


if __name__ == "__main__":
    sys.exit(work(main, *sys.argv[1:]))

# SPDX-License-Identifier: LGPL-3.0-or-later
"""Turns single runs into figures: medians of ratios between runs of one repetition.

A ratio within a repetition cancels what else the machine was doing at the time, which a ratio
of medians would not.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from operator import itemgetter
from statistics import median
from typing import Any

Run = dict[str, Any]
"""What a worker prints of one run."""
Figure = dict[str, Any]


def paired(
    runs: Iterable[Run], control: str, task: tuple[str, ...], peer: str = "peer"
) -> Iterator[tuple[list[Run], list[Run]]]:
    """Iterate over each peer's runs of each task, with the control's in the same repetitions.

    They come in the order of the runs. `task` names the fields that say what was done, and
    `peer` the one that says who did it; a repetition is known by its seed.

    >>> run = {"task": "a", "seed": 0, "seconds": 1.0}
    >>> runs = [run | {"peer": "bare"}, run | {"peer": "x", "seconds": 3.0}]
    >>> [[r["seconds"] for r in pair[0]] for pair in paired(runs, "bare", ("task",))]
    [[1.0], [3.0]]
    """
    what = itemgetter("seed", *task)
    controls: dict[Any, Run] = {}
    groups: dict[Any, list[Run]] = {}
    for run in runs:
        if run[peer] == control:
            controls[what(run)] = run
        groups.setdefault((*what(run)[1:], run[peer]), []).append(run)
    for group in groups.values():
        yield group, [controls[what(run)] for run in group]


def costs(runs: list[Run], controls: list[Run]) -> Figure:
    """Return the time that runs took, and its ratio to that of controls; [i] belongs to [i]."""
    pairs = list(zip(runs, controls, strict=True))
    return {
        "wall_seconds": spread(run["wall_seconds"] for run in runs),
        "cpu_seconds": spread(run["cpu_seconds"] for run in runs),
        "wall_ratio": spread(quotient("wall_seconds", *pair) for pair in pairs),
        "cpu_ratio": spread(quotient("cpu_seconds", *pair) for pair in pairs),
    }


def quotient(key: str, run: Run, control: Run) -> float:
    # A system that counts CPU time in ticks may have seen none.
    return float(run[key] / (control[key] or run[key] or 1))


def grown_mb(run: Run) -> float:
    """Return how far the memory grew after the libraries were loaded.

    It is the least that the work took: what imports used and freed again is reused unseen.
    """
    return float(run["peak_mb"] - run["loaded_mb"])


def excess(pairs: Iterable[tuple[float, float]]) -> float:
    return round(median(measured - control for measured, control in pairs), 1)


def spread(values: Iterable[float]) -> dict[str, float]:
    """Return the median and the range.

    >>> spread([0.000123456, 2.0, 1.0])
    {'median': 1.0, 'min': 0.0001235, 'max': 2.0}
    """
    ordered = sorted(values)
    return {
        "median": significant(median(ordered)),
        "min": significant(ordered[0]),
        "max": significant(ordered[-1]),
    }


def significant(value: float) -> float:
    return float(f"{value:.4g}")

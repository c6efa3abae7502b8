# SPDX-License-Identifier: LGPL-3.0-or-later
"""Turns single runs into figures: medians of ratios between runs of one repetition.

A ratio within a repetition cancels what else the machine was doing at the time, which a ratio
of medians would not.
"""

from __future__ import annotations

from statistics import median
from typing import Any

Run = dict[str, Any]
"""What `benchmarks.worker` prints."""


def figures(runs: list[Run], control: str) -> list[dict[str, Any]]:
    """Return one row for each environment and recorder, in the order of the runs.

    >>> def run(recorder, seed, seconds):
    ...     costs = {"wall_seconds": seconds, "cpu_seconds": seconds, "bytes": 800}
    ...     where = {"environment": "CartPole-v1", "steps": 100, "seed": seed}
    ...     return {"recorder": recorder, "loaded_mb": 50.0, "peak_mb": 50.0} | where | costs
    >>> runs = [run("bare", 0, 1.0), run("a", 0, 2.0), run("bare", 1, 2.0), run("a", 1, 2.0)]
    >>> figures(runs, control="bare")[1]["wall_ratio"]
    {'median': 1.5, 'min': 1.0, 'max': 2.0}
    """
    controls = {
        (run["environment"], run["seed"]): run for run in runs if run["recorder"] == control
    }
    groups: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        groups.setdefault((run["environment"], run["recorder"]), []).append(run)
    return [
        figure(group, [controls[env_id, run["seed"]] for run in group])
        for (env_id, _), group in groups.items()
    ]


def figure(runs: list[Run], controls: list[Run]) -> dict[str, Any]:
    """Return the figures of one recorder in one environment; controls[i] belongs to runs[i]."""
    pairs = list(zip(runs, controls, strict=True))
    first = runs[0]
    return {
        "environment": first["environment"],
        "steps": first["steps"],
        "recorder": first["recorder"],
        "wall_seconds": spread([run["wall_seconds"] for run in runs]),
        "cpu_seconds": spread([run["cpu_seconds"] for run in runs]),
        "wall_ratio": spread([run["wall_seconds"] / bare["wall_seconds"] for run, bare in pairs]),
        "cpu_ratio": spread([run["cpu_seconds"] / bare["cpu_seconds"] for run, bare in pairs]),
        "bytes_per_step": round(median(run["bytes"] / run["steps"] for run in runs), 1),
        "extra_memory_mb": excess([(run["peak_mb"], bare["peak_mb"]) for run, bare in pairs]),
        "recording_memory_mb": excess([(grown_mb(run), grown_mb(bare)) for run, bare in pairs]),
    }


def grown_mb(run: Run) -> float:
    """Return how far the memory grew after the libraries were loaded.

    It is the least that recording took: what imports used and freed again is reused unseen.
    """
    return float(run["peak_mb"] - run["loaded_mb"])


def excess(pairs: list[tuple[float, float]]) -> float:
    return round(median(measured - control for measured, control in pairs), 1)


def spread(values: list[float]) -> dict[str, float]:
    return {
        "median": round(median(values), 4),
        "min": round(min(values), 4),
        "max": round(max(values), 4),
    }

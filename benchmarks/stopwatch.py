# SPDX-License-Identifier: LGPL-3.0-or-later
"""What a piece of work costs the process that does it: wall time, CPU time, memory. POSIX only."""

from __future__ import annotations

import math
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

ENOUGH = 0.1
"""Seconds after which a single measurement is taken for exact."""
MOST = 10_000


class Cost(NamedTuple):
    """What one piece of work took."""

    wall_seconds: float
    cpu_seconds: float


class Stopwatch:
    """Runs from its making on."""

    def __init__(self) -> None:
        self._wall, self._cpu = time.perf_counter(), cpu_seconds()

    def read(self) -> Cost:
        """Return what it took until now."""
        return Cost(time.perf_counter() - self._wall, cpu_seconds() - self._cpu)


def timed(work: Callable[[int], object], enough: float = ENOUGH) -> Cost:
    """Return what one call of `work` costs; what is short is called often, with 0, 1, 2 and so on.

    >>> calls = []
    >>> cost = timed(calls.append, enough=0)
    >>> calls
    [0]
    """
    watch = Stopwatch()
    work(0)
    cost = watch.read()
    if cost.wall_seconds >= enough:
        return cost
    calls = min(MOST, math.ceil(enough / cost.wall_seconds))
    watch = Stopwatch()
    for call in range(1, calls + 1):
        work(call)
    return Cost(*(value / calls for value in watch.read()))


def cpu_seconds() -> float:
    # A recorder may compress in a process of its own.
    both = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in both)


def peak_mb() -> float:
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit // 1000 / 1000


def folder_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())

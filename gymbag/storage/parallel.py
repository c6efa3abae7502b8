# SPDX-License-Identifier: LGPL-3.0-or-later
"""The same work on many parts of a file, on all processors there are.

Reading, checksums, unpacking and NumPy's loops all let go of the interpreter's lock. A pool of
threads lives for one call. A process may fork between two, and also in the middle of one: what
the child still asks for it works out by itself, for it has none of the threads.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

THREADS = min(8, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1)
AHEAD = 2 * THREADS
"""How many results may wait to be asked for."""
NAME = "gymbag-reads"
WORTH = 3e-4
"""Seconds that an item has to take: threads that hand the interpreter's lock to each other more
often than that are slower together than one is."""


def ordered(work: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result]:
    """Iterate over the results, in the order of the items.

    They are had one by one until two in a row have taken long; then threads take the others. What
    runs in one of them already begins no more.

    >>> list(ordered(abs, [-3, 2, -1]))
    [3, 2, 1]
    """
    alone = THREADS < 2 or threading.current_thread().name.startswith(NAME)
    latest = 0.0
    for done, item in enumerate(items, 1):
        begun = perf_counter()
        result = work(item)
        before, latest = latest, perf_counter() - begun
        yield result
        if not alone and min(before, latest) > WORTH:
            yield from _shared(work, items[done:])
            return


def _shared(work: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result]:
    process, pool = os.getpid(), ThreadPoolExecutor(THREADS, NAME)
    try:
        running = deque(pool.submit(work, item) for item in items[:AHEAD])
        for done, item in enumerate(items):
            if os.getpid() != process:
                yield work(item)
                continue
            yield running.popleft().result()
            running.extend(pool.submit(work, item) for item in items[AHEAD + done :][:1])
    finally:
        if os.getpid() == process:
            pool.shutdown(cancel_futures=True)


def one_by_one(work: Callable[[Item], None], items: Iterable[Item]) -> None:
    """Do work on each item, in this thread."""
    deque(map(work, items), maxlen=0)


def each(work: Callable[[Item], None], items: Sequence[Item]) -> None:
    """Do work on each item."""
    deque(ordered(work, items), maxlen=0)

# SPDX-License-Identifier: LGPL-3.0-or-later
"""The same work on many parts of a file, on all processors there are.

Reading, checksums, unpacking and NumPy's loops all let go of the interpreter's lock. A pool of
threads lives for one call: a process may fork between two.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

THREADS = min(8, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1)
AHEAD = 2 * THREADS
"""How many results may wait to be asked for."""
NAME = "gymbag-reads"


def ordered(work: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result]:
    """Iterate over the results, in the order of the items.

    The first is had alone, for often it is enough; threads begin with the second. What runs in
    one of them already begins no more.

    >>> list(ordered(abs, [-3, 2, -1]))
    [3, 2, 1]
    """
    if THREADS < 2 or len(items) < 3 or threading.current_thread().name.startswith(NAME):
        yield from map(work, items)
        return
    yield work(items[0])
    with ThreadPoolExecutor(THREADS, NAME) as pool:
        running = deque(pool.submit(work, item) for item in items[1 : 1 + AHEAD])
        try:
            for item in items[1 + AHEAD :]:
                yield running.popleft().result()
                running.append(pool.submit(work, item))
            while running:
                yield running.popleft().result()
        finally:
            for future in running:
                future.cancel()


def each(work: Callable[[Item], None], items: Sequence[Item]) -> None:
    """Do work on each item."""
    deque(ordered(work, items), maxlen=0)

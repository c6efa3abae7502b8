# SPDX-License-Identifier: LGPL-3.0-or-later
"""What has been decoded, as far as it was used last and a budget of bytes allows.

All caches of a process have one lock, which is held for moments only: never while another thread
forks, or the child would wait for a thread that it has not. What interrupts such a moment in its
own thread, a signal's handler or an object's end, goes on as if nothing were kept.
"""

from __future__ import annotations

import math
import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any

import numpy as np
from numpy.typing import NDArray

_lock = threading.RLock()
_interrupting: Callable[[], bool] = _lock._is_owned  # type: ignore[attr-defined]
"""Whether this thread holds the lock already, as `threading.Condition` asks it."""
if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_lock.release
    )


class WholeColumn:
    """A column in one array, of which only those chunks take memory that were asked for."""

    def __init__(
        self, key: Hashable, dtype: np.dtype, shape: tuple[int, ...], chunk_rows: int
    ) -> None:
        self.key = key
        # The kernel gives memory to a page when it is written to.
        self.values = np.empty(shape, dtype)
        self._chunk_rows = chunk_rows
        self._here = np.zeros(-(-shape[0] // chunk_rows), np.bool_)

    @property
    def complete(self) -> bool:
        """Whether all chunks are here."""
        return bool(self._here.all())

    def missing(self, numbers: NDArray[np.int64]) -> list[int]:
        """Return which of these chunks are not here."""
        missing: list[int] = np.unique(numbers[~self._here[numbers]]).tolist()
        return missing

    def place(self, numbers: range) -> NDArray[Any]:
        """Return where some chunks are to be put; say `arrived` once they are there."""
        return self.values[numbers.start * self._chunk_rows : numbers.stop * self._chunk_rows]

    def arrived(self, numbers: range) -> None:
        """Take note of chunks that are in their place."""
        self._here[numbers.start : numbers.stop] = True

    def take(self, rows: NDArray[np.int64]) -> NDArray[Any]:
        """Return a copy of some rows, the chunks of which must all be here."""
        return self.values[rows]

    def view(self, rows: slice) -> NDArray[Any]:
        """Return some rows, to be read only; their chunks must all be here."""
        values = self.values[rows]
        values.flags.writeable = False
        return values


class ColumnCache:
    """Keeps the columns used last, each in one array: a request for many rows is one of NumPy's.

    >>> cache = ColumnCache(100)
    >>> values = np.arange(8.0)
    >>> column = cache.column("a", values.dtype, values.shape, 4)
    >>> for number in column.missing(np.array([1])):
    ...     column.place(range(number, number + 1))[:] = values[4 * number :]
    ...     cache.arrived(column, range(number, number + 1))
    >>> column.take(np.array([7, 5])), cache.nbytes
    (array([7., 5.]), 32)
    >>> cache.column("b", values.dtype, (80,), 4) is None
    True
    """

    def __init__(self, budget: int) -> None:
        self.budget = budget
        """Most bytes kept, but for those of the column that is being read."""
        self.complete: dict[Hashable, NDArray[Any]] = {}
        """Those of which all is here, by their keys; not to be changed."""
        self._columns: OrderedDict[Hashable, WholeColumn] = OrderedDict()
        self._sizes: dict[WholeColumn, int] = {}

    @property
    def nbytes(self) -> int:
        """Bytes that are kept."""
        return sum(self._sizes.values())

    def column(
        self, key: Hashable, dtype: np.dtype, shape: tuple[int, ...], chunk_rows: int
    ) -> WholeColumn | None:
        """Return the column of that key; None if it would not fit, or cannot be had now."""
        if math.prod(shape) * dtype.itemsize > self.budget or _interrupting():
            return None
        with _lock:
            column = self._columns.get(key)
            if column is None:
                column = self._columns[key] = WholeColumn(key, dtype, shape, chunk_rows)
                self._sizes[column] = 0
            self._columns.move_to_end(key)
            return column

    def arrived(self, column: WholeColumn, numbers: range) -> None:
        """Take note of chunks in a column, and forget others if that is too much."""
        column.arrived(numbers)
        with _lock:
            if column in self._sizes:
                self._sizes[column] += column.place(numbers).nbytes
                if column.complete:
                    self.complete[column.key] = column.values
            while self.nbytes > self.budget and len(self._columns) > 1:
                key, forgotten = self._columns.popitem(last=False)
                del self._sizes[forgotten]
                self.complete.pop(key, None)

    def clear(self) -> None:
        """Forget everything."""
        if _interrupting():
            return
        with _lock:
            self.complete.clear()
            self._columns.clear()
            self._sizes.clear()


class ChunkCache:
    """Keeps the chunks used last.

    >>> import numpy as np
    >>> cache = ChunkCache(16)
    >>> cache.get("a", lambda: np.zeros(2)).nbytes, cache.get("b", lambda: np.ones(2)).nbytes
    (16, 16)
    >>> cache.nbytes
    16
    """

    def __init__(self, budget: int) -> None:
        self.budget = budget
        """Most bytes kept; one chunk is kept however large."""
        self.nbytes = 0
        self._chunks: OrderedDict[Hashable, Any] = OrderedDict()

    def peek(self, key: Hashable) -> Any:
        """Return the chunk of that key; None if it is not here. It must not be changed."""
        if _interrupting():
            return None
        with _lock:
            chunk = self._chunks.get(key)
            if chunk is not None:
                self._chunks.move_to_end(key)
            return chunk

    def keep(self, key: Hashable, chunk: Any) -> None:
        """Keep a chunk, or part of one, that has `nbytes`; it must not be changed any more."""
        if _interrupting():
            return
        with _lock:
            if key not in self._chunks:
                self._chunks[key] = chunk
                self.nbytes += chunk.nbytes
            while self.nbytes > self.budget and len(self._chunks) > 1:
                self.nbytes -= self._chunks.popitem(last=False)[1].nbytes

    def get(self, key: Hashable, load: Callable[[], NDArray[Any]]) -> NDArray[Any]:
        """Return the chunk of that key, loading it if it is not here. It must not be changed."""
        chunk: NDArray[Any] | None = self.peek(key)
        if chunk is None:
            chunk = load()
            self.keep(key, chunk)
        return chunk

    def clear(self) -> None:
        """Forget everything."""
        if _interrupting():
            return
        with _lock:
            self._chunks.clear()
            self.nbytes = 0

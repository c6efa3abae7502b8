# SPDX-License-Identifier: LGPL-3.0-or-later
"""Decoded chunks, the last used ones, within a budget of bytes."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any

from numpy.typing import NDArray


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
        self._chunks: OrderedDict[Hashable, NDArray[Any]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Hashable, load: Callable[[], NDArray[Any]]) -> NDArray[Any]:
        """Return the chunk of that key, loading it if it is not here. It must not be changed."""
        with self._lock:
            chunk = self._chunks.get(key)
            if chunk is not None:
                self._chunks.move_to_end(key)
                return chunk
        chunk = load()
        with self._lock:
            if key not in self._chunks:
                self._chunks[key] = chunk
                self.nbytes += chunk.nbytes
            while self.nbytes > self.budget and len(self._chunks) > 1:
                self.nbytes -= self._chunks.popitem(last=False)[1].nbytes
        return chunk

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._chunks.clear()
            self.nbytes = 0

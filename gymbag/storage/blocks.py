# SPDX-License-Identifier: LGPL-3.0-or-later
"""Entries from anywhere in a column too large to be kept; only their blocks are unpacked."""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gymbag.storage.cache import ChunkCache
from gymbag.storage.excerpt import unpack_blocks, unpack_field
from gymbag.storage.parallel import each, one_by_one
from gymbag.storage.runs import Numbers, alike, as_slice, in_blocks
from gymbag.storage.stored import StoredColumn

WIDE = 1 << 12
"""Bytes of an entry from which on it is copied by itself, rather than by NumPy twice."""
LARGE = 1 << 20
"""Bytes of a block from which on it takes longer to unpack than to find."""


@dataclass(frozen=True, slots=True)
class Block:
    """What is unpacked at once, without the rest of its chunk."""

    field: str | None
    """A field of a table, of the whole chunk; None for some rows of an array."""
    shape: tuple[int, ...]
    """Rows, and the shape of an entry."""
    dtype: np.dtype

    @property
    def nbytes(self) -> int:
        """Bytes of its values."""
        return math.prod(self.shape) * self.dtype.itemsize


class BlockReader:
    """Unpacks blocks of columns, and keeps those used last.

    Args:
        budget: bytes to keep.
    """

    def __init__(self, budget: int) -> None:
        self._cache = ChunkCache(budget)
        self._latest = threading.local()

    def clear(self) -> None:
        """Forget everything."""
        self._cache.clear()
        self._latest = threading.local()

    def chunk(self, stored: StoredColumn, number: int) -> NDArray[Any]:
        """Return all of a chunk; it must not be changed."""
        return self._cache.get((stored.spec.path, number), lambda: stored.load(number))

    def take(self, stored: StoredColumn, block: Block, rows: Numbers) -> NDArray[Any]:
        """Return the entries at `rows`; the array is the caller's own.

        Mostly by one thread: entries in a row are unpacked straight to their places, at the pace of
        the memory, and small blocks so fast that two threads only wait for the interpreter's lock.
        Three thousand frames took 105 ms by two and take 78 by one, 256 transitions of `fast` 34
        and 17, but those of `default` 49 and 74.

        Blocks are kept for the next time, unless these alone are more than the cache holds.
        """
        out = np.empty((len(rows), *block.shape[1:]), dtype=block.dtype)
        order = np.argsort(rows, kind="stable")
        rows = rows[order]
        size, is_chunk = block.shape[0], self._is_chunk(stored, block)
        if is_chunk:
            parts = [(start, stop, False) for start, stop in alike(rows // size)]
        else:
            parts = [*in_blocks(rows, size, order)]
        keep = len(parts) * block.nbytes <= self._cache.budget

        def take(part: tuple[int, int, bool]) -> None:
            start, stop, whole = part
            first = int(rows[start])
            if whole:
                place = out[order[start] : order[start] + stop - start]
                self._take_whole(stored, block, first, place)
            else:
                number = first // size
                scratch = None if keep else self._borrow(block)
                values = self._block(stored, block, number, scratch)
                _spread(values, rows[start:stop] - number * size, out, order[start:stop])
                self._latest.scratch = scratch

        scattered = not isinstance(as_slice(rows), slice)
        do = each if scattered and block.nbytes >= LARGE else one_by_one
        do(take, parts)
        return out

    def _is_chunk(self, stored: StoredColumn, block: Block) -> bool:
        """Return whether a block is all of a chunk, which is kept in any case."""
        return block.field is None and block.shape[0] == stored.spec.chunk_rows

    def _take_whole(
        self, stored: StoredColumn, block: Block, first: int, out: NDArray[Any]
    ) -> None:
        """Unpack the blocks from the row `first` on to where they are to go."""
        size, done = stored.spec.chunk_rows, 0
        while done < len(out):
            number, inside = divmod(first + done, size)
            place = out[done : done + size - inside]
            self._unpack(stored, block, number, inside // block.shape[0], place)
            done += len(place)

    def _block(
        self, stored: StoredColumn, block: Block, number: int, scratch: NDArray[Any] | None
    ) -> NDArray[Any]:
        """Return a block by its number in the column; it must not be changed.

        If it is not here, it is unpacked to the scratch, or kept if there is none.
        """
        number, first = divmod(number, stored.spec.chunk_rows // block.shape[0])
        if self._is_chunk(stored, block):
            return self.chunk(stored, number)
        key = stored.spec.path, number, first, block.field
        values: NDArray[Any] | None = self._cache.peek(key)
        if values is None:
            place = np.empty(block.shape, block.dtype) if scratch is None else scratch
            values = self._unpack(stored, block, number, first, place)
            if scratch is None:
                self._cache.keep(key, values)
        return values

    def _unpack(
        self, stored: StoredColumn, block: Block, number: int, first: int, values: NDArray[Any]
    ) -> NDArray[Any]:
        """Unpack blocks of a chunk from the `first` on, as many as there is place for."""
        packed, size = self._packed(stored, number), block.shape[0]
        if packed is not None:
            if block.field is not None:
                alone = unpack_field([packed], stored.spec.dtype, block.field, values)
            else:
                alone = unpack_blocks(packed, first, len(values) // size, values)
            if alone:
                return values
        chunk = self.chunk(stored, number)
        chunk = chunk if block.field is None else chunk[block.field]
        values[:] = chunk[first * size :][: len(values)]
        return values

    def _packed(self, stored: StoredColumn, number: int) -> memoryview | None:
        """Return a chunk as it was packed: the next batch, or field, may ask for it, too."""
        key = stored.spec.path, number, "packed"
        packed: memoryview | None = self._cache.peek(key)
        if packed is None:
            packed = stored.packed(number)
            if packed is not None:
                self._cache.keep(key, packed)
        return packed

    def _borrow(self, block: Block) -> NDArray[Any]:
        """Return where this thread unpacks what it does not keep, to be given back.

        It is always the same, and so in the processor's cache: a block of frames takes 0.1 ms
        there, and 0.15 ms elsewhere. Whoever reads meanwhile in the same thread, as a signal's
        handler may, does not find it.
        """
        scratch: NDArray[Any] | None = vars(self._latest).pop("scratch", None)
        if scratch is None or (scratch.shape, scratch.dtype) != (block.shape, block.dtype):
            scratch = np.empty(block.shape, block.dtype)
        return scratch


def _spread(values: NDArray[Any], wanted: Numbers, out: NDArray[Any], places: Numbers) -> None:
    """Copy some entries to their places."""
    if values[0].nbytes < WIDE and len(wanted) > 1:
        out[as_slice(places)] = values[as_slice(wanted)]
        return
    for entry, place in zip(wanted.tolist(), places.tolist(), strict=True):
        out[place] = values[entry]

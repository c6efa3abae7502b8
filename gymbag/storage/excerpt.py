# SPDX-License-Identifier: LGPL-3.0-or-later
"""Parts of a Blosc2 chunk as chunks of their own, and a chunk of its parts. No file.

So only what is asked for need be unpacked, and what was packed in parts need not be packed again.

A chunk is a row of blocks, each packed on its own. Where the bytes of a block's values were
transposed and then *split*, a block is a row of streams, one for each byte of a value: all first
bytes, all second ones, and so on. So a few frames of many are some of the blocks, and one field
of the rows of a table is some of the streams. A part is given a header that says so, and Blosc2
unpacks it like any other chunk.

::

    header | where each block begins | block | block | …
    block:  length of a stream | the stream | length | stream | …

The format is Blosc2's (https://github.com/Blosc/c-blosc2, README_CHUNK_FORMAT.rst); of it a
stream of length 0 stands for zeros, and one of negative length for one byte again and again,
which is followed by a mark.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from gymbag.storage.frames import CHUNK_HEADER, EXTENDED, Damaged, unpack

Buffer: TypeAlias = bytes | memoryview

LENGTH = struct.Struct("<i")
RAW, WHOLE = 0x02, 0x10
"""Flags of a chunk: that its bytes are not packed at all; that its blocks are not split."""
MARK_BYTES = 1
SHUFFLE = 1


def unpack_field(chunks: Sequence[Buffer], rows: np.dtype, name: str, out: NDArray[Any]) -> bool:
    """Unpack one field of the rows in some chunks of a table into `out`.

    Returns:
        Whether it could be had alone.
    """
    dtype, offset = rows.fields[name][:2]  # type: ignore[index]
    return _unpacked(field(chunks, offset, dtype.itemsize), dtype.base, out)


def unpack_blocks(chunk: Buffer, first: int, count: int, out: NDArray[Any]) -> bool:
    """Unpack some of the blocks of a chunk into `out`.

    Returns:
        Whether they could be had alone.
    """
    return _unpacked(blocks(chunk, first, count), out.dtype, out)


def _unpacked(part: bytes | None, dtype: np.dtype, out: NDArray[Any]) -> bool:
    try:
        if part is not None:
            unpack(part, dtype, out.shape, out)
    except Damaged:
        return False
    return part is not None


def blocks(chunk: Buffer, first: int, count: int) -> bytes | None:
    """Return a chunk of some of the blocks of a chunk.

    Returns:
        None: they cannot be had alone; unpack it all.
    """
    try:
        version, codec, flags, size, block, starts, more = _parsed(chunk)
        streams = 1 if flags & WHOLE else size
        parts = [chunk[start : _end(chunk, start, streams)] for start in starts[first:][:count]]
    except (struct.error, ValueError):
        return None
    return _chunk((version, codec, flags, size), block, parts, more)


def joined(chunks: Sequence[Buffer]) -> bytes | None:
    """Return the chunk of the blocks of some chunks, one after another.

    Returns:
        None: they are not alike, or not packed; unpack them, and pack all their values.
    """
    try:
        version, codec, flags, size, block, begins, more = _all_parsed(chunks)
        streams = 1 if flags & WHOLE else size
        parts = [chunk[start : _end(chunk, start, streams)] for chunk, start in begins]
    except (struct.error, ValueError):
        return None
    return _chunk((version, codec, flags, size), block, parts, more)


def field(chunks: Sequence[Buffer], offset: int, nbytes: int) -> bytes | None:
    """Return a chunk of `nbytes` of each value of some chunks, from the byte `offset` on.

    Returns:
        None: they cannot be had alone, or are not alike; unpack them all.
    """
    parts: list[Buffer] = []
    try:
        version, codec, flags, size, block, begins, more = _all_parsed(chunks)
        # No filter has a number below that of the transposition but the one that does nothing.
        if flags & WHOLE or sum(more[:6]) != SHUFFLE or block % size:
            return None
        for chunk, start in begins:
            begin = _end(chunk, start, offset)
            parts.append(chunk[begin : _end(chunk, begin, nbytes)])
    except (struct.error, ValueError):
        return None
    return _chunk((version, codec, flags, nbytes), block // size * nbytes, parts, more)


def _all_parsed(
    chunks: Sequence[Buffer],
) -> tuple[int, int, int, int, int, list[tuple[Buffer, int]], tuple[int, ...]]:
    """Return what the headers of some chunks say, and where each of all their blocks begins.

    Raises:
        ValueError, struct.error: they do not say the same, or one is no row of packed blocks.
    """
    begins: list[tuple[Buffer, int]] = []
    kinds = set()
    for chunk in chunks:
        version, codec, flags, size, block, starts, more = _parsed(chunk)
        kinds.add((version, codec, flags, size, block, more))
        begins += [(chunk, start) for start in starts]
    if len(kinds) != 1:
        raise ValueError(kinds)
    return version, codec, flags, size, block, begins, more


def _parsed(chunk: Buffer) -> tuple[int, int, int, int, int, tuple[int, ...], tuple[int, ...]]:
    """Return what a chunk's header says, and where each block begins.

    Raises:
        ValueError, struct.error: it is no row of packed blocks of one size.
    """
    version, codec, flags, size, nbytes, block, _, *more = CHUNK_HEADER.unpack_from(chunk)
    if flags & EXTENDED != EXTENDED or flags & RAW or more[15] or not size or not block:
        raise ValueError(flags)
    if nbytes % block or nbytes // block * LENGTH.size > len(chunk):
        raise ValueError(nbytes)
    starts = struct.unpack_from(f"<{nbytes // block}i", chunk, CHUNK_HEADER.size)
    return version, codec, flags, size, block, starts, tuple(more)


def _end(chunk: Buffer, start: int, streams: int) -> int:
    """Return where so many streams end that begin at `start`.

    Raises:
        ValueError: they do not end inside the chunk.
    """
    end = start
    for _ in range(streams):
        (length,) = LENGTH.unpack_from(chunk, end)
        end += LENGTH.size + (length if length >= 0 else MARK_BYTES)
    if not CHUNK_HEADER.size <= start <= end <= len(chunk):
        raise ValueError(start)
    return end


def _chunk(
    kind: tuple[int, int, int, int], block: int, parts: list[Buffer], more: Sequence[int]
) -> bytes:
    begin, starts = CHUNK_HEADER.size + LENGTH.size * len(parts), []
    for part in parts:
        starts.append(begin)
        begin += len(part)
    header = CHUNK_HEADER.pack(*kind, block * len(parts), block, begin, *more)
    return b"".join((header, struct.pack(f"<{len(parts)}i", *starts), *parts))

# SPDX-License-Identifier: LGPL-3.0-or-later
"""How a column is cut into chunks and compressed: named policies, pure functions of a column.

A chunk is what HDF5 stores, and what is read at once; it holds blocks, each compressed on its
own. Frames gain most from blocks that hold several of them, for they differ little from one to
the next. Bytes are not shuffled: that breaks up the long runs that images are made of.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

from gymbag.schema import Column
from gymbag.schema.columns import ROWS

KIB = 1 << 10
MIB = 1 << 20

LANES_BYTES = 128 * MIB

CHUNK_ROWS = 16384
"""Rows of a table's chunk, and the most of any column with an entry for each row."""


CODECS = ("zstd", "lz4")
"""Codecs of Blosc2's that are used."""


@dataclass(frozen=True, slots=True)
class Compression:
    """How a column is cut and compressed."""

    codec: str
    """One of `CODECS`."""
    level: int
    """0 (not at all) to 9."""
    shuffle: bool
    """Whether the bytes of a block's values are transposed first."""
    block_rows: int
    chunk_rows: int


TEXT = Compression("zstd", 1, False, CHUNK_ROWS, CHUNK_ROWS)
"""How the lines of JSON are compressed that a data set says of itself."""


def power_of_two(number: int) -> int:
    """Return the largest power of two up to `number`, at least 1.

    Blocks that arrive and chunks that are stored fit together if both count so.

    >>> power_of_two(41), power_of_two(0)
    (32, 1)
    """
    return 1 << max(0, number.bit_length() - 1)


def _cut(
    column: Column, codec: str, level: int, *, block_rows: int = 16, chunk_rows: int = 64
) -> Compression:
    """Return how a column is compressed.

    Args:
        column: the column.
        codec: of `CODECS`.
        level: 0 to 9.
        block_rows: so many wide values make a block, or 64 KiB of narrow ones.
        chunk_rows: so many wide values make a chunk, up to 16 MiB, or 1 MiB of narrow ones.
    """
    nbytes = max(1, column.nbytes)
    if column.frame == ROWS:
        few = min(chunk_rows, 16 * MIB // nbytes)
        rows = min(CHUNK_ROWS, max(1 * MIB // nbytes, few))
    else:
        rows = 256 * KIB // nbytes
    # Whole blocks must make up a chunk: what follows one another in it does so in the blocks.
    rows = power_of_two(rows)
    return Compression(
        codec=codec,
        level=level,
        shuffle=column.dtype.itemsize > 1 and column.dtype.kind != "S",
        block_rows=min(power_of_two(max(block_rows, 64 * KIB // nbytes)), rows),
        chunk_rows=rows,
    )


def default(column: Column) -> Compression:
    """Small files at a cost that recording hardly feels.

    Level 1 of zstd: on frames it is smaller *and* faster than the levels up to 5, and on floats
    1 % larger at a third of the time. Sixteen frames a block: a frame that is read alone takes
    0.2 ms, and eight would make files a tenth larger.
    """
    return _cut(column, "zstd", 1)


def fast(column: Column) -> Compression:
    """Files a few times as large that are read at the speed of memory: each frame is a block."""
    return _cut(column, "lz4", 5, block_rows=1)


def small(column: Column) -> Compression:
    """Files half as large, for a core that has time; a frame that is read alone takes 1 ms."""
    level = 6 if _is_wide(column) else 9
    return _cut(column, "zstd", level, block_rows=128, chunk_rows=128)


def archive(column: Column) -> Compression:
    """The smallest files, to `repack` to: a frame takes 2 ms to pack, and is read as `small`."""
    return _cut(column, "zstd", 9, block_rows=128, chunk_rows=128)


def _is_wide(column: Column) -> bool:
    return column.nbytes >= 4 * KIB


def _table(codec: str, level: int) -> Compression:
    return Compression(codec, level, True, CHUNK_ROWS, CHUNK_ROWS)


class Policy(NamedTuple):
    """How a data set is compressed."""

    column: Callable[[Column], Compression]
    """Says it of each array."""
    table: Compression
    """Of the tables."""


POLICIES: dict[str, Policy] = {
    "default": Policy(default, _table("zstd", 1)),
    "fast": Policy(fast, _table("lz4", 5)),
    "small": Policy(small, _table("zstd", 5)),
    "archive": Policy(archive, _table("zstd", 9)),
}


def in_lanes(compression: Compression, column: Column, lanes: int) -> Compression:
    """Return chunks so small that one of each of so many lanes takes 128 MiB at most.

    Each lane collects a chunk before it is packed.
    """
    most = power_of_two(LANES_BYTES // lanes // max(1, column.nbytes))
    rows = min(compression.chunk_rows, most)
    return replace(compression, chunk_rows=rows, block_rows=min(compression.block_rows, rows))


def find_policy(name: str) -> Policy:
    """Return the policy of that name.

    Raises:
        ValueError: there is none; the message lists those that are.
    """
    try:
        return POLICIES[name]
    except KeyError:
        known = ", ".join(POLICIES)
        raise ValueError(f"compression={name!r}: no such policy; choose one of {known}") from None

# SPDX-License-Identifier: LGPL-3.0-or-later
"""How a column is cut into chunks and compressed: named policies, pure functions of a column.

A chunk is what HDF5 stores, and what is read at once; it holds blocks, each compressed on its
own. Frames gain most from blocks that hold several of them, for they differ little from one to
the next. Bytes are not shuffled: that breaks up the long runs that images are made of.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from gymbag.schema import Column
from gymbag.schema.columns import ROWS

KIB = 1 << 10
MIB = 1 << 20

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


TABLE = Compression("zstd", 1, True, CHUNK_ROWS, CHUNK_ROWS)
"""How the tables are compressed, whatever the policy: they are a small part of any file."""
TEXT = Compression("zstd", 1, False, CHUNK_ROWS, CHUNK_ROWS)
"""How the lines of JSON are compressed that a data set says of itself."""

Policy = Callable[[Column], Compression]


def power_of_two(number: int) -> int:
    """Return the largest power of two up to `number`, at least 1.

    Blocks that arrive and chunks that are stored fit together if both count so.

    >>> power_of_two(41), power_of_two(0)
    (32, 1)
    """
    return 1 << max(0, number.bit_length() - 1)


def default(column: Column) -> Compression:
    """Small files at a cost that recording hardly feels.

    Level 1 of zstd: on frames it is smaller *and* faster than the levels up to 5, and on floats
    1 % larger at a third of the time.
    """
    nbytes = max(1, column.nbytes)
    # Whole blocks must make up a chunk: what follows one another in it does so in the blocks.
    block_rows = power_of_two(max(32, 64 * KIB // nbytes))
    if column.frame == ROWS:
        few = min(32, 8 * MIB // nbytes)
        chunk_rows = min(CHUNK_ROWS, max(1 * MIB // nbytes, few))
    else:
        chunk_rows = 256 * KIB // nbytes
    chunk_rows = power_of_two(chunk_rows)
    return Compression(
        codec="zstd",
        level=1,
        shuffle=column.dtype.itemsize > 1 and column.dtype.kind != "S",
        block_rows=min(block_rows, chunk_rows),
        chunk_rows=chunk_rows,
    )


def fast(column: Column) -> Compression:
    """Files twice as large that are read at the speed of memory."""
    return replace(default(column), codec="lz4", level=5)


def small(column: Column) -> Compression:
    """Files half as large, for a core that has time."""
    return replace(default(column), level=6 if column.nbytes >= 4 * KIB else 9)


POLICIES: dict[str, Policy] = {"default": default, "fast": fast, "small": small}


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

# SPDX-License-Identifier: LGPL-3.0-or-later
"""Finds chunks of gymbag 0.4.9's tables where HDF5 cannot reach what it keeps of their places.

HDF5 keeps the places of a table's chunks in a tree: its leaves have 64 at most, and the nodes above
them are written late. Where a file was cut off, those are gone for all that stands before the cut;
and one damaged node hides whatever is below it. So the leaves are looked for in the whole file, by
how they begin ("Version 1 B-trees" in HDF5's file format specification).
"""

from __future__ import annotations

import os
import struct
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gymbag.storage import disk
from gymbag.storage.frames import OLD_HEADER
from gymbag.storage.look import CHUNK_DTYPE, Scan, ScannedLeaf

START = b"TREE\x01\x00"
"""A node's signature; that it is of chunks, and a leaf."""
NODE = struct.Struct("<6sHQQ")
"""Its start, how many chunks it has, and where its neighbours are."""
RECORD = np.dtype(
    [("size", "<u4"), ("mask", "<u4"), ("row", "<u8"), ("byte", "<u8"), ("offset", "<u8")]
)
"""Of a chunk in a leaf; the filters that were skipped, and the byte of the row, are always 0."""
MOST_RECORDS = 64
MOST_DOUBLE = 1
"""Chunks that may be said to stand in two places; where there are more, the leaves are those of
several tables, of which all but one were deleted or cannot be found."""
MOST_NODE = NODE.size + MOST_RECORDS * RECORD.itemsize
BLOCK = 16 << 20

Records = NDArray[Any]


def with_remains(filename: str, scan: Scan, notes: list[str]) -> list[ScannedLeaf]:
    """Return the tables in the root; with all chunks that can be found where HDF5 found only some.

    Args:
        filename: the file.
        scan: what HDF5 found.
        notes: where it is noted of which tables chunks were found.
    """
    torn = [leaf for leaf in scan.leaves if leaf.path in scan.refused]
    # Of two tables of the same kind nobody could say whose a chunk is; nor beside an unknown one.
    if not torn or len(scan.refused) > len(torn):
        return list(scan.leaves)
    kinds = Counter(map(_kind, torn))
    taken = [leaf.offsets for leaf in scan.leaves if leaf.path not in scan.refused]
    descriptor = disk.open_plain(filename)
    try:
        records = np.concatenate([np.empty(0, RECORD), *_leaves(descriptor)])
        records = records[~np.isin(records["offset"], np.concatenate([*taken, np.empty(0, "<u8")]))]
        found = {
            leaf.path: _completed(leaf, records, descriptor)
            for leaf in torn
            if kinds[_kind(leaf)] == 1
        }
    finally:
        os.close(descriptor)
    for leaf in torn:
        more = found.get(leaf.path, leaf)
        if len(more.numbers) <= len(leaf.numbers):
            continue
        notes.append(
            f"{'/'.join(leaf.path)}: HDF5's index of its chunks is damaged; {len(more.numbers)} "
            "were found by what is left of it, and are its own unless a table like it was deleted"
        )
    return [found.get(leaf.path, leaf) for leaf in scan.leaves]


def _kind(leaf: ScannedLeaf) -> tuple[int, int]:
    return leaf.chunk_rows * leaf.dtype.itemsize, _type_size(leaf)


def _type_size(leaf: ScannedLeaf) -> int:
    """Return how long Blosc takes a value of the table to be; 0 if that is not said."""
    options = leaf.filters[0][2] if leaf.filters else ()
    return options[2] if len(options) > 2 else 0


def _leaves(descriptor: int) -> Iterator[Records]:
    """Iterate over the records of each leaf in the file; none is taken twice."""
    size, free = os.fstat(descriptor).st_size, 0
    for start in range(0, size, BLOCK):
        try:
            block = disk.read_at(descriptor, BLOCK + MOST_NODE, start)
        except OSError:  # a disk that does not give it
            continue
        place = block.find(START, max(0, free - start))
        while 0 <= place < BLOCK:
            records = _records(block[place : place + MOST_NODE])
            free = start + place + NODE.size + records.nbytes
            yield records
            place = block.find(START, free - start)


def _records(node: bytes) -> Records:
    """Return the records of a leaf; none if it is something else."""
    count = NODE.unpack_from(node)[1] if len(node) >= NODE.size else 0
    if count > MOST_RECORDS or len(node) < NODE.size + count * RECORD.itemsize:
        return np.empty(0, RECORD)
    records = np.frombuffer(node, RECORD, count, NODE.size)
    plain: Records = records[
        (records["mask"] == 0) & (records["byte"] == 0) & (records["size"] > 0)
    ]
    return plain


def _completed(leaf: ScannedLeaf, records: Records, descriptor: int) -> ScannedLeaf:
    """Return a table with those chunks that are its own; as it is if others' cannot be told."""
    size = os.fstat(descriptor).st_size
    rows, offsets = records["row"], records["offset"]
    fit = (rows < leaf.rows) & (rows % leaf.chunk_rows == 0) & (offsets < size)
    fit &= records["size"] <= size - np.minimum(offsets, size)
    records = records[fit]
    own = [_is_own(descriptor, leaf, offset) for offset in records["offset"].tolist()]
    records = records[np.array(own, np.bool_)]
    chunks = np.empty(len(records) + len(leaf.numbers), CHUNK_DTYPE)
    chunks["number"] = np.concatenate([records["row"] // leaf.chunk_rows, leaf.numbers])
    chunks["offset"] = np.concatenate([records["offset"], leaf.offsets])
    chunks["size"] = np.concatenate([records["size"], leaf.sizes])
    chunks = np.unique(chunks)
    numbers, counts = np.unique(chunks["number"], return_counts=True)
    if (counts > 1).sum() > MOST_DOUBLE:
        return leaf
    chunks = chunks[np.isin(chunks["number"], numbers[counts == 1])]
    return replace(leaf, numbers=chunks["number"], offsets=chunks["offset"], sizes=chunks["size"])


def _is_own(descriptor: int, leaf: ScannedLeaf, offset: int) -> bool:
    """Return whether a chunk begins as those of a table do."""
    try:
        start = disk.read_at(descriptor, OLD_HEADER.size, offset)
    except OSError:
        return False
    if len(start) < OLD_HEADER.size:
        return False
    _, _, _, type_size, nbytes, _, _ = OLD_HEADER.unpack(start)
    return (nbytes, type_size) == _kind(leaf)

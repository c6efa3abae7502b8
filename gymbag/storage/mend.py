# SPDX-License-Identifier: LGPL-3.0-or-later
"""Puts right what is wrong in an index, if that can be told from the chunks themselves.

The index has a checksum, and says the checksum of each chunk. Where it is damaged in what it says
of some chunks, their places can be had of HDF5 and their checksums be made again; if it then has
its own checksum, it is as it was written, and the chunks are, too.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import replace
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gymbag.errors import NotAStore
from gymbag.storage import disk
from gymbag.storage.footer import CHUNK, END, JSON_BYTES, Footer, IndexedColumn

MOST_INDEX = 64 << 20
"""Bytes behind HDF5's end in which checksums are looked for."""
MOST_WORK = 1 << 32
"""Bytes that are summed up at most to find which of several chunks it is."""

Edit = tuple[int, bytes]
"""Where something else belongs in the index, and what."""


def mended_index(
    descriptor: int, torn: Footer, places: Mapping[str, NDArray[Any]]
) -> Footer | None:
    """Return an index as it was written, with a digest other than 0; None if that is unknown.

    Args:
        descriptor: of the file.
        torn: what can be read of its index.
        places: where HDF5 has the chunks of the columns that it knows, by path.
    """
    index = disk.read_at(descriptor, os.fstat(descriptor).st_size - torn.end, torn.end)
    body = bytearray(index[: -END.size])
    _, crc, _ = END.unpack(index[-END.size :])
    (count,) = JSON_BYTES.unpack_from(body)
    edits = list(_edits(descriptor, body, JSON_BYTES.size + count, torn, places))
    alone = ([edit] for edit in edits[: MOST_WORK // len(body)])
    for some in chain([edits], alone):
        tried = bytearray(body)
        for place, record in some:
            tried[place : place + CHUNK.itemsize] = record
        if zlib.crc32(tried) == crc:
            try:
                return Footer.parse(bytes(tried), torn.end)
            except NotAStore:
                return None
    return None


def ruins_of_index(descriptor: int, end: int) -> bytes:
    """Return what stands behind HDF5's part of a file, which ends at `end`."""
    size = os.fstat(descriptor).st_size
    return disk.read_at(descriptor, max(0, min(MOST_INDEX, size - end)), end)


def with_all_checksums(descriptor: int, footer: Footer) -> Footer:
    """Return an index that was made without checksums, with those of all chunks."""
    ruins = ruins_of_index(descriptor, footer.end)
    columns = {
        path: with_checksums(descriptor, column, ruins)[0]
        for path, column in footer.columns.items()
    }
    return replace(footer, columns=columns)


def with_checksums(
    descriptor: int, column: IndexedColumn, ruins: bytes
) -> tuple[IndexedColumn, int]:
    """Return a column with the checksums that the ruins of an index hold of its chunks.

    They are found by where HDF5 has the chunks, so nothing else of the index need be whole.

    Args:
        descriptor: of the file.
        column: the column, without checksums.
        ruins: what is left of the index.

    Returns:
        The column, and of how many chunks no checksum was found; they have the one they should.
    """
    chunks = column.chunks.copy()
    stored = np.flatnonzero(chunks["size"])
    order = stored[np.argsort(chunks["offset"][stored])]
    offsets = chunks["offset"][order]
    unknown = np.ones(len(order), np.bool_)
    for phase in range(min(CHUNK.itemsize, len(ruins)) if len(order) else 0):
        records = np.frombuffer(ruins, CHUNK, (len(ruins) - phase) // CHUNK.itemsize, phase)
        at = np.searchsorted(offsets, records["offset"])
        at[at == len(order)] = 0
        same = chunks[["offset", "size"]][order[at]] == records[["offset", "size"]]
        chunks["crc"][order[at[same]]] = records["crc"][same]
        unknown[at[same]] = False
    size = os.fstat(descriptor).st_size
    for number in order[unknown].tolist():
        offset, nbytes = int(chunks["offset"][number]), int(chunks["size"][number])
        chunks["crc"][number] = zlib.crc32(disk.read_at(descriptor, min(nbytes, size), offset))
    return replace(column, chunks=chunks), int(unknown.sum())


def _edits(
    descriptor: int, body: bytearray, place: int, torn: Footer, places: Mapping[str, NDArray[Any]]
) -> Iterable[Edit]:
    """Iterate over the records that are not what the chunks themselves say."""
    for path, column in torn.columns.items():
        known = places.get(path)
        chunks = column.chunks if known is None or len(known) != len(column.chunks) else known
        for number in range(len(column.chunks)):
            record = chunks[number].copy()
            size, offset = int(record["size"]), int(record["offset"])
            data = disk.read_at(descriptor, size, offset) if offset + size <= torn.end else b""
            record["crc"] = zlib.crc32(data)
            if body[place : place + CHUNK.itemsize] != record.tobytes():
                yield place, record.tobytes()
            place += CHUNK.itemsize

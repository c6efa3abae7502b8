# SPDX-License-Identifier: LGPL-3.0-or-later
"""What the log adds to a column: the frames of its chunks, and where all of them are then."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gymbag.storage.footer import CHUNK, IndexedColumn
from gymbag.storage.frames import Compressor, is_zero
from gymbag.storage.log import Kind
from gymbag.storage.names import META
from gymbag.storage.snapshot import StoredColumn


def new_frames(column: StoredColumn, crcs: dict[int, int]) -> Iterator[tuple[int, bytes]]:
    """Iterate over the chunks that the log adds to a column, noting their checksums."""
    compressor: Compressor | None = None
    for number, pieces in sorted(column.logged.items()):
        if len(pieces) == 1 and pieces[0].kind == Kind.CHUNK:
            frame = column.piece_bytes(pieces[0])
        else:
            values = column.load(number)
            if is_zero(values):
                continue
            compressor = compressor or Compressor(column.spec)
            frame = compressor.frame(values)
        crcs[number] = zlib.crc32(frame)
        yield number, frame


def with_copy(column: IndexedColumn, descriptor: int, filename: str) -> IndexedColumn:
    """Return a column as the index is to have it: with a copy, if it describes a data set."""
    if not column.spec.path.endswith(f"/{META}") or column.copy:
        return column
    values = StoredColumn(column, descriptor, filename).read(0, column.rows)
    return replace(column, copy=zlib.compress(values.tobytes()))


def all_chunks(column: StoredColumn, places: NDArray[Any], crcs: dict[int, int]) -> NDArray[Any]:
    """Return where a column's chunks are now, with the checksums known before and the new."""
    chunks = np.zeros(-(-column.rows // column.spec.chunk_rows), CHUNK)
    numbers = places["number"].astype(np.int64)
    chunks["offset"][numbers] = places["offset"]
    chunks["size"][numbers] = places["size"]
    chunks["crc"][: len(column.chunks)] = column.chunks["crc"]
    for number, crc in crcs.items():
        chunks["crc"][number] = crc
    return chunks

# SPDX-License-Identifier: LGPL-3.0-or-later
"""What the log adds to a column; and the index of what HDF5 has then stored."""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gymbag.storage import disk
from gymbag.storage.columns import ColumnSpec
from gymbag.storage.footer import CHUNK, Footer, IndexedColumn, digest_of
from gymbag.storage.frames import Compressor, is_zero
from gymbag.storage.log import Kind
from gymbag.storage.names import META
from gymbag.storage.snapshot import StoredColumn

NO_CHUNKS = np.zeros(0, CHUNK)


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


def index_chunks(
    spec: ColumnSpec,
    rows: int,
    places: NDArray[Any],
    crcs: dict[int, int],
    before: NDArray[Any] = NO_CHUNKS,
) -> IndexedColumn:
    """Return a column with where its chunks are now, and their checksums: new, or as before."""
    chunks = np.zeros(-(-rows // spec.chunk_rows), CHUNK)
    numbers = places["number"].astype(np.int64)
    chunks["offset"][numbers], chunks["size"][numbers] = places["offset"], places["size"]
    chunks["crc"][: len(before)] = before["crc"]
    chunks["crc"][list(crcs)] = list(crcs.values())
    return IndexedColumn(spec, rows, chunks)


def write_index(
    filename: str, descriptor: int, sequence: int, columns: Mapping[str, IndexedColumn]
) -> Footer:
    """Write the index behind HDF5's part of a file, sync it all, and return the index.

    Of what the data sets say of themselves it gets copies.
    """
    complete = {path: _with_copy(one, descriptor, filename) for path, one in columns.items()}
    footer = Footer(sequence, os.fstat(descriptor).st_size, 0, complete)
    footer = replace(footer, digest=digest_of(descriptor, footer))
    disk.write_at(descriptor, (footer.to_bytes(),), footer.end)
    disk.sync(descriptor)
    return footer


def _with_copy(column: IndexedColumn, descriptor: int, filename: str) -> IndexedColumn:
    if not column.spec.path.endswith(f"/{META}") or column.copy:
        return column
    values = StoredColumn(column, descriptor, filename).read(0, column.rows)
    return replace(column, copy=zlib.compress(values.tobytes()))

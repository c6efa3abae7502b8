# SPDX-License-Identifier: LGPL-3.0-or-later
"""What the log adds to a column; what is noted of chunks on their way to HDF5; and the index."""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gymbag.storage import disk
from gymbag.storage.bounds import bounds_dtype, bounds_of, no_bounds
from gymbag.storage.columns import ColumnSpec
from gymbag.storage.footer import CHUNK, Footer, IndexedColumn, digest_of
from gymbag.storage.frames import Compressor, Damaged, is_zero, unpack_frame
from gymbag.storage.log import Kind
from gymbag.storage.names import META
from gymbag.storage.stored import StoredColumn


def new_frames(column: StoredColumn) -> Iterator[tuple[int, bytes]]:
    """Iterate over the chunks that the log adds to a column."""
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
        yield number, frame


class Notes:
    """What the index is to say of a column's chunks; they pass by on their way to HDF5.

    Args:
        spec: the column.
        rows: how many it will have.
        before: what the index said so far, if the column is in the file.
    """

    def __init__(self, spec: ColumnSpec, rows: int, before: IndexedColumn | None = None) -> None:
        self._spec = spec
        self._rows = rows
        self._chunks = np.zeros(-(-rows // spec.chunk_rows), CHUNK)
        self._dtype = bounds_dtype(spec)
        # A chunk that never passes by holds zeros.
        self._bounds = np.zeros(rows // spec.chunk_rows, self._dtype or np.void)
        if before is not None:
            self._chunks[: len(before.chunks)] = before.chunks
            full = before.rows // spec.chunk_rows
            if self._dtype is not None:
                known = before.bounds
                self._bounds[:full] = no_bounds(full, self._dtype) if known is None else known

    def noting(self, frames: Iterable[tuple[int, bytes]]) -> Iterator[tuple[int, bytes]]:
        """Iterate over the frames of chunks, by their numbers, and take note of each."""
        for number, frame in frames:
            self._chunks["crc"][number] = zlib.crc32(frame)
            if self._dtype is not None and number < len(self._bounds):
                self._bounds[number] = _bounds(frame, self._spec, self._dtype)
            yield number, frame

    def index(self, places: NDArray[Any]) -> IndexedColumn:
        """Return the column with where its chunks are now."""
        numbers = places["number"].astype(np.int64)
        for name in ("offset", "size"):
            self._chunks[name] = 0
            self._chunks[name][numbers] = places[name]
        bounds = None if self._dtype is None else self._bounds
        return IndexedColumn(self._spec, self._rows, self._chunks, bounds=bounds)


def _bounds(frame: bytes, spec: ColumnSpec, dtype: np.dtype) -> Any:
    try:
        return bounds_of(unpack_frame(frame, spec.dtype, spec.chunk_shape), dtype)
    except Damaged:
        # Whoever reads the chunk will be told.
        return no_bounds(1, dtype)[0]


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

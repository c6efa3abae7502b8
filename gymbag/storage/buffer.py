# SPDX-License-Identifier: LGPL-3.0-or-later
"""Collects a column's rows until they fill a chunk, and hands the log what it needs."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gymbag.schema import jsonable
from gymbag.schema.slabs import Packed, Packing, Parts
from gymbag.storage.columns import ColumnSpec, opaque
from gymbag.storage.compression import power_of_two
from gymbag.storage.excerpt import joined
from gymbag.storage.file import StepFile
from gymbag.storage.frames import Packer, is_zero, pack, unpack
from gymbag.storage.log import Kind
from gymbag.storage.stored import StoredColumn

PACK_BYTES = 2 << 20
"""Wide values are packed as soon as there are so many bytes: they are in the cache still."""


class ColumnBuffer:
    """Appends to one column of the file.

    Full chunks go to the log at once. Rows of the last, unfilled chunk are kept here, and go to
    the log when `contribute` is called; once the chunk is full it goes there as a whole. Packs of
    rows are put together as they are, while nothing else comes between them.
    """

    def __init__(self, file: StepFile, spec: ColumnSpec, stored: StoredColumn | None) -> None:
        """Continue a column.

        Args:
            file: the file.
            spec: how the column is to stand there.
            stored: how it stands there; None if it is to be made.
        """
        self.spec = spec
        self.rows = 0
        """Rows appended so far."""
        self._file = file
        self._tail = np.zeros(spec.chunk_shape, dtype=spec.dtype)
        """The last chunk, unless `_packs` are it."""
        self._packs: list[bytes] = []
        """The last chunk, if all rows of it came packed; of zeros, there is nothing."""
        pack_rows = power_of_two(PACK_BYTES // spec.row_nbytes)
        pack_rows = max(pack_rows, spec.compression.block_rows)
        self._pack_rows = spec.chunk_rows if spec.chunk_rows % pack_rows else pack_rows
        if stored is None:
            text = jsonable.dumps(spec.to_json()).encode("ascii")
            file.add(Kind.COLUMN, spec.path, 0, 0, text)
        else:
            self.rows = stored.rows
            filled = self.rows % spec.chunk_rows
            if filled:
                self._tail[:filled] = stored.load(self.rows // spec.chunk_rows)[:filled]
        self._logged = self.rows
        """Rows that the log has."""

    def packing(self) -> Packing:
        """Return how values can be packed before they are appended."""
        size = self._pack_rows
        packer = Packer(self.spec, size)

        def pack(values: NDArray[Any]) -> bytes:
            return b"" if is_zero(values) else packer.pack(values)

        return Packing(pack, self._unpack, size, size - self.rows % size)

    def _unpack(self, data: bytes) -> NDArray[Any]:
        shape = (self._pack_rows, *self.spec.shape)
        return unpack(data, self.spec.dtype, shape) if data else np.zeros(shape, self.spec.dtype)

    def append(self, values: NDArray[Any] | Parts) -> None:
        """Append values, one for each row; they must not be changed afterwards."""
        if isinstance(values, Parts):
            for part in values.parts:
                if isinstance(part, Packed):
                    self._append_packed(part)
                else:
                    self._append(part)
        else:
            self._append(values)

    def _append_packed(self, part: Packed) -> None:
        filled = self.rows % self.spec.chunk_rows
        if part.rows != self._pack_rows or filled != len(self._packs) * self._pack_rows:
            self._append(self._unpack(part.data))
            return
        self._packs.append(part.data)
        self.rows += part.rows
        if self.rows % self.spec.chunk_rows == 0:
            self._write_packs(self.rows - self.spec.chunk_rows)

    def _write_packs(self, first: int) -> None:
        """Hand the log the chunk that the packs make up."""
        whole = joined(self._packs) if all(self._packs) else None
        if whole is None and any(self._packs):
            self._unpack_all()
            self._write(self._tail, first)
            self._clear()
            return
        kind, frame = Kind.ZEROS, b""
        if whole is not None:
            kind, frame = Kind.CHUNK, self._file.compressor(self.spec).framed(whole)
        self._packs = []
        self._file.add(kind, self.spec.path, first, self.spec.chunk_rows, frame)
        self._logged = self.rows

    def _unpack_all(self) -> None:
        """Have the rows of the last chunk as they are: others are to follow them."""
        for number, data in enumerate(self._packs):
            first = number * self._pack_rows
            self._tail[first : first + self._pack_rows] = self._unpack(data)
        self._packs = []

    def _append(self, values: NDArray[Any]) -> None:
        self._unpack_all()
        size = self.spec.chunk_rows
        start = 0
        while start < len(values):
            filled = self.rows % size
            if not filled and len(values) - start >= size:
                self._write(values[start : start + size], self.rows)
                self.rows += size
                start += size
                continue
            count = min(size - filled, len(values) - start)
            opaque(self._tail)[filled : filled + count] = opaque(values)[start : start + count]
            self._advance(count)
            start += count

    def skip(self, count: int) -> None:
        """Append so many zeros; a chunk of nothing else takes no space."""
        self._unpack_all()
        size = self.spec.chunk_rows
        while count:
            part = min(size - self.rows % size, count)
            if part == size:
                self._file.add(Kind.ZEROS, self.spec.path, self.rows, size)
                self.rows += size
                self._logged = self.rows
            else:
                self._advance(part)
            count -= part

    def contribute(self, *, last: bool = False) -> None:
        """Hand the log all rows that it has not.

        Args:
            last: whether no more will be appended, so that the chunk can go as it is to stand in
                the file.
        """
        size = self.spec.chunk_rows
        if last and self.rows % size:
            self._unpack_all()
            self._write(self._tail, self.rows // size * size, self.rows % size)
        elif self._logged < self.rows and self._packs:
            for data in self._packs[self._logged % size // self._pack_rows :]:
                kind = Kind.VALUES if data else Kind.ZEROS
                self._file.add(kind, self.spec.path, self._logged, self._pack_rows, data)
                self._logged += self._pack_rows
        elif self._logged < self.rows:
            values = self._tail[self._logged % size : self.rows % size]
            self._log(values, self._logged)
            self._logged = self.rows

    def contribute_provisional(self, values: NDArray[Any] | Parts) -> None:
        """Hand the log rows that would follow if nothing else did."""
        size, first = self.spec.chunk_rows, self.rows
        for one in values.parts if isinstance(values, Parts) else [values]:
            left = self._unpack(one.data) if isinstance(one, Packed) else one
            while len(left):
                part = left[: size - first % size]
                self._log(part, first, provisional=True)
                first += len(part)
                left = left[len(part) :]

    def _advance(self, count: int) -> None:
        self.rows += count
        if self.rows % self.spec.chunk_rows == 0:
            self._write(self._tail, self.rows - self.spec.chunk_rows)
            self._clear()

    def _clear(self) -> None:
        self._tail.view(np.uint8).fill(0)

    def _write(self, chunk: NDArray[Any], first: int, rows: int | None = None) -> None:
        """Hand the log a chunk, full unless it is said how many rows of it count."""
        rows = rows or len(chunk)
        if is_zero(chunk):
            self._file.add(Kind.ZEROS, self.spec.path, first, rows)
        else:
            frame = self._file.compressor(self.spec).frame(chunk)
            self._file.add(Kind.CHUNK, self.spec.path, first, rows, frame)
        self._logged = first + rows

    def _log(self, values: NDArray[Any], first: int, *, provisional: bool = False) -> None:
        kind, data = Kind.VALUES, b""
        if is_zero(values):
            kind = Kind.ZEROS
        else:
            data = pack(values, self.spec.compression)
        self._file.add(kind, self.spec.path, first, len(values), data, provisional=provisional)

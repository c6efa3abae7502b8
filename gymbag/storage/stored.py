# SPDX-License-Identifier: LGPL-3.0-or-later
"""A column of a file, at one moment: chunks of the file, and above them what the log holds."""

from __future__ import annotations

import os
import zlib
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gymbag.errors import NoSuchFile
from gymbag.storage import disk, log
from gymbag.storage.bounds import bounds_dtype, no_bounds
from gymbag.storage.columns import opaque
from gymbag.storage.footer import IndexedColumn
from gymbag.storage.frames import Damaged, chunk_of, unpack, unpack_frame
from gymbag.storage.log import Kind, Piece


class Opened:
    """The open file and its log, which are closed when nobody has this any more.

    So nobody reads with a number that was given to another file meanwhile.
    """

    def __init__(self, filename: str) -> None:
        self.file = self.log = -1
        with suppress(NoSuchFile):
            self.log = disk.open_plain(filename + log.SUFFIX)
        self.file = disk.open_plain(filename)

    def __del__(self) -> None:
        for descriptor in (self.file, self.log):
            if descriptor >= 0:
                os.close(descriptor)


class StoredColumn:
    """One column, as it is committed.

    Args:
        indexed: what the index says of it.
        descriptor: the file.
        filename: its name, for messages.
        opened: what closes the file, and its log; None if somebody else sees to that.
    """

    def __init__(
        self,
        indexed: IndexedColumn,
        descriptor: int,
        filename: str,
        opened: Opened | None = None,
    ) -> None:
        self.spec = indexed.spec
        self.rows = indexed.rows
        """Rows that are committed."""
        self.chunks = indexed.chunks
        """Where the chunks are that are in the file."""
        self.logged: dict[int, list[Piece]] = {}
        """What the log holds of each chunk."""
        self.checked = True
        """Whether the file knows the checksums of the chunks."""
        self.mended = False
        """Whether a damaged chunk was read from the copy that the index has."""
        self._copy = indexed.copy
        self._bounds = indexed.bounds
        self._file_rows = indexed.rows
        self._descriptor = descriptor
        self._log_descriptor = -1 if opened is None else opened.log
        self._opened = opened
        self._filename = filename
        # The last chunk, unfilled, is the only one that may move.
        self._last = len(self.chunks) - 1 if self.rows % self.spec.chunk_rows else -1
        self._tail = self._read(self._last) if self._last >= 0 else b""

    def add(self, piece: Piece) -> None:
        """Put a piece of the log above what is known."""
        number = piece.first // self.spec.chunk_rows
        if piece.first % self.spec.chunk_rows == 0:
            self.logged[number] = [piece]
        else:
            self.logged.setdefault(number, []).append(piece)
        self.rows = piece.first + piece.rows

    @property
    def stored(self) -> int:
        """Bytes of it in the file and the log."""
        logged = sum(piece.nbytes for pieces in self.logged.values() for piece in pieces)
        return int(self.chunks["size"].sum()) + logged

    def frame(self, number: int) -> bytes:
        """Return a chunk of the file as it is stored; nothing if it holds zeros.

        Raises:
            FileError: it is damaged.
        """
        frame = self._tail if number == self._last else self._read(number)
        crc = int(self.chunks["crc"][number])
        if self.checked and zlib.crc32(frame) != crc:
            raise Damaged(f"{self.where(number)}: damaged: its checksum is not the one recorded")
        return frame

    def bounds(self) -> NDArray[Any]:
        """Return the bounds of its first chunks, as many as are known."""
        if self._bounds is None:
            return np.zeros(0, bounds_dtype(self.spec))
        bounds = self._bounds.copy()
        above = [number for number in self.logged if number < len(bounds)]
        bounds[above] = no_bounds(1, bounds.dtype)
        return bounds

    def load(self, number: int) -> NDArray[Any]:
        """Return a chunk's values; rows beyond `rows` mean nothing.

        Raises:
            FileError: it is damaged.
        """
        pieces = self.logged.get(number, [])
        try:
            if pieces and pieces[0].kind == Kind.CHUNK:
                frame = self.piece_bytes(pieces[0])
                values = unpack_frame(frame, self.spec.dtype, self.spec.chunk_shape)
                pieces = pieces[1:]
            elif number < len(self.chunks) and self.chunks["size"][number]:
                values = self._load(number)
            else:
                values = np.zeros(self.spec.chunk_shape, self.spec.dtype)
            for piece in pieces:
                start = piece.first % self.spec.chunk_rows
                opaque(values)[start : start + piece.rows] = opaque(self._values(piece))
        except Damaged as error:
            if str(error).startswith(self._filename):
                raise
            raise Damaged(f"{self.where(number)}: damaged: {error}") from None
        return values

    def packed(self, number: int) -> memoryview | None:
        """Return a chunk as it was packed; None if it is not here in one sound piece.

        It is not where the log has only a part of it, and where it is damaged; `load` tells all.
        """
        pieces = self.logged.get(number, [])
        try:
            if not pieces and number < len(self.chunks) and self.chunks["size"][number]:
                return chunk_of(self.frame(number), self.spec.chunk_shape)
            if len(pieces) == 1 and pieces[0].kind == Kind.CHUNK:
                return chunk_of(self.piece_bytes(pieces[0]), self.spec.chunk_shape)
        except Damaged:
            pass
        return None

    def _load(self, number: int) -> NDArray[Any]:
        try:
            return unpack_frame(self.frame(number), self.spec.dtype, self.spec.chunk_shape)
        except Damaged:
            if not self._copy:
                raise
        size, nbytes = self.spec.chunk_rows, self._file_rows * self.spec.row_nbytes
        try:
            copy = zlib.decompressobj().decompress(self._copy, nbytes)
            some = np.frombuffer(copy, self.spec.dtype, self._file_rows)[number * size :][:size]
        except (zlib.error, ValueError):
            raise Damaged("its chunk, and the copy of it in the index") from None
        self.mended = True
        values = np.zeros(self.spec.chunk_shape, self.spec.dtype)
        values[: len(some)] = some
        return values

    def read(self, start: int, stop: int) -> NDArray[Any]:
        """Return the values of some rows.

        Raises:
            FileError: a chunk of them is damaged.
        """
        size = self.spec.chunk_rows
        values = np.empty((stop - start, *self.spec.shape), self.spec.dtype)
        for number in range(start // size, -(-stop // size)):
            first, last = max(start, number * size), min(stop, (number + 1) * size)
            place = values[first - start : last - start]
            if not (len(place) == size and self._unpack_into(place, number)):
                some = self.load(number)[first - number * size : last - number * size]
                opaque(place)[:] = opaque(some)
        return values

    def _unpack_into(self, place: NDArray[Any], number: int) -> bool:
        """Unpack a chunk to its place, if it is in one sound piece; `load` tells all."""
        packed = self.packed(number)
        try:
            if packed is not None:
                unpack(packed, self.spec.dtype, self.spec.chunk_shape, place)
        except Damaged:
            return False
        return packed is not None

    def where(self, number: int) -> str:
        """Return which rows a chunk holds, for messages."""
        first = number * self.spec.chunk_rows
        last = min(first + self.spec.chunk_rows, self.rows)
        return f"{self._filename}: {self.spec.path}, rows {first} to {last - 1}"

    def _read(self, number: int) -> bytes:
        chunk = self.chunks[number]
        size = int(chunk["size"])
        data = disk.read_at(self._descriptor, size, int(chunk["offset"]))
        if len(data) < size:
            raise Damaged(f"{self.where(number)}: the file ends before its chunk does")
        return data

    def piece_bytes(self, piece: Piece) -> bytes:
        """Return a piece as it is in the log."""
        return disk.read_at(self._log_descriptor, piece.nbytes, piece.offset)

    def _values(self, piece: Piece) -> NDArray[Any]:
        shape = (piece.rows, *self.spec.shape)
        if piece.kind == Kind.ZEROS:
            return np.zeros(shape, self.spec.dtype)
        return unpack(self.piece_bytes(piece), self.spec.dtype, shape)

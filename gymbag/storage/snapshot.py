# SPDX-License-Identifier: LGPL-3.0-or-later
"""What is committed in a file and its log, at one moment.

No lock is taken, and no writer waits. A writer changes the file only while its undo journal is
there, and begins a new log afterwards; so what was read between two looks at both is of one
moment if they had not changed. Full chunks never move, and the rest is kept here, so a snapshot
stays readable whatever the writer does next.
"""

from __future__ import annotations

import os
import time
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gymbag.errors import FileError, NoSuchFile, NotAStore
from gymbag.schema import jsonable
from gymbag.storage import disk, footer, lock, log, undo
from gymbag.storage.bounds import bounds_dtype, no_bounds
from gymbag.storage.columns import ColumnSpec
from gymbag.storage.footer import CHUNK, IndexedColumn
from gymbag.storage.foreign import scanned_footer
from gymbag.storage.frames import Damaged, chunk_of, unpack, unpack_frame
from gymbag.storage.lock import writer_lives
from gymbag.storage.log import Contents, Kind, Piece

MAX_BYTES = 1 << 30
"""Most bytes that a file can make a reader allocate at once, unless told otherwise."""
PATIENCE = 10.0
"""Seconds to wait for a writer that is bringing the file up to date."""


class StoredColumn:
    """One column, as it is committed."""

    def __init__(self, indexed: IndexedColumn, descriptor: int, filename: str) -> None:
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
        self._log_descriptor = -1
        self._filename = filename
        # The last chunk, unfilled, is the only one that may move.
        self._last = len(self.chunks) - 1 if self.rows % self.spec.chunk_rows else -1
        self._tail = self._read(self._last) if self._last >= 0 else b""

    def add(self, piece: Piece, descriptor: int) -> None:
        """Put a piece of the log above what is known."""
        self._log_descriptor = descriptor
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
                values[start : start + piece.rows] = self._values(piece)
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
                place[:] = self.load(number)[first - number * size : last - number * size]
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


class Snapshot:
    """All columns of a file, as they were committed when it was made.

    Args:
        filename: the file.
        max_bytes: how many bytes a chunk may claim, and the index of all chunks.
        alive: whether the writer of the log lives; None to find out.

    Raises:
        FileError: the file cannot be read, or is not ours.
    """

    def __init__(
        self, filename: str, *, max_bytes: int = MAX_BYTES, alive: bool | None = None
    ) -> None:
        self.filename = filename
        self.columns: dict[str, StoredColumn] = {}
        """By path inside the file."""
        self.footer = footer.EMPTY
        self.contents = Contents([], -1, 0, {})
        self.descriptor = self.log_descriptor = -1
        self._alive = alive
        # A writer has nobody to wait for: what is in its way is its own, and stays there.
        deadline = time.monotonic() + (PATIENCE if alive is None else 0)
        while not self._read(max_bytes):
            self.close()
            if time.monotonic() > deadline:
                raise FileError(
                    f"{filename}: {filename}{undo.SUFFIX} has been there for {PATIENCE:g} s: a "
                    "writer is changing the file, or died and nobody could recover it; try again "
                    "where the folder can be written to"
                )
            time.sleep(0.002)

    @property
    def closed(self) -> bool:
        """Whether its files are closed, so that chunks cannot be read any more."""
        return self.descriptor < 0

    def close(self) -> None:
        """Close the files."""
        for descriptor in (self.descriptor, self.log_descriptor):
            if descriptor >= 0:
                os.close(descriptor)
        self.descriptor = self.log_descriptor = -1

    def __del__(self) -> None:
        self.close()

    def _read(self, max_bytes: int) -> bool:
        """Read all; return False if a writer changed it meanwhile."""
        try:
            self.log_descriptor = _open(self.filename + log.SUFFIX)
            self.descriptor = disk.open_plain(self.filename)
            before = _identity(self.descriptor)
            if os.path.exists(self.filename + undo.SUFFIX):
                return False
            self._read_columns(max_bytes)
        except FileError:
            if self._moved(before if self.descriptor >= 0 else None):
                return False
            raise
        return not self._moved(before)

    def _moved(self, before: Any) -> bool:
        """Return whether a writer has been at the file since."""
        if before is None:
            return False
        return (
            os.path.exists(self.filename + undo.SUFFIX)
            or _identity(self.descriptor) != before
            or not disk.same_file(self.filename, self.descriptor)
            or not disk.same_file(self.filename + log.SUFFIX, self.log_descriptor)
            or (self._alive is None and lock.is_recovering(self.log_descriptor))
        )

    def _read_columns(self, max_bytes: int) -> None:
        found = footer.read_footer(self.descriptor, max_bytes)
        self.checked = found is not None
        self.footer = scanned_footer(self.filename) if found is None else found
        columns = {}
        for path, indexed in self.footer.columns.items():
            self._check_size(indexed.spec, max_bytes)
            columns[path] = StoredColumn(indexed, self.descriptor, self.filename)
            columns[path].checked = self.checked
        if self.log_descriptor >= 0:
            # Asked before the log is read: of a writer that dies meanwhile the log may go on.
            alive = writer_lives(self.log_descriptor) if self._alive is None else self._alive
            self.contents = self._read_log()
            self._check_log()
            for piece in self.contents.pieces:
                if not (piece.provisional and alive):
                    self._add(piece, columns, max_bytes)
        self.columns = columns

    def _read_log(self) -> Contents:
        path = self.filename + log.SUFFIX
        return log.read_log(self.log_descriptor, self.footer.sequence, path)

    def _check_log(self) -> None:
        """Check that the log goes on from this file, and not from one that was here before."""
        base = self.contents.holder.get(log.BASE)
        ahead = self.contents.sequence > self.footer.sequence
        # Of a file whose index another program cut off, the state is not known.
        if ahead and base is not None and self.checked and base != self.footer.state:
            path = self.filename + log.SUFFIX
            raise FileError(
                f"{path}: does not belong to the {self.filename} that is here now, but to one that "
                "was here before; put that back, or remove the log if you do not need what it holds"
            )

    def _add(self, piece: Piece, columns: dict[str, StoredColumn], max_bytes: int) -> None:
        if piece.kind == Kind.COLUMN:
            data = disk.read_at(self.log_descriptor, piece.nbytes, piece.offset)
            spec = ColumnSpec.from_json(_parsed(data))
            self._check_size(spec, max_bytes)
            if spec.path not in columns:
                indexed = IndexedColumn(spec, 0, np.zeros(0, CHUNK))
                columns[spec.path] = StoredColumn(indexed, self.descriptor, self.filename)
            return
        column = columns.get(piece.path)
        if column is None:
            raise NotAStore(f"{self.filename}{log.SUFFIX}: rows of no column: {piece.path!r:.80}")
        start = piece.first % column.spec.chunk_rows
        if not 0 < piece.rows <= column.spec.chunk_rows - start or piece.first > column.rows:
            raise NotAStore(f"{self.filename}{log.SUFFIX}: rows that cannot be: {piece!r:.200}")
        column.add(piece, self.log_descriptor)

    def _check_size(self, spec: ColumnSpec, max_bytes: int) -> None:
        if spec.chunk_nbytes > max_bytes:
            raise NotAStore(
                f"{self.filename}: {spec.path}: one chunk claims {spec.chunk_nbytes:,} bytes, more "
                f"than the limit of {max_bytes:,}; if you trust the file, open it with a larger "
                "max_bytes="
            )


def _open(path: str) -> int:
    try:
        return disk.open_plain(path)
    except NoSuchFile:
        return -1


def _identity(descriptor: int) -> tuple[int, ...]:
    status = os.fstat(descriptor)
    return status.st_ino, status.st_size, status.st_mtime_ns


def _parsed(data: bytes) -> Mapping[str, Any]:
    try:
        content = jsonable.loads(data)
    except (ValueError, RecursionError) as error:
        raise NotAStore(f"the description of a column is damaged ({error})") from None
    if not isinstance(content, dict):
        raise NotAStore("the description of a column is damaged")
    return content

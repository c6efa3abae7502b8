# SPDX-License-Identifier: LGPL-3.0-or-later
"""The write-ahead log: what has been committed since the file was last brought up to date.

::

    X.h5-wal    512 bytes that name the writer | record | record | …
    record      mark, CRC-32 of the rest, length, number, whether it commits | piece | piece | …
    piece       what it is, column, first row, rows | bytes

Records count up for as long as the file lives. Those up to the last that commits are valid; what
follows was being written when the writer died. A piece holds rows of one chunk of one column: a
whole chunk as HDF5 stores it, or some rows more, or the description of a new column. Later pieces
stand above earlier ones.

Some pieces are *provisional*: how an episode that still runs would stand if nothing were to
follow. Only those of the last commit count, and of them only if their writer is dead.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator
from contextlib import suppress
from enum import IntEnum
from typing import Any, NamedTuple

from gymbag.errors import FileError, NewerFormat
from gymbag.schema import jsonable
from gymbag.storage import disk

SUFFIX = "-wal"
MARK = b"gymbagW2"
HEADER_BYTES = 512
RECORD = struct.Struct("<4sIQQB")
"""Mark, CRC-32 of all that follows it, bytes of the pieces, number, whether it commits."""
RECORD_MARK = b"GBR2"
PIECE = struct.Struct("<BBHQII")
"""Kind, provisional, bytes of the path, first row, rows, bytes."""
BASE = "base"
"""Stands in the header: which state of the file the log goes on from, by `Footer.state`."""
BUFFERED = 1 << 20
"""So many bytes of pieces are written at once."""


class Kind(IntEnum):
    """What a piece holds."""

    COLUMN = 0
    """The description of a new column, as JSON."""
    ZEROS = 1
    """Rows of zeros; no bytes."""
    CHUNK = 2
    """A chunk from its first row on, full or not, in the frame that HDF5 stores."""
    VALUES = 3
    """Rows, as a Blosc2 chunk."""


class Piece(NamedTuple):
    """Some rows of a column, where they stand in a log."""

    kind: int
    provisional: bool
    path: str
    first: int
    rows: int
    offset: int
    nbytes: int


class Contents(NamedTuple):
    """What is committed in a log."""

    pieces: list[Piece]
    """In the order in which they were written; of the provisional ones only those that count."""
    sequence: int
    """Number of the last committed record; -1 if there is none."""
    end: int
    """Where the last committed record ends."""
    holder: dict[str, Any]
    """Who wrote it: `pid`, `host`, `since`."""


class LogWriter:
    """Appends to a log. Nothing that is added counts before `commit`."""

    def __init__(self, path: str, descriptor: int, end: int, sequence: int) -> None:
        """Continue a log that belongs to the caller.

        Args:
            path: its name, for messages.
            descriptor: of the open file; it is closed with the log.
            end: where its last committed record ends.
            sequence: number of the last record, also of those that are no longer in the log.
        """
        self.path = path
        self.descriptor = descriptor
        self.sequence = sequence
        self.end = end
        """Where the next record goes."""
        self._committed = end
        self._parts: list[bytes] = []
        self._buffered = 0

    def add(
        self,
        kind: Kind,
        path: str,
        first: int,
        count: int,
        data: bytes = b"",
        *,
        provisional: bool = False,
    ) -> None:
        """Add a piece to the next commit."""
        name = path.encode("utf-8")
        self._parts += (
            PIECE.pack(kind, provisional, len(name), first, count, len(data)),
            name,
            data,
        )
        self._buffered += len(data)
        if self._buffered >= BUFFERED:
            self._write(commits=False)

    def commit(self) -> None:
        """Make all that was added count, should this process be killed."""
        if self._parts or self.end != self._committed:
            self._write(commits=True)
            self._committed = self.end

    def sync(self) -> None:
        """Wait until all that was committed would survive a power cut as well."""
        disk.sync(self.descriptor)

    def close(self) -> None:
        """Close the file, and so give up the lock on it."""
        os.close(self.descriptor)

    def _write(self, *, commits: bool) -> None:
        body = b"".join(self._parts)
        rest = struct.pack("<QQB", len(body), self.sequence + 1, commits)
        crc = zlib.crc32(body, zlib.crc32(rest))
        head = struct.pack("<4sI", RECORD_MARK, crc) + rest
        try:
            self.end = disk.write_at(self.descriptor, (head, body), self.end)
        except OSError as error:
            # What was committed stays; nothing after it may look as if it did.
            self.end = self._committed
            with suppress(OSError):
                disk.truncate(self.descriptor, self.end)
            raise FileError(
                f"{self.path}: cannot be written ({error.strerror}); everything up to the last "
                "commit is kept"
            ) from error
        finally:
            self._parts.clear()
            self._buffered = 0
        self.sequence += 1


def header(holder: dict[str, Any]) -> bytes:
    """Return the first bytes of a log."""
    text = MARK + jsonable.dumps(holder).encode("ascii")[: HEADER_BYTES - len(MARK)]
    return text.ljust(HEADER_BYTES)


def require_known(mark: bytes, known: bytes, path: str) -> None:
    """Check that a file beside a recording begins as this gymbag's do, or is damaged.

    Raises:
        NewerFormat: a later gymbag wrote it. What it holds is not in the file yet.
    """
    family, version, ours = known[:-1], mark[len(known) - 1 : len(known)], known[-1:]
    if mark.startswith(family) and version.isdigit() and version > ours:
        raise NewerFormat(
            f"{path}: written by a later gymbag, and this one knows formats up to "
            f"{ours.decode()}; open the recording with the later one once, or install it"
        )


def read_holder(descriptor: int) -> dict[str, Any]:
    """Return who wrote a log; nothing if that cannot be read."""
    text = disk.read_at(descriptor, HEADER_BYTES, 0)
    try:
        holder = jsonable.loads(text[len(MARK) :]) if text.startswith(MARK) else {}
    except ValueError:
        return {}
    return holder if isinstance(holder, dict) else {}


def read_log(descriptor: int, after: int, path: str) -> Contents:
    """Return what a log holds beyond the record of number `after`.

    Of a record that was committed before, only the provisional pieces count.

    Raises:
        NewerFormat: a later gymbag wrote it.
    """
    require_known(disk.read_at(descriptor, len(MARK), 0), MARK, path)
    pieces: list[Piece] = []
    group: list[Piece] = []
    provisional: list[Piece] = []
    sequence, end = -1, HEADER_BYTES
    for number, commits, place, body in _records(descriptor):
        group += (p for p in _pieces(body, place) if p.provisional or number > after)
        if commits:
            # Once the file is further than the log, nothing in the log is the last commit's.
            provisional = [piece for piece in group if piece.provisional and number >= after]
            pieces += (piece for piece in group if not piece.provisional)
            group = []
            sequence, end = number, place + len(body)
    return Contents(pieces + provisional, sequence, end, read_holder(descriptor))


def _records(descriptor: int) -> Iterator[tuple[int, bool, int, bytes]]:
    """Iterate over the whole records: number, whether it commits, place of the body, body."""
    size = os.fstat(descriptor).st_size
    place, last = HEADER_BYTES, None
    while place + RECORD.size <= size:
        head = disk.read_at(descriptor, RECORD.size, place)
        if len(head) < RECORD.size:
            return
        mark, crc, length, number, commits = RECORD.unpack(head)
        if mark != RECORD_MARK or length > size - place - RECORD.size:
            return
        body = disk.read_at(descriptor, length, place + RECORD.size)
        if len(body) < length or zlib.crc32(body, zlib.crc32(head[8:])) != crc:
            return
        if last is not None and number != last + 1:
            return
        last = number
        yield number, bool(commits), place + RECORD.size, body
        place += RECORD.size + length


def _pieces(body: bytes, place: int) -> Iterator[Piece]:
    at = 0
    while at + PIECE.size <= len(body):
        kind, provisional, name, first, count, nbytes = PIECE.unpack_from(body, at)
        at += PIECE.size
        path = body[at : at + name].decode("utf-8", "replace")
        at += name
        if at + nbytes > len(body):
            return
        yield Piece(kind, bool(provisional), path, first, count, place + at, nbytes)
        at += nbytes

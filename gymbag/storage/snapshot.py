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
from collections.abc import Mapping
from typing import Any

import numpy as np

from gymbag.errors import FileError, NotAStore
from gymbag.schema import jsonable
from gymbag.storage import disk, footer, lock, log, undo
from gymbag.storage.columns import ColumnSpec
from gymbag.storage.footer import CHUNK, IndexedColumn
from gymbag.storage.foreign import scanned_footer
from gymbag.storage.lock import writer_lives
from gymbag.storage.log import Contents, Kind, Piece
from gymbag.storage.stored import Opened, StoredColumn

MAX_BYTES = 1 << 30
"""Most bytes that a file can make a reader allocate at once, unless told otherwise."""
PATIENCE = 10.0
"""Seconds to wait for a writer that is bringing the file up to date."""


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
        self._opened: Opened | None = None
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
    def descriptor(self) -> int:
        """The file's; -1 once it is closed."""
        return -1 if self._opened is None else self._opened.file

    @property
    def log_descriptor(self) -> int:
        """The log's; -1 if there is none."""
        return -1 if self._opened is None else self._opened.log

    @property
    def closed(self) -> bool:
        """Whether it was closed, so that it has no columns any more."""
        return self._opened is None

    def close(self) -> None:
        """Forget the columns, and close the files when the last of these is read."""
        self.columns = {}
        self._opened = None

    def _read(self, max_bytes: int) -> bool:
        """Read all; return False if a writer changed it meanwhile."""
        try:
            self._opened = Opened(self.filename)
            before = _identity(self.descriptor)
            if os.path.exists(self.filename + undo.SUFFIX):
                return False
            self._read_columns(max_bytes)
        except FileError:
            if self._opened is not None and self._moved(before):
                return False
            raise
        return not self._moved(before)

    def _moved(self, before: Any) -> bool:
        """Return whether a writer has been at the file since."""
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
            columns[path] = self._column(indexed)
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
                columns[spec.path] = self._column(indexed)
            return
        column = columns.get(piece.path)
        if column is None:
            raise NotAStore(f"{self.filename}{log.SUFFIX}: rows of no column: {piece.path!r:.80}")
        start = piece.first % column.spec.chunk_rows
        if not 0 < piece.rows <= column.spec.chunk_rows - start or piece.first > column.rows:
            raise NotAStore(f"{self.filename}{log.SUFFIX}: rows that cannot be: {piece!r:.200}")
        column.add(piece)

    def _column(self, indexed: IndexedColumn) -> StoredColumn:
        return StoredColumn(indexed, self.descriptor, self.filename, self._opened)

    def _check_size(self, spec: ColumnSpec, max_bytes: int) -> None:
        if spec.chunk_nbytes > max_bytes:
            raise NotAStore(
                f"{self.filename}: {spec.path}: one chunk claims {spec.chunk_nbytes:,} bytes, more "
                f"than the limit of {max_bytes:,}; if you trust the file, open it with a larger "
                "max_bytes="
            )


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

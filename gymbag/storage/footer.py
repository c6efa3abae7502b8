# SPDX-License-Identifier: LGPL-3.0-or-later
"""The index of a file: where each chunk of each column is, its checksum, its values' bounds. Pure.

Without its description a data set is lost; so of that the index has a copy.

It stands behind what HDF5 knows as the file's end, as the footer of an archive does. So a reader
needs no HDF5, takes no lock, and can tell a damaged chunk from a sound one. HDF5 readers do not
see it; an HDF5 *writer* cuts it off, and so a footer that is there is right.

::

    what HDF5 knows | JSON of the columns | their chunks | their bounds | length, CRC, mark
"""

from __future__ import annotations

import os
import struct
import zlib
from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gymbag.errors import NotAStore
from gymbag.schema import jsonable
from gymbag.storage import disk
from gymbag.storage.bounds import bounds_dtype
from gymbag.storage.columns import ColumnSpec

MARK = b"gymbag 2"
END = struct.Struct("<QI8s")
"""Bytes of the footer before this, their CRC-32, `MARK`."""
JSON_BYTES = struct.Struct("<Q")
CHUNK = np.dtype([("offset", "<u8"), ("size", "<u4"), ("crc", "<u4")])
"""Where a chunk's frame is in the file, how long it is, and its CRC-32. One of size 0 holds zeros
and takes no space."""
MOST_ROWS = 1 << 56
PIECE_BYTES = 16 << 20
"""So much is read at a time where only a checksum is wanted."""
MOST_BYTES = 1 << 30
"""Bytes of a footer that are read without being asked for; there are 16 for each chunk."""


@dataclass(frozen=True, slots=True)
class IndexedColumn:
    """A column, and where its chunks are."""

    spec: ColumnSpec
    rows: int
    chunks: NDArray[Any]
    """Records of `CHUNK`, one for every `spec.chunk_rows` rows, the last perhaps unfilled."""
    copy: bytes = b""
    """All of its values, should the chunks be damaged, packed by zlib; empty if there is none."""
    bounds: NDArray[Any] | None = None
    """Records of `bounds_dtype`, one for each of its full chunks; None if they are not known."""

    def to_json(self) -> dict[str, Any]:
        """Return all but the chunks and their bounds as plain JSON."""
        copy = {"copy": b64encode(self.copy).decode("ascii")} if self.copy else {}
        bounds = {} if self.bounds is None else {"bounds": self.bounds.nbytes}
        return {**self.spec.to_json(), "rows": self.rows, **copy, **bounds}


@dataclass(frozen=True, slots=True)
class Footer:
    """What a file says behind HDF5's end."""

    sequence: int
    """Number of the last record of the log that is in the file."""
    end: int
    """Where HDF5's part of the file ends, in bytes."""
    digest: int
    """CRC-32 of all of that part that is not in a full chunk."""
    columns: Mapping[str, IndexedColumn]
    """By path."""

    @property
    def state(self) -> list[int]:
        """What tells this state of this file from any other."""
        return [self.sequence, self.digest]

    def to_bytes(self) -> bytes:
        """Return what is to stand at `end`."""
        columns = [column.to_json() for column in self.columns.values()]
        about = {"sequence": self.sequence, "digest": self.digest, "columns": columns}
        text = jsonable.dumps(about).encode("ascii")
        chunks = [column.chunks.tobytes() for column in self.columns.values()]
        known = (column.bounds for column in self.columns.values())
        bounds = [some.tobytes() for some in known if some is not None]
        body = b"".join((JSON_BYTES.pack(len(text)), text, *chunks, *bounds))
        return body + END.pack(len(body), zlib.crc32(body), MARK)

    @classmethod
    def parse(cls, body: bytes, end: int) -> Footer:
        """Return what a footer says that stands at `end`.

        Raises:
            NotAStore: it says what cannot be.
        """
        try:
            (size,) = JSON_BYTES.unpack_from(body)
            place = JSON_BYTES.size + size
            about = jsonable.loads(body[JSON_BYTES.size : place])
            columns: dict[str, IndexedColumn] = {}
            for content in about["columns"]:
                spec = ColumnSpec.from_json(content)
                rows = _row_count(content["rows"])
                count = -(-rows // spec.chunk_rows)
                chunks = np.frombuffer(body, CHUNK, count, place)
                place += chunks.nbytes
                _check_inside(chunks, end)
                copy = b64decode(content.get("copy", ""), validate=True)
                columns[spec.path] = IndexedColumn(spec, rows, chunks, copy)
            for content in about["columns"]:
                column, nbytes = columns[content["path"]], _row_count(content.get("bounds", 0))
                bounds = _bounds(body[place : place + nbytes], column)
                columns[content["path"]] = replace(column, bounds=bounds)
                place += nbytes
            return cls(int(about["sequence"]), end, int(about["digest"]), columns)
        except (KeyError, TypeError, ValueError, struct.error, RecursionError) as error:
            raise NotAStore(f"its index is damaged ({error})") from None


def _row_count(value: Any) -> int:
    if type(value) is not int or not 0 <= value < MOST_ROWS:
        raise ValueError(f"{value!r:.40} rows")
    return value


def _bounds(data: bytes, column: IndexedColumn) -> NDArray[Any] | None:
    """Return the bounds of a column's chunks; None if there are others than it should have."""
    dtype = bounds_dtype(column.spec)
    count = column.rows // column.spec.chunk_rows
    known = dtype is not None and len(data) == count * dtype.itemsize
    return np.frombuffer(data, dtype) if known else None


def _check_inside(chunks: NDArray[Any], end: int) -> None:
    if (chunks["offset"] > end).any() or (chunks["offset"] + chunks["size"] > end).any():
        raise ValueError("a chunk beyond the end of the file")


EMPTY = Footer(0, 0, 0, {})
"""Of a file that has no byte yet."""


def read_footer(descriptor: int, most_bytes: int = MOST_BYTES) -> Footer | None:
    """Return a file's footer; None if there is none, or it is damaged or too large.

    Raises:
        NotAStore: it is whole, but says what cannot be.
    """
    size = os.fstat(descriptor).st_size
    if size == 0:
        return EMPTY
    if size < END.size:
        return None
    length, crc, mark = END.unpack(disk.read_at(descriptor, END.size, size - END.size))
    end = size - END.size - length
    if mark != MARK or end < 0 or length > most_bytes:
        return None
    body = disk.read_at(descriptor, length, end)
    return Footer.parse(body, end) if zlib.crc32(body) == crc else None


def outside_chunks(footer: Footer, size: int) -> list[tuple[int, int]]:
    """Return the parts of a file that hold no full chunk, as offset and length.

    HDF5 rewrites nothing else when rows are appended: its own notes, and a column's last chunk
    as long as it is not full.
    """
    full = []
    for column in footer.columns.values():
        chunks = column.chunks[: column.rows // column.spec.chunk_rows]
        full.append(chunks[chunks["size"] > 0])
    taken = np.concatenate(full) if full else np.zeros(0, CHUNK)
    taken = taken[np.argsort(taken["offset"])]
    starts = taken["offset"].astype(np.int64)
    ends = starts + taken["size"].astype(np.int64)
    gaps_start = np.concatenate(([0], ends))
    gaps_end = np.concatenate((starts, [size]))
    some = gaps_end > gaps_start
    return list(
        zip(
            gaps_start[some].tolist(),
            (gaps_end[some] - gaps_start[some]).tolist(),
            strict=True,
        )
    )


def digest_of(descriptor: int, footer: Footer) -> int:
    """Return the checksum of all of HDF5's part that is not in a full chunk."""
    crc = 0
    for offset, length in outside_chunks(footer, footer.end):
        for start in range(offset, offset + length, PIECE_BYTES):
            size = min(PIECE_BYTES, offset + length - start)
            crc = zlib.crc32(disk.read_at(descriptor, size, start), crc)
    return crc

# SPDX-License-Identifier: LGPL-3.0-or-later
"""The undo journal: how a file was before HDF5 began to change it.

While `X.h5-undo` is there and whole, `X.h5` may be in any state, and putting back what the journal
holds makes it what it was. It holds all of the file that is in no full chunk, for HDF5 changes
nothing else. Its removal is what commits a change.

::

    X.h5-undo   mark, CRC-32 of the rest, length of the file, parts | offset, length | … | bytes
"""

from __future__ import annotations

import os
import struct
import zlib

import numpy as np

from gymbag.storage import disk
from gymbag.storage.log import require_known

SUFFIX = "-undo"
HEAD = struct.Struct("<8sIQQ")
MARK = b"gymbagU2"
PART = np.dtype([("offset", "<u8"), ("length", "<u8")])


def write_undo(path: str, descriptor: int, parts: list[tuple[int, int]]) -> int:
    """Write a journal of these parts of a file, safe from a power cut; return its bytes."""
    table = np.array(parts, PART).tobytes()
    size = os.fstat(descriptor).st_size
    body = [table, *(disk.read_at(descriptor, length, offset) for offset, length in parts)]
    rest = struct.pack("<QQ", size, len(parts))
    crc = zlib.crc32(rest)
    for part in body:
        crc = zlib.crc32(part, crc)
    journal = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
    try:
        head = struct.pack("<8sI", MARK, crc) + rest
        end = disk.write_at(journal, (head, *body), 0)
        disk.sync(journal)
    finally:
        os.close(journal)
    disk.sync_folder(path)
    return end


def put_back(path: str, descriptor: int) -> bool:
    """Make a file what its journal says it was; return False if the journal is not whole.

    A journal that is not whole was being written when the writer died: the file had not been
    touched. Doing it twice does no harm.

    Raises:
        NewerFormat: a later gymbag wrote it.
    """
    with open(path, "rb") as stream:
        journal = stream.read()
    require_known(journal[: len(MARK)], MARK, path)
    if len(journal) < HEAD.size:
        return False
    mark, crc, size, count = HEAD.unpack_from(journal)
    if mark != MARK or zlib.crc32(memoryview(journal)[12:]) != crc:
        return False
    if HEAD.size + count * PART.itemsize > len(journal):
        return False
    table = np.frombuffer(journal, PART, count, HEAD.size)
    place = HEAD.size + table.nbytes
    for offset, length in table.tolist():
        disk.write_at(descriptor, (journal[place : place + length],), offset)
        place += length
    disk.truncate(descriptor, size)
    disk.sync(descriptor)
    return True

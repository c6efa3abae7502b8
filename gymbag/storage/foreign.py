# SPDX-License-Identifier: LGPL-3.0-or-later
"""Files whose index is missing or not to be believed: what HDF5 finds in them instead.

HDF5 itself is asked in a process of its own, by `gymbag.storage.look`.
"""

from __future__ import annotations

import os

import numpy as np

from gymbag.errors import FileError, NewerFormat, NotAStore
from gymbag.storage.columns import ColumnSpec
from gymbag.storage.compression import Compression, power_of_two
from gymbag.storage.footer import CHUNK, Footer, IndexedColumn, digest_of
from gymbag.storage.look import ScannedLeaf, look
from gymbag.storage.names import FORMAT

BLOSC2 = 32026
NAMES = {1: "deflate", 2: "shuffle", 3: "fletcher32", 4: "szip", 32001: "Blosc"}
RESCUE = "gymbag rescue FILE -o NEW takes out what can still be read"

_sound: set[tuple[int, int, int]] = set()
"""Files that need not be looked at again: device, inode, and digest."""


def scanned_footer(filename: str) -> Footer:
    """Return the index of a file without one, without checksums.

    Raises:
        NotAStore: it is not one of ours, or something in it is not as we would write it.
        NewerFormat: a later gymbag wrote it.
        FileError: it is damaged.
    """
    scan = look(filename)
    if scan.legacy:
        raise NotAStore(
            f"{filename}: written by gymbag 0.4.9; make a file of today's format of it: "
            "gymbag convert OLD NEW, or gymbag.convert(old, new)"
        )
    if scan.format is None:
        raise NotAStore(f"{filename}: an HDF5 file, but not one of gymbag's")
    if scan.format > FORMAT:
        raise NewerFormat(
            f"{filename}: format {scan.format}; this gymbag knows formats up to {FORMAT}; "
            "install a later one to read it"
        )
    for path, reason in scan.refused.items():
        raise NotAStore(f"{filename}: /{'/'.join(path)}: refused: {reason}; {RESCUE}")
    columns = [_indexed(leaf, filename) for leaf in scan.leaves]
    return Footer(0, scan.end, 0, {column.spec.path: column for column in columns})


def _indexed(leaf: ScannedLeaf, filename: str) -> IndexedColumn:
    path = f"/{'/'.join(leaf.path)}"
    other = [NAMES.get(number, str(number)) for number, _, _ in leaf.filters if number != BLOSC2]
    if other or len(leaf.filters) != 1:
        raise NotAStore(
            f"{filename}: {path}: stored with the filters {', '.join(other) or 'none'}, where "
            f"gymbag has Blosc2 alone; another program wrote it; {RESCUE}"
        )
    block_rows = power_of_two(leaf.chunk_rows)
    compression = Compression("zstd", 1, leaf.dtype.itemsize > 1, block_rows, leaf.chunk_rows)
    spec = ColumnSpec(
        path, leaf.kind == "table", leaf.dtype, leaf.shape, leaf.chunk_rows, compression
    )
    chunks = np.zeros(-(-leaf.rows // leaf.chunk_rows), CHUNK)
    numbers = leaf.numbers.astype(np.int64)
    chunks["offset"][numbers], chunks["size"][numbers] = leaf.offsets, leaf.sizes
    return IndexedColumn(spec, leaf.rows, chunks)


def check_before_writing(filename: str, descriptor: int, footer: Footer) -> None:
    """Check that HDF5 can be let at a file: a damaged or hostile one could crash the process.

    Raises:
        FileError: it is damaged; the message says what to do.
    """
    if not footer.end:
        return
    status = os.fstat(descriptor)
    key = status.st_dev, status.st_ino, footer.digest
    if footer.digest and key in _sound:
        return
    if footer.digest and digest_of(descriptor, footer) != footer.digest:
        raise FileError(
            f"{filename}: damaged: what HDF5 keeps of it is not what was written; it can be read, "
            f"but not added to; {RESCUE}"
        )
    found = scanned_footer(filename).columns
    for path, column in footer.columns.items():
        same = path in found and found[path].rows == column.rows
        if not same or not _same_places(found[path], column):
            raise FileError(
                f"{filename}: damaged: {path}: HDF5 and the file's index do not agree; {RESCUE}"
            )
    note_sound(descriptor, footer)


def note_sound(descriptor: int, footer: Footer) -> None:
    """Note that a file is as this process left it, or has looked at it."""
    status = os.fstat(descriptor)
    _sound.add((status.st_dev, status.st_ino, footer.digest))


def _same_places(one: IndexedColumn, other: IndexedColumn) -> bool:
    return all(np.array_equal(one.chunks[name], other.chunks[name]) for name in ("offset", "size"))

# SPDX-License-Identifier: LGPL-3.0-or-later
"""Files whose index is missing or not to be believed: what HDF5 finds in them instead.

HDF5 itself is asked in a process of its own, by `gymbag.storage.look`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np

from gymbag.errors import FileError, NewerFormat, NotAStore
from gymbag.storage.columns import ColumnSpec
from gymbag.storage.compression import Compression, power_of_two
from gymbag.storage.footer import CHUNK, Footer, IndexedColumn, digest_of
from gymbag.storage.look import RESCUE, ScannedLeaf, look
from gymbag.storage.names import FORMAT, META

BLOSC2 = 32026
NAMES = {1: "deflate", 2: "shuffle", 3: "fletcher32", 4: "szip", 32001: "Blosc"}
LEGACY = (
    "written by gymbag 0.4.9; make a file of today's format of it: gymbag convert OLD NEW, or "
    "gymbag.convert(old, new); if it is damaged: gymbag rescue OLD -o NEW, or "
    "gymbag.rescue(old, new)"
)

MOST_CHUNKS = 1 << 24
LINKS = ("a link", "a second name")
"""How reasons begin that are never harmless. Other things of other programs may stand beside us."""
PATIENCE = 20.0
"""Seconds that PyTables may take to open a file."""
TRIAL = """
import json, sys
path, filename, leaves = json.loads(sys.argv[1])
sys.path[:] = path
import tables
class Refused:
    def __getattr__(self, name):
        raise ValueError("nothing is unpickled")
    UnpicklingError = ValueError
tables.attributeset.pickle = tables.atom.pickle = Refused()
with tables.open_file(filename, "r") as file:
    for leaf in leaves:
        file.get_node(leaf)
"""

_sound: dict[tuple[int, int, int], frozenset[str]] = {}
"""Files that need not be looked at again, by device, inode and digest; and what else is in them."""


def scanned_footer(filename: str) -> Footer:
    """Return the index of a file without one, without checksums.

    Raises:
        NotAStore: it is not one of ours, or something in it is not as we would write it.
        NewerFormat: a later gymbag wrote it.
        FileError: it is damaged.
    """
    return _scanned(filename)[0]


def _scanned(filename: str) -> tuple[Footer, frozenset[str]]:
    """Return the index, and the names in the root that other programs have taken."""
    scan = look(filename)
    if scan.legacy:
        raise NotAStore(f"{filename}: {LEGACY}")
    if scan.format is None:
        raise NotAStore(
            f"{filename}: an HDF5 file, but not one of gymbag's; if it is of another format that "
            f"`gymbag convert` knows, make a file of it: gymbag convert {filename} NEW.h5"
        )
    if scan.format > FORMAT:
        raise NewerFormat(
            f"{filename}: format {scan.format}; this gymbag knows formats up to {FORMAT}; "
            "install a later one to read it"
        )
    ours = {leaf.path[0] for leaf in scan.leaves if leaf.path[1:] == (META,)}
    for path, reason in scan.refused.items():
        if path[0] in ours or reason.startswith(LINKS):
            raise NotAStore(f"{filename}: /{'/'.join(path)}: refused: {reason}; {RESCUE}")
    columns = [_indexed(leaf, filename) for leaf in scan.leaves if leaf.path[0] in ours]
    footer = Footer(0, scan.end, 0, {column.spec.path: column for column in columns})
    others = {path[0] for path in scan.refused} | {leaf.path[0] for leaf in scan.leaves}
    return footer, frozenset(others - ours)


def _indexed(leaf: ScannedLeaf, filename: str) -> IndexedColumn:
    path = f"/{'/'.join(leaf.path)}"
    other = [NAMES.get(number, str(number)) for number, _, _ in leaf.filters if number != BLOSC2]
    if other or len(leaf.filters) != 1:
        raise NotAStore(
            f"{filename}: {path}: stored with the filters {', '.join(other) or 'none'}, where "
            f"gymbag has Blosc2 alone; another program wrote it; {RESCUE}"
        )
    if leaf.rows > MOST_CHUNKS * leaf.chunk_rows:
        raise NotAStore(f"{filename}: {path}: claims {leaf.rows} rows in very small chunks")
    block_rows = power_of_two(leaf.chunk_rows)
    compression = Compression("zstd", 1, leaf.dtype.itemsize > 1, block_rows, leaf.chunk_rows)
    spec = ColumnSpec(
        path, leaf.kind == "table", leaf.dtype, leaf.shape, leaf.chunk_rows, compression
    )
    chunks = np.zeros(-(-leaf.rows // leaf.chunk_rows), CHUNK)
    numbers = leaf.numbers.astype(np.int64)
    chunks["offset"][numbers], chunks["size"][numbers] = leaf.offsets, leaf.sizes
    return IndexedColumn(spec, leaf.rows, chunks)


def check_before_writing(filename: str, descriptor: int, footer: Footer) -> frozenset[str]:
    """Check that HDF5 can be let at a file: a damaged or hostile one could crash the process.

    Returns:
        The names in the root that other programs have taken.

    Raises:
        FileError: it is damaged; the message says what to do.
    """
    if not footer.end:
        return frozenset()
    key = _key(descriptor, footer)
    if footer.digest and key in _sound:
        return _sound[key]
    if footer.digest and digest_of(descriptor, footer) != footer.digest:
        raise FileError(
            f"{filename}: damaged: what HDF5 keeps of it is not what was written; it can be read, "
            f"but not added to; {RESCUE}"
        )
    scanned, others = _scanned(filename)
    for path, column in footer.columns.items():
        found = scanned.columns.get(path)
        if found is None or found.rows != column.rows or not _same_places(found, column):
            raise FileError(
                f"{filename}: damaged: {path}: HDF5 and the file's index do not agree; {RESCUE}"
            )
    _try_pytables(filename, list(footer.columns))
    note_sound(descriptor, footer, others)
    return others


def note_sound(descriptor: int, footer: Footer, others: frozenset[str]) -> None:
    """Note that a file is as this process left it, or has looked at it."""
    _sound[_key(descriptor, footer)] = others


def _key(descriptor: int, footer: Footer) -> tuple[int, int, int]:
    status = os.fstat(descriptor)
    return status.st_dev, status.st_ino, footer.digest


def _try_pytables(filename: str, paths: list[str]) -> None:
    """Have PyTables open a file in a process of its own: some files crash it (PyTables #47, #813).

    What is pickled in the file is not unpickled there either.
    """
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-c", TRIAL, json.dumps([sys.path, filename, paths])],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "HDF5_USE_FILE_LOCKING": "FALSE"},
            timeout=PATIENCE,
            check=False,
        )
        ended = f"ended with {done.returncode}"
    except subprocess.TimeoutExpired:
        ended = f"was not done after {PATIENCE:g} s"
    if ended != "ended with 0":
        raise FileError(
            f"{filename}: damaged or hostile: a process in which PyTables opened it {ended}; it "
            f"can be read, but not added to; {RESCUE}"
        )


def _same_places(one: IndexedColumn, other: IndexedColumn) -> bool:
    return all(np.array_equal(one.chunks[name], other.chunks[name]) for name in ("offset", "size"))

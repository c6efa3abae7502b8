# SPDX-License-Identifier: LGPL-3.0-or-later
"""Opens a damaged file: what its index, HDF5 and its log still say of where its chunks are.

A sound index is all that is needed; whatever HDF5 keeps may be damaged then. Without one HDF5 is
asked, in a process of its own; if the end of the file was cut off, it is shown a copy that is as
long as the file was. An index that is damaged in places still helps: where it and HDF5 agree on a
column, its checksums tell sound chunks from damaged ones.

Chunks that other programs made are decoded here, for what their filters did can be said in a few
lines, and nothing but arrays comes of it.
"""

from __future__ import annotations

import os
import shutil
import zlib
from base64 import b64decode
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gymbag.errors import FileBusy, FileError, NewerFormat, NotAStore
from gymbag.schema import jsonable
from gymbag.storage import disk, footer, lock, log, undo
from gymbag.storage.columns import ColumnSpec
from gymbag.storage.compression import Compression, power_of_two
from gymbag.storage.cutoff import look_at_all, stated_end
from gymbag.storage.footer import CHUNK, END, JSON_BYTES, Footer, IndexedColumn
from gymbag.storage.foreign import BLOSC2, LEGACY
from gymbag.storage.frames import (
    CHUNK_BYTES,
    HEAD_BYTES,
    Damaged,
    unpack,
    unpack_blosc,
    unpack_frame,
)
from gymbag.storage.log import Piece
from gymbag.storage.look import ScannedLeaf
from gymbag.storage.mend import mended_index, ruins_of_index, with_checksums
from gymbag.storage.names import FORMAT, META
from gymbag.storage.snapshot import Snapshot
from gymbag.storage.stored import StoredColumn

DEFLATE, SHUFFLE, FLETCHER32, BLOSC = 1, 2, 3, 32001
INDEX_START = b'{"sequence":'
MOST_INDEX = 1 << 28
MOST_CHUNKS = 1 << 26
MOST_TOLD = 3
SLACK = 1 << 16
"""By how many bytes a chunk may have grown when it was compressed."""


class SalvagedColumn(StoredColumn):
    """A column of which the file may lack parts; each chunk is sound or `Damaged`."""

    def __init__(
        self,
        indexed: IndexedColumn,
        descriptor: int,
        filename: str,
        *,
        leaf: ScannedLeaf | None = None,
        second: SalvagedColumn | None = None,
    ) -> None:
        """Take a column.

        Args:
            indexed: where its chunks are, with their checksums if `leaf` is None.
            descriptor: of the file.
            filename: of the file, for messages.
            leaf: how HDF5 says that its chunks were made.
            second: the column as HDF5 has it, for chunks that cannot be read as `indexed` says.
        """
        super().__init__(indexed, descriptor, filename)
        self.unchecked: set[int] = set()
        """Chunks that were taken although what a damaged index says of them cannot be."""
        self._leaf = leaf
        self._second = second

    def load(self, number: int) -> NDArray[Any]:
        """Return a chunk's values.

        Raises:
            Damaged: it is damaged.
        """
        if self._leaf is not None and number not in self.logged:
            data = self.frame(number)
            return _decode(data, self._leaf) if data else self._zeros()
        try:
            return super().load(number)
        except FileError:
            if self._second is None or number in self.logged or self._agree(number):
                raise
            values = self._second.load(number)
            self.unchecked.add(number)
            return values

    def _agree(self, number: int) -> bool:
        """Return whether the index and HDF5 have a chunk in the same place."""
        places = ["offset", "size"]
        second = self._second
        return second is not None and second.chunks[number][places] == self.chunks[number][places]

    def _zeros(self) -> NDArray[Any]:
        return np.zeros(self.spec.chunk_shape, self.spec.dtype)

    def _read(self, number: int) -> bytes:
        """Return what is there of a chunk; what is missing shows when it is decoded."""
        chunk = self.chunks[number]
        return disk.read_at(self._descriptor, int(chunk["size"]), int(chunk["offset"]))


class Wreck(Snapshot):
    """All columns that can be found in a file, damaged or not."""

    def __init__(self, filename: str, scratch: str) -> None:
        """Open a file; `scratch` is a folder for a copy of it."""
        self.notes: list[str] = []
        self.left_out: dict[str, str] = {}
        """Groups of which nothing can be read, with the reasons."""
        self._scratch = scratch
        super().__init__(filename)

    def _read_columns(self, max_bytes: int) -> None:
        if self.log_descriptor >= 0 and lock.writer_lives(self.log_descriptor):
            raise FileBusy(f"{self.filename}: it is being recorded to; close that recording first")
        self.notes = []
        found = self._sound_index(max_bytes)
        if found is not None:
            self.footer = found
            columns: dict[str, StoredColumn] = {
                path: SalvagedColumn(column, self.descriptor, self.filename)
                for path, column in found.columns.items()
            }
        else:
            columns = self._without_index()
        if self.log_descriptor >= 0:
            self.contents = self._read_log()
            self._alive = False
            self._add_all(self.contents.pieces, columns, max_bytes)
        self.columns = columns

    def _sound_index(self, max_bytes: int) -> Footer | None:
        try:
            return footer.read_footer(self.descriptor, max_bytes)
        except (NotAStore, MemoryError):
            return None

    def _without_index(self) -> dict[str, StoredColumn]:
        """Return the columns by what HDF5 says, and what can be read of a damaged index."""
        torn = torn_index(self.descriptor)
        self.notes.append("the index behind HDF5's end is damaged or gone")
        leaves: dict[str, tuple[ScannedLeaf, IndexedColumn]] = {}
        for leaf in self._look(torn is None):
            path = f"/{'/'.join(leaf.path)}"
            if -(-leaf.rows // leaf.chunk_rows) > MOST_CHUNKS or len(leaf.path) != 2:
                self.notes.append(f"{path}: left out: {leaf.rows:,} rows cannot be")
            else:
                leaves[path] = leaf, _indexed(leaf)
        if torn and not torn.digest:
            places = {path: indexed.chunks for path, (_, indexed) in leaves.items()}
            torn = mended_index(self.descriptor, torn, places) or torn
        ruins = ruins_of_index(self.descriptor, stated_end(self.descriptor))
        columns: dict[str, StoredColumn] = {}
        for path, (leaf, indexed) in leaves.items():
            old = torn.columns.get(path) if torn else None
            if old and not (old.rows == leaf.rows and _same_kind(old.spec, indexed.spec)):
                old = None
            if torn and torn.digest and old:
                columns[path] = SalvagedColumn(old, self.descriptor, self.filename)
                continue
            checked, unknown = with_checksums(self.descriptor, indexed, ruins)
            column = SalvagedColumn(checked, self.descriptor, self.filename, leaf=leaf)
            if old:
                column = SalvagedColumn(old, self.descriptor, self.filename, second=column)
            elif unknown:
                what = f"{unknown} chunks have no checksum, so damage to them may not show"
                self.notes.append(f"{path}: {what}")
            columns[path] = column
        for path, old in torn.columns.items() if torn else ():
            columns.setdefault(path, SalvagedColumn(old, self.descriptor, self.filename))
        for path in columns:
            self.left_out.pop(path[1:].partition("/")[0], None)
        return columns

    def _look(self, needed: bool) -> tuple[ScannedLeaf, ...]:
        try:
            scan = look_at_all(self.filename, self._scratch, self.notes)
        except FileError as error:
            if needed:
                raise
            self.notes.append(f"HDF5 cannot read it: {error}")
            return ()
        if scan.legacy:
            raise NotAStore(f"{self.filename}: {LEGACY}")
        if scan.format is None and needed:
            held = [f"; /{'/'.join(path)}: {reason}" for path, reason in scan.refused.items()]
            what = "an HDF5 file, but not one of gymbag's"
            raise NotAStore(f"{self.filename}: {what}{''.join(held[:MOST_TOLD])}")
        if scan.format is not None and scan.format > FORMAT:
            raise NewerFormat(f"{self.filename}: format {scan.format}; install a later gymbag")
        for path, reason in scan.refused.items():
            if path[1:] in ((), (META,)):
                self.left_out[path[0]] = reason
            else:
                self.notes.append(f"/{'/'.join(path)}: left out: {reason}")
        return scan.leaves

    def _add_all(
        self, pieces: list[Piece], columns: dict[str, StoredColumn], max_bytes: int
    ) -> None:
        for piece in pieces:
            try:
                self._add(piece, columns, max_bytes)
            except FileError as error:
                self.notes.append(f"the rest of the log is left out: {error}")
                return


@contextmanager
def opened_wreck(filename: str, folder: str) -> Iterator[Wreck]:
    """Open a damaged file for a while; copies that are needed are made in `folder`.

    Raises:
        FileBusy: it is being recorded to.
        FileError: nothing of it can be read.
    """
    with ExitStack() as stack:
        scratch = stack.enter_context(TemporaryDirectory(prefix=".gymbag-rescue-", dir=folder))
        if os.path.exists(filename + undo.SUFFIX):
            filename = _put_back(filename, scratch)
        wreck = Wreck(filename, scratch)
        stack.callback(wreck.close)
        yield wreck


def _put_back(filename: str, scratch: str) -> str:
    """Return a copy of a file in which the change is undone that its writer did not complete."""
    copy = os.path.join(scratch, os.path.basename(filename))
    shutil.copyfile(filename, copy)
    if os.path.exists(filename + log.SUFFIX):
        shutil.copyfile(filename + log.SUFFIX, copy + log.SUFFIX)
    descriptor = disk.open_to_change(copy)
    try:
        undo.put_back(filename + undo.SUFFIX, descriptor)
    finally:
        os.close(descriptor)
    return copy


def torn_index(descriptor: int) -> Footer | None:
    """Return what can be read of a damaged index; its digest is 1 if it has its checksum, or 0."""
    size = os.fstat(descriptor).st_size
    length = min(size, MOST_INDEX)
    tail = disk.read_at(descriptor, length, size - length)
    start = tail.rfind(INDEX_START)
    if start < JSON_BYTES.size:
        return None
    body = tail[start - JSON_BYTES.size :]
    (count,) = JSON_BYTES.unpack_from(body)
    place = JSON_BYTES.size + count
    columns: dict[str, IndexedColumn] = {}
    try:
        about = jsonable.loads(body[JSON_BYTES.size : place])
        for content in about["columns"]:
            spec = ColumnSpec.from_json(content)
            rows = int(content["rows"])
            chunks = np.frombuffer(body, CHUNK, -(-rows // spec.chunk_rows), place).copy()
            place += chunks.nbytes
            wild = (chunks["size"] > spec.chunk_nbytes + SLACK) | (chunks["offset"] > size)
            chunks["offset"][wild], chunks["size"][wild] = 0, 1
            copy = b64decode(content.get("copy", ""))
            columns[spec.path] = IndexedColumn(spec, rows, chunks, copy)
        sequence = int(about["sequence"])
    except (FileError, KeyError, TypeError, ValueError, RecursionError, OverflowError):
        sequence = 0
    # Should only what stands behind it be damaged, the index itself is as it was written.
    *_, crc, _ = END.unpack(body[-END.size :]) if len(body) > END.size else (0, 0, 0)
    sound = zlib.crc32(body[: -END.size]) == crc
    return Footer(sequence, size - len(body), sound, columns) if columns else None


def _indexed(leaf: ScannedLeaf) -> IndexedColumn:
    block_rows = power_of_two(leaf.chunk_rows)
    compression = Compression("zstd", 1, leaf.dtype.itemsize > 1, block_rows, leaf.chunk_rows)
    path = f"/{'/'.join(leaf.path)}"
    table = leaf.kind == "table"
    spec = ColumnSpec(path, table, leaf.dtype, leaf.shape, leaf.chunk_rows, compression)
    chunks = np.zeros(-(-leaf.rows // leaf.chunk_rows), CHUNK)
    numbers = leaf.numbers.astype(np.int64)
    chunks["offset"][numbers], chunks["size"][numbers] = leaf.offsets, leaf.sizes
    return IndexedColumn(spec, leaf.rows, chunks)


def _same_kind(one: ColumnSpec, other: ColumnSpec) -> bool:
    return (one.dtype, one.chunk_shape) == (other.dtype, other.chunk_shape)


def _decode(data: bytes, leaf: ScannedLeaf) -> NDArray[Any]:
    """Return the values of a chunk by undoing its filters, the last first.

    Raises:
        Damaged: it holds something else, or was made by a filter that is not known here.
    """
    shape = (leaf.chunk_rows, *leaf.shape)
    nbytes = int(np.prod(shape)) * leaf.dtype.itemsize
    for number, _, options in reversed(leaf.filters):
        if number == BLOSC2:
            return _unpack(data, leaf.dtype, shape)
        if number == DEFLATE:
            data = _inflate(data, nbytes)
        elif number == FLETCHER32:
            data = data[:-4]
        elif number == SHUFFLE:
            data = _unshuffle(data, options[0] if options else leaf.dtype.itemsize)
        elif number == BLOSC:
            data = unpack_blosc(data, np.dtype("u1"), (nbytes,)).tobytes()
        else:
            raise Damaged(f"a chunk made by HDF5's filter {number}, which is not known")
    if len(data) != nbytes:
        raise Damaged(f"a chunk of {len(data)} bytes where {nbytes} belong")
    return np.frombuffer(data, leaf.dtype).reshape(shape).copy()


def _inflate(data: bytes, nbytes: int) -> bytes:
    try:
        return zlib.decompressobj().decompress(data, nbytes + 1)
    except zlib.error as error:
        raise Damaged(f"a chunk that cannot be decompressed ({error})") from None


def _unshuffle(data: bytes, size: int) -> bytes:
    whole = len(data) // max(1, size) * max(1, size)
    values = np.frombuffer(data[:whole], np.uint8).reshape(max(1, size), -1)
    return values.T.tobytes() + data[whole:]


def _unpack(frame: bytes, dtype: np.dtype[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    """Return the values of a frame, its blocks being whatever part of it."""
    blocks = _block_shape(frame, len(shape))
    if blocks is None or blocks[1:] == shape[1:]:
        return unpack_frame(frame, dtype, shape)
    if any(not 0 < block <= SLACK for block in blocks):
        raise Damaged("a chunk cut into tiles that cannot be")
    counts = [-(-length // block) for length, block in zip(shape, blocks, strict=True)]
    head = int.from_bytes(frame[HEAD_BYTES], "big")
    size = int.from_bytes(frame[CHUNK_BYTES], "big")
    # Block after block, those at the edges filled up; so the axes of both are put in turn.
    flat = unpack(frame[head : head + size], dtype, (int(np.prod(counts)) * int(np.prod(blocks)),))
    axes = len(shape)
    order = [axis for pair in zip(range(axes), range(axes, 2 * axes), strict=True) for axis in pair]
    whole = flat.reshape(*counts, *blocks).transpose(order)
    joined = whole.reshape([c * b for c, b in zip(counts, blocks, strict=True)])
    return np.ascontiguousarray(joined[tuple(slice(length) for length in shape)])


def _block_shape(frame: bytes, axes: int) -> tuple[int, ...] | None:
    """Return the shape of a frame's blocks, which its layer "b2nd" says; None without one.

    See `gymbag.storage.frames` for how it says so.
    """
    head = frame[: int.from_bytes(frame[HEAD_BYTES], "big")]
    place = head.find(b"b2nd")
    if place < 0:
        return None
    start = int.from_bytes(head[place + 5 : place + 9], "big") + 5
    if head[start + 2 : start + 3] != bytes([axes]):
        raise Damaged("a chunk of another number of dimensions")
    first = start + 3 + 1 + 9 * axes + 1 + 5 * axes + 1
    marks = [first + 5 * axis + 1 for axis in range(axes)]
    return tuple(int.from_bytes(head[mark : mark + 4], "big") for mark in marks)

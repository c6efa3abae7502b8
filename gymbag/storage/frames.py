# SPDX-License-Identifier: LGPL-3.0-or-later
"""Values to Blosc2 chunks and frames, and back. No file.

A *chunk* is what Blosc2 makes of a buffer. HDF5 stores a chunk inside a *frame*, which says
again how it was made; any HDF5 with the Blosc2 filter reads it. HDF5's own way through its
filters compresses images in tiles, in the thread and under the lock that everyone waits for; so
frames are made here, and HDF5 is handed them ready made.

It is done in the training loop's own thread. Others were measured, on two cores: a thread that
does all of writing makes CartPole-v1 take 1.51 instead of 1.25 times the bare environment, and
one that only compresses, or two of Blosc2's own, make ALE/Breakout-v5 no faster. Environments
such as ALE's hold the interpreter's lock, a core that slept wakes slowly, and a frame that the
other core has just read is three times as dear to overwrite.

What is unpacked may be a stranger's: lengths, filters and codecs are checked before Blosc2 sees
a byte, for it believes what a frame says of itself.
"""

from __future__ import annotations

import struct
from typing import Any

import blosc2
import numpy as np
from numpy.typing import NDArray

from gymbag.errors import FileError
from gymbag.storage.columns import ColumnSpec
from gymbag.storage.compression import Compression

blosc2.set_releasegil(True)  # other threads go on meanwhile

MOST_SHUFFLED = 255
"""Blosc2 shuffles values of up to this many bytes."""
HEAD_BYTES, FRAME_BYTES, CHUNK_BYTES, BLOCK_BYTES = (
    *(slice(11, 15), slice(16, 24)),
    *(slice(39, 47), slice(53, 57)),
)
"""Where a frame says how long its header is, it itself, its chunks together, and a block."""
CODECS = {"zstd": blosc2.Codec.ZSTD, "lz4": blosc2.Codec.LZ4}

FRAME_START = b"\x9e\xa8b2frame\x00\xd2"
"""How a frame begins; the length of its header follows."""
FRAME_LEAST = 87
CHUNK_HEADER = struct.Struct("<4B3I8B8B")
"""Version, its codec's, flags, bytes of a value; bytes, of a block, of the chunk; 6 filters,
the codec, its options; 6 filters' options, more flags."""
OLD_HEADER = struct.Struct("<4B3I")
"""Of Blosc's first version: version, its codec's, flags, bytes of a value; bytes, of a block, of
the chunk."""
PLAIN_FILTERS = {0, 1, 2}
"""None, shuffle, bitshuffle."""
PLAIN_FORMATS = {0, 1, 3, 4}
"""blosclz, lz4, zlib, zstd; the others are codecs that somebody added to Blosc2."""
EXTENDED, SPECIAL = 0x05, 0x70
"""Flags of a chunk: that its header has 32 bytes; that all values are alike. Others would ask for
a dictionary, or for bytes that are not there."""


class Compressor:
    """Makes the frames of one column's chunks, as HDF5's filter reads them.

    A frame of one chunk for the rows of a table, and one that knows its shape for an array. All
    frames of a column are alike but for their chunk and some lengths, so one is made by
    Blosc2, of zeros, and the others from it (https://github.com/Blosc/c-blosc2,
    README_CFRAME_FORMAT.rst); having Blosc2 make each takes as long as to compress 1 MB.
    """

    def __init__(self, spec: ColumnSpec) -> None:
        params = _parameters(spec.dtype, spec.compression)
        if spec.table:
            # Each byte of a row in a stream of its own: so one field can be read alone.
            params["splitmode"] = blosc2.SplitMode.ALWAYS_SPLIT
            model = self._schunk = blosc2.SChunk(chunksize=spec.chunk_nbytes, cparams=params)
            model.fill_special(spec.chunk_rows, blosc2.SpecialValue.ZERO)
        else:
            blocks = (spec.compression.block_rows, *spec.shape)
            model = blosc2.zeros(
                spec.chunk_shape, spec.dtype, chunks=spec.chunk_shape, blocks=blocks, cparams=params
            )
            self._schunk = model.schunk
        self._model = model  # it owns the chunk's memory
        frame = model.to_cframe()
        place = int.from_bytes(frame[HEAD_BYTES], "big")
        self._head, tail = bytearray(frame[:place]), bytearray(frame[place:])
        # A chunk of zeros is not in its frame; ours are, and the first begins at 0.
        tail[CHUNK_HEADER.size : CHUNK_HEADER.size + 8] = bytes(8)
        self._tail = bytes(tail)

    def frame(self, chunk: NDArray[Any]) -> bytes:
        """Return the frame of a whole chunk's values."""
        # Blocks split a chunk along its first axis only, so their bytes follow one another as
        # in the chunk itself.
        return self.framed(_packed(self._schunk, chunk))

    def framed(self, data: bytes) -> bytes:
        """Return the frame of a whole chunk that is packed already, as this column's are."""
        self._head[FRAME_BYTES] = struct.pack(">Q", len(self._head) + len(data) + len(self._tail))
        self._head[CHUNK_BYTES] = struct.pack(">q", len(data))
        self._head[BLOCK_BYTES] = data[11:7:-1]
        return b"".join((self._head, data, self._tail))


class Packer:
    """Packs some rows of an array's chunk, as they are packed in the whole."""

    def __init__(self, spec: ColumnSpec, rows: int) -> None:
        params = _parameters(spec.dtype, spec.compression)
        params["blocksize"] = spec.compression.block_rows * spec.row_nbytes
        self._schunk = blosc2.SChunk(chunksize=rows * spec.row_nbytes, cparams=params)
        self._schunk.fill_special(
            rows * spec.row_nbytes // self._schunk.typesize, blosc2.SpecialValue.ZERO
        )

    def pack(self, values: NDArray[Any]) -> bytes:
        """Return the chunk of the values."""
        return _packed(self._schunk, values)


def _packed(schunk: Any, values: NDArray[Any]) -> bytes:
    schunk.update_data(0, np.ascontiguousarray(values), copy=False)
    return schunk.get_chunk(0)  # type: ignore[no-any-return]


def is_zero(chunk: NDArray[Any]) -> bool:
    """Return whether all bytes are zero; the first row mostly tells, at a fraction of the cost."""
    return not (chunk[:1].view(np.uint8).any() or chunk.view(np.uint8).any())


def pack(values: NDArray[Any], compression: Compression) -> bytes:
    """Return the chunk of any number of values."""
    values = np.ascontiguousarray(values)
    return blosc2.compress2(values, **_parameters(values.dtype, compression))  # type: ignore[no-any-return]


def _parameters(dtype: np.dtype, compression: Compression) -> dict[str, Any]:
    return {
        "codec": CODECS[compression.codec],
        "clevel": compression.level,
        "typesize": min(dtype.itemsize, MOST_SHUFFLED),
        "filters": [blosc2.Filter.SHUFFLE if compression.shuffle else blosc2.Filter.NOFILTER],
        "nthreads": 1,
    }


class Damaged(FileError):
    """Bytes that no column of ours holds."""


def unpack_frame(frame: bytes, dtype: np.dtype, shape: tuple[int, ...]) -> NDArray[Any]:
    """Return the values of a frame.

    Raises:
        Damaged: it holds something else than so many values, or is one that Blosc2's plain
            means did not make.
    """
    return unpack(chunk_of(frame, shape), dtype, shape)


def chunk_of(frame: bytes, shape: tuple[int, ...]) -> memoryview:
    """Return the chunk of that shape that a frame holds.

    Raises:
        Damaged: it holds another, or none.
    """
    if len(frame) < FRAME_LEAST or not frame.startswith(FRAME_START):
        raise Damaged("no Blosc2 frame")
    head = int.from_bytes(frame[HEAD_BYTES], "big")
    length = int.from_bytes(frame[FRAME_BYTES], "big")
    size = int.from_bytes(frame[CHUNK_BYTES], "big")
    if not FRAME_LEAST <= head < len(frame) or length != len(frame):
        raise Damaged(f"a frame of {len(frame)} bytes that says it has {length}")
    if size > len(frame) - head:
        raise Damaged(f"a frame of {len(frame)} bytes with a chunk of {size}")
    if b"b2nd" in frame[:head] and _tiles(frame[:head], shape):
        raise Damaged("a chunk cut into tiles, by another program than gymbag")
    return memoryview(frame)[head : head + size]


def unpack(
    chunk: bytes | memoryview,
    dtype: np.dtype,
    shape: tuple[int, ...],
    out: NDArray[Any] | None = None,
) -> NDArray[Any]:
    """Return the values of a chunk, which must be of this shape; in `out` if it is given.

    Raises:
        Damaged: as for `unpack_frame`.
    """
    values = np.empty(shape, dtype) if out is None else out
    if len(chunk) < CHUNK_HEADER.size:
        raise Damaged(f"a chunk of {len(chunk)} bytes")
    _, _, flags, _, nbytes, block, size, *more = CHUNK_HEADER.unpack_from(chunk)
    filters, codec, last = more[:6], more[6], more[15]
    if nbytes != values.nbytes or size != len(chunk):
        raise Damaged(
            f"a chunk of {len(chunk)} bytes that says it has {size}, and {nbytes} of values "
            f"where {values.nbytes} belong"
        )
    plain = (
        flags & EXTENDED == EXTENDED
        and flags >> 5 in PLAIN_FORMATS
        and PLAIN_FILTERS.issuperset(filters)
        and codec < 32
        and last & SPECIAL == last
        and 0 < block <= max(nbytes, 1)
    )
    if not plain:
        raise Damaged("a chunk made by other than Blosc2's plain means")
    return _decompressed(chunk, values)


def unpack_blosc(chunk: bytes, dtype: np.dtype, shape: tuple[int, ...]) -> NDArray[Any]:
    """Return the values of a chunk of Blosc's first version, which gymbag 0.4.9 wrote.

    Raises:
        Damaged: as for `unpack_frame`.
    """
    values = np.empty(shape, dtype)
    if len(chunk) < OLD_HEADER.size:
        raise Damaged(f"a chunk of {len(chunk)} bytes")
    version, _, flags, _, nbytes, block, size = OLD_HEADER.unpack_from(chunk)
    if nbytes != values.nbytes or size != len(chunk):
        raise Damaged(f"a chunk of {nbytes} bytes of values where {values.nbytes} belong")
    extended = flags & EXTENDED == EXTENDED
    if version != 2 or extended or flags >> 5 not in PLAIN_FORMATS or not 0 < block <= nbytes:
        raise Damaged("a chunk made by other than Blosc's plain means")
    return _decompressed(chunk, values)


def _decompressed(chunk: bytes | memoryview, values: NDArray[Any]) -> NDArray[Any]:
    try:
        blosc2.decompress2(chunk, dst=values, nthreads=1)
    except (RuntimeError, ValueError, TypeError) as error:
        raise Damaged(f"a chunk that cannot be decompressed ({error})") from None
    return values


def _tiles(head: bytes, shape: tuple[int, ...]) -> bool:
    """Return whether a frame's blocks split its chunk along other axes than the first.

    The layer "b2nd" is MessagePack: version, dimensions, and the shapes of all (64-bit numbers),
    of a chunk and of a block (32-bit ones), each number after a mark.
    """
    place = head.index(b"b2nd") + 5
    start = int.from_bytes(head[place : place + 4], "big") + 5
    dimensions = head[start + 2] if start + 2 < len(head) else 0
    if dimensions != len(shape):
        return True
    blocks = start + 3 + 1 + 9 * dimensions + 1 + 5 * dimensions + 1
    marked = (blocks + 5 * axis + 1 for axis in range(dimensions))
    sizes = [int.from_bytes(head[mark : mark + 4], "big") for mark in marked]
    return sizes[1:] != list(shape[1:]) or sizes[0] == 0 or shape[0] % sizes[0] != 0

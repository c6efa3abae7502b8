# SPDX-License-Identifier: LGPL-3.0-or-later
"""Columns as Blosc2 chunks, compressed here and handed to HDF5 ready made.

HDF5's own way through its filters compresses a frame in tiles, in the thread and under the lock
that everyone waits for. A chunk made with python-blosc2 is read back by any HDF5 with the
Blosc2 filter just the same.

It is done in the training loop's own thread. Others were measured, on two cores: a thread that
does all of writing makes CartPole-v1 take 1.51 instead of 1.25 times the bare environment, and
one that only compresses, or two of Blosc2's own, make ALE/Breakout-v5 no faster. Environments
such as ALE's hold the interpreter's lock, a core that slept wakes slowly, and a frame that the
other core has just read is three times as dear to overwrite.
"""

from __future__ import annotations

import math
import struct
from typing import Any

import blosc2
import numpy as np
from numpy.typing import NDArray

from gymbag.storage.compression import Compression
from gymbag.storage.handles import LOCK, Connection

MOST_SHUFFLED = 255
"""Blosc2 shuffles values of up to this many bytes."""
FRAME_BYTES, CHUNK_BYTES = slice(16, 24), slice(39, 47)
"""Where a frame's header says how long the frame is, and how long its chunks are together."""
CODECS = {"zstd": blosc2.Codec.ZSTD, "lz4": blosc2.Codec.LZ4}


class Compressor:
    """Makes the Blosc2 frames of one column's chunks, as HDF5's filter reads them.

    A frame of one chunk for the rows of a table, and one that knows its shape for an array. All
    frames of a column are alike but for their chunk and for two lengths, so one is made by
    Blosc2 and the others from it (https://github.com/Blosc/c-blosc2,
    README_CFRAME_FORMAT.rst); having Blosc2 make each takes as long as to compress 1 MB.
    """

    def __init__(
        self, dtype: np.dtype, chunkshape: tuple[int, ...], compression: Compression
    ) -> None:
        shuffle = blosc2.Filter.SHUFFLE if compression.shuffle else blosc2.Filter.NOFILTER
        params = {
            "codec": CODECS[compression.codec],
            "clevel": compression.level,
            "typesize": min(dtype.itemsize, MOST_SHUFFLED),
            "filters": [shuffle],
            "nthreads": 1,
        }
        # Not all bytes alike: such a chunk would be stored as that one byte.
        model = np.arange(math.prod(chunkshape) * dtype.itemsize, dtype=np.uint8)
        model = model.view(dtype).reshape(chunkshape)
        if dtype.fields:
            model_frame = blosc2.SChunk(chunksize=model.nbytes, data=model, cparams=params)
            self._schunk = model_frame
        else:
            blocks = (compression.block_rows, *chunkshape[1:])
            model_frame = blosc2.asarray(model, chunks=chunkshape, blocks=blocks, cparams=params)
            self._schunk = model_frame.schunk
        self._model_frame = model_frame  # it owns the chunk's memory
        frame, chunk = model_frame.to_cframe(), self._schunk.get_chunk(0)
        place = frame.index(chunk)
        self._head = bytearray(frame[:place])
        self._tail = frame[place + len(chunk) :]

    def compress(self, chunk: NDArray[Any]) -> bytes:
        """Return the frame of a chunk."""
        # Blocks split a chunk along its first axis only, so their bytes follow one another as
        # in the chunk itself.
        self._schunk.update_data(0, np.ascontiguousarray(chunk), copy=False)
        data = self._schunk.get_chunk(0)
        self._head[FRAME_BYTES] = struct.pack(">Q", len(self._head) + len(data) + len(self._tail))
        self._head[CHUNK_BYTES] = struct.pack(">q", len(data))
        return b"".join((self._head, data, self._tail))


class ColumnWriter:
    """Appends to one table or array of the file, whole chunks at a time.

    The rows of the last, unfilled chunk wait here; `flush` writes them in a chunk that is
    written again when it is full.
    """

    def __init__(self, connection: Connection, path: str, compression: Compression) -> None:
        self._connection = connection
        self._path = path
        with LOCK:
            leaf = connection.node(path)
            self.rows = int(leaf.nrows)
            """Rows appended so far."""
            self.dtype: np.dtype = leaf.dtype
            self._shape = tuple(int(size) for size in leaf.chunkshape)
            self._tail = np.zeros(self._shape, dtype=self.dtype)
            self._filled = self.rows % len(self._tail)
            if self._filled:
                self._tail[: self._filled] = leaf[self.rows - self._filled : self.rows]
        self._compressor = Compressor(self.dtype, self._shape, compression)
        self._clean = True

    def append(self, values: NDArray[Any]) -> None:
        """Append values, one for each row; they must not be changed afterwards."""
        size = len(self._tail)
        start = 0
        while start < len(values):
            if not self._filled and len(values) - start >= size:
                self.rows += size
                self._write(values[start : start + size])
                start += size
                continue
            count = min(size - self._filled, len(values) - start)
            self._tail[self._filled : self._filled + count] = values[start : start + count]
            self._advance(count)
            start += count

    def skip(self, count: int) -> None:
        """Append so many zeros; a chunk of nothing else takes no space."""
        while count:
            part = min(len(self._tail) - self._filled, count)
            self._advance(part)
            count -= part

    def flush(self) -> None:
        """Write the rows of the unfilled chunk."""
        if not self._clean:
            self._write(self._tail)
            self._clean = True

    def _advance(self, count: int) -> None:
        self._filled += count
        self.rows += count
        self._clean = False
        if self._filled == len(self._tail):
            self.flush()
            self._tail[:] = 0
            self._filled = 0

    def _write(self, chunk: NDArray[Any]) -> None:
        """Write the chunk that the last row is in."""
        first = (self.rows - 1) // len(chunk) * len(chunk)
        frame = None if _is_zero(chunk) else self._compressor.compress(chunk)
        with LOCK:
            leaf = self._connection.node(self._path)
            if leaf.nrows < self.rows:
                leaf.truncate(self.rows)
            if frame is not None:
                leaf.write_chunk((first,) + (0,) * (chunk.ndim - 1), frame)


def _is_zero(chunk: NDArray[Any]) -> bool:
    """Return whether all bytes are zero; the first row mostly tells, at a fraction of the cost."""
    return not (chunk[:1].view(np.uint8).any() or chunk.view(np.uint8).any())

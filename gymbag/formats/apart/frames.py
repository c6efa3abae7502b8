# SPDX-License-Identifier: LGPL-3.0-or-later
"""Reads frames of LeRobot's: rows of Parquet files with pyarrow, and of MP4 videos with PyAV.

Both go on where the answer before ended, as long as what is asked for comes later in the file.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from gymbag.formats.apart.reader import Leaf, Reader, Refused, require_plain

PICTURES = ("PNG", "JPEG")
BATCH_ROWS = 64
LISTS = ("list", "large_list", "fixed_size_list")
"""How the names of types begin that hold others."""


class FramesReader(Reader):
    """Reads the rows ``rows`` of the columns in ``columns``, or all; ``shapes`` says how they are.

    A column that is not there is left out. One of bytes holds images.
    """

    def __init__(self, file: str, most: int) -> None:
        super().__init__(file, most)
        self.arrow: Any = importlib.import_module("pyarrow")
        self.parquet: Any = importlib.import_module("pyarrow.parquet")
        require_plain(self.path)
        self.file = self.parquet.ParquetFile(self.path)
        self.columns: list[str] = []
        self.at = 0
        self.rest: Any = None
        self.batches: Iterator[Any] = iter(())

    def close(self) -> None:
        """Close the file."""
        self.file.close()

    def attributes(self) -> dict[str, Any]:
        """Return how many rows there are."""
        return {"rows": self.file.metadata.num_rows}

    def arrays(self) -> Iterator[Leaf]:
        """Iterate over the columns."""
        rows = self.request.get("rows")
        start, stop = rows or (0, self.file.metadata.num_rows)
        there = set(self.file.schema_arrow.names)
        columns = [name for name in self.request["columns"] if name in there]
        if start < self.at or columns != self.columns:
            self.columns, self.at, self.rest = columns, 0, None
            self.batches = self.file.iter_batches(BATCH_ROWS, columns=columns, use_threads=False)
        parts = list(self.parts(start, stop))
        if not parts:
            raise Refused(f"{self.path.name} has no rows")
        table = self.arrow.Table.from_batches(parts).combine_chunks()
        # Else what it says of itself is believed, and what lies behind it in memory is read.
        table.validate(full=True)
        for name in columns:
            yield (name,), self.column(name, table.column(name).combine_chunks())

    def parts(self, start: int, stop: int) -> Iterator[Any]:
        """Iterate over the rows from one to the other, in pieces; those before are left out."""
        while self.at < stop:
            if not self.rest:
                self.rest = next(self.batches, None)
                if self.rest is None:
                    raise Refused(f"{self.path.name} has {self.at} rows; expected {stop} or more")
            left_out = max(start - self.at, 0)
            count = min(left_out or stop - self.at, len(self.rest))
            if not left_out:
                part = self.rest.slice(0, count)
                self.take(part.nbytes, (self.path.name,))
                yield part
            self.rest = self.rest.slice(count)
            self.at += count

    def column(self, name: str, column: Any) -> Any:
        """Return a column as one array, or as texts."""
        types, n = self.arrow.types, len(column)
        column = getattr(column, "storage", column)
        if types.is_struct(column.type):
            column = column.field("bytes")
        if column.null_count:
            raise Refused(f"{name} has rows without a value; expected one in each")
        if types.is_binary(column.type) or types.is_large_binary(column.type):
            return self.decode_images((name,), column.to_pylist(), PICTURES)
        while str(column.type).startswith(LISTS):
            column = column.flatten()
        if types.is_string(column.type) or types.is_large_string(column.type):
            return column.to_pylist()
        values = column.to_numpy(zero_copy_only=False)
        shape = self.request.get("shapes", {}).get(name, [])
        if values.size != n * math.prod(shape):
            raise Refused(f"{name}: found {values.size} values in {n} rows; expected {shape} each")
        return values.reshape(n, *shape)


class VideoReader(Reader):
    """Reads ``count`` images of an MP4 file, ``fps`` a second, from the second ``start`` on."""

    def __init__(self, file: str, most: int) -> None:
        super().__init__(file, most)
        self.av: Any = importlib.import_module("av")
        require_plain(self.path)
        self.container: Any = None
        self.frames: Iterator[Any] = iter(())
        self.last: Any = None

    def close(self) -> None:
        """Close the file."""
        if self.container is not None:
            self.container.close()

    def open(self) -> None:
        """Begin with the first image."""
        self.close()
        # Only as MP4: some of FFmpeg's other formats name further files.
        self.container = self.av.open(str(self.path), format="mp4")
        if not self.container.streams.video:
            raise Refused(f"{self.path.name} has no video")
        self.frames = self.container.decode(self.container.streams.video[0])
        self.last = next(self.frames, None)

    def attributes(self) -> dict[str, Any]:
        """Return nothing."""
        return {}

    def arrays(self) -> Iterator[Leaf]:
        """Iterate over the one array of images."""
        start, count, fps = (self.request[key] for key in ("start", "count", "fps"))
        near = 0.5 / fps
        if self.last is None or self.last.time > start + near:
            self.open()
        images: Any = None
        for k in range(count):
            wanted = start + k / fps
            while self.last is not None and self.last.time < wanted - near:
                self.last = next(self.frames, None)
            if self.last is None or self.last.time > wanted + near:
                raise Refused(f"{self.path.name} has no image at {wanted:g} s")
            shape = (self.last.height, self.last.width, 3)
            if images is None:
                self.take(count * math.prod(shape), (self.path.name,))
                images = np.empty((count, *shape), np.uint8)
            if shape != images.shape[1:]:
                raise Refused(f"{self.path.name}: images of {images.shape[1:]} and {shape}")
            images[k] = self.last.to_ndarray(format="rgb24")
        yield (), images

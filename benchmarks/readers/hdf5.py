# SPDX-License-Identifier: LGPL-3.0-or-later
"""HDF5 as one writes it with h5py: gzip, and a choice of chunks."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import h5py
import numpy as np
from numpy.typing import NDArray

from benchmarks.experience import Experience
from benchmarks.readers import Rows
from benchmarks.readers.columns import Columns

FILE = "recording.h5"
CACHE_BYTES = 64 << 20


class Chosen(Columns):
    """Chunks as h5py chooses them."""

    frames: ClassVar[int | None] = None
    """How many observations make a chunk, if h5py does not choose."""

    def __init__(self, folder: Path) -> None:
        # A cache that holds more than one chunk, for rows are read one by one.
        self._file = h5py.File(folder / FILE, rdcc_nbytes=CACHE_BYTES)
        super().__init__(self._file)

    @classmethod
    def write(cls, data: Experience, folder: Path) -> None:
        """Write each column as a data set."""
        with h5py.File(folder / FILE, "w") as file:
            for name, column in data._asdict().items():
                chunks: Any = True
                if cls.frames and name == "observations":
                    chunks = (min(cls.frames, len(column)), *column.shape[1:])
                file.create_dataset(name, data=column, chunks=chunks, compression="gzip")

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def take(self, name: str, rows: Rows) -> NDArray[Any]:
        """Return a column at ascending rows."""
        column = self._columns[name]
        if column.ndim > 2:
            # Far quicker than to ask h5py for all of them together.
            return np.array([column[row] for row in rows.tolist()])
        found: NDArray[Any] = column[rows]
        return found


class OneFrame(Chosen):
    """Each frame is a chunk."""

    frames = 1


class SixteenFrames(Chosen):
    """Sixteen frames are a chunk."""

    frames = 16

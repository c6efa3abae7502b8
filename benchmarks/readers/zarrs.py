# SPDX-License-Identifier: LGPL-3.0-or-later
"""Zarr, compressed as it does if nothing is said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import zarr
from numpy.typing import NDArray

from benchmarks.experience import Experience
from benchmarks.readers import Rows
from benchmarks.readers.columns import Columns

CHUNK_BYTES = 2_000_000


class Zarr(Columns):
    """A folder with a file for each chunk, of about 2 MB before compression."""

    def __init__(self, folder: Path) -> None:
        group = zarr.open_group(folder, mode="r")
        super().__init__({name: group[name] for name in Experience._fields})

    @classmethod
    def write(cls, data: Experience, folder: Path) -> None:
        """Write each column as an array."""
        group = zarr.open_group(folder, mode="a")
        for name, column in data._asdict().items():
            rows = max(1, min(len(column), CHUNK_BYTES // column[:1].nbytes))
            chunks = rows, *column.shape[1:]
            array = group.create_array(name, shape=column.shape, dtype=column.dtype, chunks=chunks)
            array[:] = column

    def take(self, name: str, rows: Rows) -> NDArray[Any]:
        """Return a column at ascending rows."""
        found: NDArray[Any] = self._columns[name].oindex[rows]
        return found

# SPDX-License-Identifier: LGPL-3.0-or-later
"""How a column stands in a file. Pure.

A description may come from a stranger's file: everything in it is checked before it is believed.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gymbag.errors import NotAStore
from gymbag.storage.compression import CODECS, Compression

PLAIN_DTYPE = re.compile(r"[<>|](?:b1|[iu][1248]|f[248]|c8|c16|S\d{1,7})")
PATH = re.compile(r"/[^/]+/[^/]+")
MOST_FIELDS = 4096
MOST_DIMENSIONS = 31
"""HDF5 allows 32, the rows' included."""
MOST_CHUNK = 1 << 31
"""Bytes of a chunk before compression that Blosc2 could hold at most."""


@dataclass(frozen=True, slots=True)
class ColumnSpec:
    """One table or array of the file: what HDF5 is to be told of it."""

    path: str
    """Inside the file: group and name."""
    table: bool
    """Whether it is a table rather than an array."""
    dtype: np.dtype
    shape: tuple[int, ...]
    """Of one entry."""
    chunk_rows: int
    compression: Compression

    @property
    def chunk_shape(self) -> tuple[int, ...]:
        """Shape of a chunk."""
        return (self.chunk_rows, *self.shape)

    @property
    def part_rows(self) -> int:
        """How many entries can be unpacked without others."""
        block_rows = self.compression.block_rows
        alone = not self.table and self.chunk_rows % block_rows == 0
        return block_rows if alone else self.chunk_rows

    @property
    def row_nbytes(self) -> int:
        """Bytes of one entry."""
        return self.dtype.itemsize * math.prod(self.shape)

    @property
    def chunk_nbytes(self) -> int:
        """Bytes of a chunk before compression."""
        return self.chunk_rows * self.row_nbytes

    def to_json(self) -> dict[str, Any]:
        """Return what `from_json` takes."""
        return {
            "path": self.path,
            "table": self.table,
            "dtype": np.lib.format.dtype_to_descr(self.dtype),
            "shape": list(self.shape),
            "chunk_rows": self.chunk_rows,
            "compression": asdict(self.compression),
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> ColumnSpec:
        """Return the column that a file describes.

        Raises:
            NotAStore: the description is not one of a column.
        """
        try:
            path, table = content["path"], content["table"]
            dtype = restore_dtype(content["dtype"])
            shape = tuple(_count(size) for size in content["shape"])
            compression = Compression(**content["compression"])
            spec = cls(path, table, dtype, shape, _count(content["chunk_rows"]), compression)
            _require(isinstance(path, str) and PATH.fullmatch(path) is not None, "the path")
            _require(isinstance(table, bool) and len(shape) <= MOST_DIMENSIONS, "the kind")
            _require(compression.codec in CODECS and 0 <= compression.level <= 9, "the codec")
            _require(0 < _count(compression.block_rows) <= spec.chunk_rows, "the blocks")
            _require(0 < spec.chunk_nbytes < MOST_CHUNK, "the size of a chunk")
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise NotAStore(
                f"the description of a column is damaged ({error!r:.200}): {content!r:.200}"
            ) from None
        return spec


def restore_dtype(content: Any) -> np.dtype:
    """Return the dtype that NumPy described; plain values and records of them, nothing else.

    >>> restore_dtype([["a", "<f4"], ["b", "|u1", [2]]])
    dtype([('a', '<f4'), ('b', 'u1', (2,))])
    """
    if isinstance(content, str):
        if not PLAIN_DTYPE.fullmatch(content):
            raise ValueError(f"the dtype {content!r:.40}")
        return np.dtype(content)
    if not isinstance(content, list) or not 0 < len(content) <= MOST_FIELDS:
        raise ValueError(f"the dtype {content!r:.40}")
    fields = []
    for name, kind, *shape in content:
        sizes = tuple(_count(size) for size in shape[0]) if shape else ()
        if not isinstance(name, str) or not isinstance(kind, str) or len(sizes) > MOST_DIMENSIONS:
            raise ValueError(f"the field {name!r:.40}")
        if math.prod(sizes) >= MOST_CHUNK:
            raise ValueError(f"the field {name!r:.40} of shape {sizes}")
        fields.append((name, restore_dtype(kind), sizes))
    return np.dtype(fields)


def _require(holds: bool, what: str) -> None:
    if not holds:
        raise ValueError(what)


def _count(value: Any) -> int:
    """Return a positive number that can count something."""
    if type(value) is not int or not 0 < value < MOST_CHUNK:
        raise ValueError(f"the number {value!r:.40}")
    return value


def opaque(rows: NDArray[Any]) -> NDArray[Any]:
    """Return the same memory as entries without fields, if it has fields.

    NumPy copies rows of a table field by field, at 30 times the cost.

    >>> opaque(np.zeros(3, "u1, f8")).dtype, opaque(np.zeros(3)).dtype
    (dtype('V9'), dtype('float64'))
    """
    return rows if rows.dtype.names is None else rows.view(f"V{rows.itemsize}")

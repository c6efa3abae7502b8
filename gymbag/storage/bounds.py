# SPDX-License-Identifier: LGPL-3.0-or-later
"""Between which values a chunk's lie: what a question need not unpack it for. Pure.

For each full chunk of a narrow column the index keeps the least and the greatest value of each
field, and whether a NaN is among them. They are taken while a chunk passes on its way into the
file, so there is nothing to build, and nothing that could be out of date.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gymbag.storage.columns import ColumnSpec
from gymbag.storage.names import EPISODES, META

MOST_VALUES = 16
"""A field of more values in each entry is not looked at."""
VALUES = "values"
"""The one field of an array's bounds; those of a table have its own names."""


def bounds_dtype(spec: ColumnSpec) -> np.dtype | None:
    """Return the dtype of what is kept for a chunk: for each field `low`, `high` and `nan`.

    Returns:
        None: nothing is, for there is no narrow field of numbers, or nobody asks for rows by it.

    >>> from gymbag.storage.compression import TEXT
    >>> spec = ColumnSpec("/a/x", False, np.dtype("<f4"), (2,), 64, TEXT)
    >>> bounds_dtype(spec)["values"].names, bounds_dtype(spec).itemsize
    (('low', 'high', 'nan'), 17)
    """
    name = spec.path.rpartition("/")[2]
    if name in (META, EPISODES) or "#" in name:
        return None
    fields = []
    for field in spec.dtype.names or (VALUES,):
        kind, shape = _field(spec, field)
        if kind.kind in "biuf" and math.prod(shape) <= MOST_VALUES:
            fields.append((field, [("low", kind, shape), ("high", kind, shape), ("nan", "?")]))
    return np.dtype(fields) if fields else None


def _field(spec: ColumnSpec, field: str) -> tuple[np.dtype, tuple[int, ...]]:
    if spec.dtype.names is None:
        return spec.dtype, spec.shape
    dtype = spec.dtype[field]
    return dtype.base, dtype.shape


def bounds_of(chunk: NDArray[Any], dtype: np.dtype) -> NDArray[Any]:
    """Return the bounds of a chunk's values.

    Where all of a field's values are NaN, the least is infinite and the greatest is -infinite.

    >>> dtype = np.dtype([("values", [("low", "f8"), ("high", "f8"), ("nan", "?")])])
    >>> bounds_of(np.array([2.0, np.nan, 1.0]), dtype).item()
    ((1.0, 2.0, True),)
    """
    found = np.zeros((), dtype)
    for field in dtype.names or ():
        values, bounds = chunk if chunk.dtype.names is None else chunk[field], found[field]
        # Along rows that lie in memory one after another it takes a tenth of the time.
        values = np.ascontiguousarray(np.moveaxis(values, 0, -1))
        bounds["low"] = np.fmin.reduce(values, axis=-1)
        bounds["high"] = np.fmax.reduce(values, axis=-1)
        if values.dtype.kind == "f":
            empty = np.isnan(bounds["low"])
            bounds["nan"] = empty.any() or np.isnan(values).any()
            bounds["low"] = np.where(empty, math.inf, bounds["low"])
            bounds["high"] = np.where(empty, -math.inf, bounds["high"])
    return found


def no_bounds(count: int, dtype: np.dtype) -> NDArray[Any]:
    """Return the bounds of so many chunks of which nothing is known."""
    unknown = np.zeros(count, dtype)
    for field in dtype.names or ():
        kind = dtype[field]["low"].base
        if kind.kind == "f":
            least, most = -math.inf, math.inf
        elif kind.kind == "b":
            least, most = False, True
        else:
            least, most = np.iinfo(kind).min, np.iinfo(kind).max
        unknown[field]["low"], unknown[field]["high"], unknown[field]["nan"] = least, most, True
    return unknown


def covers(bounds: NDArray[Any], chunk: NDArray[Any]) -> bool:
    """Return whether the values of a chunk lie where its bounds say."""
    found = bounds_of(chunk, bounds.dtype)
    return all(
        np.all(bounds[field]["low"] <= found[field]["low"])
        and np.all(bounds[field]["high"] >= found[field]["high"])
        and (bounds[field]["nan"] or not found[field]["nan"])
        for field in bounds.dtype.names or ()
    )


class Bounds(NamedTuple):
    """Between which values a column's entries lie, stretch of rows by stretch."""

    stops: NDArray[np.int64]
    """(n,): the row after each stretch's last; the first stretch begins at row 0."""
    low: NDArray[Any]
    """(n, ...)"""
    high: NDArray[Any]
    """(n, ...)"""
    nan: NDArray[np.bool_]
    """(n,): whether a NaN may be among them."""

    def over(self, size: int) -> Bounds:
        """Return the bounds of stretches of so many rows, the last one perhaps shorter.

        >>> bounds = Bounds(
        ...     np.array([2, 4, 5]),
        ...     np.array([3, 1, 2]),
        ...     np.array([7, 8, 9]),
        ...     np.array([False, False, True]),
        ... )
        >>> bounds.over(3).low, bounds.over(3).high, bounds.over(3).nan
        (array([1, 1]), array([8, 9]), array([False,  True]))
        """
        rows = int(self.stops[-1]) if len(self.stops) else 0
        starts = np.arange(0, rows, size)
        stops = np.minimum(starts + size, rows)
        first = np.searchsorted(self.stops, starts, side="right")
        after = np.searchsorted(self.stops, stops, side="left") + 1
        # Reduced are the parts between each two places: every second is one that was asked for.
        places = np.stack((first, after), axis=1).ravel()
        ways: tuple[np.ufunc, ...] = (np.minimum, np.maximum, np.logical_or)
        reduced = (
            # With one entry more the last place may be the end.
            way.reduceat(np.concatenate((values, values[-1:])), places, axis=0)[::2]
            for way, values in zip(ways, self[1:], strict=True)
        )
        return Bounds(stops, *reduced) if rows else self


def joined(parts: Sequence[Bounds]) -> Bounds:
    """Return the bounds of columns that follow one another."""
    stops, end = [], 0
    for part in parts:
        stops.append(end + part.stops)
        end = int(stops[-1][-1]) if len(part.stops) else end
    return Bounds(
        np.concatenate(stops),
        *(np.concatenate([part[place] for part in parts]) for place in (1, 2, 3)),
    )

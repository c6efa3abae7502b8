# SPDX-License-Identifier: LGPL-3.0-or-later
"""Between which values the fields of a data set lie, as far as its index knows.

Columns are cut into chunks of different sizes; here all are spoken of in the same stretches of
rows.
"""

from __future__ import annotations

import numpy as np

from gymbag.catalogue import EPISODE_FIELDS, INFO, STEP_FIELDS, DatasetCatalogue
from gymbag.query import Between, Field
from gymbag.schema import Column
from gymbag.schema.arrays import ArrayCodec, DiscreteCodec
from gymbag.schema.info import CELL_COLUMNS
from gymbag.storage.entries import Reader


def between(field: Field, reader: Reader, catalogue: DatasetCatalogue, size: int) -> Between | None:
    """Return between which values a field lies in each stretch of so many rows.

    Returns:
        None: that is not known, or needs more than a look at one column.
    """
    if field.name in EPISODE_FIELDS or field.kind == "text":
        return None
    if field.name == "done":
        ended = [
            between(STEP_FIELDS[name], reader, catalogue, size)
            for name in ("terminated", "truncated")
        ]
        return _either(*ended)
    if field.name in STEP_FIELDS:
        table = {column.name: column for column in reader.meta.schema.table}
        return _stretched(table[field.name], reader, size)
    if field.name.startswith(INFO):
        columns = catalogue.info_columns(field)
        # A value that did not fit its column is in a cell, and can be anything.
        if len(columns) > 1 or reader.has(CELL_COLUMNS[0]):
            return None
        return _with_gaps(_stretched(columns[0].columns[0], reader, size))
    codec = catalogue.codec(field.name)
    if not isinstance(codec, ArrayCodec | DiscreteCodec) or not codec.columns:
        return None
    if type(codec).decode not in (ArrayCodec.decode, DiscreteCodec.decode):
        return None
    known = _stretched(codec.columns[0], reader, size)
    if known is None:
        return None
    known = _decoded(known, codec.dtype)
    # The null action of a reset was never taken.
    return _with_gaps(known) if field.name.startswith("action") else known


def _stretched(column: Column, reader: Reader, size: int) -> Between | None:
    bounds = reader.bounds(column)
    return None if bounds is None else Between(*bounds.over(size)[1:])


def _decoded(known: Between, dtype: np.dtype) -> Between:
    """Return the same in the space's own dtype, which can be narrower than that of the column."""
    low, high = known.low.astype(dtype), known.high.astype(dtype)
    if dtype.kind in "iu" and not np.can_cast(known.low.dtype, dtype):
        limits = np.iinfo(dtype)
        # What is beyond these comes out anywhere between them, and not in its order.
        beyond = (known.low < limits.min) | (known.high > limits.max)
        low[beyond], high[beyond] = limits.min, limits.max
    return known._replace(low=low, high=high)


def _either(one: Between | None, other: Between | None) -> Between | None:
    """Return what is known of one flag or another."""
    if one is None or other is None:
        return None
    return Between(one.low | other.low, one.high | other.high, one.gaps | other.gaps)


def _with_gaps(known: Between | None) -> Between | None:
    """Return the same of a field that has no value in some rows."""
    return None if known is None else known._replace(gaps=known.gaps | True)

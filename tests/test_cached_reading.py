# SPDX-License-Identifier: LGPL-3.0-or-later
"""However much is kept of what was decoded, the same is read."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gymbag.schema import Column
from gymbag.storage.reader import DatasetReader
from tests.damage import CHUNK_ROWS, NAME, record

BUDGETS = {"nothing": 0, "a chunk or two": 4 << 10, "all": 1 << 20}


@pytest.fixture(scope="module")
def readers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, DatasetReader]:
    path = record(tmp_path_factory.mktemp("cached") / "x.h5")
    return {name: DatasetReader(path, NAME, cache_bytes=budget) for name, budget in BUDGETS.items()}


@pytest.fixture(scope="module")
def columns(readers: dict[str, DatasetReader]) -> dict[str, tuple[Column, np.ndarray]]:
    """Return columns of the table and beside it, with all their values read without a cache."""
    reader = readers["all"]
    schema = reader.meta.schema
    steps = reader._column("steps").read(0, reader.rows)
    found = {c.name: (c, steps[c.name]) for c in schema.table}
    camera = next(c for c in schema.beside if c.name == "observation.camera")
    return found | {camera.name: (camera, reader._column(camera.name).read(0, reader.rows))}


@given(data=st.data())
def test_the_same_is_read(
    readers: dict[str, DatasetReader],
    columns: dict[str, tuple[Column, np.ndarray]],
    data: st.DataObject,
) -> None:
    column, values = columns[data.draw(st.sampled_from(sorted(columns)))]
    reader = readers[data.draw(st.sampled_from(sorted(BUDGETS)))]
    places = st.integers(0, len(values) - 1)
    if data.draw(st.booleans()):
        start, stop = sorted((data.draw(places), data.draw(places)))
        rows = np.arange(start, stop)
    else:
        rows = np.array(data.draw(st.lists(places, max_size=3 * CHUNK_ROWS)), np.int64)
    taken = reader.take(column, rows)
    assert taken.dtype == column.dtype
    assert np.array_equal(taken, values[rows], equal_nan=column.dtype.kind == "f")
    # It is the caller's own.
    taken[:] = 0
    assert np.array_equal(
        reader.take(column, rows), values[rows], equal_nan=column.dtype.kind == "f"
    )
    assert reader._kept.nbytes <= max(reader._kept.budget, 1)

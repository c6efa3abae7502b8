# SPDX-License-Identifier: LGPL-3.0-or-later
"""Recordings as tables: what is written comes back, and pandas, Polars and Arrow see the same."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any
from unittest import mock

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import gymbag
from gymbag import compare, convert, formats
from gymbag.errors import FormatError
from gymbag.formats.tabular import table
from tests.spaces import EXAMPLES, any_space, same
from tests.test_roundtrip import infos, plans, record

FILES = ("x.parquet", "x.arrow")


def assert_same(one: Any, other: Any) -> None:
    """Check that two sources hold the same, dtypes and bits included."""
    found = compare(one, other, times=True)
    assert found, str(found)
    assert not found.notes
    for mine, theirs in zip(one.iter_episodes(), other.iter_episodes(), strict=True):
        assert all(map(same, map(tuple, mine.steps()), map(tuple, theirs.steps())))
    assert (one.description, one.env_spec) == (other.description, other.env_spec)
    assert str(one.metadata) == str(other.metadata)


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_any_recording_comes_back(data: st.DataObject, tmp_path_factory: Any) -> None:
    folder = tmp_path_factory.mktemp("tabular")
    space, action_space = data.draw(any_space()), data.draw(any_space())
    draw_info = lambda: data.draw(infos)  # noqa: E731
    about = {"description": "d", "metadata": {"x": np.arange(3)}, "env_spec": "{}"}
    record(folder / "x.h5", space, action_space, data.draw(plans), draw_info, **about)
    most = data.draw(st.sampled_from([1, 3, 1 << 17]))
    with gymbag.open(folder / "x.h5") as store, mock.patch.object(table, "MOST_ROWS", most):
        for file in FILES:
            assert convert(store, folder / file) == []
            copy = formats.read(folder / file)
            assert_same(store, copy)
            assert copy.name == "x"
        # What is no store takes the way over a file.
        assert convert(copy, folder / "again.parquet") == []
        assert_same(store, formats.read(folder / "again.parquet"))


@pytest.mark.parametrize("space", EXAMPLES.values(), ids=EXAMPLES)
def test_every_space(space: Any, tmp_path: Path) -> None:
    space.seed(5)
    plan = [(9, "terminated", 1, None), (3, "reset", None, {"a": 1})]
    record(tmp_path / "x.h5", space, space, plan, dict)
    with gymbag.open(tmp_path / "x.h5") as store:
        for file in FILES:
            convert(store, tmp_path / file)
            assert_same(store, formats.read(tmp_path / file))

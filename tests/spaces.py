# SPDX-License-Identifier: LGPL-3.0-or-later
"""Spaces to test with: one list of examples that feeds every suite, and a strategy for more."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces
from hypothesis import strategies as st

EXAMPLES: dict[str, spaces.Space[Any]] = {
    "box": spaces.Box(-1, 1, (3,)),
    "box-scalar": spaces.Box(0, 1, ()),
    "box-empty": spaces.Box(0, 1, (2, 0)),
    "box-infinite": spaces.Box(-np.inf, np.inf, (2, 3), np.float64),
    "box-half-infinite": spaces.Box(np.array([0, -np.inf], "f4"), np.array([np.inf, 1], "f4")),
    "box-image": spaces.Box(0, 255, (6, 5, 3), np.uint8),
    "box-wide": spaces.Box(0, 255, (70, 60, 1), np.uint8),
    "box-float16": spaces.Box(-1, 1, (2,), np.float16),
    "box-uint64": spaces.Box(0, 2**64 - 1, (2,), np.uint64),
    "discrete": spaces.Discrete(4),
    "discrete-start": spaces.Discrete(5, start=-3),
    "discrete-large": spaces.Discrete(70_000, start=7),
    "discrete-int32": spaces.Discrete(300, dtype=np.int32),
    "multidiscrete": spaces.MultiDiscrete([3, 400], start=[0, -9]),
    "multidiscrete-2d": spaces.MultiDiscrete(np.array([[2, 3], [4, 5]]), dtype=np.int16),
    "multibinary": spaces.MultiBinary(5),
    "multibinary-2d": spaces.MultiBinary((2, 3)),
    "text": spaces.Text(8),
    "text-unicode": spaces.Text(4, min_length=0, charset="aß€\0"),
    "dict": spaces.Dict(pose=spaces.Box(-1, 1, (2,)), goal=spaces.Dict(id=spaces.Discrete(3))),
    "dict-odd-keys": spaces.Dict({"a b": spaces.Discrete(2), 'q"/.%': spaces.Discrete(3)}),
    "dict-int-keys": spaces.Dict({1: spaces.Discrete(2), 2: spaces.Text(2)}),
    "dict-empty": spaces.Dict({}),
    "tuple": spaces.Tuple((spaces.Discrete(2), spaces.Box(0, 1, (2,)), spaces.Text(3))),
    "tuple-empty": spaces.Tuple(()),
    "oneof": spaces.OneOf([spaces.Discrete(3), spaces.Box(0, 1, (2,)), spaces.Text(4)]),
    "sequence": spaces.Sequence(spaces.Box(0, 1, (2,))),
    "sequence-stacked": spaces.Sequence(spaces.Box(0, 1, (2,)), stack=True),
    "sequence-stacked-dict": spaces.Sequence(
        spaces.Dict(a=spaces.Discrete(3), b=spaces.Text(3)), stack=True
    ),
    "sequence-of-sequences": spaces.Sequence(spaces.Sequence(spaces.Discrete(5))),
    "graph": spaces.Graph(spaces.Box(-1, 1, (3,)), spaces.Discrete(5)),
    "graph-no-edges": spaces.Graph(spaces.Discrete(4), None),
    "sequence-of-graphs": spaces.Sequence(spaces.Graph(spaces.Discrete(3), spaces.Box(0, 1, (2,)))),
}


def leaf_spaces() -> st.SearchStrategy[spaces.Space[Any]]:
    """Spaces that are not made of others."""
    dtypes = st.sampled_from(["u1", "i2", "i8", "f2", "f4", "f8"])
    shapes = st.lists(st.integers(1, 3), max_size=3).map(tuple)
    return st.one_of(
        st.builds(lambda shape, dtype: spaces.Box(0, 9, shape, np.dtype(dtype)), shapes, dtypes),
        st.builds(
            lambda n, start: spaces.Discrete(n, start=start),
            st.integers(1, 300),
            st.integers(-200, 200),
        ),
        st.lists(st.integers(1, 300), min_size=1, max_size=3).map(spaces.MultiDiscrete),
        st.integers(1, 4).map(spaces.MultiBinary),
        st.integers(1, 5).map(spaces.Text),
        st.sampled_from([EXAMPLES["graph"], EXAMPLES["graph-no-edges"]]),
    )


def any_space() -> st.SearchStrategy[spaces.Space[Any]]:
    """Spaces nested to some depth."""
    return st.recursive(
        leaf_spaces(),
        lambda inner: st.one_of(
            st.lists(inner, max_size=3).map(spaces.Tuple),
            st.dictionaries(st.text("ab .[#/", min_size=1, max_size=3), inner, max_size=3).map(
                spaces.Dict
            ),
            st.lists(inner, min_size=1, max_size=3).map(spaces.OneOf),
            st.builds(lambda space: spaces.Sequence(space), inner),
        ),
        max_leaves=5,
    )


def same(one: Any, other: Any) -> bool:
    """Whether two values are equal in value, dtype and structure; NaN equals NaN."""
    if isinstance(one, np.ndarray | np.generic):
        # Box spaces of shape () sample arrays for some dtypes and scalars for others.
        alike = hasattr(other, "dtype") and one.dtype == other.dtype and one.shape == other.shape
        return bool(alike and np.array_equal(one, other, equal_nan=one.dtype.kind == "f"))
    if isinstance(one, dict):
        return (
            isinstance(other, dict)
            and one.keys() == other.keys()
            and all(same(one[k], other[k]) for k in one)
        )
    if isinstance(one, tuple | list):
        return type(one) is type(other) and len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, complex):
        return repr(one) == repr(other)
    if isinstance(one, float):
        return type(one) is type(other) and (one == other or (one != one and other != other))
    return type(one) is type(other) and bool(one == other)

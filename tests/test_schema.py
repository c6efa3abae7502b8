# SPDX-License-Identifier: LGPL-3.0-or-later
"""The law of the codecs, and spaces as JSON."""

from __future__ import annotations

import json
import warnings
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st

import gymbag
from gymbag.errors import RecordingWarning, SchemaError, UnsupportedSpace
from gymbag.schema import Schema, describe_space, jsonable, restore_space
from gymbag.schema.codecs import compile_codec
from tests.spaces import EXAMPLES, any_space, same


def check_law(space: spaces.Space[Any], n: int) -> None:
    description = json.loads(json.dumps(describe_space(space)))
    assert restore_space(description) == space
    codec = compile_codec(description, "x", "")
    values = [space.sample() for _ in range(n)] + [codec.null()]
    arrays = codec.encode([codec.snapshot(value) for value in values])
    for array, column in zip(arrays, codec.columns, strict=True):
        assert array.dtype == column.dtype
        assert array.shape[1:] == column.shape
    batch = codec.decode(iter(arrays), len(values))
    for i, value in enumerate(values):
        assert same(codec.pick(batch, i), value)


@pytest.mark.parametrize("space", EXAMPLES.values(), ids=EXAMPLES)
def test_every_space_comes_back(space: spaces.Space[Any]) -> None:
    space.seed(3)
    check_law(space, 20)


@settings(max_examples=60)
@given(any_space(), st.integers(0, 2**31 - 1), st.integers(0, 5))
def test_nested_spaces_come_back(space: spaces.Space[Any], seed: int, n: int) -> None:
    space.seed(seed)
    check_law(space, n)


def test_spaces_of_gym_are_known_without_a_flag() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import gym.spaces
    space = gym.spaces.Dict(
        a=gym.spaces.Box(-1, 1, (2,)),
        b=gym.spaces.Tuple((gym.spaces.Discrete(3, start=2), gym.spaces.MultiDiscrete([2, 3]))),
        c=gym.spaces.Sequence(gym.spaces.Text(3)),
        d=gym.spaces.Graph(gym.spaces.Discrete(2), None),
    )
    assert restore_space(describe_space(space), gym.spaces) == space
    assert restore_space(describe_space(space)) == spaces.Dict(
        a=spaces.Box(-1, 1, (2,)),
        b=spaces.Tuple((spaces.Discrete(3, start=2), spaces.MultiDiscrete([2, 3]))),
        c=spaces.Sequence(spaces.Text(3)),
        d=spaces.Graph(spaces.Discrete(2), None),
    )


def test_constant_bounds_are_described_once_and_others_exactly() -> None:
    image = spaces.Box(0, 255, (210, 160, 3), np.uint8)
    assert len(json.dumps(describe_space(image))) < 200
    low = np.random.default_rng(0).random((210, 160, 3), dtype=np.float32)
    space = spaces.Box(low, low + 1, dtype=np.float32)
    restored = restore_space(json.loads(json.dumps(describe_space(space))))
    assert np.array_equal(restored.low, space.low)
    assert np.array_equal(restored.high, space.high)


def test_an_unknown_space_is_named_and_can_be_taught() -> None:
    class Colour(spaces.Space[str]):
        def __init__(self) -> None:
            super().__init__()

        def __eq__(self, other: object) -> bool:
            return isinstance(other, Colour)

        def sample(self, mask: Any = None, probability: Any = None) -> str:
            return "red"

    space = spaces.Dict(paint=spaces.Tuple((Colour(),)))
    with pytest.raises(UnsupportedSpace, match=r"observation\.paint\[0\].*Colour.*register_space"):
        Schema.from_spaces(space, spaces.Discrete(2))

    from gymbag.schema.text import TextCodec

    @gymbag.register_space(Colour)
    class ColourCodec(TextCodec):
        @classmethod
        def describe(cls, space: Any, path: str) -> dict[str, Any]:
            return {}

        def restore(self, spaces: Any) -> Any:
            return Colour()

    check_law(space, 3)


@pytest.mark.parametrize(
    ("space", "value", "message"),
    [
        (
            spaces.Dict(a=spaces.Box(0, 1, (2,))),
            {"a": np.zeros(3)},
            r"x\.a: .*shape \(3,\).*\(2,\)",
        ),
        (spaces.Dict(a=spaces.Discrete(2)), {}, r"x: key 'a' is missing"),
        (spaces.Discrete(4), 9, r"x: found 9; expected an integer from 0 to 3"),
        (spaces.Discrete(4), 1.5, r"x: found 1.5"),
        (
            spaces.Box(0, 255, (1,), np.uint8),
            np.array([300]),
            r"x: .*int64 values that uint8 cannot",
        ),
        (spaces.Text(3), 5, r"x: found int; expected a str"),
        (spaces.Tuple((spaces.Discrete(2),)), (1, 1), r"x: found 2 values"),
    ],
)
def test_a_value_that_does_not_fit_is_refused_by_leaf(space: Any, value: Any, message: str) -> None:
    codec = compile_codec(describe_space(space), "x", "")
    with pytest.raises(SchemaError, match=message):
        codec.snapshot(value)


def test_rounding_is_said_once() -> None:
    codec = compile_codec(describe_space(spaces.Box(-1, 1, (1,))), "x", "")
    with pytest.warns(RecordingWarning, match="x: float64 values do not fit"):
        codec.snapshot(np.array([0.1]))
    codec.snapshot(np.array([0.3]))


def test_the_first_leaf_that_differs_is_named() -> None:
    one = Schema.from_spaces(spaces.Dict(a=spaces.Tuple((spaces.Discrete(2),))), spaces.Discrete(2))
    other = Schema.from_spaces(
        spaces.Dict(a=spaces.Tuple((spaces.Discrete(3),))), spaces.Discrete(2)
    )
    with pytest.raises(SchemaError, match=r"observation\.a\[0\]"):
        one.require_same(other)


json_values = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(),
        st.complex_numbers(),
        st.text(st.characters(exclude_categories=["Cs"])),
        st.binary(max_size=9),
        st.sampled_from([np.float32(1.5), np.int8(-3), np.bool_(True), np.str_("ü")]),
        st.sampled_from([np.arange(6.0).reshape(2, 3), np.array(7, "i2"), np.zeros((0, 2), "S3")]),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(
            st.one_of(st.text(max_size=3), st.integers(), st.just("$type")), inner, max_size=3
        ),
    ),
    max_leaves=6,
)


@settings(max_examples=150)
@given(json_values)
def test_json_gives_back_what_it_got(value: Any) -> None:
    text = jsonable.dumps(value)
    json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert same(jsonable.loads(text), value)

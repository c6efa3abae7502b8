# SPDX-License-Identifier: LGPL-3.0-or-later
"""No question and no JSON runs code, hangs, crashes, or takes memory without end."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import tracemalloc
from collections.abc import Collection, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gymbag.errors import QueryError
from gymbag.query import Field, Fields, Level, Plan, Values, compile_query
from gymbag.query.evaluate import parts
from gymbag.query.parse import MAX_LENGTH, MAX_PARTS
from gymbag.schema import jsonable

FIELDS = [
    Field("ended", "text", (), Level.EPISODE),
    Field("reward", "number"),
    Field("terminated", "bool"),
    Field("info.mixed", "number"),
    Field("info.mixed", "text"),
    Field("image", "number", (64, 64), Level.WIDE),
]
CATALOGUE = Fields(FIELDS)


def rows(n: int) -> dict[Field, Values]:
    return {
        field: Values(np.zeros((n, *field.shape), dtype="U1" if field.kind == "text" else "u1"))
        for field in FIELDS
    }


def size(node: Any) -> int:
    return 1 + sum(map(size, parts(node)))


def ask(text: str, n: int = 2, params: Any = None) -> Plan | None:
    """Ask a question, check what comes of it, and return its plan; None if it is refused."""
    try:
        plan = compile_query(text, CATALOGUE, params)
    except QueryError as error:
        message = str(error)
    else:
        message = ""
    assert len(message.encode()) < 3_000
    if message:
        return None
    table = rows(n)
    expressions = [part for part in (plan.episode, plan.row, plan.wide) if part is not None]
    # What a question costs is its parts times the values it is asked of.
    assert sum(size(part.root) for part in expressions) <= 3 * MAX_PARTS
    for part in expressions:
        mask = part(lambda field: table[field], n)
        assert (mask.shape, mask.dtype) == ((n,), np.bool_)
    return plan


# ------------------------------------------------------------------------------------ questions
WORST = [
    "reward < 10 ** 10 ** 8 ** 9 ** 9",
    "reward < 1 << 10**9",
    "reward < " + "9" * 9_000,
    "reward < " + "9_" * 4_000 + "9",
    "reward < 0x" + "f" * 9_000,
    "reward < 1e" + "9" * 9_000,
    "reward < 0." + "1" * 9_000,
    "reward in (" + "0x" + "f" * 9_000 + ",)",
    "ended == 'a' * 10**10",
    "ended == '%1000000000d' % 1",
    "'" + "a" * 9_990 + "'",
    "not " * 2_400 + "terminated",
    "-" * 9_900 + "1 > 0",
    "~" * 9_900 + "terminated",
    "1" + "**-1" * 2_400,
    "(" * 4_900 + "1" + ")" * 4_900,
    "reward" + "[" * 4_000 + "0" + "]" * 4_000,
    "a" + ".a" * 4_900,
    "f" + "()" * 4_900,
    "f(" * 4_900,
    "lambda:" * 1_400 + "0",
    "1 if 1 else " * 800 + "1",
    "f'{" * 3_000,
    "(a:=" * 150 + "1" + ")" * 150,
    "reward" + " < 1" * 2_400,
    "1" + "+1" * 4_900 + " > 0",
    "reward in (" + "1," * 4_900 + ")",
    "ended == " + "'a' " * 2_000,
    "terminated or " * 700 + "terminated",
    " == ".join(["info.mixed"] * 300) + " == 1",
    "has(" * 48 + "info.mixed" + ")" * 48,
    "any(image" + " < image" * 200 + ")",
    "any(max(" + "image, " * 200 + "image) > 0)",
    "any(" + "(image + " * 45 + "image" + ")" * 45 + " > 0)",
    "image[" + "9" * 400 + "] > 0",
    "any(image[-" + "9" * 300 + ":" + "9" * 300 + ":" + "9" * 300 + "] > 0)",
    "any(image < 0x" + "f" * 9_000 + ")",
    "any(image + 0x" + "f" * 200 + " > 0)",
    "any(image in (" + "1, 2.5, " * 200 + "))",
    "reward" + "d" * 9_000 + " > 0",
    "info" + ".x" * 900 + " > 0",
    "\ufb03" * 9_900 + " > 0",
    "a" + "\u0301" * 9_000 + " > 0",
    "ended == '" + "\U0001f600" * 9_900 + "'",
    "ended == '\\ud800'",
    "reward\0 > 0",
    "reward > '\ud800'",
    "\n" * 9_900,
    "(\\\n" * 3_000,
    "#" * 9_900,
    "reward > 'a\n" * 800,
    "x" * 100_000_000,
]


def ask_all() -> None:
    for text in WORST:
        ask(text, 100)
    print("done")


def test_the_worst_questions_cost_a_few_seconds_together() -> None:
    """In a process of its own, for the parser is C and could crash it, or never return."""
    code = (
        "import resource; resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30)); "
        "from tests.test_hostile_text import ask_all; ask_all()"
    )
    if sys.platform == "win32":
        code = code.partition("; ")[2].partition("; ")[2]
    root = Path(__file__).parent.parent
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=root, timeout=30, capture_output=True, text=True
    )
    assert done.stdout == "done\n", done.stderr


TOKENS = (
    *("reward", "ended", "terminated", "info", "mixed", "image", "__class__", "max", "has"),
    *("(", ")", "[", "]", "{", "}", ",", ":", ".", ";", "=", ":=", "==", "!=", "<", "<=", "->"),
    *("+", "-", "*", "**", "/", "//", "%", "@", "<<", "&", "|", "^", "~", "!", "\\", "#", "'"),
    *(" and ", " or ", "not ", " in ", " is ", " if ", " else ", " for x in ", "lambda x:"),
    *("await ", "yield ", "f'{", "}'", "b''", "'''", "0", "1e999", "2**64", "1j", "...", "None"),
    *(
        "\n",
        "\r",
        "\t",
        "\f",
        "\0",
        "\ufeff",
        "\ud800",
        "é",
        "ﷺ",
        "\U0001d42b",
        "\uff10",
        "a\u0301",
    ),
)
# Each hole is filled with another expression, so that Python's parser accepts nearly all of it.
SHAPES = (
    *("({})", "not {}", "-{}", "~{}", "{} + {}", "{} ** {}", "{} @ {}", "{} % {}", "{} << {}"),
    *("{} < {} <= {}", "{} == {}", "{} is not {}", "{} and {}", "{} | {}", "{} & {} or {}"),
    *("{}.mixed", "{}.__class__", "{}[{}]", "{}[{}:{}:{}]", "{}[{}, {}]", "{}[...]"),
    *("max({})", "any({})", "has({})", "{}({}, *{}, k={})", "min({}, {}, {})", "getattr({}, {})"),
    *("{} in ({}, {})", "{} not in [{}]", "({},)", "[{}, *{}]", "{{{}: {}}}", "{{{}, {}}}"),
    *("({} if {} else {})", "(lambda x={}: {})", "[{} for x in {} if {}]", "({} for x in {})"),
    *("(x := {})", "f'{{{}!r:>{}}}'", "(yield {})", "(await {})", "{} != ({})"),
)
leaves = st.sampled_from(
    [
        *("reward", "ended", "terminated", "info.mixed", "image", "image[0, 0]", "__import__"),
        *("0", "1", "-1", "2.5", "True", "None", "'a'", "b'a'", "1j", "...", "10**10**8", "p"),
    ]
)


def fill(below: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    few = st.lists(below, min_size=4, max_size=4)
    return st.builds(lambda shape, holes: f"({shape.format(*holes)})", st.sampled_from(SHAPES), few)


expressions = st.recursive(leaves, fill, max_leaves=12)


@settings(max_examples=600)
@given(st.text(max_size=80) | st.lists(st.sampled_from(TOKENS)).map("".join) | expressions)
@example("any(image ** image ** image > reward)")
def test_any_text_is_a_plan_or_a_query_error(text: str) -> None:
    params = {"p": [1, 2]} if " in " in text and "p" in text else {}
    ask(text[:MAX_LENGTH], 2, params)


@pytest.mark.parametrize("text", [text for text in WORST if "image" in text and "any(" in text])
def test_memory_does_not_grow_with_the_question(text: str) -> None:
    tracemalloc.start()
    try:
        ask(text, 1_000)  # 4 MB of values; the chains were 0.8 GB, and max(...) 6.5 GB
        assert tracemalloc.get_traced_memory()[1] < 150e6
    finally:
        tracemalloc.stop()


class Endless(Collection[int]):
    def __len__(self) -> int:
        return 1

    def __iter__(self) -> Iterator[int]:
        return count()

    def __contains__(self, item: object) -> bool:
        return True


class Broken(Endless):
    def __iter__(self) -> Iterator[int]:
        raise RuntimeError("broken")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (range(10**30), "more than 1000000 items"),
        (Endless(), "more than 1000000 items"),
        (Broken(), "fails with RuntimeError"),
        (np.zeros((2, 2)), "found ndarray in it"),
        (np.zeros(2, "V8"), "found void in it"),
        ([[]], "found list in it"),
        (object(), "found object"),
    ],
    ids=str,
)
def test_a_parameter_that_is_none(value: Any, message: str) -> None:
    with pytest.raises(QueryError, match=message):
        compile_query("reward in p", CATALOGUE, {"p": value})


def test_a_parameter_beyond_every_number_is_infinite() -> None:
    assert ask("reward < p and reward in q", 2, {"p": 1 << 10**6, "q": [-1 << 10**6]}) is not None


# ----------------------------------------------------------------------------------------- JSON
def tagged(kind: Any, **fields: Any) -> str:
    return json.dumps({"$type": kind, **fields})


def array(dtype: Any = "<f4", shape: Any = (1,), data: Any = bytes(4)) -> str:
    text = base64.b64encode(data).decode() if isinstance(data, bytes) else data
    return tagged("array", dtype=dtype, shape=shape, data=text)


BAD = [
    *("", "[", "NaN", "-Infinity", "nan", "[1,]", "{'a': 1}", "\ufeff1", "1 2", "\0", '"\n"'),
    *(b"\xff", b"\x00[", "[" * 10**6, '{"a":' * 10**5, "[" * 300 + "]" * 300, "9" * 10**5),
    *('{"a": 1, "a": 2}', "[" * 150 + '{"$type": "tuple", "items": []}' + "]" * 150),
    *(tagged(None), tagged("list"), tagged(["array"]), tagged("x" * 10**6), tagged("array")),
    *(tagged("float", value="1e5"), tagged("float", value=[]), tagged("float")),
    *(tagged("complex", value="os"), tagged("complex", value=1), tagged("complex", value=[])),
    *(tagged("complex", value=" " * 10**6), tagged("bytes", data="a"), tagged("bytes", data=1)),
    *(tagged("bytes", data="####"), tagged("bytes", data="é")),
    *(tagged("tuple", items="ab"), tagged("tuple", items={"a": 1}), tagged("set", items=[[]])),
    *(tagged("set", items=7), tagged("dict", items=[[1]]), tagged("dict", items=[[[], 1]])),
    tagged("set", items=[(2**61 - 1) * n for n in range(50_000)]),
    tagged("dict", items=[[(2**61 - 1) * n, 0] for n in range(50_000)]),
    *(array(shape=s) for s in ([2], [-1], [2**40], [2**70, 0], [1.0], [True], 1, "a", None)),
    *(array(shape=s) for s in ([1] * 65, [[1]], {"a": 1})),
    *(array(dtype=d) for d in ("O", "|O", "object", "V1000000000", "S0", "<U0", "f4,f4", "4f4")),
    *(array(dtype=d) for d in ("(2,2)f4", "os.system", "x" * 10**6, "", None, 4, [], {}, [[]])),
    *(array(dtype=d) for d in ([["a", "O"]], [["a", "<f4", [2**40]]], [["a", "<f4"]] * 2)),
    *(array(dtype=d) for d in (["<f4", [1]], ["<f4", [-1]], [["a", "<f4", [-1]]], [[1, "<f4"]])),
    array(dtype=json.loads("[" * 500 + '"<f4"' + ", [1]]" * 500)),
    *(array(data=d) for d in (b"", bytes(3), bytes(5), "A", "####", 5, None, [])),
    array(dtype="<U1", data=b"\xff" * 4),
    array(dtype=[["", "V0"]], shape=[2**61], data=b""),
]


@pytest.mark.parametrize("text", BAD, ids=lambda text: repr(text[:60]))
def test_json_that_no_gymbag_wrote_is_refused(text: str | bytes) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(jsonable.BadJSON) as caught:
            jsonable.loads(text)
        assert tracemalloc.get_traced_memory()[1] < 100 * len(text) + 1e6
    finally:
        tracemalloc.stop()
    assert isinstance(caught.value, ValueError)
    assert len(str(caught.value)) < 500


odd = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 3),
    st.sampled_from([2**63, -(2**200), 1.5]),
    st.sampled_from(["", "a", "AAAA", "AAAAAAAA", "nan", "1j", "<f4", "|O", "V9", "<U1", "S2"]),
)
TYPES = ["array", "scalar", "float", "complex", "bytes", "tuple", "set", "frozenset", "dict", "x"]
trees = st.recursive(
    odd,
    lambda below: st.one_of(
        st.lists(below, max_size=3),
        st.dictionaries(st.text(max_size=2), below, max_size=3),
        st.fixed_dictionaries(
            {"$type": st.sampled_from(TYPES) | below},
            optional={
                "items": st.lists(below | st.tuples(below, below), max_size=3) | below,
                "value": below,
                "data": below,
                "dtype": below | st.lists(st.tuples(st.text(max_size=1), below), max_size=2),
                "shape": st.lists(st.integers(0, 2), max_size=2) | below,
            },
        ),
    ),
    max_leaves=12,
)


@settings(max_examples=600)
@given(trees.map(json.dumps) | st.text(max_size=30) | st.binary(max_size=30))
def test_any_json_is_a_value_or_bad(text: str | bytes) -> None:
    try:
        value = jsonable.loads(text)
    except jsonable.BadJSON:
        return
    again = jsonable.loads(jsonable.dumps(value))
    assert jsonable.dumps(again) == jsonable.dumps(value)


def test_what_is_written_can_be_read() -> None:
    """What is too deep to be read is refused when it is written."""
    value: Any = 1
    for depth in range(1, jsonable.MAX_DEPTH + 1):
        value = ([value], {"a": value}, {1: value}, (value,))[depth % 4]
        assert jsonable.loads(jsonable.dumps(value)) == value
    with pytest.raises(ValueError, match="inside more than"):
        jsonable.dumps([value])
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(ValueError, match="inside more than"):
        jsonable.dumps(endless)

# SPDX-License-Identifier: LGPL-3.0-or-later
"""Queries against a plain interpreter of one row at a time, refusals, and messages."""

from __future__ import annotations

import math
import pickle
import re
import time
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gymbag.errors import QueryError
from gymbag.query import (
    Between,
    Expression,
    Field,
    Fields,
    Level,
    Plan,
    Values,
    compile_query,
    outlook,
)
from gymbag.query.functions import FUNCTIONS, Function

FIELDS = {
    field.name + "?" * (field.name == "info.mixed" and field.kind == "text"): field
    for field in [
        Field("episode_return", "number", (), Level.EPISODE),
        Field("ended", "text", (), Level.EPISODE),
        Field("reward", "number"),
        Field("step", "number"),
        Field("seed", "number"),
        Field("terminated", "bool"),
        Field("info.ratio", "number"),
        Field("info.lives", "number"),
        Field("info.success", "bool"),
        Field("info.note", "text"),
        Field("info.mixed", "number"),
        Field("info.mixed", "text"),
        Field("observation.image", "number", (2, 2), Level.WIDE),
        Field("observation.pose", "number", (3,), Level.WIDE),
        Field("observation.bits", "bool", (3,), Level.WIDE),
    ]
}
CATALOGUE = Fields(FIELDS.values())
MISSING = {"info.ratio", "info.lives", "info.success", "info.note", "info.mixed", "info.mixed?"}
MISSING |= {"observation.pose", "observation.bits"}

# ------------------------------------------------------------------------------------- tables
# Sums and products of these numbers are exact, so that no order of summation can matter.
halves = st.sampled_from([math.nan, math.inf, -math.inf, 0.0, 0.5, -0.5, 1.0, 2.0, -3.5])
quarters = st.sampled_from([math.nan, 0.0, 0.25, -0.5, 1.0, 3.0])
texts = st.sampled_from(["", "a", "b", "reset", "é"])
ELEMENTS = {
    "episode_return": (np.float64, halves),
    "ended": ("U8", texts),
    "reward": (np.float64, halves),
    "step": (np.int64, st.integers(-4, 9)),
    "seed": (np.uint64, st.sampled_from([0, 1, 2**63 + 1, 2**64 - 1])),
    "terminated": (np.bool_, st.booleans()),
    "info.ratio": (np.float32, st.sampled_from([math.nan, math.inf, 0.0, 0.1, -2.5])),
    "info.lives": (np.uint8, st.sampled_from([0, 1, 2, 200, 255])),
    "info.success": (np.bool_, st.booleans()),
    "info.note": (np.object_, texts),
    "info.mixed": (np.int16, st.integers(-2, 2)),
    "info.mixed?": ("U8", texts),
    "observation.image": (np.uint8, st.sampled_from([0, 1, 7, 255])),
    "observation.pose": (np.float32, quarters),
    "observation.bits": (np.bool_, st.booleans()),
}


@st.composite
def tables(draw: Any) -> tuple[int, dict[Field, Values]]:
    n = draw(st.integers(0, 5))
    table = {}
    for key, field in FIELDS.items():
        dtype, elements = ELEMENTS[key]
        size = n * math.prod(field.shape)
        flat = draw(st.lists(elements, min_size=size, max_size=size))
        present = None
        if key in MISSING:
            present = np.array(draw(st.lists(st.booleans(), min_size=n, max_size=n)), dtype=bool)
        data = np.array(flat, dtype=dtype).reshape(n, *field.shape)
        if dtype is np.object_:
            data[~present] = None
        table[field] = Values(data, present)
    return n, table


# ------------------------------------------------------------------------------------ queries
# A node is a tuple that begins with what it is; `render` writes it, `value` interprets it.
NUMBERS = [0, 1, -1, 2, 3, 7, 0.5, 0.25, -2.5, True]
OUTSIDE = [0.1, 256, 2**63, 2**64, -(2**70), 10**30, 1e300, -1e300, math.inf, math.nan]
SCALARS = ["episode_return", "reward", "step", "seed", "terminated"]
SCALARS += ["info.ratio", "info.lives", "info.success", "info.mixed"]
ITEMS = [("item", name, (), 1) for name in SCALARS]
ITEMS += [("item", "observation.image", (1, -1), 1), ("item", "observation.pose", (-3,), 1)]
TEXTS = [("item", name, (), 1) for name in ("ended", "info.note", "info.mixed?")]
ARRAYS = [
    ("item", "observation.image", (), 4),
    ("item", "observation.image", (slice(None), 1), 2),
    ("item", "observation.pose", (), 3),
    ("item", "observation.pose", (slice(1, None),), 2),
    ("item", "observation.pose", (slice(2, 2),), 0),
    ("item", "observation.bits", (slice(None, None, 2),), 2),
]
SIGNS = st.sampled_from(["==", "!=", "<", "<=", ">", ">="])


@st.composite
def constants(draw: Any, values: list[Any]) -> tuple[Any, ...]:
    kind = draw(st.sampled_from(["constant", "parameter"]))
    value = draw(st.sampled_from(values))
    named = kind == "parameter" or value != value or value in (math.inf, True)
    return ("parameter" if named else "constant", value)


words = constants(["", "a", "é", "a\0"])


@st.composite
def numbers(draw: Any, depth: int) -> tuple[Any, ...]:
    kinds = ["item", "constant"] + ["binary", "divide", "call", "least", "reduce"] * (depth > 0)
    match draw(st.sampled_from(kinds)):
        case "item":
            return draw(st.sampled_from(ITEMS))
        case "constant":
            return draw(constants(NUMBERS))
        case "binary":
            sign = draw(st.sampled_from("+-*"))
            return ("binary", sign, draw(numbers(depth - 1)), draw(numbers(depth - 1)))
        case "divide":
            # A computed divisor might be -0.0, and which zero max(0.0, -0.0) is nobody says.
            sign = draw(st.sampled_from(["/", "//", "%"]))
            divisor = draw(st.sampled_from(ITEMS) | constants(NUMBERS))
            return ("binary", sign, draw(numbers(depth - 1)), divisor)
        case "call":
            return (
                "call",
                draw(st.sampled_from(["abs", "sqrt", "-"])),
                draw(numbers(depth - 1)),
            )
        case "least":
            few = draw(st.lists(numbers(depth - 1), min_size=2, max_size=3))
            return ("call", draw(st.sampled_from(["min", "max"])), *few)
    name = draw(st.sampled_from(["min", "max", "sum", "mean", "norm"]))
    return ("reduce", name, draw(arrays(depth - 1)))


@st.composite
def arrays(draw: Any, depth: int, size: int | None = None) -> tuple[Any, ...]:
    fitting = [item for item in ARRAYS if size in (None, item[3])]
    base = draw(st.sampled_from(fitting))
    if depth <= 0 or draw(st.booleans()):
        return base
    other = draw(arrays(depth - 1, base[3]) | st.sampled_from(ITEMS) | constants(NUMBERS))
    if draw(st.booleans()):
        base = ("call", "abs", base)
    return ("binary", draw(st.sampled_from("+-*")), base, other)


@st.composite
def conditions(draw: Any, depth: int) -> tuple[Any, ...]:
    kinds = ["bool", "chain", "text", "in", "isnan", "has", "any"]
    kinds += ["not", "logic", "logic"] * (depth > 0)
    match draw(st.sampled_from(kinds)):
        case "bool":
            name = draw(st.sampled_from(["terminated", "info.success"]))
            return draw(st.just(("item", name, (), 1)) | constants([True, False]))
        case "chain":
            count = draw(st.integers(2, 3))
            sides = [draw(numbers(depth) | constants(NUMBERS + OUTSIDE)) for _ in range(count)]
            return ("chain", tuple(draw(SIGNS) for _ in sides[1:]), *sides)
        case "text":
            # Two sides that may be text or numbers would be taken for numbers.
            sides = [draw(st.sampled_from(TEXTS)), draw(st.sampled_from(TEXTS[:2]) | words)]
            sides = draw(st.permutations(sides))
            return ("chain", (draw(SIGNS),), *sides)
        case "in":
            number = draw(st.booleans())
            operand = draw(numbers(1) if number else st.sampled_from(TEXTS))
            values = NUMBERS + OUTSIDE if number else ["", "a", "reset", "a\0"]
            # Of nothing, nobody knows whether it is text.
            items = draw(st.lists(constants(values), min_size=not number, max_size=3))
            return ("in", draw(st.sampled_from(["in", "not in"])), operand, *items)
        case "isnan":
            return ("isnan", draw(numbers(depth)))
        case "has":
            return ("has", draw(st.sampled_from(ITEMS + TEXTS + ARRAYS)))
        case "any":
            array = draw(arrays(depth))
            inner = ("chain", (draw(SIGNS),), array, draw(numbers(0) | constants(OUTSIDE)))
            bits = ("item", "observation.bits", (), 3)
            inner = draw(st.sampled_from([inner, ("not", inner), ("isnan", array), bits]))
            return (draw(st.sampled_from(["any", "all"])), inner)
        case "not":
            return ("not", draw(conditions(depth - 1)))
    terms = draw(st.lists(conditions(depth - 1), min_size=2, max_size=3))
    return ("logic", draw(st.sampled_from(["and", "or", "&", "|"])), *terms)


def render(node: Any, params: dict[str, Any]) -> str:
    """Write a tree as text, and put its parameters into `params`."""
    match node:
        case ("constant", value):
            return f"({value!r})"
        case ("parameter", value):
            params[name := f"p{len(params)}"] = value
            return name
        case ("item", name, index, _):
            keys = [
                f"{k.start}:{k.stop}:{k.step}" if isinstance(k, slice) else f"{k}" for k in index
            ]
            return name.rstrip("?") + f"[{', '.join(keys)}]".replace("None", "") * bool(keys)
        case ("chain", signs, first, *others):
            pairs = zip(signs, others, strict=True)
            text = "".join(f" {sign} {render(other, params)}" for sign, other in pairs)
            return f"({render(first, params)}{text})"
        case ("binary", sign, left, right):
            return f"({render(left, params)} {sign} {render(right, params)})"
        case ("in", word, operand, *items):
            listing = "".join(f"{render(item, params)}, " for item in items)
            return f"({render(operand, params)} {word} ({listing}))"
        case ("logic", word, *terms):
            return f"({f' {word} '.join(render(term, params) for term in terms)})"
        case ("not", term):
            return f"(not {render(term, params)})"
        case ("call" | "reduce", name, *arguments) | (name, *arguments):
            return f"{name}({', '.join(render(a, params) for a in arguments)})"
    raise AssertionError(node)


# ------------------------------------------------------------------------------------- oracle
def size(node: Any) -> int | None:
    """How many elements an array-valued node has for each row; None for a scalar."""
    match node:
        case ("item", name, index, count):
            array = FIELDS[name].shape and not (index and all(isinstance(k, int) for k in index))
            return count if array else None
        case ("reduce" | "any" | "all" | "has" | "constant" | "parameter", *_):
            return None
    sizes = [size(part) for part in node[1:] if isinstance(part, tuple)]
    return next((known for known in sizes if known is not None), None)


def each(function: Any, *values: Any) -> Any:
    """Apply to scalars, or to flat lists and scalars element by element; None is missing."""
    if any(value is None for value in values):
        return None
    lengths = [len(value) for value in values if isinstance(value, list)]
    if not lengths:
        return function(*values)
    columns = [v if isinstance(v, list) else [v] * lengths[0] for v in values]
    return [function(*row) for row in zip(*columns, strict=True)]


def widened(x: Any) -> Any:
    return x if isinstance(x, float) else float(x) if abs(x) >= 2**63 else int(x)


def arithmetic(sign: str, x: Any, y: Any) -> Any:
    x, y = widened(x), widened(y)
    if sign in "+-*":
        if isinstance(x, float) or isinstance(y, float):
            x, y = float(x), float(y)
        return x + y if sign == "+" else x - y if sign == "-" else x * y
    x, y = float(x), float(y)
    if y:
        return x / y if sign == "/" else x // y if sign == "//" else x % y
    return math.copysign(math.inf, x) if sign == "/" and x and x == x else math.nan


def extreme(name: str, values: list[Any]) -> Any:
    values = [widened(value) for value in values]
    if any(isinstance(value, float) for value in values):
        values = [float(value) for value in values]
    if any(value != value for value in values):
        return math.nan
    return min(values) if name == "min" else max(values)


def called(name: str, *values: Any) -> Any:
    (x, *_) = values = [widened(value) for value in values]
    match name:
        case "abs":
            return abs(x)
        case "-":
            return -x
        case "sqrt":
            return math.sqrt(x) if x >= 0 else math.nan
    return extreme(name, values)


def reduced(name: str, values: list[Any]) -> Any:
    values = [widened(value) for value in values]
    match name:
        case "sum":
            return sum(values)
        case "norm":
            return math.sqrt(sum(float(value) ** 2 for value in values))
    if not values:
        return None
    return math.fsum(values) / len(values) if name == "mean" else extreme(name, values)


def compared(sign: str, x: Any, y: Any) -> bool:
    if isinstance(x, float) or isinstance(y, float):
        x, y = float(x), float(y)
    if x != x or y != y:
        return False
    return {"==": x == y, "!=": x != y, "<": x < y, "<=": x <= y, ">": x > y, ">=": x >= y}[sign]


def beside(node: Any, other: Any) -> Any:
    """The constant `node` as the field `other` sees it: in float32 if that is its dtype."""
    value = node[1]
    single = other[0] == "item" and ELEMENTS[other[1]][0] is np.float32
    return float(np.float32(value)) if single and abs(value) < 3.4e38 else value


def constant(node: Any) -> bool:
    return node[0] in ("constant", "parameter")


def comparison(sign: str, left: Any, right: Any, row: dict[str, Any]) -> Any:
    x = beside(left, right) if constant(left) else value(left, row)
    y = beside(right, left) if constant(right) else value(right, row)
    return each(lambda a, b: compared(sign, a, b), x, y)


def holds(node: Any, row: dict[str, Any]) -> Any:
    """Whether a condition holds; a list where it is asked of each element."""
    result = value(node, row)
    if result is not None:
        return result
    return False if size(node) is None else [False] * size(node)


def value(node: Any, row: dict[str, Any]) -> Any:
    """Interpret a tree for one row."""
    match node:
        case ("constant" | "parameter", known):
            return known
        case ("item", name, index, _):
            if row[name] is None:
                return None
            part = row[name][index] if index else row[name]
            if isinstance(part, np.ndarray):
                return part.ravel().tolist()
            return part.item() if isinstance(part, np.generic) else part
        case ("binary", sign, left, right):
            return each(lambda x, y: arithmetic(sign, x, y), value(left, row), value(right, row))
        case ("call", name, *arguments):
            return each(lambda *xs: called(name, *xs), *(value(a, row) for a in arguments))
        case ("reduce", name, array):
            values = value(array, row)
            return None if values is None else reduced(name, values)
        case ("chain", signs, *sides):
            pairs = zip(signs, sides, sides[1:], strict=False)
            masks = [comparison(sign, left, right, row) for sign, left, right in pairs]
            return each(lambda *flags: all(flags), *masks)
        case ("in", word, operand, *items):
            if (x := value(operand, row)) is None or x != x:
                return False
            found = any(comparison("==", operand, item, row) for item in items)
            return found == (word == "in")
        case ("isnan", operand):
            return each(lambda x: x != x, value(operand, row))
        case ("has", ("item", name, *_)):
            other = row.get("info.mixed?") if name == "info.mixed" else None
            other = row["info.mixed"] if name == "info.mixed?" else other
            return row[name] is not None or other is not None
        case ("any" | "all" as name, operand):
            flags = value(operand, row)
            if flags is None:
                flags = [False] * (operand[0] == "item") or holds(operand, row)
            return any(flags) if name == "any" else all(flags)
        case ("not", term):
            return each(lambda flag: not flag, holds(term, row))
        case ("logic", word, *terms):
            flags = [bool(holds(term, row)) for term in terms]
            return all(flags) if word in ("and", "&") else any(flags)
    raise AssertionError(node)


def rows(n: int, table: dict[Field, Values]) -> list[dict[str, Any]]:
    """The table as one dict of plain Python values per row; arrays stay arrays."""
    result: list[dict[str, Any]] = [{} for _ in range(n)]
    for key, field in FIELDS.items():
        values = table[field]
        for k, row in enumerate(result):
            there = values.present is None or values.present[k]
            row[key] = None
            if there:
                row[key] = values.data[k] if field.shape else values.data[k : k + 1].tolist()[0]
    return result


def parts(plan: Plan) -> list[Expression]:
    return [part for part in (plan.episode, plan.row, plan.wide) if part is not None]


def mask(plan: Plan, n: int, table: dict[Field, Values]) -> np.ndarray:
    result = np.ones(n, dtype=bool)
    for part in parts(plan):
        answer = part(lambda field: table[field], n)
        assert answer.shape == (n,)
        assert answer.dtype == np.bool_
        result &= answer
    return result


def between(values: Values) -> Between | None:
    """What is known of a field if all of its rows are taken as one stretch."""
    dtype = values.data.dtype
    if dtype.kind not in "biuf":
        return None
    limits = (-math.inf, math.inf) if dtype.kind == "f" else (False, True)
    if dtype.kind in "iu":
        limits = int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)
    low = np.fmin.reduce(values.data, axis=0, initial=limits[1])[None]
    high = np.fmax.reduce(values.data, axis=0, initial=limits[0])[None]
    missing = values.present is not None and not values.present.all()
    return Between(low, high, np.array([missing or bool((values.data != values.data).any())]))


@settings(max_examples=400)
@given(conditions(2), tables())
def test_an_outlook_leaves_out_nothing(node: Any, content: tuple[int, dict[Field, Values]]) -> None:
    params: dict[str, Any] = {}
    text = render(node, params)
    n, table = content
    for part in parts(compile_query(text, CATALOGUE, params)):
        answer = part(lambda field: table[field], n)
        holds, fails = outlook(part, lambda field: between(table[field]), 1)
        assert holds.shape == fails.shape == (1,)
        assert holds[0] or not answer.any(), text
        assert fails[0] or answer.all(), text


@settings(max_examples=400)
@given(conditions(2), tables())
def test_plan_equals_plain_interpreter(node: Any, content: tuple[int, dict[Field, Values]]) -> None:
    params: dict[str, Any] = {}
    text = render(node, params)

    plan = compile_query(text, CATALOGUE, params)

    expected = [bool(holds(node, row)) for row in rows(*content)]
    assert mask(plan, *content).tolist() == expected, text
    for level, part in zip(Level, (plan.episode, plan.row, plan.wide), strict=True):
        if part:
            assert max((field.level for field in part.fields), default=Level.EPISODE) == level
            assert len(set(part.fields)) == len(part.fields)
    copy = pickle.loads(pickle.dumps(plan))
    assert repr(copy) == repr(plan)
    assert mask(copy, *content).tolist() == expected


# ----------------------------------------------------------------------------------- refusals
REFUSED = [
    "",
    "   # nothing",
    "reward for reward in (1, 2)",
    "any(x > 0 for x in observation.pose)",
    "[x for x in (1, 2)]",
    "lambda: reward",
    "reward.max() > 0",
    "reward.__class__ == 1",
    "().__class__.__bases__[0].__subclasses__()",
    "__import__('os').system('true')",
    "__import__('os')",
    "(x := 1) > 0",
    "f'{reward}' == ended",
    "reward if terminated else True",
    "max(reward, default=0) > 0",
    "max(*observation.pose) > 0",
    "reward > 0; terminated",
    "reward > 0\nterminated",
    "1) < (2",
    "reward is 1",
    "reward == None",
    "reward == 1j",
    "ended == b'reset'",
    "reward == ...",
    "{'a': 1} == 1",
    "reward << 1 > 0",
    "await reward",
    "(yield)",
    "reward > 0\0",
    "reward > '\ud800",
    "reward > " + "(" * 3000 + "0" + ")" * 3000,
    "-" * 9000 + "1 > 0",
    "not " * 2000 + "terminated",
    "not " * 60 + "terminated",
    "reward" + " + 1" * 60 + " > 0",
    "reward > " + "9" * 5000,
    "reward in (" + "1, " * 2000 + ")",
    "reward" + "[0]" * 3000 + " > 0",
    "has(" * 45 + "rewrad" + ")" * 45,
    "reward in (" + "-" * 900 + "1,)",
    "x" * 1_000_000,
]


@pytest.mark.parametrize("text", REFUSED, ids=lambda text: text[:20])
def test_refused_at_once(text: str) -> None:
    start = time.perf_counter()
    with pytest.raises(QueryError) as caught:
        compile_query(text, CATALOGUE)
    assert time.perf_counter() - start < 0.5
    assert len(str(caught.value)) < 500
    str(caught.value).encode()


COSTLY = [
    "reward < 10 ** 10 ** 8",
    "reward < 9 ** 9 ** 9 ** 9",
    "reward < 0x" + "f" * 9000,
    "has(" * 45 + "info.mixed" + ")" * 45,
    "reward < " + "(0 < " * 40 + "reward" + " < 1)" * 40,
    "observation.pose[10**0] > 0 or " * 0 + "terminated or " * 400 + "terminated",
]


@pytest.mark.parametrize("text", COSTLY, ids=lambda text: text[:20])
def test_costs_nothing(text: str) -> None:
    table = {field: Values(np.zeros((3, *field.shape))) for field in FIELDS.values()}
    start = time.perf_counter()
    mask(compile_query(text, CATALOGUE), 3, table)
    assert time.perf_counter() - start < 0.5


@settings(max_examples=300)
@given(st.text(max_size=60) | st.text("reward()[]<>=!&|~.,:'\"\\ \n\r\t0éx1enot", max_size=40))
def test_any_text_gives_a_plan_or_a_query_error(text: str) -> None:
    try:
        assert isinstance(compile_query(text, CATALOGUE), Plan)
    except QueryError as error:
        str(error).encode()


SNIPPETS = ["(", ")", "[", "]", "'", " and ", " & ", "~", ".", ",", ":", "=", "*", "lambda: "]
SNIPPETS += [
    "\n",
    "\0",
    "__class__",
    "reward",
    "'a'",
    "0",
    "1e999",
    "é",
    " in ",
    " for x in ",
    "{",
]


@settings(max_examples=300)
@given(st.data())
def test_a_mutated_query_gives_a_plan_or_a_query_error(data: st.DataObject) -> None:
    params: dict[str, Any] = {}
    text = render(data.draw(conditions(2)), params)
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(text)))
        stop = data.draw(st.integers(start, min(start + 6, len(text))))
        text = text[:start] + data.draw(st.sampled_from(["", *SNIPPETS])) + text[stop:]
    try:
        plan = compile_query(text, CATALOGUE, params)
    except QueryError:
        return
    table = {
        field: Values(np.zeros((2, *field.shape), dtype="U1" if field.kind == "text" else "u1"))
        for field in FIELDS.values()
    }
    mask(plan, 2, table)


# ----------------------------------------------------------------------------------- messages
MESSAGES = {
    "rewrad > 0": "there is no field 'rewrad'; did you mean 'reward'?\n^",
    "info.livse > 0": "there is no field 'info.livse'; did you mean 'info.lives'?\n^",
    "step < treshold": "there is no field 'treshold'; did you mean 'threshold'?\n       ^",
    "maxx(step) > 0": "there is no function 'maxx'; did you mean 'max'?\n^",
    "zzz > 0": "there is no field 'zzz', and no parameter\n^",
    "pose > 0": "there is no field 'pose'; did you mean 'observation.pose'?\n^",
    "max > 0": "max is a function; call it as max(...)\n^",
    "ended == 'é日' and rewrad": "there is no field 'rewrad'; did you mean 'reward'?\n"
    "                   ^",
    "observation.pose[3] > 0": "index 3 is out of range; observation.pose has an array of "
    "shape (3,)\n                 ^",
    "observation.pose[0, 1] > 0": "observation.pose has an array of shape (3,); "
    "this is an index too many\n                    ^",
    "reward[0] > 0": "reward has one value for each row; this is an index too many\n       ^",
    "observation.pose[reward] > 0": "expected a constant or a parameter\n                 ^",
    "observation.pose[0.5] > 0": "an index is an integer or a slice, a key is text\n"
    "                 ^",
    "any(observation.pose[::0] > 0)": "a slice has integer bounds and a step that is not 0\n"
    "                     ^",
    "any(observation.pose[1:].x > 0)": "there are no names behind a slice\n"
    "                         ^",
    "observation.pose > 0": "this has an array of shape (3,) for each row; write any(...) or "
    "all(...), or choose one by its index\n^",
    "any(observation.pose > observation.bits[1:])": "arrays of different shapes meet: "
    "[(2,), (3,)]\n    ^",
    "max(reward) > 0": "max looks through an array within one row, and this is one value\n    ^",
    "sqrt(reward, 2) > 0": "sqrt does not take 2 arguments\n^",
    "reward": "a number is not a condition; compare it: reward != 0\n^",
    "not observation['pose'][0]": "a number is not a condition; compare it: "
    "observation.pose[0] != 0\n    ^",
    "any(observation.pose[1:])": "a number is not a condition; compare it: "
    "observation.pose[:] != 0\n    ^",
    "ended or terminated": "text is not a condition; compare it: ended == 'abc'\n^",
    "reward > 0 & ~terminated": "`&` joins conditions, and this is a number; write `and`, or "
    "put the comparison in parentheses\n         ^",
    "~reward > 0": "`~` joins conditions, and this is a number; write `not`, or put "
    "the comparison in parentheses\n ^",
    "ended > 0": "`>` compares text with a number here\n        ^",
    "ended in (1, 2)": "`in` compares text with numbers here\n         ^",
    "ended in (1, 'a')": "`in` looks through numbers or through text, not both\n         ^",
    "ended + 1 > 0": "`+` takes numbers; this is text\n^",
    "0 < reward in (1, 2)": "`in` takes no part in a chain; join comparisons with `and`\n^",
    "[1][0] > 0": "only a field has parts and indices\n^",
    "reward in step": "`in` looks through a tuple of constants, as in `x in (1, 2)`, or a "
    "parameter that is a list\n          ^",
    "reward in 'abc'": "`in` looks through a tuple of constants, as in `x in (1, 2)`, or a "
    "parameter that is a list\n          ^",
    "reward in (1, -'a')": "expected a constant or a parameter\n              ^",
    "reward > 0 && terminated": "write `and` instead of `&&`\n           ^",
    "reward > 0 OR terminated": "write `or` instead of `OR`\n           ^",
    "reward = 0": "write `==` instead of `=`\n       ^",
    "ended == 'a=b": "unterminated string literal (detected at line 1)\n         ^",
    "reward step": "invalid syntax\n^",
    "reward > (0": "a parenthesis is never closed\n           ^",
    "1) < (2": "unmatched ')'\n ^",
    "reward == None": "None is no value; ask `has(...)` or `not has(...)`\n          ^",
    "lambda: 1": "a lambda is not part of a query\n^",
    "reward @ 1 > 0": "the operator MatMult is not part of a query\n^",
    "reward.sum() > 0": "only functions are called, as in abs(x); nothing has methods\n^",
}


@pytest.mark.parametrize("text", MESSAGES)
def test_message(text: str) -> None:
    params = {"threshold": 1} if "treshold" in text else {}
    with pytest.raises(QueryError) as caught:
        compile_query(text, CATALOGUE, params)
    message, caret = MESSAGES[text].split("\n")
    assert str(caught.value) == f"{message}\n    {text}\n    {caret}"


def test_message_shows_the_line_it_is_about() -> None:
    with pytest.raises(QueryError) as caught:
        compile_query("reward > 0\r\n  and\trewrad", CATALOGUE)
    assert str(caught.value).split("\n")[1:] == ["      and rewrad", "          ^"]
    with pytest.raises(QueryError) as caught:
        compile_query("reward > 0 and " * 20 + "rewrad > 0" + " and reward > 0" * 20, CATALOGUE)
    _, line, caret = str(caught.value).split("\n")
    assert line[caret.index("^") :].startswith("rewrad")
    assert line.strip().startswith("…")
    assert line.endswith("…")


# --------------------------------------------------------------------------------- functions
EXAMPLES = ["observation", "action"], ["reward", "step", "episode_length", "info.lives"]


@pytest.mark.parametrize("entry", [entry for few in FUNCTIONS.values() for entry in few])
def test_example_of_each_function(entry: Function) -> None:
    catalogue = Fields(
        [Field(name, "number", (2,)) for name in EXAMPLES[0]]
        + [Field("observation.pose", "number", (3,))]
        + [Field(name, "number") for name in EXAMPLES[1]]
    )
    (example,) = re.findall("``(.+)``", entry.run.__doc__ or "")
    assert entry.name in example
    plan = compile_query(example, catalogue)
    assert mask(plan, 2, {f: Values(np.ones((2, *f.shape))) for f in plan.row.fields}).shape == (2,)


# --------------------------------------------------------------------------------- parameters
@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({}, "there is no field 't'"),
        ({"t": 1, "u": 1}, "the parameter 'u' is not used"),
        ({"t": 1, "reward": 1}, "the parameter 'reward' has the name of a field"),
        ({"t": 1, "observation": 1}, "the parameter 'observation' has the name of a field"),
        ({"t": None}, "parameter 't': expected a number, a bool, text, or a flat collection"),
        ({"t": {"a": 1}}, "found dict"),
        ({"t": 1j}, "found complex"),
        ({"t": [[1]]}, "found list in it"),
        ({"t": [1, 2]}, "a list goes with `in` only"),
        ({"t": "a"}, "`>` compares text with a number here"),
    ],
)
def test_parameter_refused(params: dict[str, Any], message: str) -> None:
    with pytest.raises(QueryError, match=message):
        compile_query("reward > t", CATALOGUE, params)


@pytest.mark.parametrize(
    "steps", [[1, 2], (1, 2), {1, 2}, {1.0, 2}, range(1, 3), np.array([1, 2], np.int8)]
)
def test_collections(steps: Any) -> None:
    plan = compile_query("step in steps", CATALOGUE, {"steps": steps})
    assert plan.row(lambda field: Values(np.arange(4)), 4).tolist() == [
        False,
        True,
        True,
        False,
    ]
    with pytest.raises(QueryError, match="has no parts"):
        compile_query("steps[0] > 1", CATALOGUE, {"steps": steps})


def test_scalars_of_numpy_and_enums_become_pythons() -> None:
    params = {"x": np.float32(0.5), "y": np.array(2), "i": np.int64(-1), "s": np.str_("reset")}
    text = "reward > x and step > y and observation.pose[i] > 0 and ended == s"
    assert "np." not in repr(compile_query(text, CATALOGUE, params))


# ------------------------------------------------------------------------------------- corners
def answer(text: str, data: Any, **params: Any) -> list[bool]:
    data = np.asarray(data)
    plan = compile_query(text, Fields([Field("x", "number", data.shape[1:])]), params)
    return mask(plan, len(data), {Field("x", "number", data.shape[1:]): Values(data)}).tolist()


def test_numbers_beyond_the_dtype() -> None:
    assert answer("x < 256 and x > -1 and x < 2**70", np.array([255], np.uint8)) == [True]
    assert answer(f"x < {2**64 + 1}", np.array([2**64 - 1], np.uint64)) == [True]
    assert answer("x > 70000", np.array([np.inf, 65504], np.float16)) == [True, False]
    assert answer("x < " + "0x" + "f" * 400, np.array([1.0])) == [True]
    assert answer("x + 1 == 256", np.array([255], np.uint8)) == [True]
    assert answer(f"x in ({2**64}, {2**63}, -1, 300, 2.0)", np.array([2, 44], "u1")) == [
        True,
        False,
    ]
    assert answer("x == 0.1", np.array([0.1], np.float32)) == [True]


def test_constant_queries() -> None:
    for text in ["True", "1 < 2", "not 2 in (3,)", "'a' < 'b' and has(1)", "abs(-2) == 2"]:
        plan = compile_query(text, CATALOGUE)
        assert plan.row is None
        assert plan.wide is None
        assert plan.episode is not None
        assert plan.episode.fields == ()
        assert plan.episode(lambda field: Values(np.empty(0)), 3).tolist() == [True] * 3
    assert answer("nan != nan or nan not in (1,)", [1.0], nan=math.nan) == [False]
    assert answer("x in ()", [1.0]) == [False]


def test_key_of_numbers_and_text() -> None:
    table = {
        FIELDS["info.mixed"]: Values(np.array([1, 0, 0]), np.array([True, False, False])),
        FIELDS["info.mixed?"]: Values(np.array(["", "a", ""]), np.array([False, True, False])),
    }
    for text, expected in {
        "info.mixed == 1": [True, False, False],
        "'a' == info.mixed": [False, True, False],
        "info.mixed in ('a', 'b')": [False, True, False],
        "info.mixed == info.mixed": [True, False, False],
        "has(info.mixed)": [True, True, False],
    }.items():
        assert mask(compile_query(text, CATALOGUE), 3, table).tolist() == expected


def test_powers_and_zero() -> None:
    assert answer("x ** 2 == 4 and x ** 0.5 != 7", [2, -2]) == [True, False]
    assert answer("isnan(x // 0) and isnan(x % 0) and x / 0 > 5", [1, 2]) == [True, True]


def test_a_query_is_text() -> None:
    with pytest.raises(QueryError, match="expected a text, such as 'reward > 0'; found int"):
        compile_query(1, CATALOGUE)


def test_reductions_of_nothing() -> None:
    for text in [
        "min(x[1:1]) != 0",
        "isnan(mean(x[:0]))",
        "has(max(x[1:1]))",
        "any(x[:0] > 0)",
    ]:
        assert answer(text, [[1], [2]]) == [False, False], text
    assert answer("sum(x[1:1]) == 0 and norm(x[1:1]) == 0 and all(x[:0] > 0)", [[1]]) == [True]


def test_query_over_lines_with_comments() -> None:
    text = "x > 0  # good\n\n  and x < 2 # but not too good"
    assert answer(text, [1, 3]) == [True, False]


def test_the_mask_is_the_callers_own() -> None:
    flags = np.array([True, False])
    plan = compile_query("terminated", CATALOGUE)
    assert plan.row is not None
    plan.row(lambda field: Values(flags), 2)[:] = False
    assert flags.tolist() == [True, False]

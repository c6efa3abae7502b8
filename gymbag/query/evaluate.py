# SPDX-License-Identifier: LGPL-3.0-or-later
"""A checked tree to a mask, over arrays that the caller reads.

Logic has two values. A comparison is False where an operand is NaN or missing, ``!=`` and
``not in`` too; so ``not reward > 0`` holds where the reward is NaN. Arithmetic on something
missing is missing, and a missing bool counts as False.

Nothing here knows the text; `gymbag.query.plan` has checked that every node makes sense.
"""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gymbag.query.fields import Field, Kind, Values
from gymbag.query.functions import find, wide
from gymbag.query.tree import Scalar

Mask = NDArray[np.bool_]
Reader = Callable[[Field], Values]
Shape = tuple[int, ...]

BLOCK = 1 << 18
"""Elements of the widest field in the rows that are asked at once: it bounds the memory that a
question takes beside the values themselves, however long it is."""


@dataclass(frozen=True, slots=True)
class Constant:
    """The same in every row."""

    value: Scalar

    @property
    def kind(self) -> Kind:
        """What it is."""
        if isinstance(self.value, bool):
            return "bool"
        return "text" if isinstance(self.value, str) else "number"

    @property
    def shape(self) -> Shape:
        """The shape of a scalar."""
        return ()


@dataclass(frozen=True, slots=True)
class Item:
    """A field, or a part of its array."""

    field: Field
    index: tuple[int | slice, ...]
    shape: Shape

    @property
    def kind(self) -> Kind:
        """What the field is."""
        return self.field.kind


@dataclass(frozen=True, slots=True)
class Apply:
    """A function from the table."""

    function: str
    arguments: tuple[Typed, ...]
    kind: Kind
    shape: Shape


@dataclass(frozen=True, slots=True)
class Compare:
    """A chain of comparisons."""

    operators: tuple[str, ...]
    operands: tuple[Typed, ...]
    shape: Shape
    kind: Kind = "bool"


@dataclass(frozen=True, slots=True)
class Member:
    """Whether an operand equals one of the items, or, `negated`, none of them."""

    operand: Typed
    items: tuple[Scalar, ...]
    negated: bool
    shape: Shape
    kind: Kind = "bool"


@dataclass(frozen=True, slots=True)
class Logic:
    """``and`` or ``or`` of its terms, or ``not`` of a single one."""

    word: str
    terms: tuple[Typed, ...]
    shape: Shape
    kind: Kind = "bool"


Typed = Constant | Item | Apply | Compare | Member | Logic


def parts(node: Typed) -> tuple[Typed, ...]:
    """Return the nodes directly below `node`."""
    match node:
        case Apply():
            return node.arguments
        case Compare():
            return node.operands
        case Member():
            return (node.operand,)
        case Logic():
            return node.terms
    return ()


def fields(node: Typed) -> Iterator[Field]:
    """Yield the fields that `node` reads, with repeats."""
    if isinstance(node, Item):
        yield node.field
    for part in parts(node):
        yield from fields(part)


@dataclass(frozen=True, slots=True)
class Expression:
    """A condition: call it with a reader and the number of rows to get a mask of them."""

    root: Typed
    fields: tuple[Field, ...]
    """What it reads, without repeats."""

    def __call__(self, read: Callable[[Field], Values], n: int) -> NDArray[np.bool_]:
        """Return a fresh mask of n rows.

        Args:
            read: Returns the n values of a field; called once for each of `fields` at most.
            n: The number of rows.
        """
        read = functools.cache(read)
        widest = max((math.prod(field.shape) for field in self.fields), default=1)
        rows = max(1, BLOCK // max(1, widest))
        mask = np.empty(n, dtype=np.bool_)
        with np.errstate(all="ignore"):
            for start in range(0, n, rows):
                stop = min(start + rows, n)
                block = functools.partial(_block, read, start, stop)
                mask[start:stop] = condition(self.root, block, stop - start)
        return mask


def _block(read: Reader, start: int, stop: int, field: Field) -> Values:
    """Return some of the rows of a field."""
    values = read(field)
    present = None if values.present is None else values.present[start:stop]
    return Values(np.asarray(values.data)[start:stop], present)


def constant(node: Typed) -> Scalar:
    """Return the value of a node that reads no field."""
    with np.errstate(all="ignore"):
        value: Scalar = evaluate(node, _nothing, 1).data.reshape(-1)[0].item()
    return value


def _nothing(field: Field) -> Values:
    raise AssertionError(f"a constant reads {field.name}")


def condition(node: Typed, read: Reader, n: int) -> Mask:
    """Return where a bool is True; missing is not."""
    values = evaluate(node, read, n)
    return _held(values.data.astype(np.bool_, copy=False), values.present)


def evaluate(node: Typed, read: Reader, n: int) -> Values:
    """Return the values of a node; of a constant without the axis of rows."""
    match node:
        case Constant(value=value):
            return Values(np.asarray(value))
        case Item(field=field, index=index):
            values = read(field)
            return Values(np.asarray(values.data)[(slice(None), *index)], values.present)
        case Apply():
            return _apply(node, read, n)
        case Compare():
            return Values(_compare(node, read, n))
        case Member():
            return Values(_member(node, read, n))
        case Logic(word="not", terms=(term,)):
            return Values(~condition(term, read, n))
        case Logic():
            masks = (_align(condition(t, read, n), t, node.shape) for t in node.terms)
            join = np.logical_and if node.word == "and" else np.logical_or
            return Values(functools.reduce(join, masks))


def _apply(node: Apply, read: Reader, n: int) -> Values:
    function = find(node.function, len(node.arguments))
    assert function is not None
    arguments: list[NDArray[Any]] = []
    present = None
    for argument in node.arguments:
        values = evaluate(argument, read, n)
        present = _both(present, values.present)
        data = values.data
        if function.takes == "bool":
            data = data.astype(np.bool_, copy=False)
        if function.form == "each":
            arguments.append(_align(_widen(data), argument, node.shape))
        else:
            size = int(np.prod(argument.shape))
            arguments.append(np.broadcast_to(data, (n, *argument.shape)).reshape(n, size))
        if function.most == math.inf and len(arguments) == 2:
            # Two at a time: a thousand wide arguments are never in memory together.
            arguments = [np.asarray(function.run(*arguments))]
    result = arguments[0] if function.most == math.inf else function.run(*arguments)
    if result is None:
        return Values(np.zeros(n), np.zeros(n, dtype=np.bool_))
    if function.gives == "bool":
        return Values(_held(result, present))
    return Values(_widen(result), present)


def _compare(node: Compare, read: Reader, n: int) -> Mask:
    # One side after another, so that a chain has no more than two of them in memory.
    sides = (_side(operand, node.shape, read, n) for operand in node.operands)
    left, present = next(sides)
    mask: Any = None
    for sign, (right, there) in zip(node.operators, sides, strict=True):
        holds = compared(sign, left, right)
        mask = holds if mask is None else mask & holds
        left, present = right, _both(present, there)
    return _held(np.asarray(mask), present)


def _side(operand: Typed, shape: Shape, read: Reader, n: int) -> tuple[Any, Mask | None]:
    """Return one side of a comparison, and where it is present."""
    if isinstance(operand, Constant):
        # A Python number stays one, so that a float32 field compares with 0.1 as float32.
        return operand.value, None
    values = evaluate(operand, read, n)
    data = values.data
    if data.dtype == np.object_ and values.present is not None:
        data = np.where(_rows(values.present, data.ndim), data, "")
    return _align(data, operand, shape), values.present


def compared(sign: str, left: Any, right: Any) -> Any:
    """Return where a comparison of two sides holds, one of which may be a Python number."""
    return _SIGNS[sign](_suited(left, right), _suited(right, left))


def _differ(left: Any, right: Any) -> Any:
    # Unlike !=, this is False where one of them is NaN.
    return (left < right) | (left > right)


_SIGNS: dict[str, Callable[[Any, Any], Any]] = {
    "==": operator.eq,
    "!=": _differ,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def _suited(side: Any, other: Any) -> Any:
    """Return one side of a comparison such that NumPy compares it rightly with the other."""
    if isinstance(side, str):
        # NumPy's own text cannot end in a null character and would lose it.
        return np.array(side, dtype=np.object_) if side.endswith("\0") else side
    if not isinstance(side, np.ndarray):
        return side
    if side.dtype == np.bool_:
        return side.astype(np.int8)
    narrow = side.dtype.kind == "f" and isinstance(other, int | float)
    return side.astype(np.float64) if narrow and not _fits(other, side.dtype) else side


def _fits(number: float, dtype: np.dtype[Any]) -> bool:
    """Whether a number is in the range of a dtype; an infinity is in that of floats."""
    if dtype.kind == "f":
        return not math.isfinite(number) or abs(number) <= float(np.finfo(dtype).max)
    return int(np.iinfo(dtype).min) <= number <= int(np.iinfo(dtype).max)


def _member(node: Member, read: Reader, n: int) -> Mask:
    if isinstance(node.operand, Constant):
        value = node.operand.value
        found = any(value == item for item in node.items)
        return np.asarray(not found and value == value if node.negated else found)
    values = evaluate(node.operand, read, n)
    data = values.data
    if node.operand.kind == "text":
        wanted = set(node.items)
        mask = np.array([value in wanted for value in data.ravel().tolist()], dtype=np.bool_)
        mask = mask.reshape(data.shape)
    else:
        data = _suited(data, 0)
        mask = _member_number(data, [item for item in node.items if not isinstance(item, str)])
    if node.negated:
        mask = ~mask & (data == data)
    return _held(mask, values.present)


def _member_number(data: NDArray[Any], items: list[int | float]) -> Mask:
    """Return where an item equals the number, in the sense of ``==``."""
    if data.dtype.kind == "f":
        items = [item for item in items if _fits(item, data.dtype)]
        return np.isin(data, np.array(items, dtype=data.dtype))
    whole = [item for item in items if isinstance(item, int) and _fits(item, data.dtype)]
    other = [item for item in items if isinstance(item, float)]
    mask = np.isin(data, np.array(whole, dtype=data.dtype))
    return mask | np.isin(data.astype(np.float64), other) if other else mask


def _both(one: Mask | None, other: Mask | None) -> Mask | None:
    if one is None or other is None:
        return other if one is None else one
    return one & other


def _rows(present: Mask, ndim: int) -> Mask:
    """Return ``(n,)`` as ``(n, 1, ...)``, to meet an array of n rows."""
    return present.reshape(-1, *(1,) * (ndim - 1))


def _held(data: Mask, present: Mask | None) -> Mask:
    """Return a mask that is False where nothing is present."""
    return data if present is None else data & _rows(present, data.ndim)


def _align(data: NDArray[Any], node: Typed, shape: Shape) -> NDArray[Any]:
    """Return a scalar per row such that it meets an array of `shape` per row."""
    if data.ndim == 0 or node.shape == shape:
        return data
    return data.reshape(-1, *(1,) * len(shape))


def _widen(data: NDArray[Any]) -> NDArray[Any]:
    # A Python int too large for any of NumPy's comes as an object.
    return data.astype(wide(data.dtype), copy=False)

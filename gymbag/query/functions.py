# SPDX-License-Identifier: LGPL-3.0-or-later
"""The table of query functions, and of the arithmetic operators, which are functions too.

A new function is one decorated Python function: its signature says how many arguments it takes,
the decorator what kind they have and what comes out. The planner checks and places it.

Numbers arrive as int64 or float64 wherever `form` is ``"each"``, so that no uint8 overflows.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Form = Literal["each", "array", "row"]


@dataclass(frozen=True, slots=True)
class Function:
    """One way to call a function."""

    name: str
    takes: Literal["number", "bool", "any"]
    gives: Literal["number", "bool"]
    """A number is missing where an argument is; a bool is False there, as in a comparison."""
    form: Form
    """
    each: element by element, for scalars and arrays alike; arrays arrive aligned
    array: one array as ``(n, elements)``, of which each row's elements become one value
    row: one argument of any shape, likewise as ``(n, elements)``
    """
    least: int
    most: float
    """How many arguments. Of infinitely many, `run` takes two: what it gave, and the next."""
    run: Callable[..., Array | None]
    """Returns None if no row can have a value."""


FUNCTIONS: dict[str, list[Function]] = {}
"""By name; the number of arguments chooses among several of one name."""


def function(
    name: str,
    *,
    takes: Literal["number", "bool", "any"] = "number",
    gives: Literal["number", "bool"] = "number",
    form: Form = "each",
    several: bool = False,
) -> Callable[[Callable[..., Array | None]], Callable[..., Array | None]]:
    """Enter the decorated function into the table."""

    def enter(run: Callable[..., Array | None]) -> Callable[..., Array | None]:
        least = len(inspect.signature(run).parameters)
        most = math.inf if several else least
        entry = Function(name, takes, gives, form, least, most, run)
        FUNCTIONS.setdefault(name, []).append(entry)
        return run

    return enter


def find(name: str, arguments: int) -> Function | None:
    """Return the function of that name and number of arguments.

    >>> find("max", 1).form, find("max", 2).form, find("max", 0)
    ('array', 'each', None)
    """
    for entry in FUNCTIONS.get(name, ()):
        if entry.least <= arguments <= entry.most:
            return entry
    return None


def names() -> list[str]:
    """Return what can be called by name; the operators cannot.

    >>> names()
    ['abs', 'all', 'any', 'has', 'isnan', 'max', 'mean', 'min', 'norm', 'sqrt', 'sum']
    """
    return sorted(name for name in FUNCTIONS if name.isidentifier())


def wide(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the dtype to calculate in: int64 if it holds every value, else float64.

    >>> wide(np.dtype("uint8")), wide(np.dtype("uint64")), wide(np.dtype("float32"))
    (dtype('int64'), dtype('float64'), dtype('float64'))
    """
    whole = np.can_cast(dtype, np.int64, "safe")
    return np.dtype(np.int64 if whole else np.float64)


def floats(x: Array) -> Array:
    """Return numbers as float64."""
    return x.astype(np.float64, copy=False)


@function("abs")
def absolute(x: Array) -> Array:
    """How far a number is from 0: ``abs(action[0]) < 0.1``."""
    return np.abs(x)


@function("sqrt")
def square_root(x: Array) -> Array:
    """The square root, NaN below 0: ``sqrt(reward) > 2``."""
    return np.sqrt(x)


@function("isnan", gives="bool")
def is_nan(x: Array) -> Array:
    """Whether a number is there and is NaN: ``not isnan(reward)``."""
    return np.isnan(x)


@function("has", takes="any", gives="bool", form="row")
def has(x: Array) -> Array:
    """Whether the row has a value: ``has(info.lives)``."""
    return np.ones(len(x), dtype=np.bool_)


@function("min", form="array")
def smallest(x: Array) -> Array | None:
    """The smallest element, missing if there is none: ``min(observation) >= 0``."""
    return np.asarray(x.min(axis=1)) if x.shape[1] else None


@function("max", form="array")
def largest(x: Array) -> Array | None:
    """The largest element, missing if there is none: ``max(observation) > 3``."""
    return np.asarray(x.max(axis=1)) if x.shape[1] else None


@function("mean", form="array")
def mean(x: Array) -> Array | None:
    """The mean in float64, missing if there is no element: ``mean(observation) > 0.5``."""
    return np.asarray(x.mean(axis=1, dtype=np.float64)) if x.shape[1] else None


@function("sum", form="array")
def total(x: Array) -> Array:
    """The sum, of bools their number: ``sum(observation > 0) >= 3``."""
    return np.asarray(x.sum(axis=1, dtype=wide(x.dtype)))


@function("norm", form="array")
def norm(x: Array) -> Array:
    """The Euclidean length in float64: ``norm(observation.pose) < 1``."""
    return np.asarray(np.sqrt(np.square(floats(x)).sum(axis=1)))


@function("any", takes="bool", gives="bool", form="array")
def any_of(x: Array) -> Array:
    """Whether a condition holds for an element: ``any(observation > 0)``."""
    return np.asarray(x.any(axis=1))


@function("all", takes="bool", gives="bool", form="array")
def all_of(x: Array) -> Array:
    """Whether a condition holds for each element: ``all(observation > 0)``."""
    return np.asarray(x.all(axis=1))


@function("min", several=True)
def lesser(x: Array, y: Array) -> Array:
    """The smallest of several numbers: ``min(step, 10) > reward``."""
    return np.minimum(x, y)


@function("max", several=True)
def greater(x: Array, y: Array) -> Array:
    """The largest of several numbers: ``max(reward, 0) < 1``."""
    return np.maximum(x, y)


@function("+")
def plus(x: Array) -> Array:
    """The number itself: ``reward > +1``."""
    return x


@function("-")
def minus(x: Array) -> Array:
    """The number with the other sign: ``reward < -step``."""
    return np.negative(x)


@function("+")
def add(x: Array, y: Array) -> Array:
    """Sum of two numbers: ``reward + 1 > 0``."""
    return np.add(x, y)


@function("-")
def subtract(x: Array, y: Array) -> Array:
    """Difference of two numbers: ``episode_length - step < 10``."""
    return np.subtract(x, y)


@function("*")
def multiply(x: Array, y: Array) -> Array:
    """Product of two numbers: ``2 * reward > 1``."""
    return np.multiply(x, y)


@function("/")
def divide(x: Array, y: Array) -> Array:
    """Quotient in float64: ``step / episode_length > 0.5``."""
    return np.true_divide(floats(x), floats(y))


@function("//")
def floor_divide(x: Array, y: Array) -> Array:
    """Quotient rounded down, in float64, NaN over 0: ``step // 10 == 3``."""
    return np.where(y == 0, np.nan, np.floor_divide(floats(x), floats(y)))


@function("%")
def remainder(x: Array, y: Array) -> Array:
    """What that division leaves, NaN over 0: ``step % 10 == 0``."""
    return np.remainder(floats(x), floats(y))


@function("**")
def power(x: Array, y: Array) -> Array:
    """A power in float64: ``observation[0] ** 2 < 1``."""
    return np.power(floats(x), floats(y))

# SPDX-License-Identifier: LGPL-3.0-or-later
"""Where two values differ, whatever they are made of: dicts, tuples, arrays, numbers, text."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from gymbag.errors import CompareError, SchemaError
from gymbag.schema import child_path, describe_space

Numbers: TypeAlias = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Tolerance:
    """How far two numbers may be apart and still count as the same; NaN and a number never do.

    Raises:
        CompareError: that is no distance.

    >>> Tolerance(-1)
    Traceback (most recent call last):
    gymbag.errors.CompareError: tolerance: found -1; expected a number from 0
    """

    absolute: float = 0.0
    relative: float = 0.0
    """In parts of the first number."""
    kinds: str = "iufc"
    """Of which dtypes one has to be, in the letters of `numpy.dtype.kind`."""

    def __post_init__(self) -> None:
        for name, value in (("tolerance", self.absolute), ("relative_tolerance", self.relative)):
            if not value >= 0:
                raise CompareError(f"{name}: found {value!r}; expected a number from 0")

    def __bool__(self) -> bool:
        """Return whether it allows for any difference."""
        return self.absolute > 0 or self.relative > 0

    def exceeded(self, a: Numbers, b: Numbers, errors: Numbers) -> NDArray[np.bool_]:
        """Return which of the errors, as `absolute_errors` gives them, are too large."""
        if a.dtype.kind not in self.kinds and b.dtype.kind not in self.kinds:
            return np.ones(errors.shape, np.bool_)
        allowed: Any = self.absolute
        if self.relative:
            size = np.abs(a.astype(np.result_type(a, np.float64)))
            # Any number would be near enough to an infinite one.
            allowed = allowed + self.relative * np.where(np.isfinite(size), size, 0.0)
        return np.asarray(errors > allowed, np.bool_)


EXACT = Tolerance()


@dataclass(frozen=True, slots=True)
class Mismatch:
    """Two values at one place that are not equal."""

    path: str
    """Of the number, the array, or whatever is there: ``observation.camera``."""
    place: str
    """The same, or the first element of the array that differs: ``observation.camera[0][3]``."""
    a: Any
    b: Any
    error: float | None = None
    """The largest absolute difference of the numbers at `path`; infinite where only one is NaN.
    None where there are no numbers to subtract."""
    tolerated: bool = False


def mismatches(path: str, a: Any, b: Any, tolerance: Tolerance = EXACT) -> Iterator[Mismatch]:
    """Iterate over the places at which two values are not equal, one for each array.

    NaN equals NaN, 0.0 equals -0.0, a tuple equals a list, and a number equals the same number
    of another type. An array differs from one of another dtype, unless a tolerance is given.

    >>> [found.place for found in mismatches("info", {"a": [1, 2]}, {"a": [1, 3], "b": 0})]
    ['info.a[1]', 'info.b']
    """
    if isinstance(a, dict) and isinstance(b, dict):
        for key in [*a, *(key for key in b if key not in a)]:
            pair = a.get(key, ABSENT), b.get(key, ABSENT)
            yield from mismatches(child_path(path, key), *pair, tolerance)
    elif isinstance(a, tuple | list) and isinstance(b, tuple | list) and len(a) == len(b):
        for index, pair in enumerate(zip(a, b, strict=True)):
            yield from mismatches(child_path(path, index), *pair, tolerance)
    elif _is_number(a) and _is_number(b):
        found = _compare_numbers(path, np.asarray(a), np.asarray(b), tolerance)
        if found is not None:
            yield found
    else:
        alike = (isinstance(a, str) and isinstance(b, str)) or type(a) is type(b)
        if not (alike and bool(a == b)):
            yield Mismatch(path, path, a, b)


def _compare_numbers(path: str, a: Numbers, b: Numbers, tolerance: Tolerance) -> Mismatch | None:
    if a.shape != b.shape:
        return Mismatch(path, path, f"shape {a.shape}", f"shape {b.shape}")
    if a.ndim and a.dtype != b.dtype and not tolerance:
        return Mismatch(path, path, f"dtype {a.dtype}", f"dtype {b.dtype}")
    both_nan = np.logical_and(a != a, b != b)
    unequal = np.asarray(np.logical_and(a != b, np.logical_not(both_nan)))
    if not unequal.any():
        return None
    first, error, tolerated = 0, None, False
    if a.dtype.kind in "iufc" and b.dtype.kind in "iufc":
        mine, others = a[unequal], b[unequal]
        errors = absolute_errors(mine, others)
        error = float(errors.max())
        exceeded = tolerance.exceeded(mine, others, errors)
        first, tolerated = int(np.argmax(exceeded)), not exceeded.any()
    index = tuple(np.argwhere(unequal)[first])
    place = path + "".join(f"[{i}]" for i in index)
    return Mismatch(path, place, a[index], b[index], error, tolerated)


def absolute_errors(a: Numbers, b: Numbers) -> Numbers:
    """Return the absolute differences of unequal numbers; exact for integers, NaN is infinite."""
    if a.dtype.kind in "iu" and b.dtype.kind in "iu":
        wide: Any = np.int64 if max(a.itemsize, b.itemsize) < 8 else object
    else:
        wide = np.result_type(a, b, np.float64)
    with np.errstate(invalid="ignore", over="ignore"):
        gaps: Numbers = np.abs(a.astype(wide) - b.astype(wide))
    return np.where(gaps != gaps, math.inf, gaps)


def same_space(one: Any, other: Any) -> bool:
    """Return whether two spaces are equal, whichever of the libraries they are of."""
    try:
        return describe_space(one) == describe_space(other)
    except SchemaError:
        return bool(one == other)


def short(value: Any) -> str:
    """Return a value as one short line.

    >>> short("a  b ")
    'a b'
    """
    text = " ".join(str(value).split())
    return text if len(text) <= 80 else f"{text[:77]}..."


class _Absent:
    """What a dict has under a key that it does not have."""

    def __repr__(self) -> str:
        return "nothing"


ABSENT = _Absent()


def _is_number(value: Any) -> bool:
    return isinstance(value, np.ndarray | np.generic | bool | int | float | complex)

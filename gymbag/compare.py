# SPDX-License-Identifier: LGPL-3.0-or-later
"""Compares two recordings: the same spaces, episodes and rows, or where they first differ."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from gymbag.errors import CompareError, SchemaError
from gymbag.schema import child_path, describe_space
from gymbag.steps import Episode, Step, iter_rows

FIELDS = ("observation", "action", "reward", "terminated", "truncated")

Numbers: TypeAlias = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Difference:
    """One place in which two recordings differ."""

    field: str
    """Its path, for example ``observation.camera[0]``; or ``number of rows``, ``seed`` …"""
    a: str
    """What the first has there, shortened."""
    b: str
    """What the second has there, shortened."""
    episode: int | None = None
    step: int | None = None

    def __str__(self) -> str:
        place = "" if self.episode is None else f"episode {self.episode}, "
        place += "" if self.step is None else f"step {self.step}, "
        return f"{place}{self.field}: {self.a} is not {self.b}"


@dataclass(frozen=True, slots=True)
class Comparison:
    """What comparing two recordings found; true if they are the same."""

    episodes: int = 0
    """Episodes compared."""
    rows: int = 0
    """Rows compared."""
    differing_rows: int = 0
    """Rows with any difference, and those that only one of the two has."""
    first: Difference | None = None
    """The first difference; None if there is none."""
    errors: dict[str, float] = field(default_factory=dict)
    """The largest absolute error by the path of the number or array, where there is any, even
    one that is tolerated; infinite where only one of two numbers is NaN."""
    notes: tuple[str, ...] = ()
    """What could not be compared, and why."""

    def __bool__(self) -> bool:
        """Return whether the recordings are the same."""
        return self.first is None

    def __str__(self) -> str:
        lines = [f"compared {self.episodes} episodes, {self.rows} rows"]
        if self.first is None:
            lines.append("the same")
        else:
            lines.append(f"first difference: {self.first}")
            lines.append(f"{self.differing_rows} rows differ")
        lines += [f"largest error of {path}: {e:g}" for path, e in self.errors.items()]
        return "\n".join([*lines, *self.notes])

    def to_json(self) -> dict[str, Any]:
        """Return it as plain JSON; an infinite error is the text ``inf``."""
        first = self.first
        return {
            "same": bool(self),
            "episodes": self.episodes,
            "rows": self.rows,
            "differing_rows": self.differing_rows,
            "first": None if first is None else {n: getattr(first, n) for n in first.__slots__},
            "errors": {p: e if math.isfinite(e) else str(e) for p, e in self.errors.items()},
            "notes": list(self.notes),
        }


def compare(
    a: Any,
    b: Any,
    *,
    tolerance: float = 0.0,
    times: bool = False,
    infos: bool = True,
) -> Comparison:
    """Compare two recordings row by row, without holding more than a row of each.

    NaN equals NaN, 0.0 equals -0.0, a tuple equals a list, and a number equals the same number
    of another type. An array differs from one of another dtype, unless a tolerance is given.
    The action of a reset's row means nothing, and is not compared. Seeds, options and ends are
    compared where both recordings have `Episode` objects, and spaces where both know them.

    Args:
        a: a store, a selection, a reader, or any iterable of episodes.
        b: likewise.
        tolerance: largest absolute difference of numbers that still counts as the same; True and
            False differ, however large it is.
        times: whether to compare the times of the rows, too.
        infos: whether to compare the infos.

    Raises:
        CompareError: one of them is no recording, or the tolerance is no distance.

    >>> from gymbag import compare, generate_monotonic
    >>> print(compare(generate_monotonic(2), generate_monotonic(2)))
    compared 2 episodes, 5 rows
    the same
    """
    if not tolerance >= 0:
        raise CompareError(f"tolerance: found {tolerance!r}; expected a number from 0")
    fields = FIELDS + ("info",) * infos + ("time",) * times
    return _Comparer(fields, tolerance).compare(a, b)


class _Comparer:
    """What is found while two recordings are compared."""

    def __init__(self, fields: tuple[str, ...], tolerance: float) -> None:
        self.fields = fields
        self.tolerance = tolerance
        self.episodes = self.rows = self.differing_rows = 0
        self.first: Difference | None = None
        self.errors: dict[str, float] = {}
        self.notes: list[str] = []

    def compare(self, a: Any, b: Any) -> Comparison:
        ones, others = _episodes(a), _episodes(b)
        for name in ("observation_space", "action_space"):
            self._spaces(name, getattr(a, name, None), getattr(b, name, None))
        for number, (one, other) in enumerate(zip_longest(ones, others)):
            if one is None or other is None:
                more = number + 1 + sum(1 for _ in (others if one is None else ones))
                self._counts("number of episodes", number, more, one is None)
                break
            self.episodes += 1
            if isinstance(one, Episode) and isinstance(other, Episode):
                for name in ("seed", "options", "ended"):
                    self._values(name, getattr(one, name), getattr(other, name), number)
            self._rows(number, _rows(one), _rows(other))
        return Comparison(
            self.episodes,
            self.rows,
            self.differing_rows,
            self.first,
            self.errors,
            tuple(self.notes),
        )

    def _note(
        self, path: str, a: Any, b: Any, episode: int | None = None, step: int | None = None
    ) -> None:
        if self.first is None:
            self.first = Difference(path, _short(a), _short(b), episode, step)

    def _counts(
        self, name: str, fewer: int, more: int, first_ends: bool, episode: int | None = None
    ) -> None:
        counts = (fewer, more) if first_ends else (more, fewer)
        self._note(name, *counts, episode)

    def _spaces(self, name: str, one: Any, other: Any) -> None:
        if one is None or other is None:
            if one is not other:
                self.notes.append(f"{name}: not compared, only one of the two knows it")
            return
        try:
            same = describe_space(one) == describe_space(other)
        except SchemaError:
            same = bool(one == other)
        if not same:
            self._note(name, one, other)

    def _rows(self, number: int, ones: Iterator[Step], others: Iterator[Step]) -> None:
        for step, (mine, theirs) in enumerate(zip_longest(ones, others)):
            if mine is None or theirs is None:
                more = step + 1 + sum(1 for _ in (others if mine is None else ones))
                self.differing_rows += more - step
                self._counts("number of rows", step, more, mine is None, number)
                return
            self.rows += 1
            different = False
            for name in self.fields:
                if name != "action" or step > 0:
                    pair = getattr(mine, name), getattr(theirs, name)
                    different |= self._values(name, *pair, number, step)
            self.differing_rows += different

    def _values(
        self, path: str, a: Any, b: Any, episode: int | None, step: int | None = None
    ) -> bool:
        """Compare two values, and return whether they differ."""
        place = episode, step
        if isinstance(a, dict) and isinstance(b, dict):
            keys = [*a, *(key for key in b if key not in a)]
            pairs = [(child_path(path, k), a.get(k, ABSENT), b.get(k, ABSENT)) for k in keys]
            return self._all_values(pairs, *place)
        if isinstance(a, tuple | list) and isinstance(b, tuple | list) and len(a) == len(b):
            pairs = [(child_path(path, i), *pair) for i, pair in enumerate(zip(a, b, strict=True))]
            return self._all_values(pairs, *place)
        if _is_number(a) and _is_number(b):
            return self._numbers(path, np.asarray(a), np.asarray(b), *place)
        alike = (isinstance(a, str) and isinstance(b, str)) or type(a) is type(b)
        if alike and bool(a == b):
            return False
        self._note(path, a, b, *place)
        return True

    def _all_values(
        self, pairs: list[tuple[str, Any, Any]], episode: int | None, step: int | None
    ) -> bool:
        # Not `any` of a generator: it would stop at the first, and miss the errors of the others.
        return sum(self._values(*pair, episode, step) for pair in pairs) > 0

    def _numbers(
        self, path: str, a: Numbers, b: Numbers, episode: int | None, step: int | None
    ) -> bool:
        if a.shape != b.shape:
            self._note(path, f"shape {a.shape}", f"shape {b.shape}", episode, step)
            return True
        if a.ndim and a.dtype != b.dtype and not self.tolerance:
            self._note(path, f"dtype {a.dtype}", f"dtype {b.dtype}", episode, step)
            return True
        both_nan = np.logical_and(a != a, b != b)
        unequal = np.asarray(np.logical_and(a != b, np.logical_not(both_nan)))
        if not unequal.any():
            return False
        first = np.unravel_index(int(np.argmax(unequal)), a.shape)
        if a.dtype.kind in "iufc" and b.dtype.kind in "iufc":
            error = _errors(a[unequal], b[unequal])
            self.errors[path] = max(self.errors.get(path, 0.0), float(error.max()))
            if error.max() <= self.tolerance:
                return False
            places = np.argwhere(unequal)
            first = tuple(places[int(np.argmax(error > self.tolerance))])
        where = path + "".join(f"[{index}]" for index in first)
        self._note(where, a[first], b[first], episode, step)
        return True


class _Absent:
    """What a dict has under a key that it does not have."""

    def __repr__(self) -> str:
        return "nothing"


ABSENT = _Absent()


def _errors(a: Numbers, b: Numbers) -> Numbers:
    """Return the absolute differences of unequal numbers; exact for integers, NaN is infinite."""
    if a.dtype.kind in "iu" and b.dtype.kind in "iu":
        wide: Any = np.int64 if max(a.itemsize, b.itemsize) < 8 else object
    else:
        wide = np.result_type(a, b, np.float64)
    with np.errstate(invalid="ignore", over="ignore"):
        gaps: Numbers = np.abs(a.astype(wide) - b.astype(wide))
    return np.where(gaps != gaps, math.inf, gaps)


def _episodes(source: Any) -> Iterator[Any]:
    """Iterate over episodes, as `Episode` objects where the source has them."""
    if isinstance(source, str | os.PathLike):
        raise CompareError(f"{source!r} is the name of a file; open it, and compare that")
    try:
        return iter(source.iter_episodes() if hasattr(source, "iter_episodes") else source)
    except TypeError:
        raise CompareError(f"{source!r:.200} is no recording; it has no episodes") from None


def _rows(episode: Any) -> Iterator[Step]:
    try:
        return next(iter_rows([episode]))
    except TypeError:
        raise CompareError(f"{episode!r:.200} is no episode; it has no rows") from None


def _is_number(value: Any) -> bool:
    return isinstance(value, np.ndarray | np.generic | bool | int | float | complex)


def _short(value: Any) -> str:
    text = " ".join(str(value).split())
    return text if len(text) <= 80 else f"{text[:77]}..."

# SPDX-License-Identifier: LGPL-3.0-or-later
"""Compares two recordings: the same spaces, episodes and rows, or where they first differ."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any

import numpy as np

from gymbag.errors import SchemaError
from gymbag.schema import child_path, describe_space
from gymbag.steps import Episode, Step, iter_rows

FIELDS = ("observation", "action", "reward", "terminated", "truncated")


@dataclass(frozen=True, slots=True)
class Difference:
    """One place in which two recordings differ."""

    field: str
    """Its path, for example ``observation.camera[0]``; or ``episodes``, ``rows``, ``seed`` …"""
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


@dataclass(slots=True)
class Comparison:
    """What comparing two recordings found; true if they are the same."""

    episodes: int = 0
    """Episodes compared."""
    rows: int = 0
    """Rows compared."""
    differing_rows: int = 0
    """Rows with any difference."""
    first: Difference | None = None
    """The first difference; None if there is none."""
    errors: dict[str, float] = field(default_factory=dict)
    """The largest absolute error by the path of the field, where numbers differ."""
    notes: list[str] = field(default_factory=list)
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
        return "\n".join(lines + self.notes)

    def to_json(self) -> dict[str, Any]:
        """Return it as plain JSON."""
        first = self.first
        return {
            "same": bool(self),
            "episodes": self.episodes,
            "rows": self.rows,
            "differing_rows": self.differing_rows,
            "first": None if first is None else {n: getattr(first, n) for n in first.__slots__},
            "errors": {path: str(e) if e != e else e for path, e in self.errors.items()},
            "notes": self.notes,
        }

    def note(self, difference: Difference) -> None:
        """Take up a difference."""
        if self.first is None:
            self.first = difference


def compare(
    a: Any,
    b: Any,
    *,
    tolerance: float = 0.0,
    times: bool = False,
    infos: bool = True,
) -> Comparison:
    """Compare two recordings row by row.

    NaN equals NaN, and 0.0 equals -0.0. Without a tolerance, arrays of another dtype differ.

    Args:
        a: a store, a selection, a reader, or any iterable of episodes.
        b: likewise.
        tolerance: largest absolute difference of numbers that still counts as the same.
        times: whether to compare the times of the rows, too.
        infos: whether to compare the infos.

    >>> from gymbag import compare, generate_monotonic
    >>> print(compare(generate_monotonic(2), generate_monotonic(2)))
    compared 2 episodes, 5 rows
    the same
    """
    found = Comparison()
    for name in ("observation_space", "action_space"):
        _compare_spaces(found, name, getattr(a, name, None), getattr(b, name, None))
    fields = FIELDS + ("info",) * infos + ("time",) * times
    for number, (one, other) in enumerate(zip_longest(_episodes(a), _episodes(b))):
        if one is None or other is None:
            counts = (str(number), f"more than {number}")
            mine, theirs = counts if one is None else counts[::-1]
            found.note(Difference("number of episodes", mine, theirs))
            break
        found.episodes += 1
        _compare_heads(found, number, one, other)
        _compare_rows(found, number, _rows(one), _rows(other), fields, tolerance)
    return found


def _episodes(source: Any) -> Iterator[Any]:
    """Iterate over episodes, as `Episode` objects where the source has them."""
    if hasattr(source, "iter_episodes"):
        return iter(source.iter_episodes())
    return iter(source)


def _rows(episode: Any) -> Iterator[Step]:
    return next(iter_rows([episode]))


def _compare_spaces(found: Comparison, name: str, one: Any, other: Any) -> None:
    if one is None or other is None:
        if one is not other:
            found.notes.append(f"{name}: only one of the two knows it")
        return
    try:
        same = describe_space(one) == describe_space(other)
    except SchemaError:
        same = one == other
    if not same:
        found.note(Difference(name, _short(one), _short(other)))


def _compare_heads(found: Comparison, number: int, one: Any, other: Any) -> None:
    """Compare what is known of the episodes apart from their rows."""
    if isinstance(one, Episode) and isinstance(other, Episode):
        for name in ("seed", "options", "ended"):
            mine, theirs = getattr(one, name), getattr(other, name)
            if mine != theirs:
                found.note(Difference(name, _short(mine), _short(theirs), number))


def _compare_rows(
    found: Comparison,
    number: int,
    one: Iterator[Step],
    other: Iterator[Step],
    fields: tuple[str, ...],
    tolerance: float,
) -> None:
    for step, (mine, theirs) in enumerate(zip_longest(one, other)):
        if mine is None or theirs is None:
            counts = (str(step), f"more than {step}")
            a, b = counts if mine is None else counts[::-1]
            found.note(Difference("number of rows", a, b, number))
            return
        found.rows += 1
        different = False
        for name in fields:
            if name == "action" and step == 0:
                continue  # the null action of a reset means nothing, and is written in many ways
            pairs = _differences(getattr(mine, name), getattr(theirs, name), name, tolerance)
            for path, a, b, error in pairs:
                different = True
                if error is not None:
                    found.errors[path] = max(found.errors.get(path, 0.0), error)
                found.note(Difference(path, _short(a), _short(b), number, step))
        found.differing_rows += different


def _differences(
    a: Any, b: Any, path: str, tolerance: float
) -> Iterator[tuple[str, Any, Any, float | None]]:
    """Iterate over the leaves in which two values differ: path, both, and the largest error."""
    if isinstance(a, dict) and isinstance(b, dict):
        for key in [*a, *(key for key in b if key not in a)]:
            where = child_path(path, key)
            if key in a and key in b:
                yield from _differences(a[key], b[key], where, tolerance)
            else:
                yield where, a.get(key, "nothing"), b.get(key, "nothing"), None
    elif isinstance(a, tuple | list) and isinstance(b, tuple | list):
        if len(a) != len(b):
            yield path, a, b, None
            return
        for index, (mine, theirs) in enumerate(zip(a, b, strict=True)):
            yield from _differences(mine, theirs, child_path(path, index), tolerance)
    elif not _is_number(a) or not _is_number(b):
        if type(a) is not type(b) or not bool(a == b):
            yield path, a, b, None
    else:
        yield from _different_numbers(np.asarray(a), np.asarray(b), path, tolerance)


def _different_numbers(
    a: np.ndarray, b: np.ndarray, path: str, tolerance: float
) -> Iterator[tuple[str, Any, Any, float | None]]:
    if a.shape != b.shape:
        yield path, f"shape {a.shape}", f"shape {b.shape}", None
    elif a.dtype.kind not in "biuf" or b.dtype.kind not in "biuf":
        if a.dtype != b.dtype or not np.array_equal(a, b):
            yield path, a, b, None
    elif a.ndim and a.dtype != b.dtype and not tolerance:
        yield path, f"dtype {a.dtype}", f"dtype {b.dtype}", None
    elif not np.array_equal(a, b):
        wide = [x.astype(np.float64) for x in (a, b)]
        both_nan = np.isnan(wide[0]) & np.isnan(wide[1])
        with np.errstate(invalid="ignore"):
            gap = np.where((a == b) | both_nan, 0.0, np.abs(wide[0] - wide[1]))
        bad = ~(gap <= tolerance) | ((gap == 0) & (a != b) & ~both_nan)
        if bad.any():
            place = np.unravel_index(int(np.argmax(bad)), a.shape)
            where = path + "".join(f"[{i}]" for i in place)
            yield where if a.ndim else path, a[place], b[place], float(np.max(gap))


def _is_number(value: Any) -> bool:
    return isinstance(value, np.ndarray | np.generic | bool | int | float)


def _short(value: Any) -> str:
    text = " ".join(str(value).split())
    return text if len(text) <= 80 else f"{text[:77]}..."

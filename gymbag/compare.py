# SPDX-License-Identifier: LGPL-3.0-or-later
"""Compares two recordings: the same spaces, episodes and rows, or where they first differ."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any

from gymbag.errors import CompareError
from gymbag.mismatch import Tolerance, mismatches, same_space, short
from gymbag.steps import Episode, Step, iter_rows

FIELDS = ("observation", "action", "reward", "terminated", "truncated")


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
    fields = FIELDS + ("info",) * infos + ("time",) * times
    return _Comparer(fields, Tolerance(tolerance)).compare(a, b)


class _Comparer:
    """What is found while two recordings are compared."""

    def __init__(self, fields: tuple[str, ...], tolerance: Tolerance) -> None:
        self.fields = fields
        self.tolerance = tolerance
        self.episodes = self.rows = self.differing_rows = 0
        self.first: Difference | None = None
        self.errors: dict[str, float] = {}
        self.notes: list[str] = []

    def compare(self, a: Any, b: Any) -> Comparison:
        ones, others = iter_episodes(a), iter_episodes(b)
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
            self.first = Difference(path, short(a), short(b), episode, step)

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
        if not same_space(one, other):
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
        different = False
        for found in mismatches(path, a, b, self.tolerance):
            if found.error is not None:
                self.errors[found.path] = max(self.errors.get(found.path, 0.0), found.error)
            if not found.tolerated:
                self._note(found.place, found.a, found.b, episode, step)
                different = True
        return different


def iter_episodes(source: Any) -> Iterator[Any]:
    """Iterate over episodes, as `Episode` objects where the source has them."""
    if isinstance(source, str | os.PathLike):
        raise CompareError(f"{source!r} is the name of a file; open it, and pass that")
    try:
        return iter(source.iter_episodes() if hasattr(source, "iter_episodes") else source)
    except TypeError:
        raise CompareError(f"{source!r:.200} is no recording; it has no episodes") from None


def _rows(episode: Any) -> Iterator[Step]:
    try:
        return next(iter_rows([episode]))
    except TypeError:
        raise CompareError(f"{episode!r:.200} is no episode; it has no rows") from None

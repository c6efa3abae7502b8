# SPDX-License-Identifier: LGPL-3.0-or-later
"""What a condition can still be, if all that is known of a field is between which values it lies.

Many stretches of rows are looked at together. Of each it is said whether the condition may hold
for some row, and whether it may fail for some; so `not` swaps the two. Whatever is not understood
may do both: a stretch that is left out has no row that is asked for.

Comparisons are made with the very functions that compare single values. These never decrease where
a value grows, roundings included, so what they say of the ends goes for all between.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import reduce
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gymbag.query.evaluate import (
    Compare,
    Constant,
    Expression,
    Item,
    Logic,
    Mask,
    Member,
    Typed,
    compared,
)
from gymbag.query.fields import Field


class Between(NamedTuple):
    """Between which values a field lies, in n stretches of rows."""

    low: NDArray[Any]
    """``(n, *shape)``; not NaN."""
    high: NDArray[Any]
    """``(n, *shape)``; below `low` where no row has a value."""
    gaps: NDArray[np.bool_]
    """``(n,)``: whether some row may have no value there, or NaN."""


class Outlook(NamedTuple):
    """What a condition can be in each of n stretches of rows."""

    holds: Mask
    """Whether it may hold for some row."""
    fails: Mask
    """Whether it may fail for some row."""

    def __invert__(self) -> Outlook:
        """Return what `not` makes of it."""
        return Outlook(self.fails, self.holds)


Reader = Callable[[Field], Between | None]
"""Says of a field what is known; None if nothing is."""


def unknown(n: int) -> Outlook:
    """Return that nothing can be said."""
    return Outlook(np.ones(n, np.bool_), np.ones(n, np.bool_))


def all_of(outlooks: Iterable[Outlook], n: int) -> Outlook:
    """Return what can be said if all conditions are to hold."""
    always = Outlook(np.ones(n, np.bool_), np.zeros(n, np.bool_))
    return reduce(
        lambda one, other: Outlook(one[0] & other[0], one[1] | other[1]), outlooks, always
    )


def any_of(outlooks: Iterable[Outlook], n: int) -> Outlook:
    """Return what can be said if one condition is to hold."""
    return ~all_of((~outlook for outlook in outlooks), n)


def outlook(expression: Expression, read: Reader, n: int) -> Outlook:
    """Return what a condition can be in n stretches.

    >>> from gymbag.query import Fields, compile_query
    >>> plan = compile_query("reward > 0", Fields([Field("reward", "number")]))
    >>> low, high, gaps = np.array([0.0, 0.0, 1.0]), np.array([0.0, 1.0, 1.0]), np.zeros(3, bool)
    >>> outlook(plan.row, lambda field: Between(low, high, gaps), 3)
    Outlook(holds=array([False,  True,  True]), fails=array([ True,  True, False]))
    """
    with np.errstate(all="ignore"):
        return _outlook(expression.root, read, n)


def _outlook(node: Typed, read: Reader, n: int) -> Outlook:
    if node.shape != ():
        return unknown(n)
    match node:
        case Constant(value=value):
            return Outlook(np.full(n, bool(value)), np.full(n, not value))
        case Item():
            known = _between(node, read)
            if known is not None:
                return Outlook(known.high != 0, (known.low == 0) | known.gaps)
        case Logic(word="not", terms=(term,)):
            return ~_outlook(term, read, n)
        case Logic(word=word, terms=terms):
            each = [_outlook(term, read, n) for term in terms]
            return all_of(each, n) if word == "and" else any_of(each, n)
        case Compare(operators=signs, operands=operands):
            sides = [_between(operand, read) for operand in operands]
            pairs = zip(signs, pairwise(sides), strict=True)
            return all_of((_pair(sign, *pair, n) for sign, pair in pairs), n)
        case Member(operand=operand, items=items, negated=negated) if items:
            side, sign = _between(operand, read), "!=" if negated else "=="
            each = [_pair(sign, side, _between(Constant(item), read), n) for item in items]
            return all_of(each, n) if negated else any_of(each, n)
    return unknown(n)


def _between(node: Typed, read: Reader) -> Between | None:
    """Return what is known of an operand: one number for each row."""
    if isinstance(node, Constant) and not isinstance(node.value, str):
        value: Any = node.value
        return Between(value, value, np.array([value != value]))
    if not isinstance(node, Item) or node.kind == "text" or node.shape != ():
        return None
    known = read(node.field)
    if known is None:
        return None
    place = (slice(None), *node.index)
    return Between(known.low[place], known.high[place], known.gaps)


def _pair(sign: str, one: Between | None, other: Between | None, n: int) -> Outlook:
    """Return what can be said of a comparison."""
    if one is None or other is None:
        return unknown(n)
    if sign in ("<", "<="):
        some, every = compared(sign, one.low, other.high), compared(sign, one.high, other.low)
    elif sign in (">", ">="):
        some, every = compared(sign, one.high, other.low), compared(sign, one.low, other.high)
    else:
        some = compared("<=", one.low, other.high) & compared(">=", one.high, other.low)
        every = compared("==", one.low, other.high) & compared("==", one.high, other.low)
        if sign == "!=":
            some, every = np.logical_not(every), np.logical_not(some)
    fails = np.logical_not(every) | one.gaps | other.gaps
    return Outlook(np.broadcast_to(some, n), np.broadcast_to(fails, n))

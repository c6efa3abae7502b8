# SPDX-License-Identifier: LGPL-3.0-or-later
"""Round bins of numbers, as plots show them: pure, and the same each time."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

BINS = 30
TALLEST = 1e300
"""Of larger numbers the difference may be infinite; they are left out, as NaN is."""

Values = NDArray[np.float64]


def drawable(values: Sequence[float] | Values) -> Values:
    """Return those of the numbers that have a place on an axis."""
    found = np.asarray(values, np.float64)
    found = found[np.isfinite(found)]
    return found[np.abs(found) <= TALLEST]


def nice_step(span: float, parts: int) -> float:
    """Return the 1, 2 or 5 times a power of ten that divides a span into so many parts or fewer.

    >>> nice_step(97, 5), nice_step(0.3, 10)
    (20.0, 0.05)
    """
    rough = span / parts
    power = 10.0 ** math.floor(math.log10(rough))
    factor = next(factor for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999999)
    return factor * power


def widened(low: float, high: float) -> tuple[float, float]:
    """Return the ends of an axis, never both the same, nor too near to be told apart."""
    least = max(abs(low), abs(high)) * 1e-9
    if high - low > max(least, 1e-290):
        return low, high
    room = max(abs(low) * 0.05, 0.5)
    return low - room, high + room


def bins(values: Values) -> tuple[Values, NDArray[np.int64]]:
    """Return the edges of round bins, and how many of the values are in each.

    Whole numbers that have a bin each are in the middle of it.

    >>> bins(np.array([1.0, 1.0, 3.0]))
    (array([0.5, 1.5, 2.5, 3.5]), array([2, 0, 1]))
    """
    low, high = widened(float(values.min()), float(values.max()))
    step = nice_step(high - low, int(min(BINS, max(10, 2 * math.sqrt(len(values))))))
    shift = 0.0
    if whole(values) and step <= 1.0:
        step, shift, low = 1.0, 0.5, float(values.min())
    first = math.floor(low / step + shift)
    places = np.floor(values / step + shift) - first
    counts = np.bincount(np.maximum(places, 0).astype(np.int64))
    edges = (first - shift + np.arange(len(counts) + 1, dtype=np.float64)) * step
    return edges, counts.astype(np.int64)


def whole(values: Values) -> bool:
    """Return whether all are whole numbers."""
    return bool(np.array_equal(values, np.floor(values)))

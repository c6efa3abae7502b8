# SPDX-License-Identifier: LGPL-3.0-or-later
"""A curve in one line of text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gymbag.summary import bucket_means

BARS = "▁▂▃▄▅▆▇█"
WIDTH = 60


def sparkline(values: Sequence[float] | Any, width: int = WIDTH) -> str:
    """Return numbers as bars, from the lowest to the highest; the mean of several for each.

    >>> sparkline([0, 1, 2, 3, 7])
    '▁▂▃▄█'
    >>> sparkline([5, 5]), sparkline([float("nan")])
    ('▄▄', '')
    """
    means = bucket_means(values, width)
    if not means:
        return ""
    # In halves: the whole way between two huge numbers would be infinite.
    low, high = min(means) / 2, max(means) / 2
    if not high > low:
        return BARS[3] * len(means)
    return "".join(BARS[round((mean / 2 - low) / (high - low) * 7)] for mean in means)

# SPDX-License-Identifier: LGPL-3.0-or-later
"""The statistics of features that LeRobot normalises with, gathered episode by episode. Pure."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

LEVELS = 256


class Statistics:
    """Minimum, maximum, mean and standard deviation of each place of a feature.

    >>> numbers = Statistics(picture=False)
    >>> numbers.add(np.array([[1.0], [3.0]]))
    >>> numbers.to_json()
    {'min': [1.0], 'max': [3.0], 'mean': [2.0], 'std': [1.0], 'count': [2]}
    """

    def __init__(self, *, picture: bool) -> None:
        self._picture = picture
        self._count = self._frames = 0
        self._low: Any = np.inf
        self._high: Any = -np.inf
        self._mean: Any = 0.0
        self._squares: Any = 0.0
        """The sum of squared distances from the mean."""

    def add(self, values: NDArray[Any]) -> None:
        """Take rows more; images as (n, H, W, C)."""
        if self._picture:
            self._merge(*_of_pictures(values))
        else:
            rows = values.astype(np.float64)
            mean = rows.mean(axis=0)
            squares = ((rows - mean) ** 2).sum(axis=0)
            self._merge(len(rows), rows.min(axis=0), rows.max(axis=0), mean, squares)
        self._frames += len(values)

    def _merge(self, count: int, low: Any, high: Any, mean: Any, squares: Any) -> None:
        total = self._count + count
        gap = mean - self._mean
        self._low, self._high = np.minimum(self._low, low), np.maximum(self._high, high)
        self._squares = self._squares + squares + gap**2 * self._count * count / total
        self._mean = self._mean + gap * count / total
        self._count = total

    def to_json(self) -> dict[str, Any]:
        """Return them as LeRobot has them: of images per channel, as (C, 1, 1), from 0 to 1."""
        found = {
            "min": self._low,
            "max": self._high,
            "mean": self._mean,
            "std": np.sqrt(self._squares / self._count),
        }
        shaped = {
            key: (value[:, None, None] / (LEVELS - 1) if self._picture else value).tolist()
            for key, value in found.items()
        }
        return {**shaped, "count": [self._frames]}


def _of_pictures(images: NDArray[np.uint8]) -> tuple[int, Any, Any, Any, Any]:
    """Return count, minimum, maximum, mean, and squared distances per channel."""
    levels = np.arange(LEVELS, dtype=np.float64)
    # To count how often each value occurs takes no copy of the images as floats.
    counts = np.stack(
        [
            np.bincount(images[..., channel].reshape(-1), minlength=LEVELS)
            for channel in range(images.shape[-1])
        ]
    )
    total = int(counts[0].sum())
    mean = counts @ levels / total
    squares = (counts * (levels - mean[:, None]) ** 2).sum(axis=1)
    low = (counts > 0).argmax(axis=1).astype(np.float64)
    high = LEVELS - 1.0 - (counts[:, ::-1] > 0).argmax(axis=1)
    return total, low, high, mean, squares

# SPDX-License-Identifier: LGPL-3.0-or-later
"""What a column takes, in memory and in the file."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class ColumnSize:
    """What a column takes."""

    name: str
    dtype: np.dtype
    shape: tuple[int, ...]
    compression: str
    nbytes: int
    """Bytes of its values."""
    stored: int
    """Bytes of them in the file."""

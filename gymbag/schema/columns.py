# SPDX-License-Identifier: LGPL-3.0-or-later
"""What a column is, and how the paths are written that name it.

A path reads the same in queries, errors, code and in the file: ``observation.camera[0]``.
Parts that are no value of the user's, such as the ends of ragged rows, follow a ``#``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

ROWS = ""
"""The frame of the steps themselves: one entry for each row."""


@dataclass(frozen=True, slots=True)
class Column:
    """Values of one dtype and shape, one for each entry of a frame.

    >>> Column("observation", np.dtype("u1"), (210, 160, 3)).nbytes
    100800
    """

    name: str
    dtype: np.dtype
    shape: tuple[int, ...] = ()
    """Shape of one value."""
    frame: str = ROWS
    """What it has an entry for: each row (``ROWS``), or each item of the ragged rows whose
    lengths are the column of this name."""
    ragged: bool = False
    """Whether it holds the lengths of ragged rows (in a file: the sums of them, where each
    row ends)."""

    @property
    def nbytes(self) -> int:
        """Bytes of one value."""
        return self.dtype.itemsize * math.prod(self.shape)


def child_path(path: str, key: object) -> str:
    """Return the path of the value under `key` of the value at `path`.

    >>> child_path("observation", "pose"), child_path("observation", 0)
    ('observation.pose', 'observation[0]')
    >>> child_path("info", "time left")
    'info["time left"]'
    """
    if isinstance(key, str):
        if key.isidentifier():
            return f"{path}.{key}"
        quoted = key.replace("\\", "\\\\").replace('"', '\\"')
        return f'{path}["{quoted}"]'
    return f"{path}[{key!r}]"

# SPDX-License-Identifier: LGPL-3.0-or-later
"""Columns written into HDF5 files of others, compressed with gzip, which every HDF5 reads."""

from __future__ import annotations

from typing import Any

import numpy as np


def write_tree(group: Any, tree: dict[str, Any]) -> None:
    """Write columns, and groups of them."""
    for key, value in tree.items():
        if isinstance(value, dict):
            write_tree(group.create_group(key), value)
        else:
            write_array(group, key, value)


def write_array(group: Any, name: str, values: Any) -> None:
    """Write a column; it can grow along its rows."""
    if isinstance(values, list):
        values = np.array(values, dtype=object)
    shape = np.shape(values)
    if 0 in shape:  # HDF5 has no chunks of nothing
        group.create_dataset(name, data=values)
        return
    group.create_dataset(
        name, data=values, maxshape=(None, *shape[1:]), compression="gzip", shuffle=True
    )

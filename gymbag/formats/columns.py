# SPDX-License-Identifier: LGPL-3.0-or-later
"""Columns written into HDF5 files of others, compressed with gzip, which every HDF5 reads."""

from __future__ import annotations

from typing import Any

import numpy as np

from gymbag.formats.apart.hdf5 import plain

CHUNK_BYTES = 1 << 18


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


def append(group: Any, name: str, values: Any) -> None:
    """Add values to a column along its rows, which is made if there is none.

    Raises:
        ValueError: they are of another dtype or shape than those before.
    """
    if name not in group:
        rows = max(1, CHUNK_BYTES // max(values[:1].nbytes, 1))
        group.create_dataset(
            name,
            data=values,
            maxshape=(None, *values.shape[1:]),
            chunks=(rows, *values.shape[1:]),
            compression="gzip",
            shuffle=True,
        )
        return
    column = group[name]
    if values.dtype != column.dtype or values.shape[1:] != column.shape[1:]:
        raise ValueError(f"{name}: {values.dtype}{values.shape[1:]} after {column.dtype}")
    column.resize(len(column) + len(values), axis=0)
    column[len(column) - len(values) :] = values


def keep(attributes: Any, name: str, value: Any) -> bool:
    """Write an attribute if it comes back as it was, and return whether it does."""
    wanted = list(value) if isinstance(value, tuple) else plain(value)
    try:
        attributes[name] = value
        if plain(attributes[name]) == wanted:
            return True
        del attributes[name]
    except (TypeError, ValueError, OverflowError, OSError, RuntimeError):
        pass
    return False

# SPDX-License-Identifier: LGPL-3.0-or-later
"""Infos as HDF5 files of others have them: trees of columns, one value for every row. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from gymbag.errors import FormatError
from gymbag.schema import child_path

MOST_DEPTH = 30
NUMBERS = ("?", *"bhilqBHILQ", *"efdFD")
"""Characters of the dtypes that Minari's files can have."""

Tree = dict[str, Any]
"""Arrays, lists of texts, and further trees, by key."""


def columns(infos: Sequence[Any], path: str = "info", depth: int = 0) -> tuple[Tree, list[str]]:
    """Return infos as columns, and the paths of the keys that cannot be one.

    A key can if every row has it, with values of one type and shape: flags, numbers of 64 bits,
    texts, arrays of them, or dicts for which the same holds.

    >>> columns([{"lives": 3}, {"lives": 2, "episode": {"r": 1.5}}])
    ({'lives': array([3, 2])}, ['info.episode'])
    """
    found: Tree = {}
    lost = []
    for key in dict.fromkeys(key for info in infos for key in info):
        where = child_path(path, key)
        values = [info[key] for info in infos if key in info]
        column = None
        if len(values) == len(infos) and is_name(key):
            if all(isinstance(value, dict) for value in values) and depth < MOST_DEPTH:
                found[key], below = columns(values, where, depth + 1)
                lost += below
                continue
            column = _column(values)
        if column is None:
            lost.append(where)
        else:
            found[key] = column
    return found, lost


def _column(values: list[Any]) -> Any:
    """Return values as a column, or None if they are too different from one another."""
    types = set(map(type, values))
    if types == {str}:
        return values if all(map(is_text, values)) else None
    if types <= {int, float}:
        array = np.array(values)
        pairs = zip(array.tolist(), values, strict=True)
        kept = all(one == other or other != other for one, other in pairs)
        return array if array.dtype.char in NUMBERS and kept else None
    first = values[0]
    if len(types) > 1 or not isinstance(first, bool | np.generic | np.ndarray):
        return None
    arrays = [np.asarray(value) for value in values]
    alike = all(a.dtype == arrays[0].dtype and a.shape == arrays[0].shape for a in arrays)
    return np.stack(arrays) if alike and arrays[0].dtype.char in NUMBERS else None


def fill(trees: Sequence[Tree], keys: Sequence[Any], values: Iterable[Any], where: str) -> None:
    """Put a value into each tree, as far as there are values, with dicts on the way to it.

    Raises:
        FormatError: on the way is a value that is no dict.

    >>> trees = [{}, {}]
    >>> fill(trees, ("pose", "x"), [1, 2], "file")
    >>> trees
    [{'pose': {'x': 1}}, {'pose': {'x': 2}}]
    """
    *above, last = keys
    for tree, value in zip(trees, values, strict=False):
        inner = tree
        for key in above:
            inner = inner.setdefault(key, {})
            if not isinstance(inner, dict):
                raise FormatError(f"{where}: {'/'.join(map(str, keys))!r} stands in another value")
        inner[last] = value


def is_text(text: str) -> bool:
    """Return whether HDF5 has a place for a text: in UTF-8, and without NUL."""
    return not any(sign == "\0" or "\ud800" <= sign <= "\udfff" for sign in text)


def is_name(key: Any) -> bool:
    """Return whether a key can be the name of a group in HDF5."""
    if not isinstance(key, str) or not key.strip(".") or set(key) & {"/", "\0"}:
        return False
    return key.isprintable()

# SPDX-License-Identifier: LGPL-3.0-or-later
"""The arrays of an episode of Minari's, taken apart into the values of its rows."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from gymnasium import spaces

from gymbag.errors import FormatError
from gymbag.formats.limits import ROW_BYTES, require_fit
from gymbag.formats.process import Leaves


def image_paths(space: Any, path: list[str], layout: str) -> list[list[str]]:
    """Return the paths of all leaves of a space that may be images."""
    if isinstance(space, spaces.Dict | spaces.Tuple):
        return [
            found
            for name, below in named(space, layout)
            for found in image_paths(below, [*path, name], layout)
        ]
    is_image = isinstance(space, spaces.Box) and space.dtype == np.uint8 and len(space.shape) > 1
    return [path] if is_image else []


def named(space: Any, layout: str) -> list[tuple[str, Any]]:
    """Return the names that the parts of a Dict or Tuple space have in Minari's files."""
    if isinstance(space, spaces.Dict):
        return list(space.spaces.items())
    index = "_index_{}" if layout == "hdf5" else "{}"
    return [(index.format(k), below) for k, below in enumerate(space.spaces)]


class Values:
    """The leaves of one episode, of which values are taken row by row."""

    def __init__(self, leaves: Leaves, layout: str, where: str) -> None:
        self.leaves = leaves
        self.layout = layout
        self.where = where

    def flat(self, name: str) -> list[Any]:
        """Return the rewards or flags, as Python's own numbers."""
        found = self.leaves.get((name,))
        if not isinstance(found, np.ndarray) or found.dtype.kind not in "biuf":
            raise FormatError(f"{self.where}: {name}: found no array of numbers; expected one")
        require_fit(found.size * ROW_BYTES, f"{self.where}: {found.size} {name}")
        return list(found.reshape(-1).tolist())

    def rows(self, space: Any, path: tuple[str, ...], n: int) -> list[Any]:
        """Return n values of a space; of what the file has, where the space is not known.

        Raises:
            FormatError: the file has fewer, or something else.
        """
        if space is None:
            return self._unknown(path, n)
        if isinstance(space, spaces.Dict | spaces.Tuple):
            parts = [
                self.rows(below, (*path, name), n) for name, below in named(space, self.layout)
            ]
            rows = zip(*parts, strict=True) if parts else [()] * n
            if isinstance(space, spaces.Tuple):
                return list(map(tuple, rows))
            return [dict(zip(space.spaces, row, strict=True)) for row in rows]
        found = self.leaves.get(path)
        if isinstance(space, spaces.Text):
            return list(self._counted(found, list, path, n))
        array = self._counted(found, np.ndarray, path, n)
        if array.shape[1:] != space.shape:
            if array.size != n * math.prod(space.shape):
                raise FormatError(
                    f"{self._place(path)}: found values of shape {array.shape[1:]}; the space "
                    f"has {space.shape}"
                )
            array = array.reshape(n, *space.shape)
        return list(array)

    def _counted(self, value: Any, kind: type, path: tuple[str, ...], n: int) -> Any:
        """Return the first n values; Arrow's columns have one row more than there are actions."""
        found: Any = value if isinstance(value, kind) else None
        if found is None or np.ndim(found) == 0:
            what = "nothing" if path not in self.leaves else _kind(value)
            raise FormatError(f"{self._place(path)}: found {what}; expected {n} {NAMES[kind]}")
        most = n if self.layout == "hdf5" or path[0] != "actions" else n + 1
        if not n <= len(found) <= most:
            raise FormatError(f"{self._place(path)}: found {len(found)} values; expected {n}")
        return found[:n]

    def _unknown(self, path: tuple[str, ...], n: int) -> list[Any]:
        found = self.leaves.get(path)
        if path in self.leaves and found is None:
            names = self.below(path)
            parts = [self._unknown((*path, name), n) for name in names]
            return [dict(zip(names, row, strict=True)) for row in zip(*parts, strict=True)]
        kind = list if isinstance(found, list) else np.ndarray
        return list(self._counted(found, kind, path, n))

    def infos(self, n: int) -> list[dict[str, Any]]:
        """Return the n infos."""
        found: list[dict[str, Any]] = [{} for _ in range(n)]
        self._fill(found, ("infos",), n)
        return found

    def _fill(self, infos: list[dict[str, Any]], path: tuple[str, ...], n: int) -> None:
        for name in self.below(path):
            inner = (*path, name)
            values = self.leaves[inner]
            if values is None:
                nested: list[dict[str, Any]] = [{} for _ in infos]
                for info, empty in zip(infos, nested, strict=True):
                    info[name] = empty
                self._fill(nested, inner, n)
                continue
            # Some older data sets have none for the reset.
            if np.ndim(values) == 0 or not n - 1 <= len(values) <= n:
                count = len(values) if np.ndim(values) else 1
                raise FormatError(f"{self._place(inner)}: found {count} values; expected {n}")
            for info, value in zip(infos[n - len(values) :], values, strict=True):
                info[name] = value

    def below(self, path: tuple[str, ...]) -> list[str]:
        """Return the names in a group."""
        depth = len(path)
        return [p[-1] for p in self.leaves if len(p) == depth + 1 and p[:depth] == path]

    def _place(self, path: tuple[str, ...]) -> str:
        return f"{self.where}: {'/'.join(path)}"


NAMES = {list: "texts", np.ndarray: "numbers or arrays"}


def _kind(found: Any) -> str:
    return "a group" if found is None else "texts" if isinstance(found, list) else "an array"

# SPDX-License-Identifier: LGPL-3.0-or-later
"""A group of a stranger's HDF5 file, read in a process of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from gymbag.errors import FormatError
from gymbag.formats.process import DTYPE, Leaves, answer, answers

SIGNATURE = b"\x89HDF\r\n\x1a\n"


class FileGroup:
    """A group of a file. Every question is answered by a new process, but for `arrays`."""

    def __init__(self, path: Path, group: tuple[str, ...] = ()) -> None:
        self.where = str(path)
        self._request = {"kind": "hdf5", "file": str(path.absolute()), "group": group}

    def about(self) -> tuple[dict[str, Any], list[str]]:
        """Return the attributes of the group, and the names of what stands in it."""
        attributes, leaves = answer(self.where, {**self._request, "take": "names"})
        return attributes, list(leaves[()])

    def shapes(self) -> dict[tuple[str, ...], tuple[np.dtype[Any] | None, tuple[int, ...]]]:
        """Return dtype and shape of all arrays in it; the dtype of what is no number is None."""
        leaves = answer(self.where, {**self._request, "take": "shapes"})[1]
        found = {}
        for path, leaf in leaves.items():
            if leaf is not None:
                name, *sizes = leaf
                dtype = np.dtype(name) if DTYPE.fullmatch(name) else None
                found[path] = dtype, tuple(map(_size, sizes))
        return found

    def arrays(
        self, paths: list[tuple[str, ...]], bounds: Iterable[tuple[int, int] | None] = (None,)
    ) -> Iterator[Leaves]:
        """Iterate over arrays, each time those of some rows, or of all."""
        listed = list(bounds)
        asked = (
            (
                self.where if rows is None else f"{self.where}: rows {rows[0]} to {rows[1]}",
                {
                    **self._request,
                    "take": "arrays",
                    "only": paths,
                    **({} if rows is None else {"rows": rows}),
                },
            )
            for rows in listed
        )
        for rows, (_, found) in zip(listed, answers(asked), strict=True):
            for path in paths if rows is not None else ():
                leaf: Any = found.get(path)
                if np.ndim(leaf) == 0 or len(leaf) != rows[1] - rows[0]:  # type: ignore[index]
                    raise FormatError(f"{self.where}: {'/'.join(path)}: rows {rows} are not there")
            yield found


def holds(path: Path, group: tuple[str, ...], wanted: Callable[[set[str]], bool]) -> bool:
    """Return whether it is an HDF5 file with a group of the names that are wanted."""
    if not path.is_file():  # to open a pipe is to wait until somebody writes to it
        return False
    with path.open("rb") as file:
        if file.read(len(SIGNATURE)) != SIGNATURE:
            return False
    try:
        return wanted(set(FileGroup(path, group).about()[1]))
    except FormatError:
        return False


def _size(text: str) -> int:
    if not text.isdecimal() or len(text) > 18:
        raise FormatError(f"found the size {text!r:.100} of an array")
    return int(text)

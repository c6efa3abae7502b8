# SPDX-License-Identifier: LGPL-3.0-or-later
"""Reads HDF5 files with h5py."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from gymbag.formats.apart.reader import MOST_DEPTH, Keys, Leaf, Reader, Refused, require_plain

BUILT_IN = range(1, 7)
"""HDF5's own filters; others are libraries that it would load."""
MOST_NAME = 64
"""Bytes that a name is thought to take."""


class HDF5Reader(Reader):
    """Reads what stands in a group.

    ``take`` is "attributes", or what is wanted beside them: "names" of what the group holds,
    "shapes", which are the dtype and the sizes of each array, as texts, or "arrays"; of both only
    what stands at the paths ``only``, and of arrays only the rows ``rows``, if these are given. A
    group that is ``optional`` may be missing, and has nothing in it then.
    """

    def __init__(self, file: str, most: int) -> None:
        super().__init__(file, most)
        import h5py

        self.h5py: Any = h5py
        require_plain(self.path)
        self.file = h5py.File(self.path, "r")

    def close(self) -> None:
        """Close the file."""
        self.file.close()

    def answer(self, request: dict[str, Any]) -> tuple[dict[str, Any], list[Leaf]]:
        """Return the attributes and the arrays."""
        if request.get("optional") and request["group"][0] not in self.file:
            return {}, []
        return super().answer(request)

    def group(self) -> Any:
        """Return the group that is asked for."""
        found, path = self.file, tuple(self.request["group"])
        for k in range(len(path)):
            found = self.entry(found, path[: k + 1])
        if not isinstance(found, self.h5py.Group):
            raise Refused(f"{'/'.join(path)} is no group")
        return found

    def attributes(self) -> dict[str, Any]:
        """Return the attributes of the group."""
        found: dict[str, Any] = {}
        for name, value in self.group().attrs.items():
            *above, last = name.split("/")
            level = found
            for key in above:
                level = level.setdefault(key, {})
                if not isinstance(level, dict):
                    raise Refused(
                        f"{'/'.join(self.request['group'])}: its attribute {name!r:.100} stands "
                        "in another"
                    )
            level[last] = plain(value)
        return found

    def arrays(self) -> Iterator[Leaf]:
        """Iterate over all that the group holds."""
        group = self.group()
        if self.request["take"] == "names":
            self.take(MOST_NAME * len(group), ())
            yield (), list(group)
            return
        only = self.request.get("only")
        for path in [(name,) for name in group] if only is None else map(tuple, only):
            found = group
            for k in range(len(path)):
                found = self.entry(found, path[: k + 1])
            yield from self.walk(found, path)

    def entry(self, group: Any, path: Keys) -> Any:
        """Return what stands in a group, unless it stands elsewhere."""
        link = group.get(path[-1], getlink=True)
        if link is None:
            raise Refused(f"{'/'.join(path)} is missing")
        if not isinstance(link, self.h5py.HardLink):
            raise Refused(f"{'/'.join(path)} is a link, which gymbag does not follow")
        return group[path[-1]]

    def walk(self, entry: Any, path: Keys) -> Iterator[Leaf]:
        """Iterate over what stands at a path and below it."""
        if isinstance(entry, self.h5py.Group):
            if len(path) > MOST_DEPTH:
                raise Refused(f"{'/'.join(path)}: groups in more than {MOST_DEPTH} others")
            self.take(0, path)
            yield path, None
            for name in entry:
                below = (*path, name)
                yield from self.walk(self.entry(entry, below), below)
        elif isinstance(entry, self.h5py.Dataset):
            yield path, self.leaf(entry, path)
        else:
            raise Refused(f"{'/'.join(path)} is neither a group nor an array")

    def leaf(self, dataset: Any, path: Keys) -> Any:
        """Return an array, or a list of texts."""
        plist = dataset.id.get_create_plist()
        filters = [plist.get_filter(k)[0] for k in range(plist.get_nfilters())]
        if self.request["take"] == "shapes":
            return [dataset.dtype.str, *map(str, dataset.shape)]
        if dataset.external or dataset.is_virtual or not set(filters) <= set(BUILT_IN):
            raise Refused(f"{'/'.join(path)} stands in other files, or takes a library to read")
        rows: Any = ()
        count = dataset.size
        if "rows" in self.request and dataset.ndim:
            rows = slice(*self.request["rows"])
            count = math.prod(dataset.shape[1:]) * len(range(dataset.shape[0])[rows])
        self.take(count * dataset.dtype.itemsize, path)
        text = self.h5py.check_string_dtype(dataset.dtype)
        inner = self.h5py.check_vlen_dtype(dataset.dtype)
        if text is None and inner is None:
            array = dataset[rows]
            if path in self.images and dataset.ndim == 2:
                return self.decode_images(path, [row.tobytes() for row in array])
            return array
        if dataset.ndim > 1 or (text is None and inner != np.uint8):
            raise Refused(f"{'/'.join(path)} is an array of {dataset.dtype}")
        cells = np.atleast_1d(dataset[rows]).tolist()
        self.take(sum(map(len, cells)), path)
        if text is None:
            return self.decode_images(path, [cell.tobytes() for cell in cells])
        return [cell.decode("utf-8") for cell in cells]


def plain(value: Any) -> Any:
    """Return an attribute as JSON has it; None if it has no place there."""
    if isinstance(value, np.ndarray):
        return [plain(item) for item in value.tolist()]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    return value if isinstance(value, list | str | int | float | None) else None

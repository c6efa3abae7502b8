# SPDX-License-Identifier: LGPL-3.0-or-later
"""The program of the child process that reads Minari's files for `gymbag.formats.minari.episodes`.

HDF5, Arrow and JPEG are read by large libraries that a file can crash, keep busy for ever, or have
take all memory. So they run in a process of its own that limits itself first. It writes nothing
but its output, follows no link, and imports nothing of gymbag's, which takes a second::

    {"folder": …, "format": "hdf5", "episodes": 4, "arrays": true, "images": [["observations"]],
     "path": […], "bytes": 4294967296, "memory": 8589934592, "seconds": 60}

is its argument. For each episode its output is a line of JSON, ``{"attributes": {…}, "leaves":
[[path, dtype, shape], …]}``, and then the bytes of the leaves; the dtype of text is ``"text"``,
and its bytes are a JSON list. What is wrong becomes ``{"error": message}``, the last line.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import math
import signal
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

Keys = tuple[str, ...]
Leaf = tuple[Keys, Any]
"""A path, and an array or a list of texts."""

BUILT_IN = range(1, 7)
"""HDF5's own filters; others are libraries that it would load."""
MOST_LEAVES = 10_000
MOST_DEPTH = 32
MOST_JSON = 64 << 20


class Refused(ValueError):
    """The file holds what Minari does not write, or what is not read from a stranger's file."""


class Reader:
    """Reads the episodes of one data set."""

    def __init__(self, request: dict[str, Any]) -> None:
        self.folder = Path(request["folder"])
        self.images = {tuple(path) for path in request["images"]}
        self.most = request["bytes"]
        self.left = self.most
        self.leaves = 0

    def episode(self, number: int, arrays: bool) -> tuple[dict[str, Any], list[Leaf]]:
        """Return an episode's attributes, and its arrays."""
        self.left, self.leaves = self.most, 0
        return self.attributes(number), list(self.arrays(number)) if arrays else []

    def attributes(self, number: int) -> dict[str, Any]:
        """Return what stands beside the arrays of an episode."""
        raise NotImplementedError

    def arrays(self, number: int) -> Iterator[Leaf]:
        """Iterate over the arrays of an episode."""
        raise NotImplementedError

    def take(self, nbytes: int, path: Keys) -> None:
        """Take so much memory for a leaf, if it is there.

        Raises:
            Refused: the episode takes more than it may.
        """
        self.left -= nbytes
        self.leaves += 1
        if self.left < 0 or self.leaves > MOST_LEAVES:
            raise Refused(
                f"{'/'.join(path)}: the episode has more than {self.most} bytes or {MOST_LEAVES} "
                "arrays; if you trust the file, set gymbag.formats.limits.MAX_BYTES higher"
            )

    def decode_images(self, path: Keys, cells: Any) -> Any:
        """Return JPEG images as one array."""
        from PIL import Image

        frames: Any = None
        for k, cell in enumerate(cells):
            # Only as JPEG: to read some of its other formats, Pillow runs programs.
            with Image.open(io.BytesIO(cell), formats=["JPEG"]) as image:
                shape = (image.height, image.width, len(image.getbands()))
                if frames is None:
                    self.take(len(cells) * math.prod(shape), path)
                    frames = np.empty((len(cells), *shape), np.uint8)
                frames[k] = np.asarray(image).reshape(shape)
        if frames is None:
            raise Refused(f"{'/'.join(path)}: no images")
        return frames[..., 0] if frames.shape[-1] == 1 else frames


class HDF5Reader(Reader):
    """Reads ``main_data.hdf5``: a group for each episode, an array for each leaf."""

    def __init__(self, request: dict[str, Any]) -> None:
        super().__init__(request)
        import h5py

        self.h5py: Any = h5py
        path = self.folder / "main_data.hdf5"
        require_plain(path)
        self.file = h5py.File(path, "r")

    def attributes(self, number: int) -> dict[str, Any]:
        """Return the attributes of the episode's group."""
        found: dict[str, Any] = {}
        for name, value in self.entry(self.file, (f"episode_{number}",)).attrs.items():
            *above, last = name.split("/")
            level = found
            for key in above:
                level = level.setdefault(key, {})
                if not isinstance(level, dict):
                    raise Refused(
                        f"episode_{number}: its attribute {name!r:.100} stands in another"
                    )
            level[last] = plain(value)
        return found

    def arrays(self, number: int) -> Iterator[Leaf]:
        """Iterate over all that the episode's group holds."""
        group = self.entry(self.file, (f"episode_{number}",))
        for name in group:
            yield from self.walk(self.entry(group, (name,)), (name,))

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
        if dataset.external or dataset.is_virtual or not set(filters) <= set(BUILT_IN):
            raise Refused(f"{'/'.join(path)} stands in other files, or takes a library to read")
        self.take(dataset.size * dataset.dtype.itemsize, path)
        text = self.h5py.check_string_dtype(dataset.dtype)
        inner = self.h5py.check_vlen_dtype(dataset.dtype)
        if text is None and inner is None:
            array = dataset[()]
            if path in self.images and dataset.ndim == 2:
                return self.decode_images(path, [row.tobytes() for row in array])
            return array
        if dataset.ndim > 1 or (text is None and inner != np.uint8):
            raise Refused(f"{'/'.join(path)} is an array of {dataset.dtype}")
        cells = np.atleast_1d(dataset[()]).tolist()
        self.take(sum(map(len, cells)), path)
        if text is None:
            return self.decode_images(path, [cell.tobytes() for cell in cells])
        return [cell.decode("utf-8") for cell in cells]


class ArrowReader(Reader):
    """Reads a folder for each episode, with an Arrow or a Parquet file in it."""

    def __init__(self, request: dict[str, Any]) -> None:
        super().__init__(request)
        self.format = request["format"]
        self.arrow: Any = importlib.import_module("pyarrow")
        self.parquet: Any = self.format == "parquet" and importlib.import_module("pyarrow.parquet")

    def attributes(self, number: int) -> dict[str, Any]:
        """Return the JSON in the episode's folder."""
        path = self.folder / str(number) / "metadata.json"
        if require_plain(path) > MOST_JSON:
            raise Refused(f"{path} has more than {MOST_JSON} bytes")
        found = json.loads(path.read_text("utf-8"))
        if not isinstance(found, dict):
            raise Refused(f"{path} is no JSON object")
        return found

    def arrays(self, number: int) -> Iterator[Leaf]:
        """Iterate over the columns of the episode's file."""
        folder = self.folder / str(number)
        paths = sorted(folder.glob(f"part-*.{self.format}"))
        if len(paths) != 1:
            raise Refused(f"{folder} has {len(paths)} files part-*.{self.format}; expected one")
        require_plain(paths[0])
        if self.format == "parquet":
            # A column of few values is stored as their number, however many rows it has.
            with self.parquet.ParquetFile(paths[0]) as file:
                batches = []
                for batch in file.iter_batches(batch_size=1024, use_threads=False):
                    self.take(batch.nbytes, (paths[0].name,))
                    batches.append(batch)
        else:
            with self.arrow.OSFile(str(paths[0])) as stream:
                file = self.arrow.ipc.open_file(stream)
                batches = [file.get_batch(k) for k in range(file.num_record_batches)]
        table = self.arrow.Table.from_batches(batches).combine_chunks()
        # Else what it says of itself is believed, and what lies behind it in memory is read.
        table.validate(full=True)
        for name in table.column_names:
            column = table.column(name).combine_chunks()
            yield from self.walk(column, (name,), table.schema.field(name))

    def walk(self, column: Any, path: Keys, field: Any) -> Iterator[Leaf]:
        """Iterate over a column, and those inside it."""
        types = self.arrow.types
        self.take(column.nbytes, path)
        if types.is_struct(column.type):
            if len(path) > MOST_DEPTH:
                raise Refused(f"{'/'.join(path)}: inside more than {MOST_DEPTH} others")
            yield path, None
            for k, below in enumerate(column.type):
                yield from self.walk(column.field(k), (*path, below.name), below)
        elif types.is_fixed_size_list(column.type):
            values = column.flatten().to_numpy(zero_copy_only=False)
            sizes = (field.metadata or {}).get(b"shape", str(column.type.list_size).encode())
            yield path, values.reshape(len(column), *map(int, filter(None, sizes.split(b","))))
        elif types.is_binary(column.type):
            yield path, self.decode_images(path, [c or b"" for c in column.to_pylist() if c])
        elif types.is_string(column.type):
            yield path, [text or "" for text in column.to_pylist()]
        else:
            yield path, column.to_numpy(zero_copy_only=False)


def require_plain(path: Path) -> int:
    """Return the size of a plain file; a link would lead elsewhere, a pipe might never end."""
    try:
        status = path.lstat()
    except OSError as error:
        raise Refused(f"{path}: missing, or cannot be read: {error.strerror}") from None
    if not stat.S_ISREG(status.st_mode):
        raise Refused(f"{path}: a folder, link, pipe or device; expected a plain file")
    return status.st_size


def plain(value: Any) -> Any:
    """Return an attribute as JSON has it; None if it has no place there."""
    if isinstance(value, np.ndarray):
        return [plain(item) for item in value.tolist()]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    return value if isinstance(value, list | str | int | float | None) else None


def pack(leaf: Leaf) -> tuple[list[Any], bytes | memoryview]:
    """Return the description of a leaf, and its bytes."""
    path, value = leaf
    if value is None:
        return [path, "group", []], b""
    if isinstance(value, list):
        data = json.dumps(value).encode()
        return [path, "text", [len(data)]], data
    array = np.ascontiguousarray(value, value.dtype.newbyteorder("="))
    if array.dtype.kind not in "biufc":
        raise Refused(f"{'/'.join(path)} is an array of {array.dtype}; expected numbers or texts")
    return [path, array.dtype.str, value.shape], array.reshape(-1).view(np.uint8).data


def limit(nbytes: int) -> None:
    """Limit this process, so that no file can make it take the machine down."""
    try:
        resource: Any = importlib.import_module("resource")
    except ImportError:  # on Windows
        return
    for name, most in {"AS": nbytes, "CORE": 0, "FSIZE": 0}.items():
        # A platform may lack one of them, or be stricter already.
        with contextlib.suppress(AttributeError, ValueError, OSError):
            resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (most, most))


def run(request: dict[str, Any], out: Any) -> None:
    """Write all episodes."""
    watch = getattr(signal, "alarm", lambda seconds: None)
    watch(request["seconds"])
    reader = (HDF5Reader if request["format"] == "hdf5" else ArrowReader)(request)
    for number in range(request["episodes"]):
        # Nothing catches the signal: it ends a process that is caught in one of the libraries.
        watch(request["seconds"])
        attributes, leaves = reader.episode(number, request["arrays"])
        packed = [pack(leaf) for leaf in leaves]
        watch(0)
        head = {"attributes": attributes, "leaves": [description for description, _ in packed]}
        out.write(json.dumps(head).encode() + b"\n")
        for _, data in packed:
            out.write(data)


def main() -> None:
    """Do what the first argument asks."""
    request = json.loads(sys.argv[1])
    sys.path[:] = request["path"]
    limit(request["memory"])
    with open(sys.stdout.fileno(), "wb", closefd=False) as out:
        try:
            run(request, out)
        except Exception as error:  # each library has errors of its own
            found = str(error) if isinstance(error, Refused) else repr(error)
            out.write(json.dumps({"error": found[:1000]}).encode() + b"\n")


if __name__ == "__main__":
    main()

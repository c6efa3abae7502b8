# SPDX-License-Identifier: LGPL-3.0-or-later
"""Answers what the parent process asks, line by line.

The argument of the process says what it may take::

    {"path": […], "bytes": 4294967296, "memory": 8589934592, "seconds": 60}

Each line of its input asks for something, see the readers::

    {"kind": "hdf5", "file": …, "group": ["episode_0"], "take": "arrays", "images": [["pixels"]]}

The answer is a line of JSON, ``{"attributes": {…}, "leaves": [[path, dtype, shape], …]}``, and then
the bytes of the leaves; the dtype of text is ``"text"``, and its bytes are a JSON list. What is
wrong becomes ``{"error": message}``, the last line.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import signal
import sys
from collections.abc import Iterable
from typing import Any

import numpy as np

from gymbag.formats.apart.arrow import ArrowReader, ParquetReader
from gymbag.formats.apart.envlogger import EnvLoggerReader
from gymbag.formats.apart.examples import ExamplesReader
from gymbag.formats.apart.frames import FramesReader, VideoReader
from gymbag.formats.apart.hdf5 import HDF5Reader
from gymbag.formats.apart.reader import Leaf, Reader, Refused

KINDS: dict[str, type[Reader]] = {
    "hdf5": HDF5Reader,
    "arrow": ArrowReader,
    "parquet": ParquetReader,
    "frames": FramesReader,
    "video": VideoReader,
    "examples": ExamplesReader,
    "envlogger": EnvLoggerReader,
}
MOST_OPEN = 16
"""Files at once, for example the videos of as many cameras."""


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


def run(settings: dict[str, Any], lines: Iterable[bytes | str], out: Any) -> None:
    """Answer all that is asked for."""
    watch = getattr(signal, "alarm", lambda seconds: None)
    readers: dict[tuple[str, str], Reader] = {}
    for line in lines:
        # Nothing catches the signal: it ends a process that is caught in one of the libraries.
        watch(settings["seconds"])
        request = json.loads(line)
        asked = request["kind"], request["file"]
        if asked not in readers:
            if len(readers) == MOST_OPEN:
                readers.pop(next(iter(readers))).close()
            readers[asked] = KINDS[request["kind"]](request["file"], settings["bytes"])
        attributes, leaves = readers[asked].answer(request)
        packed = [pack(leaf) for leaf in leaves]
        watch(0)
        head = {"attributes": attributes, "leaves": [description for description, _ in packed]}
        out.write(json.dumps(head).encode() + b"\n")
        for _, data in packed:
            out.write(data)
        out.flush()


def main(settings: dict[str, Any]) -> None:
    """Answer what the standard input asks."""
    limit(settings["memory"])
    with open(sys.stdout.fileno(), "wb", closefd=False) as out:
        try:
            run(settings, sys.stdin, out)
        except Exception as error:  # each library has errors of its own
            found = str(error) if isinstance(error, Refused) else repr(error)
            out.write(json.dumps({"error": found[:1000]}).encode() + b"\n")

# SPDX-License-Identifier: LGPL-3.0-or-later
"""Runs the child process that reads Minari's files, episode by episode.

Nothing that comes back is believed: it is plain numbers and texts, and each length is checked
before memory is taken for it.
"""

from __future__ import annotations

import json
import math
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any

import numpy as np

from gymbag.errors import FormatError
from gymbag.formats import limits
from gymbag.formats.limits import require_fit
from gymbag.formats.minari import child

PATIENCE = 60
"""Seconds for one episode."""
MEMORY = 4 << 30
"""Bytes of address space for the child's libraries, beside an episode and a copy of it."""
NEEDS = {
    "hdf5": ("h5py", "PIL"),
    "arrow": ("pyarrow", "PIL"),
    "parquet": ("pyarrow", "PIL"),
}
"""What reads each of Minari's layouts."""
DTYPE = re.compile(r"[<>|=]?(b1|[iu][1248]|f[248]|c8|c16)")

Leaves = dict[tuple[str, ...], Any]
"""Arrays, or lists of texts, by path; None stands for a group, which holds others."""


def require_installed(names: tuple[str, ...], what: str) -> None:
    """Check that packages are there.

    Raises:
        FormatError: one is not; the message names it, and what installs it.
    """
    missing = [name for name in names if find_spec(name) is None]
    if missing:
        raise FormatError(
            f"{what} takes {' and '.join(missing)}, not installed here; "
            "pip install 'gymbag[minari]'"
        )


def iter_raw(
    folder: Path, layout: str, episodes: int, images: list[list[str]], *, arrays: bool = True
) -> Iterator[tuple[dict[str, Any], Leaves]]:
    """Iterate over the attributes and the arrays of the episodes.

    Args:
        folder: where ``metadata.json`` stands.
        layout: "hdf5", "arrow" or "parquet".
        episodes: how many to read.
        images: paths of what may be stored as JPEG.
        arrays: whether to read more than the attributes.

    Raises:
        FormatError: a file is missing, damaged or not Minari's.
    """
    require_installed(NEEDS[layout], f"{folder}: to read Minari's layout {layout!r}")
    request = {
        "folder": str(folder.absolute()),
        "format": layout,
        "episodes": episodes,
        "arrays": arrays,
        "images": images,
        "path": sys.path,
        "bytes": limits.MAX_BYTES,
        "memory": 2 * limits.MAX_BYTES + MEMORY,
        "seconds": PATIENCE,
    }
    # HDF5 lets these choose drivers and plug-ins; only whether it locks files is the user's.
    environment = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith("HDF5_") or key == "HDF5_USE_FILE_LOCKING"
    }
    with (
        tempfile.TemporaryDirectory(prefix="gymbag-") as scratch,
        subprocess.Popen(
            [sys.executable, "-I", str(Path(child.__file__)), json.dumps(request)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=scratch,
            env=environment,
        ) as process,
    ):
        assert process.stdout is not None
        try:
            for number in range(episodes):
                where = f"{folder}: episode {number}"
                try:
                    yield _episode(process.stdout, where)
                except EOFError:
                    raise FormatError(f"{where}: {_end(process)}; it may be damaged") from None
        finally:
            process.kill()


def _end(process: subprocess.Popen[bytes]) -> str:
    code = process.wait()
    if code == -getattr(signal, "SIGALRM", 0):
        return (
            f"not read after {PATIENCE} s; if it is merely large, set "
            "gymbag.formats.minari.process.PATIENCE higher"
        )
    return f"the process that read it ended with code {code}"


def _episode(stream: IO[bytes], where: str) -> tuple[dict[str, Any], Leaves]:
    line = stream.readline(limits.MAX_JSON)
    if not line.endswith(b"\n"):
        raise EOFError
    try:
        return _believed(json.loads(line), stream, where)
    except FormatError:
        raise
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise FormatError(f"{where}: cannot be read ({error!r:.200}); it may be damaged") from None


def _believed(head: Any, stream: IO[bytes], where: str) -> tuple[dict[str, Any], Leaves]:
    """Return what a line says, and read what follows, once it is found possible."""
    if "error" in head:
        raise FormatError(f"{where}: {_shown(head['error'])}")
    described = [(tuple(map(str, path)), *_described(*leaf)) for path, *leaf in head["leaves"]]
    require_fit(sum(_nbytes(dtype, shape) for _, dtype, shape in described if dtype), where)
    return dict(head["attributes"]), {
        path: None if dtype is None else _leaf(stream, dtype, shape)
        for path, dtype, shape in described
    }


def _described(name: Any, shape: Any) -> tuple[Any, tuple[int, ...]]:
    """Return dtype and shape of a leaf: "text" or None in place of one that has no numbers."""
    if not all(type(size) is int and 0 <= size < 2**62 for size in shape) or len(shape) > 32:
        raise ValueError(f"shape {shape!r:.100}")
    if name in ("text", "group"):
        return (None if name == "group" else name), tuple(shape)
    if not isinstance(name, str) or not DTYPE.fullmatch(name):
        raise ValueError(f"dtype {name!r:.100}")
    return np.dtype(name), tuple(shape)


def _nbytes(dtype: Any, shape: tuple[int, ...]) -> int:
    return math.prod(shape) * (1 if dtype == "text" else dtype.itemsize)


def _leaf(stream: IO[bytes], dtype: Any, shape: tuple[int, ...]) -> Any:
    data = bytearray(_nbytes(dtype, shape))
    view, done = memoryview(data), 0
    while done < len(data):
        count = stream.readinto(view[done:])  # type: ignore[attr-defined]
        if not count:
            raise EOFError
        done += count
    return list(map(str, json.loads(data))) if dtype == "text" else np.ndarray(shape, dtype, data)


def _shown(text: Any) -> str:
    """Return a text from the file as it can be shown."""
    return "".join(sign if sign.isprintable() else "\ufffd" for sign in str(text)[:1000])

# SPDX-License-Identifier: LGPL-3.0-or-later
"""Runs the child process that reads files of other programs', part by part.

Nothing that comes back is believed: it is plain numbers and texts, and each length is checked
before memory is taken for it.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Generator, Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any

import numpy as np

from gymbag.errors import FormatError
from gymbag.formats import limits
from gymbag.formats.limits import require_fit

PATIENCE = 60
"""Seconds for one answer."""
MEMORY = 4 << 30
"""Bytes of address space for the child's libraries, beside an answer and a copy of it."""
FORMATS = Path(__file__).parent
# The modules are imported by their names, but gymbag as a whole, which takes a second, is not.
BOOTSTRAP = """
import json, sys, types
settings = json.loads(sys.argv[1])
sys.path[:] = settings["path"]
for name, folder in settings["packages"].items():
    sys.modules[name] = types.ModuleType(name)
    sys.modules[name].__path__ = [folder]
from gymbag.formats.apart.main import main
main(settings)
"""
DTYPE = re.compile(r"[<>|=]?(b1|[iu][1248]|f[248]|c8|c16)")

Leaves = dict[tuple[str, ...], Any]
"""Arrays, or lists of texts, by path; None stands for a group, which holds others."""


def require_installed(names: tuple[str, ...], what: str, extra: str) -> None:
    """Check that packages are there.

    Args:
        names: the packages.
        what: what takes them, for the message.
        extra: which of gymbag's extras has them.

    Raises:
        FormatError: one is not; the message names it, and what installs it.
    """
    missing = [name for name in names if not _is_installed(name)]
    if missing:
        raise FormatError(
            f"{what} takes {' and '.join(missing)}, not installed here; "
            f"pip install 'gymbag[{extra}]'"
        )


def _is_installed(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:  # of the package that it is in
        return False


Request = tuple[str, dict[str, Any]]
"""Where it is, for messages; and what `gymbag.formats.apart` is asked for."""


def answers(requests: Iterable[Request]) -> Generator[tuple[dict[str, Any], Leaves]]:
    """Iterate over the attributes and the arrays that are asked for, one process for all.

    The next request is made before an answer is used, and answered meanwhile.

    Raises:
        FormatError: a file is missing, damaged or not what is expected.
    """
    settings = {
        "path": sys.path,
        "packages": {"gymbag": str(FORMATS.parent), "gymbag.formats": str(FORMATS)},
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
            [sys.executable, "-I", "-c", BOOTSTRAP, json.dumps(settings)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=scratch,
            env=environment,
        ) as process,
    ):
        try:
            pending: str | None = None
            for where, request in requests:
                _ask(process, request)
                if pending is not None:
                    yield _answer(process, pending)
                pending = where
            if pending is not None:
                yield _answer(process, pending)
        finally:
            process.kill()
            with contextlib.suppress(OSError):  # of what it was asked and has not read
                process.stdin.close()  # type: ignore[union-attr]


def answer(where: str, request: dict[str, Any]) -> tuple[dict[str, Any], Leaves]:
    """Return the attributes and the arrays that are asked for; see `answers`."""
    with contextlib.closing(answers([(where, request)])) as found:
        return next(found)


def _ask(process: subprocess.Popen[bytes], request: dict[str, Any]) -> None:
    assert process.stdin is not None
    with contextlib.suppress(OSError):  # it has ended, and the answer says why
        process.stdin.write(json.dumps(request).encode() + b"\n")
        process.stdin.flush()


def _answer(process: subprocess.Popen[bytes], where: str) -> tuple[dict[str, Any], Leaves]:
    assert process.stdout is not None
    try:
        return _read(process.stdout, where)
    except EOFError:
        raise FormatError(f"{where}: {_end(process)}; it may be damaged") from None


def _end(process: subprocess.Popen[bytes]) -> str:
    code = process.wait()
    if code == -getattr(signal, "SIGALRM", 0):
        return (
            f"not read after {PATIENCE} s; if it is merely large, set "
            "gymbag.formats.process.PATIENCE higher"
        )
    return f"the process that read it ended with code {code}"


def _read(stream: IO[bytes], where: str) -> tuple[dict[str, Any], Leaves]:
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

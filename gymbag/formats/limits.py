# SPDX-License-Identifier: LGPL-3.0-or-later
"""How much a file of another program may ask for; such a file may be made to do harm."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

from gymbag.errors import FormatError

MAX_BYTES = 4 << 30
"""Memory for what is held at once: a whole NPZ file, else one episode."""
MAX_JSON = 64 << 20
"""Bytes of JSON, which takes some fifty times as much memory when it is read."""
ROW_BYTES = 512
"""What a row takes as Python's objects, whatever is in it."""


def require_fit(nbytes: int, what: str) -> None:
    """Check that something fits into memory, before memory is taken for it.

    Raises:
        FormatError: it takes more than `MAX_BYTES`.
    """
    if nbytes > MAX_BYTES:
        raise FormatError(
            f"{what} would take {nbytes} bytes of memory; expected at most {MAX_BYTES}; if you "
            "trust the file, set gymbag.formats.limits.MAX_BYTES higher"
        )


def require_short(nbytes: int, what: str) -> None:
    """Check that JSON is of a length that can be read.

    Raises:
        FormatError: it is longer than `MAX_JSON`.
    """
    if nbytes > MAX_JSON:
        raise FormatError(
            f"{what}: {nbytes} bytes of JSON; expected at most {MAX_JSON}; if you trust the "
            "file, set gymbag.formats.limits.MAX_JSON higher"
        )


def require_plain(path: Path) -> int:
    """Return the size of a plain file; to read a pipe or a device might never end.

    Raises:
        FormatError: it is something else, a link for example, or is not there.
    """
    status = _status(path)
    if not stat.S_ISREG(status.st_mode):
        raise FormatError(f"{path}: a folder, link, pipe or device; expected a plain file")
    return status.st_size


def require_folder(path: Path) -> None:
    """Check that it is a folder, and no link to one elsewhere.

    Raises:
        FormatError: it is something else, or is not there.
    """
    if not stat.S_ISDIR(_status(path).st_mode):
        raise FormatError(f"{path}: a file or a link; expected a folder")


def _status(path: Path) -> os.stat_result:
    try:
        return os.lstat(path)
    except OSError as error:
        raise FormatError(f"{path}: missing, or cannot be read: {error.strerror}") from None


def read_json(path: Path, whose: str) -> Any:
    """Return the JSON in a file.

    Raises:
        FormatError: the file is no plain one, too long, or holds no JSON.
    """
    require_short(require_plain(path), str(path))
    try:
        return json.loads(path.read_text("utf-8"))
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{path}: not the JSON of {whose} ({error})") from None

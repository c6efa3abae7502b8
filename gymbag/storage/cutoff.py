# SPDX-License-Identifier: LGPL-3.0-or-later
"""Looks at a file although its end was cut off, which HDF5 alone refuses."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from gymbag.errors import FileError
from gymbag.storage import disk
from gymbag.storage.look import RESCUE, Scan, look

MOST_END = 1 << 44
"""Bytes that a file may have been long, to be believed."""


def stated_end(descriptor: int) -> int:
    """Return where HDF5's superblock says that the file ends; 0 if it does not say."""
    start = disk.read_at(descriptor, 48, 0)
    places = {0: 40, 1: 44, 2: 28, 3: 28}
    place = places.get(start[8]) if len(start) == 48 else None
    return int.from_bytes(start[place : place + 8], "little") if place else 0


def look_at_all(filename: str, folder: str, notes: list[str]) -> Scan:
    """Return what HDF5 finds in a file; in a copy as long as it was if its end was cut off.

    Args:
        filename: the file.
        folder: where a copy can be made for a while.
        notes: where it is noted that the file was cut off.

    Raises:
        FileError: as for `look`; or no copy can be made.
    """
    descriptor = disk.open_plain(filename)
    try:
        end, size = stated_end(descriptor), os.fstat(descriptor).st_size
    finally:
        os.close(descriptor)
    if not size < end <= MOST_END:
        return _looked(filename, filename)
    notes.append(f"the file was cut off: it has {size:,} bytes of {end:,}")
    copy = Path(folder, "copy.h5")
    try:
        shutil.copyfile(filename, copy)
        os.truncate(copy, end)
        return _looked(str(copy), filename)
    except FileError:
        raise
    except OSError as error:
        raise FileError(
            f"{filename}: cut off, and no copy of {end:,} bytes can be made in {folder} to look "
            f"at ({error.strerror}); make room there, or choose another folder for the new file"
        ) from error
    finally:
        copy.unlink(missing_ok=True)


def _looked(path: str, filename: str) -> Scan:
    """Look, and let an error name the file, and not advise what is being done already."""
    try:
        return look(path)
    except FileError as error:
        text = str(error).replace(path, filename).removesuffix(f"; {RESCUE}")
        raise type(error)(text) from None

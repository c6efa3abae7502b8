# SPDX-License-Identifier: LGPL-3.0-or-later
"""What the commit protocol asks of the operating system, and nothing else does.

Every change to a file that is not HDF5's own goes through these few functions, so that the tests
can stop, tear and reorder each one.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from gymbag.errors import FileError, NoSuchFile, NotAStore

_sync = getattr(os, "fdatasync", os.fsync)


@contextmanager
def told(filename: str) -> Iterator[None]:
    """Tell a failure of the system's as one of the file's."""
    try:
        yield
    except FileError:
        raise
    except OSError as error:
        raise FileError(
            f"{filename}: cannot be written ({error.strerror}); everything up to the last commit "
            "is kept"
        ) from error


def open_plain(filename: str) -> int:
    """Open a file to read; anything else than a plain file is refused.

    Raises:
        NoSuchFile: there is none.
        NotAStore: it is a folder, a pipe, a device.
    """
    try:
        # Without waiting, for a pipe would wait for somebody to write to it.
        descriptor = os.open(filename, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        raise NoSuchFile(f"{filename}: no such file") from None
    except OSError as error:
        raise FileError(f"{filename}: cannot be opened: {error.strerror}") from error
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode):
        return descriptor
    os.close(descriptor)
    kind = "a folder" if stat.S_ISDIR(mode) else "a pipe or a device"
    raise NotAStore(f"{filename}: {kind}, not a file")


def open_to_change(filename: str) -> int:
    """Open a plain file to read and write; it is made if there is none.

    Raises:
        FileError: it cannot be.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK
    try:
        descriptor = os.open(filename, flags, 0o666)
    except IsADirectoryError:
        raise NotAStore(f"{filename}: a folder, not a file") from None
    except OSError as error:
        raise FileError(f"{filename}: cannot be opened for writing: {error.strerror}") from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise NotAStore(f"{filename}: a pipe or a device, not a file")
    return descriptor


def write_at(descriptor: int, parts: Sequence[bytes], offset: int) -> int:
    """Write parts one after another, all of them, and return where they end."""
    data = memoryview(parts[0] if len(parts) == 1 else b"".join(parts))
    while data:
        written = os.pwrite(descriptor, data, offset)
        offset += written
        data = data[written:]
    return offset


def read_at(descriptor: int, size: int, offset: int) -> bytes:
    """Read so many bytes; fewer come where the file ends."""
    data = os.pread(descriptor, size, offset)
    while len(data) < size:
        more = os.pread(descriptor, size - len(data), offset + len(data))
        if not more:
            break
        data += more
    return data


def truncate(descriptor: int, size: int) -> None:
    """Cut a file off."""
    os.ftruncate(descriptor, size)


def sync(descriptor: int) -> None:
    """Wait until what was written to a file has reached the disk."""
    _sync(descriptor)


def sync_folder(path: str) -> None:
    """Wait until the folder of a file says on the disk what it says here."""
    descriptor = os.open(os.path.dirname(path) or ".", os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def replace(source: str, target: str) -> None:
    """Give a file another's name, in one step."""
    os.replace(source, target)


def unlink(path: str) -> None:
    """Remove a file."""
    os.unlink(path)


def same_file(path: str, descriptor: int) -> bool:
    """Return whether a path leads to an open file, or to none if `descriptor` is -1."""
    try:
        status = os.stat(path)
    except FileNotFoundError:
        return descriptor < 0
    return descriptor >= 0 and os.path.samestat(status, os.fstat(descriptor))

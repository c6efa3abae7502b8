# SPDX-License-Identifier: LGPL-3.0-or-later
"""One writer at a time: whoever holds the lock on a file's log.

The kernel gives a lock back when its holder dies, so a dead holder is none. A log may be removed
or replaced by the one who holds it; who then gets the lock on the old one tries again with the
new. A child that was forked does not keep what its parent held.
"""

from __future__ import annotations

import fcntl
import os
import socket
import time
from datetime import datetime
from typing import Any

from gymbag.errors import FileBusy, FileError, NewerFormat, NoSuchFile
from gymbag.storage import disk, log

PATIENCE = 0.5
"""Seconds to wait for readers, who look whether somebody holds the lock by taking it."""
FLAGS = os.O_RDWR | os.O_CLOEXEC

_held: set[int] = set()


def acquire(filename: str) -> tuple[int, bool]:
    """Open and lock the log of a file; return it, and whether it was there already.

    Raises:
        FileBusy: another writer lives; the message names it.
        NewerFormat: a later gymbag wrote the log that is there.
        FileError: the folder cannot be written to.
    """
    path = filename + log.SUFFIX
    deadline = time.monotonic() + PATIENCE
    while True:
        descriptor, found = _open(path)
        try:
            log.require_known(disk.read_at(descriptor, len(log.MARK), 0), log.MARK, path)
        except NewerFormat:
            os.close(descriptor)
            raise
        if not (_announced(descriptor, path) and _try(descriptor)):
            holder = log.read_holder(descriptor)
            os.close(descriptor)
            if time.monotonic() > deadline:
                raise FileBusy(f"{filename}: {_named(holder)} is writing to it; {ADVICE}")
            time.sleep(0.005)
            continue
        if disk.same_file(path, descriptor):
            _held.add(descriptor)
            # Asked again: between the two looks in `_open` somebody may have made it, and died.
            found = _begun(descriptor)
            if not found:
                _write_holder(descriptor, path, holder_of_mine(), new=True)
            return descriptor, found
        os.close(descriptor)


def _announced(descriptor: int, path: str) -> bool:
    """Say in a log that somebody else recovers it; return False if its writer lives.

    It must stand there before the lock is taken: to a reader, a lock without that word is the
    writer's, and what is provisional does not count while the writer lives.
    """
    if not _try(descriptor, fcntl.LOCK_SH):
        return False
    if _begun(descriptor):
        left = {**log.read_holder(descriptor), RECOVERING: os.getpid()}
        _write_holder(descriptor, path, left, new=False)
    return True


def _begun(descriptor: int) -> bool:
    """Return whether a log has more in it than its maker had time for."""
    return os.fstat(descriptor).st_size >= log.HEADER_BYTES


def _write_holder(descriptor: int, path: str, holder: dict[str, Any], *, new: bool) -> None:
    """Write who holds a log; a new one that cannot be written to is removed."""
    try:
        disk.write_at(descriptor, (log.header(holder),), 0)
    except BaseException:
        if new:
            os.unlink(path)
        release(descriptor)
        raise


RECOVERING = "recovering"
"""Stands in the header of a log that is held by another than the one who wrote it."""


def is_recovering(descriptor: int) -> bool:
    """Return whether somebody is bringing the file up to date whose writer died."""
    if descriptor < 0 or RECOVERING not in log.read_holder(descriptor):
        return False
    return writer_lives(descriptor)


ADVICE = "close that recording first, or record to another file"


def name_base(descriptor: int, base: list[int]) -> None:
    """Write into the header of a log which state of the file it goes on from."""
    holder = {**log.read_holder(descriptor), log.BASE: base}
    disk.write_at(descriptor, (log.header(holder),), 0)


def successor(filename: str, base: list[int]) -> int:
    """Return a new log that is locked already, under a name of its own; see `succeed`."""
    path = filename + log.SUFFIX + "-next"
    descriptor = os.open(path, FLAGS | os.O_CREAT | os.O_TRUNC, 0o666)
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    _held.add(descriptor)
    _write_holder(descriptor, path, {**holder_of_mine(), log.BASE: base}, new=True)
    return descriptor


def succeed(filename: str) -> None:
    """Put a successor in the place of the log."""
    path = filename + log.SUFFIX
    disk.replace(path + "-next", path)


def release(descriptor: int) -> None:
    """Give up a lock."""
    _held.discard(descriptor)
    os.close(descriptor)


def writer_lives(descriptor: int) -> bool:
    """Return whether somebody holds the lock on a log that is open to read."""
    if _try(descriptor, fcntl.LOCK_SH):
        fcntl.flock(descriptor, fcntl.LOCK_UN)
        return False
    return True


def holder_of_mine() -> dict[str, str | int]:
    """Return what a log says of this process."""
    now = datetime.now().astimezone().isoformat(timespec="seconds")
    return {"pid": os.getpid(), "host": socket.gethostname()[:200], "since": now}


def _open(path: str) -> tuple[int, bool]:
    try:
        return os.open(path, FLAGS), True
    except FileNotFoundError:
        pass
    except OSError as error:
        raise FileError(f"{path}: cannot be opened for writing: {error.strerror}") from error
    try:
        return os.open(path, FLAGS | os.O_CREAT, 0o666), False
    except FileNotFoundError:
        folder = os.path.dirname(path) or "."
        raise NoSuchFile(f"{folder}: this folder does not exist; create it") from None
    except OSError as error:
        raise FileError(f"{path}: cannot be made: {error.strerror}") from error


def _try(descriptor: int, kind: int = fcntl.LOCK_EX) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _named(holder: dict[str, object]) -> str:
    if not holder:
        return "another process"
    return f"process {holder.get('pid')} on {holder.get('host')} (since {holder.get('since')})"


def _forget() -> None:
    """Close the parent's locks in a child, so that they end with the parent."""
    for descriptor in _held:
        os.close(descriptor)
    _held.clear()


os.register_at_fork(after_in_child=_forget)

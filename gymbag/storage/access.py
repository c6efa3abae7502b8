# SPDX-License-Identifier: LGPL-3.0-or-later
"""Opens a file to read: beside a writer, in its process or another, or after one that died."""

from __future__ import annotations

import os
import warnings

from gymbag.errors import FileError, NewerFormat, RecoveryWarning
from gymbag.storage import lock, log, undo
from gymbag.storage.file import open_to_write, release, written_here
from gymbag.storage.names import EPISODES, STEPS
from gymbag.storage.snapshot import Snapshot


def open_to_read(filename: str, max_bytes: int) -> Snapshot:
    """Return what is committed in a file.

    If this process writes to it, that is all that was recorded so far. If the last writer died,
    the file is recovered first, where it may be written to.

    Raises:
        FileError: it cannot be read, or is not ours.
    """
    path = os.path.realpath(filename)
    written = written_here(path)
    if written is not None:
        written.commit()
    elif _left_behind(path):
        try:
            file = open_to_write(path)
        except NewerFormat:
            raise
        except FileError:
            # Somebody else recovers it, or nobody may write here: the log is read instead.
            pass
        else:
            release(file)
            tell(file.recovered)
    return Snapshot(path, max_bytes=max_bytes)


def tell(recovered: Snapshot | None) -> None:
    """Say what was recovered, if anything was."""
    if recovered is not None:
        warnings.warn(describe(recovered), RecoveryWarning, stacklevel=4)


def describe(recovered: Snapshot) -> str:
    """Return what was recovered, as a line."""
    holder = recovered.contents.holder
    episodes, rows, running = 0, 0, ""
    for path, column in recovered.columns.items():
        known = recovered.footer.columns.get(path)
        new = column.rows - (known.rows if known else 0)
        if path.endswith(f"/{STEPS}"):
            rows += new
        if path.endswith(f"/{EPISODES}"):
            episodes += new
            if any(piece.provisional and piece.path == path for piece in recovered.contents.pieces):
                last = column.read(column.rows - 1, column.rows)
                running = f"; the last was interrupted after {int(last['rows'][0]) - 1} steps"
    return (
        f"{recovered.filename}: process {holder.get('pid')} on {holder.get('host')} died, or did "
        f"not finish recording; recovered {episodes} episodes ({rows} rows) from its log{running}; "
        "what it had not committed is lost, by default at most the last second"
    )


def _left_behind(path: str) -> bool:
    """Return whether a writer died and left its log or journal."""
    if os.path.exists(path + undo.SUFFIX) and not os.path.exists(path + log.SUFFIX):
        return True
    try:
        descriptor = os.open(path + log.SUFFIX, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        return not lock.writer_lives(descriptor)
    finally:
        os.close(descriptor)

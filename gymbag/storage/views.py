# SPDX-License-Identifier: LGPL-3.0-or-later
"""Adds lines to what a data set says of itself, without recording into it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping

import numpy as np

from gymbag.errors import FileBusy, NoSuchDataset
from gymbag.storage.buffer import ColumnBuffer
from gymbag.storage.file import StepFile, open_to_write, release
from gymbag.storage.meta import Meta, View
from gymbag.storage.names import META, escape

Check = Callable[[Mapping[str, View]], None]
"""Raises an error where the views of a data set speak against it."""


def append_lines(
    filename: str | os.PathLike[str],
    lines: Mapping[str, bytes],
    *,
    check: Check = lambda views: None,
) -> None:
    """Add lines to the descriptions of data sets, all or none.

    Args:
        filename: the file; it must be there.
        lines: what to add, by the name of the data set.
        check: asked of the views that each has, while nobody else can add one.

    Raises:
        FileBusy: one of them is being recorded to, or another process writes to the file.
        NoSuchDataset: one of them is not there.
        FileError: the file cannot be written.
    """
    file = open_to_write(filename)
    try:
        with file.lock:
            buffers = [(_meta_buffer(file, name, check), line) for name, line in lines.items()]
            for buffer, line in buffers:
                buffer.append(np.frombuffer(line, np.uint8))
                buffer.contribute(last=True)
            file.commit()
            file.sync()
    finally:
        release(file)


def _meta_buffer(file: StepFile, name: str, check: Check) -> ColumnBuffer:
    group = f"/{escape(name)}"
    if group in file.datasets:
        raise FileBusy(
            f"{file.filename}: data set {name!r} is being recorded to in this process; close that "
            "recording first"
        )
    snapshot = file.committed()
    try:
        column = snapshot.columns.get(f"{group}/{META}")
        if column is None:
            raise NoSuchDataset(f"{file.filename}: there is no data set {name!r}")
        check(Meta.parse(column.read(0, column.rows).tobytes(), file.filename).views)
        return ColumnBuffer(file, column.spec, column)
    finally:
        snapshot.close()

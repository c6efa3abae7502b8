# SPDX-License-Identifier: LGPL-3.0-or-later
"""Recordings of any format, opened for a while."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from gymbag.formats import read
from gymbag.steps import Source


@contextmanager
def open_source(path: str, name: str | None) -> Iterator[Source]:
    """Read a recording; a source that has to be closed is closed in the end."""
    source = read(path, name=name)
    try:
        yield source
    finally:
        getattr(source, "close", lambda: None)()

# SPDX-License-Identifier: LGPL-3.0-or-later
"""A bar for what is done chunk by chunk."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from gymbag.cli.output import progress
from gymbag.storage.verify import Progress


@contextmanager
def chunk_bar(text: str) -> Iterator[Progress]:
    """Show a bar; it moves as what this gives is told how many of how many chunks are done."""
    with progress() as bars:
        task = bars.add_task(text, total=None)
        yield lambda done, total: bars.update(task, completed=done, total=total)

# SPDX-License-Identifier: LGPL-3.0-or-later
"""What a format is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from gymbag.steps import Source


@dataclass(frozen=True, slots=True)
class Format:
    """A kind of file, and how it is read and written."""

    name: str
    suffixes: tuple[str, ...]
    """Endings of a new file's name that mean this format."""
    sniff: Callable[[Path], bool]
    """Returns whether an existing path is of this format; it only looks."""
    names: Callable[[Path], list[str]]
    """Returns the names of the data sets in a file."""
    read: Callable[[Path, str | None], Source]
    """Returns a data set; the name may be None if the file holds only one."""
    write: Callable[[Source, Path], list[str]] | None = None
    """Writes a data set, and returns what was lost or made up, a sentence each."""
    lacks: tuple[str, ...] = ()
    """What files of this format do not say, a sentence each."""
    many: bool = False
    """Whether a file can hold several data sets, and `write` adds one."""
    views: bool = False
    """Whether `write` keeps the questions that are saved in the source."""

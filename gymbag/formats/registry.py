# SPDX-License-Identifier: LGPL-3.0-or-later
"""The formats that are installed, and changing from one into another."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from gymbag.errors import FormatError, NoSuchFile
from gymbag.formats.format import Format
from gymbag.steps import Source

__all__ = ["Format", "convert", "find_format", "formats", "read", "write"]

GROUP = "gymbag.formats"


@cache
def formats() -> dict[str, Format]:
    """Return the formats by name, those of other packages included."""
    found: dict[str, Format] = {}
    for entry in entry_points(group=GROUP):
        try:
            found[entry.name] = entry.load()
        except Exception as error:  # another package's fault must not be ours
            warnings.warn(f"format {entry.name!r} cannot be loaded: {error!r}", stacklevel=2)
    return found


def find_format(path: str | os.PathLike[str], name: str | None = None) -> Format:
    """Return the format of a file: the one named, or that of its content, or of its ending.

    Raises:
        FormatError: there is no such format, or none fits.

    >>> find_format("new.npz").name
    'npz'
    """
    known = formats()
    if name is not None:
        if name not in known:
            raise FormatError(f"there is no format {name!r}; known are {', '.join(known)}")
        return known[name]
    path = Path(path)
    if path.exists():
        found = [format for format in known.values() if format.sniff(path)]
    else:
        found = [format for format in known.values() if path.suffix in format.suffixes]
    if not found:
        raise FormatError(f"{path}: of no known format; known are {', '.join(known)}")
    return found[0]


def read(
    path: str | os.PathLike[str], format: str | None = None, name: str | None = None
) -> Source:
    """Read a data set of any known format.

    Args:
        path: the file, or the directory.
        format: its format; guessed from its content if you give none.
        name: the data set in it; none is needed if it holds only one.

    Raises:
        NoSuchFile: there is nothing at `path`.
        FormatError: it is of no known format, or damaged.
    """
    if not Path(path).exists():
        raise NoSuchFile(f"{os.fspath(path)}: no such file")
    return find_format(path, format).read(Path(path), name)


def write(source: Source, path: str | os.PathLike[str], format: str | None = None) -> list[str]:
    """Write a data set in any known format, and return what was lost, a sentence each.

    Raises:
        FormatError: the format cannot be written, or the file exists and cannot be added to.
    """
    chosen = find_format(path, format)
    if chosen.write is None:
        writable = [f.name for f in formats().values() if f.write is not None]
        raise FormatError(f"{chosen.name} can only be read; write {' or '.join(writable)}")
    if Path(path).exists() and not chosen.many:
        raise FormatError(f"{os.fspath(path)}: exists already; remove it, or choose another name")
    return chosen.write(source, Path(path))


def convert(
    source: Any,
    target: str | os.PathLike[str],
    *,
    source_format: str | None = None,
    target_format: str | None = None,
    name: str | None = None,
) -> list[str]:
    """Copy a recording into another format.

    Args:
        source: a file or directory; or a store, a selection, or any other source.
        target: the file to write. One of gymbag's that exists is added to.
        source_format: guessed from the content if you give none.
        target_format: guessed from the ending if you give none.
        name: which data set, if the source holds several. Without it all are copied, where the
            target can hold them.

    Returns:
        What the target cannot hold or the source did not say, a sentence each.

    Raises:
        FormatError: one of the two is of no known format, or cannot be written.
    """
    if not isinstance(source, str | os.PathLike):
        return write(source, target, target_format)
    path = Path(source)
    if not path.exists():
        raise NoSuchFile(f"{path}: no such file")
    origin = find_format(path, source_format)
    lost = list(origin.lacks)
    for chosen in _chosen(origin, path, target, target_format, name):
        lost += write(origin.read(path, chosen), target, target_format)
    return list(dict.fromkeys(lost))


def _chosen(
    origin: Format, path: Path, target: Any, target_format: str | None, name: str | None
) -> Iterator[str]:
    names = origin.names(path) if name is None else [name]
    if len(names) > 1 and not find_format(target, target_format).many:
        raise FormatError(
            f"{path}: holds {', '.join(map(repr, names))}, and the target can hold only one; "
            "say which, as name="
        )
    return iter(names)

# SPDX-License-Identifier: LGPL-3.0-or-later
"""The formats that are installed, and changing from one into another."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Iterator
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from tempfile import TemporaryDirectory
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
    # Ours first: to recognise it takes no other process, as some of the others do.
    for entry in sorted(entry_points(group=GROUP), key=lambda entry: entry.name != "gymbag"):
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
        for format in known.values():
            if _recognises(format, path):
                return format
    for format in known.values():
        if path.suffix.lower() in format.suffixes:
            return format
    remedy = "" if path.exists() else "; say which, with --to or as target_format="
    raise FormatError(f"{path}: of no known format; known are {', '.join(known)}{remedy}")


def _recognises(format: Format, path: Path) -> bool:
    try:
        return format.sniff(path)
    except Exception as error:  # another package's fault must not be ours
        warnings.warn(f"format {format.name!r} fails on {path}: {error!r}", stacklevel=4)
        return False


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

    >>> read(filename)  # doctest: +ELLIPSIS
    <Store 'CartPole-v1' in ...: 2 episodes, 11 rows>
    """
    if not Path(path).exists():
        raise NoSuchFile(f"{os.fspath(path)}: no such file")
    return find_format(path, format).read(Path(path), name)


def write(
    source: Source,
    path: str | os.PathLike[str],
    format: str | None = None,
    *,
    strict: bool = False,
) -> list[str]:
    """Write a data set in any known format, and return what was lost, a sentence each.

    A new file appears under its name when it is complete.

    Args:
        source: what to write.
        path: where to.
        format: guessed from the ending if you give none.
        strict: whether to write nothing if anything would be lost.

    Raises:
        FormatError: the format cannot be written, or the file exists and cannot be added to; or
            something would be lost, and `strict` is set.
    """
    return _write_all([source], Path(path), _writable(Path(path), format), strict)


def convert(
    source: Any,
    target: str | os.PathLike[str],
    *,
    source_format: str | None = None,
    target_format: str | None = None,
    name: str | None = None,
    strict: bool = False,
) -> list[str]:
    """Copy a recording into another format.

    A new file appears under its name when it is complete.

    Args:
        source: a file or directory; or a store, a selection, or any other source.
        target: the file to write. One of gymbag's that exists is added to.
        source_format: guessed from the content if you give none.
        target_format: guessed from the ending if you give none.
        name: which data set, if the source holds several. Without it all are copied, where the
            target can hold them.
        strict: whether to write nothing if the target cannot hold all that the source has, or
            needs what the source does not know. What the source's format never said is not lost.

    Returns:
        What the target cannot hold or the source did not say, a sentence each.

    Raises:
        NoSuchFile: the source, or the folder of the target, does not exist.
        FormatError: one of the two is of no known format, or cannot be written; or something
            would be lost, and `strict` is set.

    >>> convert(filename, filename + ".npz")
    []
    """
    path = Path(target)
    if not isinstance(source, str | os.PathLike):
        return write(source, path, target_format, strict=strict)
    origin_path = Path(source)
    if not origin_path.exists():
        raise NoSuchFile(f"{origin_path}: no such file")
    if path.exists() and origin_path.samefile(path):
        raise FormatError(f"{origin_path}: source and target are the same; choose another target")
    origin, chosen = find_format(origin_path, source_format), _writable(path, target_format)
    names = origin.names(origin_path) if name is None else [name]
    if not names:
        raise FormatError(f"{origin_path}: holds no data set, so there is nothing to convert")
    if len(names) > 1 and not chosen.many:
        raise FormatError(
            f"{origin_path}: holds {', '.join(map(repr, names))}, and {chosen.name} can hold "
            "only one; say which, as name="
        )
    sources = _each(origin, origin_path, names)
    return list(dict.fromkeys([*origin.lacks, *_write_all(sources, path, chosen, strict)]))


def _each(origin: Format, path: Path, names: list[str]) -> Iterator[Source]:
    """Read data sets one after another; one that has to be closed is closed before the next."""
    for name in names:
        source = origin.read(path, name)
        try:
            yield source
        finally:
            getattr(source, "close", lambda: None)()


def _writable(path: Path, name: str | None) -> Format:
    """Return the format to write, if it can be written there."""
    chosen = find_format(path, name)
    if chosen.write is None:
        writable = [format.name for format in formats().values() if format.write is not None]
        raise FormatError(
            f"{path}: {chosen.name} can only be read; write {' or '.join(writable)}, and choose "
            "another name if the file exists"
        )
    if path.exists() and not chosen.many:
        raise FormatError(f"{path}: exists already; remove it, or choose another name")
    if not path.parent.is_dir():
        raise NoSuchFile(f"{path}: the folder {path.parent} does not exist; create it")
    return chosen


def _write_all(sources: Iterable[Source], path: Path, format: Format, strict: bool) -> list[str]:
    """Write data sets into a file; into a neighbour of it first, if it is new or all must fit."""
    if path.exists() and not strict:
        return _add_all(sources, path, format)
    with TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as folder:
        partial = Path(folder) / path.name
        try:
            lost = _add_all(sources, partial, format)
        except FormatError as error:
            raise FormatError(str(error).replace(str(partial), str(path))) from error
        if strict and lost:
            raise FormatError(f"{path}: not written, for {format.name} loses: {'; '.join(lost)}")
        if path.exists():
            _add_all(_each(format, partial, format.names(partial)), path, format)
        else:
            os.replace(partial, path)
    return lost


def _add_all(sources: Iterable[Source], path: Path, format: Format) -> list[str]:
    assert format.write is not None
    lost = []
    for source in sources:
        lost += format.write(source, path)
        if getattr(source, "views", None) and not format.views:
            lost.append("views: not kept by this format")
    return lost

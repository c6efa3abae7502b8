# SPDX-License-Identifier: LGPL-3.0-or-later
"""How results look: tables and bars on a terminal, plain text everywhere else."""

from __future__ import annotations

import json
import math
import os
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from numbers import Integral, Real
from typing import Any, TextIO

import numpy as np
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table
from rich.text import Text

from gymbag.errors import QueryError

GYMNASIUM_STYLE = re.compile(r"\x1b\[\d*m(WARN: )?")
"""What Gymnasium puts around its warnings."""

FEW = 6
"""The most entries of an array that a table writes out."""


def progress() -> Progress:
    """Return bars on standard error; nothing is shown if that is no terminal."""
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        disable=not sys.stderr.isatty(),
    )


def print_table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Print rows below a header, numbers to the right."""
    rows = [list(row) for row in rows]
    right = [
        all(_is_number(row[i]) for row in rows if row[i] is not None) for i in range(len(header))
    ]
    header = [printable(name) for name in header]
    cells = [[printable(format_cell(value)) for value in row] for row in rows]
    if sys.stdout.isatty():
        table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
        for name, to_right in zip(header, right, strict=True):
            table.add_column(Text(name), justify="right" if to_right else "left")
        for row in cells:
            table.add_row(*map(Text, row))
        Console(highlight=False).print(table)
        return
    widths = [max(map(len, column)) for column in zip(header, *cells, strict=True)]
    for row in [list(header), *cells]:
        padded = [
            cell.rjust(width) if to_right else cell.ljust(width)
            for cell, width, to_right in zip(row, widths, right, strict=True)
        ]
        print("  ".join(padded).rstrip())


def format_cell(value: Any) -> str:
    """Return a value as short text.

    >>> format_cell(0.1234567), format_cell(None), format_cell(np.zeros((210, 160), "u1"))
    ('0.123457', '', 'uint8[210, 160]')
    """
    if value is None:
        return ""
    if isinstance(value, np.ndarray) and value.size > FEW:
        return f"{value.dtype}{list(value.shape)}"
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {format_cell(item)}" for key, item in value.items())
    if isinstance(value, list | tuple) or (isinstance(value, np.ndarray) and value.ndim):
        return f"[{', '.join(map(format_cell, value))}]"
    if isinstance(value, Integral) or not isinstance(value, Real):
        return str(value)
    number = float(value)
    return f"{number:.6g}" if abs(number) < 1e6 else f"{number:.3f}"


def printable(text: str) -> str:
    r"""Return text of a file's as a terminal can be given it.

    >>> printable("a \x1b[2J b")
    'a \\x1b[2J b'
    """
    return "".join(
        sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text
    )


def format_bytes(count: float) -> str:
    """Return a number of bytes as people say it.

    >>> format_bytes(869_323), format_bytes(12)
    ('869 kB', '12 bytes')
    """
    if count < 1000:
        return f"{count:.0f} bytes"
    units = iter(("kB", "MB", "GB", "TB"))
    while count >= 999.5:
        count /= 1000
        unit = next(units)
    return f"{count:.{0 if count >= 100 else 1}f} {unit}"


def to_json(value: Any) -> str:
    """Return a value as one line of strict JSON.

    Arrays are lists. JSON has no word for NaN, which is null, nor for the infinities, which are
    text.

    >>> to_json({"reward": np.float64("nan"), "observation": np.array([1, 2])})
    '{"reward": null, "observation": [1, 2]}'
    """
    return json.dumps(_plain(value), allow_nan=False)


def explain(error: Exception) -> str:
    """Return what an error says, in one line; a question's keeps its caret."""
    if isinstance(error, QueryError):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        about = f"{os.fsdecode(error.filename)}: " if error.filename else ""
        return f"{about}{error.strerror}"
    return printable(" ".join(str(error).split())) or type(error).__name__


def show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Show a warning without the line of code that it came from, and without its colours."""
    text = " ".join(GYMNASIUM_STYLE.sub("", str(message)).split())
    print(f"gymbag: warning: {text}", file=file or sys.stderr)


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool | np.bool_)


def _plain(value: Any) -> Any:
    """Return a value made only of what JSON has."""
    if type(value) is np.ndarray and value.dtype.kind in "biuf" and np.isfinite(value).all():
        # An image has 100,000 numbers: too many to look at one by one.
        return value.tolist()
    if isinstance(value, np.ma.MaskedArray | np.ndarray | np.generic):
        return _plain(value.tolist())
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else str(value)
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return str(value)

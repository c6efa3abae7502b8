# SPDX-License-Identifier: LGPL-3.0-or-later
"""How a mistake in a query is shown: what is wrong, the line, and a caret."""

from __future__ import annotations

import unicodedata

from gymbag.errors import QueryError

MOST_SHOWN = 400
"""Characters of a message; a name of thousands is shown by its ends."""


def complaint(text: str, message: str, at: int | None = None) -> QueryError:
    """Return the error that shows `message`, the line it is about, and a caret below.

    >>> print(complaint("rewrad > 0", "there is no field 'rewrad'", 0))
    there is no field 'rewrad'
        rewrad > 0
        ^
    """
    if len(message) > MOST_SHOWN:
        half = MOST_SHOWN // 2
        message = f"{message[:half]}…{message[-half:]}"
    message = _printable(message)
    begin = text.rfind("\n", 0, at or 0) + 1
    line = text[begin:].split("\n", 1)[0]
    column = (at or 0) - begin
    if len(line) > 88:
        first = max(0, column - 40)
        line = "…" * (first > 0) + line[first : first + 86] + "…" * (first + 86 < len(line))
        column -= first - (first > 0)
    shown = _printable(line)
    if at is None:
        return QueryError(f"{message}\n    {shown}")
    width = sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1
        for c in shown[:column]
    )
    return QueryError(f"{message}\n    {shown}\n    {' ' * width}^")


def _printable(text: str) -> str:
    """Return a text without what a terminal would obey."""
    return "".join(c if c.isprintable() else " " if c == "\t" else "\ufffd" for c in text)

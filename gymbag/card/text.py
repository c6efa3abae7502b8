# SPDX-License-Identifier: LGPL-3.0-or-later
"""Values as text that is safe to put into HTML, wherever they come from. Pure."""

from __future__ import annotations

import html
import math
import unicodedata
from typing import Any

LONGEST = 600
"""Signs of one value that are shown, at most."""
HARMFUL = {"Cc", "Cs"}
"""Kinds of signs that are shown as one that says that something is there: control characters, and
halves of pairs, which no UTF-8 holds."""
TURNING = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
"""Likewise signs that turn the direction of what follows: a text could show as another."""


def escape(value: Any, most: int = LONGEST) -> str:
    """Return a value as text for HTML, in an element or in an attribute in quotes.

    >>> escape("<script>alert('1')</script>")
    '&lt;script&gt;alert(&#x27;1&#x27;)&lt;/script&gt;'
    >>> escape("x" * 10, most=4)
    'xxxx…'
    """
    text = str(value)
    cut = text[:most] + "…" * (len(text) > most)
    return html.escape("".join(map(_shown, cut)))


def _shown(sign: str) -> str:
    harmful = unicodedata.category(sign) in HARMFUL or unicodedata.bidirectional(sign) in TURNING
    return "\ufffd" if harmful and sign not in "\n\t" else sign


def number(value: float, digits: int = 4) -> str:
    """Return a number as people read it.

    >>> number(12345.678), number(0.5), number(1e20), number(-3), number(float("nan"))
    ('12,346', '0.5', '1e+20', '\u22123', 'NaN')
    """
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "∞" if value > 0 else "\u2212∞"
    size = abs(value)
    text = (
        f"{size:,.0f}" if 1000 <= size < 1e12 or size == int(size) < 1e12 else f"{size:,.{digits}g}"
    )
    return f"\u2212{text}" if value < 0 and text != "0" else text


def tick(value: float) -> str:
    """Return a round number as it stands at an axis, where room is short.

    >>> tick(2_500_000), tick(-20_000), tick(0.25), tick(4e12)
    ('2.5M', '\u221220k', '0.25', '4e+12')
    """
    size = abs(value)
    for unit, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if 10_000 <= size < 1e12 and size >= unit:
            return f"{number(value / unit, 3)}{letter}"
    return number(value)


def plural(count: int, word: str) -> str:
    """Return a count with its word.

    >>> plural(1, "step"), plural(2000, "step")
    ('1 step', '2,000 steps')
    """
    return f"{count:,} {word}{'s' * (count != 1)}"

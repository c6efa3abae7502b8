# SPDX-License-Identifier: LGPL-3.0-or-later
"""What a format has no place for, told once for each reason."""

from __future__ import annotations

from collections.abc import Iterator

MOST_NAMED = 10


class Losses:
    """What was not kept: a sentence for each reason, and a few of the places."""

    def __init__(self) -> None:
        self._places: dict[str, dict[str, None]] = {}

    def add(self, reason: str, *places: str) -> None:
        """Note that something was not kept."""
        self._places.setdefault(reason, {}).update(dict.fromkeys(places))

    def __iter__(self) -> Iterator[str]:
        for reason, places in self._places.items():
            shown = list(places)[:MOST_NAMED]
            more = len(places) - len(shown)
            where = ", ".join(shown) + f" and {more} more" * (more > 0)
            yield f"{reason}: {where}" if where else reason

# SPDX-License-Identifier: LGPL-3.0-or-later
"""What a format has no place for, told once for each reason."""

from __future__ import annotations

import math
from collections.abc import Iterator

from gymbag.steps import CUT_OFF, Episode, Source

MOST_NAMED = 10


class Losses:
    """What was not kept: a sentence for each reason, and a few of the places."""

    def __init__(self) -> None:
        self._places: dict[str, dict[str, None]] = {}

    def add(self, reason: str, *places: str) -> None:
        """Note that something was not kept."""
        self._places.setdefault(reason, {}).update(dict.fromkeys(places))

    def of_source(self, source: Source, *kept: str) -> None:
        """Note what a source says of itself, but for what is kept."""
        for name in ("name", "description", "metadata", "env_spec"):
            if name not in kept and getattr(source, name):
                self.add(f"{name}: not kept by this format")
        for name in ("observation_space", "action_space"):
            if name not in kept and getattr(source, name) is not None:
                self.add(f"{name}: not kept by this format")

    def of_episode(self, episode: Episode, *kept: str) -> None:
        """Note what an episode has beside its observations, actions, rewards and infos."""
        where = f"episode {episode.id}"
        for name in ("seed", "options"):
            if name not in kept and getattr(episode, name) is not None:
                self.add(f"{name}: not kept by this format", where)
        if "time" not in kept and any(map(math.isfinite, episode.times.tolist())):
            self.add("time: not kept by this format")
        if "ended" not in kept and episode.ended in CUT_OFF:
            self.add("ended: kept as truncated, and not that its user cut the episode off", where)

    def __iter__(self) -> Iterator[str]:
        for reason, places in self._places.items():
            shown = list(places)[:MOST_NAMED]
            more = len(places) - len(shown)
            where = ", ".join(shown) + f" and {more} more" * (more > 0)
            yield f"{reason}: {where}" if where else reason

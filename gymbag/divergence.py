# SPDX-License-Identifier: LGPL-3.0-or-later
"""What checking a recording against its environment found."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import groupby, islice
from typing import Any

MOST_LINES = 10
"""How many divergences are written out as text."""


@dataclass(frozen=True, slots=True)
class Divergence:
    """The first place in an episode at which the environment did not do what was recorded."""

    step: int
    """0 is the reset."""
    field: str
    """Its path, for example ``observation.camera[0]``."""
    recorded: str
    """What the recording has there, shortened."""
    got: str
    """What the environment returned, shortened."""
    error: float | None = None
    """The largest absolute difference of the numbers of that array; infinite where only one of
    two is NaN. None where there are no numbers to subtract."""

    def __str__(self) -> str:
        size = "" if self.error is None else f", off by {self.error:.6g}"
        return f"step {self.step}, {self.field}: recorded {self.recorded}, got {self.got}{size}"


@dataclass(frozen=True, slots=True)
class CheckedEpisode:
    """What was found of one episode; true if it was checked and all is equal."""

    episode: int
    """Its number in the recording."""
    seed: int | None
    """The seed of its reset; None if it had none."""
    rows: int = 0
    """How many rows are equal, from the reset's on."""
    divergence: Divergence | None = None
    not_checked: str = ""
    """Why it was not checked; empty if it was."""

    def __bool__(self) -> bool:
        """Return whether it was checked, and is equal."""
        return not self.not_checked and self.divergence is None

    def __str__(self) -> str:
        if self.not_checked:
            return f"episode {self.episode}: not checked: {self.not_checked}"
        return f"episode {self.episode}, {self.divergence}" if self.divergence else "equal"


@dataclass(frozen=True, slots=True)
class Resimulation:
    """What was found of all; true if any episode was checked, and all that were are equal."""

    episodes: tuple[CheckedEpisode, ...] = ()
    errors: Mapping[str, float] = field(default_factory=dict)
    """The largest difference that was tolerated, by the path of the number or array."""
    notes: tuple[str, ...] = ()
    """What may be the reason for a divergence."""

    @property
    def checked(self) -> tuple[CheckedEpisode, ...]:
        """The episodes that were checked."""
        return tuple(episode for episode in self.episodes if not episode.not_checked)

    @property
    def diverged(self) -> tuple[CheckedEpisode, ...]:
        """The episodes that are not as recorded."""
        return tuple(episode for episode in self.episodes if episode.divergence is not None)

    def __bool__(self) -> bool:
        """Return whether any episode was checked, and all that were are equal."""
        return len(self.checked) > 0 and not self.diverged

    def __str__(self) -> str:
        checked, diverged = self.checked, self.diverged
        rows = sum(episode.rows + bool(episode.divergence) for episode in checked)
        lines = [
            f"checked {len(checked):,} episodes, {rows:,} rows: "
            f"{len(checked) - len(diverged):,} equal, {len(diverged):,} diverged"
        ]
        lines += map(str, islice(diverged, MOST_LINES))
        if len(diverged) > MOST_LINES:
            lines.append(f"and {len(diverged) - MOST_LINES:,} more")
        lines += self._not_checked()
        lines += [f"largest difference of {path}: {e:g}" for path, e in self.errors.items()]
        return "\n".join([*lines, *self.notes])

    def _not_checked(self) -> Iterator[str]:
        """Say which were not checked, those that follow one another in one line."""
        for why, group in groupby(self.episodes, key=lambda episode: episode.not_checked):
            numbers = [episode.episode for episode in group]
            if why:
                many = len(numbers) > 1
                which = f"s {numbers[0]} to {numbers[-1]}" if many else f" {numbers[0]}"
                yield f"episode{which}: not checked: {why}"

    def to_json(self) -> dict[str, Any]:
        """Return it as plain JSON; an infinite error is the text ``inf``."""
        return {
            "equal": bool(self),
            "checked": len(self.checked),
            "diverged": len(self.diverged),
            "episodes": [_episode_json(episode) for episode in self.episodes],
            "errors": dict(self.errors),
            "notes": list(self.notes),
        }


def _episode_json(episode: CheckedEpisode) -> dict[str, Any]:
    found = episode.divergence
    divergence = None if found is None else {name: getattr(found, name) for name in found.__slots__}
    if divergence is not None and found is not None and found.error is not None:
        divergence["error"] = found.error if math.isfinite(found.error) else str(found.error)
    return {
        "episode": episode.episode,
        "seed": episode.seed,
        "rows": episode.rows,
        "equal": None if episode.not_checked else bool(episode),
        "not_checked": episode.not_checked or None,
        "divergence": divergence,
    }

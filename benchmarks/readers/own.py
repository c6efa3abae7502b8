# SPDX-License-Identifier: LGPL-3.0-or-later
"""gymbag itself."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

from numpy.typing import NDArray

import gymbag
from benchmarks.experience import SECONDS, Experience, space_of
from benchmarks.readers import Reader, Transitions

FILE = "recording.h5"


class Default(Reader):
    """A file of gymbag's, as it is recorded if nothing is said."""

    policy: ClassVar[str] = "default"

    def __init__(self, folder: Path) -> None:
        self._store = gymbag.open(folder / FILE)

    @classmethod
    def write(cls, data: Experience, folder: Path) -> None:
        """Record what happened, call by call."""
        spaces = space_of(data.observations), space_of(data.actions)
        recorder = gymbag.HDF5Recorder(
            folder / FILE, *spaces, compression=cls.policy, durability="close"
        )
        gymbag.record_from_iter(recorder, episodes(data))

    def close(self) -> None:
        """Close the file."""
        self._store.close()

    def count(self) -> int:
        """Return how many episodes there are."""
        return len(self._store.episodes)

    def episodes(self) -> Iterator[NDArray[Any]]:
        """Iterate as a user does."""
        return (episode.observations for episode in self._store.episodes)

    def episode(self, number: int) -> NDArray[Any]:
        """Return all observations of an episode."""
        found: NDArray[Any] = self._store.episodes[number].observations
        return found

    def sample(self, batch: int, seed: int) -> Transitions:
        """Draw from all transitions."""
        drawn = self._store.sample(batch, seed)
        return Transitions(
            drawn.observation, drawn.action, drawn.reward, drawn.terminated, drawn.next_observation
        )

    def rewarded(self) -> tuple[NDArray[Any], NDArray[Any]]:
        """Ask for the rows."""
        rows = self._store.where("reward > 0")
        return rows["observation"], rows["action"]

    def returns_above(self, limit: float) -> tuple[list[int], list[float]]:
        """Ask for the episodes."""
        best = list(self._store.where("episode_return > x", x=limit).episodes())
        return [episode.id for episode in best], [episode.episode_return for episode in best]


class Fast(Default):
    """A file of gymbag's that is made to be read fast."""

    policy = "fast"


def episodes(data: Experience) -> Iterator[Iterator[gymbag.Step]]:
    """Iterate over the episodes as a recorder takes them."""
    stop = 0
    for length in data.lengths.tolist():
        start, stop = stop, stop + length
        yield steps(data, slice(start, stop))


def steps(data: Experience, rows: slice) -> Iterator[gymbag.Step]:
    actions = data.actions[rows]
    plain = (column[rows].tolist() for column in (data.rewards, data.terminated, data.truncated))
    wide = data.observations[rows], actions if actions.ndim > 1 else actions.tolist()
    for at, fields in enumerate(zip(*wide, *plain, strict=True)):
        yield gymbag.Step(at * SECONDS, *fields, {})

# SPDX-License-Identifier: LGPL-3.0-or-later
"""The files of gym_recording: arrays on disk as they are, and JSON that says where.

They do not say why an episode ended, so that they hold no whole transitions.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.experience import Experience
from benchmarks.gym_recording import TraceWriter
from benchmarks.readers import Reader


class Traces(Reader):
    """All batches of one recording, with their files mapped into memory."""

    def __init__(self, folder: Path) -> None:
        (manifest,) = folder.glob("*.manifest.json")
        self._bytes: dict[str, NDArray[np.uint8]] = {}
        self._episodes: list[dict[str, Any]] = []
        for batch in json.loads(manifest.read_text())["batches"]:
            self._episodes += json.loads((folder / batch["fn"]).read_text())["episodes"]
            binary = Path(batch["fn"]).with_suffix(".bin").name
            self._bytes[binary] = np.asarray(np.memmap(folder / binary, np.uint8, "r"))

    @classmethod
    def write(cls, data: Experience, folder: Path) -> None:
        """Write the episodes, in batches as they come."""
        writer = TraceWriter(folder)
        stop = 0
        for length in data.lengths.tolist():
            start, stop = stop, stop + length
            writer.begin(data.observations[start])
            for row in range(start + 1, stop):
                writer.step(data.actions[row], data.observations[row], data.rewards[row])
        writer.close()

    def count(self) -> int:
        """Return how many episodes there are."""
        return len(self._episodes)

    def episode(self, number: int) -> NDArray[Any]:
        """Return all observations of an episode."""
        return self._array(self._episodes[number]["observations"])

    def rewarded(self) -> tuple[NDArray[Any], NDArray[Any]]:
        """Look at the rewards of each episode."""
        observations, actions = [], []
        for episode in self._episodes:
            steps = np.flatnonzero(self._array(episode["rewards"]) > 0)
            places = episode["observations"]
            observations += [self._array(places[step + 1]) for step in steps.tolist()]
            actions.append(self._array(episode["actions"])[steps])
        return np.array(observations), np.concatenate(actions)

    def returns_above(self, limit: float) -> tuple[list[int], list[float]]:
        """Add up the rewards of each episode."""
        returns = [float(self._array(episode["rewards"]).sum()) for episode in self._episodes]
        numbers = [number for number, total in enumerate(returns) if total > limit]
        return numbers, [returns[number] for number in numbers]

    def _array(self, place: Any) -> NDArray[Any]:
        """Return a copy of what is there: one array, or one for each image."""
        if isinstance(place, list):
            return np.array([self._mapped(image) for image in place])
        return self._mapped(place).copy()

    def _mapped(self, place: dict[str, Any]) -> NDArray[Any]:
        raw = self._bytes[place["npyfile"]][place["npyoff"] :][: place["size"]]
        return raw.view(place["dtype"]).reshape(place["shape"])

# SPDX-License-Identifier: LGPL-3.0-or-later
"""Minari, in both of its formats. It reads whole episodes; frames are kept without loss."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from minari import MinariDataset
from minari.data_collector import EpisodeBuffer
from minari.dataset.minari_storage import MinariStorage
from numpy.typing import NDArray

from benchmarks.experience import Experience, space_of
from benchmarks.readers import Places, Reader, Transitions, sampled

LENGTHS = "lengths.npy"


class Hdf5(Reader):
    """A group for each episode."""

    form: ClassVar[str] = "hdf5"

    def __init__(self, folder: Path) -> None:
        self._dataset = MinariDataset(folder / "data")
        self._places = Places(np.load(folder / LENGTHS))

    @classmethod
    def write(cls, data: Experience, folder: Path) -> None:
        """Write the episodes, and beside them the lengths, which all draw transitions by."""
        np.save(folder / LENGTHS, data.lengths)
        (folder / "data").mkdir()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            storage = MinariStorage.new(
                folder / "data",
                space_of(data.observations),
                space_of(data.actions),
                data_format=cls.form,
                jpeg_encoding=False,
            )
            storage.update_metadata(
                {"dataset_id": "benchmark/experience-v0", "minari_version": version("minari")}
            )
            storage.update_episodes(buffers(data))

    def count(self) -> int:
        """Return how many episodes there are."""
        return int(self._dataset.total_episodes)

    def episodes(self) -> Iterator[NDArray[Any]]:
        """Iterate as a user does."""
        return (episode.observations for episode in self._dataset.iterate_episodes())

    def episode(self, number: int) -> NDArray[Any]:
        """Return all observations of an episode."""
        found: NDArray[Any] = self._dataset[number].observations
        return found

    def sample(self, batch: int, seed: int) -> Transitions:
        """Read each episode out of which something was drawn."""

        def episode(number: int) -> tuple[Any, ...]:
            read = self._dataset[number]
            return read.observations, read.actions, read.rewards, read.terminations

        return sampled(episode, self._places.drawn(batch, seed))

    def rewarded(self) -> tuple[NDArray[Any], NDArray[Any]]:
        """Read everything."""
        observations, actions = [], []
        for episode in self._dataset.iterate_episodes():
            steps = np.flatnonzero(episode.rewards > 0)
            observations.append(episode.observations[steps + 1])
            actions.append(episode.actions[steps])
        return np.concatenate(observations), np.concatenate(actions)

    def returns_above(self, limit: float) -> tuple[list[int], list[float]]:
        """Read everything."""
        best = [
            (episode.id, float(episode.rewards.sum()))
            for episode in self._dataset.iterate_episodes()
            if episode.rewards.sum() > limit
        ]
        return [number for number, _ in best], [total for _, total in best]


class Arrow(Hdf5):
    """A folder for each episode."""

    form = "arrow"


def buffers(data: Experience) -> Iterator[EpisodeBuffer]:
    stop = 0
    for number, length in enumerate(data.lengths.tolist()):
        start, stop = stop, stop + length
        steps = slice(start + 1, stop)
        yield EpisodeBuffer(
            id=number,
            observations=data.observations[start:stop],
            actions=data.actions[steps],
            rewards=data.rewards[steps],
            terminations=data.terminated[steps],
            truncations=data.truncated[steps],
        )

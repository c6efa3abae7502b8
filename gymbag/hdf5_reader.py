# SPDX-License-Identifier: LGPL-3.0-or-later
"""A data set read as gymbag 0.4.9 did."""

from __future__ import annotations

import os
from collections.abc import Iterator

from gymbag.steps import Episode, SeedStep
from gymbag.store import Store


class HDF5Reader:
    """Reads a data set as gymbag 0.4.9 did: episodes of 6-tuples.

    Every `iter` is a cursor of its own; episodes may be skipped, kept and nested.

    >>> for episode in HDF5Reader(filename):
    ...     for time, observation, action, reward, done, info in episode:
    ...         assert observation.shape == (4,)
    """

    def __init__(self, filename: str | os.PathLike[str], name: str | None = None) -> None:
        self.store = Store(filename, name)
        self.name = self.store.name
        self.description = self.store.description
        self.nsteps = len(self.store)
        """Rows of all episodes, those of the resets included."""
        self.observation_space = self.store.observation_space
        self.action_space = self.store.action_space
        self.metadata = self.store.metadata
        self.env_spec = self.store.env_spec

    def iter_episodes(self) -> Iterator[Episode]:
        """Iterate over the episodes as `Episode` objects."""
        return self.store.iter_episodes()

    def __iter__(self) -> Iterator[SeedEpisode]:
        """Iterate over the episodes as iterables of 6-tuples."""
        return map(SeedEpisode, self.store.episodes)

    def __len__(self) -> int:
        """Return how many episodes there are."""
        return len(self.store.episodes)

    def close(self) -> None:
        """Give the file back."""
        self.store.close()

    def __enter__(self) -> HDF5Reader:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<HDF5Reader of {self.store!r}>"


class SeedEpisode:
    """An episode as rows of ``time, observation, action, reward, done, info``.

    The first row has the null action and a reward of NaN.
    """

    def __init__(self, episode: Episode) -> None:
        self.episode = episode

    def __iter__(self) -> Iterator[SeedStep]:
        """Iterate over the rows, the reset first."""
        for step in self.episode.steps():
            yield SeedStep(
                step.time, step.observation, step.action, step.reward, step.done, step.info
            )

# SPDX-License-Identifier: LGPL-3.0-or-later
"""What a card tells of a data set, read from it: the one module here that reads."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gymbag.images import find_image
from gymbag.storage.meta import Session
from gymbag.storage.sizes import ColumnSize
from gymbag.store import Store
from gymbag.summary import Summary, summarize

FRAMES = 6
WIDEST = 480
"""Pixels of a frame along its longer side, at most; larger ones are shown in part of their rows."""
EXTREMES = 5
"""How many of the best and of the worst episodes are named."""


@dataclass(frozen=True, slots=True)
class Frame:
    """An observation as an image."""

    episode: int
    step: int
    png: str
    """In base64."""
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Named:
    """An episode of the table of the best and the worst."""

    episode: int
    episode_return: float
    episode_length: int
    ended: str
    seed: int | None


@dataclass(frozen=True, slots=True)
class Facts:
    """All that a card tells; plain values."""

    filename: str
    name: str
    description: str
    metadata: Mapping[str, Any]
    env_spec: str | None
    observation_space: str
    action_space: str
    rows: int
    actions: int
    seeded: int
    """How many episodes have a seed."""
    summary: Summary
    best: tuple[Named, ...]
    worst: tuple[Named, ...]
    columns: tuple[ColumnSize, ...]
    sessions: tuple[Session, ...]
    frames: tuple[Frame, ...]

    @property
    def episodes(self) -> int:
        """How many episodes there are."""
        return len(self.summary.lengths)


def collect(store: Store) -> Facts:
    """Return what there is to tell of a data set."""
    summary = summarize(store)
    worst, best = extremes(summary.returns)
    return Facts(
        filename=store.filename,
        name=store.name,
        description=store.description,
        metadata=store.metadata,
        env_spec=store.env_spec,
        observation_space=str(store.observation_space),
        action_space=str(store.action_space),
        rows=len(store),
        actions=len(store) - len(summary.lengths),
        seeded=int(summary.seeded.sum()),
        summary=summary,
        best=tuple(_named(store, number) for number in best),
        worst=tuple(_named(store, number) for number in worst),
        columns=tuple(store.column_sizes()),
        sessions=store.sessions,
        frames=tuple(sample_frames(store, summary)),
    )


def extremes(returns: NDArray[np.float64], most: int = EXTREMES) -> tuple[list[int], list[int]]:
    """Return the numbers of the episodes with the lowest and with the highest returns.

    None is in both; NaN is in neither.

    >>> extremes(np.array([3.0, 1.0, np.nan, 2.0]), 2)
    ([1], [0, 3])
    """
    count = int(np.sum(~np.isnan(returns)))
    best = np.argsort(-returns, kind="stable")[: min(most, count)].tolist()
    worst = np.argsort(returns, kind="stable")[: min(most, count)].tolist()
    return [number for number in worst if number not in best], best


def _named(store: Store, number: int) -> Named:
    episode = store.episodes[number]
    return Named(
        number,
        episode.episode_return,
        episode.episode_length,
        episode.ended.value,
        episode.seed,
    )


def sample_frames(store: Store, summary: Summary, count: int = FRAMES) -> Iterator[Frame]:
    """Iterate over images from all over the recording; there are none without Pillow."""
    try:
        from PIL import Image
    except ImportError:
        return
    rows = len(store)
    ends = np.cumsum(summary.lengths + 1)
    for row in sorted({int((2 * i + 1) * rows / (2 * count)) for i in range(count if rows else 0)}):
        number = int(np.searchsorted(ends, row, side="right"))
        step = row - int(ends[number] - summary.lengths[number] - 1)
        question = store.where("episode == e and step == s", e=number, s=step)
        image = next((find_image(found.observation) for found in question.steps()), None)
        if image is None or not image.size:
            return
        # Every so-manieth pixel: all of a large one could take more memory than there is.
        stride = -(-max(image.shape) // WIDEST)
        image = np.ascontiguousarray(image[::stride, ::stride])
        file = io.BytesIO()
        Image.fromarray(image).save(file, format="PNG", optimize=True)
        png = base64.b64encode(file.getvalue()).decode("ascii")
        yield Frame(number, step, png, image.shape[1], image.shape[0])

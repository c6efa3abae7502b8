# SPDX-License-Identifier: LGPL-3.0-or-later
"""Transitions one after another, as the buffers of other libraries keep them.

A source becomes `Run` after `Run`, each a piece of one episode that takes bounded memory, and these
are put into the arrays of a buffer. Buffers are given back as episodes, made when they are asked
for, whose rows are views of the buffer's arrays.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from gymbag.errors import FormatError
from gymbag.formats.losses import Losses
from gymbag.formats.spaces import known_spaces
from gymbag.memory import MemorySource
from gymbag.schema import Batch, Schema
from gymbag.steps import Episode, Source, Step

RUN_BYTES = 16 << 20
"""About as many bytes of observations are in memory beside the buffer."""
MOST_ROWS = 4096
MOST_CHANNELS = 4


class Run(NamedTuple):
    """Transitions of one episode that follow one another, as arrays with one entry each."""

    episode: int
    """How many episodes came before."""
    start: int
    """How many transitions of the episode came before."""
    observation: Batch
    action: Batch
    reward: NDArray[np.float64]
    terminated: NDArray[np.bool_]
    truncated: NDArray[np.bool_]
    """Also True where the episode just stops, at its last transition."""
    next_observation: Batch
    """Shares the memory of `observation`."""

    def __len__(self) -> int:
        """Return how many transitions there are."""
        return len(self.reward)


class Flat:
    """A source as runs of transitions; its spaces are known, or made up like the first episode.

    Raises:
        FormatError: it is no source, or a space is neither known nor to be made up.
    """

    def __init__(self, source: Source) -> None:
        if not hasattr(source, "iter_episodes"):
            raise FormatError(
                f"{source!r:.200} is no recording; open a file with gymbag.open, or put episodes "
                "into a gymbag.MemorySource"
            )
        self.source = source
        unknown = source.observation_space is None or source.action_space is None
        first = next(source.iter_episodes(), None) if unknown else None
        self.observation_space, self.action_space, self.made_up = known_spaces(source, first)
        self.schema = Schema.from_spaces(self.observation_space, self.action_space)

    def __len__(self) -> int:
        """Return how many transitions there are; this looks at every episode."""
        return sum(episode.episode_length for episode in self.source.iter_episodes())

    def __iter__(self) -> Iterator[Run]:
        """Iterate over the runs."""
        rows_at_once = max(1, min(MOST_ROWS, RUN_BYTES // max(1, self.schema.row_nbytes)))
        for number, episode in enumerate(self.source.iter_episodes()):
            steps, n, start = episode.steps(), episode.episode_length, 0
            before = next(steps)
            while some := list(islice(steps, rows_at_once)):
                yield self._run(number, start, before, some, start + len(some) == n)
                start, before = start + len(some), some[-1]

    def _run(self, number: int, start: int, before: Step, some: list[Step], last: bool) -> Run:
        seen = self.schema.observation.batch([before.observation, *(s.observation for s in some)])
        terminated = np.array([step.terminated for step in some], np.bool_)
        truncated = np.array([step.truncated for step in some], np.bool_)
        truncated[-1] |= last and not terminated[-1]
        return Run(
            number,
            start,
            at(seen, slice(None, -1)),
            self.schema.action.batch([step.action for step in some]),
            np.array([step.reward for step in some], np.float64),
            terminated,
            truncated,
            at(seen, slice(1, None)),
        )


class FlatSource(MemorySource):
    """Episodes that are made anew whenever they are iterated over."""

    def __init__(self, make: Callable[[], Iterable[Episode]], **about: Any) -> None:
        super().__init__(**about)
        self._make = make

    def iter_episodes(self) -> Iterator[Episode]:
        """Iterate over the episodes."""
        return iter(self._make())

    def __repr__(self) -> str:
        return f"<FlatSource {self.name!r}>"


def at(batch: Batch, index: Any) -> Any:
    """Return what is at a place or a slice along the first axis; arrays give views.

    >>> at({"x": np.arange(6).reshape(3, 2), "n": np.arange(3)}, 1)
    {'x': array([2, 3]), 'n': np.int64(1)}
    """
    return over_arrays(lambda array: array[index], batch)


def over_arrays(change: Callable[..., Any], batch: Batch, *others: Batch) -> Any:
    """Return a batch of which each array is changed; dicts and tuples of arrays stay."""
    if isinstance(batch, dict):
        return {
            key: over_arrays(change, part, *(other[key] for other in others))
            for key, part in batch.items()
        }
    if isinstance(batch, tuple):
        return tuple(
            over_arrays(change, part, *(other[i] for other in others))
            for i, part in enumerate(batch)
        )
    return change(batch, *others)


def require_arrays(space: spaces.Space[Any], name: str, library: str, *containers: type) -> None:
    """Check that values of a space are arrays, or such dicts and tuples of arrays.

    Raises:
        FormatError: they are something else.
    """
    inner = list(space.spaces.values()) if isinstance(space, spaces.Dict) else []
    inner = list(space.spaces) if isinstance(space, spaces.Tuple) else inner
    plain = spaces.Box | spaces.Discrete | spaces.MultiDiscrete | spaces.MultiBinary
    if not isinstance(space, (*containers, plain)):
        raise FormatError(
            f"{name}: {library} has no place for {space}; expected Box, Discrete, MultiDiscrete"
            f" or MultiBinary{''.join(f', or {kind.__name__} of these' for kind in containers)}"
        )
    for below in inner:
        require_arrays(below, name, library)


def require_kind(value: Any, kind: type, expected: str) -> None:
    """Check that something is what an adapter reads.

    Raises:
        FormatError: it is something else.
    """
    if not isinstance(value, kind):
        raise FormatError(f"found {type(value).__name__}; expected {expected}")


def refuse(lost: Iterable[str], library: str) -> None:
    """Refuse to lose anything.

    Raises:
        FormatError: there is something that would be lost.
    """
    if sentences := list(lost):
        raise FormatError(f"{library} would not keep all: {'; '.join(sentences)}")


def usual_losses(source: Source, *kept: str) -> Losses:
    """Return what buffers have no place for, beside the infos that they drop.

    Args:
        source: its episodes are looked through.
        kept: which are kept all the same: "info", "reward" in 64 bits, or what `Losses` knows.
    """
    lost = Losses()
    for sentence in Flat(source).made_up:
        lost.add(sentence)
    lost.of_source(source, "observation_space", "action_space", *kept)
    for episode in source.iter_episodes():
        where = f"episode {episode.id}"
        lost.of_episode(episode, *kept)
        if "info" not in kept and any(episode.infos):
            lost.add("info: not kept by this format")
        with np.errstate(over="ignore"):
            narrow = episode.rewards.astype(np.float32)
        if "reward" not in kept and not np.array_equal(narrow, episode.rewards, equal_nan=True):
            lost.add("reward: rounded to 32 bits", where)
        if (episode.terminations & episode.truncations).any():
            lost.add("truncated: not kept beside terminated", where)
        if not (episode.terminations[-1:].any() or episode.truncations[-1:].any()):
            lost.add("ended: not known, and kept as truncated", where)
    return lost


def is_image(shape: tuple[int, ...], dtype: Any) -> bool:
    """Return whether values are images with their channels last, as Gymnasium's mostly are.

    >>> is_image((210, 160, 3), np.uint8), is_image((4, 84, 84), np.uint8)
    (True, False)
    """
    small = [size <= MOST_CHANNELS for size in shape]
    return dtype == np.uint8 and small == [False, False, True]


def channels_first(array: NDArray[Any]) -> NDArray[Any]:
    """Return images (N, height, width, channel) as (N, channel, height, width); others as is."""
    return np.moveaxis(array, -1, 1) if is_image(array.shape[1:], array.dtype) else array

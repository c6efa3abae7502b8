# SPDX-License-Identifier: LGPL-3.0-or-later
"""Episodes in memory, and the recorder that puts them there."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gymbag.errors import EpisodeError
from gymbag.recorder import Recorder
from gymbag.schema import null_sample
from gymbag.steps import CUT_OFF, Ended, Episode, Step, end_of


class MemoryEpisode(Episode):
    """An episode held in memory as a list of rows.

    >>> rows = [
    ...     Step(0.0, 5, 0, math.nan, False, False, {}),
    ...     Step(1.0, 6, 1, 2.5, True, False, {}),
    ... ]
    >>> MemoryEpisode(0, rows)
    MemoryEpisode(id=0, episode_length=1, episode_return=2.5, ended='terminated', seed=None)
    """

    def __init__(
        self,
        id: int,
        rows: Sequence[Step],
        *,
        seed: int | None = None,
        options: dict[str, Any] | None = None,
        ended: Ended | None = None,
    ) -> None:
        if not rows:
            raise ValueError(f"episode {id} has no row; the reset is the least")
        self.id = id
        self.rows = rows
        self.seed = seed
        self.options = options
        self.ended = end_of(rows[-1]) if ended is None else ended

    def steps(self) -> Iterator[Step]:
        """Iterate over the n + 1 rows, the reset first."""
        return iter(self.rows)

    @property
    def episode_length(self) -> int:
        """n, the number of actions."""
        return len(self.rows) - 1

    @cached_property
    def observations(self) -> Any:
        """The n + 1 observations, stacked where arrays can hold them."""
        return stack([row.observation for row in self.rows])

    @cached_property
    def actions(self) -> Any:
        """The n actions, stacked where arrays can hold them."""
        return stack([row.action for row in self.rows[1:]])

    @cached_property
    def rewards(self) -> NDArray[np.float64]:
        """The n rewards, float64."""
        return np.array([row.reward for row in self.rows[1:]], dtype=np.float64)

    @cached_property
    def terminations(self) -> NDArray[np.bool_]:
        """The n flags; only the last can be True."""
        return np.array([row.terminated for row in self.rows[1:]], dtype=np.bool_)

    @cached_property
    def truncations(self) -> NDArray[np.bool_]:
        """The n flags; only the last can be True."""
        return np.array([row.truncated for row in self.rows[1:]], dtype=np.bool_)

    @property
    def infos(self) -> list[dict[Any, Any]]:
        """The n + 1 info dicts, the reset's first."""
        return [row.info for row in self.rows]

    @cached_property
    def times(self) -> NDArray[np.float64]:
        """The n + 1 Unix times in seconds, float64."""
        return np.array([row.time for row in self.rows], dtype=np.float64)


class MemorySource:
    """Episodes in memory, with what a data set says of itself.

    >>> MemorySource([MemoryEpisode(0, [Step(0.0, 1, 0, math.nan, False, False, {})])])
    <MemorySource '', 1 episodes>
    """

    def __init__(
        self,
        episodes: Iterable[Episode] = (),
        *,
        observation_space: Any = None,
        action_space: Any = None,
        name: str = "",
        description: str = "",
        metadata: dict[str, Any] | None = None,
        env_spec: str | None = None,
    ) -> None:
        self.episodes = list(episodes)
        self.observation_space = observation_space
        self.action_space = action_space
        self.name = name
        self.description = description
        self.metadata = dict(metadata or {})
        self.env_spec = env_spec

    def iter_episodes(self) -> Iterator[Episode]:
        """Iterate over the episodes."""
        return iter(self.episodes)

    def __repr__(self) -> str:
        return f"<MemorySource {self.name!r}, {len(self.episodes)} episodes>"


class ListRecorder(Recorder):
    """Records into memory.

    >>> recorder = ListRecorder()
    >>> recorder.on_reset(0.0, 4, {})
    >>> recorder.on_step(0.1, 5, 1, 2.5, True, False, {})
    >>> recorder.data[0][1].reward
    2.5
    """

    def __init__(self, observation_space: Any = None, action_space: Any = None) -> None:
        self.observation_space = observation_space
        self.action_space = action_space
        self.name, self.description, self.env_spec = "", "", None
        self.metadata: dict[str, Any] = {}
        self._episodes: list[_Recorded] = []

    @property
    def data(self) -> list[list[Step]]:
        """The episodes as lists of `Step`, the reset first; a reset alone is none."""
        return [recorded.rows for recorded in self._finished()]

    def iter_episodes(self) -> Iterator[Episode]:
        """Iterate over the episodes."""
        for number, recorded in enumerate(self._finished()):
            yield MemoryEpisode(
                number,
                recorded.rows,
                seed=recorded.seed,
                options=recorded.options,
                ended=recorded.ended,
            )

    def _finished(self) -> list[_Recorded]:
        return [recorded for recorded in self._episodes if len(recorded.rows) > 1]

    def on_reset(
        self,
        time: float,
        observation: Any,
        info: Mapping[Any, Any],
        *,
        seed: int | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        """Begin an episode."""
        self.on_end(Ended.RESET)
        action = None if self.action_space is None else null_sample(self.action_space)
        row = Step(time, observation, action, math.nan, False, False, dict(info))
        self._episodes.append(_Recorded([copy.deepcopy(row)], seed, copy.deepcopy(options)))

    def on_step(
        self,
        time: float,
        observation: Any,
        action: Any,
        reward: float,
        terminated: bool,
        truncated: bool,
        info: Mapping[Any, Any],
    ) -> None:
        """Take a step.

        Raises:
            EpisodeError: no episode has begun.
        """
        if not self._episodes:
            raise EpisodeError("step: no episode is running; call reset first")
        step = Step(time, observation, action, reward, terminated, truncated, dict(info))
        self._episodes[-1].rows.append(copy.deepcopy(step))

    def on_end(self, ended: Ended) -> None:
        """End the episode that runs, if one does."""
        if self._episodes and self._episodes[-1].ended is None:
            last = self._episodes[-1]
            final = last.rows[-1]
            if final.done:
                last.ended = end_of(final)
                return
            last.ended = ended
            if ended in CUT_OFF:
                last.rows[-1] = final._replace(truncated=True)

    def on_close(self) -> None:
        """Finish; the episodes stay readable."""
        self.on_end(Ended.CLOSED)


class _Recorded:
    """An episode while it is recorded into memory."""

    def __init__(
        self, rows: list[Step], seed: int | None, options: Mapping[str, Any] | None
    ) -> None:
        self.rows = rows
        self.seed = seed
        self.options = None if options is None else dict(options)
        self.ended: Ended | None = None


def stack(values: Sequence[Any]) -> Any:
    """Put values of one space into one batch: arrays, dicts and tuples of arrays, else a tuple.

    >>> stack([{"a": np.int64(1)}, {"a": np.int64(2)}])
    {'a': array([1, 2])}
    >>> stack(["x", "y"])
    ('x', 'y')
    """
    if not values:
        return np.empty(0)
    first = values[0]
    kind = type(first)
    if any(type(value) is not kind for value in values):
        return tuple(values)
    if isinstance(first, np.ndarray):
        alike = all(v.shape == first.shape and v.dtype == first.dtype for v in values)
        return np.stack(values) if alike else tuple(values)
    if isinstance(first, np.generic | bool | int | float):
        return np.array(values)
    if isinstance(first, dict) and all(v.keys() == first.keys() for v in values):
        return {key: stack([value[key] for value in values]) for key in first}
    return tuple(values)

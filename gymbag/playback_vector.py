# SPDX-License-Identifier: LGPL-3.0-or-later
"""Plays episodes back side by side, as a vector of environments."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from functools import partial
from itertools import islice
from typing import Any, Literal

import gymnasium
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from gymbag.playback import PlaybackEnv
from gymbag.store import open as open_store


class PlaybackVectorEnv(SyncVectorEnv):
    """A vector of environments that plays recorded episodes, whatever its agents do.

    Lane i of n plays episodes i, i + n, i + 2n and so on, and then starts over; `played_out` says
    when each was played once. All else is as in Gymnasium's `SyncVectorEnv` and `PlaybackEnv`. Each
    lane reads for itself, and only the rows that it gives.
    ``gymnasium.make_vec("gymbag/Playback-v0", num_envs=4, path=...)`` makes such a vector, too.

    Args:
        source: a Store, a Selection, or any source; or a list of episodes.
        num_envs: how many lanes.
        path: the file to play, instead of a source.
        name: the data set in that file; none is needed if it holds only one.
        segments: play the segments of a Selection, instead of its whole episodes.
        autoreset_mode: what happens where an episode ends; see `gymnasium.vector.AutoresetMode`.
        render_mode: as for `PlaybackEnv`.
        **more: what else a `PlaybackEnv` takes.

    Raises:
        ValueError: an argument makes no sense, or there are fewer episodes than lanes.
        FileError: the file cannot be read.

    >>> envs = PlaybackVectorEnv(store, 2)
    >>> observations, infos = envs.reset()
    >>> observations, rewards, *_ = envs.step(envs.action_space.sample())
    >>> observations.shape, rewards
    ((2, 4), array([1., 1.]))
    """

    def __init__(
        self,
        source: Any = None,
        num_envs: int = 1,
        *,
        path: str | os.PathLike[str] | None = None,
        name: str | None = None,
        segments: bool = False,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        render_mode: Literal["rgb_array", "ansi"] | None = None,
        **more: Any,
    ) -> None:
        if (source is None) == (path is None):
            raise ValueError("source, path: pass one of them")
        if num_envs < 1:
            raise ValueError(f"num_envs: found {num_envs!r}; expected at least 1")
        if "api" in more:
            raise ValueError("api: a vector has only Gymnasium's")
        self._own = None if path is None else open_store(path, name)
        played: Any = source if self._own is None else self._own
        if segments and not hasattr(played, "segments"):
            raise ValueError(f"segments: a {type(played).__name__} has none; pass a Selection")
        if not hasattr(played, "iter_episodes") and iter(played) is played:
            raise ValueError(
                f"source: a {type(played).__name__} can be read only once; pass a list"
            )
        try:
            super().__init__(
                [
                    partial(
                        _Lane,
                        _Share(played, lane, num_envs),
                        segments=segments,
                        render_mode=render_mode,
                        **more,
                    )
                    for lane in range(num_envs)
                ],
                autoreset_mode=autoreset_mode,
            )
        except BaseException:
            self._close_own()
            raise

    @property
    def played_out(self) -> bool:
        """Whether every episode has been played to its end at least once."""
        return all(lane.finished for lane in self.envs)  # type: ignore[attr-defined]

    def close_extras(self, **kwargs: Any) -> None:
        """Close the file that `path` named; a source stays open, as it is yours."""
        super().close_extras(**kwargs)
        self._close_own()

    def _close_own(self) -> None:
        if self._own is not None:
            self._own.close()


class _Lane(PlaybackEnv):
    """Plays its share again and again."""

    finished = False

    def __init__(self, share: _Share, **more: Any) -> None:
        super().__init__(share, **more)
        if self.played_out:
            raise ValueError(
                f"num_envs: found {share.lanes}, but there is no episode with a step for lane "
                f"{share.lane}; expected at most as many lanes as episodes"
            )

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[Any, Any]]:
        """Begin the next episode; after the last, the first."""
        over = self._upcoming is None and seed is None
        return super().reset(seed=0 if over else seed, options=options)

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[Any, Any]]:
        """Return the next row, whatever the action."""
        result = super().step(action)
        self.finished = self.finished or self.played_out
        return result


class _Share:
    """Each n-th episode of a source, or each n-th of its segments."""

    def __init__(self, source: Any, lane: int, lanes: int) -> None:
        self._source, self.lane, self.lanes = source, lane, lanes

    def iter_episodes(self) -> Iterator[Any]:
        """Iterate over the episodes."""
        source: Any = self._source
        return self._mine(source.iter_episodes() if hasattr(source, "iter_episodes") else source)

    def segments(self) -> Iterator[Any]:
        """Iterate over the segments."""
        return self._mine(self._source.segments())

    def _mine(self, all_of_them: Iterable[Any]) -> Iterator[Any]:
        return islice(all_of_them, self.lane, None, self.lanes)

    @property
    def observation_space(self) -> gymnasium.Space[Any] | None:
        """The source's."""
        return getattr(self._source, "observation_space", None)

    @property
    def action_space(self) -> gymnasium.Space[Any] | None:
        """The source's."""
        return getattr(self._source, "action_space", None)

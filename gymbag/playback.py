# SPDX-License-Identifier: LGPL-3.0-or-later
"""Plays episodes back: as an environment that ignores its agent, and as the agent."""

from __future__ import annotations

import copy
import itertools
import os
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any, Literal

import gymnasium
import numpy as np

from gymbag.errors import EpisodeError
from gymbag.generate import get_actions
from gymbag.images import find_image
from gymbag.steps import Step, as_step, iter_rows
from gymbag.store import open as open_store

ID = "gymbag/Playback-v0"

_END = object()
"""Says that there is no further action; an action may be anything, None included."""


class PlaybackEnv(gymnasium.Env[Any, Any]):
    """An environment that plays recorded episodes, whatever its agent does.

    `reset` goes on to the next episode, also in mid-episode; with a seed, whichever, it starts
    over at the first. `step` gives the rows as they were recorded, except that the last of an
    episode is truncated if nothing says why it is the last. What it gives is the caller's own.
    An episode without any step is passed over. ``gymnasium.make("gymbag/Playback-v0", path=...)``
    makes such an environment, too.

    Args:
        source: a Store, a Selection, or any source; or an iterable of episodes, each of them an
            `Episode` or an iterable of `Step`, of its 7 fields, or of gymbag 0.4.9's 6.
        observation_space: instead of the source's. If the source knows none either, it is
            inferred from the first observation: a Box without bounds.
        action_space: likewise, from the first action.
        path: the file to play, instead of a source.
        name: the data set in that file; none is needed if it holds only one.
        segments: play the segments of a Selection, instead of its whole episodes. The first
            row of each stands for the reset.
        strict: raise an error where the agent's action is not the recorded one.
        api: "gym" for the loop of gymbag 0.4.9: `reset` returns the observation, `step` four
            values, and a space that nobody knows is None.
        render_mode: "rgb_array": `render` returns the observation as an image, or the first
            image in it, uint8, shape (H, W, 3); None if there is none. "ansi": a line of text.

    Raises:
        ValueError: an argument makes no sense, or a space cannot be inferred.
        FileError: the file cannot be read.

    >>> from gymbag.generate import generate_monotonic
    >>> env = PlaybackEnv(generate_monotonic(episodes=2))
    >>> while not env.played_out:
    ...     observation, info = env.reset()
    ...     done = False
    ...     while not done:
    ...         action = env.action_space.sample()
    ...         observation, reward, terminated, truncated, info = env.step(action)
    ...         done = terminated or truncated
    ...     print(observation, reward)
    [0. 1.] 10.0
    [1. 2.] 20.0
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array", "ansi"], "render_fps": 30}  # noqa: RUF012

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:  # noqa: D102
        env = super().__new__(cls)
        if kwargs.get("api") != "gym":
            return env
        cls.__init__(env, *args, **kwargs)
        return _GymLoop(env)

    def __init__(
        self,
        source: Any = None,
        observation_space: gymnasium.Space[Any] | None = None,
        action_space: gymnasium.Space[Any] | None = None,
        *,
        path: str | os.PathLike[str] | None = None,
        name: str | None = None,
        segments: bool = False,
        strict: bool = False,
        api: Literal["gymnasium", "gym"] = "gymnasium",
        render_mode: Literal["rgb_array", "ansi"] | None = None,
    ) -> None:
        if (source is None) == (path is None):
            raise ValueError("source, path: pass one of them")
        if api not in ("gymnasium", "gym"):
            raise ValueError(f"api: found {api!r}; expected 'gymnasium' or 'gym'")
        if render_mode not in (None, *self.metadata["render_modes"]):
            raise ValueError(f"render_mode: found {render_mode!r}; expected 'rgb_array' or 'ansi'")
        self.strict = strict
        self.render_mode = render_mode
        self.episode = -1
        """Number of the episode, from 0; -1 before the first."""
        self.step_num = 0
        """How many steps of it were taken."""
        self._own = None if path is None else open_store(path, name)
        self._source = source if self._own is None else self._own
        self._segments = segments
        # Episodes of a plain iterable may all come out of one stream: each is read to its end.
        self._skippable = segments or hasattr(self._source, "iter_episodes")
        self._row: Step | None = None
        self._ahead: Step | None = None
        self._rows: Iterator[Step] = iter(())
        try:
            self._episodes = _episodes(self._source, segments)
            self._upcoming = self._find_next()
            infer = api == "gymnasium"
            self.observation_space = self._space("observation_space", observation_space, infer)
            self.action_space = self._space("action_space", action_space, infer)
        except BaseException:
            self.close()
            raise

    @property
    def played_out(self) -> bool:
        """Whether the last step of the last episode was given."""
        return self._ahead is None and self._upcoming is None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[Any, Any]]:
        """Begin the next episode, or with a seed the first; return its observation and info.

        Args:
            seed: any seed starts over; before the first episode there is nothing to start over.
            options: nothing depends on them.

        Raises:
            EpisodeError: there is no further episode, or a source that can be read only once
                would have to start over.
        """
        super().reset(seed=seed, options=options)
        if seed is not None and self.episode >= 0:
            self._start_over()
        elif self._ahead is not None:
            self._ahead = None
            self._upcoming = self._find_next()
        if self._upcoming is None:
            raise EpisodeError("reset: the source is played out; reset(seed=...) starts over")
        self._row, self._ahead, self._rows = self._upcoming
        self._upcoming = None
        self.episode += 1
        self.step_num = 0
        return copy.deepcopy((self._row.observation, self._row.info))

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[Any, Any]]:
        """Return the next row, whatever the action.

        Raises:
            EpisodeError: no episode is running; or, if `strict`, the action is not the recorded
                one, and the environment stays where it is.
        """
        row = self._ahead
        if row is None:
            advice = "the source is played out" if self.played_out else "call reset first"
            raise EpisodeError(f"step: no episode is running; {advice}")
        if self.strict and not _same(action, row.action):
            raise EpisodeError(
                f"episode {self.episode}, step {self.step_num + 1}: the agent's action "
                f"{action!r:.200} is not the recorded {row.action!r:.200}"
            )
        self._row = row
        self.step_num += 1
        self._ahead = None if row.done else next(self._rows, None)
        last = self._ahead is None
        if last:
            self._upcoming = self._find_next()
        observation, info = copy.deepcopy((row.observation, row.info))
        truncated = bool(row.truncated) or (last and not row.terminated)
        return observation, row.reward, bool(row.terminated), truncated, info

    def render(self) -> Any:
        """Return the present row as `render_mode` says; None without a mode."""
        row = self._row
        if self.render_mode == "ansi":
            about = "" if row is None else f" reward {row.reward} action {row.action}"
            return f"EP {self.episode} STEP {self.step_num}{about}"
        if self.render_mode == "rgb_array" and row is not None:
            return find_image(row.observation)
        return None

    def close(self) -> None:
        """Close the file that `path` named; a source stays open, as it is yours."""
        super().close()
        if self._own is not None:
            self._own.close()

    def _find_next(self) -> tuple[Step, Step, Iterator[Step]] | None:
        """Return two rows, and the rest, of the next episode that has a step; or None."""
        if not self._skippable:
            deque(self._rows, maxlen=0)
        for rows in self._episodes:
            head = tuple(itertools.islice(rows, 2))
            if len(head) == 2:
                return (*head, rows)
        return None

    def _start_over(self) -> None:
        source: Any = self._source
        if not self._skippable and iter(source) is source:
            raise EpisodeError(
                "reset: a seed starts over at the first episode, but the source can be read "
                f"only once; pass a list instead of a {type(source).__name__}, or no seed"
            )
        self._episodes = _episodes(source, self._segments)
        self._ahead = None
        self._upcoming = self._find_next()
        self.episode = -1

    def _space(self, name: str, given: Any, infer: bool) -> Any:
        """Return the space given, else the source's, else one inferred from the first step."""
        space = getattr(self._source, name, None) if given is None else given
        if space is not None or not infer:
            return space
        if self._upcoming is None:
            raise ValueError(f"{name}: the source neither knows it nor has a step; pass {name}=")
        first, second, _ = self._upcoming
        return _infer_box(first.observation if name == "observation_space" else second.action, name)


class _GymLoop:
    """The loop of gymbag 0.4.9 around a `PlaybackEnv`, which gives all else."""

    def __init__(self, env: PlaybackEnv) -> None:
        self.env = env

    def reset(self) -> Any:
        """Begin the next episode, and return its observation."""
        return self.env.reset()[0]

    def step(self, action: Any) -> tuple[Any, float, bool, dict[Any, Any]]:
        """Return the next row's observation, reward, done, and info."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        return observation, reward, terminated or truncated, info

    def __getattr__(self, name: str) -> Any:
        # A copy asks for such names before it has an `env` to look in.
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.env, name)


class PlaybackAgent:
    """An agent that plays the recorded actions of any source, whatever it observes.

    >>> agent = PlaybackAgent([[(0, 7, 0, None, False, None), (1, 8, 1, 3.0, True, None)]])
    >>> while agent.next_episode():
    ...     while not agent.done:
    ...         print(agent.act())
    1
    """

    def __init__(self, source: Any) -> None:
        self._episodes = get_actions(source)
        self._actions: Iterator[Any] = iter(())
        self._next: Any = _END

    def next_episode(self) -> bool:
        """Go on to the next episode that has an action; return whether there is one."""
        self._next = _END
        deque(self._actions, maxlen=0)
        for actions in self._episodes:
            self._actions, self._next = actions, next(actions, _END)
            if not self.done:
                break
        return not self.done

    def act(self, observation: Any = None) -> Any:
        """Return the next action; raise an `EpisodeError` if the episode has no further one."""
        if self.done:
            raise EpisodeError("act: the episode has no further action; call next_episode")
        action, self._next = self._next, next(self._actions, _END)
        return action

    @property
    def done(self) -> bool:
        """Whether the episode has no further action; True also before the first."""
        return self._next is _END


def _infer_box(value: Any, name: str) -> gymnasium.spaces.Box:
    """Return the Box without bounds that holds an array or a number, and others like it."""
    array = np.asarray(value) if isinstance(value, np.ndarray | np.generic | float | int) else None
    if array is None or array.dtype.kind not in "iuf":
        raise ValueError(
            f"{name}: the source does not know it, and it cannot be inferred from "
            f"{value!r:.80} ({type(value).__name__}); pass {name}="
        )
    if array.dtype.kind == "f":
        return gymnasium.spaces.Box(-np.inf, np.inf, array.shape, array.dtype.type)
    limits = np.iinfo(array.dtype)
    return gymnasium.spaces.Box(limits.min, limits.max, array.shape, array.dtype.type)


def _episodes(source: Any, segments: bool) -> Iterator[Iterator[Step]]:
    if not segments:
        return iter_rows(source)
    if not hasattr(source, "segments"):
        raise ValueError(f"segments: a {type(source).__name__} has none; pass a Selection")
    return (
        iter(segment.steps()) if hasattr(segment, "steps") else map(as_step, segment)
        for segment in source.segments()
    )


def _same(one: Any, other: Any) -> bool:
    """Return whether two values of a space are equal; NaN equals NaN."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    if isinstance(one, tuple | list) and isinstance(other, tuple | list):
        return len(one) == len(other) and all(map(_same, one, other))
    one, other = np.asarray(one), np.asarray(other)
    if one.shape != other.shape:
        return False
    return bool(np.all((one == other) | ((one != one) & (other != other))))


if ID not in gymnasium.registry:
    # It says itself, and more exactly, what those wrappers would.
    gymnasium.register(
        ID,
        entry_point="gymbag.playback:PlaybackEnv",
        vector_entry_point="gymbag.playback_vector:PlaybackVectorEnv",
        order_enforce=False,
        disable_env_checker=True,
    )

# SPDX-License-Identifier: LGPL-3.0-or-later
"""Resets and steps become blocks of columns: pure, no file, no clock, no thread.

The last row of a running episode is held back, for only what comes next tells whether it is
the last: a `reset` or a `close` then marks it as truncated, or drops it if the episode has no
step at all. Everything before it may leave as a `Block` at any time.
"""

from __future__ import annotations

import math
import struct
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from copy import copy
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gymbag.block import Block, EpisodeRow
from gymbag.errors import EpisodeError, SchemaError
from gymbag.schema import Schema
from gymbag.schema.info import InfoColumn, InfoEncoder
from gymbag.steps import CUT_OFF, Ended

ndarray, TERMINATED, TRUNCATED = np.ndarray, Ended.TERMINATED, Ended.TRUNCATED
"""They are found sooner as names of the module."""
FIELDS = 4
"""Cells of a row: time, observation, action, reward."""
REWARD = 3
"""Which of them the reward is."""
BLOCK_BYTES = 16 << 20
"""About as many bytes make a block."""
BLOCK_ROWS = 2048


def block_rows(row_nbytes: int) -> int:
    """Return how many rows make a block: a power of two, so that blocks fit into chunks.

    >>> block_rows(100_831), block_rows(43)
    (128, 2048)
    """
    rows = min(BLOCK_ROWS, BLOCK_BYTES // max(1, row_nbytes))
    return 1 << max(0, rows.bit_length() - 1)


class EpisodeBuilder:
    """Collects the rows of one environment, episode after episode.

    >>> from gymnasium.spaces import Discrete
    >>> builder = EpisodeBuilder(Schema.from_spaces(Discrete(9), Discrete(2)))
    >>> builder.reset(0.0, 4, {})
    >>> builder.step(0.1, 5, 1, 2.5, True, False, {})
    >>> block = builder.take()
    >>> block.rows, block.columns["observation"].tolist(), block.episodes[0].episode_return
    (2, [4, 5], 2.5)
    """

    def __init__(
        self,
        schema: Schema,
        *,
        info_columns: Iterable[InfoColumn] = (),
        rows: int = 0,
        episodes: int = 0,
        when_full: Callable[[], None] = lambda: None,
        lock: AbstractContextManager[Any] | None = None,
    ) -> None:
        """Continue a data set of so many rows and episodes.

        Args:
            schema: its columns.
            info_columns: the columns that its infos have so far.
            rows: how many rows it has.
            episodes: how many episodes it has.
            when_full: called when a block of rows is ready to `take`.
            lock: held while rows come or go, if they do so in different threads.
        """
        self.schema = schema
        self.running = False
        """Whether an episode has begun and not ended."""
        self._info = InfoEncoder(info_columns)
        self._cells: list[Any] = []
        self._first_row = rows
        self._next_episode = episodes
        self._row_step = 0
        self._starts: list[int] = []
        self._start_row = 0
        self._start_time = 0.0
        self._seed: int | None = None
        self._options: Mapping[str, Any] | None = None
        self._return = 0.0
        self._finished: list[EpisodeRow] = []
        self._ends: dict[str, list[int]] = {"terminated": [], "truncated": []}
        """Which rows say so, of those that are here: at most an episode's last does."""
        self._block_rows = block_rows(schema.row_nbytes)
        self._forget = schema.observation.forget
        self._null_action = schema.action.snapshot(schema.action.null())
        self._when_full = when_full
        self._lock = lock or nullcontext()
        self._due = [0]
        self._wait_for_block()
        self._time = 0.0
        self._result: Any = None
        self._step = self.around(lambda _: self._result, lambda: self._time, _raise)

    @property
    def pending(self) -> int:
        """How many rows are here, the one held back included."""
        return len(self._cells) // FIELDS

    def reset(
        self,
        time: float,
        observation: Any,
        info: Mapping[Any, Any],
        *,
        seed: int | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        """Begin an episode; one that still runs is closed as cut off by the user.

        Raises:
            SchemaError: the observation does not fit its space; no episode has begun.
        """
        if self.running:
            self.close(Ended.RESET)
        observed = self.schema.observation.snapshot(observation)
        with self._lock:
            here = len(self._cells) // FIELDS
            if info:
                try:
                    self._info.add(here, info)
                except BaseException:
                    self._forget()
                    raise
            self._starts.append(here)
            self._start_row = self._first_row + here
            self._start_time = time
            self._seed = None if seed is None else int(seed)
            self._options = options
            self._return = 0.0
            self._cells.extend((time, observed, self._null_action, math.nan))
            self.running = True

    def step(
        self,
        time: float,
        observation: Any,
        action: Any,
        reward: float,
        terminated: bool,
        truncated: bool,
        info: Mapping[Any, Any],
    ) -> None:
        """Add a row, and call `when_full` if a block of them is ready.

        Raises:
            EpisodeError: no episode runs.
            SchemaError: a value does not fit its space; nothing is added.
        """
        self._time, self._result = time, (observation, reward, terminated, truncated, info)
        self._step(action)

    def around(
        self,
        step: Callable[[Any], Any],
        clock: Callable[[], float],
        otherwise: Callable[[Any, Any, BaseException], None],
    ) -> Callable[[Any], Any]:
        """Return a function that takes a step of an environment, adds its row, and returns it.

        It runs once per step: a function around both needs one call less, and finds all it uses
        at hand, where a method looks it up.

        Args:
            step: takes an action, and returns what Gymnasium's `step` does.
            clock: gives the time of the row.
            otherwise: called with the action, what `step` returned and the error, where the
                method `step` would raise.
        """
        act, plain = self.schema.action.snapshot, self.schema.action.plain
        low, high = plain.start, plain.stop
        dtype, shape, copied = self.schema.observation.quick()
        cells, extend, due, when_full = self._cells, self._cells.extend, self._due, self._when_full
        carefully = self._add_carefully

        # Each name from out here costs each call a nanosecond or two: the rest is elsewhere.
        def recorded(action: Any) -> Any:
            result = step(action)
            try:
                time = clock()
                observation, reward, terminated, truncated, info = result
                if not self.running:
                    _refuse()
                acted = action if type(action) is int and low <= action < high else act(action)
                if (
                    type(observation) is ndarray
                    and observation.dtype is dtype
                    and observation.shape == shape
                    and type(reward) is float
                    and not (info or terminated or truncated)
                ):
                    # No other thread sees half of what one call of a list does: no lock.
                    extend((time, copied(observation), acted, reward))
                else:
                    carefully(time, acted, result)
                if len(cells) >= due[0]:
                    when_full()
            except BaseException as error:
                otherwise(action, result, error)
            return result

        return recorded

    def _add_carefully(self, time: float, acted: Any, result: tuple[Any, ...]) -> None:
        """Add a row that needs a second look, has an info, or ends the episode."""
        observation, reward, terminated, truncated, info = result
        if type(reward) is not float:
            reward = _number(reward)
        # The observation last: it is taken only if the step is.
        observed = self.schema.observation.snapshot(observation)
        with self._lock:
            if info:
                try:
                    self._info.add(self.pending, info)
                except BaseException:
                    self._forget()
                    raise
            self._cells.extend((time, observed, acted, reward))
            if terminated or truncated:
                self._finish(TERMINATED if terminated else TRUNCATED, terminated, truncated)

    def close(self, ended: Ended = Ended.CLOSED) -> None:
        """End the running episode, if one runs; one without a step is dropped."""
        if self.running:
            with self._lock:
                self._close(ended)

    def _close(self, ended: Ended) -> None:
        if self._starts and self._starts[-1] == self.pending - 1:
            self.running = False
            del self._cells[-FIELDS:]
            self._forget()
            self._info.drop(self._starts.pop())
            return
        self._finish(ended, False, ended in CUT_OFF)

    def _finish(self, ended: Ended, terminated: bool, truncated: bool) -> None:
        self.running = False
        cells, before = self._cells, self._first_row
        rows = len(cells) // FIELDS
        if terminated:
            self._ends["terminated"].append(rows - 1)
        if truncated:
            self._ends["truncated"].append(rows - 1)
        first = self._start_row + 1 - before
        rewards = cells[(first if first > 0 else 0) * FIELDS + REWARD :: FIELDS]
        self._finished.append(
            EpisodeRow(
                self._next_episode + len(self._finished),
                self._start_row,
                before + rows - self._start_row,
                self._return + sum(rewards),
                self._start_time,
                cells[-FIELDS],
                ended,
                self._seed,
                self._options,
            )
        )

    @property
    def episodes(self) -> int:
        """How many episodes have finished, those of earlier recordings included."""
        return self._next_episode + len(self._finished)

    def hurry(self) -> None:
        """Call `when_full` after the next step, full or not."""
        self._due[0] = 0

    def provisional(self) -> Block:
        """Return what is here as it would stand if this process died now; it stays here."""
        with self._lock:
            twin = copy(self)
            twin._lock, twin._due, twin._forget = nullcontext(), [0], _nothing
            twin._cells, twin._starts = self._cells.copy(), self._starts.copy()
            twin._finished, twin._info = self._finished.copy(), self._info.copy()
            twin._ends = {name: rows.copy() for name, rows in self._ends.items()}
        twin.close(Ended.INTERRUPTED)
        # All of it, however much came since: rows without their episode would be no one's.
        return twin._take(twin.pending)

    def take(self, most: int = BLOCK_ROWS) -> Block:
        """Return the rows that may leave, a block of them at most, and forget them."""
        with self._lock:
            return self._take(min(most, self._until_border()))

    def _wait_for_block(self) -> None:
        """Have `when_full` called once the rows up to the next border may leave."""
        self._due[0] = (self._until_border() + 1) * FIELDS

    def _until_border(self) -> int:
        """Return how many rows there are up to the next border of a block.

        Blocks end at multiples of their size, so that after a short one the next are in step
        with chunks and slabs again: a block across a border of theirs is copied twice.
        """
        return self._block_rows - self._first_row % self._block_rows

    def _take(self, most: int) -> Block:
        n = min(most, self.pending - self.running)
        cells = self._cells[: n * FIELDS]
        del self._cells[: n * FIELDS]
        times, observations, actions, rewards = (cells[field::FIELDS] for field in range(FIELDS))
        columns = self._number_rows(n)
        columns["time"] = _floats(times)
        columns["reward"] = _floats(rewards)
        for name, ends in self._ends.items():
            count = bisect_left(ends, n)
            columns[name] = np.zeros(n, np.bool_)
            columns[name][ends[:count]] = True
            self._ends[name] = [row - n for row in ends[count:]]
        for codec, values in (
            (self.schema.observation, observations),
            (self.schema.action, actions),
        ):
            names = (column.name for column in codec.columns)
            columns.update(zip(names, codec.encode(values), strict=True))
        self._first_row += n
        self._wait_for_block()
        if self.running:
            first = max(0, self._start_row + 1 - (self._first_row - n))
            self._return += sum(rewards[first:])
        whole = [e for e in self._finished if e.first_row + e.rows <= self._first_row]
        del self._finished[: len(whole)]
        self._next_episode += len(whole)
        episodes = tuple(whole)
        return Block(n, columns, self._info.take(n), episodes)

    def _number_rows(self, n: int) -> dict[str, NDArray[Any]]:
        """Return the columns `episode` and `step` of the first n rows; forget their starts."""
        starts = [start for start in self._starts if start < n]
        self._starts = [start - n for start in self._starts if start >= n]
        goes_on = self._row_step > 0
        first = self._next_episode - 1 + goes_on
        lengths = np.diff([0, *starts, n])
        episode = np.repeat(np.arange(first, first + len(lengths)), lengths)
        step = np.arange(n) - np.repeat([-self._row_step, *starts], lengths)
        leaves_off = self.pending and not (self._starts and self._starts[0] == 0)
        self._row_step = int(step[-1]) + 1 if n and leaves_off else self._row_step * (not n)
        return {"episode": episode.astype(np.uint32), "step": step.astype(np.uint32)}


def _nothing() -> None:
    pass


def _refuse() -> None:
    raise EpisodeError("step: no episode is running; call reset first")


def _raise(_action: Any, _result: Any, error: BaseException) -> None:
    raise error


def _floats(values: list[float]) -> NDArray[np.float64]:
    """Return floats as an array; in less than half the time of `np.array`."""
    return np.frombuffer(struct.pack(f"{len(values)}d", *values))


def _number(reward: Any) -> float:
    """Return a reward as a float."""
    try:
        # NumPy would make NaN of None.
        return float(np.asarray("None" if reward is None else reward, np.float64).reshape(()))
    except (TypeError, ValueError):
        raise SchemaError(
            f"reward: found {reward!r:.80} ({type(reward).__name__}); expected one number"
        ) from None

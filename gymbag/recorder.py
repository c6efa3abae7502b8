# SPDX-License-Identifier: LGPL-3.0-or-later
"""What a recorder is, and the recorders into a file and into memory."""

from __future__ import annotations

import atexit
import copy
import math
import os
import platform
import threading
import weakref
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from importlib import metadata as package_metadata
from typing import Any

from gymbag.episode import EpisodeBuilder
from gymbag.errors import EpisodeError
from gymbag.schema import Schema, null_sample
from gymbag.steps import CUT_OFF, Ended, Episode, MemoryEpisode, Step, as_step, end_of
from gymbag.storage.meta import Session
from gymbag.storage.writer import DatasetWriter

PACKAGES = ("gymbag", "gymnasium", "gym", "numpy", "tables", "blosc2", "ale-py")


class Recorder(ABC):
    """Takes what an environment does, call by call. Subclass it to record to another format.

    Whoever calls it guarantees that `on_step` follows an `on_reset`, and that no step follows
    one with `terminated` or `truncated` before the next `on_reset`.
    """

    @abstractmethod
    def on_reset(
        self,
        time: float,
        observation: Any,
        info: Mapping[Any, Any],
        *,
        seed: int | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        """Begin an episode. One that has not ended was cut off by the user.

        Args:
            time: Unix time in seconds, just after the environment's `reset` returned.
            observation: what it returned; copy it to keep it.
            info: likewise.
            seed: the seed that `reset` was given, if any.
            options: the options that `reset` was given, if any.
        """

    @abstractmethod
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
        """Take a step; the fields are those of `gymbag.Step`. Copy what is to be kept."""

    def on_end(self, ended: Ended) -> None:
        """End the episode that runs, if one does, for a reason other than the environment's."""

    def on_close(self) -> None:
        """Finish. An episode that has not ended was cut off by the user."""


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


class HDF5Recorder(Recorder):
    """Records into one data set of an HDF5 file.

    What is recorded is complete when the recorder is closed, is garbage collected, or the
    interpreter exits.

    Args:
        filename: the file; it is made if there is none, and appended to if there is.
        observation_space: of gymnasium's or gym's, or one taught with `register_space`.
        action_space: likewise.
        name: the data set's name in the file.
        description: what you want to remember of it.
        metadata: more of it; anything that JSON holds, and NumPy arrays.
        env_spec: the environment's spec as JSON; it is kept as text and never executed.
        compression: "default", "fast" or "small".
        start_time: Unix time in seconds at which the recording began.

    Raises:
        UnsupportedSpace: no codec is registered for a space.
        SchemaError: the file has a data set of this name with another space.
        FileError: the file cannot be written, or is not ours.
    """

    def __init__(
        self,
        filename: str | os.PathLike[str],
        observation_space: Any,
        action_space: Any,
        name: str = "data",
        description: str = "",
        *,
        metadata: Mapping[str, Any] | None = None,
        env_spec: str | None = None,
        compression: str = "default",
        start_time: float = 0.0,
    ) -> None:
        schema = Schema.from_spaces(observation_space, action_space)
        session = Session(
            start_time, description, dict(metadata or {}), env_spec, package_versions()
        )
        writer = DatasetWriter(filename, name, schema, session, compression=compression)
        self._recording = _Recording(writer, schema)
        # The builder's own step is all there is to do: one call less in each step.
        self.on_step = self._recording.builder.step  # type: ignore[method-assign]
        self._finalizer = weakref.finalize(self, self._recording.close)
        _open.add(self._recording)
        writer.before_read.append(self._recording.commit)

    def on_reset(
        self,
        time: float,
        observation: Any,
        info: Mapping[Any, Any],
        *,
        seed: int | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        """Begin an episode; a running one is closed as cut off by the user.

        Raises:
            SchemaError: the observation does not fit its space.
        """
        recording = self._recording
        recording.thread = threading.get_ident()
        recording.builder.reset(observation, info, seed=seed, options=options, at=time)

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
            EpisodeError: no episode is running.
            SchemaError: a value does not fit its space; the step is not recorded.
            FileError: the file could not be written to.
        """
        self._recording.builder.step(time, observation, action, reward, terminated, truncated, info)

    def on_end(self, ended: Ended) -> None:
        """End the episode that runs, if one does."""
        self._recording.builder.close(ended)

    def on_close(self) -> None:
        """Write what is left, and give the file back."""
        self._finalizer()


class _Recording:
    """A builder and a writer. Apart from the recorder, so that its finalizer can hold them."""

    def __init__(self, writer: DatasetWriter, schema: Schema) -> None:
        self.writer = writer
        self.builder = EpisodeBuilder(
            schema,
            info_columns=writer.info_columns,
            rows=writer.rows,
            episodes=writer.episodes,
            when_full=self.write,
        )
        self.thread = threading.get_ident()
        """The thread that records; no other may take rows from the builder."""

    def write(self) -> None:
        """Hand the rows that may leave to the file."""
        self.writer.append(self.builder.take())

    def commit(self) -> None:
        """Make what is recorded readable, as far as this thread may."""
        if self.thread == threading.get_ident() and not self.writer.closed:
            self._write_all()
            self.writer.commit()

    def _write_all(self) -> None:
        while self.builder.pending > self.builder.running:
            self.write()

    def close(self) -> None:
        """Write all that is left."""
        if self.writer.closed:
            return
        _open.discard(self)
        if self.commit in self.writer.before_read:
            self.writer.before_read.remove(self.commit)
        try:
            self.builder.close()
            self._write_all()
        finally:
            self.writer.close()


_open: set[_Recording] = set()


@atexit.register
def _close_all() -> None:
    """Complete what nobody closed.

    The finalizers would, too. But where another library made the process's first finalizer
    before this module was imported, they run only after PyTables and Blosc2 have shut down.
    """
    for recording in list(_open):
        recording.close()


def record_from_iter(recorder: Recorder, episodes: Iterable[Any]) -> None:
    """Record episodes that exist already, and close the recorder.

    Args:
        recorder: where to.
        episodes: `Episode` objects, or iterables of `Step` or of gymbag 0.4.9's 6-tuples.

    >>> recorder = ListRecorder()
    >>> record_from_iter(recorder, [[(0, 7, 0, None, False, None), (1, 8, 1, 3.0, True, None)]])
    >>> [step.observation for step in recorder.data[0]]
    [7, 8]
    """
    try:
        for episode in episodes:
            record_episode(recorder, episode)
    finally:
        recorder.on_close()


def record_episode(recorder: Recorder, episode: Any) -> None:
    """Record one episode that exists already, seed, options and the reason of its end included."""
    known = isinstance(episode, Episode)
    rows = episode.steps() if known else map(as_step, episode)
    first = next(rows, None)
    if first is None:
        return
    seed, options = (episode.seed, episode.options) if known else (None, None)
    ended = episode.ended if known else Ended.CLOSED
    recorder.on_reset(first.time, first.observation, first.info, seed=seed, options=options)
    for step in rows:
        step = step._replace(truncated=step.truncated and ended not in CUT_OFF)
        recorder.on_step(*step)
    recorder.on_end(ended)


def package_versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that take part in a recording."""
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = package_metadata.version(package)
        except package_metadata.PackageNotFoundError:
            continue
    return versions

# SPDX-License-Identifier: LGPL-3.0-or-later
"""The recorder into an HDF5 file."""

from __future__ import annotations

import atexit
import math
import os
import platform
import sys
import threading
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from gymbag.episode import EpisodeBuilder
from gymbag.errors import FileError
from gymbag.recorder import Otherwise, Recorder, Step
from gymbag.schema import Schema
from gymbag.steps import Ended
from gymbag.storage.access import tell
from gymbag.storage.meta import Session
from gymbag.storage.writer import DatasetWriter
from gymbag.version import __version__

PACKAGES = ("gymnasium", "gym", "numpy", "tables", "blosc2", "ale-py")


def _nothing() -> None:
    """Leave it to others to make anything safe."""


Durability = float | Literal["step", "episode", "close"]


class HDF5Recorder(Recorder):
    """Records into one data set of an HDF5 file.

    What is recorded is complete when the recorder is closed, is garbage collected, or the
    interpreter exits. A kill before that costs at most what `durability` says; the episode that
    was cut off is kept up to there, as ended "interrupted". A power cut may cost as much again,
    for so long the disk may take.

    Args:
        filename: the file; it is made if there is none, and appended to if there is.
        observation_space: of gymnasium's or gym's, or one taught with `register_space`.
        action_space: likewise.
        name: the data set's name in the file.
        description: what you want to remember of it.
        metadata: more of it; anything that JSON holds, and NumPy arrays.
        env_spec: the environment's spec as JSON; it is kept as text and never executed.
        compression: "default", "fast", "small" or "archive".
        durability: how much a kill may cost at most: so many seconds of experience, or "step" for
            nothing that `step` has returned from, "episode" for the running episode, "close" for
            all since the recording began.
        start_time: Unix time in seconds at which the recording began.
        lanes: how many data sets are recorded side by side; of many, each takes less memory.

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
        durability: Durability = 1.0,
        start_time: float = 0.0,
        lanes: int = 1,
    ) -> None:
        seconds = _seconds(durability)
        schema = Schema.from_spaces(observation_space, action_space)
        session = Session(
            start_time, description, dict(metadata or {}), env_spec, package_versions()
        )
        writer = DatasetWriter(
            filename, name, schema, session, compression=compression, lanes=lanes
        )
        tell(writer.file.recovered)
        self._recording = recording = _Recording(writer, schema)
        self._finalizer = weakref.finalize(self, recording.close)
        _open.add(recording)
        self._after = {"step": recording.secure, "episode": recording.secure_episodes}.get(
            str(durability), _nothing
        )
        if self._after is _nothing:
            # What the builder does is all there is to do: one call less each time.
            self.on_reset = recording.builder.reset  # type: ignore[method-assign]
            self.on_step = recording.builder.step  # type: ignore[method-assign]
            if seconds < math.inf:
                recording.secure_every(seconds)

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
        self._recording.builder.reset(time, observation, info, seed=seed, options=options)
        self._after()

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
        self._after()

    def around(self, step: Step, clock: Callable[[], float], otherwise: Otherwise) -> Step | None:
        """Return a function that takes a step and records it, unless each is to be made safe."""
        if self._after is not _nothing:
            return None
        return self._recording.builder.around(step, clock, otherwise)

    def on_end(self, ended: Ended) -> None:
        """End the episode that runs, if one does."""
        self._recording.builder.close(ended)
        self._after()

    def secure(self) -> None:
        """Make safe all that is recorded, by others into the same file as well."""
        self._recording.secure()

    def on_close(self) -> None:
        """Write what is left, and give the file back."""
        self._finalizer()


def close_all(recorders: Sequence[HDF5Recorder]) -> None:
    """Close recorders into one file: what is written then is made safe once, and not for each."""
    *others, last = recorders
    for recorder in others:
        recorder._recording.close(others_follow=True)
    last.on_close()


class _Recording:
    """A builder and a writer. Apart from the recorder, so that its finalizer can hold them."""

    def __init__(self, writer: DatasetWriter, schema: Schema) -> None:
        self.writer = writer
        self.file = writer.file
        self.lock = threading.Lock()
        """Held while rows come or go."""
        self.builder = EpisodeBuilder(
            schema,
            info_columns=writer.info_columns,
            rows=writer.rows,
            episodes=writer.episodes,
            when_full=self._write,
            lock=self.lock,
        )
        self.file.contributors.append(self._contribute)
        slabs = (slabs for _, slabs in schema.observation.wide())
        self._packed_rows = max((slab.rows for slab in slabs), default=1)
        """So many rows of wide values are packed together."""
        self._pid = os.getpid()
        self._secured_episodes = writer.episodes
        self._closed = threading.Event()

    def _write(self) -> None:
        """Hand a block of rows to the file."""
        self.file.require_mine()
        with self.file.lock:
            self.writer.append(self.builder.take())

    def _contribute(self, seen: bool) -> None:
        """Add all that is recorded to the file's next commit, the running episode included."""
        self._write_all(whole=not seen)
        running = self.builder.provisional()
        self.writer.contribute()
        if running.rows:
            self.writer.append_provisional(running)

    def _write_all(self, *, whole: bool = False) -> None:
        """Hand over the rows that are here now; those that come meanwhile are provisional.

        Args:
            whole: whether to leave out the last of them, of which the wide values are not packed
                yet: to pack them apart, and again with the next ones, takes as long as 100 steps.
                Where rows come so slowly that no pack is full, they go all the same.
        """
        rows = self.builder.pending - self.builder.running
        if whole:
            apart = (self.writer.rows + rows) % self._packed_rows
            rows -= apart if apart < rows else 0
        while rows > 0:
            block = self.builder.take(rows)
            self.writer.append(block)
            rows -= block.rows

    def secure(self, *, seen: bool = True) -> None:
        """Make all that is recorded safe from a kill and from a power cut."""
        self.file.commit(seen=seen)
        self.file.sync()

    def secure_episodes(self) -> None:
        """Make all finished episodes safe, if any has finished since."""
        if self.builder.episodes > self._secured_episodes:
            self._secured_episodes = self.builder.episodes
            self.secure()

    def secure_every(self, seconds: float) -> None:
        """Make all that is recorded safe again and again, in a thread that ends with this."""
        # A little more often than promised, for a commit takes time itself.
        arguments = (weakref.ref(self), self._closed, 0.8 * seconds)
        threading.Thread(target=_secure_regularly, args=arguments, daemon=True).start()

    def close(self, *, others_follow: bool = False) -> None:
        """Write all that is left; it counts with what others write, if they are closed next."""
        if self._closed.is_set() or self._pid != os.getpid():
            return
        self._closed.set()
        _open.discard(self)
        try:
            with self.file.lock:
                self.builder.close()
                if not self.file.failed:
                    self._write_all()
        finally:
            self.file.contributors.remove(self._contribute)
            self.writer.close(commit=not others_follow)


def _secure_regularly(
    reference: weakref.ref[_Recording], closed: threading.Event, seconds: float
) -> None:
    pause = seconds
    while not closed.wait(pause):
        begun = time.monotonic()
        recording = reference()
        if recording is None or closed.is_set():
            return
        try:
            recording.secure(seen=False)
            recording.file.checkpoint_if_due()
        except FileError:
            # The loop that records is to hear of it, in its next step.
            recording.builder.hurry()
            return
        del recording
        pause = max(0.0, begun + seconds - time.monotonic())


def _seconds(durability: Durability) -> float:
    """Return how many seconds of experience a kill may cost; infinity if others decide."""
    if isinstance(durability, str):
        if durability not in ("step", "episode", "close"):
            raise ValueError(
                f'durability={durability!r}: expected seconds, "step", "episode" or "close"'
            )
        return math.inf
    seconds = float(durability)
    if not seconds > 0:
        raise ValueError(f"durability={durability!r}: expected more than 0 seconds")
    return seconds


_open: set[_Recording] = set()


@atexit.register
def _close_all() -> None:
    """Complete what nobody closed.

    The finalizers would, too. But where another library made the process's first finalizer
    before this module was imported, they run only after PyTables and Blosc2 have shut down.
    """
    for recording in list(_open):
        recording.close()


_at_fork: list[_Recording] = []


def _before_fork() -> None:
    """Let other threads finish: what they hold, a copy of the process would hold for ever."""
    _at_fork[:] = _open
    for recording in _at_fork:
        recording.file.lock.acquire()
        recording.lock.acquire()


def _after_fork() -> None:
    for recording in _at_fork:
        recording.lock.release()
        recording.file.lock.release()
    _at_fork.clear()


def _after_fork_in_child() -> None:
    """Have the next step fail: this is a copy, and what it recorded would go nowhere."""
    for recording in _at_fork:
        recording.builder.hurry()
    _after_fork()
    _open.clear()


os.register_at_fork(
    before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork_in_child
)


def package_versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that take part in a recording."""
    found = ((name, sys.modules.get(name.replace("-", "_"))) for name in PACKAGES)
    versions = {name: getattr(module, "__version__", None) for name, module in found}
    known = {name: version for name, version in versions.items() if isinstance(version, str)}
    return {"python": platform.python_version(), "gymbag": __version__, **known}

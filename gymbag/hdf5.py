# SPDX-License-Identifier: LGPL-3.0-or-later
"""The recorder into an HDF5 file."""

from __future__ import annotations

import atexit
import os
import platform
import threading
import weakref
from collections.abc import Mapping
from importlib import metadata as package_metadata
from typing import Any

from gymbag.episode import EpisodeBuilder
from gymbag.recorder import Recorder
from gymbag.schema import Schema
from gymbag.steps import Ended
from gymbag.storage.meta import Session
from gymbag.storage.writer import DatasetWriter

PACKAGES = ("gymbag", "gymnasium", "gym", "numpy", "tables", "blosc2", "ale-py")


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


def package_versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that take part in a recording."""
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = package_metadata.version(package)
        except package_metadata.PackageNotFoundError:
            continue
    return versions

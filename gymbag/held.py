# SPDX-License-Identifier: LGPL-3.0-or-later
"""Holds each episode back until it has ended: only then is it known whether it is to be kept."""

from __future__ import annotations

import math
import os
import shutil
import weakref
from collections.abc import Callable, Iterator, Mapping
from tempfile import mkdtemp
from typing import Any

from gymbag.errors import FileError
from gymbag.hdf5 import HDF5Recorder
from gymbag.memory import ListRecorder
from gymbag.recorder import Recorder, record_episode
from gymbag.schema import Schema
from gymbag.steps import Ended, Episode
from gymbag.store import Store

MOST_BYTES = 64 << 20
"""What the rows of an episode may take in memory, about; a longer one goes to a file."""
ROW_BYTES = 600
"""What Python takes for a row beside its numbers, about, with a few entries of info."""


class HeldRecorder(Recorder):
    """Passes on to a recorder those episodes of which a function says so, each at its end.

    Until then an episode is in memory, and from `most_bytes` on in a temporary file, where
    `tempfile` makes it. One that has not ended when the process is killed, or exits without
    `close`, is not passed on.

    Args:
        recorder: where to.
        keep: told each episode once it has ended; says whether to pass it on.
        spaces: that of the observations and that of the actions, for the file; without them every
            episode stays in memory, however long it is.
        most_bytes: how much of an episode is in memory at most, about.
    """

    def __init__(
        self,
        recorder: Recorder,
        keep: Callable[[Episode], bool],
        spaces: tuple[Any, Any] | None = None,
        most_bytes: int = MOST_BYTES,
    ) -> None:
        self.recorder = recorder
        self._keep = keep
        self._spaces = spaces
        self._held: ListRecorder | _FileRecorder | None = None
        self._rows = 0
        self._most_rows = math.inf
        if spaces is not None:
            row = Schema.from_spaces(*spaces).row_nbytes + ROW_BYTES
            self._most_rows = max(2, most_bytes // row)

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
        held = ListRecorder()
        held.on_reset(time, observation, info, seed=seed, options=options)
        self._held, self._rows = held, 1

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
        """Take a step; at the last one of an episode, pass it on if it is to be kept.

        Raises:
            SchemaError: something in the episode does not fit its space; that may be noticed at
                its end only.
        """
        if self._held is None:
            return
        self._held.on_step(time, observation, action, reward, terminated, truncated, info)
        self._rows += 1
        if terminated or truncated:
            self.on_end(Ended.TERMINATED if terminated else Ended.TRUNCATED)
        elif self._rows == self._most_rows and self._spaces is not None:
            self._held = _FileRecorder(self._spaces, self._held)

    def on_end(self, ended: Ended) -> None:
        """End the episode that runs, and pass it on if it is to be kept."""
        held, self._held = self._held, None
        if held is not None:
            held.on_end(ended)
            for episode in held.iter_episodes():
                if self._keep(episode):
                    record_episode(self.recorder, episode)
        self.recorder.on_end(ended)

    def on_close(self) -> None:
        """Finish."""
        try:
            self.on_end(Ended.CLOSED)
        finally:
            self.recorder.on_close()


class _FileRecorder(HDF5Recorder):
    """Records into a file that is gone when the recorder is.

    Args:
        spaces: of the observations and of the actions.
        begun: what has come of an episode so far.
    """

    def __init__(self, spaces: tuple[Any, Any], begun: Any) -> None:
        try:
            folder = mkdtemp(prefix="gymbag-")
        except OSError as error:
            raise FileError(
                f"a long episode is held in a temporary folder, and none can be made: {error}; "
                "make room, or set TMPDIR to a folder that can be written to"
            ) from error
        self._path = os.path.join(folder, "episode.h5")
        # Before the recorder's own: finalizers run the latest first, and that one writes there.
        weakref.finalize(self, _remove, folder, os.getpid())
        super().__init__(self._path, *spaces, durability="close")
        for episode in begun.iter_episodes():
            first, *rows = episode.steps()
            self.on_reset(
                first.time,
                first.observation,
                first.info,
                seed=episode.seed,
                options=episode.options,
            )
            for step in rows:
                self.on_step(*step)

    def iter_episodes(self) -> Iterator[Episode]:
        """Iterate over the episodes; nothing more can be recorded."""
        self.on_close()
        with Store(self._path) as store:
            yield from store.episodes


def _remove(folder: str, owner: int) -> None:
    """Remove a folder, unless this is a fork of the process that made it."""
    if os.getpid() == owner:
        shutil.rmtree(folder, ignore_errors=True)

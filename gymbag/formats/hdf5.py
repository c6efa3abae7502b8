# SPDX-License-Identifier: LGPL-3.0-or-later
"""gymbag's own format."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain
from pathlib import Path

import numpy as np

from gymbag.errors import FileError, FormatError
from gymbag.formats.format import Format
from gymbag.formats.spaces import known_spaces
from gymbag.hdf5 import HDF5Recorder
from gymbag.recorder import record_episode
from gymbag.steps import Episode, Source
from gymbag.storage.datasets import list_datasets
from gymbag.storage.meta import View
from gymbag.storage.views import append_lines
from gymbag.store import Store


def sniff(path: Path) -> bool:
    """Return whether it is a file of ours."""
    try:
        list_datasets(path)
    except FileError:
        return False
    return True


def read(path: Path, name: str | None) -> Store:
    """Open a data set."""
    return Store(path, name)


def write(source: Source, path: Path) -> list[str]:
    """Add a data set to a file, and return what had to be made up.

    Should it fail half-way, what was written before stays.
    """
    name = source.name or path.stem
    if path.exists() and name in list_datasets(path):
        raise FormatError(f"{path}: holds a data set {name!r} already; choose another file")
    episodes = source.iter_episodes()
    first = next(episodes, None)
    observation_space, action_space, lost = known_spaces(source, first)
    recorder = HDF5Recorder(
        path,
        observation_space,
        action_space,
        name,
        source.description,
        metadata=source.metadata,
        env_spec=source.env_spec,
        start_time=_start_time(first),
    )
    try:
        for episode in chain([first] if first is not None else [], episodes):
            record_episode(recorder, episode)
    finally:
        recorder.on_close()
    views: Mapping[str, View] = getattr(source, "views", {})
    if views:
        append_lines(path, {name: b"".join(view.line() for view in views.values())})
    return lost


def _start_time(episode: Episode | None) -> float:
    time = 0.0 if episode is None else float(episode.times[0])
    return time if np.isfinite(time) else 0.0


FORMAT = Format(
    "gymbag", (".h5", ".hdf5"), sniff, list_datasets, read, write, many=True, views=True
)

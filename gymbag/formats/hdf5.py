# SPDX-License-Identifier: LGPL-3.0-or-later
"""gymbag's own format."""

from __future__ import annotations

from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium import spaces

from gymbag.errors import FileError, FormatError
from gymbag.formats.format import Format
from gymbag.hdf5 import HDF5Recorder
from gymbag.recorder import record_episode
from gymbag.steps import Episode, Source
from gymbag.storage.reader import list_datasets
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
    """Add a data set to a file, and return what had to be made up."""
    episodes = source.iter_episodes()
    first = next(episodes, None)
    observation_space, action_space = source.observation_space, source.action_space
    lost = []
    if observation_space is None or action_space is None:
        if first is None:
            raise FormatError(f"{path}: the source has no episode, and does not say its spaces")
        observation_space = observation_space or like(first.observations)
        action_space = action_space or like(first.actions)
        lost.append("the spaces are not known; unbounded ones of the arrays' dtypes are written")
    recorder = HDF5Recorder(
        path,
        observation_space,
        action_space,
        source.name or path.stem,
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
    return lost


def like(batch: Any) -> spaces.Box:
    """Return an unbounded space for arrays of which only examples are known.

    >>> like(np.zeros((5, 2), "f4"))
    Box(-inf, inf, (2,), float32)
    """
    array = np.asarray(batch)
    if array.dtype.kind not in "iuf":
        raise FormatError(f"values of dtype {array.dtype} do not say what their space is")
    if array.dtype.kind == "f":
        return spaces.Box(-np.inf, np.inf, array.shape[1:], array.dtype)
    limits = np.iinfo(array.dtype)
    return spaces.Box(limits.min, limits.max, array.shape[1:], array.dtype)


def _start_time(episode: Episode | None) -> float:
    time = 0.0 if episode is None else float(episode.times[0])
    return time if np.isfinite(time) else 0.0


FORMAT = Format("gymbag", (".h5", ".hdf5"), sniff, list_datasets, read, write, many=True)

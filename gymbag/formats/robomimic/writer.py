# SPDX-License-Identifier: LGPL-3.0-or-later
"""Episodes as demonstrations of robomimic's, compressed with gzip.

An observation that is one array is ``obs/flat``, as in robomimic's conversion of D4RL's. Columns of
infos stand beside the actions, ``states`` among them. ``dones`` are where an episode terminated.
"""

from __future__ import annotations

import contextlib
import json
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium import spaces

from gymbag.errors import FormatError
from gymbag.formats.aligned import UNKNOWN, without_final
from gymbag.formats.columns import keep, write_array, write_tree
from gymbag.formats.infos import columns, is_name
from gymbag.formats.losses import Losses
from gymbag.formats.process import require_installed
from gymbag.formats.robomimic.source import FLAT, OWN
from gymbag.formats.spaces import known_spaces
from gymbag.schema import Schema, child_path
from gymbag.steps import Episode, Source

ARRAYS = (spaces.Box, spaces.Discrete, spaces.MultiDiscrete, spaces.MultiBinary)
GYM = 2
"""The number of robomimic's for environments of Gym's."""
ELSEWHERE = ("env_args", "mask", "episode_metadata", "total")
"""Keys of the metadata that are no attributes of the data."""


def write(source: Source, path: Path) -> list[str]:
    """Write a data set into a new HDF5 file, and return what was lost or made up.

    Raises:
        FormatError: h5py is missing, or robomimic has no place for a space.
    """
    require_installed(("h5py",), f"{path}: to write robomimic's files", "robomimic")
    import h5py

    episodes = source.iter_episodes()
    first = next(episodes, None)
    *both, made_up = known_spaces(source, first)
    _require_place(both[0], "observation")
    if not isinstance(both[1], ARRAYS):
        raise _no_place("action", both[1])
    schema, lost = Schema.from_spaces(*both), Losses()
    for sentence in made_up if first is None else ():
        lost.add(sentence)
    metadata = source.metadata
    lost.of_source(source, "name", "metadata", "env_spec")
    if isinstance(both[0], spaces.Dict) and list(both[0].spaces) == [FLAT]:
        lost.add(f"observation: robomimic's lone {FLAT!r} is read as an array, and no dict")
    numbers: dict[int, int] = {}
    total = 0
    with h5py.File(path, "w") as file:
        data = file.create_group("data")
        for episode in chain([first] if first is not None else [], episodes):
            number = len(numbers)
            group = data.create_group(f"demo_{number}")
            _write_rows(group, schema, episode, lost)
            group.attrs["num_samples"] = episode.episode_length
            for key, value in _own(metadata, episode.id).items():
                if not (is_name(key) and key != "num_samples" and keep(group.attrs, key, value)):
                    lost.add("metadata: not kept", child_path("episode_metadata", key))
            numbers[episode.id] = number
            total += episode.episode_length
        data.attrs["total"] = total
        data.attrs["env_args"] = json.dumps(_env_args(source, lost), indent=4)
        for key, value in metadata.items():
            if key not in ELSEWHERE and not (is_name(key) and keep(data.attrs, key, value)):
                lost.add("metadata: not kept, for HDF5's attributes have no place", str(key))
        _write_masks(file, metadata.get("mask"), numbers, lost)
    return list(lost)


def _own(metadata: dict[str, Any], number: int) -> dict[str, Any]:
    """Return what the metadata say of one episode."""
    found = metadata.get("episode_metadata")
    listed = isinstance(found, list) and number < len(found) and isinstance(found[number], dict)
    return found[number] if listed else {}  # type: ignore[index]


def _require_place(space: Any, path: str) -> None:
    if isinstance(space, spaces.Dict):
        for key, below in space.spaces.items():
            if not is_name(key):
                raise FormatError(
                    f"{path}: the key {key!r:.100} has no place in an HDF5 file; choose another "
                    "format"
                )
            _require_place(below, child_path(path, key))
    elif not isinstance(space, ARRAYS):
        raise _no_place(path, space)


def _no_place(path: str, space: Any) -> FormatError:
    return FormatError(
        f"{path}: a {type(space).__name__} space, for which robomimic has no place; expected Box, "
        "Discrete, MultiDiscrete or MultiBinary, for observations also Dict; choose another format"
    )


def _env_args(source: Source, lost: Losses) -> Any:
    """Return what robomimic makes the environment of."""
    known = source.metadata.get("env_args")
    if isinstance(known, dict):
        if known.get("env_name") != source.name:
            lost.add("name: not kept, for the metadata's env_args have another")
        if source.env_spec:
            lost.add("env_spec: not kept by this format")
        return known
    spec: Any = {}
    if source.env_spec:
        lost.add("env_spec: only the environment's id and arguments are kept")
        with contextlib.suppress(ValueError):
            spec = json.loads(source.env_spec)
    found = spec if isinstance(spec, dict) else {}
    return {
        "env_name": found.get("id") or source.name,
        "type": GYM,
        "env_kwargs": found.get("kwargs") or {},
    }


def _write_rows(group: Any, schema: Schema, episode: Episode, lost: Losses) -> None:
    rows = list(episode.steps())
    last = rows[-1]
    observations = schema.observation.batch([row.observation for row in rows])
    tree = observations if isinstance(observations, dict) else {FLAT: observations}
    write_tree(group.create_group("obs"), _cut(tree, slice(-1)))
    if not without_final(episode):
        write_tree(group.create_group("next_obs"), _cut(tree, slice(1, None)))
    actions = np.asarray(schema.action.batch([row.action for row in rows[1:]]))
    write_array(group, "actions", actions)
    rewards = np.array([row.reward for row in rows[1:]], np.float64)
    if not np.isnan(rewards).all():
        write_array(group, "rewards", rewards)
    infos, missing = columns([row.info for row in rows[:-1]])
    dones = infos.pop("dones", None)
    ended = np.array([row.terminated for row in rows[1:]], np.int64)
    known = isinstance(dones, np.ndarray) and dones.shape == ended.shape
    if known and bool(dones[-1]) == last.terminated:
        ended = dones
    elif dones is not None:
        missing = [*missing, "info.dones"]
    write_array(group, "dones", ended)
    taken = [key for key in infos if key in OWN]
    write_tree(group, {key: value for key, value in infos.items() if key not in taken})
    if missing or taken:
        lost.add(
            "info: not kept where a key is not in every row of an episode but the final one, or "
            "changes its type or shape, or means something else there",
            *missing,
            *(child_path("info", key) for key in taken),
        )
    if set(last.info) - {UNKNOWN}:
        lost.add("info: those of final rows are not kept")
    if last.truncated:
        lost.add("truncated: not kept by this format", f"episode {episode.id}")
    lost.of_episode(episode, "ended")


def _cut(tree: Any, rows: slice) -> Any:
    if isinstance(tree, dict):
        return {key: _cut(value, rows) for key, value in tree.items()}
    return np.asarray(tree)[rows]


def _write_masks(file: Any, masks: Any, numbers: dict[int, int], lost: Losses) -> None:
    """Write the names of the episodes of each subset."""
    if masks is None:
        return
    sound = isinstance(masks, dict) and all(
        is_name(key) and isinstance(some, list) and all(type(n) is int for n in some)
        for key, some in masks.items()
    )
    if not sound:
        lost.add("metadata: not kept; it is no dict of numbers of episodes", "mask")
        return
    for key, some in masks.items():
        names = [f"demo_{numbers[number]}" for number in some if number in numbers]
        file.create_dataset(f"mask/{key}", data=np.array(names, dtype="S"))

# SPDX-License-Identifier: LGPL-3.0-or-later
"""Episodes as arrays of D4RL's.

Rewards are float64, where D4RL's own files have float32, and observations and actions are as their
spaces say. ``next_observations`` are written, unless no final observation is known, so nothing of
a step is lost. Infos of the rows before each action become ``infos/…``.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from gymbag.errors import FormatError
from gymbag.formats.aligned import UNKNOWN, without_final
from gymbag.formats.columns import append
from gymbag.formats.infos import columns
from gymbag.formats.losses import Losses
from gymbag.formats.process import require_installed
from gymbag.formats.spaces import known_spaces
from gymbag.schema import Schema
from gymbag.steps import Episode, Source

FLAT = (spaces.Box, spaces.Discrete, spaces.MultiDiscrete, spaces.MultiBinary)
NOT_IN_ALL = (
    "info: not kept where a key is not in every row but the final ones, or changes its type or "
    "shape, or is no number or array"
)

Arrays = dict[str, NDArray[Any]]


class Kinds:
    """Takes the arrays of episodes, and keeps nothing but what they are."""

    def add(self, name: str, values: NDArray[Any]) -> None:
        """Take the rows of one episode more."""

    def drop(self, name: str) -> None:
        """Forget an array; it is not like that in each episode."""


class Lists(Kinds):
    """Keeps them in memory."""

    def __init__(self) -> None:
        self.parts: dict[str, list[NDArray[Any]]] = {}

    def add(self, name: str, values: NDArray[Any]) -> None:
        """Take the rows of one episode more."""
        self.parts.setdefault(name, []).append(values)

    def drop(self, name: str) -> None:
        """Forget an array."""
        del self.parts[name]


class Columns(Kinds):
    """Writes them into an HDF5 file."""

    def __init__(self, file: Any) -> None:
        self.file = file

    def add(self, name: str, values: NDArray[Any]) -> None:
        """Write the rows of one episode more."""
        append(self.file, name, values)

    def drop(self, name: str) -> None:
        """Remove an array."""
        del self.file[name]


def to_d4rl(source: Source, *, strict: bool = False) -> Arrays:
    """Return a data set as the dictionary that D4RL's ``get_dataset`` gives.

    Args:
        source: a store, a selection, or any other source; all of it must fit into memory.
        strict: whether to raise an error if anything would be lost; `losses` says what.

    Raises:
        FormatError: a space is none of one array, there is no episode, or something would be
            lost, and `strict` is set.
    """
    lists = Lists()
    lost = _fill(lists, source)
    if strict and lost:
        raise FormatError(f"not converted, for D4RL's dictionary loses: {'; '.join(lost)}")
    return {name: np.concatenate(parts) for name, parts in lists.parts.items()}


def losses(source: Source) -> list[str]:
    """Return what `to_d4rl` has no place for, a sentence each."""
    return _fill(Kinds(), source)


def write(source: Source, path: Path) -> list[str]:
    """Write a data set into a new HDF5 file, and return what was lost or made up.

    Raises:
        FormatError: h5py is missing, there is no episode, or a space is none of one array.
    """
    require_installed(("h5py",), f"{path}: to write D4RL's files", "d4rl")
    import h5py

    with h5py.File(path, "w") as file:
        return _fill(Columns(file), source)


def _fill(taker: Kinds, source: Source) -> list[str]:
    """Give a taker all arrays, episode by episode, and return what has no place in them."""
    episodes = source.iter_episodes()
    first = next(episodes, None)
    if first is None:
        raise FormatError(f"{source.name!r} has no episode, and D4RL no place for that")
    *both, _ = known_spaces(source, first)
    for name, space in zip(("observation", "action"), both, strict=True):
        if not isinstance(space, FLAT):
            raise FormatError(
                f"{name}: a {type(space).__name__} space, for which D4RL has no place; expected "
                "Box, Discrete, MultiDiscrete or MultiBinary; choose another format"
            )
    schema, lost = Schema.from_spaces(*both), Losses()
    lost.of_source(source)
    kinds: dict[str, Any] = {}
    for number, episode in enumerate(chain([first], episodes)):
        part = _arrays(schema, episode, lost)
        for name in dict.fromkeys([*part, *kinds]):
            kind = (part[name].dtype, part[name].shape[1:]) if name in part else None
            known = kinds.setdefault(name, kind if number == 0 else None)
            if kind is not None and kind == known:
                taker.add(name, part[name])
                continue
            if known is not None:
                taker.drop(name)
            kinds[name] = None
            _lose(lost, name)
    return list(lost)


def _lose(lost: Losses, name: str) -> None:
    if name == "next_observations":
        lost.add("final observation: not kept, for those of some episodes are not known")
    else:
        lost.add(NOT_IN_ALL, name.replace("/", ".").replace("infos", "info", 1))


def _arrays(schema: Schema, episode: Episode, lost: Losses) -> Arrays:
    """Return the arrays of one episode."""
    rows = list(episode.steps())
    observations = np.asarray(schema.observation.batch([row.observation for row in rows]))
    lost.of_episode(episode)
    last, timeouts = rows[-1], np.array([row.truncated for row in rows[1:]], np.bool_)
    if not last.done:
        timeouts[-1] = True
        lost.add(
            "ended: D4RL does not have an episode end but by terminals or timeouts; it is "
            "timeouts where that is not known",
            f"episode {episode.id}",
        )
    found = {
        "observations": observations[:-1],
        "actions": np.asarray(schema.action.batch([row.action for row in rows[1:]])),
        "rewards": np.array([row.reward for row in rows[1:]], np.float64),
        "terminals": np.array([row.terminated for row in rows[1:]], np.bool_),
        "timeouts": timeouts,
    }
    if not without_final(episode):
        found["next_observations"] = observations[1:]
    if set(last.info) - {UNKNOWN}:
        lost.add("info: those of final rows are not kept")
    infos, missing = columns([row.info for row in rows[:-1]])
    for path in missing:
        lost.add(NOT_IN_ALL, path)
    return found | dict(_flattened(infos, "infos", lost))


def _flattened(tree: dict[str, Any], path: str, lost: Losses) -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _flattened(value, f"{path}/{key}", lost)
        elif isinstance(value, list):  # of texts
            _lose(lost, f"{path}/{key}")
        else:
            yield f"{path}/{key}", value

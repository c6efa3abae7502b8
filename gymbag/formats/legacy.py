# SPDX-License-Identifier: LGPL-3.0-or-later
"""Files that gymbag 0.4.9 wrote: a table for each data set, in the root. Reading only.

Every number in them is a float32, infos are JSON of at most 1,024 bytes, and `done` does not
say whether an episode was terminated or truncated: it counts as terminated. A reset that no step
follows is a row in them, but no episode.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import tables
from gymnasium import spaces

from gymbag.errors import FormatError, NoSuchDataset, RecordingWarning
from gymbag.formats.format import Format
from gymbag.memory import MemoryEpisode, MemorySource
from gymbag.steps import Episode, Step
from gymbag.storage.pytables import pytables

FIELDS = ("time", "observation", "action", "reward", "done", "info")
READ_ROWS = 4096


class LegacySource(MemorySource):
    """A data set of gymbag 0.4.9's, read some rows at a time."""

    def __init__(self, path: Path, name: str) -> None:
        with _opened(path) as file:
            table = file.get_node(f"/{name}")
            super().__init__(name=name, description=str(table.title))
            described = [
                getattr(table.attrs, attribute, None)
                for attribute in ("observation_space", "action_space")
            ]
        self.observation_space, self.action_space = (_space(path, text) for text in described)
        self.path = path

    def iter_episodes(self) -> Iterator[Episode]:
        """Iterate over the episodes; one ends where `done` is True."""
        observe, act = _converter(self.observation_space), _converter(self.action_space)
        number, rows, said = 0, list[Step](), False
        for row in self._table_rows():
            info = _info(row["info"])
            if info is None and not said:
                said = True
                self._say_lost(len(row["info"]), number, len(rows))
            done = bool(row["done"])
            observation, action = observe(row["observation"]), act(row["action"])
            time, reward = float(row["time"]), float(row["reward"])
            rows.append(Step(time, observation, action, reward, done, False, info or {}))
            if done:
                if len(rows) > 1:
                    yield MemoryEpisode(number, rows)
                    number += 1
                rows = []
        if len(rows) > 1:
            yield MemoryEpisode(number, rows)

    def _table_rows(self) -> Iterator[Any]:
        start = 0
        while True:
            with _opened(self.path) as file:
                rows = file.get_node(f"/{self.name}").read(start, start + READ_ROWS)
            yield from rows
            if len(rows) < READ_ROWS:
                return
            start += READ_ROWS

    def _say_lost(self, nbytes: int, episode: int, step: int) -> None:
        warnings.warn(
            f"{self.path}: the info of episode {episode}, step {step} was cut off at {nbytes} "
            "bytes when it was written, and is lost; so may be later ones",
            RecordingWarning,
            stacklevel=3,
        )

    def __repr__(self) -> str:
        return f"<LegacySource {self.name!r} in {str(self.path)!r}>"


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """Open a file for a moment; nothing in it is unpickled."""
    try:
        with pytables(), tables.open_file(str(path), "r") as file:
            yield file
    except Exception as error:  # PyTables has no common root for what damaged files make it raise
        reason = (str(error).strip() or repr(error)).splitlines()[-1]
        raise FormatError(f"{path}: cannot be read as gymbag 0.4.9's: {reason}") from error


def _info(cell: bytes) -> dict[str, Any] | None:
    """Return the info of a cell, or None if it was cut off."""
    try:
        info = json.loads(cell) if cell else {}
    except ValueError:
        return None
    return info if isinstance(info, dict) else None


def _converter(space: Any) -> Callable[[Any], Any]:
    """Return what makes a value of the space of the float32 that stands for it."""
    if isinstance(space, spaces.Discrete):
        return lambda value: np.int64(np.nan_to_num(value))
    return np.asarray


def _space(path: Path, text: Any) -> Any:
    """Return a space of 0.4.9's JSON, or None if there is none that is understood."""
    if not isinstance(text, bytes):
        return None
    try:
        match json.loads(text):
            case {"name": "gym.spaces.Discrete", "args": [int(n)]}:
                return spaces.Discrete(n)
            case {"name": "gym.spaces.Box", "args": [low, high, list(shape)]}:
                return _box(low, high, shape)
            case {"name": "gym.spaces.Box", "args": [low, high]}:
                return _box(low, high, np.shape(low))
    except (ValueError, TypeError, AssertionError):
        pass
    warnings.warn(
        f"{path}: the description of a space is not understood: {text!r:.200}",
        RecordingWarning,
        stacklevel=4,
    )
    return None


def _box(low: Any, high: Any, shape: Any) -> spaces.Box:
    with np.errstate(over="ignore"):
        bounds = [np.broadcast_to(np.asarray(x, dtype=np.float32), shape) for x in (low, high)]
    return spaces.Box(bounds[0].copy(), bounds[1].copy(), dtype=np.float32)


def names(path: Path) -> list[str]:
    """Return the names of the data sets, sorted."""
    with _opened(path) as file:
        return sorted(
            leaf._v_name for leaf in file.iter_nodes("/", "Table") if leaf.colnames == list(FIELDS)
        )


def sniff(path: Path) -> bool:
    """Return whether it is a file with a table of 0.4.9's in its root."""
    try:
        return path.is_file() and bool(names(path))
    except FormatError:
        return False


def read(path: Path, name: str | None) -> LegacySource:
    """Read one of the data sets."""
    held = names(path)
    if not held:
        raise FormatError(f"{path}: not a file of gymbag 0.4.9's; it has no table of its kind")
    if name is None and len(held) > 1:
        raise NoSuchDataset(f"{path}: holds {', '.join(map(repr, held))}; say which, as name=")
    if name is not None and name not in held:
        raise NoSuchDataset(f"{path}: no data set {name!r}; it holds {', '.join(map(repr, held))}")
    return LegacySource(path, name or held[0])


FORMAT = Format(
    "gymbag-0.4.9",
    (),
    sniff,
    names,
    read,
    lacks=(
        "gymbag 0.4.9 kept every number as float32, and no seeds",
        "gymbag 0.4.9 does not tell terminated from truncated: a done counts as terminated",
    ),
)

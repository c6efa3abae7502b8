# SPDX-License-Identifier: LGPL-3.0-or-later
"""Files that gymbag 0.4.9 wrote: a table for each data set, in the root. Reading only.

Every number in them is a float32, infos are JSON of at most 1,024 bytes, and `done` does not
say whether an episode was terminated or truncated: it counts as terminated.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tables
from gymnasium import spaces

from gymbag.errors import FormatError, NoSuchDataset, RecordingWarning
from gymbag.formats.format import Format
from gymbag.memory import MemoryEpisode, MemorySource
from gymbag.steps import Episode, Step
from gymbag.storage.handles import LOCK

FIELDS = ("time", "observation", "action", "reward", "done", "info")
READ_ROWS = 4096


class LegacySource(MemorySource):
    """A data set of gymbag 0.4.9's, read some rows at a time."""

    def __init__(self, path: Path, name: str) -> None:
        with LOCK, tables.open_file(str(path), "r") as file:
            table = file.get_node(f"/{name}")
            super().__init__(name=name, description=str(table.title))
            self.observation_space = _space(table, "observation_space")
            self.action_space = _space(table, "action_space")
        self.path = path

    def _tables_rows(self) -> Iterator[Any]:
        start = 0
        while True:
            with LOCK, tables.open_file(str(self.path), "r") as file:
                rows = file.get_node(f"/{self.name}").read(start, start + READ_ROWS)
            yield from rows
            if len(rows) < READ_ROWS:
                return
            start += READ_ROWS

    def iter_episodes(self) -> Iterator[Episode]:
        """Iterate over the episodes; one ends where `done` is True."""
        observe, act = _converter(self.observation_space), _converter(self.action_space)
        number, rows = 0, list[Step]()
        for row in self._tables_rows():
            done = bool(row["done"])
            info = self._info(row["info"], number, len(rows))
            rows.append(
                Step(
                    float(row["time"]),
                    observe(row["observation"]),
                    act(row["action"]),
                    float(row["reward"]),
                    done,
                    False,
                    info,
                )
            )
            if done:
                yield MemoryEpisode(number, rows)
                number, rows = number + 1, []
        if rows:
            yield MemoryEpisode(number, rows)

    def _info(self, cell: bytes, episode: int, step: int) -> dict[str, Any]:
        try:
            return json.loads(cell) if cell else {}
        except ValueError:
            warnings.warn(
                f"{self.path}: the info of episode {episode}, step {step} was cut off at "
                f"{len(cell)} bytes when it was written, and is lost",
                RecordingWarning,
                stacklevel=2,
            )
            return {}


def _converter(space: Any) -> Any:
    """Return what makes a value of the space of the float32 that stands for it."""
    if isinstance(space, spaces.Discrete):
        return lambda value: np.int64(value)
    if space is None:
        return np.asarray
    return lambda value: np.asarray(value, dtype=space.dtype)


def _space(table: Any, attribute: str) -> Any:
    """Return a space of 0.4.9's JSON, or None if there is none that is understood."""
    found = getattr(table.attrs, attribute, None)
    if not isinstance(found, bytes | np.bytes_):
        return None
    description = json.loads(bytes(found))
    match description:
        case {"name": "gym.spaces.Discrete", "args": [int(n)]}:
            return spaces.Discrete(n)
        case {"name": "gym.spaces.Box", "args": [low, high, list(shape)]}:
            return spaces.Box(low, high, tuple(shape), np.float32)
        case {"name": "gym.spaces.Box", "args": [low, high]}:
            return spaces.Box(np.asarray(low, "f4"), np.asarray(high, "f4"), dtype=np.float32)
    return None


def names(path: Path) -> list[str]:
    """Return the names of the data sets, sorted."""
    with LOCK, tables.open_file(str(path), "r") as file:
        return sorted(
            leaf._v_name for leaf in file.iter_nodes("/", "Table") if leaf.colnames == list(FIELDS)
        )


def sniff(path: Path) -> bool:
    """Return whether it is a file with a table of 0.4.9's in its root."""
    with LOCK:
        return path.is_file() and bool(tables.is_hdf5_file(str(path))) and bool(names(path))


def read(path: Path, name: str | None) -> LegacySource:
    """Read one of the data sets."""
    held = names(path) if sniff(path) else []
    if not held:
        raise FormatError(f"{path}: not a file of gymbag 0.4.9's")
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

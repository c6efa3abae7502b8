# SPDX-License-Identifier: LGPL-3.0-or-later
"""One NPZ file: the columns of gymbag's own format as plain NumPy arrays.

Nothing is lost. NumPy writes and reads such a file at one go, so it must fit into memory.
"""

from __future__ import annotations

import os
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from gymbag.errors import FormatError
from gymbag.formats.format import Format
from gymbag.formats.hdf5 import like
from gymbag.memory import MemoryEpisode
from gymbag.schema import Schema, jsonable
from gymbag.schema.text import join_bytes, split_bytes
from gymbag.steps import Ended, Episode, Source, Step

HEAD = "gymbag"
DAMAGED = (KeyError, TypeError, ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error)
"""What reading a damaged file may raise."""
FLAGS = ("time", "reward", "terminated", "truncated")


def write(source: Source, path: Path) -> list[str]:
    """Write a data set into a new file."""
    episodes = list(source.iter_episodes())
    spaces = [source.observation_space, source.action_space]
    lost = []
    if None in spaces:
        if not episodes:
            raise FormatError(f"{path}: the source has no episode, and does not say its spaces")
        examples = (episodes[0].observations, episodes[0].actions)
        spaces = [s or like(batch) for s, batch in zip(spaces, examples, strict=True)]
        lost.append("the spaces are not known; unbounded ones of the arrays' dtypes are written")
    schema = Schema.from_spaces(*spaces)
    rows = [list(episode.steps()) for episode in episodes]
    steps = [step for some in rows for step in some]
    head = {
        "name": source.name,
        "description": source.description,
        "metadata": source.metadata,
        "env_spec": source.env_spec,
        "spaces": schema.to_json(),
        "episodes": [
            {"rows": len(some), "seed": e.seed, "options": e.options, "ended": e.ended.value}
            for e, some in zip(episodes, rows, strict=True)
        ],
    }
    arrays: dict[str, NDArray[Any]] = {
        name: np.array([getattr(step, name) for step in steps]) for name in FLAGS
    }
    null = schema.action.null()
    actions = [null if first else step.action for some in rows for first, step in _marked(some)]
    for codec, values in (
        (schema.observation, [step.observation for step in steps]),
        (schema.action, actions),
    ):
        encoded = codec.encode([codec.snapshot(value) for value in values])
        for column, array in zip(codec.columns, encoded, strict=True):
            arrays[f"column {column.name}"] = array
    infos = [jsonable.dumps(step.info).encode() if step.info else b"" for step in steps]
    arrays["info lengths"], arrays["info bytes"] = join_bytes(infos)
    arrays[HEAD] = np.frombuffer(jsonable.dumps(head).encode(), dtype=np.uint8)
    partial = path.with_name(f".{path.name}.part")
    try:
        with partial.open("wb") as file:
            np.savez_compressed(file, allow_pickle=False, **arrays)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    return lost


def _marked(rows: list[Step]) -> Iterator[tuple[bool, Step]]:
    """Return the rows, each with whether it is the reset's."""
    return ((number == 0, step) for number, step in enumerate(rows))


class NpzSource:
    """The data set of an NPZ file, read when it is opened."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
                self._arrays = {name: file[name] for name in file.files}
            self._head = jsonable.loads(self._arrays[HEAD].tobytes())
            self._schema = Schema.from_json(self._head["spaces"])
            self.name = str(self._head["name"])
            self.description = str(self._head["description"])
            self.metadata: dict[str, Any] = dict(self._head["metadata"])
            self.env_spec: str | None = self._head["env_spec"]
            self.observation_space = self._schema.observation.restore(gymnasium.spaces)
            self.action_space = self._schema.action.restore(gymnasium.spaces)
            self._rows = self._decode()
        except DAMAGED as error:
            raise FormatError(
                f"{path}: not an NPZ file of gymbag's, or damaged ({error})"
            ) from None

    def _decode(self) -> list[Step]:
        n = len(self._arrays["time"])
        cells = split_bytes(self._arrays["info lengths"], self._arrays["info bytes"])
        infos = [jsonable.loads(cell) if cell else {} for cell in cells]
        values = []
        for codec in (self._schema.observation, self._schema.action):
            arrays = iter([self._arrays[f"column {column.name}"] for column in codec.columns])
            batch = codec.decode(arrays, n)
            values.append([codec.pick(batch, row) for row in range(n)])
        times, rewards, terminated, truncated = (self._arrays[name].tolist() for name in FLAGS)
        fields = (times, *values, rewards, terminated, truncated, infos)
        rows = [Step(*row) for row in zip(*fields, strict=True)]
        if sum(episode["rows"] for episode in self._head["episodes"]) != n:
            raise ValueError("its episodes have more or fewer rows than its columns")
        return rows

    def iter_episodes(self) -> Iterator[Episode]:
        """Iterate over the episodes."""
        start = 0
        for number, episode in enumerate(self._head["episodes"]):
            stop = start + episode["rows"]
            yield MemoryEpisode(
                number,
                self._rows[start:stop],
                seed=episode["seed"],
                options=episode["options"],
                ended=Ended(episode["ended"]),
            )
            start = stop


def sniff(path: Path) -> bool:
    """Return whether it is an NPZ file with a head of ours."""
    if not path.is_file() or not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as file:
        return f"{HEAD}.npy" in file.namelist()


def read(path: Path, name: str | None) -> NpzSource:
    """Read the file; it holds one data set, so the name does not matter."""
    return NpzSource(path)


FORMAT = Format("npz", (".npz",), sniff, lambda path: [NpzSource(path).name], read, write)

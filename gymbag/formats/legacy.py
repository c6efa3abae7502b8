# SPDX-License-Identifier: LGPL-3.0-or-later
"""Files that gymbag 0.4.9 wrote: a table for each data set, in the root. Reading only.

Every number in them is a float32, infos are JSON of at most 1,024 bytes, and `done` does not
say whether an episode was terminated or truncated: it counts as terminated. A reset that no step
follows is a row in them, but no episode.
"""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from gymbag.errors import FileError, FormatError, NoSuchDataset, RecordingWarning
from gymbag.formats.format import Format
from gymbag.formats.limits import ROW_BYTES, require_fit
from gymbag.memory import MemoryEpisode, MemorySource
from gymbag.steps import Episode, Step
from gymbag.storage.frames import unpack_blosc
from gymbag.storage.look import ScannedLeaf, look

FIELDS = ("time", "observation", "action", "reward", "done", "info")
KINDS = "ifffbS"
BLOSC_FILTER = 32001
MOST_RATIO = 2_000
"""How much smaller Blosc made a chunk; 100 times is usual, for infos are mostly zeros."""
MOST_DIMENSIONS = 32
MOST_VALUES = 1 << 24
MOST_CHUNK = 64 << 20
"""Bytes; 0.4.9 had PyTables choose, who takes some 128 KiB."""


class LegacySource(MemorySource):
    """A data set of gymbag 0.4.9's, read chunk by chunk."""

    def __init__(self, path: Path, table: ScannedLeaf) -> None:
        title = table.texts.get("TITLE", b"").decode("utf-8", "replace")
        super().__init__(name=table.path[0], description=title)
        self.observation_space, self.action_space = (
            _space(path, table.texts.get(name)) for name in ("observation_space", "action_space")
        )
        self.path = path
        self.table = table

    def iter_episodes(self) -> Iterator[Episode]:
        """Iterate over the episodes; one ends where `done` is True."""
        observe, act = _converter(self.observation_space), _converter(self.action_space)
        row_bytes = self.table.dtype.itemsize + ROW_BYTES
        number, rows, said = 0, list[Step](), False
        for time, row in self._table_rows():
            info = _info(row["info"])
            if info is None and not said:
                said = True
                self._say_lost(len(row["info"]), number, len(rows))
            done = bool(row["done"])
            observation, action = observe(row["observation"]), act(row["action"])
            rows.append(
                Step(time, observation, action, row["reward"].item(), done, False, info or {})
            )
            require_fit(len(rows) * row_bytes, f"{self.path}: episode {number}")
            if done:
                if len(rows) > 1:
                    yield MemoryEpisode(number, rows)
                    number += 1
                rows = []
        if len(rows) > 1:
            yield MemoryEpisode(number, rows)

    def _table_rows(self) -> Iterator[tuple[float, Any]]:
        """Iterate over the times and rows."""
        table = self.table
        with self.path.open("rb") as file:
            for number, offset, size in zip(
                table.numbers.tolist(), table.offsets.tolist(), table.sizes.tolist(), strict=True
            ):
                file.seek(offset)
                rows = _unpacked(self.path, table, file.read(size))
                rows = rows[: table.rows - number * table.chunk_rows]
                # PyTables' times are two integers of 32 bits, seconds and microseconds.
                clock = rows["time"].astype("<i8").view("<i4").reshape(-1, 2)
                times = clock[:, 1] + clock[:, 0] * 1e-6
                yield from zip(times.tolist(), rows, strict=True)

    def _say_lost(self, nbytes: int, episode: int, step: int) -> None:
        warnings.warn(
            f"{self.path}: the info of episode {episode}, step {step} was cut off at {nbytes} "
            "bytes when it was written, and is lost; so may be later ones",
            RecordingWarning,
            stacklevel=3,
        )

    def __repr__(self) -> str:
        return f"<LegacySource {self.name!r} in {str(self.path)!r}>"


def _unpacked(path: Path, table: ScannedLeaf, chunk: bytes) -> NDArray[Any]:
    """Return the rows of a chunk; what it says of itself is checked before Blosc sees it."""
    try:
        return unpack_blosc(chunk, table.dtype, (table.chunk_rows,))
    except FileError as error:
        raise _damaged(path, str(error)) from None


def _damaged(path: Path, found: str) -> FormatError:
    return FormatError(f"{path}: cannot be read as gymbag 0.4.9's: {found}; it may be damaged")


def _tables(path: Path) -> dict[str, ScannedLeaf]:
    """Return the tables of 0.4.9's by name, without letting HDF5 at the file in this process."""
    try:
        scan = look(path)
    except FileError as error:
        raise FormatError(f"{path}: cannot be read as gymbag 0.4.9's: {error}") from error
    return {
        leaf.path[0]: leaf
        for leaf in sorted(scan.leaves, key=lambda leaf: leaf.path)
        if scan.legacy and leaf.dtype.names == FIELDS and _sound(path, leaf)
    }


def _sound(path: Path, table: ScannedLeaf) -> bool:
    """Check that a table is built as 0.4.9 built it.

    Raises:
        FormatError: it is not, and might take time or memory without end.
    """
    kinds = "".join(table.dtype[name].base.kind for name in FIELDS)
    single = all(not table.dtype[name].shape for name in ("time", "reward", "done", "info"))
    if kinds != KINDS or not single or table.dtype["time"].itemsize != 8:
        raise _damaged(path, f"a table of {table.dtype!s:.200}")
    if [number for number, *_ in table.filters] != [BLOSC_FILTER]:
        raise _damaged(path, "a table that is not compressed with Blosc")
    nbytes = table.chunk_rows * table.dtype.itemsize
    chunks = -(-table.rows // table.chunk_rows)
    stored = int(table.sizes.sum(dtype=np.uint64))
    # Many chunks can be said to lie in the same place, and so be more than the whole file.
    much = stored > path.stat().st_size or chunks * nbytes > MOST_RATIO * stored
    if nbytes > MOST_CHUNK or len(table.numbers) != chunks or much:
        raise _damaged(
            path,
            f"{len(table.numbers)} chunks of {nbytes} bytes, stored in {stored}, for "
            f"{table.rows} rows",
        )
    return True


def _info(cell: bytes) -> dict[str, Any] | None:
    """Return the info of a cell, or None if it was cut off."""
    try:
        info = json.loads(cell) if cell else {}
    except (ValueError, RecursionError):
        return None
    return info if isinstance(info, dict) else None


def _converter(space: Any) -> Callable[[Any], Any]:
    """Return what makes a value of the space of the float32 that stands for it."""
    if isinstance(space, spaces.Discrete):
        return lambda value: np.int64(np.nan_to_num(value))
    return np.asarray


def _space(path: Path, text: bytes | None) -> Any:
    """Return a space of 0.4.9's JSON, or None if there is none that is understood."""
    if text is None:
        return None
    try:
        match json.loads(text):
            case {"name": "gym.spaces.Discrete", "args": [int(n)]}:
                return spaces.Discrete(n)
            case {"name": "gym.spaces.Box", "args": [low, high, list(shape)]}:
                return _box(low, high, shape)
            case {"name": "gym.spaces.Box", "args": [low, high]}:
                return _box(low, high, np.shape(low))
    except (ValueError, TypeError, AssertionError, OverflowError, RecursionError):
        pass
    warnings.warn(
        f"{path}: the description of a space is not understood: {text!r:.200}",
        RecordingWarning,
        stacklevel=4,
    )
    return None


def _box(low: Any, high: Any, shape: Any) -> spaces.Box:
    if math.prod(map(int, shape[:MOST_DIMENSIONS])) > MOST_VALUES or len(shape) > MOST_DIMENSIONS:
        raise ValueError("larger than anything that 0.4.9 could record")
    with np.errstate(over="ignore"):
        bounds = [np.broadcast_to(np.asarray(x, dtype=np.float32), shape) for x in (low, high)]
    return spaces.Box(bounds[0].copy(), bounds[1].copy(), dtype=np.float32)


def names(path: Path) -> list[str]:
    """Return the names of the data sets, sorted."""
    return list(_tables(path))


def sniff(path: Path) -> bool:
    """Return whether it is a file with a table of 0.4.9's in its root."""
    try:
        return path.is_file() and bool(names(path))
    except FormatError:
        return False


def read(path: Path, name: str | None) -> LegacySource:
    """Read one of the data sets."""
    held = _tables(path)
    if not held:
        raise FormatError(f"{path}: not a file of gymbag 0.4.9's; it has no table of its kind")
    if name is None and len(held) > 1:
        raise NoSuchDataset(f"{path}: holds {', '.join(map(repr, held))}; say which, as name=")
    if name is not None and name not in held:
        raise NoSuchDataset(f"{path}: no data set {name!r}; it holds {', '.join(map(repr, held))}")
    return LegacySource(path, held[name or next(iter(held))])


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

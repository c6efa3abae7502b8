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
from collections.abc import Iterator
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
from gymbag.storage import disk
from gymbag.storage.frames import unpack_blosc
from gymbag.storage.libhdf5 import UNREADABLE
from gymbag.storage.look import RESCUE, ScannedLeaf, look

FIELDS = ("time", "observation", "action", "reward", "done", "info")
KINDS = "ifffbS"
BLOSC_FILTER = 32001
MOST_RATIO = 2_000
"""How much smaller Blosc made a chunk; 100 times is usual, for infos are mostly zeros."""
MOST_DIMENSIONS = 32
MOST_VALUES = 1 << 24
MOST_CHUNK = 64 << 20
"""Bytes; 0.4.9 had PyTables choose, who takes some 128 KiB."""
MOST_OVERHEAD = 16
"""By how many bytes Blosc makes a chunk larger that it cannot compress."""

Row = tuple[float, Any]
"""Its time, and all its fields."""


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
        number, said = 0, False
        for rows in self._grouped():
            if len(rows) == 1:
                continue
            steps = list[Step]()
            for time, row in rows:
                info = _info(row["info"])
                if info is None and not said:
                    said = True
                    self._say_lost(len(row["info"]), number, len(steps))
                steps.append(self._step(time, row, info or {}))
            yield MemoryEpisode(number, steps)
            number += 1

    def _step(self, time: float, row: Any, info: dict[str, Any]) -> Step:
        observation = _converted(self.observation_space, row["observation"])
        action = _converted(self.action_space, row["action"])
        return Step(time, observation, action, row["reward"].item(), bool(row["done"]), False, info)

    def _grouped(self) -> Iterator[list[Row]]:
        """Iterate over the rows of each episode; a reset alone is among them."""
        rows = list[Row]()
        for row in self._table_rows():
            rows.append(row)
            what = f"{self.path}: the episode that begins at the time {rows[0][0]}"
            require_fit(len(rows) * self._row_bytes, what)
            if row[1]["done"]:
                yield rows
                rows = []
        if rows:
            yield rows

    @property
    def _row_bytes(self) -> int:
        """What a row takes in memory."""
        return self.table.dtype.itemsize + ROW_BYTES

    def _table_rows(self) -> Iterator[Row]:
        """Iterate over the times and rows."""
        with self.path.open("rb") as file:
            for index, number in enumerate(self.table.numbers.tolist()):
                try:
                    rows = read_chunk(file.fileno(), self.table, index)
                except FileError as error:
                    raise _damaged(self.path, str(error)) from None
                rows = rows[: self.table.rows - number * self.table.chunk_rows]
                yield from zip(times_of(rows).tolist(), rows, strict=True)

    def _say_lost(self, nbytes: int, episode: int, step: int) -> None:
        warnings.warn(
            f"{self.path}: the info of episode {episode}, step {step} was cut off at {nbytes} "
            "bytes when it was written, and is lost; so may be later ones",
            RecordingWarning,
            stacklevel=3,
        )

    def __repr__(self) -> str:
        return f"<LegacySource {self.name!r} in {str(self.path)!r}>"


def read_chunk(descriptor: int, table: ScannedLeaf, index: int) -> NDArray[Any]:
    """Return the rows of a chunk, those behind the last of the table included.

    What the chunk says of itself is checked before Blosc sees it.

    Raises:
        FileError: it is damaged, or the disk does not give it.
    """
    size = int(table.sizes[index])
    if size > table.chunk_rows * table.dtype.itemsize + MOST_OVERHEAD:
        raise FileError(f"a chunk of {size} bytes, longer than its values")
    try:
        chunk = disk.read_at(descriptor, size, int(table.offsets[index]))
    except OSError as error:
        raise FileError(f"a chunk that cannot be read ({error.strerror})") from error
    if len(chunk) < size:
        raise FileError("the file ends before the chunk does")
    rows = unpack_blosc(chunk, table.dtype, (table.chunk_rows,))
    options = table.filters[0][2]
    if len(options) > 2 and chunk[3] != options[2]:
        raise FileError(f"a chunk of values of {chunk[3]} bytes where {options[2]} belong")
    return rows


def times_of(rows: NDArray[Any]) -> NDArray[np.float64]:
    """Return the Unix times of rows; PyTables' are two integers of 32 bits."""
    clock = clock_of(rows)
    times: NDArray[np.float64] = clock[:, 1] + clock[:, 0] * 1e-6
    return times


def clock_of(rows: NDArray[Any]) -> NDArray[np.int32]:
    """Return the times of rows as microseconds and seconds."""
    return rows["time"].astype("<i8").view("<i4").reshape(-1, 2)


def _damaged(path: Path, found: str) -> FormatError:
    return FormatError(
        f"{path}: cannot be read as gymbag 0.4.9's: {found}; it may be damaged; {RESCUE}"
    )


def _tables(path: Path) -> dict[str, ScannedLeaf]:
    """Return the tables of 0.4.9's by name, without letting HDF5 at the file in this process."""
    try:
        scan = look(path)
    except FileError as error:
        raise FormatError(f"{path}: cannot be read as gymbag 0.4.9's: {error}") from error
    for place, reason in scan.refused.items() if scan.legacy else ():
        # To leave it out without a word would pass off a part as the whole.
        if reason.startswith(UNREADABLE):
            raise _damaged(path, f"/{'/'.join(place)}: {reason}")
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
    found = unusual(table, path.stat().st_size)
    if found is None and len(table.numbers) != -(-table.rows // table.chunk_rows):
        found = f"{len(table.numbers)} chunks for {table.rows} rows"
    if found is not None:
        raise _damaged(path, found)
    return True


def unusual(table: ScannedLeaf, size: int) -> str | None:
    """Return in what a table is not as 0.4.9 built it, and might take time or memory without end.

    Args:
        table: the table.
        size: how many bytes the file has.
    """
    if table.dtype.names != FIELDS:
        return f"a table of {table.dtype!s:.200}"
    kinds = "".join(table.dtype[name].base.kind for name in FIELDS)
    single = all(not table.dtype[name].shape for name in ("time", "reward", "done", "info"))
    empty = any(0 in table.dtype[name].shape for name in FIELDS)
    if kinds != KINDS or not single or empty or table.dtype["time"].itemsize != 8:
        return f"a table of {table.dtype!s:.200}"
    if [number for number, *_ in table.filters] != [BLOSC_FILTER]:
        return "a table that is not compressed with Blosc"
    nbytes = table.chunk_rows * table.dtype.itemsize
    stored = int(table.sizes.sum(dtype=np.uint64))
    # Many chunks can be said to lie in the same place, and so be more than the whole file.
    if nbytes > MOST_CHUNK or stored > size or len(table.sizes) * nbytes > MOST_RATIO * stored:
        return (
            f"{len(table.numbers)} chunks of {nbytes} bytes, stored in {stored}, for "
            f"{table.rows} rows"
        )
    return None


def _info(cell: bytes) -> dict[str, Any] | None:
    """Return the info of a cell, or None if it was cut off."""
    try:
        info = json.loads(cell) if cell else {}
    except (ValueError, RecursionError):
        return None
    return info if isinstance(info, dict) else None


def _converted(space: Any, value: Any) -> Any:
    """Return the value of the space that a float32 stands for."""
    return (
        np.int64(np.nan_to_num(value)) if isinstance(space, spaces.Discrete) else np.asarray(value)
    )


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
        return path.is_file() and look(path).legacy
    except FileError:
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

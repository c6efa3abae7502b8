# SPDX-License-Identifier: LGPL-3.0-or-later
"""Arrays of D4RL's as episodes.

An episode ends where ``terminals`` or ``timeouts`` says so. Row i of all arrays belongs together:
the observation before action i, the action, its reward, and ``infos/…`` as they were with that
observation. Where there are ``next_observations``, and no ``timeouts``, an episode also ends where
the next observation is not the one that the next row has: so it is with what D4RL's
``qlearning_dataset`` returns, which leaves out the steps of timeouts.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from gymbag.errors import FormatError, RecordingWarning
from gymbag.formats.aligned import aligned_episode
from gymbag.formats.group import FileGroup, holds
from gymbag.formats.infos import fill
from gymbag.formats.limits import ROW_BYTES, require_fit
from gymbag.formats.process import require_installed
from gymbag.steps import Episode

BLOCK_BYTES = 16 << 20
NEEDED = ("observations", "actions", "rewards", "terminals")
FLAT = ("rewards", "terminals", "timeouts")
"""Arrays of one number for each row; some files have them as (N, 1)."""
ROWS = (*NEEDED, "timeouts", "next_observations")
INFOS, METADATA = "infos/", "metadata/"

Arrays = dict[str, NDArray[Any]]


Shapes = dict[str, tuple[Any, tuple[int, ...]]]
"""Dtype and shape by name; the dtype of text is None."""


class Columns(Protocol):
    """Arrays by name, such as ``infos/qpos``, of which a part can be taken."""

    where: str
    shapes: Shapes

    def parts(self, names: list[str], bounds: Iterable[tuple[int, int]]) -> Iterator[Arrays]:
        """Iterate over the arrays of these names, each time from the one to the other row."""

    def values(self, names: list[str]) -> dict[str, Any]:
        """Return whole arrays or texts."""


class D4RLSource:
    """A data set of D4RL's, read some episodes at a time. It knows no spaces."""

    observation_space = None
    action_space = None
    env_spec = None
    description = ""

    def __init__(self, columns: Columns, name: str, max_episode_steps: int | None = None) -> None:
        self.name = name
        self._columns = columns
        self._limit = max_episode_steps
        shapes = columns.shapes
        for key in NEEDED:
            if key not in shapes:
                raise FormatError(f"{columns.where}: no array {key!r}, which all of D4RL's have")
        self.rows = next(iter(shapes["observations"][1]), 0)
        for key in [*ROWS, *shapes]:
            dtype, shape = shapes.get(key, (None, None))
            if shape is None or not (key in ROWS or key.startswith(INFOS)):
                continue
            if key not in ROWS and (dtype is None or shape[:1] != (self.rows,)):
                self._say(f"{key} is not read; it is no array of {self.rows} numbers or arrays")
            elif dtype is None or shape[:1] != (self.rows,) or (key in FLAT and not _flat(shape)):
                raise FormatError(
                    f"{columns.where}: {key}: found {_kind(dtype, shape)}; expected an array with "
                    f"{self.rows} rows, as observations has"
                )
        ours = (INFOS, METADATA)
        other = [key for key in shapes if key not in ROWS and not key.startswith(ours)]
        if other:
            self._say(f"{', '.join(other)}: not read; D4RL has no such arrays")

    def _say(self, what: str) -> None:
        warnings.warn(f"{self._columns.where}: {what}", RecordingWarning, stacklevel=4)

    @cached_property
    def metadata(self) -> dict[str, Any]:
        """What stands under ``metadata/``, without that."""
        names = [key for key in self._columns.shapes if key.startswith(METADATA)]
        found = self._columns.values(names) if names else {}
        return {name.removeprefix(METADATA): value for name, value in found.items()}

    def iter_episodes(self) -> Iterator[Episode]:
        """Iterate over the episodes.

        Raises:
            FormatError: the file is damaged, or an episode is larger than memory may be taken.
        """
        columns = self._columns
        infos = [
            key
            for key, (dtype, shape) in columns.shapes.items()
            if key.startswith(INFOS) and dtype is not None and shape[:1] == (self.rows,)
        ]
        names = [name for name in ROWS if name in columns.shapes] + infos
        width = ROW_BYTES + sum(_width(*columns.shapes[name]) for name in names)
        ends = self._ends()
        blocks = list(_blocks(ends, max(1, BLOCK_BYTES // width)))
        for start, stop in blocks:
            require_fit((stop - start) * width, f"{columns.where}: rows {start} to {stop}")
        number = 0
        for (start, stop), arrays in zip(blocks, columns.parts(names, blocks), strict=True):
            first = start
            for end in ends[(ends > start) & (ends <= stop)].tolist():
                part = {key: array[first - start : end - start] for key, array in arrays.items()}
                yield self._episode(number, part, infos)
                number, first = number + 1, end

    def _episode(self, number: int, part: Arrays, infos: list[str]) -> Episode:
        n = len(part["actions"])
        found: list[dict[str, Any]] = [{} for _ in range(n)]
        for key in infos:
            keys = tuple(key.removeprefix(INFOS).split("/"))
            fill(found, keys, part[key], self._columns.where)
        following = part.get("next_observations")
        timeouts = part.get("timeouts", np.zeros(n, np.bool_)).reshape(-1)
        return aligned_episode(
            number,
            list(part["observations"]),
            list(part["actions"]),
            part["rewards"].reshape(-1).astype(np.float64).tolist(),
            terminated=bool(part["terminals"].reshape(-1)[-1]),
            truncated=bool(timeouts[-1]) or (self._limit is not None and n == self._limit),
            final=None if following is None else following[-1],
            infos=found,
        )

    def _ends(self) -> NDArray[np.int64]:
        """Return the row behind each episode, ascending."""
        columns, n = self._columns, self.rows
        if n == 0:
            return np.empty(0, np.int64)
        flags = [name for name in columns.shapes if name in ("terminals", "timeouts")]
        require_fit(sum(n * _width(*columns.shapes[name]) for name in flags), columns.where)
        ended = np.zeros(n, np.bool_)
        for array in next(columns.parts(flags, [(0, n)])).values():
            ended |= array.reshape(-1) != 0
        if "timeouts" not in columns.shapes and "next_observations" in columns.shapes:
            self._split(ended)
        ends = np.flatnonzero(ended) + 1
        if self._limit is not None:
            whole = zip([0, *ends.tolist()], [*ends.tolist(), n], strict=True)
            cuts = [k for a, b in whole for k in range(a + self._limit, b, self._limit)]
            ends = np.concatenate([ends, np.array(cuts, np.int64)])
        return np.unique(np.append(ends, n)).astype(np.int64)

    def _split(self, ended: NDArray[np.bool_]) -> None:
        """Note the rows whose next observation is not that of the next row."""
        names = ["observations", "next_observations"]
        widths = sum(_width(*self._columns.shapes[name]) for name in names)
        size = max(2, BLOCK_BYTES // max(widths, 1))
        bounds = [(k, min(k + size, self.rows)) for k in range(0, self.rows - 1, size - 1)]
        for (start, stop), part in zip(bounds, self._columns.parts(names, bounds), strict=True):
            one, other = part["next_observations"][:-1], part["observations"][1:]
            differ = (one != other) & ~((one != one) & (other != other))
            ended[start : stop - 1] |= differ.reshape(len(one), -1).any(axis=1)

    def __repr__(self) -> str:
        return f"<D4RLSource {self.name!r}: {self.rows} steps>"


class DictColumns:
    """The arrays of a dictionary."""

    where = "D4RL's dictionary"

    def __init__(self, dataset: Mapping[str, Any]) -> None:
        self._arrays: dict[str, Any] = {
            str(key): value if isinstance(value, str | bytes) else np.asarray(value)
            for key, value in dataset.items()
        }
        self.shapes: Shapes = {
            key: (array.dtype, array.shape)
            if isinstance(array, np.ndarray) and array.dtype.kind in "biufc"
            else (None, np.shape(array))
            for key, array in self._arrays.items()
        }

    def parts(self, names: list[str], bounds: Iterable[tuple[int, int]]) -> Iterator[Arrays]:
        """Iterate over the arrays of these names, each time from the one to the other row."""
        for start, stop in bounds:
            yield {name: self._arrays[name][start:stop] for name in names}

    def values(self, names: list[str]) -> dict[str, Any]:
        """Return whole arrays or texts."""
        return {name: _plain(self._arrays[name]) for name in names}


class FileColumns:
    """The arrays of an HDF5 file, of which only parts are in memory."""

    def __init__(self, path: Path) -> None:
        require_installed(("h5py",), f"{path}: to read D4RL's files", "d4rl")
        self.where = str(path)
        self._group = FileGroup(path)
        self.shapes: Shapes = {
            "/".join(keys): shape for keys, shape in self._group.shapes().items()
        }

    def parts(self, names: list[str], bounds: Iterable[tuple[int, int]]) -> Iterator[Arrays]:
        """Iterate over the arrays of these names, each time from the one to the other row."""
        for leaves in self._group.arrays([tuple(name.split("/")) for name in names], bounds):
            yield {"/".join(path): leaf for path, leaf in leaves.items()}

    def values(self, names: list[str]) -> dict[str, Any]:
        """Return whole arrays or texts."""
        found = next(self._group.arrays([tuple(name.split("/")) for name in names]))
        return {"/".join(path): _plain(leaf) for path, leaf in found.items() if leaf is not None}


def from_d4rl(
    dataset: Mapping[str, Any], *, name: str = "", max_episode_steps: int | None = None
) -> D4RLSource:
    """Return the episodes of a dictionary like ``env.get_dataset()`` of D4RL's.

    Args:
        dataset: arrays with N rows; see `gymbag.formats.d4rl`. They are not copied.
        name: what to call the data set.
        max_episode_steps: after how many steps an episode was truncated, for data sets without
            ``timeouts``.

    Raises:
        FormatError: an array is missing, or has another number of rows.

    >>> steps = {"observations": np.eye(3), "actions": np.ones((3, 1)), "rewards": np.arange(3.0)}
    >>> source = from_d4rl({**steps, "terminals": [False, True, False]})
    >>> [episode.ended.value for episode in source.iter_episodes()]
    ['terminated', 'unknown']
    >>> next(source.iter_episodes()).observations[-1]  # was never kept
    array([nan, nan, nan])
    """
    if max_episode_steps is not None and max_episode_steps < 1:
        raise FormatError(f"max_episode_steps: found {max_episode_steps}; expected 1 or more")
    return D4RLSource(DictColumns(dataset), name, max_episode_steps)


def read(path: Path, name: str | None) -> D4RLSource:
    """Read the file; it holds one data set, so the name does not matter."""
    return D4RLSource(FileColumns(path), path.stem)


def names(path: Path) -> list[str]:
    """Return the name of its one data set: D4RL keeps none, so the file's."""
    return [path.stem]


def sniff(path: Path) -> bool:
    """Return whether it is an HDF5 file with D4RL's arrays in its root."""
    return holds(path, (), set(NEEDED).issubset)


def _blocks(ends: NDArray[np.int64], most: int) -> Iterator[tuple[int, int]]:
    """Iterate over runs of whole episodes, of so many rows at most if an episode has no more."""
    start = last = 0
    for end in ends.tolist():
        if last > start and end - start > most:
            yield start, last
            start = last
        last = end
    if last > start:
        yield start, last


def _flat(shape: tuple[int, ...]) -> bool:
    return math.prod(shape[1:]) == 1


def _width(dtype: Any, shape: tuple[int, ...]) -> int:
    return math.prod(shape[1:]) * (0 if dtype is None else dtype.itemsize)


def _kind(dtype: Any, shape: tuple[int, ...]) -> str:
    return f"{'texts' if dtype is None else dtype} of shape {shape}"


def _plain(value: Any) -> Any:
    """Return a text or a number as Python has it, where an array holds but one."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, list) and len(value) == 1:
        return value[0]
    return value.item() if isinstance(value, np.ndarray) and not value.ndim else value

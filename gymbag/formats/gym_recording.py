# SPDX-License-Identifier: LGPL-3.0-or-later
"""Directories that gym_recording wrote: manifests, JSON, and raw arrays. Reading only.

They say nothing of spaces, times, infos and ends of episodes. What they do not say is not
invented: times are NaN, infos empty, flags False, and the ends unknown. A reset that no step
follows is no episode.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gymbag.errors import FormatError
from gymbag.formats.format import Format
from gymbag.formats.limits import ROW_BYTES, read_json, require_fit, require_plain
from gymbag.memory import MemoryEpisode, MemorySource
from gymbag.steps import Ended, Episode, Step

MANIFESTS = "*.manifest.json"
WHOSE = "gym_recording"
MOST_DIMENSIONS = 32
LONGEST_DTYPE = 16


class TraceSource(MemorySource):
    """The episodes of a directory, read one by one."""

    def __init__(self, directory: Path) -> None:
        super().__init__(name=directory.name)
        self.directory = directory

    def iter_episodes(self) -> Iterator[Episode]:
        """Iterate over the episodes in the order of their recording."""
        number = 0
        for manifest in sorted(self.directory.glob(MANIFESTS), key=_recorded):
            found = read_json(inside(self.directory, manifest.name), WHOSE)
            for batch in _field(found, "batches", list, manifest):
                path = inside(self.directory, _field(batch, "fn", str, manifest))
                for content in _field(read_json(path, WHOSE), "episodes", list, path):
                    rows = _rows(content, path)
                    if len(rows) > 1:
                        yield MemoryEpisode(number, rows, ended=Ended.UNKNOWN)
                        number += 1

    def __repr__(self) -> str:
        return f"<TraceSource of {str(self.directory)!r}>"


def _recorded(manifest: Path) -> tuple[list[int], str]:
    """Return what sorts manifests: the numbers of the recorder and the process, as numbers."""
    return [int(digits) for digits in re.findall("[0-9]+", manifest.name)], manifest.name


def inside(directory: Path, name: str) -> Path:
    """Return the path of a file that another file names.

    Raises:
        FormatError: it is not the plain name of a plain file in the directory.
    """
    if Path(name).name != name or set(name) & {"\\", "\0"} or name in ("", ".", ".."):
        raise FormatError(f"{directory}: names the file {name!r:.100}, which is not inside it")
    path = directory / name
    require_plain(path)
    return path


def _rows(content: Any, path: Path) -> list[Step]:
    """Return the rows of an episode; none if it has no action."""
    fields = [
        _field(content, key, list | dict, path) for key in ("actions", "observations", "rewards")
    ]
    # The same bytes may be named over and over, so that they add up to any size.
    described = [_described(d, path) for f in fields for d in (f if isinstance(f, list) else [f])]
    nbytes = sum(dtype.itemsize * math.prod(shape) for _, dtype, shape, _ in described)
    count = fields[2]["shape"][0] if isinstance(fields[2], dict) else len(fields[2])
    require_fit(nbytes + ROW_BYTES * count, f"{path}: an episode of {count} rewards")
    actions, observations, rewards = (_values(field, path) for field in fields)
    if np.size(rewards) == 0 and len(observations) <= 1:
        return []
    n = len(rewards)
    if len(observations) != n + 1 or len(actions) != n or np.ndim(rewards) != 1:
        raise FormatError(
            f"{path}: an episode has {len(observations)} observations, {len(actions)} actions "
            f"and {n} rewards; expected one observation more than the others"
        )
    null = np.full_like(actions[0], np.nan if np.asarray(actions[0]).dtype.kind == "f" else 0)
    taken = [null[()], *actions]
    got = [math.nan, *np.asarray(rewards, dtype=np.float64).tolist()]
    return [
        Step(math.nan, observation, action, reward, False, False, {})
        for observation, action, reward in zip(observations, taken, got, strict=True)
    ]


def _values(described: Any, path: Path) -> Any:
    """Return an array, or a list of arrays if there is one for each row."""
    if isinstance(described, list):
        return [_array(item, path) for item in described]
    return _array(described, path)


def _array(described: Any, path: Path) -> NDArray[Any]:
    file, dtype, shape, offset = _described(described, path)
    return np.fromfile(file, dtype, math.prod(shape), offset=offset).reshape(shape)


def _described(described: Any, path: Path) -> tuple[Path, np.dtype[Any], tuple[int, ...], int]:
    """Return file, dtype, shape and offset of an array.

    Raises:
        FormatError: it is no array of numbers, or the file is not as large as it has to be.
    """
    name, shape = _field(described, "dtype", str, path), _field(described, "shape", list, path)
    offset = _field(described, "npyoff", int, path)
    try:
        dtype = np.dtype(name if len(name) <= LONGEST_DTYPE else object)
    except (TypeError, ValueError, SyntaxError):
        dtype = np.dtype(object)
    sizes = [*shape[:MOST_DIMENSIONS], offset]
    sizes_are_sizes = all(type(size) is int and 0 <= size < 2**62 for size in sizes)
    few = 0 < len(shape) <= MOST_DIMENSIONS
    if dtype.kind not in "biufc" or not few or not sizes_are_sizes:
        raise FormatError(
            f"{path}: describes an array of shape {shape!r:.100} and dtype {name!r:.100} at byte "
            f"{offset!r:.100}; expected numbers in 1 to {MOST_DIMENSIONS} dimensions"
        )
    file = inside(path.parent, _field(described, "npyfile", str, path))
    nbytes, held = math.prod(shape) * dtype.itemsize, file.stat().st_size
    if described.get("size", nbytes) != nbytes or described.get("order", "C") != "C":
        raise FormatError(f"{path}: describes an array of {nbytes} bytes as {described!r:.300}")
    if offset + nbytes > held:
        raise FormatError(
            f"{file}: has {held} bytes, and {path.name} needs {offset + nbytes} of it; "
            "it may be cut off"
        )
    return file, dtype, tuple(shape), offset


def _field(content: Any, key: str, kind: Any, path: Path) -> Any:
    if not isinstance(content, dict) or not isinstance(content.get(key), kind):
        raise FormatError(
            f"{path}: not what gym_recording writes; {key!r} is missing, or of another type"
        )
    return content[key]


def sniff(path: Path) -> bool:
    """Return whether it is a directory with a manifest."""
    return path.is_dir() and any(path.glob(MANIFESTS))


def read(path: Path, name: str | None) -> TraceSource:
    """Read the directory; it holds one data set, so the name does not matter."""
    if not sniff(path):
        raise FormatError(f"{path}: no directory of gym_recording's; it has no {MANIFESTS}")
    return TraceSource(path)


FORMAT = Format(
    "gym_recording",
    (),
    sniff,
    lambda path: [path.name],
    read,
    lacks=(
        "gym_recording keeps no spaces, no times, no infos and no seeds",
        "gym_recording does not say how an episode ended",
    ),
)

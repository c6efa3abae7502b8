# SPDX-License-Identifier: LGPL-3.0-or-later
"""Directories that gym_recording wrote: manifests, JSON, and raw arrays. Reading only.

They say nothing of spaces, times, infos and ends of episodes. What they do not say is not
invented: times are NaN, infos empty, flags False, and the ends unknown.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from gymbag.errors import FormatError
from gymbag.formats.format import Format
from gymbag.memory import MemoryEpisode, MemorySource
from gymbag.steps import Ended, Episode, Step

MANIFESTS = "*.manifest.json"


class TraceSource(MemorySource):
    """The episodes of a directory, read batch by batch."""

    def __init__(self, directory: Path) -> None:
        super().__init__(name=directory.name)
        self.directory = directory

    def iter_episodes(self) -> Iterator[Episode]:
        """Iterate over the episodes in the order of their recording."""
        number = 0
        for manifest in sorted(self.directory.glob(MANIFESTS)):
            for batch in _field(_json(manifest), "batches", manifest):
                path = inside(self.directory, _field(batch, "fn", manifest))
                for episode in _field(_json(path), "episodes", path):
                    yield _episode(number, episode, path)
                    number += 1


def inside(directory: Path, name: Any) -> Path:
    """Return the path of a file that another file names.

    Raises:
        FormatError: it is not a plain name of a file in the directory.
    """
    if not isinstance(name, str) or Path(name).name != name or name in ("", ".", ".."):
        raise FormatError(f"{directory}: names the file {name!r}, which is not inside it")
    path = directory / name
    if path.is_symlink() or not path.is_file():
        raise FormatError(f"{directory}: the file {name!r} is missing, or a link")
    return path


def _episode(number: int, content: Any, path: Path) -> MemoryEpisode:
    actions, observations, rewards = (
        _values(_field(content, key, path), path) for key in ("actions", "observations", "rewards")
    )
    n = len(observations) - 1
    if n < 0 or len(rewards) not in (n, 0) or (n and len(actions) != n):
        raise FormatError(
            f"{path}: episode {number} has {len(observations)} observations, {len(actions)} "
            f"actions and {len(rewards)} rewards; expected one observation more than the others"
        )
    rows = [Step(math.nan, observations[0], _null(actions, n), math.nan, False, False, {})]
    rows += [
        Step(math.nan, observations[k + 1], actions[k], float(rewards[k]), False, False, {})
        for k in range(n)
    ]
    return MemoryEpisode(number, rows, ended=Ended.UNKNOWN)


def _null(actions: Any, n: int) -> Any:
    if not n:
        return None
    first = np.asarray(actions[0])
    return np.full_like(first, np.nan if first.dtype.kind == "f" else 0)[()]


def _values(content: Any, path: Path) -> Any:
    """Return an array, or the arrays of a list of them."""
    if isinstance(content, list):
        return [_values(item, path) for item in content]
    dtype = np.dtype(str(_field(content, "dtype", path)))
    shape, offset = _field(content, "shape", path), _field(content, "npyoff", path)
    file = inside(path.parent, _field(content, "npyfile", path))
    sizes = [*shape, offset] if isinstance(shape, list) else [None]
    if dtype.hasobject or not all(isinstance(size, int) and size >= 0 for size in sizes):
        raise FormatError(f"{path}: describes an array of shape {shape} and dtype {dtype}")
    nbytes = math.prod(shape) * dtype.itemsize
    if offset + nbytes > file.stat().st_size:
        raise FormatError(f"{file}: shorter than {path.name} says; it may be cut off")
    values = np.fromfile(file, dtype, math.prod(shape), offset=offset)
    return values.reshape(shape, order=content.get("order", "C"))


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text("utf-8"))
    except (UnicodeDecodeError, ValueError, RecursionError) as error:
        raise FormatError(f"{path}: not the JSON of gym_recording ({error})") from None


def _field(content: Any, key: str, path: Path) -> Any:
    if not isinstance(content, dict) or key not in content:
        raise FormatError(f"{path}: not what gym_recording writes; {key!r} is missing")
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

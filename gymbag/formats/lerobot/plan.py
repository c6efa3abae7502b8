# SPDX-License-Identifier: LGPL-3.0-or-later
"""Which features of LeRobot's a data set becomes, and what has no place in them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from gymnasium import spaces

from gymbag.errors import FormatError
from gymbag.formats.infos import columns
from gymbag.formats.lerobot.info import KEY, OWN
from gymbag.formats.losses import Losses
from gymbag.schema import child_path
from gymbag.steps import Source, Step

ARRAYS = (spaces.Box, spaces.Discrete, spaces.MultiDiscrete, spaces.MultiBinary)
PICTURE_CHANNELS = (1, 3, 4)
RESERVED = ("observation", "action", "next", "task", "task_index", *OWN)
KNOWN = ("reward", "done", "terminated", "truncated")
"""What follows next., and is no info."""
NOT_KEPT = (
    "info: not kept where a key is not in every row but the final ones, or changes its type or "
    "shape, or has a dot, or means something else there"
)

Keys = tuple[str, ...]
Columns = dict[str, Any]


def is_picture(space: Any) -> bool:
    """Return whether the values of a space are kept as PNG: bytes, (H, W) or (H, W, C)."""
    if not isinstance(space, spaces.Box) or space.dtype != np.uint8:
        return False
    return len(space.shape) == 2 or (len(space.shape) == 3 and space.shape[2] in PICTURE_CHANNELS)


def leaves(space: Any, prefix: str, lost: Losses) -> dict[str, tuple[Keys, Any]]:
    """Return the features of a space: for each the path to its value, and its space.

    Raises:
        FormatError: LeRobot has no place for a space, or a key.
    """
    found: dict[str, tuple[Keys, Any]]
    if not isinstance(space, spaces.Dict):
        lone = "" if prefix == "action" else ".image" if is_picture(space) else ".state"
        found = {prefix + lone: ((), _array(space, prefix))}
    else:
        found = {
            ".".join((prefix, *path)): (path, below) for path, below in _walk(space, (), prefix)
        }
        if len(found) == 1 and set(found) & {"observation.state", "observation.image"}:
            lost.add(f"{prefix}: a lone state or image is read as an array, and not as a dict")
    for key, (_, below) in found.items():
        if not below.shape:
            lost.add("shape: a single number is read as an array of one", key)
        elif is_picture(below) and len(below.shape) == 2:
            lost.add("shape: a grey image is read with an axis for its one channel", key)
    return found


def _walk(space: Any, path: Keys, where: str) -> Iterator[tuple[Keys, Any]]:
    for key, below in space.spaces.items():
        if not isinstance(key, str) or "." in key or not KEY.fullmatch(key):
            raise FormatError(
                f"{where}: the key {key!r:.100} can be part of no feature's name; expected a text "
                "without dots and slashes; choose another format"
            )
        inner = child_path(where, key)
        if isinstance(below, spaces.Dict):
            yield from _walk(below, (*path, key), inner)
        else:
            yield (*path, key), _array(below, inner)


def _array(space: Any, path: str) -> Any:
    if not isinstance(space, ARRAYS):
        raise FormatError(
            f"{path}: a {type(space).__name__} space, for which LeRobot has no place; expected "
            "Box, Discrete, MultiDiscrete, MultiBinary or Dict; choose another format"
        )
    return space


def info_columns(rows: list[Step]) -> tuple[Columns, list[str]]:
    """Return the infos of an episode by the names of features, and what is none."""
    before = [{k: v for k, v in row.info.items() if k != "next"} for row in rows[:-1]]
    after = [row.info.get("next") for row in rows[1:]]
    found, missing = columns(before)
    if all(isinstance(info, dict) for info in after):
        following, below = columns([dict(info or {}) for info in after], "info.next")
        missing += below
    else:
        following = {}
        missing += ["info.next"] * any("next" in row.info for row in rows)
    flat: Columns = {}
    for path, value in [*_flat(found, ()), *_flat({"next": following}, ())]:
        taken = path[0] in RESERVED and not (path[0] == "next" and path[1] not in KNOWN)
        if path == ("task",) and isinstance(value, list):
            continue
        if taken or any("." in key or not KEY.fullmatch(key) for key in path):
            missing.append("info." + ".".join(path))
        else:
            flat[".".join(path)] = value
    return flat, missing


def _flat(tree: dict[str, Any], path: Keys) -> Iterator[tuple[Keys, Any]]:
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _flat(value, (*path, key))
        else:
            yield (*path, key), value


def kept_infos(source: Source, lost: Losses) -> list[str]:
    """Return the names of all infos that are alike in every episode."""
    kinds: dict[str, Any] = {}
    for number, episode in enumerate(source.iter_episodes()):
        found, missing = info_columns(list(episode.steps()))
        kept = {key: kind_of(values) for key, values in found.items()}
        for key in dict.fromkeys([*kept, *kinds]):
            if kinds.setdefault(key, kept.get(key) if number == 0 else None) != kept.get(key):
                kinds[key] = None
        for path in missing:
            lost.add(NOT_KEPT, path)
    for key, kind in kinds.items():
        if kind is None:
            lost.add(NOT_KEPT, f"info.{key}")
        elif kind[1] == (1,):
            lost.add("shape: an array of one number is read as a number", f"info.{key}")
    return [key for key, kind in kinds.items() if kind is not None]


def kind_of(values: Any) -> tuple[str, tuple[int, ...]]:
    """Return the dtype of a feature, and the shape of one value; a text has none."""
    if isinstance(values, list):
        return "string", ()
    return str(values.dtype), values.shape[1:]

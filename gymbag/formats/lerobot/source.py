# SPDX-License-Identifier: LGPL-3.0-or-later
"""Frames of LeRobot's as episodes, one at a time in memory.

A frame is an observation, the action that followed, and what ``next.`` says of that. Features
``observation.…`` and ``action`` are observations and actions; a dot in a key is a dict in a dict,
and a lone ``observation.state`` or ``observation.image`` is the array itself. ``next.reward``,
``next.done``, ``next.terminated`` and ``next.truncated`` are what they say. All other features are
in the infos: those that begin with ``next.`` of the row after the action, others, and the text of
the task, of the row before it; one number there is no array. ``timestamp`` is there only where it
is not ``frame_index / fps``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import closing
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from gymbag.errors import FormatError
from gymbag.formats.aligned import aligned_episode
from gymbag.formats.infos import fill
from gymbag.formats.lerobot.info import OWN, Feature, files, numbered, read_info
from gymbag.formats.limits import ROW_BYTES, require_fit
from gymbag.formats.process import Request, answers, require_installed
from gymbag.steps import Episode

LONE = (("state",), ("image",))
FLAGS = ("next.reward", "next.done", "next.terminated", "next.truncated")
TOLERANCE = 1e-4
"""Seconds, as LeRobot has it."""
PLACES = ("episode_index", "length", "dataset_from_index", "data/chunk_index", "data/file_index")
VIDEO_PLACES = ("chunk_index", "file_index", "from_timestamp")
TASKS = ("task_index", "task", "__index_level_0__")
"""The text is the index of the table, by whichever name."""
ABOUT = ("fps", "robot_type")

Tree = dict[str, Any]
Keys = tuple[str, ...]


class LeRobotSource:
    """The episodes of a folder. It knows no spaces."""

    observation_space = None
    action_space = None
    env_spec = None
    description = ""

    def __init__(self, path: Path) -> None:
        self.folder = path
        self.name = path.name
        self.info = read_info(path)
        self._features = {k: f for k, f in self.info.features.items() if k not in OWN}
        self._videos = [k for k, f in self._features.items() if f.dtype == "video"]
        needs = f"{path}: to read LeRobot's Parquet files"
        require_installed(("pyarrow", "PIL"), needs, "lerobot")
        if self._videos:
            require_installed(("av",), f"{path}: to read its videos", "lerobot-video")
        self._observed = self._below("observation")
        self._acted = self._below("action")
        for what, found in (("observation", self._observed), ("action", self._acted)):
            if not found:
                raise FormatError(f"{path}: features: none begins with {what!r}; expected one")

    @cached_property
    def metadata(self) -> dict[str, Any]:
        """``fps``, ``robot_type``, and ``names``, which are those of the parts of features."""
        raw = self.info.raw
        found = {key: raw[key] for key in ABOUT if raw.get(key) is not None}
        names = {key: raw["features"][key].get("names") for key in self._features}
        return {**found, "names": {key: value for key, value in names.items() if value}}

    def iter_episodes(self) -> Iterator[Episode]:
        """Iterate over the episodes.

        Raises:
            FormatError: a file is missing, damaged, or not LeRobot's.
        """
        tasks, places = self._about()
        asked = [self._asked(place) for place in places]
        with closing(answers(request for requests in asked for request in requests)) as found:
            for number, (place, requests) in enumerate(zip(places, asked, strict=True)):
                leaves = [next(found)[1] for _ in requests]
                frames = {path[0]: leaf for path, leaf in leaves[0].items()}
                for key, video in zip(self._videos, leaves[1:], strict=True):
                    frames[key] = video[()]
                yield self._episode(number, place, frames, tasks)

    def _below(self, prefix: str) -> dict[str, Keys]:
        """Return the features of a prefix, and where in a tree their values stand."""
        found = {
            key: tuple(key.split(".")[1:])
            for key in self._features
            if key == prefix or key.startswith(f"{prefix}.")
        }
        for key, path in found.items():
            if any(path == other[: len(path)] for k, other in found.items() if k != key):
                raise FormatError(f"{self.folder}: features: {key!r} is one, and holds others")
        return found

    def _about(self) -> tuple[dict[int, str], list[dict[str, Any]]]:
        """Return the texts of the tasks by their numbers, and where each episode stands."""
        keys = [f"videos/{key}/{what}" for key in self._videos for what in VIDEO_PLACES]
        columns = [*PLACES, *keys]
        tasks = self.folder / "meta" / "tasks.parquet"
        paths = files(self.folder, "meta/episodes")
        asked = [_table(tasks, list(TASKS)), *(_table(path, columns) for path in paths)]
        with closing(answers(asked)) as answered:
            (_, first), *others = answered
        texts, numbers = first.get(TASKS[1:2], first.get(TASKS[2:])), first.get(TASKS[:1])
        if not isinstance(texts, list) or not isinstance(numbers, np.ndarray):
            raise FormatError(f"{tasks}: found no numbers and texts; expected both")
        found: list[dict[str, Any]] = []
        for path, (_, leaves) in zip(paths, others, strict=True):
            missing = [name for name in columns if not _numbers(leaves.get((name,)))]
            if missing:
                raise FormatError(f"{path}: no numbers in {', '.join(missing)}; expected them")
            rows = zip(*(leaves[name,].tolist() for name in columns), strict=True)
            found += [dict(zip(columns, row, strict=True)) for row in rows]
        self._place(found, columns)
        return dict(zip(numbers.tolist(), texts, strict=True)), found

    def _place(self, found: list[dict[str, Any]], columns: list[str]) -> None:
        """Note in which file each episode is, and at which of its rows it begins."""
        first: dict[tuple[int, int], int] = {}
        for place in found:
            if min(place[name] for name in columns) < 0 or place["length"] < 1:
                raise FormatError(f"{self.folder}: an episode of {place!r:.300}")
            file, start = (place["data/chunk_index"], place["data/file_index"]), PLACES[2]
            first[file] = min(first.get(file, place[start]), place[start])
            place["file"] = file
        for place in found:
            place["row"] = place["dataset_from_index"] - first[place["file"]]

    def _asked(self, place: dict[str, Any]) -> list[Request]:
        """Return what to ask for: the frames of an episode, and its images of each video."""
        n, number = place["length"], place["episode_index"]
        where = f"{self.folder}: episode {number}"
        columns = {k: f for k, f in self.info.features.items() if f.dtype != "video"}
        width = ROW_BYTES + sum(_width(feature) for feature in self._features.values())
        require_fit(n * width, where)
        file = numbered(self.folder, "data", place["file"], ".parquet")
        frames = {
            "kind": "frames",
            "file": str(file.absolute()),
            "take": "arrays",
            "columns": list(columns),
            # A column of one number in each row is no list.
            "shapes": {key: list(f.shape) for key, f in columns.items() if f.shape != (1,)},
            "rows": [place["row"], place["row"] + n],
        }
        requests: list[Request] = [(where, frames)]
        for key in self._videos:
            chunk, index, start = (place[f"videos/{key}/{what}"] for what in VIDEO_PLACES)
            video = numbered(self.folder, f"videos/{key}", (chunk, index), ".mp4")
            request = {"kind": "video", "file": str(video.absolute()), "take": "arrays"}
            more = {"start": start, "count": n, "fps": self.info.fps}
            requests.append((f"{where}: {key}", {**request, **more}))
        return requests

    def _episode(
        self, number: int, place: dict[str, Any], frames: dict[str, Any], tasks: dict[int, str]
    ) -> Episode:
        n = place["length"]
        where = f"{self.folder}: episode {place['episode_index']}"
        for key, feature in self.info.features.items():
            if key not in frames or len(frames[key]) != n:
                raise FormatError(f"{where}: {key}: not found in {n} rows")
            frames[key] = _shaped(frames[key], feature, f"{where}: {key}")
        if (frames["episode_index"] != place["episode_index"]).any():
            raise FormatError(f"{where}: its rows are those of other episodes; it may be damaged")
        infos: list[Tree] = [{} for _ in range(n + 1)]
        grid = np.arange(n) / self.info.fps
        if np.abs(frames["timestamp"].reshape(-1) - grid).max() > TOLERANCE:
            fill(infos, ("timestamp",), frames["timestamp"].reshape(-1), str(self.folder))
        flags = {key: self._flags(frames, key) for key in FLAGS}
        for key in self._features:
            path = tuple(key.split("."))
            early = key in FLAGS[1:] and any(flags[key][:-1])
            if key in self._observed or key in self._acted or (key in FLAGS and not early):
                continue
            values = frames[key]
            if self._features[key].shape == (1,) and not isinstance(values, list):
                values = values.reshape(-1)
            fill(infos[path[0] == "next" :], path, values, f"{self.folder}: features")
        for info, index in zip(infos, frames["task_index"].reshape(-1).tolist(), strict=False):
            if index in tasks:
                info["task"] = tasks[index]
        _, done, terminated, truncated = (flags[key] and flags[key][-1] for key in FLAGS)
        return aligned_episode(
            number,
            self._values(self._observed, frames, n),
            self._values(self._acted, frames, n),
            flags["next.reward"] or [math.nan] * n,
            terminated=bool(terminated) or bool(done and not truncated),
            truncated=bool(truncated),
            infos=infos,
        )

    def _values(self, places: dict[str, Keys], frames: dict[str, Any], n: int) -> list[Any]:
        if len(places) == 1:
            key, path = next(iter(places.items()))
            if path in ((), *LONE):
                return list(frames[key])
        found: list[Tree] = [{} for _ in range(n)]
        for key, path in places.items():
            fill(found, path, frames[key], f"{self.folder}: features")
        return found

    def _flags(self, frames: dict[str, Any], key: str) -> list[float]:
        if key not in self._features:
            return []
        if self._features[key].dtype in ("image", "video", "string"):
            raise FormatError(f"{self.folder}: features: {key!r} has no numbers; expected them")
        return list(frames[key].reshape(-1).astype(np.float64).tolist())

    def __repr__(self) -> str:
        return f"<LeRobotSource {self.name!r} in {str(self.folder)!r}>"


def _table(path: Path, columns: list[str]) -> Request:
    file = str(path.absolute())
    return str(path), {"kind": "frames", "file": file, "columns": columns, "take": "arrays"}


def _numbers(leaf: Any) -> bool:
    return isinstance(leaf, np.ndarray) and leaf.ndim == 1 and leaf.dtype.kind in "iuf"


def _width(feature: Feature) -> int:
    return math.prod(feature.shape) * (1 if feature.is_picture else 8)


def _shaped(values: Any, feature: Feature, where: str) -> Any:
    """Return values in the shape that the feature says; images are (H, W, C) in any case."""
    if feature.dtype == "string":
        return values
    if not isinstance(values, np.ndarray):
        raise FormatError(f"{where}: found texts; expected {feature.dtype}")
    shape = feature.shape
    if feature.is_picture and len(shape) == 3:
        turned = (*shape[1:], shape[0])
        sizes = values.shape[1:] if values.ndim == 4 else (*values.shape[1:], 1)
        if sizes not in (shape, turned):
            raise FormatError(f"{where}: found images of {sizes}; expected {shape}")
        return values.reshape(len(values), *sizes)
    if not feature.is_picture and values.dtype != np.dtype(feature.dtype):
        raise FormatError(f"{where}: found {values.dtype}; expected {feature.dtype}")
    return values.reshape(len(values), *shape)


def read(path: Path, name: str | None) -> LeRobotSource:
    """Read the folder; it holds one data set, so the name does not matter."""
    return LeRobotSource(path)

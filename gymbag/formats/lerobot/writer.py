# SPDX-License-Identifier: LGPL-3.0-or-later
"""Episodes as a data set of LeRobot's.

Images stand in the Parquet files as PNG, without loss, or are encoded as videos, which is lossy.

``next.reward``, ``next.done``, ``next.terminated`` and ``next.truncated`` are written beside the
observations and actions, and columns of infos under their own names. The statistics have no
quantiles, and episodes none of their own. It goes over the source twice.
"""

from __future__ import annotations

import io
import json
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from gymbag.errors import FormatError
from gymbag.formats.aligned import UNKNOWN, without_final
from gymbag.formats.lerobot.info import (
    CHUNK_FILES,
    DATA_PATH,
    INFO,
    VERSION,
    VIDEO_PATH,
    chunk_and_file,
)
from gymbag.formats.lerobot.plan import (
    Keys,
    info_columns,
    is_picture,
    kept_infos,
    kind_of,
    leaves,
)
from gymbag.formats.lerobot.stats import Statistics
from gymbag.formats.lerobot.video import FILE_MB as VIDEO_FILE_MB
from gymbag.formats.lerobot.video import Videos, can_be_video
from gymbag.formats.losses import Losses
from gymbag.formats.process import require_installed
from gymbag.formats.spaces import known_spaces
from gymbag.schema import Schema
from gymbag.steps import Source, Step

FPS = 30
FILE_MB = 100
INDICES = ("frame_index", "episode_index", "index", "task_index")
FIXED = {
    "next.reward": ("float64", (1,)),
    "next.done": ("bool", (1,)),
    "next.terminated": ("bool", (1,)),
    "next.truncated": ("bool", (1,)),
    "timestamp": ("float32", (1,)),
    **dict.fromkeys(INDICES, ("int64", (1,))),
}
PANDAS = {
    "index_columns": ["__index_level_0__"],
    "column_indexes": [],
    "columns": [
        {
            "name": "task_index",
            "field_name": "task_index",
            "pandas_type": "int64",
            "numpy_type": "int64",
            "metadata": None,
        },
        {
            "name": None,
            "field_name": "__index_level_0__",
            "pandas_type": "unicode",
            "numpy_type": "object",
            "metadata": None,
        },
    ],
    "pandas_version": "2.0.0",
}
"""What makes the texts of the tasks the index of the table for pandas, as LeRobot takes it."""


def write(source: Source, path: Path) -> list[str]:
    """Write a data set into a new folder, with images as PNG; return what was lost or made up.

    Raises:
        FormatError: pyarrow or Pillow is missing, there is no episode, or LeRobot has no place for
            a space or a key.
    """
    return _write(source, path, video=False)


def write_video(source: Source, path: Path) -> list[str]:
    """Write a data set as `write` does, but encode those images as videos that can be.

    Raises:
        FormatError: as `write`; or PyAV is missing, or cannot encode them.
    """
    require_installed(("av",), f"{path}: to write LeRobot's videos", "lerobot-video")
    return _write(source, path, video=True)


def _write(source: Source, path: Path, *, video: bool) -> list[str]:
    require_installed(("pyarrow", "PIL"), f"{path}: to write LeRobot's files", "lerobot")
    lost = Losses()
    episodes = source.iter_episodes()
    first = next(episodes, None)
    if first is None:
        raise FormatError(f"{source.name!r} has no episode, and LeRobot no place for that")
    *both, _ = known_spaces(source, first)
    lost.of_source(source, "metadata")
    writer = _Writer(path, both, source, lost, video=video)
    for episode in chain([first], episodes):
        writer.add(list(episode.steps()))
        lost.of_episode(episode)
        if not without_final(episode):
            lost.add("final observation: not kept by this format")
    writer.close()
    return list(lost)


class _Writer:
    """Writes episode by episode."""

    def __init__(
        self, path: Path, both: list[Any], source: Source, lost: Losses, *, video: bool
    ) -> None:
        import pyarrow
        import pyarrow.parquet

        self.arrow: Any = pyarrow
        self.path, self.lost = path, lost
        self.schema = Schema.from_spaces(*both)
        self.places = [leaves(space, name, lost) for space, name in _named(both)]
        self.pictures = {k for some in self.places for k, (_, s) in some.items() if is_picture(s)}
        self.infos = kept_infos(source, lost)
        self.metadata = source.metadata
        self.fps = self._known_fps()
        self.videos = self._videos() if video else {}
        self.otherwise = source.description or source.name or "unknown"
        self.tasks: dict[str, int] = {}
        self.episodes: list[dict[str, Any]] = []
        self.features: dict[str, Any] = {}
        self.stats: dict[str, Statistics] = {}
        self.rows = self.file = 0
        self.parquet: Any = None

    def _known_fps(self) -> float:
        fps: Any = self.metadata.get("fps")
        if type(fps) in (int, float) and 0 < fps < np.inf:
            return fps  # type: ignore[no-any-return]
        self.lost.add(f"fps: not known; {FPS} is written in its place")
        return FPS

    def _videos(self) -> dict[str, Videos]:
        """Return what writes the features that can be videos."""
        found = {}
        shapes = {k: s.shape for some in self.places for k, (_, s) in some.items()}
        for key in sorted(self.pictures):
            if can_be_video(shapes[key]):
                self.lost.add("images: encoded as video, which only comes near to them", key)
                found[key] = Videos(self.path, key, self.fps)
            else:
                self.lost.add("images: left as PNG, for a video takes RGB and even sides", key)
        if not self.pictures:
            self.lost.add("video: none is written, for no observation is an image")
        return found

    def add(self, rows: list[Step]) -> None:
        """Write an episode."""
        n, number = len(rows) - 1, len(self.episodes)
        found = self._columns(rows)
        tasks = [self._task(row.info) for row in rows[:-1]]
        found |= {
            "timestamp": (np.arange(n) / self.fps).astype(np.float32),
            "frame_index": np.arange(n),
            "episode_index": np.full(n, number),
            "index": np.arange(self.rows, self.rows + n),
            "task_index": np.array([self.tasks[task] for task in tasks]),
        }
        for key, values in found.items():
            dtype, shape = FIXED[key] if key in FIXED else kind_of(values)
            if dtype != "string":
                picture = key in self.pictures
                self.stats.setdefault(key, Statistics(picture=picture)).add(
                    values if picture or values.ndim > 1 else values[:, None]
                )
            shown_as = "video" if key in self.videos else "image"
            kind = shown_as if key in self.pictures else dtype
            about = {"dtype": kind, "shape": shape or (1,), "names": self._names(key)}
            self.features.setdefault(key, about)
        shown = [videos.add(found.pop(key)) for key, videos in self.videos.items()]
        table = self.arrow.table({key: self._column(key, some) for key, some in found.items()})
        self._write(table)
        chunk, file = chunk_and_file(self.file)
        self.episodes.append(
            {
                "episode_index": number,
                "tasks": list(dict.fromkeys(tasks)),
                "length": n,
                "data/chunk_index": chunk,
                "data/file_index": file,
                "dataset_from_index": self.rows,
                "dataset_to_index": self.rows + n,
                "meta/episodes/chunk_index": 0,
                "meta/episodes/file_index": 0,
            }
            | {name: value for places in shown for name, value in places.items()}
        )
        self.rows += n

    def _columns(self, rows: list[Step]) -> dict[str, Any]:
        """Return observations, actions, infos, and what follows the actions."""
        found: dict[str, Any] = {}
        parts = (
            (self.schema.observation, [row.observation for row in rows[:-1]]),
            (self.schema.action, [row.action for row in rows[1:]]),
        )
        for places, (codec, values) in zip(self.places, parts, strict=True):
            tree = codec.batch(values)
            for key, (path, space) in places.items():
                array = np.asarray(_at(tree, path))
                grey = is_picture(space) and len(space.shape) == 2
                found[key] = array[..., None] if grey else array
        infos, _ = info_columns(rows)
        found |= {key: infos[key] for key in self.infos}
        if {key for key in rows[-1].info if key not in (UNKNOWN, "next")}:
            self.lost.add("info: those of final rows are not kept, but for their next")
        found["next.reward"] = np.array([row.reward for row in rows[1:]], np.float64)
        found["next.done"] = np.array([row.done for row in rows[1:]], np.bool_)
        found["next.terminated"] = np.array([row.terminated for row in rows[1:]], np.bool_)
        found["next.truncated"] = np.array([row.truncated for row in rows[1:]], np.bool_)
        return found

    def _task(self, info: dict[Any, Any]) -> str:
        task = info.get("task")
        if not isinstance(task, str):
            task = self.otherwise
            self.lost.add(f"task: not known; {task!r:.100} is written in its place")
        self.tasks.setdefault(task, len(self.tasks))
        return task

    def _names(self, key: str) -> Any:
        names = self.metadata.get("names")
        if isinstance(names, dict) and isinstance(names.get(key), list | dict):
            return names[key]
        return ["height", "width", "channels"] if key in self.pictures else None

    def _column(self, key: str, values: Any) -> Any:
        """Return a column of Arrow's."""
        if key in self.pictures:
            cells = [
                {"bytes": _png(image), "path": f"frame-{k:06d}.png"}
                for k, image in enumerate(values)
            ]
            kind = [("bytes", self.arrow.binary()), ("path", self.arrow.string())]
            return self.arrow.array(cells, self.arrow.struct(kind))
        if isinstance(values, list):
            return self.arrow.array(values, self.arrow.string())
        column = self.arrow.array(np.ascontiguousarray(values).reshape(-1))
        shape = values.shape[1:]
        if shape in ((), (1,)):
            return column
        if len(shape) == 1:
            return self.arrow.FixedSizeListArray.from_arrays(column, shape[0])
        for size in reversed(shape):
            offsets = self.arrow.array(np.arange(0, len(column) + 1, size, dtype=np.int32))
            column = self.arrow.ListArray.from_arrays(offsets, column)
        return column

    def _write(self, table: Any) -> None:
        """Write rows; a file that has become large is the last but one."""
        if self.parquet is not None and self._data().stat().st_size > FILE_MB << 20:
            self.parquet.close()
            self.parquet = None
            self.file += 1
        if self.parquet is None:
            self._data().parent.mkdir(parents=True, exist_ok=True)
            self.parquet = self.arrow.parquet.ParquetWriter(self._data(), table.schema)
        self.parquet.write_table(table)

    def _data(self) -> Path:
        chunk, file = chunk_and_file(self.file)
        return self.path / DATA_PATH.format(chunk_index=chunk, file_index=file)

    def close(self) -> None:
        """Write what the data set says of itself."""
        self.parquet.close()
        for key, videos in self.videos.items():
            videos.close()
            self.features[key]["info"] = videos.about()
        meta = self.path / "meta"
        folder = meta / "episodes" / "chunk-000"
        folder.mkdir(parents=True)
        save = self.arrow.parquet.write_table
        save(self.arrow.Table.from_pylist(self.episodes), folder / "file-000.parquet")
        tasks = {"task_index": list(self.tasks.values()), "__index_level_0__": list(self.tasks)}
        table = self.arrow.table(tasks)
        described = table.replace_schema_metadata({"pandas": json.dumps(PANDAS)})
        save(described, meta / "tasks.parquet")
        stats = {key: found.to_json() for key, found in self.stats.items()}
        (meta / "stats.json").write_text(json.dumps(stats, indent=4), "utf-8")
        about = {
            "codebase_version": VERSION,
            "robot_type": self._robot(),
            "total_episodes": len(self.episodes),
            "total_frames": self.rows,
            "total_tasks": len(self.tasks),
            "chunks_size": CHUNK_FILES,
            "data_files_size_in_mb": FILE_MB,
            "video_files_size_in_mb": VIDEO_FILE_MB,
            "fps": self.fps,
            "splits": {"train": f"0:{len(self.episodes)}"},
            "data_path": DATA_PATH,
            "video_path": VIDEO_PATH if self.videos else None,
            "features": self.features,
        }
        (self.path / INFO).write_text(json.dumps(about, indent=4), "utf-8")
        for key in self.metadata:
            if key not in ("fps", "names", "robot_type"):
                self.lost.add("metadata: not kept by this format", str(key))

    def _robot(self) -> str | None:
        robot = self.metadata.get("robot_type")
        return robot if isinstance(robot, str) else None


def _named(both: list[Any]) -> list[tuple[Any, str]]:
    return list(zip(both, ("observation", "action"), strict=True))


def _at(tree: Any, path: Keys) -> Any:
    for key in path:
        tree = tree[key]
    return tree


def _png(image: Any) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(buffer, "PNG")
    return buffer.getvalue()

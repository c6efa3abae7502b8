# SPDX-License-Identifier: LGPL-3.0-or-later
"""What a data set of LeRobot's says of itself in ``meta/info.json``; no path in it is followed."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gymbag.errors import FormatError
from gymbag.formats.limits import read_json, require_folder

INFO = "meta/info.json"
VERSION = "v3.0"
DATA_PATH = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
VIDEO_PATH = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
PATHS = {"data_path": (DATA_PATH,), "video_path": (VIDEO_PATH, None)}
OWN = ("timestamp", "frame_index", "episode_index", "index", "task_index")
"""Features that every data set has."""
DTYPES = re.compile("image|video|string|bool|u?int(8|16|32|64)|float(16|32|64)")
KEY = re.compile(r"[^/\\\0]{1,200}")
MOST_SIZE = 1 << 28
CHUNK_FILES = 1000
"""Files in a folder, where we write."""


@dataclass(frozen=True, slots=True)
class Feature:
    """A column, or what is in the videos."""

    dtype: str
    shape: tuple[int, ...]

    @property
    def is_picture(self) -> bool:
        """Whether its values are images."""
        return self.dtype in ("image", "video")


@dataclass(frozen=True, slots=True)
class Info:
    """What ``meta/info.json`` says, checked."""

    folder: Path
    fps: float
    features: dict[str, Feature]
    raw: dict[str, Any]


def read_info(folder: Path) -> Info:
    """Read the description of a data set.

    Raises:
        FormatError: there is none, of another version, or not as LeRobot writes it.
    """
    where = folder / INFO
    require_folder(folder / "meta")
    found = read_json(where, "LeRobot")
    if not isinstance(found, dict):
        raise FormatError(f"{where}: found {found!r:.100}; expected a JSON object")
    version = found.get("codebase_version")
    if version != VERSION:
        raise FormatError(
            f"{where}: codebase_version: found {version!r:.100}; expected {VERSION!r}; LeRobot "
            "converts older ones, with lerobot.datasets.v30.convert_dataset_v21_to_v30"
        )
    for key, known in PATHS.items():
        # To fill in another would be to follow it anywhere.
        if found.get(key) not in known:
            raise FormatError(
                f"{where}: {key}: found {found.get(key)!r:.100}; expected {known[0]!r}"
            )
    fps: Any = found.get("fps")
    if type(fps) not in (int, float) or not 0 < fps < math.inf:
        raise FormatError(f"{where}: fps: found {fps!r:.100}; expected a number")
    features = found.get("features")
    if not isinstance(features, dict) or not features:
        raise FormatError(f"{where}: features: found {features!r:.100}; expected a JSON object")
    checked = {key: _feature(where, key, value) for key, value in features.items()}
    for key in ("episode_index", "task_index", "timestamp"):
        if key not in checked:
            raise FormatError(f"{where}: features: no {key!r}, which all of LeRobot's have")
    return Info(folder, fps, checked, found)


def _feature(where: Path, key: str, found: Any) -> Feature:
    match found:
        case {"dtype": str(dtype), "shape": list(shape)} if DTYPES.fullmatch(dtype):
            whole = all(type(size) is int and size > 0 for size in shape) and len(shape) < 32
            # The key of a video is the name of a folder.
            named = KEY.fullmatch(key) and key.strip(".")
            if whole and named and math.prod(shape) <= MOST_SIZE:
                return Feature(dtype, tuple(shape))
    raise FormatError(
        f"{where}: features: {key!r:.100}: found {found!r:.200}; expected a dtype and a shape"
    )


def files(folder: Path, kind: str) -> list[Path]:
    """Return the Parquet files in ``kind/chunk-…/file-….parquet``, in order.

    Raises:
        FormatError: there is none, or a folder is a link.
    """
    require_folder(folder / kind)
    chunks = sorted(path for path in (folder / kind).iterdir() if _number(path.name, "chunk-(N)"))
    found = []
    for chunk in chunks:
        require_folder(chunk)
        of_chunk = [p for p in chunk.iterdir() if _number(p.name, r"file-(N)\.parquet")]
        found += sorted(of_chunk)
    if not found:
        raise FormatError(f"{folder / kind}: no file chunk-000/file-000.parquet")
    return found


def numbered(folder: Path, kind: str, place: tuple[int, int], suffix: str) -> Path:
    """Return the path of a file with a number.

    Raises:
        FormatError: a folder on the way is missing, or a link.
    """
    path = folder
    for name in (*kind.split("/"), f"chunk-{place[0]:03d}"):
        path = path / name
        require_folder(path)
    return path / f"file-{place[1]:03d}{suffix}"


def chunk_and_file(number: int) -> tuple[int, int]:
    """Return the numbers of the folder and of the file in it, for the file of a number.

    >>> chunk_and_file(1002)
    (1, 2)
    """
    return divmod(number, CHUNK_FILES)


def _number(name: str, pattern: str) -> bool:
    return re.fullmatch(pattern.replace("N", "[0-9]{3,9}"), name) is not None


def names(path: Path) -> list[str]:
    """Return the name of its one data set: LeRobot keeps none, so the folder's."""
    return [path.name]


def sniff(path: Path) -> bool:
    """Return whether it is a folder with a description like LeRobot's, of any version."""
    where = path / INFO
    if not where.is_file():
        return False
    with where.open("rb") as file:
        return b'"codebase_version"' in file.read(1 << 16)

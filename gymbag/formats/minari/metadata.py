# SPDX-License-Identifier: LGPL-3.0-or-later
"""What a data set of Minari's says of itself: its ``metadata.json``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gymbag.errors import FormatError
from gymbag.formats.limits import read_json
from gymbag.schema import jsonable

LAYOUTS = ("hdf5", "arrow", "parquet")
FILE = "metadata.json"
MARKS = (b'"total_episodes"', b'"observation_space"', b'"minari_version"')
"""What stands in it, and hardly in any other file of that name."""
MOST_LOOKED = 1 << 16
RESERVED = {
    "total_episodes",
    "total_steps",
    "dataset_size",
    "data_format",
    "jpeg_encoding",
    "observation_space",
    "action_space",
    "env_spec",
    "description",
    "name",
    "episode_metadata",
}
"""Keys that mean something to the reader, and are not the user's own."""


def find(path: Path) -> Path | None:
    """Return the folder in which the metadata stand: this one, or ``data`` in it."""
    return next((folder for folder in (path, path / "data") if (folder / FILE).is_file()), None)


def sniff(path: Path) -> bool:
    """Return whether it is a folder with metadata like Minari's, damaged or not."""
    folder = find(path) if path.is_dir() else None
    if folder is None:
        return False
    if (folder / "main_data.hdf5").exists():
        return True
    with (folder / FILE).open("rb") as file:
        start = file.read(MOST_LOOKED)
    return any(mark in start for mark in MARKS)


def read_metadata(path: Path) -> tuple[Path, dict[str, Any]]:
    """Return the folder of the metadata, and what they say.

    Raises:
        FormatError: there are none, or they are not what Minari writes.
    """
    folder = find(path)
    if folder is None:
        raise FormatError(f"{path}: no data set of Minari's; it has neither {FILE} nor data/{FILE}")
    where = folder / FILE
    found = read_json(where, "Minari")
    if not isinstance(found, dict):
        raise FormatError(f"{where}: found {found!r:.100}; expected a JSON object")
    total, layout = found.get("total_episodes"), found.setdefault("data_format", "hdf5")
    if type(total) is not int or not 0 <= total < 2**40:
        raise FormatError(f"{where}: total_episodes: found {total!r:.100}; expected a number")
    if layout not in LAYOUTS:
        raise FormatError(
            f"{where}: data_format: found {layout!r:.100}; expected one of {', '.join(LAYOUTS)}"
        )
    return folder, found


def text(found: dict[str, Any], key: str, otherwise: str = "") -> str:
    """Return a text of the metadata."""
    value = found.get(key)
    return value if isinstance(value, str) else otherwise


def users(found: dict[str, Any]) -> dict[str, Any]:
    """Return what the user kept, with the arrays and tuples that gymbag wrote."""
    kept = {}
    for key, value in found.items():
        if key not in RESERVED:
            try:
                kept[key] = jsonable.decode(value)
            except jsonable.BadJSON:
                kept[key] = value
    return kept

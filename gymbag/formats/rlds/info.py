# SPDX-License-Identifier: LGPL-3.0-or-later
"""What a TFDS data set says of itself in ``dataset_info.json`` and ``features.json``."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gymbag.errors import FormatError
from gymbag.formats.limits import read_json

INFO, FEATURES = "dataset_info.json", "features.json"
TEMPLATE = "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}"
NAME = re.compile(r"[\w+-][\w.+-]{0,200}")
"""Of data sets, splits and files: none has a slash or begins with a dot."""
COUNT = re.compile("[0-9]{1,18}")
MOST_DEPTH = 32
MOST_SIZE = 1 << 28
MOST_SHARDS = 100_000
ABOUT = ("name", "version", "configName", "citation")
TEXTS = ("string", "object")
DTYPES = re.compile("bool|u?int(8|16|32|64)|b?float(16|32|64)")
READ = "Tensor, Scalar, Image, Text, ClassLabel, FeaturesDict, and Dataset or Sequence around them"

Keys = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Feature:
    """One value in each step, or in each episode."""

    kind: str
    """How it is stored: as "int", "float", "text" or "image"."""
    dtype: str
    shape: tuple[int, ...]
    """-1 stands for a size that is not known."""
    many: bool
    """Whether there are any number of them, as of steps, and not one."""


@dataclass(frozen=True, slots=True)
class Shard:
    """A file of a split."""

    path: Path
    records: int


@dataclass(frozen=True, slots=True)
class Info:
    """What both files say, checked."""

    name: str
    description: str
    metadata: dict[str, str]
    splits: dict[str, list[Shard]]
    features: dict[Keys, Feature]


def read_info(folder: Path) -> Info:
    """Read the descriptions of a data set.

    Raises:
        FormatError: one is missing, or says what gymbag does not read.
    """
    where = folder / INFO
    raw = read_json(where, "TFDS")
    if not isinstance(raw, dict):
        raise FormatError(f"{where}: found {raw!r:.100}; expected a JSON object")
    name, splits = raw.get("name"), raw.get("splits")
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise FormatError(f"{where}: name: found {name!r:.100}; expected a plain name")
    if raw.get("fileFormat", "tfrecord") != "tfrecord":
        raise FormatError(
            f"{where}: fileFormat: found {raw['fileFormat']!r:.100}; gymbag reads 'tfrecord', "
            "which `tfds convert_format` can write"
        )
    if not isinstance(splits, list) or not splits:
        raise FormatError(f"{where}: splits: found {splits!r:.100}; expected a list of them")
    description = raw.get("description")
    return Info(
        name,
        description if isinstance(description, str) else "",
        {key: raw[key] for key in ABOUT if isinstance(raw.get(key), str)},
        dict(_split(folder, name, split) for split in splits),
        _features(folder / FEATURES),
    )


def _split(folder: Path, dataset: str, found: Any) -> tuple[str, list[Shard]]:
    where = f"{folder / INFO}: splits"
    match found:
        case {"name": str(name), "shardLengths": list(lengths)} if NAME.fullmatch(name):
            template = found.get("filepathTemplate", TEMPLATE)
            if not isinstance(template, str) or not all(map(_is_count, lengths)):
                raise FormatError(f"{where}: {name}: found {found!r:.200}; expected numbers")
        case _:
            raise FormatError(f"{where}: found {found!r:.200}; expected name and shardLengths")
    if len(lengths) > MOST_SHARDS:
        raise FormatError(f"{where}: {name}: {len(lengths)} files; expected at most {MOST_SHARDS}")
    digits = max(5, len(str(len(lengths))))
    shards = []
    for number, length in enumerate(lengths):
        at, of = f"{number:0{digits}d}", f"{len(lengths):0{digits}d}"
        values = {"SHARD_X_OF_Y": f"{at}-of-{of}", "SHARD_INDEX": at, "NUM_SHARDS": of}
        values |= {"DATASET": dataset, "SPLIT": name, "FILEFORMAT": "tfrecord"}
        file = re.sub(r"\$?\{(\w+)\}", lambda m, v=values: v.get(m[1], "/"), template)  # type: ignore[misc]
        if not NAME.fullmatch(file):
            raise FormatError(
                f"{where}: {name}: filepathTemplate: found {template!r:.200}; expected the name "
                f"of a file in the folder, such as {TEMPLATE!r}"
            )
        shards.append(Shard(folder / file, int(length)))
    return name, shards


def _is_count(found: Any) -> bool:
    return isinstance(found, str | int) and COUNT.fullmatch(str(found)) is not None


def _is_size(found: Any) -> bool:
    return found in ("-1", -1) or (_is_count(found) and int(found) > 0)


def _features(where: Path) -> dict[Keys, Feature]:
    found: dict[Keys, Feature] = {}
    _walk(found, (), read_json(where, "TFDS"), str(where), many=False)
    return found


def _walk(found: dict[Keys, Feature], keys: Keys, raw: Any, where: str, *, many: bool) -> None:
    """Add the features in a part of the JSON."""
    here = f"{where}: {'/'.join(keys)}" if keys else where
    if len(keys) > MOST_DEPTH:
        raise FormatError(f"{here:.300}: inside more than {MOST_DEPTH} others")
    match raw:
        case {"featuresDict": dict(inner)} if isinstance(inner.get("features", {}), dict):
            for key, below in inner.get("features", {}).items():
                if not key or "/" in key:
                    raise FormatError(f"{here}: found the name {key!r:.100}; expected no slash")
                _walk(found, (*keys, key), below, where, many=many)
        case {"sequence": {"feature": {"sequence": _}}}:
            raise FormatError(f"{here}: a sequence of sequences; gymbag reads none")
        case {"sequence": {"feature": dict(below)}}:
            if many:
                raise FormatError(f"{here}: a sequence in each step; gymbag reads none")
            _walk(found, keys, below, where, many=True)
        case {"tensor": {"dtype": str(dtype), **more}}:
            if more.get("encoding", "none") not in ("none", ""):
                raise FormatError(f"{here}: encoding {more['encoding']!r:.100}; gymbag reads none")
            found[keys] = _tensor(dtype, _shape(more.get("shape"), here), here, many)
        case {"image": dict(image)}:
            if image.get("dtype", "uint8") != "uint8":
                raise FormatError(
                    f"{here}: images of {image['dtype']!r:.100}; gymbag reads those of uint8"
                )
            found[keys] = Feature("image", "uint8", _shape(image.get("shape"), here), many)
        case {"text": _}:
            found[keys] = Feature("text", "object", (), many)
        case {"classLabel": _}:
            found[keys] = Feature("int", "int64", (), many)
        case {"type": _, "content": _}:
            raise FormatError(
                f"{here}: as old versions of TFDS wrote it; gymbag reads what newer ones write"
            )
        case _:
            name = raw.get("pythonClassName") if isinstance(raw, dict) else raw
            raise FormatError(f"{here}: found {name!r:.200}; gymbag reads {READ}")


def _tensor(dtype: str, shape: tuple[int, ...], here: str, many: bool) -> Feature:
    if -1 in shape and (many or shape.count(-1) > 1):
        raise FormatError(f"{here}: the shape {shape}; expected one that is the same in each")
    if dtype in TEXTS:
        return Feature("text", "object", shape, many)
    if not DTYPES.fullmatch(dtype):
        raise FormatError(f"{here}: found dtype {dtype!r:.100}; expected numbers or texts")
    kind = "float" if "float" in dtype else "int"
    # NumPy has no bfloat16, and such numbers are stored as float32.
    return Feature(kind, "float32" if dtype == "bfloat16" else dtype, shape, many)


def _shape(found: Any, here: str) -> tuple[int, ...]:
    sizes = found.get("dimensions", []) if isinstance(found, dict) else None if found else []
    if isinstance(sizes, list) and len(sizes) < MOST_DEPTH and all(map(_is_size, sizes)):
        shape = tuple(map(int, sizes))
        if abs(math.prod(shape)) <= MOST_SIZE:
            return shape
    raise FormatError(f"{here}: found the shape {found!r:.200}; expected sizes")


def is_rlds(path: Path) -> bool:
    """Return whether a folder has both descriptions."""
    return (path / INFO).is_file() and (path / FEATURES).is_file()

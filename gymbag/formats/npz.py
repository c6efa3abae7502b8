# SPDX-License-Identifier: LGPL-3.0-or-later
"""One NPZ file: the columns of gymbag's own format as plain NumPy arrays.

Nothing is lost. NumPy writes and reads such a file at one go, so it must fit into memory.
"""

from __future__ import annotations

import math
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import gymnasium
import numpy as np
from numpy.lib import format as npy_format
from numpy.typing import NDArray

from gymbag.errors import FormatError
from gymbag.formats.format import Format
from gymbag.formats.limits import ROW_BYTES, require_fit, require_plain, require_short
from gymbag.formats.spaces import known_spaces
from gymbag.memory import MemoryEpisode, MemorySource
from gymbag.schema import Schema, SpaceCodec, jsonable
from gymbag.schema.columns import ROWS
from gymbag.schema.text import join_bytes, split_bytes
from gymbag.steps import Ended, Episode, Source, Step

HEAD = "gymbag"
"""The array of the JSON that says what the other arrays mean."""
FIXED = {"time": "f8", "reward": "f8", "terminated": "?", "truncated": "?"}
"""The arrays that every file has, and their dtypes."""
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
"""How NumPy stores; other methods may ask for a dictionary of any size."""
HEADERS = {(1, 0): npy_format.read_array_header_1_0, (2, 0): npy_format.read_array_header_2_0}

Arrays: TypeAlias = dict[str, NDArray[Any]]


def write(source: Source, path: Path) -> list[str]:
    """Write a data set into a new file, and return what had to be made up."""
    episodes = list(source.iter_episodes())
    *spaces, lost = known_spaces(source, episodes[0] if episodes else None)
    schema = Schema.from_spaces(*spaces)
    rows = [list(episode.steps()) for episode in episodes]
    steps = [step for some in rows for step in some]
    null = schema.action.null()
    actions = [step.action if k else null for some in rows for k, step in enumerate(some)]
    infos = [_info_bytes(*place) for place in zip(episodes, rows, strict=True)]
    head = {
        "name": source.name,
        "description": source.description,
        "metadata": source.metadata,
        "env_spec": source.env_spec,
        "spaces": schema.to_json(),
        "episodes": [
            {"rows": len(some), "seed": e.seed, "options": e.options, "ended": e.ended.value}
            for e, some in zip(episodes, rows, strict=True)
        ],
    }
    arrays: Arrays = {
        name: np.array([getattr(step, name) for step in steps], dtype)
        for name, dtype in FIXED.items()
    }
    arrays |= _encode(schema.observation, [step.observation for step in steps])
    arrays |= _encode(schema.action, actions)
    arrays["info lengths"], arrays["info bytes"] = join_bytes([b for some in infos for b in some])
    arrays[HEAD] = np.frombuffer(jsonable.dumps(head).encode(), dtype=np.uint8)
    # Given a name instead, NumPy would add the ending .npz to any other.
    with path.open("wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
    return lost


def _encode(codec: SpaceCodec, values: list[Any]) -> Arrays:
    encoded = codec.encode([codec.snapshot(value) for value in values])
    return {
        f"column {column.name}": array for column, array in zip(codec.columns, encoded, strict=True)
    }


def _info_bytes(episode: Episode, rows: list[Step]) -> list[bytes]:
    found = []
    for number, step in enumerate(rows):
        try:
            found.append(jsonable.dumps(step.info).encode() if step.info else b"")
        except (TypeError, ValueError) as error:
            raise FormatError(
                f"episode {episode.id}, step {number}: info holds a {error}, which has no place "
                "in an NPZ file; leave it out"
            ) from None
    return found


def read(path: Path, name: str | None) -> MemorySource:
    """Read the file; it holds one data set, so the name does not matter."""
    with _opened(path) as file:
        head = _head(file)
        arrays = _arrays(file)
        schema = Schema.from_json(head["spaces"])
        return MemorySource(
            _episodes(head["episodes"], _rows(schema, arrays)),
            observation_space=schema.observation.restore(gymnasium.spaces),
            action_space=schema.action.restore(gymnasium.spaces),
            name=_of_type(head["name"], str),
            description=_of_type(head["description"], str),
            metadata=_of_type(head["metadata"], dict),
            env_spec=_of_type(head["env_spec"], str | None),
        )


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """Open a file; whatever goes wrong is said to be damage."""
    try:
        require_plain(path.resolve())
        with zipfile.ZipFile(path) as file:
            yield file
    except Exception as error:  # NumPy, zipfile, zlib and json each have errors of their own
        raise FormatError(
            f"{path}: not an NPZ file of gymbag's, or damaged ({error or repr(error)})"
        ) from error


def _head(file: Any) -> dict[str, Any]:
    if f"{HEAD}.npy" not in file.namelist():
        raise FormatError(f"it has no array {HEAD!r}")
    member = file.getinfo(f"{HEAD}.npy")
    require_short(member.file_size, repr(HEAD))
    return _of_type(jsonable.loads(_array(file, member).tobytes()), dict)  # type: ignore[no-any-return]


def _arrays(file: zipfile.ZipFile) -> Arrays:
    """Return all arrays, after a look at how large they are together."""
    members = {member.filename.removesuffix(".npy"): member for member in file.infolist()}
    require_fit(sum(member.file_size for member in members.values()), "all arrays together")
    return {name: _array(file, member) for name, member in members.items()}


def _array(file: zipfile.ZipFile, member: zipfile.ZipInfo) -> NDArray[Any]:
    """Return one array; memory is taken for as many bytes as there are.

    NumPy's own `load` takes it for as many as the array's header says.
    """
    if member.compress_type not in METHODS:
        raise FormatError(f"{member.filename!r} is compressed in another way than NumPy does")
    with file.open(member) as stream:
        version = npy_format.read_magic(stream)
        if version not in HEADERS:
            raise FormatError(f"{member.filename!r} has a header of version {version}")
        shape, fortran, dtype = HEADERS[version](stream)
        data = bytearray(stream.read())
    if dtype.hasobject or not dtype.itemsize or min(shape, default=0) < 0:
        raise FormatError(f"{member.filename!r} is an array of {dtype} and shape {shape}")
    if math.prod(shape) * dtype.itemsize != len(data):
        raise FormatError(
            f"{member.filename!r} has {len(data)} bytes, which are no array of {dtype} and "
            f"shape {shape}"
        )
    return np.ndarray(shape, dtype, data, order="F" if fortran else "C")


def _rows(schema: Schema, arrays: Arrays) -> list[Step]:
    n = arrays["time"].size
    require_fit(n * ROW_BYTES + sum(a.nbytes for a in arrays.values()), f"{n} rows")
    fixed = {name: _take(arrays, name, dtype, (n,)).tolist() for name, dtype in FIXED.items()}
    lengths = _take(arrays, "info lengths", "u8", (n,))
    cells = split_bytes(lengths, _take(arrays, "info bytes", "u1", (_sum(lengths),)))
    infos = [_of_type(jsonable.loads(cell), dict) if cell else {} for cell in cells]
    observations, actions = (_decode(c, arrays, n) for c in (schema.observation, schema.action))
    times, rewards, terminated, truncated = (fixed[name] for name in FIXED)
    fields = (times, observations, actions, rewards, terminated, truncated, infos)
    return [Step(*row) for row in zip(*fields, strict=True)]


def _decode(codec: SpaceCodec, arrays: Arrays, n: int) -> list[Any]:
    entries = {ROWS: n}
    found = []
    for column in codec.columns:
        shape = (entries[column.frame], *column.shape)
        found.append(_take(arrays, f"column {column.name}", column.dtype, shape))
        if column.ragged:
            entries[column.name] = _sum(found[-1])
    batch = codec.decode(iter(found), n)
    return [codec.pick(batch, row) for row in range(n)]


def _episodes(heads: list[dict[str, Any]], rows: list[Step]) -> Iterator[MemoryEpisode]:
    start = 0
    for number, head in enumerate(heads):
        stop = start + _of_type(head["rows"], int)
        if not start < stop <= len(rows):
            break
        yield MemoryEpisode(
            number,
            rows[start:stop],
            seed=_of_type(head["seed"], int | None),
            options=_of_type(head["options"], dict | None),
            ended=Ended(head["ended"]),
        )
        start = stop
    if start != len(rows):
        raise FormatError(f"its episodes have more or fewer than the {len(rows)} rows it holds")


def _take(arrays: Arrays, name: str, dtype: Any, shape: tuple[int, ...]) -> NDArray[Any]:
    if name not in arrays:
        raise FormatError(f"it has no array {name!r}")
    array = arrays[name]
    if array.dtype != np.dtype(dtype) or array.shape != shape:
        raise FormatError(
            f"{name!r} is an array of {array.dtype} and shape {array.shape}; "
            f"expected {np.dtype(dtype)} and {shape}"
        )
    return array


def _sum(lengths: NDArray[np.uint64]) -> int:
    """Return the sum, which no large length in a damaged file makes overflow."""
    return sum(lengths.tolist())


def _of_type(value: Any, kind: Any) -> Any:
    if not isinstance(value, kind):
        raise FormatError(
            f"found {value!r:.100} where there should be {getattr(kind, '__name__', kind)}"
        )
    return value


def names(path: Path) -> list[str]:
    """Return the name of its one data set."""
    with _opened(path) as file:
        return [_of_type(_head(file)["name"], str)]


def sniff(path: Path) -> bool:
    """Return whether it is an NPZ file with a head of ours."""
    if not path.is_file():
        return False  # to open a pipe is to wait until somebody writes to it
    try:
        with zipfile.ZipFile(path) as file:
            return f"{HEAD}.npy" in file.namelist()
    except (OSError, zipfile.BadZipFile):
        return False


FORMAT = Format("npz", (".npz",), sniff, names, read, write)

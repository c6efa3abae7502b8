# SPDX-License-Identifier: LGPL-3.0-or-later
"""Hostile files, through every door: nothing runs, nothing crashes, every failure has its name."""

from __future__ import annotations

import json
import warnings
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest

import gymbag
from gymbag.cli import main
from gymbag.errors import GymbagError
from gymbag.storage.footer import CHUNK, END, JSON_BYTES, MARK
from gymbag.storage.log import HEADER_BYTES, PIECE, RECORD_MARK, Kind, header
from tests.hostile import DATASET, HOSTILE

Door = Callable[[Path], Any]


def record(path: Path, **options: Any) -> None:
    env = gymbag.record_hdf5(gymnasium.make("CartPole-v1"), path, **options)
    with env:
        env.reset(seed=1)
        env.step(0)


def ask(path: Path) -> None:
    with gymbag.open(path, DATASET) as store:
        repr(store)
        store.describe()
        len(store.where("observation[0] > 0 and reward > 0"))


def read_all(path: Path) -> None:
    with gymbag.open(path, DATASET) as store:
        list(store.steps())


DOORS: list[Door] = [gymbag.list_datasets, ask, read_all, record]
COMMANDS = [
    ["info", "{}"],
    ["query", "{}", "reward > 0"],
    ["play", "{}"],
    ["card", "{}", "-o", "{}.html"],
    ["check", "{}", "--env", "CartPole-v1", "--unseeded"],
    ["compare", "{}", "{}"],
    ["convert", "{}", "{}.npz"],
    ["verify", "{}"],
    ["rescue", "{}", "-o", "{}.rescued"],
    ["delete", "{}", "--episodes", "0", "--yes"],
    ["repack", "{}"],
]


@pytest.mark.parametrize("name", HOSTILE)
def test_no_door_lets_a_hostile_file_do_harm(name: str, tmp_path: Path, capsys: Any) -> None:
    path = HOSTILE[name](tmp_path)
    go_through(path)
    assert not (tmp_path / "marker").exists()
    assert "Traceback" not in capsys.readouterr().err


def go_through(path: Path) -> None:
    """Open a file in every way; a GymbagError is the only one that may come."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for command in COMMANDS:
            assert main([word.format(path) for word in command]) in (0, 1, 2)
        for door in DOORS:
            with suppress(GymbagError):
                door(path)


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("good") / "x.h5"
    for _ in range(3):
        record(path)
    return path.read_bytes()


def spoil_index(good: bytes, spoil: Callable[[dict[str, Any], Any], Any]) -> bytes:
    """Return a file with another index, whose checksum is right."""
    length, _, _ = END.unpack(good[-END.size :])
    end = len(good) - END.size - length
    body = good[end : end + length]
    (size,) = JSON_BYTES.unpack_from(body)
    about = json.loads(body[JSON_BYTES.size : JSON_BYTES.size + size])
    chunks = np.frombuffer(body, CHUNK, offset=JSON_BYTES.size + size).copy()
    text = spoil(about, chunks)
    text = json.dumps(about).encode() if text is None else text
    body = JSON_BYTES.pack(len(text)) + text + chunks.tobytes()
    return good[:end] + body + END.pack(len(body), zlib.crc32(body), MARK)


def put(name: str, value: Any) -> Callable[[dict[str, Any], Any], None]:
    """Return what puts a value in the description of every column."""

    def spoil(about: dict[str, Any], chunks: Any) -> None:
        for column in about["columns"]:
            column[name] = value

    return spoil


def put_chunks(name: str, value: int) -> Callable[[dict[str, Any], Any], None]:
    def spoil(about: dict[str, Any], chunks: Any) -> None:
        chunks[name] = value
        chunks["crc"] = 0

    return spoil


SPOILS: dict[str, Callable[[dict[str, Any], Any], Any]] = {
    "rows without end": put("rows", 2**60),
    "fewer rows": put("rows", 1),
    "negative rows": put("rows", -1),
    "chunks of 2 GB": put("chunk_rows", 2**30),
    "chunks of no row": put("chunk_rows", 0),
    "objects": put("dtype", "|O"),
    "bytes without end": put("dtype", "|S999999999999"),
    "a million fields": put("dtype", [[f"f{i}", "<f8"] for i in range(10_000)]),
    "a huge shape": put("shape", [2**31, 2**31]),
    "many dimensions": put("shape", [1] * 1000),
    "a path outside": put("path", "/../../etc/passwd"),
    "paths that are none": put("path", 7),
    "unknown codec": put("compression", {"codec": "__import__"}),
    "no columns": lambda about, chunks: about["columns"].clear(),
    "a million columns": lambda about, chunks: about["columns"].extend(about["columns"][:1] * 9999),
    "deep JSON": lambda about, chunks: b"[" * 100_000,
    "huge numbers": lambda about, chunks: b'{"sequence":' + b"9" * 100_000 + b"}",
    "no JSON": lambda about, chunks: b"\xff\x00",
    "chunks far away": put_chunks("offset", 2**63),
    "chunks of 4 GB": put_chunks("size", 2**32 - 1),
    "chunks in HDF5's notes": put_chunks("offset", 0),
    "chunks of no byte": put_chunks("size", 0),
}


@pytest.mark.parametrize("name", SPOILS)
def test_a_hostile_index_does_no_harm(name: str, good: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    path.write_bytes(spoil_index(good, SPOILS[name]))
    go_through(path)


def logged(*pieces: tuple[int, str, int, int, bytes]) -> bytes:
    """Return a log of one commit that is whole."""
    body = b"".join(
        PIECE.pack(kind, 0, len(path), first, rows, len(data)) + path.encode() + data
        for kind, path, first, rows, data in pieces
    )
    rest = len(body).to_bytes(8, "little") + (2**40).to_bytes(8, "little") + b"\1"
    crc = zlib.crc32(body, zlib.crc32(rest))
    return header({"pid": 1}) + RECORD_MARK + crc.to_bytes(4, "little") + rest + body


STEPS = f"/{DATASET}/steps"
COLUMN = b'{"path":"/x/y","table":false,"dtype":"|u1","shape":[2147483647],"chunk_rows":1}'
LOGS: dict[str, bytes] = {
    "nothing": b"",
    "no header": b"\0" * 10,
    "not a log": b"x" * 10_000,
    "a length without end": header({}) + RECORD_MARK + b"\xff" * 100,
    "rows of no column": logged((Kind.VALUES, "/no/thing", 0, 1, b"x")),
    "rows far away": logged((Kind.ZEROS, STEPS, 2**60, 1, b"")),
    "rows before": logged((Kind.ZEROS, STEPS, 0, 1, b"")),
    "too many rows": logged((Kind.ZEROS, STEPS, 6, 2**31, b"")),
    "an unknown kind": logged((77, STEPS, 6, 1, b"abc")),
    "no chunk": logged((Kind.CHUNK, STEPS, 0, 6, b"abc")),
    "values that are none": logged((Kind.VALUES, STEPS, 6, 1, b"abc")),
    "a column that is none": logged((Kind.COLUMN, "", 0, 0, b"[" * 100_000)),
    "a huge column": logged((Kind.COLUMN, "", 0, 0, COLUMN)),
}


@pytest.mark.parametrize("name", LOGS)
def test_a_hostile_log_does_no_harm(name: str, good: bytes, tmp_path: Path) -> None:
    assert len(LOGS["no header"]) < HEADER_BYTES
    path = tmp_path / "x.h5"
    path.write_bytes(good)
    Path(f"{path}-wal").write_bytes(LOGS[name])
    go_through(path)


@pytest.mark.parametrize("journal", [b"", b"x" * 1000, b"gymbagU2" + b"\xff" * 100])
def test_a_hostile_journal_does_no_harm(journal: bytes, good: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    path.write_bytes(good)
    Path(f"{path}-undo").write_bytes(journal)
    go_through(path)
    with gymbag.open(path) as store:
        assert len(store.episodes) >= 3

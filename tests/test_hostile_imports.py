# SPDX-License-Identifier: LGPL-3.0-or-later
"""Files of other programs that were made to do harm: refused, without time or memory."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import struct
import tracemalloc
import warnings
import zipfile
from pathlib import Path
from typing import Any
from unittest import mock

import h5py
import numpy as np
import pytest
import tables
from numpy.lib import format as npy_format

from gymbag import convert, formats
from gymbag.errors import GymbagError
from gymbag.formats import limits
from tests.hostile import HOSTILE, flipped

DATA = Path(__file__).parent / "data"
CUT = 20 << 20
"""Bytes that a refusal may take; each of the files below asks for far more."""


def read_all(path: Path, format: str) -> None:
    for episode in formats.read(path, format).iter_episodes():
        list(episode.steps())


def refused(path: Path, format: str, match: str = ".") -> None:
    """Check that a file is refused with an error of ours that names it, for little memory."""
    tracemalloc.start()
    try:
        with pytest.raises(GymbagError, match=match) as caught:
            read_all(path, format)
        assert tracemalloc.get_traced_memory()[1] < CUT
    finally:
        tracemalloc.stop()
    assert str(path) in str(caught.value)


# ------------------------------------------------------------------------------------------ NPZ
def header(dtype: Any, shape: Any, version: int = 1) -> bytes:
    text = f"{{'descr': {dtype!r}, 'fortran_order': False, 'shape': {shape!r}, }}".encode()
    length = struct.pack("<H" if version == 1 else "<I", len(text))
    return b"\x93NUMPY" + bytes([version, 0]) + length + text


def rewritten(folder: Path, name: str, data: bytes, **options: Any) -> Path:
    """Return an NPZ file like the one of CartPole but for one member."""
    whole, path = folder / "whole.npz", folder / "hostile.npz"
    if not whole.exists():
        convert(DATA / "gymbag-0.4.9-cartpole.h5", whole)
    options = {"compression": zipfile.ZIP_DEFLATED, **options}
    with zipfile.ZipFile(whole) as old, zipfile.ZipFile(path, "w", **options) as new:
        for member in old.namelist():
            new.writestr(member, data if member == name else old.read(member))
        if name not in old.namelist():
            new.writestr(name, data)
    return path


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (header("<f8", (2**40,)), "0 bytes, which are no array"),
        (header("<f8", (2**70, 0, 2**70)), "hostile"),
        (header("<f8", (-1,)), "shape"),
        (header("<f8", (309.0,)), "hostile"),
        (header("|O", (1,)) + b"cos\nsystem\n(S'true'\ntR.", "object"),
        (header("|V1000000000", (2**20,)), "0 bytes, which are no array"),
        (header("<f4", (618,)) + bytes(4 * 618), "expected float64"),
        (header("<f8", (309,)).replace(b"False", b"__import__('os')"), "hostile"),
        (header("<f8", "(" * 5_000), "hostile"),
        (header("<f8", (1,) * 30_000, 2), "hostile"),
        (header("<f8", (1,), 3), "version"),
        (b"", "hostile"),
        (b"\x93NUMPY\x01\x00\xff\xff", "hostile"),
    ],
    ids=str,
)
def test_an_npz_file_whose_array_lies(data: bytes, match: str, tmp_path: Path) -> None:
    refused(rewritten(tmp_path, "time.npy", data), "npz", match)


def test_an_npz_file_that_unpacks_to_more_than_memory(tmp_path: Path) -> None:
    bomb = header("u1", (CUT * 4,)) + bytes(CUT * 4)
    with mock.patch.object(limits, "MAX_BYTES", CUT):
        refused(rewritten(tmp_path, "other.npy", bomb), "npz", r"set .*limits\.MAX_BYTES higher")
    with mock.patch.object(limits, "MAX_JSON", CUT):
        refused(rewritten(tmp_path, "gymbag.npy", bomb), "npz", r"set .*limits\.MAX_JSON higher")
    if hasattr(zipfile, "ZIP_LZMA"):
        path = rewritten(tmp_path, "x.npy", b"x", compression=zipfile.ZIP_LZMA)
        refused(path, "npz", "in another way than NumPy")


def test_arrays_in_the_order_of_fortran_are_read(tmp_path: Path) -> None:
    convert(DATA / "gymbag-0.4.9-cartpole.h5", tmp_path / "a.npz")
    with np.load(tmp_path / "a.npz") as file:
        arrays = {name: np.asfortranarray(file[name]) for name in file.files}
    assert arrays["column observation"].flags.f_contiguous
    np.savez(tmp_path / "b.npz", **arrays)
    one, other = (formats.read(tmp_path / name) for name in ("a.npz", "b.npz"))
    for mine, theirs in zip(one.iter_episodes(), other.iter_episodes(), strict=True):
        assert np.array_equal(mine.observations, theirs.observations)


# -------------------------------------------------------------------------------- gym_recording
@pytest.fixture
def traces(tmp_path: Path) -> Path:
    directory = tmp_path / "traces"
    shutil.copytree(DATA / "gym_recording-cartpole", directory)
    for path in directory.iterdir():
        path.chmod(0o644)
    return directory


def described(traces: Path, change: Any) -> None:
    path = min(traces.glob("*.ep*.json"))
    content = json.loads(path.read_text())
    change(content["episodes"][0])
    path.write_text(json.dumps(content))


@pytest.mark.parametrize(
    "name", ["/etc/passwd", "../x.json", "..", ".", "", "a/b", "a\\b", "a\0b", "link", "pipe", "no"]
)
def test_a_name_that_leads_elsewhere(name: str, traces: Path) -> None:
    (traces / "link").symlink_to("/dev/zero")
    os.mkfifo(traces / "pipe")
    described(traces, lambda episode: episode["observations"].update(npyfile=name))
    refused(traces, "gym_recording")
    for kind in ("*.ep*.json", "*.manifest.json"):
        path = min(traces.glob(kind))
        path.unlink()
        path.symlink_to("/dev/zero")
        refused(traces, "gym_recording", "expected a plain file")
        path.unlink()
        os.mkfifo(path)
        refused(traces, "gym_recording", "expected a plain file")


@pytest.mark.parametrize(
    "change",
    [
        lambda e: e["observations"].update(shape=[2**62, 0], size=0),
        lambda e: e["observations"].update(shape=[10**18] * 10_000),
        lambda e: e["observations"].update(shape=[1] * 100),
        lambda e: e["observations"].update(shape=[True, 4]),
        lambda e: e["observations"].update(npyoff=2**80),
        lambda e: e["observations"].update(dtype="V1000000000"),
        lambda e: e["observations"].update(dtype="(1000000,1000)f8"),
        lambda e: e["observations"].update(dtype="f4," * 10**5),
        lambda e: e["rewards"].update(shape=[0]),
        lambda e: e.update(rewards=[{}]),
        lambda e: e.update(rewards=None),
        lambda e: e.update(actions=[e["actions"]] * 10**4),
    ],
)
def test_an_array_described_to_do_harm(change: Any, traces: Path) -> None:
    described(traces, change)
    with mock.patch.object(limits, "MAX_BYTES", CUT):
        refused(traces, "gym_recording")


@pytest.mark.parametrize(
    "text", ["[" * 10**5, "9" * 10**5, '{"batches": {}}', "\xff" * 10, "1" * 99]
)
def test_json_made_to_do_harm(text: str, traces: Path) -> None:
    min(traces.glob("*.manifest.json")).write_text(text, "latin-1")
    with mock.patch.object(limits, "MAX_JSON", 10**6):
        refused(traces, "gym_recording")
    with mock.patch.object(limits, "MAX_JSON", 9):
        refused(traces, "gym_recording", r"set .*limits\.MAX_JSON higher")


# ---------------------------------------------------------------------------------- gymbag 0.4.9
def spoilt(folder: Path, change: Any) -> Path:
    path = folder / "spoilt.h5"
    shutil.copyfile(DATA / "gymbag-0.4.9-cartpole.h5", path)
    with h5py.File(path, "r+") as file:
        change(file["CartPole-v1"])
    return path


def chunk(nbytes: int, block: int, size: int, flags: int = 0x20) -> Any:
    data = struct.pack("<4B3I", 2, 1, flags, 4, nbytes, block, size) + bytes(100)
    return lambda table: table.id.write_direct_chunk((0,), data)


ROW = 1053
"""Bytes of a row of CartPole's; a chunk has 124."""


@pytest.mark.parametrize(
    "change",
    [
        lambda table: table.resize((2**50,)),
        lambda table: table.resize((10**6,)),
        chunk(1 << 30, 1 << 17, 116),
        chunk(124 * ROW, 0, 116),
        chunk(124 * ROW, 1 << 31, 116),
        chunk(124 * ROW, 124 * ROW, 116),
        chunk(124 * ROW, 124 * ROW, 1 << 31),
        chunk(124 * ROW, 124 * ROW, 116, 0xFF),
        chunk(124 * ROW, 1 << 10, 116, 0x02),
        lambda table: table.id.write_direct_chunk((0,), b"\x02"),
    ],
)
def test_a_table_of_0_4_9_that_lies(change: Any, tmp_path: Path) -> None:
    refused(spoilt(tmp_path, change), "gymbag-0.4.9", "of gymbag 0.4.9's|as gymbag 0.4.9's")


@pytest.mark.parametrize(
    "space",
    ["Box [-1, 1, [1099511627776]]", f"Discrete [{2**200}]", "Box [0, 1, [-5]]", "Box [[]]", "["],
)
def test_spaces_and_infos_of_0_4_9_made_to_do_harm(space: str, tmp_path: Path) -> None:
    name, _, args = space.partition(" ")
    path = spoilt(tmp_path, lambda table: None)
    with tables.open_file(path, "a") as file:
        table = file.root["CartPole-v1"]
        text = f'{{"name": "gym.spaces.{name}", "args": {args}}}' if args else "[" * 9_999
        table.attrs["observation_space"] = np.bytes_(text)
        rows = table[:]
        rows["info"][0], rows["info"][1] = b"[" * 1_024, b"9" * 1_024
        table[:] = rows
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert len(list(formats.read(path).iter_episodes())) == 9
    said = " ".join(str(warning.message) for warning in caught)
    assert "is not understood" in said
    assert "was cut off" in said


@pytest.mark.parametrize("kind", [".npz", ".h5"])
def test_flipped_bytes_crash_nothing(kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"good{kind}"
    shutil.copyfile(DATA / "gymbag-0.4.9-cartpole.h5", tmp_path / "good.h5")
    if kind == ".npz":
        convert(tmp_path / "good.h5", path)
    good, other = path.read_bytes(), tmp_path / f"flipped{kind}"
    for seed in range(40):
        other.write_bytes(flipped(good, random.Random(seed).randrange(10**6)))
        with contextlib.suppress(GymbagError, UserWarning):
            read_all(other, "npz" if kind == ".npz" else "gymbag-0.4.9")


@pytest.mark.parametrize("name", HOSTILE)
def test_no_hostile_file_is_taken_for_one_of_another_program(name: str, tmp_path: Path) -> None:
    path = HOSTILE[name](tmp_path)
    for format in ("npz", "gym_recording", "gymbag-0.4.9"):
        assert not formats.find_format(path, format).sniff(path)
    assert not (tmp_path / "marker").exists()


def test_headers_of_the_test_are_numpys_own(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    path.write_bytes(header("<f8", (2,)) + bytes(16))
    with path.open("rb") as file:
        assert npy_format.read_array(file).tolist() == [0, 0]

# SPDX-License-Identifier: LGPL-3.0-or-later
"""What a child process tells of files: the truth of good ones, and no harm from hostile ones."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import tables

from gymbag.errors import FileBusy, FileError, NoSuchFile, NotAStore
from gymbag.storage import look as look_module
from gymbag.storage.look import BOOTSTRAP, Scan, ScannedLeaf, look
from tests.hostile import DATASET, HOSTILE, flipped, recording

DATA = Path(__file__).parent / "data"
MOST_SECONDS = 10.0

REFUSED = {
    "object_array": ["observation"],
    "external_link_as_column": ["observation"],
    "soft_links": ["observation", "outside", "loop"],
    "external_storage": ["observation"],
    "virtual_dataset": ["observation"],
    "hard_link_cycles": ["self", "up", "twice"],
    "link_name_not_utf8": ["\\xff\\xfe"],
    "unusual_types": [
        *("opaque", "vlen", "text", "reference", "region", "inside", "nested", "float", "integer"),
    ],
    "unusual_layouts": ["contiguous", "fixed", "tiles", "both", "scalar", "null", "type", "fill"],
    "rows_without_end": ["steps"],
    "chunk_of_2_gb": ["observation"],
    "very_many_columns": ["wide"],
    "deep_groups": ["g"],
}
"""What of the data set must be named and not be read."""
RAISES = {
    "pickle in gymbag_format of /": NotAStore,
    "format_is_an_array": NotAStore,
    "very_many_links": NotAStore,
    "user_block": NotAStore,
    "empty_file": NotAStore,
    "text_file": NotAStore,
    "a_folder": NotAStore,
    "a_pipe": NotAStore,
    "a_device": NotAStore,
    "truncated": FileError,
    "only_the_signature": FileError,
    "a_link_to_itself": FileError,
    "format_is_a_huge_number": FileError,
    "chunks_behind_the_end": FileError,
    "tree_that_is_its_own_branch": FileError,
    "group_that_is_its_own_branch": FileError,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_does_no_harm(name: str, tmp_path: Path) -> None:
    path = HOSTILE[name](tmp_path)
    memory, start = _memory(), time.monotonic()
    if name in RAISES:
        with pytest.raises(RAISES[name]) as raised:
            look(path, timeout=MOST_SECONDS)
        assert raised.type is RAISES[name]
        assert str(path) in str(raised.value)
        assert str(raised.value).isprintable()
    else:
        scan = look(path, timeout=MOST_SECONDS)
        found = [leaf.path for leaf in scan.leaves]
        assert not set(found) & set(scan.refused)
        assert {(DATASET, leaf) for leaf in REFUSED.get(name, ())} <= set(scan.refused)
    assert time.monotonic() - start < MOST_SECONDS
    assert _memory() - memory < 1 << 26
    assert not (tmp_path / "marker").exists()


def test_flipped_bytes_never_reach_this_process(tmp_path: Path) -> None:
    good = recording(tmp_path / "good.h5").read_bytes()
    path = tmp_path / "flipped.h5"
    ends = {"scan": 0, "error": 0}
    for seed in range(150):
        path.write_bytes(flipped(good, seed))
        try:
            scan = look(path, timeout=MOST_SECONDS)
        except FileError:
            ends["error"] += 1
            continue
        ends["scan"] += 1
        for leaf in scan.leaves:
            assert (leaf.offsets + leaf.sizes <= len(good)).all()
    assert min(ends.values()) > 10


def _memory() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _leaves(scan: Scan) -> dict[str, ScannedLeaf]:
    return {"/" + "/".join(leaf.path): leaf for leaf in scan.leaves}


def _chunks(leaf: Any) -> Iterator[tuple[int, Any]]:
    """Yield number and place of each chunk, as PyTables knows them."""
    for number in range(-(-int(leaf.nrows) // leaf.chunkshape[0])):
        start = (number * int(leaf.chunkshape[0]),) + (0,) * (leaf.ndim - 1)
        yield number, leaf.chunk_info(start)


def _check_against_pytables(path: Path, scan: Scan, seconds: frozenset[str] = frozenset()) -> None:
    found = _leaves(scan)
    data = path.read_bytes()
    with tables.open_file(path) as file:
        held = list(file.walk_nodes("/", "Leaf"))
        assert sorted(found) == sorted(leaf._v_pathname for leaf in held)
        for leaf in held:
            told = found[leaf._v_pathname]
            assert told.rows == leaf.nrows
            assert told.chunk_rows == leaf.chunkshape[0]
            assert told.dtype == _as_it_stands(leaf.dtype.base, seconds)
            assert told.shape == tuple(leaf.shape[1:]) + leaf.dtype.shape
            assert told.kind == ("table" if isinstance(leaf, tables.Table) else "array")
            chunks = zip(told.numbers, told.offsets, told.sizes, strict=True)
            places = {int(number): (int(start), int(size)) for number, start, size in chunks}
            for number, info in _chunks(leaf):
                if info.offset is None:
                    assert number not in places
                    continue
                start, size = places.pop(number)
                assert (start, size) == (info.offset, info.size)
                assert data[start : start + size] == leaf.read_chunk(info.start)
            assert not places


def _as_it_stands(dtype: np.dtype[Any], seconds: frozenset[str]) -> np.dtype[Any]:
    """Return a type with PyTables' times as they are in the file."""
    if not dtype.names or not seconds:
        return dtype
    kinds = [
        (name, "<i8" if name in seconds else dtype[name].base, dtype[name].shape)
        for name in dtype.names
    ]
    return np.dtype(kinds)


def test_a_good_file_is_told_as_it_is(tmp_path: Path) -> None:
    path = recording(tmp_path / "good.h5", rows=1000)
    codes = [*"?bBhHiIqQefdgFDG", "S7", ">i4", ">f8", ">c16"]
    chance = np.random.default_rng(2)
    with warnings.catch_warnings(), tables.open_file(path, "a") as file:
        warnings.simplefilter("ignore", tables.NaturalNameWarning)
        for number, code in enumerate(codes):
            values = chance.integers(0, 2, size=(50, 2, 3)).astype(code)
            file.create_earray(
                f"/{DATASET}", f"a{number}", obj=values, chunkshape=(7, 2, 3),
                filters=tables.Filters(number % 3, "zlib"),
            )  # fmt: skip
        inner = [("x", "<f4", (2, 2)), ("y", "S3")]
        kinds = [(f"c{n}", code) for n, code in enumerate(codes) if code not in ">i4>f8>c16"]
        row = np.dtype([*kinds, ("in", inner)])
        file.create_table(f"/{DATASET}", "nested", obj=np.zeros(99, row), chunkshape=(10,))
        # Chunks in the midst and at the end that are not there.
        sparse = file.create_earray(f"/{DATASET}", "sparse", tables.UInt8Atom((5,)), (0,))
        sparse.truncate(10 * sparse.chunkshape[0] + 1)
        sparse[3 * sparse.chunkshape[0]] = 1
    end = path.stat().st_size
    with open(path, "ab") as behind:
        behind.write(b"what is not HDF5's" * 100)
    scan = look(path)
    assert (scan.format, scan.legacy, scan.end, dict(scan.refused)) == (2, False, end, {})
    assert [filter_[0] for filter_ in _leaves(scan)[f"/{DATASET}/steps"].filters] == [32026]
    _check_against_pytables(path, scan)


@pytest.mark.parametrize("path", sorted(DATA.glob("gymbag-0.4.9-*.h5")), ids=lambda p: p.stem)
def test_a_file_of_gymbag_0_4_9_is_known(path: Path) -> None:
    scan = look(path)
    assert (scan.format, scan.legacy) == (None, True)
    _check_against_pytables(path, scan, frozenset({"time"}))
    for leaf in scan.leaves:
        assert leaf.filters[0][0] == 32001
        assert json.loads(leaf.texts["observation_space"])["name"] == "gym.spaces.Box"
        assert leaf.texts["TITLE"]


def test_what_h5py_writes_is_told_as_it_is(tmp_path: Path) -> None:
    path = recording(tmp_path / "h5py.h5")
    written = {
        "bool": np.ones((9, 2), bool),
        "half": np.ones((9, 2), "f2"),
        "complex": np.ones((9, 2), "c8"),
        "row": np.zeros(9, [("a", "?"), ("b", ">u2", (3,))]),
    }
    with h5py.File(path, "r+") as file:
        for name, values in written.items():
            shape = (None, *values.shape[1:])
            chunks = (4, *values.shape[1:])
            file[DATASET].create_dataset(name, data=values, maxshape=shape, chunks=chunks)
    leaves = _leaves(look(path))
    for name, values in written.items():
        leaf = leaves[f"/{DATASET}/{name}"]
        assert (leaf.dtype, (leaf.rows, *leaf.shape)) == (values.dtype, values.shape)
        data = path.read_bytes()
        chunk = data[int(leaf.offsets[1]) :][: int(leaf.sizes[1])]
        assert chunk == values[4:8].tobytes()


def test_the_tree_of_another_program_is_left_alone(tmp_path: Path) -> None:
    scan = look(HOSTILE["another_programs"](tmp_path))
    assert (scan.format, scan.legacy, scan.leaves) == (None, False, ())


def test_a_file_that_is_not_there_or_held_is_named(tmp_path: Path) -> None:
    with pytest.raises(NoSuchFile, match="no such file"):
        look(tmp_path / "nothing.h5")
    path = recording(tmp_path / "held.h5")
    with h5py.File(path, "r+"), pytest.raises(FileBusy, match="another process"):
        look(path)


def test_a_name_of_any_bytes_is_looked_at(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"-\xff\n'\".h5")
    recording(tmp_path / "plain.h5").rename(path)
    assert look(path).format == 2


def test_a_child_without_end_or_memory_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = recording(tmp_path / "good.h5")
    with pytest.raises(FileError):
        look(path, max_bytes=1 << 24)
    monkeypatch.setattr(look_module, "BOOTSTRAP", "import time; time.sleep(60)")
    start = time.monotonic()
    with pytest.raises(FileError, match=r"longer than 0\.3 s"):
        look(path, timeout=0.3)
    assert time.monotonic() - start < 5


def test_the_child_has_nothing_that_unpickles(tmp_path: Path) -> None:
    said = "import sys; print([n for n in ('pickle', 'numpy', 'tables') if n in sys.modules])"
    code = BOOTSTRAP.replace("main()", said)
    folder = Path(look_module.__file__).parent
    command = [sys.executable, "-I", "-S", "-c", code, "", str(folder.parent), str(folder)]
    assert subprocess.check_output(command, text=True) == "[]\n"


def _report(**changes: Any) -> bytes:
    leaf = {"path": ["g", "l"], "dtype": "<f4", "rows": 8, "shape": [2], "chunk_rows": 4}
    leaf |= {"filters": [], "chunks": 2, "texts": {}}
    scan: dict[str, Any] = {"format": 2, "legacy": False, "end": 1000, "refused": []}
    scan["leaves"] = [leaf | {key: value for key, value in changes.items() if key in leaf}]
    scan |= {key: value for key, value in changes.items() if key in scan}
    chunks = np.array(changes.get("table", [(1, 100, 9), (0, 50, 9)]), look_module.CHUNK_DTYPE)
    return json.dumps(scan).encode() + b"\n" + chunks.tobytes()


LIES: dict[str, bytes] = {
    "no text": b"\xff\xfe",
    "nothing": b"",
    "a list": b"[]\n",
    "deep": b"[" * 100_000,
    "half a chunk": _report() + b"x",
    "objects": _report(dtype="|O"),
    "code": _report(dtype="<f4,|O"),
    "huge text": _report(dtype="|S999999999"),
    "twice a name": _report(dtype={"fields": [["a", 0, "<f4"], ["a", 4, "<f4"]], "size": 8}),
    "field behind": _report(dtype={"fields": [["a", 8, "<f4"]], "size": 8}),
    "array behind": _report(dtype={"fields": [["a", 0, {"base": "<f4", "shape": [1 << 27] * 9}]],
                                   "size": 8}),
    "true": _report(rows=True),
    "rows": _report(rows=1 << 60),
    "part of a row": _report(rows=7.5),
    "negative": _report(rows=-1),
    "no chunk rows": _report(chunk_rows=0),
    "large chunks": _report(chunk_rows=1 << 30),
    "many chunks": _report(chunks=3),
    "late chunk": _report(table=[(0, 0, 9), (2, 50, 9)]),
    "same rows": _report(table=[(0, 0, 9), (0, 50, 9)]),
    "behind": _report(table=[(0, 0, 9), (1, 2**64 - 5, 9)]),
    "end": _report(end=1 << 60),
    "version": _report(format="2"),
}  # fmt: skip


@pytest.mark.parametrize("lie", LIES)
def test_a_child_is_not_believed(lie: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = recording(tmp_path / "good.h5")
    monkeypatch.setattr(look_module, "_run", lambda *_: _report())
    assert look(path).leaves[0].numbers.tolist() == [0, 1]
    monkeypatch.setattr(look_module, "_run", lambda *_: LIES[lie])
    with pytest.raises(FileError, match="cannot be"):
        look(path)

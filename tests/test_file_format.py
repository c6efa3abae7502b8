# SPDX-License-Identifier: LGPL-3.0-or-later
"""docs/file-format.md is right: a reader written by its words alone reads what gymbag reads."""

from __future__ import annotations

import ast
import os
import shutil
import struct
import zlib
from pathlib import Path
from typing import Any

import gymnasium
import h5py
import hdf5plugin  # noqa: F401  it teaches h5py Blosc2
import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import example, given
from hypothesis import strategies as st

import gymbag
from gymbag.errors import NewerFormat, RecoveryWarning
from gymbag.storage import names, undo
from gymbag.storage.file import open_to_write, release
from gymbag.storage.footer import outside_chunks, read_footer
from tests import format_reader
from tests.format_reader import Dataset, File
from tests.spaces import EXAMPLES, same

PAGE = Path(gymbag.__file__).parent.parent / "docs" / "file-format.md"
SPACES = {
    "all / of.%them": (spaces.Dict(EXAMPLES), spaces.Tuple(EXAMPLES.values())),
    "a box": (EXAMPLES["box-image"], EXAMPLES["discrete-start"]),
    "a text": (EXAMPLES["text-unicode"], EXAMPLES["graph"]),
    "nothing": (EXAMPLES["box-empty"], EXAMPLES["oneof"]),
}
"""Spaces of observation and action by the name of the data set."""
INFOS: list[dict[Any, Any]] = [
    {},
    {"lives": 3, "a b": "short", "episode": {"r": 1.5, "l": np.float32(2)}},
    {"lives": "now a text", "episode": {"r": None, "more": (1, b"x", {2: "y"})}},
    {"long": "x" * 100, "flag": True, "array": np.arange(4, dtype="i2"), "nan": float("nan")},
]


def record(recorder: Any, both: Any, episodes: int, steps: int, *, last: bool = True) -> None:
    """Record episodes; the last goes on unless it is to end."""
    space, action_space = both
    for episode in range(episodes):
        options = {"level": (episode, "x")} if episode == 1 else None
        seed = None if episode == 0 else 2**70 if episode == 1 else episode
        recorder.on_reset(1.0 * episode, space.sample(), INFOS[1], seed=seed, options=options)
        for step in range(1, steps + 1):
            ends = step == steps and (last or episode < episodes - 1)
            row = space.sample(), action_space.sample(), step * 0.5
            recorder.on_step(episode + step / 10, *row, ends, False, INFOS[step % 4])


def items(batch: Any) -> list[Any]:
    """Return the values of a batch."""
    if isinstance(batch, dict):
        parts = map(items, batch.values())
        return [dict(zip(batch, row, strict=True)) for row in zip(*parts, strict=True)]
    return list(batch)


def plain(value: Any, space: Any) -> Any:
    """Return a value of a space as the reader gives it: items in lists, no class of Gymnasium's."""
    if isinstance(space, spaces.Dict):
        return {key: plain(value[key], part) for key, part in space.spaces.items()}
    if isinstance(space, spaces.Tuple):
        return tuple(map(plain, value, space.spaces))
    if isinstance(space, spaces.OneOf):
        return int(value[0]), plain(value[1], space.spaces[value[0]])
    if isinstance(space, spaces.Sequence):
        rows = items(value) if space.stack else value
        return tuple(plain(item, space.feature_space) for item in rows)
    if isinstance(space, spaces.Graph):
        edges = None if value.edges is None else items(value.edges)
        return items(value.nodes), edges, value.edge_links
    return value


def check_same(path: str, name: str, episodes: int, file: File) -> None:
    """Check that the reader sees so many episodes of a data set, and gymbag the same."""
    with gymbag.open(path, name) as store:
        data = Dataset(file, name)
        assert len(data.episodes) == len(store.episodes) == episodes
        check_episodes(data, store)


def check_episodes(data: Dataset, store: Any) -> None:
    observations, actions = data.values("observation"), data.values("action")
    infos, fields = data.infos(), data.steps.dtype.names
    for number, episode in enumerate(store.episodes):
        about = data.episodes[number]
        first, rows = int(about["first_row"]), int(about["rows"])
        extra = data.extra(number)
        assert about["id"] == episode.id == number
        assert about["ended"].decode() == episode.ended.value
        assert same(float(about["episode_return"]), episode.episode_return)
        assert extra.get("options") == episode.options
        seed = extra.get("seed", int(about["seed"]) if about["seeded"] else None)
        assert seed == episode.seed
        assert zlib.crc32(data.steps[first : first + rows].tobytes()) == about["crc"]
        assert rows == episode.episode_length + 1
        for row, step in zip(range(first, first + rows), episode.steps(), strict=True):
            assert data.steps["episode"][row] == number
            assert data.steps["step"][row] == row - first
            for name in ("time", "reward", "terminated", "truncated"):
                assert same(data.steps[name][row].item(), getattr(step, name))
            assert same(observations[row], plain(step.observation, store.observation_space))
            assert same(actions[row], plain(step.action, store.action_space))
            assert same(infos[row], step.info)
    assert fields[:6] == ("episode", "step", "time", "reward", "terminated", "truncated")


def test_the_reader_reads_what_gymbag_reads(tmp_path: Path) -> None:
    path, dead = str(tmp_path / "x.h5"), str(tmp_path / "dead.h5")
    recorders = []
    for last in (True, False):
        for name, both in SPACES.items():
            recorders.append(gymbag.HDF5Recorder(path, *both, name, durability="close"))
            record(recorders[-1], both, 3, 5, last=last)
        while last and recorders:
            recorders.pop().on_close()
        with gymbag.open(path, name):  # commits what was recorded
            data = File(path)
        for name in SPACES:  # at rest; then the writer lives, and is in mid-episode
            check_same(path, name, 3 if last else 5, data)
    file = open_to_write(path)
    file.commit(seen=False)
    for suffix in ("", "-wal"):
        shutil.copy(path + suffix, dead + suffix)
    release(file)
    data = File(dead, writer_lives=False)
    with pytest.warns(RecoveryWarning):
        gymbag.open(dead, name).close()
    assert not os.path.exists(dead + "-wal")
    for name in SPACES:
        assert Dataset(data, name).episodes["ended"][-1] == b"interrupted"
        check_same(dead, name, 6, data)
        check_same(dead, name, 6, File(dead))
    for recorder in recorders:
        recorder.on_close()


@pytest.fixture
def cartpole(tmp_path: Path) -> str:
    """Return a file of more than one chunk, and with something of all that the page names."""
    path = str(tmp_path / "x.h5")
    space = spaces.Box(0, 1, (3, 9000), np.float32)
    recorder = gymbag.HDF5Recorder(path, space, spaces.Discrete(3), "wide")
    for step in range(300):
        if step % 50 == 0:
            first = np.zeros((3, 9000), "f4") if step > 100 else space.sample()
            recorder.on_reset(step, first, {"lives": step})
        # A chunk of 64 of them holds nothing but zeros.
        zeros = 100 < step < 250
        observation = np.zeros((3, 9000), "f4") if zeros else space.sample()
        recorder.on_step(step, observation, step % 3, 0.5, step % 50 == 49, False, {"n": step})
    recorder.on_close()
    return path


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
@example("".join(map(chr, range(256))))
def test_names_are_encoded_as_the_page_says(name: str) -> None:
    for text in (name, f".{name}", f"_{name}"):
        assert format_reader.escape(text) == names.escape(text)


def test_the_index_says_what_hdf5_says(cartpole: str) -> None:
    file = File(cartpole)
    with h5py.File(cartpole) as hdf5:
        assert hdf5.attrs["gymbag_format"] == 2
        found: dict[str, Any] = {}
        hdf5.visititems(lambda name, node: found.update({f"/{name}": node}))
        leaves = {path: node for path, node in found.items() if isinstance(node, h5py.Dataset)}
        assert leaves.keys() == file.columns.keys()
        for path, leaf in leaves.items():
            column = file.columns[path]
            assert leaf.shape == (column.rows, *column.shape)
            assert leaf.maxshape == (None, *column.shape)
            assert leaf.chunks == (column.size, *column.shape)
            filters = leaf.id.get_create_plist()
            assert [filters.get_filter(i)[0] for i in range(filters.get_nfilters())] == [32026]
            infos = [leaf.id.get_chunk_info(i) for i in range(leaf.id.get_num_chunks())]
            places = {c.chunk_offset[0] // column.size: (c.byte_offset, c.size) for c in infos}
            indexed = {i: (o, s) for i, (o, s, _) in enumerate(column.chunks.tolist()) if s}
            assert places == indexed
        some = leaves["/wide/observation"]
        assert np.array_equal(some[:], file.columns["/wide/observation"].read())
    zeros = file.columns["/wide/observation"].chunks["size"] == 0
    assert zeros.any()
    assert not zeros.all()


def test_the_digest_covers_all_that_is_in_no_full_chunk(cartpole: str) -> None:
    file = File(cartpole)
    full = sorted(
        (offset, size)
        for column in file.columns.values()
        for offset, size, _ in column.chunks[: column.rows // column.size].tolist()
        if size
    )
    assert full
    crc, place = 0, 0
    for offset, size in [*full, (file.end, 0)]:
        crc, place = zlib.crc32(file.data[place:offset], crc), offset + size
    assert crc == file.digest


def test_the_copy_of_what_a_data_set_says_of_itself(cartpole: str) -> None:
    file = File(cartpole)
    meta = file.columns["/wide/meta"]
    assert zlib.decompress(meta.copy) == meta.read().tobytes()
    assert [path for path, column in file.columns.items() if column.copy] == ["/wide/meta"]


def test_the_rows_of_a_table_are_split_into_streams(cartpole: str) -> None:
    steps = File(cartpole).columns["/wide/steps"]
    chunk = format_reader.chunk_of(steps.frame(0))
    _, _, flags, typesize, nbytes, block, cbytes = struct.unpack_from("<4B3I", chunk)
    filters, last = chunk[16:22], chunk[31]
    assert (flags & 0x05, flags >> 5, flags & 0x12, last) == (0x05, 4, 0, 0)
    assert (sorted(filters), typesize) == ([0] * 5 + [1], steps.dtype.itemsize)
    assert (nbytes, cbytes) == (steps.size * typesize, len(chunk))
    assert nbytes % block == 0
    place, streams = 32 + 4 * (nbytes // block), 0
    for start in struct.unpack_from(f"<{nbytes // block}i", chunk, 32):
        assert start == place
        for _ in range(typesize):
            (length,) = struct.unpack_from("<i", chunk, place)
            place += 4 + (length if length >= 0 else 1)
            streams += 1
    assert place == len(chunk)
    assert streams == typesize * (nbytes // block)


def test_an_undo_journal_makes_the_file_what_it_was(cartpole: str) -> None:
    before = Path(cartpole).read_bytes()
    descriptor = os.open(cartpole, os.O_RDWR)
    footer = read_footer(descriptor)
    assert footer is not None
    parts = outside_chunks(footer, len(before))
    undo.write_undo(cartpole + "-undo", descriptor, parts)
    os.close(descriptor)
    journal = Path(cartpole + "-undo").read_bytes()
    garbled = bytearray(before)
    for offset, length in parts:
        garbled[offset : offset + length] = bytes(length)
    Path(cartpole).write_bytes(garbled + b"more")
    assert bytes(File(cartpole).data) == before
    # One that is not whole was being written, and the file had not been touched.
    for length in (0, 27, len(journal) - 1):
        Path(cartpole + "-undo").write_bytes(journal[:length])
        Path(cartpole).write_bytes(before)
        assert bytes(File(cartpole).data) == before


def test_a_log_counts_up_to_its_last_commit_and_beyond_the_file(tmp_path: Path) -> None:
    path = str(tmp_path / "x.h5")
    env = gymbag.record_hdf5(gymnasium.make("CartPole-v1"), path, durability="episode")
    ends = []
    for seed in range(4):
        env.reset(seed=seed)
        while not env.step(seed % 2)[2]:
            pass
        ends.append(os.path.getsize(path + "-wal"))
    whole = Path(path + "-wal").read_bytes()[: ends[2]]
    copy = str(tmp_path / "copy.h5")
    Path(copy).write_bytes(Path(path).read_bytes())
    counts = []
    for end in (*ends[:3], ends[2] - 1, ends[1] + 30):
        Path(copy + "-wal").write_bytes(whole[:end])
        counts.append(len(Dataset(File(copy), "CartPole-v1").episodes))
    assert counts == [1, 2, 3, 2, 2]
    env.close()
    # The file has gone on from a log that is still there: nothing in it counts any more.
    Path(path + "-wal").write_bytes(whole)
    assert len(Dataset(File(path), "CartPole-v1").episodes) == 4
    with gymbag.open(path) as store:
        assert len(store.episodes) == 4


def test_a_newer_format_is_refused(cartpole: str) -> None:
    with h5py.File(cartpole, "r+") as file:  # it cuts the index off, as the page says
        file.attrs["gymbag_format"] = 3
    assert Path(cartpole).read_bytes()[-8:] != b"gymbag 2"
    with pytest.raises(NewerFormat, match="format 3"):
        gymbag.open(cartpole)


def test_the_reader_knows_nothing_of_gymbag_and_of_hdf5() -> None:
    source = Path(format_reader.__file__).read_text("utf-8")
    nodes = [n for n in ast.walk(ast.parse(source)) if isinstance(n, ast.Import | ast.ImportFrom)]
    names = {a.name for n in nodes if isinstance(n, ast.Import) for a in n.names}
    modules = {n.module for n in nodes if isinstance(n, ast.ImportFrom)}
    assert names == {"base64", "blosc2", "json", "mmap", "numpy", "os", "struct", "zlib"}
    assert modules == {"__future__", "functools", "typing"}


def test_the_page_names_every_mark_and_version() -> None:
    page = PAGE.read_text("utf-8")
    for mark in ("gymbag 2", "gymbagW2", "GBR2", "gymbagU2", "gymbag_format", "32026"):
        assert mark in page

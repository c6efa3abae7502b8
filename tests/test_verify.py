# SPDX-License-Identifier: LGPL-3.0-or-later
"""What is damaged is found, and nothing else."""

from __future__ import annotations

import json
import os
import random
from contextlib import suppress
from pathlib import Path

import h5py
import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete

import gymbag
from gymbag.cli import main
from gymbag.errors import GymbagError
from gymbag.storage.snapshot import Snapshot
from tests.damage import CHUNK_ROWS, NAME, Place, flip, index_of, places, record
from tests.hostile import HOSTILE


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return record(tmp_path_factory.mktemp("good") / "good.h5")


def owner(path: Path, place: Place) -> set[int]:
    """Return the rows that need a chunk, found out by reading row by row."""
    group, _, name = place.path[1:].partition("/")
    columns = index_of(path).columns
    first = place.number * columns[place.path].spec.chunk_rows
    stop = min(first + columns[place.path].spec.chunk_rows, columns[place.path].rows)
    entries = set(range(first, stop))
    snapshot = Snapshot(str(path))
    ends = {f"/{group}/{name.removesuffix('[]')}#ends", f"/{group}/{name}#ends"}
    if name.endswith("#ends"):
        entries |= {stop} & set(range(columns[place.path].rows))
        name = name.removesuffix("#ends")
        ends = {f"/{group}/{name.removesuffix('[]')}#ends"} if name.endswith("[]") else set()
    while ends & set(columns):
        (path_of_ends,) = ends & set(columns)
        stored = snapshot.columns[path_of_ends]
        after = stored.read(0, stored.rows).astype(int)
        before = np.concatenate(([0], after[:-1]))
        entries = {i for i in range(len(after)) if entries & set(range(before[i], after[i]))}
        name = path_of_ends.rpartition("/")[2].removesuffix("#ends")
        ends = {f"/{group}/{name.removesuffix('[]')}#ends"} if name.endswith("[]") else set()
    snapshot.close()
    return entries


def test_a_file_as_it_was_recorded_is_sound(good: Path) -> None:
    before = good.read_bytes()
    report = gymbag.verify(good)
    assert report, str(report)
    assert (report.datasets, report.episodes) == (2, 80)
    assert report.chunks == len(list(places(good)))
    assert good.read_bytes() == before


@pytest.mark.parametrize("seed", range(6))
def test_a_damaged_chunk_is_told_by_exactly_its_rows(good: Path, tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    for path in sorted({place.path for place in places(good)}):
        name = path.rpartition("/")[2]
        if name == "meta" or path.startswith("/plain") or name.startswith("extra"):
            continue
        place = chance.choice([p for p in places(good) if p.path == path])
        damaged = flip(tmp_path / "x.h5", good, [place.offset + chance.randrange(place.size)])
        report = gymbag.verify(damaged)
        assert {(d.dataset, d.column) for d in report.damages} == {(NAME, name)}, str(report)
        told: set[int] = set()
        for damage in report.damages:
            told |= set(range(damage.first or 0, (damage.last or 0) + 1))
        if name != "episodes":
            assert told == owner(good, place), place
        with gymbag.open(good, NAME) as store:
            concerned = {int(e) for e in store["episode"][sorted(told)]}
        assert concerned == {
            e for d in report.damages if d.episodes for e in range(d.episodes[0], d.episodes[1] + 1)
        }


def test_any_flipped_byte_of_a_file_is_noticed(good: Path, tmp_path: Path) -> None:
    size = good.stat().st_size
    for offset in random.Random(1).sample(range(size), 30):
        damaged = flip(tmp_path / "x.h5", good, [offset])
        try:
            assert not gymbag.verify(damaged), offset
        except GymbagError:
            assert offset < 8 or offset > index_of(good).end


def test_what_another_program_wrote_to_has_no_checksums(good: Path, tmp_path: Path) -> None:
    path = flip(tmp_path / "x.h5", good, [])
    with h5py.File(path, "r+") as file:
        file.attrs["note"] = "mine"
    report = gymbag.verify(path)
    assert report
    assert "another program" in " ".join(report.notes)


def test_a_file_is_verified_beside_its_writer(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    with gymbag.record_hdf5(gymbag.RandomEnv(Box(0, 1, (2,)), Discrete(2)), path) as env:
        env.reset(seed=1)
        for _ in range(9):
            env.step(0)
        report = gymbag.verify(path)
        assert report, str(report)


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_are_reported_or_refused(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    path = HOSTILE[name](folder)
    for work in (gymbag.verify, lambda x: gymbag.rescue(x, tmp_path / "new.h5"), gymbag.repack):
        with suppress(GymbagError):
            work(path)
    assert not (folder / "marker").exists()
    assert not [left for left in os.listdir(tmp_path) if left.startswith(".")]


def test_the_command_says_sound_damaged_or_neither(
    good: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["verify", str(good)]) == 0
    assert "sound" in capsys.readouterr().out
    place = next(p for p in places(good) if p.path.endswith("/steps") and p.number == 1)
    damaged = flip(tmp_path / "x.h5", good, [place.offset + place.size // 2])
    assert main(["verify", str(damaged), "--json"]) == 1
    (told,) = json.loads(capsys.readouterr().out)["damages"]
    assert (told["column"], told["first"], told["last"]) == (
        "steps",
        CHUNK_ROWS,
        2 * CHUNK_ROWS - 1,
    )
    assert main(["verify", str(tmp_path / "none.h5")]) == 2


@pytest.mark.parametrize("how", ["cut off", "damaged"])
def test_what_is_appended_to_without_an_index_has_checksums_again(
    good: Path, tmp_path: Path, how: str
) -> None:
    path = tmp_path / "x.h5"
    path.write_bytes(good.read_bytes())
    if how == "cut off":
        with h5py.File(path, "r+") as file:
            file.attrs["note"] = "by another program"
    else:
        flip(path, path, [index_of(path).end + 100])
    with gymbag.open(path, NAME) as store:
        before = store["reward"]
    recorder = gymbag.HDF5Recorder(path, Box(0, 1, (3,)), Discrete(2), "another")
    recorder.on_reset(0, np.zeros(3, "f4"), {})
    recorder.on_step(1, np.zeros(3, "f4"), 1, 1.0, True, False, {})
    recorder.on_close()
    gymbag.save_view(path, "rewarded", "reward > 0", name="plain")
    assert gymbag.verify(path)
    with gymbag.open(path, NAME) as store:
        assert np.array_equal(store["reward"], before, equal_nan=True)
    place = next(p for p in places(path) if p.path == "/plain/observation" and not p.number)
    flip(path, path, [place.offset + place.size // 2])
    assert [d.column for d in gymbag.verify(path).damages] == ["observation"]

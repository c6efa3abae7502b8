# SPDX-License-Identifier: LGPL-3.0-or-later
"""What is undamaged is saved, value by value, and what is lost is told."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import tables
from gymnasium.spaces import Box, Discrete

import gymbag
from gymbag.cli import main
from gymbag.errors import FileBusy, FileError
from gymbag.storage.verify import Report
from tests.damage import EPISODES, NAME, episode_texts, flip, index_of, places, record

SPARE = ("info", "extra")


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return record(tmp_path_factory.mktemp("good") / "good.h5")


@pytest.fixture(scope="module")
def whole(good: Path) -> list[str]:
    return episode_texts(good)


def concerned(report: Report, *, spare: bool) -> set[int]:
    """Return the episodes that are damaged in columns that they can, or cannot, do without."""
    return {
        number
        for d in report.damages
        if d.dataset == NAME and d.episodes and d.column.startswith(SPARE) == spare
        for number in range(d.episodes[0], d.episodes[1] + 1)
    }


@pytest.mark.parametrize("seed", range(8))
def test_all_other_episodes_are_saved(
    good: Path, whole: list[str], tmp_path: Path, seed: int
) -> None:
    chance = random.Random(seed)
    index = index_of(good)
    tails = [column.chunks["offset"].max() for column in index.columns.values()]
    candidates = [
        place
        for place in places(good)
        if not place.path.endswith(("/meta", "/episodes")) and place.offset not in tails
    ]
    hit = chance.sample(candidates, 3)
    offsets = [place.offset + chance.randrange(place.size) for place in hit]
    damaged = flip(tmp_path / "x.h5", good, offsets)
    before = damaged.read_bytes()
    report = gymbag.verify(damaged)
    saved = gymbag.rescue(damaged, tmp_path / "new.h5")
    assert not report
    assert not saved
    assert damaged.read_bytes() == before
    lost = {
        number
        for loss in saved.losses
        if loss.dataset == NAME and loss.rows and loss.episodes
        for number in range(loss.episodes[0], loss.episodes[1] + 1)
    }
    assert lost == concerned(report, spare=False)
    kept = [number for number in range(EPISODES) if number not in lost]
    found = episode_texts(tmp_path / "new.h5")
    assert len(found) == len(kept)
    lacking = concerned(report, spare=True)
    for number, text in zip(kept, found, strict=True):
        assert (text == whole[number]) or number in lacking
    assert gymbag.verify(tmp_path / "new.h5")


def test_without_its_index_or_without_hdf5s_part_all_is_saved(
    good: Path, whole: list[str], tmp_path: Path
) -> None:
    end, size = index_of(good).end, good.stat().st_size
    chance = random.Random(1)
    for number, offset in enumerate((8, end + 9, size - 1, chance.randrange(end + 4000, size))):
        damaged = flip(tmp_path / "x.h5", good, [offset])
        gymbag.rescue(damaged, tmp_path / f"{number}.h5")
        assert episode_texts(tmp_path / f"{number}.h5") == whole, offset
    damaged.write_bytes(good.read_bytes()[:end])
    assert gymbag.rescue(damaged, tmp_path / "new.h5")
    assert episode_texts(tmp_path / "new.h5") == whole


def test_a_description_is_there_twice(good: Path, whole: list[str], tmp_path: Path) -> None:
    (meta,) = (place for place in places(good) if place.path.endswith("thing/meta"))
    damaged = flip(tmp_path / "x.h5", good, [meta.offset + meta.size // 2])
    assert episode_texts(damaged) == whole
    assert [str(damage.column) for damage in gymbag.verify(damaged).damages] == ["meta"]
    assert gymbag.rescue(damaged, tmp_path / "new.h5")
    assert gymbag.verify(tmp_path / "new.h5")
    assert episode_texts(tmp_path / "new.h5") == whole


def test_nothing_wrong_is_saved_if_the_index_is_damaged_too(
    good: Path, whole: list[str], tmp_path: Path
) -> None:
    end, size = index_of(good).end, good.stat().st_size
    chance = random.Random(2)
    chunks = [place for place in places(good) if place.path.endswith("camera")]
    for number in range(12):
        hit = chance.choice(chunks)
        offsets = [hit.offset + chance.randrange(40, hit.size), chance.randrange(end + 8, size)]
        damaged = flip(tmp_path / "x.h5", good, offsets)
        saved = gymbag.rescue(damaged, tmp_path / f"{number}.h5")
        assert saved.losses, offsets
        assert set(episode_texts(tmp_path / f"{number}.h5")) < set(whole), offsets


def test_a_column_that_cannot_be_is_left_out_of_a_damaged_index(
    good: Path, whole: list[str], tmp_path: Path
) -> None:
    path = flip(tmp_path / "x.h5", good, [])
    with tables.open_file(str(path), "a") as file:
        filters = tables.Filters(1, "blosc2:zstd")
        atom = tables.UInt8Atom()
        huge = file.create_earray("/plain", "huge", atom, (0,), chunkshape=(1,), filters=filters)
        huge.truncate(1 << 40)
    index = bytearray(good.read_bytes()[index_of(good).end :])
    index[-40] ^= 1
    path.write_bytes(path.read_bytes() + index)
    saved = gymbag.rescue(path, tmp_path / "new.h5")
    assert any("rows cannot be" in note for note in saved.notes)
    assert episode_texts(tmp_path / "new.h5") == whole


def test_the_table_of_episodes_is_made_again(good: Path, whole: list[str], tmp_path: Path) -> None:
    hit = [place.offset + 90 for place in places(good) if place.path.endswith("thing/episodes")]
    saved = gymbag.rescue(flip(tmp_path / "x.h5", good, hit), tmp_path / "new.h5")
    assert saved.episodes == 2 * EPISODES
    found = episode_texts(tmp_path / "new.h5")
    for old, new in zip(whole, found, strict=True):
        assert old[old.index("Step(") :] == new[new.index("Step(") :]


def test_of_a_file_that_was_cut_off_the_beginning_is_saved(
    good: Path, whole: list[str], tmp_path: Path
) -> None:
    path = tmp_path / "x.h5"
    path.write_bytes(good.read_bytes()[: index_of(good).end * 9 // 10])
    saved = gymbag.rescue(path, tmp_path / "new.h5")
    assert saved.losses
    assert any("cut off" in note for note in saved.notes)
    assert saved.episodes >= EPISODES
    assert sorted(os.listdir(tmp_path)) == ["new.h5", "x.h5"]


@pytest.mark.parametrize("complib", ["zlib", "blosc2", None])
def test_what_pytables_has_rewritten_is_read(
    good: Path, whole: list[str], tmp_path: Path, complib: str | None
) -> None:
    path = flip(tmp_path / "x.h5", good, [])
    filters = tables.Filters(5 if complib else 0, complib or "zlib", fletcher32=complib == "zlib")
    with warnings.catch_warnings(), tables.open_file(str(path), "a") as file:
        warnings.simplefilter("ignore", tables.NaturalNameWarning)
        for leaf in file.get_node("/every%2Fthing"):
            name = leaf.name
            values = leaf.read()
            chunk = (77, *values.shape[1:])  # PyTables' own choice may be of 500 MB
            file.remove_node(leaf)
            make = file.create_table if isinstance(leaf, tables.Table) else file.create_earray
            make("/every%2Fthing", name, obj=values, filters=filters, chunkshape=chunk)
    saved = gymbag.rescue(path, tmp_path / "new.h5")
    assert saved, str(saved)
    assert episode_texts(tmp_path / "new.h5") == whole


def test_what_a_dead_writer_left_in_its_log_is_saved_too(
    good: Path, whole: list[str], tmp_path: Path
) -> None:
    path = flip(tmp_path / "x.h5", good, [])
    died = (
        "import gymbag, os, sys\n"
        "from gymnasium.spaces import Box, Discrete\n"
        "spaces = Box(-1, 1, (3,)), Discrete(3)\n"
        "recorder = gymbag.HDF5Recorder(sys.argv[1], *spaces, 'more', durability='step')\n"
        "for seed in range(3):\n"
        "    recorder.on_reset(0.0, spaces[0].sample(), {}, seed=seed)\n"
        "    recorder.on_step(0.1, spaces[0].sample(), 1, 1.0, False, False, {})\n"
        "os.kill(os.getpid(), 9)\n"
    )
    subprocess.run([sys.executable, "-c", died, str(path)], check=False)
    assert sorted(os.listdir(tmp_path)) == ["x.h5", "x.h5-wal"]
    report = gymbag.verify(path)
    assert report, str(report)
    assert "died" in report.notes[0]
    flip(path, path, [index_of(path).end + 9])
    saved = gymbag.rescue(path, tmp_path / "new.h5")
    assert saved.episodes == 2 * EPISODES + 3, str(saved)
    assert episode_texts(tmp_path / "new.h5") == whole


def test_what_is_there_is_never_overwritten(good: Path, tmp_path: Path) -> None:
    target = tmp_path / "new.h5"
    target.write_text("mine")
    with pytest.raises(FileError, match="exists already"):
        gymbag.rescue(good, target)
    assert target.read_text() == "mine"


def test_a_file_that_is_recorded_to_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    with gymbag.record_hdf5(gymbag.RandomEnv(*_spaces()), path) as env:
        env.reset(seed=1)
        with pytest.raises(FileBusy):
            gymbag.rescue(path, tmp_path / "new.h5")


def test_the_command_says_what_was_lost(
    good: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hit = next(place for place in places(good) if place.path.endswith("thing/steps"))
    damaged = flip(tmp_path / "x.h5", good, [hit.offset + 99])
    assert main(["rescue", str(damaged), "-o", str(tmp_path / "new.h5")]) == 1
    out = capsys.readouterr().out
    assert "episodes 0 to" in out
    assert "steps: its checksum" in out
    assert main(["rescue", str(good), "-o", str(tmp_path / "all.h5")]) == 0


def _spaces() -> tuple[Box, Discrete]:
    return Box(-1, 1, (3,)), Discrete(3)

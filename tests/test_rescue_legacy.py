# SPDX-License-Identifier: LGPL-3.0-or-later
"""Of damaged files of gymbag 0.4.9, too, what is undamaged is saved, and what is lost is told.

0.4.9 wrote no checksums: a flipped bit may only make another number of a number. So what must not
be saved wrong is damaged by the sector, as disks do, and single bits are held to less.
"""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import random
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import tables

import gymbag
from gymbag import convert, formats
from gymbag.cli import main
from gymbag.errors import FileError
from gymbag.formats import limits
from gymbag.formats.rescue import LostRows
from gymbag.steps import Ended
from gymbag.storage import disk
from tests.old_files import (
    CHUNK_ROWS,
    DATA,
    NAME,
    OTHER,
    leaf_of,
    rewritten,
    rows_of,
    spoil,
    texts,
    untouched,
)

FILES = sorted(DATA.glob("gymbag-0.4.9-*.h5"))


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return CartPole's episodes as 0.4.9 would have written them in small chunks; and twice."""
    path = tmp_path_factory.mktemp("good") / "good.h5"
    rewritten(path, lambda rows: rows)
    return path


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_an_undamaged_file_is_saved_as_convert_would(path: Path, tmp_path: Path) -> None:
    lacks = convert(path, tmp_path / "converted.h5")
    saved = gymbag.rescue(path, tmp_path / "rescued.h5")
    assert saved
    assert saved.notes[: len(lacks)] == lacks
    names = gymbag.list_datasets(tmp_path / "converted.h5")
    assert gymbag.list_datasets(tmp_path / "rescued.h5") == names
    for name in names:
        assert texts(tmp_path / "rescued.h5", name) == texts(path, name)
        with (
            gymbag.open(tmp_path / "rescued.h5", name) as one,
            gymbag.open(tmp_path / "converted.h5", name) as other,
        ):
            assert gymbag.compare(one, other, times=True)
            assert one.description == other.description
    assert sorted(os.listdir(tmp_path)) == ["converted.h5", "rescued.h5"]


def test_all_episodes_that_a_lost_sector_does_not_touch_are_saved(
    good: Path, tmp_path: Path
) -> None:
    leaf = leaf_of(good)
    for number in (0, 1, 8, 13, 18, 19):
        offset, size = int(leaf.offsets[number]), int(leaf.sizes[number])
        start = offset + size // 3
        bad = spoil(tmp_path / "x.h5", good, (start, bytes(min(512, offset + size - start))))
        before = bad.read_bytes()
        saved = gymbag.rescue(bad, tmp_path / f"{number}.h5")
        assert bad.read_bytes() == before
        assert texts(tmp_path / f"{number}.h5") == untouched(good, {number}), number
        assert texts(tmp_path / f"{number}.h5", OTHER) == texts(good, OTHER)
        (loss,) = saved.losses
        assert isinstance(loss, LostRows)
        first, last = loss.between
        lost = [rows for rows in rows_of(good) if rows.start < last and rows.stop > first]
        damaged = range(number * CHUNK_ROWS, min((number + 1) * CHUNK_ROWS, leaf.rows))
        assert first == min(lost[0].start, damaged.start)
        assert last == max(lost[-1].stop, damaged.stop) - 1
        assert loss.about in range(1, 2 * len(lost) + 2)
        assert str(loss).startswith(f"{NAME}: rows {first} to {last}, about ")
        assert f"rows {damaged.start} to {damaged.stop - 1}: " in loss.reason
        assert saved.rows == sum(map(len, rows_of(good))) * 2 - loss.rows


def test_a_flipped_bit_costs_no_episode_elsewhere(good: Path, tmp_path: Path) -> None:
    leaf, chance = leaf_of(good), random.Random(1)
    told = 0
    for number in range(0, len(leaf.numbers), 2):
        at = int(leaf.offsets[number]) + chance.randrange(int(leaf.sizes[number]))
        bit = bytes([good.read_bytes()[at] ^ 1 << chance.randrange(8)])
        saved = gymbag.rescue(spoil(tmp_path / "x.h5", good, (at, bit)), tmp_path / f"{number}.h5")
        found, kept = texts(tmp_path / f"{number}.h5"), untouched(good, {number})
        assert [text for text in found if text in kept] == kept, number
        assert any("no checksums" in note for note in saved.notes)
        told += bool(saved.losses)
    assert told


def test_several_gaps_in_both_tables(good: Path, tmp_path: Path) -> None:
    hit = {NAME: (2, 3, 11), OTHER: (0, 19)}
    places = [
        (int(leaf_of(good, name).offsets[number]) + 4, b"\xff" * 8)
        for name, numbers in hit.items()
        for number in numbers
    ]
    saved = gymbag.rescue(spoil(tmp_path / "x.h5", good, *places), tmp_path / "new.h5")
    for name, numbers in hit.items():
        assert texts(tmp_path / "new.h5", name) == untouched(good, set(numbers))
    assert [loss.dataset for loss in saved.losses] == [NAME, NAME, OTHER, OTHER]
    assert sum(loss.rows for loss in saved.losses) + saved.rows == 2 * 309
    assert gymbag.verify(tmp_path / "new.h5")


def test_of_a_file_that_was_cut_off_the_beginning_is_saved(good: Path, tmp_path: Path) -> None:
    whole, leaf = good.read_bytes(), leaf_of(good)
    counts = []
    for number, keep in enumerate((0.15, 0.3, 0.5, 0.7, 0.9, 0.99)):
        cut = tmp_path / "x.h5"
        cut.write_bytes(whole[: int(len(whole) * keep)])
        gone = set(np.flatnonzero(leaf.offsets + leaf.sizes > cut.stat().st_size).tolist())
        expected = untouched(good, gone)
        try:
            saved = gymbag.rescue(cut, tmp_path / f"{number}.h5")
        except FileError:
            assert not expected, keep
            continue
        assert texts(tmp_path / f"{number}.h5") == expected
        assert not saved
        assert any("cut off" in note for note in saved.notes)
        counts.append(saved.episodes)
    assert counts == sorted(counts)
    assert counts[-1] > 9
    assert not [name for name in os.listdir(tmp_path) if name.startswith(".")]


def test_a_disk_that_does_not_give_a_sector(
    good: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad, read, expected = int(leaf_of(good).offsets[7]), disk.read_at, untouched(good, {7})

    def read_at(descriptor: int, size: int, offset: int) -> bytes:
        if offset == bad:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return read(descriptor, size, offset)

    monkeypatch.setattr(disk, "read_at", read_at)
    saved = gymbag.rescue(good, tmp_path / "new.h5")
    assert texts(tmp_path / "new.h5") == expected
    assert os.strerror(errno.EIO) in saved.losses[0].reason


def test_more_than_memory_may_take_is_lost_and_the_rest_saved(
    good: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    longest, episodes = max(map(len, rows_of(good))), len(rows_of(good))
    row_bytes = leaf_of(good).dtype.itemsize + limits.ROW_BYTES
    monkeypatch.setattr(limits, "MAX_BYTES", longest * row_bytes - 1)
    saved = gymbag.rescue(good, tmp_path / "new.h5")
    assert "MAX_BYTES" in saved.losses[0].reason
    assert 0 < saved.episodes < 2 * episodes
    monkeypatch.setattr(limits, "MAX_BYTES", 1000)
    with pytest.raises(FileError, match="what is to be known of 309 rows"):
        gymbag.rescue(good, tmp_path / "no.h5")


def test_an_episode_begins_at_a_reset_where_the_damage_ends(good: Path, tmp_path: Path) -> None:
    resets = [rows.start for rows in rows_of(good)]

    def moved(rows: Any) -> Any:
        """Let the third episode begin with a chunk."""
        return np.concatenate([rows[: resets[1]], rows[resets[2] :]])[resets[1] % CHUNK_ROWS :]

    path = tmp_path / "moved.h5"
    rewritten(path, moved)
    begin = rows_of(path)[1].start
    assert begin % CHUNK_ROWS == 0
    number = begin // CHUNK_ROWS - 1
    bad = spoil(tmp_path / "x.h5", path, (int(leaf_of(path).offsets[number]), bytes(16)))
    gymbag.rescue(bad, tmp_path / "new.h5")
    assert texts(tmp_path / "new.h5") == texts(path)[1:]


def test_a_done_in_the_middle_makes_no_wrong_episode(good: Path, tmp_path: Path) -> None:
    rows = rows_of(good)[3]

    def change(table: Any) -> Any:
        table["done"][rows.start + 5] = True
        return table

    rewritten(tmp_path / "x.h5", change)
    saved = gymbag.rescue(tmp_path / "x.h5", tmp_path / "new.h5")
    whole = texts(good)
    assert texts(tmp_path / "new.h5") == whole[:3] + whole[4:]
    assert [loss.rows for loss in saved.losses] == [len(rows)]


def test_an_episode_that_was_given_up_is_saved_as_not_ended(good: Path, tmp_path: Path) -> None:
    last = rows_of(good)[3].stop - 1

    def change(table: Any) -> Any:
        table["done"][last] = False
        return table

    rewritten(tmp_path / "x.h5", change)
    saved = gymbag.rescue(tmp_path / "x.h5", tmp_path / "new.h5")
    assert saved
    assert any("1 episodes have no `done`" in note for note in saved.notes)
    found, whole = texts(tmp_path / "new.h5"), texts(good)
    assert found[:3] + found[4:] == whole[:3] + whole[4:]
    ends = [e.ended for e in formats.read(tmp_path / "new.h5", name=NAME).iter_episodes()]
    assert ends[3] == Ended.UNKNOWN


def test_the_command_says_what_was_lost(
    good: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = spoil(tmp_path / "x.h5", good, (int(leaf_of(good).offsets[4]), bytes(16)))
    assert main(["convert", str(bad), str(tmp_path / "0.h5")]) == 2
    assert "gymbag rescue FILE -o NEW" in " ".join(capsys.readouterr().err.split())
    assert main(["rescue", str(bad), "-o", str(tmp_path / "new.h5")]) == 1
    out = " ".join(capsys.readouterr().out.split())
    assert "of 2 data sets" in out
    assert f"{NAME}: rows 50 to " in out
    assert "rows 64 to 79: a chunk of 0 bytes" in out
    assert main(["rescue", str(bad), "-o", str(tmp_path / "2.h5"), "--json"]) == 1
    (loss,) = json.loads(capsys.readouterr().out)["losses"]
    assert loss["dataset"] == NAME
    assert loss["between"][0] == 50
    assert main(["rescue", str(good), "-o", str(tmp_path / "3.h5")]) == 0


def test_resets_alone_and_an_unfinished_episode_are_no_damage(tmp_path: Path) -> None:
    def change(table: Any) -> Any:
        reset = table[:1].copy()
        reset["done"] = True
        return np.concatenate([reset, table, reset, reset, table[:3]])

    rewritten(tmp_path / "x.h5", change)
    saved = gymbag.rescue(tmp_path / "x.h5", tmp_path / "new.h5")
    assert saved, str(saved)
    assert texts(tmp_path / "new.h5") == texts(tmp_path / "x.h5")
    assert len(texts(tmp_path / "new.h5")) == 10


def test_a_table_that_claims_rows_without_end(good: Path, tmp_path: Path) -> None:
    path = spoil(tmp_path / "x.h5", good)
    with h5py.File(path, "r+") as file:
        file[NAME].resize((2**39,))
    saved = gymbag.rescue(path, tmp_path / "new.h5")
    assert texts(tmp_path / "new.h5") == untouched(good, {len(leaf_of(good).numbers) - 1})
    assert "some episodes: lost" in str(saved.losses[0])


def test_a_chunk_that_claims_to_be_far_away(good: Path, tmp_path: Path) -> None:
    leaf, path = leaf_of(good), spoil(tmp_path / "x.h5", good)
    chunk = good.read_bytes()[int(leaf.offsets[0]) :][: int(leaf.sizes[0])]
    with h5py.File(path, "r+") as file:
        file[NAME].resize((2**39,))
        file[NAME].id.write_direct_chunk((2**39 - CHUNK_ROWS,), chunk)
    saved = gymbag.rescue(path, tmp_path / "new.h5")
    (loss,) = saved.losses
    assert loss.dataset == NAME
    assert "bytes of memory" in loss.reason
    assert texts(tmp_path / "new.h5", OTHER) == texts(good, OTHER)


def test_a_file_that_was_killed_in_the_middle(tmp_path: Path) -> None:
    """Of what 0.4.9 did not flush nothing may be made up."""
    path = tmp_path / "x.h5"
    process = multiprocessing.get_context("spawn").Process(target=die_writing, args=(path,))
    process.start()
    process.join()
    saved = gymbag.rescue(path, tmp_path / "new.h5")
    whole = texts(DATA / "gymbag-0.4.9-cartpole.h5")
    found = texts(tmp_path / "new.h5")
    assert len(found) == 4 * len(whole)
    assert found == whole * 4
    assert saved.episodes == len(found)


def die_writing(path: Path) -> None:
    with tables.open_file(DATA / "gymbag-0.4.9-cartpole.h5") as old:
        table = old.root[NAME]
        file = tables.open_file(path, "w", filters=tables.Filters(2, "blosc:zstd"))
        copy = file.create_table("/", NAME, table.description, chunkshape=(CHUNK_ROWS,))
        for attribute in ("gymbag_format", "observation_space", "action_space"):
            setattr(copy.attrs, attribute, getattr(table.attrs, attribute))
        for number in range(6):
            copy.append(table[:])
            if number == 3:
                file.flush()
    os._exit(0)


def test_a_table_without_episodes_and_spaces_is_told(tmp_path: Path) -> None:
    rewritten(tmp_path / "x.h5", lambda rows: rows[:0])
    assert gymbag.rescue(tmp_path / "x.h5", tmp_path / "0.h5")
    assert texts(tmp_path / "0.h5") == []
    with tables.open_file(tmp_path / "x.h5", "a") as file:
        del file.root[NAME].attrs.action_space
    saved = gymbag.rescue(tmp_path / "x.h5", tmp_path / "1.h5")
    assert [(loss.dataset, loss.rows) for loss in saved.losses] == [(NAME, 0)]


def test_what_rescue_says_is_not_to_rescue(good: Path, tmp_path: Path) -> None:
    path = spoil(tmp_path / "x.h5", good, (0, good.read_bytes()[:2048].ljust(4096, b"\xff")))
    path.write_bytes(path.read_bytes()[:4096])
    with pytest.raises(FileError) as caught:
        gymbag.rescue(path, tmp_path / "new.h5")
    assert "gymbag rescue" not in str(caught.value)
    assert str(path) in str(caught.value)
    with pytest.raises(FileError, match="gymbag rescue OLD -o NEW"):
        gymbag.open(good)


def test_a_file_of_todays_with_a_table_of_0_4_9s_is_refused(good: Path, tmp_path: Path) -> None:
    path = spoil(tmp_path / "x.h5", good)
    with h5py.File(path, "r+") as file:
        file.attrs["gymbag_format"] = np.int64(2)
    with pytest.raises(FileError, match=r"0\.4\.9"):
        gymbag.rescue(path, tmp_path / "new.h5")
    assert os.listdir(tmp_path) == ["x.h5"]

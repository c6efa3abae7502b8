# SPDX-License-Identifier: LGPL-3.0-or-later
"""Chunks of gymbag 0.4.9's tables are found although what HDF5 keeps of their places is damaged."""

from __future__ import annotations

import re
from pathlib import Path

import h5py
import numpy as np
import pytest

import gymbag
from gymbag import convert
from gymbag.errors import FileError, FormatError, GymbagError
from gymbag.storage import remains
from tests.old_files import (
    CHUNK_ROWS,
    NAME,
    OTHER,
    leaf_of,
    rewritten,
    spoil,
    texts,
    untouched,
)


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return CartPole's episodes as 0.4.9 would have written them in small chunks; and twice."""
    path = tmp_path_factory.mktemp("good") / "good.h5"
    rewritten(path, lambda rows: rows)
    return path


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a table of 194 chunks: HDF5's tree of them has a root and several leaves."""
    path = tmp_path_factory.mktemp("long") / "long.h5"
    rewritten(path, lambda rows: np.concatenate([rows] * 10), [NAME])
    return path


def test_of_a_long_file_that_was_cut_off_too(long: Path, tmp_path: Path) -> None:
    whole, ends = long.read_bytes(), leaf_of(long).offsets + leaf_of(long).sizes
    expected = texts(long)
    for number, keep in enumerate((0.4, 0.6, 0.8)):
        cut = tmp_path / "x.h5"
        cut.write_bytes(whole[: int(len(whole) * keep)])
        saved = gymbag.rescue(cut, tmp_path / f"{number}.h5")
        found = texts(tmp_path / f"{number}.h5")
        assert found == expected[: len(found)]
        there = np.flatnonzero(ends <= cut.stat().st_size).max() * CHUNK_ROWS
        assert 0.6 * there < saved.rows <= there + CHUNK_ROWS
        assert "wrong B-tree signature" in saved.losses[-1].reason
        with pytest.raises(GymbagError, match="gymbag rescue FILE -o NEW"):
            convert(cut, tmp_path / "no.h5")


def test_chunks_are_found_without_the_tree_above_them(long: Path, tmp_path: Path) -> None:
    """As where a file was cut off before HDF5 wrote the upper nodes."""
    root = long.read_bytes().index(b"TREE\x01\x01")
    saved = gymbag.rescue(spoil(tmp_path / "x.h5", long, (root, b"E")), tmp_path / "new.h5")
    assert saved
    assert texts(tmp_path / "new.h5") == texts(long)
    assert any("194 were found" in note for note in saved.notes)


def test_a_damaged_leaf_of_the_tree_costs_its_own_chunks(long: Path, tmp_path: Path) -> None:
    data = long.read_bytes()
    places = [match.start() for match in re.finditer(remains.START, data)]
    nodes = {place: remains._records(data[place : place + remains.MOST_NODE]) for place in places}
    place = next(place for place, records in nodes.items() if 16 * 100 in records["row"])
    rows = nodes[place]["row"]
    gone = set((rows[rows < leaf_of(long).rows] // CHUNK_ROWS).tolist())
    assert 20 < len(gone) < 70
    saved = gymbag.rescue(spoil(tmp_path / "x.h5", long, (place, b"E")), tmp_path / "new.h5")
    assert texts(tmp_path / "new.h5") == untouched(long, gone)
    assert len(saved.losses) == 1


def test_chunks_that_may_be_of_either_table_are_of_none(good: Path, tmp_path: Path) -> None:
    """Their trees are not damaged where the chunks are said to be, but HDF5 refuses them."""
    data = good.read_bytes()
    roots = [match.start() for match in re.finditer(b"TREE\x01", data)]
    assert len(roots) == 2
    # The second key's row is no multiple of the length of a chunk.
    row = remains.NODE.size + remains.RECORD.itemsize + remains.RECORD.fields["row"][1]
    both = [(root + row, b"\x01") for root in roots]
    one = gymbag.rescue(spoil(tmp_path / "x.h5", good, both[0]), tmp_path / "1.h5")
    assert len(one.losses) == 1
    assert texts(tmp_path / "1.h5") == untouched(good, {1})
    with pytest.raises(FileError, match="nothing can be saved"):
        gymbag.rescue(spoil(tmp_path / "y.h5", good, *both), tmp_path / "2.h5")


def test_chunks_of_a_table_that_is_lost_are_not_taken_for_anothers(
    good: Path, tmp_path: Path
) -> None:
    with h5py.File(good) as file:
        header = h5py.h5o.get_info(file[NAME].id).addr
    tree = good.read_bytes().rindex(b"TREE\x01")
    bad = spoil(tmp_path / "x.h5", good, (header, b"\xff"), (tree, b"E"))
    with pytest.raises(FileError, match="nothing can be saved"):
        gymbag.rescue(bad, tmp_path / "new.h5")


def test_what_hdf5_keeps_of_a_few_chunks_may_be_damaged(good: Path, tmp_path: Path) -> None:
    leaf = leaf_of(good)
    data = good.read_bytes()
    record = int(leaf.offsets[6]).to_bytes(8, "little")
    for number, wrong in enumerate((2**62, 0, int(leaf.offsets[9]))):
        at = data.rindex(record, 0, int(leaf.offsets[0]) + 4096)
        bad = spoil(tmp_path / "x.h5", good, (at, wrong.to_bytes(8, "little")))
        with pytest.raises(GymbagError, match="damaged"):
            convert(bad, tmp_path / "no.h5")
        gymbag.rescue(bad, tmp_path / f"{number}.h5")
        assert texts(tmp_path / f"{number}.h5") == untouched(good, {6})


def test_a_table_that_convert_cannot_find_is_not_left_out_in_silence(
    good: Path, tmp_path: Path
) -> None:
    at = good.read_bytes().index(b"TREE\x01")
    bad = spoil(tmp_path / "x.h5", good, (at, b"EERT"))
    with pytest.raises(FormatError, match="gymbag rescue FILE -o NEW"):
        convert(bad, tmp_path / "no.h5")
    saved = gymbag.rescue(bad, tmp_path / "new.h5")
    assert [loss.dataset for loss in saved.losses] == [NAME]
    assert texts(tmp_path / "new.h5", OTHER) == texts(good, OTHER)

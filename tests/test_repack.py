# SPDX-License-Identifier: LGPL-3.0-or-later
"""A file that is written anew holds the same, or the same without what was deleted."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import h5py
import pytest
from gymnasium.spaces import Box, Discrete

import gymbag
from gymbag.cli import main
from gymbag.errors import FileBusy, FileError, NoSuchDataset
from gymbag.storage.compression import POLICIES
from tests.damage import EPISODES, NAME, episode_texts, flip, places, record


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return record(tmp_path_factory.mktemp("good") / "good.h5")


@pytest.fixture
def copy(good: Path, tmp_path: Path) -> Path:
    return flip(tmp_path / "x.h5", good, [])


def about(path: Path, name: str) -> object:
    with gymbag.open(path, name) as store:
        return store.description, store.metadata, store.sessions, store.env_spec, store.columns


def same(one: Path, other: Path, name: str) -> bool:
    with gymbag.open(one, name) as a, gymbag.open(other, name) as b:
        return bool(gymbag.compare(a, b, times=True)) and about(one, name) == about(other, name)


@pytest.mark.parametrize("compression", [None, *POLICIES])
def test_repacking_keeps_everything(good: Path, copy: Path, compression: str | None) -> None:
    os.chmod(copy, 0o640)
    with gymbag.open(copy, NAME) as reader:
        gymbag.repack(copy, compression=compression)
        assert [e.seed for e in reader.episodes] == [*range(5), 2**70, *range(6, 40)]
    assert gymbag.verify(copy)
    assert same(good, copy, "plain")
    assert episode_texts(copy) == episode_texts(good)
    assert about(good, NAME) == about(copy, NAME)
    assert copy.stat().st_mode & 0o777 == 0o640
    assert os.listdir(copy.parent) == ["x.h5"]


def test_space_that_was_freed_is_taken_back(copy: Path) -> None:
    for _ in range(20):
        with gymbag.record_hdf5(gymbag.RandomEnv(*_spaces()), copy, name="more") as env:
            env.reset(seed=1)
            env.step(0)
    before, after = gymbag.repack(copy)
    assert after < before
    with gymbag.open(copy, "more") as store:
        assert len(store.episodes) == 20


@pytest.mark.parametrize("seed", range(4))
def test_deleting_episodes_keeps_the_others(good: Path, copy: Path, seed: int) -> None:
    gone = random.Random(seed).sample(range(EPISODES), 3 ** (seed + 1) % 40)
    gymbag.delete_episodes(copy, NAME, gone)
    report = gymbag.verify(copy)
    assert report, str(report)
    whole = episode_texts(good)
    assert episode_texts(copy) == [whole[i] for i in range(EPISODES) if i not in gone]
    assert same(good, copy, "plain")
    with gymbag.open(copy, NAME) as store:
        assert sorted(set(store["episode"].tolist())) == list(range(EPISODES - len(gone)))


def test_a_deleted_data_set_is_gone_and_its_space_too(good: Path, copy: Path) -> None:
    before, after = gymbag.delete_dataset(copy, NAME)
    assert after < before / 2
    assert gymbag.list_datasets(copy) == ["plain"]
    assert same(good, copy, "plain")
    with pytest.raises(NoSuchDataset, match="'plain'"):
        gymbag.delete_dataset(copy, NAME)


def test_what_was_rewritten_can_be_added_to(copy: Path) -> None:
    gymbag.delete_episodes(copy, "plain", range(1, EPISODES))
    with gymbag.record_hdf5(gymbag.RandomEnv(*_spaces()), copy, name="plain") as env:
        env.reset(seed=7)
        env.step(0)
    with gymbag.open(copy, "plain") as store:
        assert [episode.seed for episode in store.episodes] == [0, 7]
    assert gymbag.verify(copy)


def test_nothing_is_replaced_that_is_in_use_damaged_or_not_ours(good: Path, copy: Path) -> None:
    with gymbag.record_hdf5(gymbag.RandomEnv(*_spaces()), copy, name="more") as env:
        env.reset(seed=1)
        with pytest.raises(FileBusy):
            gymbag.repack(copy)
    place = next(place for place in places(copy) if place.path.endswith("camera"))
    flip(copy, copy, [place.offset + 99])
    before = copy.read_bytes()
    with pytest.raises(FileError, match="damaged"):
        gymbag.repack(copy)
    assert copy.read_bytes() == before
    flip(copy, good, [])
    with h5py.File(copy, "r+") as file:
        file["mine"] = [1, 2]
    with pytest.raises(FileError, match="mine"):
        gymbag.repack(copy)
    assert os.listdir(copy.parent) == ["x.h5"]


def test_a_kill_leaves_the_file_as_it_was(copy: Path) -> None:
    before = copy.read_bytes()
    slow = (
        "import gymbag, sys, time\n"
        "gymbag.repack(sys.argv[1], progress=lambda done, total: print(done) or time.sleep(.05))"
    )
    process = subprocess.Popen(
        [sys.executable, "-u", "-c", slow, str(copy)], stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    process.stdout.readline()
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert copy.read_bytes() == before
    assert len(os.listdir(copy.parent)) > 1
    gymbag.repack(copy)
    assert os.listdir(copy.parent) == ["x.h5"]
    assert gymbag.verify(copy)


def test_the_commands(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["repack", str(copy), "-o", f"{copy}-2", "--compression", "small"]) == 0
    assert gymbag.verify(f"{copy}-2")
    plain = ["delete", str(copy), "--name", "plain", "--yes"]
    assert main([*plain, "--where", "seed < 10"]) == 0
    assert main([*plain, "--episodes", "0,1"]) == 0
    with gymbag.open(copy, "plain") as store:
        assert [episode.seed for episode in store.episodes] == list(range(11, EPISODES))
    assert main([*plain, "--where", "reward > 2"]) == 1
    assert main(["delete", str(copy), "--name", "plain", "--episodes", "99", "--yes"]) == 2
    assert main(plain) == 0
    assert gymbag.list_datasets(copy) == [NAME]
    assert main(["delete", str(copy), "--yes"]) == 2
    assert "deleted all of 'plain'" in capsys.readouterr().out


def _spaces() -> tuple[Box, Discrete]:
    return Box(-1, 1, (3,)), Discrete(3)

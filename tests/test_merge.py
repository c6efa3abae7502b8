# SPDX-License-Identifier: LGPL-3.0-or-later
"""Several recordings in one file: what was in each is in it, whatever it was."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from unittest import mock

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import gymbag
from gymbag import compare, merge
from gymbag.cli import main
from gymbag.errors import FileBusy, FileError, NoSuchFile, SchemaError
from gymbag.storage import compression
from tests.spaces import any_space, same
from tests.test_roundtrip import infos, plans, record


def assert_same(one: gymbag.Store, other: gymbag.Store) -> None:
    """Check all that two stores say, dtypes and bits included."""
    found = compare(one, other, times=True)
    assert found, str(found)
    assert not found.notes
    for mine, theirs in zip(one.iter_episodes(), other.iter_episodes(), strict=True):
        assert all(map(same, map(tuple, mine.steps()), map(tuple, theirs.steps())))
        assert same(mine.episode_return, theirs.episode_return)
    assert one.sessions == other.sessions
    assert (one.description, one.env_spec) == (other.description, other.env_spec)
    assert one.metadata == other.metadata


@settings(max_examples=12, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_merged_is_what_opening_all_is(data: st.DataObject, tmp_path_factory: Any) -> None:
    folder = tmp_path_factory.mktemp("merge")
    space, action_space = data.draw(any_space()), data.draw(any_space())
    files = [folder / f"{number}.h5" for number in range(data.draw(st.integers(1, 3)))]
    draw_info = lambda: data.draw(infos)  # noqa: E731
    with mock.patch.object(compression, "CHUNK_ROWS", data.draw(st.sampled_from([2, 4, 64]))):
        for number, path in enumerate(files):
            for session in range(data.draw(st.integers(1, 2))):
                record(
                    path,
                    space,
                    action_space,
                    data.draw(plans),
                    draw_info,
                    description=f"{number}.{session}",
                    metadata={"of": number, f"own {number}": [1, 2]},
                    env_spec=f'{{"id": "{number}"}}',
                    start_time=data.draw(st.sampled_from([1.0, 2.0])),
                    compression=data.draw(st.sampled_from(["default", "fast"])),
                )
    merged = merge(files, folder / "all.h5")
    assert merged.datasets == ["x"]
    assert gymbag.verify(folder / "all.h5")
    with gymbag.open(files, "x") as parts, gymbag.open(folder / "all.h5") as whole:
        assert (merged.episodes, merged.rows) == (len(parts.episodes), len(parts))
        assert_same(parts, whole)
        rows = np.arange(len(whole))
        episodes = whole._records.fixed("episode", rows)
        assert np.array_equal(episodes, whole._records.episode_of(rows))
        assert np.array_equal(whole._records.episodes["id"], np.arange(merged.episodes))
        questions = ["reward > 0", "info.lives > 1", "seed == 3", "step == 1 or time < 4"]
        for question in questions:
            try:
                expected = parts.where(question).rows
            except gymbag.QueryError:  # of an info that is text, or nowhere
                continue
            assert np.array_equal(expected, whole.where(question).rows)
    # It is a file like any other: recorded to, repacked, and merged again.
    record(folder / "all.h5", space, action_space, [(2, "terminated", 1, None)], draw_info)
    gymbag.repack(folder / "all.h5")
    merge([folder / "all.h5"], folder / "again.h5")
    with gymbag.open(folder / "all.h5") as one, gymbag.open(folder / "again.h5") as other:
        assert len(one.episodes) == merged.episodes + 1
        assert_same(one, other)


def record_cartpole(path: Path, seed: int, steps: int = 30, **more: Any) -> Path:
    with gymbag.record_hdf5(gymnasium.make("CartPole-v1"), path, **more) as env:
        env.reset(seed=seed)
        for number in range(steps):
            if env.step(number % 2)[2]:
                env.reset()
    return path


def record_lanes(path: Path, seed: int, lanes: int) -> Path:
    vector = gymnasium.make_vec("CartPole-v1", lanes, vectorization_mode="sync")
    envs = gymbag.record_hdf5(vector, path)
    envs.reset(seed=seed)
    envs.action_space.seed(seed)
    for _ in range(40):
        envs.step(envs.action_space.sample())
    envs.close()
    return path


def test_lanes_follow_lanes(tmp_path: Path) -> None:
    one, two = record_lanes(tmp_path / "1.h5", 1, 2), record_lanes(tmp_path / "2.h5", 2, 3)
    plain = record_cartpole(tmp_path / "3.h5", 3)
    merged = merge([one, two, plain], tmp_path / "all.h5")
    assert merged.datasets == ["CartPole-v1"]
    assert gymbag.verify(tmp_path / "all.h5")
    with gymbag.open(tmp_path / "all.h5") as whole:
        assert sorted(set(whole["lane"].compressed().tolist())) == [0, 1, 2]
        parts = [
            gymbag.open([p for p in (one, two) if lane < 2 or p == two], f"CartPole-v1 [{lane}]")
            for lane in range(3)
        ]
        for lane, part in enumerate(parts):
            alone = gymbag.open(tmp_path / "all.h5", f"CartPole-v1 [{lane}]")
            assert_same(part, alone)
            assert compare(whole.where(f"lane == {lane}"), part)
        every = gymbag.open([one, two, plain], "CartPole-v1")
        assert len(every) == len(whole)
        assert sorted(every["time"].tolist()) == sorted(whole["time"].tolist())


def test_names_that_differ_stand_side_by_side(tmp_path: Path) -> None:
    record(tmp_path / "1.h5", spaces.Discrete(2), spaces.Discrete(2), [(2, "reset", 1, None)], dict)
    record_cartpole(tmp_path / "2.h5", 2)
    merged = merge(str(tmp_path / "?.h5"), tmp_path / "all.h5")
    assert (
        merged.datasets == gymbag.list_datasets(tmp_path / "all.h5")[::-1] == ["x", "CartPole-v1"]
    )
    for name, file in (("x", "1.h5"), ("CartPole-v1", "2.h5")):
        with gymbag.open(tmp_path / "all.h5", name) as one, gymbag.open(tmp_path / file) as other:
            assert_same(one, other)


def test_spaces_that_differ(tmp_path: Path) -> None:
    files = [tmp_path / f"{number}.h5" for number in range(4)]
    for number, path in enumerate(files):
        space = spaces.Dict(pose=spaces.Box(0, 1 + number % 2, (2,)))
        record(path, space, spaces.Discrete(2), [(2 + number, "terminated", number, None)], dict)
    with pytest.raises(SchemaError) as error:
        merge(files, tmp_path / "all.h5")
    for part in (str(files[0]), str(files[1]), "observation.pose", "2.0", "--separate", "'x-2'"):
        assert part in str(error.value)
    assert sorted(tmp_path.iterdir()) == files
    merged = merge(files, tmp_path / "all.h5", separate=True)
    assert merged.datasets == ["x", "x-2"]
    for name, some in (("x", files[::2]), ("x-2", files[1::2])):
        with gymbag.open(tmp_path / "all.h5", name) as one, gymbag.open(some, "x") as other:
            assert_same(one, other)
    again = merge([tmp_path / "all.h5", files[1]], tmp_path / "more.h5", separate=True)
    assert again.datasets == ["x", "x-2", "x-3"]


def test_what_differs_is_said_and_kept(tmp_path: Path) -> None:
    one = record_cartpole(tmp_path / "1.h5", 1, description="first", metadata={"by": "A", "n": 1})
    two = record_cartpole(tmp_path / "2.h5", 2, description="second", metadata={"by": "B"})
    notes = merge([two, one], tmp_path / "all.h5").notes
    assert [note.partition(":")[2].partition(";")[0] for note in notes] == [
        " description: 2 that differ",
        " metadata 'by': 2 that differ",
    ]
    with gymbag.open(tmp_path / "all.h5") as store:
        assert [session.description for session in store.sessions] == ["first", "second"]
        assert store.description == "second"
        assert store.metadata == {"by": "B", "n": 1}
        assert store.episodes[0].seed == 2


def test_what_cannot_be_merged(tmp_path: Path) -> None:
    path, new = record_cartpole(tmp_path / "1.h5", 1), tmp_path / "new.h5"
    with pytest.raises(FileError, match="given twice"):
        merge([path, tmp_path / "." / "1.h5"], new)
    with pytest.raises(FileError, match="exists already"):
        merge([path], path)
    with pytest.raises(NoSuchFile):
        merge([tmp_path / "none.h5"], new)
    with pytest.raises(NoSuchFile, match="an empty list"):
        merge([], new)
    with pytest.raises(NoSuchFile, match="folder"):
        merge([path], tmp_path / "none" / "new.h5")
    with pytest.raises(FileError, match="convert"):
        merge([path, tmp_path], new)
    with gymbag.record_hdf5(gymnasium.make("CartPole-v1"), tmp_path / "2.h5") as env:
        env.reset(seed=1)
        env.step(0)
        with pytest.raises(FileBusy, match="is being recorded to"):
            merge([path, tmp_path / "2.h5"], new)
    damaged = bytearray(path.read_bytes())
    for place in range(len(damaged) // 3, len(damaged) // 2):
        damaged[place] ^= 255
    (tmp_path / "3.h5").write_bytes(damaged)
    with pytest.raises(FileError, match=r"3\.h5"):
        merge([path, tmp_path / "3.h5"], new)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["1.h5", "2.h5", "3.h5"]


def test_at_the_command_line(tmp_path: Path, capsys: Any) -> None:
    files = [str(record_cartpole(tmp_path / f"{number}.h5", number)) for number in (1, 2)]
    assert main(["merge", *files, "-o", str(tmp_path / "all.h5")]) == 0
    assert "of 2 files, in CartPole-v1" in capsys.readouterr().out
    assert main(["merge", *files, "-o", str(tmp_path / "all.h5")]) == 2
    assert "exists already" in capsys.readouterr().err

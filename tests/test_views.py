# SPDX-License-Identifier: LGPL-3.0-or-later
"""Questions that are saved in a file come back as they were, and cost nothing but themselves."""

from __future__ import annotations

import os
import random
import warnings
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete
from hypothesis import given, settings
from hypothesis import strategies as st

import gymbag
from gymbag.cli import main
from gymbag.errors import FileBusy, NoSuchDataset, NoSuchFile, NoSuchView, RecordingWarning
from gymbag.storage import file
from gymbag.storage.meta import View
from gymbag.storage.views import append_lines
from tests import format_reader
from tests.crash import Folder, Trace, Way, watched

SPACES = Box(-1, 1, (2,), np.float32), Discrete(3)


def record(path: Path, name: str = "x", episodes: int = 3) -> Path:
    recorder = gymbag.HDF5Recorder(path, *SPACES, name)
    for episode in range(episodes):
        recorder.on_reset(episode, np.zeros(2, "f4"), {})
        for step in range(1, 6):
            recorder.on_step(step, np.full(2, step / 9, "f4"), 1, step / 2, step == 5, False, {})
    recorder.on_close()
    return path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return record(tmp_path / "x.h5")


values = st.one_of(
    *(st.booleans(), st.integers(-9, 9), st.floats(allow_nan=False)),
    *(st.lists(st.integers(-9, 9)), st.sets(st.integers(-9, 9)), st.just(np.arange(3))),
)


@settings(max_examples=25)
@given(st.text(st.characters(categories=["L", "N", "P", "S"]), min_size=1, max_size=20), values)
def test_a_view_asks_what_where_asks(shared: Path, view: str, value: Any) -> None:
    listed = isinstance(value, list | set | np.ndarray)
    question = "2 * reward in v" if listed else "reward > v"
    gymbag.save_view(shared, view, question, {"v": value}, overwrite=True)
    with gymbag.open(shared) as store:
        saved = store.views[view]
        assert (saved.name, saved.question) == (view, question)
        assert type(saved.parameters["v"]) is type(value)
        assert store.view(view).rows.tolist() == store.where(question, v=value).rows.tolist()
    assert format_reader.Dataset(format_reader.File(str(shared)), "x").meta[-1]["name"] == view


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return record(tmp_path_factory.mktemp("views") / "x.h5")


def test_what_cannot_be_a_view_is_refused(path: Path, tmp_path: Path) -> None:
    before = path.read_bytes()
    refused: list[tuple[type[Exception], str, tuple[Any, ...]]] = [
        (gymbag.QueryError, "did you mean 'reward'", ("a", "rewrd > 0")),
        (gymbag.QueryError, "t", ("a", "reward > t")),
        (gymbag.QueryError, "u", ("a", "reward > 0", {"u": 1})),
        (ValueError, "printable", ("", "reward > 0")),
        (ValueError, "printable", ("a\nb", "reward > 0")),
        (ValueError, "printable", ("a" * 101, "reward > 0")),
        (ValueError, "expected values by their names", ("a", "reward > 0", ["t"])),
        (ValueError, "expected values by their names", ("a", "reward > 0", {1: 2})),
        (ValueError, "1,0", ("a", "episode in v", {"v": list(range(200_000))})),
    ]
    for error, message, arguments in refused:
        with pytest.raises(error, match=message):
            gymbag.save_view(path, *arguments)
    with pytest.raises(NoSuchDataset):
        gymbag.save_view(path, "a", "reward > 0", name="y")
    with pytest.raises(NoSuchFile):
        gymbag.save_view(tmp_path / "nothing.h5", "a", "reward > 0")
    with pytest.raises(NoSuchView, match="no view 'a'"):
        gymbag.remove_view(path, "a")
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["x.h5"]


def test_a_name_is_taken_until_it_is_removed(path: Path) -> None:
    with gymbag.open(path) as reader:
        gymbag.save_view(path, "a", "reward > 1")
        with pytest.raises(ValueError, match="already"):
            gymbag.save_view(path, "a", "reward > 2")
        gymbag.save_view(path, "b", "reward > 2")
        gymbag.save_view(path, "a", "reward > 2", overwrite=True)
        assert reader.views == {}
        reader.refresh()
        assert [(v.name, v.question) for v in reader.views.values()] == [
            ("b", "reward > 2"),
            ("a", "reward > 2"),
        ]
        gymbag.remove_view(path, "b")
        reader.refresh()
        assert list(reader.views) == ["a"]
        with pytest.raises(NoSuchView, match="'a'"):
            reader.view("b")
    assert gymbag.verify(path)


def test_the_first_of_two_who_save_at_once_has_the_name(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = gymbag.views._parts

    def other_was_faster(*arguments: Any) -> list[str]:
        monkeypatch.setattr("gymbag.views._parts", parts)
        gymbag.save_view(path, "a", "reward > 1")
        return parts(*arguments)

    monkeypatch.setattr("gymbag.views._parts", other_was_faster)
    with pytest.raises(ValueError, match="already: 'reward > 1'"):
        gymbag.save_view(path, "a", "reward > 2")
    assert gymbag.open(path).views["a"].question == "reward > 1"


def test_views_stay_whatever_is_done_to_a_file(path: Path, tmp_path: Path) -> None:
    gymbag.save_view(path, "late", "step > t", {"t": 3})
    record(path)
    gymbag.delete_episodes(path, "x", [1])
    gymbag.repack(path, compression="small")
    names = ("rescued", "merged", "other", "converted")
    rescued, merged, other, converted = (tmp_path / f"{name}.h5" for name in names)
    gymbag.rescue(path, rescued)
    assert gymbag.convert(path, converted) == []
    assert gymbag.convert(path, tmp_path / "x.npz") == ["views: not kept by this format"]
    gymbag.save_view(record(other), "late", "step > 4")
    for file_of_it in (path, other):
        gymbag.save_view(file_of_it, "same", "step in v", {"v": np.arange(3)})
    gymbag.save_view(other, "early", "step < 2")
    result = gymbag.merge([path, other], merged)
    assert ["'late'" in note for note in result.notes] == [True]
    for one, count in ((path, 10), (rescued, 10), (converted, 10), (merged, 16)):
        with gymbag.open(one) as store:
            assert len(store.view("late")) == count
    with gymbag.open(merged) as store, gymbag.open([path, other]) as both:
        assert len(store.view("early")) == len(both.view("early")) == 16
        assert list(both.views) == list(store.views)


def test_nobody_is_disturbed_who_records(path: Path) -> None:
    recorder = gymbag.HDF5Recorder(path, *SPACES, "y")
    gymbag.save_view(path, "a", "reward > 1", name="x")
    with pytest.raises(FileBusy, match="'y'"):
        append_lines(path, {"x": b"", "y": b'{"line": "view"}\n'})
    recorder.on_reset(0, np.zeros(2, "f4"), {})
    recorder.on_step(1, np.zeros(2, "f4"), 1, 3.0, True, False, {})
    recorder.on_close()
    assert gymbag.verify(path)
    with gymbag.open(path, "y") as store:
        assert len(store.where("reward == 3")) == 1
        assert store.views == {}
    with gymbag.open(path, "x") as store:
        assert list(store.views) == ["a"]


def test_all_lanes_of_a_vector_have_one(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    envs = gymnasium.make_vec("CartPole-v1", 2, vectorization_mode="sync")
    recorded = gymbag.record_hdf5(envs, path)
    recorded.reset(seed=1)
    for _ in range(40):
        recorded.step(recorded.action_space.sample())
    recorded.close()
    gymbag.save_view(path, "second", "lane == 1 and step == 1")
    with gymbag.open(path) as store:
        assert store.view("second")["lane"].tolist() == [1] * len(store.view("second"))
        assert store.view("second")
    gymbag.remove_view(path, "second")
    with gymbag.open(path) as store:
        assert store.views == {}


HOSTILE = [
    b'{"line": "view", "name": "m", "question": "reward > 0", "parameters": {"$type": "x"}}',
    b'{"line": "view", "name": "m", "quest',
    b'{"line": "view", "name": "m", "question": "reward > 0", "parameters": %s}'
    % (b'{"a": ' * 9999 + b"1" + b"}" * 9999),
    b'{"line": "view", "name": "self", "question": "reward > self", "parameters": {"self": 1}}',
    b'{"line": "view", "name": "text", "question": "reward > text", "parameters": {"text": 1}}',
    b'{"line": "view"}',
    b'{"line": "view", "name": 3, "question": "reward > 0", "parameters": {}}',
    b'{"line": "view", "name": "n", "question": 3, "parameters": {}}',
    b'{"line": "view", "name": "p", "question": "reward > 0", "parameters": [1]}',
    b'{"line": "view", "name": "q", "question": "__import__(\'os\')", "parameters": {}}',
    b'{"line": "view", "name": "r", "question": "reward > 0", "parameters": {"reward": 1}}',
    b'{"line": "view", "name": "s", "question": "reward > v", "parameters": {"v": {"a": 1}}}',
    b'{"line": "view", "name": "t", "question": "%s", "parameters": {}}' % (b"(" * 100_000),
]


def test_a_hostile_view_costs_nothing_but_itself(path: Path) -> None:
    gymbag.save_view(path, "good", "reward > 1")
    append_lines(path, {"x": b"\n".join(HOSTILE) + b"\n"})
    with gymbag.open(path) as store:
        assert sorted(store.views) == ["good", "q", "r", "s", "self", "t", "text"]
        for name in ("good", "self", "text"):
            assert len(store.view(name)) == 9
        for name in "qrst":
            with pytest.raises(gymbag.QueryError, match=f"view '{name}'"):
                store.view(name)


def test_a_kill_or_a_power_cut_leaves_the_old_or_the_new(tmp_path: Path) -> None:
    folder, trace, rng = tmp_path / "watched", Trace(), random.Random(1)
    folder.mkdir()
    with watched(folder, trace):
        record(folder / "x.h5")
        gymbag.save_view(folder / "x.h5", "a", "reward > 1")
        begun = len(trace.ops)
        gymbag.save_view(folder / "x.h5", "a", "reward > 2", overwrite=True)
    found = []
    for at in [at for at in trace.moments() if at >= begun] + [len(trace.ops)]:
        way: Way = rng.choice(("kept", "some", "sectors"))
        content = trace.killed(at, rng).after_power_cut(way, rng)
        found.append(survivor(content, tmp_path / str(at)))
    assert set(found) == {"reward > 1", "reward > 2"}
    assert found[-1] == "reward > 2"


def survivor(content: Folder, folder: Path) -> str:
    """Return the view that is left in a folder, after a look at the rest."""
    folder.mkdir()
    for name, data in content.items():
        (folder / name).write_bytes(data)
    file._open.clear()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RecordingWarning)
        with gymbag.open(folder / "x.h5") as store:
            assert len(store) == 18
            assert gymbag.verify(folder / "x.h5")
            return store.views["a"].question


def test_the_commands(path: Path, capsys: Any) -> None:
    def run(*words: str) -> tuple[int, str]:
        code = main(list(words))
        return code, capsys.readouterr().out

    name = str(path)
    assert run("view", name)[0] == 1
    assert run("view", name, "--save", "late", "step > t", "--param", "t=3")[0] == 0
    assert "late  step > t  t=3" in run("view", name)[1]
    assert run("query", name, "@late", "--count") == (0, "6\n")
    assert "view         late: step > t" in run("info", name)[1]
    assert main(["view", name, "--save", "late", "step > 4"]) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert run("view", name, "--save", "late", "step > 4", "--overwrite")[0] == 0
    assert run("query", name, "@late", "--count") == (0, "3\n")
    assert main(["query", name, "@late", "--param", "t=3"]) == 2
    append_lines(path, {"x": View("a\x1b[2J", "reward > 0").line()})
    assert "\x1b" not in run("view", name)[1] + run("info", name)[1]
    assert run("view", name, "--remove", "late")[0] == 0
    assert main(["query", name, "@late"]) == 2

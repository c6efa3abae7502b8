# SPDX-License-Identifier: LGPL-3.0-or-later
"""Other programs' files: real ones, read against an independent reading, and copies that equal."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from importlib.metadata import entry_points
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import h5py
import numpy as np
import pytest
import tables
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import gymbag
from gymbag import compare, convert, formats
from gymbag.errors import (
    FileError,
    FormatError,
    NoSuchDataset,
    NoSuchFile,
    RecordingWarning,
    SchemaError,
)
from gymbag.formats import Format, find_format, registry
from gymbag.memory import MemoryEpisode, MemorySource
from gymbag.steps import Ended
from tests.spaces import any_space, same
from tests.test_roundtrip import infos, plans, record

DATA = Path(__file__).parent / "data"


@settings(max_examples=25, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_copies_compare_equal(data: st.DataObject, tmp_path_factory: Any) -> None:
    folder = tmp_path_factory.mktemp("formats")
    space, action_space = data.draw(any_space()), data.draw(any_space())
    draw_info = lambda: data.draw(infos)  # noqa: E731
    record(
        folder / "a.h5",
        space,
        action_space,
        data.draw(plans),
        draw_info,
        description="d",
        metadata={"x": np.arange(3)},
        env_spec="{}",
    )
    assert convert(folder / "a.h5", folder / "b.npz") == []
    assert convert(folder / "b.npz", folder / "c.h5") == []
    first = gymbag.open(folder / "a.h5")
    for path in ("b.npz", "c.h5"):
        copy = formats.read(folder / path)
        comparison = compare(first, copy, times=True)
        assert comparison, str(comparison)
        assert not comparison.notes
        for one, other in zip(first.iter_episodes(), copy.iter_episodes(), strict=True):
            assert all(map(same, map(tuple, one.steps()), map(tuple, other.steps())))
        assert (copy.name, copy.description, copy.env_spec) == ("x", "d", "{}")
        assert copy.metadata["x"].tolist() == [0, 1, 2]
    first.close()


@pytest.mark.parametrize(
    ("file", "name"),
    [("cartpole", "CartPole-v1"), ("box-info", "Continuous"), ("two-tables", "Second-v1")],
)
def test_files_of_gymbag_0_4_9(file: str, name: str, tmp_path: Path) -> None:
    path = DATA / f"gymbag-0.4.9-{file}.h5"
    source = formats.read(path, name=name)
    with tables.open_file(path) as old:
        rows = old.get_node(f"/{name}")[:]
        assert source.description == old.get_node(f"/{name}").title
    steps = [step for episode in source.iter_episodes() for step in episode.steps()]
    assert len(steps) == len(rows)
    for step, row in zip(steps, rows, strict=True):
        assert step.time == row["time"]
        assert np.array_equal(step.observation, row["observation"])
        assert np.array_equal(step.action, row["action"], equal_nan=True)
        assert np.array_equal(step.reward, row["reward"], equal_nan=True)
        assert step.done == row["done"]
        assert step.info == (json.loads(row["info"]) if row["info"] else {})
    assert all("0.4.9" in sentence for sentence in convert(path, tmp_path / "new.h5"))
    with gymbag.open(tmp_path / "new.h5", name) as store:
        assert compare(source, store, times=True)
    if file == "two-tables":
        assert gymbag.list_datasets(tmp_path / "new.h5") == ["First-v0", "Second-v1"]
        with pytest.raises(FormatError, match="holds 'First-v0', 'Second-v1'"):
            convert(path, tmp_path / "new.npz")
        with pytest.raises(NoSuchDataset, match="'First-v0', 'Second-v1'"):
            formats.read(path)


def test_an_info_that_0_4_9_cut_off_is_said_to_be_lost(tmp_path: Path) -> None:
    path = tmp_path / "cut.h5"
    shutil.copy(DATA / "gymbag-0.4.9-box-info.h5", path)
    with tables.open_file(path, "a") as file:
        table = file.root.Continuous
        rows = table[:]
        rows["info"][3] = b'{"long": "' + b"x" * 1014
        table[:] = rows
        table.flush()
    with pytest.warns(RecordingWarning, match="episode 0, step 3 was cut off at 1024 bytes"):
        episodes = list(formats.read(path).iter_episodes())
    assert episodes[0].infos[3] == {}


def test_a_directory_of_gym_recording(tmp_path: Path) -> None:
    directory = DATA / "gym_recording-cartpole"
    source = formats.read(directory)
    episodes = list(source.iter_episodes())
    manifest = json.loads(next(directory.glob("*.manifest.json")).read_text())
    contents = [
        content
        for batch in manifest["batches"]
        for content in json.loads((directory / batch["fn"]).read_text())["episodes"]
    ]

    def raw(described: Any) -> np.ndarray:
        data = (directory / described["npyfile"]).read_bytes()[described["npyoff"] :]
        return np.frombuffer(data[: described["size"]], described["dtype"]).reshape(
            described["shape"]
        )

    assert len(episodes) == len(contents)
    for episode, content in zip(episodes, contents, strict=True):
        assert np.array_equal(episode.observations, raw(content["observations"]))
        assert np.array_equal(episode.actions, raw(content["actions"]))
        assert np.array_equal(episode.rewards, raw(content["rewards"]))
        assert np.isnan(episode.times).all()
        assert not episode.terminations.any()
        assert not episode.truncations.any()
    lost = convert(directory, tmp_path / "new.h5")
    assert any("no times" in sentence for sentence in lost)
    assert any("action space is not known" in sentence for sentence in lost)
    with gymbag.open(tmp_path / "new.h5") as store:
        assert compare(source, store, times=True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m["batches"][0].update(fn="../outside.json"), "not inside"),
        (lambda m: m["batches"][0].update(fn="/etc/passwd"), "not inside"),
        (lambda m: m["batches"][0].update(fn="none.json"), "missing"),
        (lambda m: m["batches"][0].pop("fn"), "'fn' is missing"),
        (lambda m: m.pop("batches"), "'batches' is missing"),
    ],
)
def test_a_manifest_leads_nowhere_else(change: Any, message: str, tmp_path: Path) -> None:
    directory = tmp_path / "traces"
    shutil.copytree(DATA / "gym_recording-cartpole", directory)
    (tmp_path / "outside.json").write_text('{"episodes": []}')
    path = next(directory.glob("*.manifest.json"))
    path.chmod(0o644)
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps(manifest))
    with pytest.raises(FormatError, match=message):
        list(formats.read(directory).iter_episodes())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a.update(shape=[1000, 4], size=16000), "has .* bytes, and .* needs"),
        (lambda a: a.update(npyoff=10**9), "has .* bytes, and .* needs"),
        (lambda a: a.update(npyoff=-8), "at byte -8"),
        (lambda a: a.update(dtype="object"), "dtype 'object'"),
        (lambda a: a.update(dtype="nonsense"), "dtype 'nonsense'"),
        (lambda a: a.update(shape=[31, 4]), "describes an array of 496 bytes"),
        (lambda a: a.update(shape=[16, 8]), "16 observations, 31 actions"),
        (lambda a: a.update(npyfile="../x.bin"), "not inside"),
        (lambda a: a.pop("npyfile"), "'npyfile' is missing"),
    ],
)
def test_an_array_is_where_its_file_says_it_is(change: Any, message: str, tmp_path: Path) -> None:
    directory = tmp_path / "traces"
    shutil.copytree(DATA / "gym_recording-cartpole", directory)
    path = min(directory.glob("*.ep*.json"))
    path.chmod(0o644)
    content = json.loads(path.read_text())
    change(content["episodes"][0]["observations"])
    path.write_text(json.dumps(content))
    with pytest.raises(FormatError, match=message):
        list(formats.read(directory).iter_episodes())


def trace(directory: Path, prefix: str, episodes: list[dict[str, np.ndarray]]) -> None:
    """Write a batch as gym_recording does."""
    name = f"{prefix}.ep000000000"
    data = b""
    described = []
    for episode in episodes:
        fields = {}
        for key, array in episode.items():
            fields[key] = {
                "__type": "ndarray",
                "shape": list(array.shape),
                "order": "C",
                "dtype": str(array.dtype),
                "npyfile": f"{name}.bin",
                "npyoff": len(data),
                "size": array.nbytes,
            }
            data += array.tobytes() + b"\0" * (-array.nbytes % 8)
        described.append(fields)
    (directory / f"{name}.bin").write_bytes(data)
    (directory / f"{name}.json").write_text(json.dumps({"episodes": described}))
    batches = {"batches": [{"first": 0, "len": len(episodes), "fn": f"{name}.json"}]}
    (directory / f"{prefix}.manifest.json").write_text(json.dumps(batches))


def test_recordings_of_gym_recording_come_in_their_order_without_empty_ones(
    tmp_path: Path,
) -> None:
    for counter in (10, 2, 9):
        one = {
            "actions": np.array([[counter, 0.5]], "f4"),
            "observations": np.zeros((2, 3), "f4"),
            "rewards": np.array([1.0]),
        }
        none = {key: np.zeros((1, 0)) for key in one}
        trace(tmp_path, f"openaigym.trace.{counter}.77", [none, one])
    episodes = list(formats.read(tmp_path).iter_episodes())
    assert [episode.id for episode in episodes] == [0, 1, 2]
    assert [episode.actions[0, 0] for episode in episodes] == [2, 9, 10]
    reset = next(episodes[0].steps())
    assert reset.action.dtype == np.float32
    assert np.isnan(reset.action).all()


class Hostile:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.folder),)


@pytest.mark.parametrize("node", ["/", "/CartPole-v1"])
@pytest.mark.parametrize("attribute", ["TITLE", "FIELD_0_FILL", "observation_space", "other"])
@pytest.mark.filterwarnings("ignore::gymbag.RecordingWarning")
def test_nothing_in_a_file_of_0_4_9_is_unpickled(node: str, attribute: str, tmp_path: Path) -> None:
    path, folder = tmp_path / "hostile.h5", tmp_path / "made"
    shutil.copyfile(DATA / "gymbag-0.4.9-cartpole.h5", path)
    with h5py.File(path, "a") as file:
        file[node].attrs[attribute] = np.bytes_(pickle.dumps(Hostile(folder), 0))
    episodes = list(formats.read(path).iter_episodes())
    assert len(episodes) == 9
    assert not folder.exists()
    with tables.open_file(path) as file:  # elsewhere PyTables works as ever
        getattr(file.get_node(node)._v_attrs, attribute)
    assert folder.exists()


def test_a_reset_alone_in_a_file_of_0_4_9_is_no_episode(tmp_path: Path) -> None:
    path = tmp_path / "resets.h5"
    shutil.copyfile(DATA / "gymbag-0.4.9-cartpole.h5", path)
    whole = [episode.episode_length for episode in formats.read(path).iter_episodes()]
    with tables.open_file(path, "a") as file:
        table = file.root["CartPole-v1"]
        rows = table[:]
        reset = rows[:1].copy()
        reset["done"] = True
        table.append(np.concatenate([reset, reset, rows[:3]]))
    with_resets = list(formats.read(path).iter_episodes())
    assert [episode.episode_length for episode in with_resets] == [*whole, 2]
    assert with_resets[-1].ended is Ended.UNKNOWN


def edited(path: Path, change: Any) -> Path:
    """Return an NPZ file like the one of CartPole in a single array, or a field of its head."""
    if not path.exists():
        convert(DATA / "gymbag-0.4.9-box-info.h5", path)
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files}
    head = json.loads(arrays["gymbag"].tobytes())
    change(arrays, head)
    if "gymbag" in arrays:
        arrays["gymbag"] = np.frombuffer(json.dumps(head).encode(), "u1")
    np.savez(path.with_stem("edited"), **arrays)
    return path.with_stem("edited")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a, h: a.pop("gymbag"), "no array 'gymbag'"),
        (lambda a, h: a.pop("time"), "'time'"),
        (lambda a, h: a.pop("column action"), "no array 'column action'"),
        (lambda a, h: a.update(reward=a["reward"][1:]), "'reward' is an array of float64"),
        (lambda a, h: a.update(terminated=a["time"]), "'terminated' is an array of float64"),
        (lambda a, h: a.update({"column action": a["time"]}), "'column action' is an array"),
        (lambda a, h: a.update({"info bytes": a["info bytes"][1:]}), "'info bytes' is an array"),
        (lambda a, h: h["episodes"][0].update(rows=0), "more or fewer"),
        (lambda a, h: h["episodes"].pop(), "more or fewer"),
        (lambda a, h: h["episodes"][0].update(rows=-3), "more or fewer"),
        (lambda a, h: h["episodes"][0].update(ended="soon"), "'soon' is not"),
        (lambda a, h: h["episodes"][0].update(seed="x"), "found 'x'"),
        (lambda a, h: h["spaces"]["action_space"].update(type="Nothing"), "Nothing"),
        (lambda a, h: h.pop("spaces"), "spaces"),
    ],
)
def test_a_damaged_npz_file_is_refused(change: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=message):
        formats.read(edited(tmp_path / "whole.npz", change), "npz")


def test_a_conversion_that_fails_leaves_nothing(tmp_path: Path) -> None:
    source = formats.read(DATA / "gymbag-0.4.9-cartpole.h5")
    rows = list(next(source.iter_episodes()).steps())
    broken = MemorySource(
        [MemoryEpisode(0, rows), MemoryEpisode(1, [rows[0], rows[1]._replace(action=7)])],
        observation_space=source.observation_space,
        action_space=source.action_space,
    )
    for name in ("a.npz", "a.h5"):
        with pytest.raises(SchemaError, match="action"):
            convert(broken, tmp_path / name)
    odd = MemorySource([MemoryEpisode(0, [rows[0], rows[1]._replace(info={"x": Hostile})])])
    odd.observation_space, odd.action_space = source.observation_space, source.action_space
    with pytest.raises(FormatError, match="episode 0, step 1: info holds"):
        convert(odd, tmp_path / "a.npz")
    with pytest.raises(FormatError, match="set observation_space"):
        convert(MemorySource(), tmp_path / "a.h5")
    with pytest.raises(NoSuchFile, match="folder"):
        convert(source, tmp_path / "none" / "a.h5")
    assert list(tmp_path.iterdir()) == []


def test_files_that_are_being_written_and_the_same_file_twice(tmp_path: Path) -> None:
    convert(DATA / "gymbag-0.4.9-cartpole.h5", tmp_path / "a.h5")
    with pytest.raises(FormatError, match="the same"):
        convert(tmp_path / "a.h5", tmp_path / "." / "a.h5")
    source = formats.read(tmp_path / "a.h5")
    recorder = gymbag.HDF5Recorder(
        tmp_path / "a.h5", source.observation_space, source.action_space, "other"
    )
    assert find_format(tmp_path / "a.h5").name == "gymbag"
    assert convert(source, tmp_path / "a.npz") == []
    recorder.on_close()
    assert compare(source, formats.read(tmp_path / "a.npz"), times=True)


def test_a_broken_format_of_another_package_breaks_no_other(tmp_path: Path) -> None:
    def fail(*arguments: Any) -> Any:
        raise RuntimeError("broken")

    def entry(name: str, load: Any) -> Any:
        return SimpleNamespace(name=name, load=load)

    sniffs = Format("a-sniffer", (), fail, fail, fail)
    entries = [entry("a-loader", fail), entry("a-sniffer", lambda: sniffs)]
    with mock.patch.object(
        registry, "entry_points", lambda group: [*entries, *entry_points(group=group)]
    ):
        formats.formats.cache_clear()
        try:
            with pytest.warns(UserWarning, match="'a-loader' cannot be loaded"):
                assert "npz" in formats.formats()
            with pytest.warns(UserWarning, match="'a-sniffer' fails on"):
                assert find_format(DATA / "gymbag-0.4.9-cartpole.h5").name == "gymbag-0.4.9"
        finally:
            formats.formats.cache_clear()


def test_damaged_and_unknown_files(tmp_path: Path) -> None:
    convert(DATA / "gymbag-0.4.9-cartpole.h5", tmp_path / "a.npz")
    whole = (tmp_path / "a.npz").read_bytes()
    (tmp_path / "half.npz").write_bytes(whole[: len(whole) // 2])
    middle = len(whole) // 3
    (tmp_path / "flip.npz").write_bytes(whole[:middle] + b"\xff" * 40 + whole[middle + 40 :])
    for name in ("half.npz", "flip.npz"):
        with pytest.raises(FormatError, match=f"{name}: not an NPZ file of gymbag's, or damaged"):
            formats.read(tmp_path / name)
    whole = (DATA / "gymbag-0.4.9-cartpole.h5").read_bytes()
    (tmp_path / "half.h5").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(FileError, match=r"half\.h5"):
        formats.read(tmp_path / "half.h5")
    with pytest.raises(FormatError, match=r"half\.h5: cannot be read as gymbag 0\.4\.9's"):
        formats.read(tmp_path / "half.h5", "gymbag-0.4.9")
    (tmp_path / "text.txt").write_text("hello")
    with pytest.raises(FormatError, match="of no known format"):
        formats.read(tmp_path / "text.txt")
    with pytest.raises(NoSuchFile):
        formats.read(tmp_path / "none.npz")
    with pytest.raises(FormatError, match="exists already"):
        convert(DATA / "gymbag-0.4.9-cartpole.h5", tmp_path / "a.npz")
    with pytest.raises(FormatError, match="can only be read"):
        convert(tmp_path / "a.npz", tmp_path / "b", target_format="gym_recording")
    with pytest.raises(FileError):
        gymbag.open(DATA / "gymbag-0.4.9-cartpole.h5")


def test_a_conversion_never_doubles_what_is_there(tmp_path: Path) -> None:
    old = DATA / "gymbag-0.4.9-cartpole.h5"
    convert(old, tmp_path / "a.h5")
    with pytest.raises(FormatError, match="source and target are the same"):
        convert(tmp_path / "a.h5", tmp_path / "a.h5")
    with pytest.raises(FormatError, match="holds a data set 'CartPole-v1' already"):
        convert(old, tmp_path / "a.h5")
    whole = (tmp_path / "a.h5").read_bytes()
    (tmp_path / "cut.h5").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(FileError, match="truncated"):
        formats.read(tmp_path / "cut.h5")
    with pytest.raises(FileError, match="truncated"):
        gymbag.open(tmp_path / "cut.h5")

# SPDX-License-Identifier: LGPL-3.0-or-later
"""Other programs' files: real ones, read against an independent reading, and copies that equal."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tables
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import gymbag
from gymbag import compare, convert, formats
from gymbag.errors import FileError, FormatError, NoSuchDataset, NoSuchFile, RecordingWarning
from tests.spaces import any_space
from tests.test_roundtrip import infos, plans, record

DATA = Path(__file__).parent / "data"


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
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
    assert any("spaces are not known" in sentence for sentence in lost)
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


def test_damaged_and_unknown_files(tmp_path: Path) -> None:
    convert(DATA / "gymbag-0.4.9-cartpole.h5", tmp_path / "a.npz")
    whole = (tmp_path / "a.npz").read_bytes()
    (tmp_path / "half.npz").write_bytes(whole[: len(whole) // 2])
    middle = len(whole) // 3
    (tmp_path / "flip.npz").write_bytes(whole[:middle] + b"\xff" * 40 + whole[middle + 40 :])
    for name in ("half.npz", "flip.npz"):
        with pytest.raises(FormatError):
            formats.read(tmp_path / name, "npz")
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

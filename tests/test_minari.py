# SPDX-License-Identifier: LGPL-3.0-or-later
"""Minari's data sets: theirs read by us, ours by them, and what strangers may put into one."""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import math
import os
import pickle
import shutil
from pathlib import Path
from typing import Any
from unittest import mock

import gymnasium
import h5py
import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import gymbag
from gymbag import MemorySource, Step, compare, convert, formats
from gymbag.cli import main
from gymbag.errors import FormatError, NotAStore, RecordingWarning
from gymbag.formats import process
from gymbag.formats.apart.main import run
from gymbag.formats.apart.reader import Refused
from gymbag.formats.minari.spaces import from_json, to_json
from gymbag.memory import MemoryEpisode
from tests.spaces import EXAMPLES, same

minari = pytest.importorskip("minari", reason="Minari itself says what its data sets are")

DATA = Path(__file__).parent / "data"
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:minari")
LAYOUTS = ["hdf5", "arrow", "parquet"]
SPACES = {
    name: space
    for name, space in EXAMPLES.items()
    if not any(f"{word}" in name for word in ("oneof", "sequence", "graph", "int-keys", "odd-keys"))
    and name != "text-unicode"  # it has texts with NUL, see below
}


def sample(layout: str) -> Path:
    return DATA / f"minari-cartpole-{layout}" / "cartpole" / "random-v0"


def source(
    space: Any,
    action_space: Any,
    *,
    episodes: int = 3,
    info: Any = lambda k: {},
    **more: Any,
) -> MemorySource:
    """Return episodes of 1, 2, … steps, the last of them truncated."""
    space.seed(1)
    action_space.seed(2)
    null = gymbag.null_sample(action_space)
    found = []
    for number in range(episodes):
        rows = [Step(math.nan, space.sample(), null, math.nan, False, False, info(0))]
        for k in range(number + 1):
            last, cut = k == number, number == episodes - 1
            values = space.sample(), action_space.sample(), k / 3
            rows.append(Step(math.nan, *values, last and not cut, last and cut, info(k + 1)))
        options = {"level": 3, "pose": [1.5, 2.0], "deep": {"on": True, "of": "x"}}
        found.append(
            MemoryEpisode(number, rows, seed=2**63 + number, options=options if number else None)
        )
    return MemorySource(found, observation_space=space, action_space=action_space, **more)


def theirs(batch: Any, space: Any, row: int) -> Any:
    """Return one value of a batch as Minari gives it."""
    if isinstance(space, spaces.Dict):
        return {key: theirs(batch[key], below, row) for key, below in space.spaces.items()}
    if isinstance(space, spaces.Tuple):
        return tuple(theirs(batch[k], below, row) for k, below in enumerate(space.spaces))
    return batch[row]


def require_same(dataset: Any, copy: Any) -> None:
    """Check that Minari reads of its data set what we read of a recording."""
    assert dataset.total_episodes == len(list(copy.iter_episodes()))
    own = dataset.storage.get_episode_metadata(dataset.episode_indices)
    for episode, mine, kept in zip(dataset, copy.iter_episodes(), own, strict=True):
        rows = list(mine.steps())
        assert len(rows) == len(episode.rewards) + 1
        for k, row in enumerate(rows):
            value = theirs(episode.observations, dataset.observation_space, k)
            assert same(row.observation, value), (row.observation, value)
            if k:
                assert same(row.action, theirs(episode.actions, dataset.action_space, k - 1))
                assert row.reward == episode.rewards[k - 1]
                assert row.terminated == episode.terminations[k - 1]
                assert row.truncated == episode.truncations[k - 1]
        assert mine.seed == kept.get("seed")
        options = kept.get("options")
        assert mine.options == (None if options is None else plain(options))


def plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return np.asarray(value).tolist()


@pytest.mark.parametrize("layout", ["hdf5", "arrow"])
def test_a_recording_of_minaris_comes_into_ours_and_back(layout: str, tmp_path: Path) -> None:
    dataset = minari.MinariDataset(sample(layout) / "data")
    assert formats.find_format(sample(layout)).name == "minari"
    theirs = formats.read(sample(layout))
    require_same(dataset, theirs)
    assert (theirs.name, theirs.description) == (
        "cartpole/random-v0",
        "Random policy on CartPole-v1",
    )
    assert theirs.metadata["author"] == ["nobody"]
    assert theirs.metadata["algorithm_name"] == "random"
    assert compare(theirs, formats.read(sample(layout) / "data"))
    notes = convert(sample(layout), tmp_path / "a.h5", strict=True)
    assert all(note.startswith("Minari ") for note in notes)
    with gymbag.open(tmp_path / "a.h5") as store:
        assert compare(theirs, store)
        assert convert(store, tmp_path / "random-v0", target_format="minari", strict=True) == []
    back = minari.MinariDataset(tmp_path / "random-v0" / "data")
    require_same(back, theirs)
    assert back.id == "cartpole/random-v0"
    assert back.spec.total_steps == 58
    assert back.storage.metadata["author"] == {"nobody"}
    with back.recover_environment() as env:
        assert env.spec.id == "CartPole-v1"
        observation, _ = env.reset(seed=back.storage.get_episode_metadata([2]).__next__()["seed"])
        assert np.array_equal(observation, back[2].observations[0])


def test_what_we_record_minari_loads(tmp_path: Path, monkeypatch: Any) -> None:
    with gymbag.record_hdf5(gymnasium.make("CartPole-v1"), tmp_path / "a.h5", "mine") as env:
        for seed in range(3):
            env.reset(seed=seed)
            while not env.step(0)[2]:
                pass
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    lost = convert(tmp_path / "a.h5", tmp_path / "cartpole-v3", target_format="minari")
    assert lost == ["time: not kept by this format"]
    dataset = minari.load_dataset("cartpole-v3")
    assert list(minari.list_local_datasets()) == ["cartpole-v3"]
    with gymbag.open(tmp_path / "a.h5") as store:
        require_same(dataset, store)
    assert dataset.storage.metadata["description"] == "mine"
    assert dataset.recover_environment().spec.id == "CartPole-v1"
    assert formats.read(tmp_path / "cartpole-v3").name == "CartPole-v1"
    assert main(["convert", str(tmp_path / "cartpole-v3"), str(tmp_path / "b.h5")]) == 0
    assert main(["compare", str(tmp_path / "a.h5"), str(tmp_path / "b.h5")]) == 0


@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)
def test_each_space_is_theirs_too(space: Any, tmp_path: Path) -> None:
    original = source(space, spaces.Tuple((spaces.Discrete(3, start=-1), space)))
    assert formats.write(original, tmp_path / "x-v0", "minari") == []
    copy = formats.read(tmp_path / "x-v0")
    assert copy.observation_space == space
    assert compare(original, copy), str(compare(original, copy))
    dataset = minari.MinariDataset(tmp_path / "x-v0" / "data")
    require_same(dataset, copy)
    # Minari makes every Discrete space one of int64.
    assert dataset.observation_space == space or space.dtype == np.int32


def minari_spaces() -> st.SearchStrategy[Any]:
    leaves = [name for name in SPACES if not name.startswith(("dict", "tuple"))]
    return st.recursive(
        st.sampled_from(leaves).map(SPACES.__getitem__),
        lambda inner: st.one_of(
            st.lists(inner, min_size=1, max_size=3).map(spaces.Tuple),
            st.dictionaries(st.text("ab .[#é", min_size=1, max_size=3), inner, max_size=3)
            .filter(lambda d: all(key.strip(".") for key in d))
            .map(spaces.Dict),
        ),
        max_leaves=4,
    )


@settings(max_examples=15, suppress_health_check=list(HealthCheck))
@given(space=minari_spaces(), action_space=minari_spaces())
def test_any_nested_space_comes_back(space: Any, action_space: Any, tmp_path_factory: Any) -> None:
    folder = tmp_path_factory.mktemp("minari") / "x-v0"
    original = source(space, action_space, episodes=2)
    assert formats.write(original, folder, "minari") == []
    copy = formats.read(folder)
    assert (copy.observation_space, copy.action_space) == (space, action_space)
    comparison = compare(original, copy)
    assert comparison, str(comparison)
    require_same(minari.MinariDataset(folder / "data"), copy)


def buffers(original: MemorySource) -> list[Any]:
    """Return episodes as Minari buffers them, without jax."""

    def batch(values: list[Any], space: Any) -> Any:
        if isinstance(space, spaces.Dict):
            return {k: batch([v[k] for v in values], s) for k, s in space.spaces.items()}
        if isinstance(space, spaces.Tuple):
            return tuple(batch([v[k] for v in values], s) for k, s in enumerate(space.spaces))
        return values

    found = []
    for episode in original.iter_episodes():
        rows = list(episode.steps())
        infos = {key: [row.info[key] for row in rows] for key in rows[0].info if key != "nested"}
        if "nested" in rows[0].info:
            infos["nested"] = {"r": [row.info["nested"]["r"] for row in rows]}
        found.append(
            importlib.import_module("minari.data_collector").EpisodeBuffer(
                seed=episode.seed,
                options=episode.options,
                observations=batch([row.observation for row in rows], original.observation_space),
                actions=batch([row.action for row in rows[1:]], original.action_space),
                rewards=[row.reward for row in rows[1:]],
                terminations=[row.terminated for row in rows[1:]],
                truncations=[row.truncated for row in rows[1:]],
                infos=infos or None,
            )
        )
    return found


RICH = spaces.Dict(
    pose=spaces.Box(-1, 1, (2, 3), np.float64),
    goal=spaces.Tuple((spaces.Discrete(4, start=2), spaces.Text(5))),
    flags=spaces.MultiBinary(3),
    kind=spaces.MultiDiscrete([3, 4]),
)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_what_minari_writes_we_read(layout: str, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    info = lambda k: {  # noqa: E731
        "lives": np.int32(k),
        "pose": np.arange(k, k + 4.0).reshape(2, 2),
        "nested": {"r": k / 2},
    }
    original = source(RICH, spaces.Discrete(3), info=info)
    minari.create_dataset_from_buffers(
        "deep/rich-v1",
        buffers(original),
        observation_space=RICH,
        action_space=spaces.Discrete(3),
        data_format=layout,
        author={"a", "b"},
        code_permalink="https://example.org",
        description="rich",
        requirements=["numpy"],
    )
    copy = formats.read(tmp_path / "deep" / "rich-v1")
    assert (copy.observation_space, copy.name, copy.env_spec) == (RICH, "deep/rich-v1", None)
    assert copy.metadata["code_permalink"] == "https://example.org"
    assert set(copy.metadata["author"]) == {"a", "b"}
    comparison = compare(original, copy)
    assert comparison, str(comparison)
    assert next(copy.iter_episodes()).infos[1]["lives"].dtype == np.int32


@pytest.mark.parametrize("layout", LAYOUTS)
def test_images_are_read_as_minari_reads_them_and_written_whole(
    layout: str, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    space = spaces.Dict(
        camera=spaces.Box(0, 255, (40, 50, 3), np.uint8),
        grey=spaces.Box(0, 255, (32, 33), np.uint8),
    )
    original = source(space, spaces.Discrete(2))
    dataset = minari.create_dataset_from_buffers(
        "jpeg-v0",
        buffers(original),
        observation_space=space,
        action_space=spaces.Discrete(2),
        data_format=layout,
    )
    lossy = formats.read(tmp_path / "jpeg-v0")
    require_same(dataset, lossy)
    assert not compare(original, lossy)
    assert formats.write(original, tmp_path / "whole-v0", "minari") == []
    require_same(minari.load_dataset("whole-v0"), original)


def test_infos_and_all_that_minari_has_no_place_for(tmp_path: Path) -> None:
    def info(k: int) -> dict[Any, Any]:
        return {
            "lives": 3 - k,
            "text": f"é{k}",
            "x": np.full((2,), k, np.float32),
            "nested": {"r": k / 2, "list": [k]},
            "mixed": 0 if k == 0 else k / 2,
            "nan": math.nan,
            "a/b": 1,
            7: 1,
            "changes": "a" if k else 1,
            **({"episode": {"r": 1.0}} if k else {}),
        }

    original = source(
        spaces.Discrete(3),
        spaces.Discrete(3),
        info=info,
        metadata={"author": "Jane", "env_spec": "no", "odd": MemorySource, "x": np.arange(2)},
        env_spec="{}",
    )
    episodes = original.episodes
    episodes[0].seed, episodes[1].options = 2**80, {"none": None}
    episodes[2].ended = gymbag.steps.Ended.RESET
    path = tmp_path / "x-v0"
    with pytest.raises(FormatError, match=r"x-v0: not written, for minari loses: .*env_spec: not"):
        formats.write(original, path, "minari", strict=True)
    assert list(tmp_path.iterdir()) == []
    lost = formats.write(original, path, "minari")
    assert lost == [
        "metadata: not kept, for its key means something else there: env_spec",
        "metadata: not kept, for JSON has no place for it: odd",
        "env_spec: not kept; Gymnasium does not read it",
        "info: not kept where a key is not in every row of an episode, or changes its type or "
        'shape, or is no number or text: info.nested.list, info["a/b"], info[7], info.changes, '
        "info.episode",
        "seed: not kept beyond 64 bits: episode 0",
        "options: not kept where HDF5 has no place for a value: episode 1",
        "ended: Minari keeps that an episode was truncated, and not that its user cut it off: "
        "episode 2",
    ]
    copy = formats.read(path)
    assert copy.metadata["author"] == ["Jane"]
    assert copy.metadata["x"].tolist() == [0, 1]
    kept = ("lives", "text", "x", "mixed", "nan")
    for one, other in zip(original.iter_episodes(), copy.iter_episodes(), strict=True):
        for mine, found in zip(one.infos, other.infos, strict=True):
            assert set(found) == {*kept, "nested"}
            assert found["nested"] == {"r": mine["nested"]["r"]}
            assert np.isnan(found["nan"])
            assert all(np.array_equal(mine[key], found[key]) for key in kept if key != "nan")
            assert found["x"].dtype == np.float32
    assert len(minari.MinariDataset(path / "data")[0].infos["lives"]) == 2


@pytest.mark.parametrize(
    ("space", "message"),
    [
        (EXAMPLES["graph"], "observation: a Graph space"),
        (spaces.Dict(a=spaces.Tuple([EXAMPLES["oneof"]])), r"observation\.a\[0\]: a OneOf space"),
        (EXAMPLES["dict-int-keys"], "observation: the key 1 has no place"),
        (EXAMPLES["dict-odd-keys"], "the key 'q"),
    ],
)
def test_spaces_that_minari_does_not_have(space: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=message):
        formats.write(source(space, spaces.Discrete(2)), tmp_path / "x-v0", "minari")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", ["a\0", "\ud800"])
def test_names_and_texts_that_minari_does_not_have(text: str, tmp_path: Path) -> None:
    original = source(spaces.Text(3, charset="a\0\ud800"), spaces.Discrete(2), episodes=1)
    with pytest.raises(FormatError, match="choose one like cartpole-v0"):
        formats.write(original, tmp_path / "x", "minari")
    rows = original.episodes[0].rows
    rows[1] = rows[1]._replace(observation=text)
    with pytest.raises(FormatError, match=r"episode 0: observations: the text '.* no place"):
        formats.write(original, tmp_path / "x-v0", "minari")
    assert list(tmp_path.iterdir()) == []


def test_metadata_of_episodes_and_flags_that_come_early(tmp_path: Path) -> None:
    folder = copied("hdf5", tmp_path)
    with h5py.File(folder / "data" / "main_data.hdf5", "a") as file:
        file["episode_1"].attrs["success"] = True
        file["episode_0/terminations"][3] = True
        file["episode_2/truncations"][3] = True
    copy = formats.read(folder)
    assert copy.metadata["episode_metadata"] == [{}, {"success": True}, {}, {}]
    with pytest.warns(RecordingWarning, match="episode 0: terminated or truncated before") as said:
        episodes = list(copy.iter_episodes())
    assert len(said) == 1
    assert [e.terminations.tolist().count(True) for e in episodes] == [1, 1, 1, 1]


def test_strict_conversion_adds_all_or_nothing(tmp_path: Path, capsys: Any) -> None:
    convert(sample("hdf5"), tmp_path / "a.h5", strict=True)
    before = (tmp_path / "a.h5").read_bytes()
    traces = DATA / "gym_recording-cartpole"
    with pytest.raises(FormatError, match="not written, for gymbag loses: the observation space"):
        convert(traces, tmp_path / "a.h5", strict=True)
    assert (tmp_path / "a.h5").read_bytes() == before
    convert(DATA / "gymbag-0.4.9-two-tables.h5", tmp_path / "a.h5", strict=True)
    assert gymbag.list_datasets(tmp_path / "a.h5") == [
        "First-v0",
        "Second-v1",
        "cartpole/random-v0",
    ]
    arguments = [str(traces), str(tmp_path / "b.npz"), "--strict"]
    assert main(["convert", *arguments]) == 2
    assert "action space is not known" in capsys.readouterr().err
    assert not (tmp_path / "b.npz").exists()
    assert main(["info", str(sample("hdf5"))]) == 2
    assert "gymbag convert" in capsys.readouterr().err
    with pytest.raises(NotAStore, match="gymbag convert"):
        gymbag.open(sample("arrow"))


@pytest.mark.parametrize(("layout", "name"), [("hdf5", "h5py"), ("arrow", "pyarrow")])
def test_what_is_not_installed_is_named(layout: str, name: str, tmp_path: Path) -> None:
    find = process.find_spec
    without = mock.patch.object(process, "find_spec", lambda n: None if n == name else find(n))
    with without, pytest.raises(FormatError, match=rf"{name}, not installed.*'gymbag\[minari\]'"):
        list(formats.read(sample(layout)).iter_episodes())
    if layout == "hdf5":
        original = source(spaces.Discrete(2), spaces.Discrete(2))
        with without, pytest.raises(FormatError, match=r"takes h5py, .*gymbag\[minari\]"):
            formats.write(original, tmp_path / "x-v0", "minari")


# What strangers may put into one.


def copied(layout: str, tmp_path: Path) -> Path:
    folder = tmp_path / "random-v0"
    shutil.copytree(sample(layout), folder)
    for path in [folder, *folder.rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)
    return folder


def read_all(folder: Path) -> None:
    for episode in formats.read(folder, "minari").iter_episodes():
        list(episode.steps())


def change_json(**changes: Any) -> Any:
    def change(data: Path) -> None:
        path = data / "metadata.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))

    return change


def change_space(**changes: Any) -> Any:
    return change_json(observation_space=json.dumps(changes))


DEEP = '{"type": "Tuple", "subspaces": [' * 5000 + "]}" * 5000
BOX = {"type": "Box", "dtype": "float32", "shape": [4], "low": [0] * 4, "high": [1] * 4}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: (d / "metadata.json").write_text('{"total_episodes": 4, "tot'), "not the JSON"),
        (lambda d: (d / "metadata.json").write_bytes(b'"total_episodes"\xff\0'), "not the JSON"),
        (lambda d: (d / "metadata.json").write_text("[" * 100_000), "not the JSON of Minari"),
        (lambda d: (d / "metadata.json").write_text("[]"), "expected a JSON object"),
        (lambda d: (d / "metadata.json").unlink(), "neither metadata.json nor"),
        (lambda d: (d / "main_data.hdf5").unlink(), r"episode 0: .*main_data\.hdf5: missing"),
        (lambda d: (d / "main_data.hdf5").write_bytes(b"\x89HDF\r\n\x1a\n"), "episode 0: OSError"),
        (lambda d: cut(d / "main_data.hdf5"), "episode 0: OSError.*truncated"),
        (change_json(total_episodes=5), "episode 4: episode_4 is missing"),
        (change_json(total_episodes=-1), "total_episodes: found -1"),
        (change_json(total_episodes="many"), "total_episodes: found 'many'"),
        (change_json(data_format="pickle"), "data_format: found 'pickle'"),
        (change_json(observation_space=7), "observation: a space of the type 7"),
        (change_json(observation_space="{"), "observation: its description is none"),
        (change_json(observation_space=DEEP), "observation: .*nested too deeply"),
        (change_space(type="os:system", n=2), "a space of the type 'os:system'"),
        (change_space(type="gymnasium.spaces.Box"), "a space of the type 'gymnasium"),
        (change_space(**{**BOX, "dtype": "object"}), "dtype 'object'"),
        (change_space(**{**BOX, "dtype": "os.system"}), "dtype 'os.system'"),
        (change_space(**{**BOX, "shape": [10**12]}), "bounds of shape"),
        (change_space(**{**BOX, "high": [[1], [1, 2]]}), "description is none of a space"),
        (change_space(type="MultiBinary", n=10**15), "n 1000000000000000"),
        (change_space(type="Discrete", n=-1), "description is none of a space"),
        (
            change_space(type="Text", max_length=3, charset="ab"),
            "found an array; expected 14 texts",
        ),
        (change_space(type="Dict", subspaces={"a": BOX}), "observations/a: found nothing"),
        (change_space(**{**BOX, "shape": [3], "low": [0] * 3, "high": [1] * 3}), r"shape \(4,\)"),
    ],
)
def test_damage_is_named(change: Any, message: str, tmp_path: Path) -> None:
    folder = copied("hdf5", tmp_path)
    change(folder / "data")
    with pytest.raises(FormatError, match=message):
        read_all(folder)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def resize(name: str, count: int) -> Any:
    return lambda file, folder: file[f"episode_1/{name}"].resize(count, axis=0)


def external_file(file: Any, folder: Path) -> None:
    (folder / "secret").write_bytes(b"\0" * 88)
    del file["episode_1/rewards"]
    file["episode_1"].create_dataset("rewards", (11,), "f8", external=[(folder / "secret", 0, 88)])


def external_link(file: Any, folder: Path) -> None:
    del file["episode_1/rewards"]
    file["episode_1/rewards"] = h5py.ExternalLink("/etc/passwd", "/x")


def soft_link(file: Any, folder: Path) -> None:
    del file["episode_1"]
    file["episode_1"] = h5py.SoftLink("/episode_0")


def cycle(file: Any, folder: Path) -> None:
    file["episode_1/infos/again"] = file["episode_1"]


def bomb(file: Any, folder: Path) -> None:
    del file["episode_1/rewards"]
    file["episode_1"].create_dataset("rewards", (2**40,), "f8", chunks=(1024,), compression="gzip")


def objects(file: Any, folder: Path) -> None:
    del file["episode_1/rewards"]
    data = np.frombuffer(pickle.dumps(Hostile(folder / "made"), 0), "u1")
    group = file["episode_1"]
    group.create_dataset("rewards", (1,), h5py.vlen_dtype(np.dtype("u2")))
    group.attrs["options"] = np.void(data.tobytes())


def eps_image(file: Any, folder: Path) -> None:
    del file["episode_1/observations"]
    text = f"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n({folder / 'made'}) (w) file\n"
    made = file["episode_1"].create_dataset("observations", (12,), h5py.vlen_dtype(np.uint8))
    for row in range(12):
        made[row] = np.frombuffer(text.encode(), "u1")


class Hostile:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.folder),)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (resize("observations", 11), "observations: found 11 values; expected 12"),
        (resize("actions", 12), "actions: found 12 values; expected 11"),
        (resize("rewards", 10), "found 10 rewards, 11 terminations"),
        (lambda f, _: f.pop("episode_1/rewards"), "rewards: found no array of numbers"),
        (lambda f, _: f.pop("episode_1/actions"), "actions: found nothing; expected 11 numbers"),
        (
            lambda f, _: f["episode_1/infos"].create_dataset("x", data=[1]),
            "infos/x: found 1 values",
        ),
        (external_file, "rewards stands in other files"),
        (external_link, "rewards is a link"),
        (soft_link, "episode_1 is a link"),
        (cycle, "in more than 32 others"),
        (bomb, "has more than"),
        (objects, "is an array of object"),
        (eps_image, "UnidentifiedImageError"),
    ],
)
def test_a_hostile_hdf5_file_is_refused(change: Any, message: str, tmp_path: Path) -> None:
    folder = copied("hdf5", tmp_path)
    with h5py.File(folder / "data" / "main_data.hdf5", "a") as file:
        change(file, tmp_path)
    with pytest.raises(FormatError, match=message):
        read_all(folder)
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: cut(d / "1" / "part-0.arrow"), "episode 1: "),
        (lambda d: (d / "1" / "part-0.arrow").write_bytes(b"ARROW1\0\0" * 9), "episode 1: "),
        (lambda d: (d / "1" / "part-0.arrow").unlink(), "has 0 files"),
        (lambda d: (d / "1" / "metadata.json").write_text("nonsense"), "episode 1: JSONDecode"),
        (lambda d: (d / "1" / "metadata.json").write_text("[]"), "is no JSON object"),
        (lambda d: shutil.copy(d / "2" / "part-0.arrow", d / "1" / "part-1.arrow"), "has 2 files"),
        (lambda d: link(d / "1" / "part-0.arrow"), "expected a plain file"),
    ],
)
def test_a_hostile_arrow_file_is_refused(change: Any, message: str, tmp_path: Path) -> None:
    folder = copied("arrow", tmp_path)
    change(folder / "data")
    with pytest.raises(FormatError, match=message):
        read_all(folder)


def link(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to(path.with_name("elsewhere"))


def test_flipped_bits_crash_nothing(tmp_path: Path) -> None:
    """Each copy is read, or refused with an error of ours; the process itself goes on."""
    rng = np.random.default_rng(5)
    for layout, name in (("hdf5", "main_data.hdf5"), ("arrow", "2/part-0.arrow")):
        folder = copied(layout, tmp_path / layout)
        path = folder / "data" / name
        whole = np.fromfile(path, "u1")
        for _ in range(6):
            flipped = whole.copy()
            places = rng.integers(0, len(whole) // 4, 20)
            flipped[places] ^= rng.integers(1, 256, 20, dtype=np.uint8)
            flipped.tofile(path)
            with contextlib.suppress(FormatError):
                read_all(folder)


def test_no_environment_is_made_and_nothing_is_imported(tmp_path: Path) -> None:
    folder = copied("hdf5", tmp_path)
    spec = {
        "id": "Evil-v0",
        "entry_point": "os:mkdir",
        "kwargs": {"path": str(tmp_path / "made")},
        "additional_wrappers": [],
    }
    change_json(env_spec=json.dumps(spec))(folder / "data")
    convert(folder, tmp_path / "a.h5")
    assert main(["convert", str(tmp_path / "a.h5"), str(tmp_path / "b-v0"), "--to", "minari"]) == 0
    # Where Minari would make the environment to ask it, a space is made up or refused.
    about = json.loads((folder / "data" / "metadata.json").read_text())
    del about["observation_space"]
    (folder / "data" / "metadata.json").write_text(json.dumps(about))
    notes = convert(folder, tmp_path / "c.h5")
    assert "the observation space is not known; Box" in notes[-1]
    assert not (tmp_path / "made").exists()


def test_a_process_that_dies_or_hangs_is_an_error() -> None:
    for program, message in (
        ("import os; os.kill(os.getpid(), 11)", "ended with code -11"),
        ("import signal, time; signal.alarm(1); time.sleep(60)", "not read after 60 s"),
        ("print('nonsense')", "cannot be read"),
        ('print(\'{"attributes": {}, "leaves": [[["x"], "|O", [1]]]}\')', "dtype '|O'"),
        ('print(\'{"attributes": {}, "leaves": [[["x"], "<f8", [999999999999]]]}\')', "memory"),
        ('print(\'{"attributes": {}, "leaves": [[["x"], "<f8", [9]]]}\')', "ended with code 0"),
    ):
        with (
            mock.patch.object(process, "BOOTSTRAP", program),
            pytest.raises(FormatError, match=message.replace("|", r"\|")),
        ):
            read_all(sample("hdf5"))


def test_the_childs_program_in_this_process(tmp_path: Path) -> None:
    """What runs in the other process, where coverage and debuggers see it."""
    for layout, file in (("hdf5", "main_data.hdf5"), ("arrow", "0")):
        place = str(sample(layout) / "data" / file)
        request = {"kind": layout, "file": place, "group": ["episode_0"], "take": "arrays"}
        out, lines = io.BytesIO(), [json.dumps(request)] * 2
        run({"bytes": 1 << 20, "seconds": 0}, lines, out)
        assert json.loads(out.getvalue().partition(b"\n")[0])["attributes"]["seed"] == 0
        with pytest.raises(Refused, match="more than 100 bytes"):
            run({"bytes": 100, "seconds": 0}, lines, io.BytesIO())


@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)
def test_descriptions_of_spaces_are_minaris_own(space: Any) -> None:
    own = importlib.import_module("minari.serialization")
    mine = json.dumps(to_json(space, "observation"))
    assert repr(from_json(mine, "observation")) == repr(space)
    for text, read in ((mine, own.deserialize_space), (own.serialize_space(space), from_json)):
        # Minari makes every Discrete space one of int64.
        found = read(text) if read is not from_json else read(text, "observation")
        assert found == space or space.dtype == np.int32

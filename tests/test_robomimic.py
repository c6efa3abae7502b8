# SPDX-License-Identifier: LGPL-3.0-or-later
"""robomimic's files: the layout that its scripts write, and what strangers may put into one."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any
from unittest import mock

import gymnasium
import h5py
import numpy as np
import pytest
from gymnasium import spaces

import gymbag
from gymbag import MemorySource, Step, compare, convert, formats
from gymbag.errors import FormatError, RecordingWarning
from gymbag.formats import limits
from gymbag.formats.aligned import UNKNOWN
from gymbag.memory import MemoryEpisode

SPACE = spaces.Dict(
    agentview_image=spaces.Box(0, 255, (4, 5, 3), np.uint8),
    robot0=spaces.Dict(eef_pos=spaces.Box(-1, 1, (3,), np.float64), grip=spaces.Discrete(3)),
)
ACTIONS = spaces.Box(-1, 1, (7,), np.float32)


def recorded(space: Any = SPACE, lengths: tuple[int, ...] = (3, 1, 4), **more: Any) -> MemorySource:
    space.seed(1)
    ACTIONS.seed(2)
    episodes = []
    for number, length in enumerate(lengths):
        rows = []
        for k in range(length + 1):
            info = {"states": np.full(5, k + 0.5), "deep": {"text": f"é{k}"}} if k < length else {}
            action = ACTIONS.sample() if k else gymbag.null_sample(ACTIONS)
            reward = k / 3 if k else math.nan
            rows.append(Step(math.nan, space.sample(), action, reward, k == length, False, info))
        episodes.append(MemoryEpisode(number, rows))
    return MemorySource(episodes, observation_space=space, action_space=ACTIONS, **more)


def theirs(path: Path, *, following: bool = True, **options: Any) -> Path:
    """Write a file as robomimic's ``dataset_states_to_obs.py`` does, of two demonstrations."""
    rng = np.random.default_rng(5)
    with h5py.File(path, "w") as file:
        data = file.create_group("data")
        for name, n in (("demo_10", 4), ("demo_2", 3)):
            group = data.create_group(name)
            observations = rng.normal(size=(n + 1, 3))
            images = rng.integers(0, 256, (n + 1, 4, 4, 3), np.uint8)
            group.create_dataset("actions", data=rng.normal(size=(n, 7)))
            group.create_dataset("states", data=rng.normal(size=(n, 9)))
            group.create_dataset("rewards", data=np.eye(n)[-1])
            group.create_dataset("dones", data=np.eye(n, dtype=int)[-1])
            for key, values in (("object", observations), ("agentview_image", images)):
                group.create_dataset(f"obs/{key}", data=values[:-1], **options)
                if following:
                    group.create_dataset(f"next_obs/{key}", data=values[1:], **options)
            group.attrs["model_file"] = f"<mujoco {name}>"
            group.attrs["num_samples"] = n
        data.attrs["total"] = 7
        args = {"env_name": "Lift", "type": 1, "env_kwargs": {"robots": ["Panda"]}}
        data.attrs["env_args"] = json.dumps(args, indent=4)
        file["mask/train"] = np.array(["demo_10"], dtype="S")
        file["mask/valid"] = np.array(["demo_2"], dtype="S")
    return path


@pytest.mark.parametrize("options", [{}, {"compression": "gzip"}], ids=["plain", "gzip"])
def test_their_file_is_read_and_written_again(options: Any, tmp_path: Path) -> None:
    path = theirs(tmp_path / "a.hdf5", **options)
    assert formats.find_format(path).name == "robomimic"
    source = formats.read(path)
    assert source.name == "Lift"
    assert source.metadata == {
        "env_args": {"env_name": "Lift", "type": 1, "env_kwargs": {"robots": ["Panda"]}},
        "mask": {"train": [1], "valid": [0]},
        "episode_metadata": [{"model_file": "<mujoco demo_2>"}, {"model_file": "<mujoco demo_10>"}],
    }
    with h5py.File(path) as file:
        for episode, name in zip(source.iter_episodes(), ("demo_2", "demo_10"), strict=True):
            group = file["data"][name]
            for key in ("object", "agentview_image"):
                assert np.array_equal(episode.observations[key][:-1], group["obs"][key])
                assert np.array_equal(episode.observations[key][1:], group["next_obs"][key])
            assert np.array_equal(episode.actions, group["actions"])
            assert np.array_equal(episode.rewards, group["rewards"])
            assert [info["states"].tolist() for info in episode.infos[:-1]] == group["states"][
                ()
            ].tolist()
            assert episode.ended.value == "terminated"
            assert episode.infos[-1] == {}
    notes = convert(path, tmp_path / "a.h5")
    assert notes[-2].startswith("the observation space is not known; Dict(")
    with gymbag.open(tmp_path / "a.h5") as store:
        assert compare(source, store)
        back = tmp_path / "b.hdf5"
        assert convert(store, back, target_format="robomimic") == [
            "observation_space: not kept by this format",
            "action_space: not kept by this format",
        ]
    again = formats.read(back)
    assert compare(source, again)
    assert again.metadata == source.metadata
    with h5py.File(path) as one, h5py.File(back) as other:
        pairs = [("demo_2", "demo_0"), ("demo_10", "demo_1")]
        for mine, written in pairs:
            require_same(one["data"][mine], other["data"][written])
        assert one["data"].attrs["total"] == other["data"].attrs["total"]
        assert one["data"].attrs["env_args"] == other["data"].attrs["env_args"]
        assert other["mask/train"][()].tolist() == [b"demo_1"]


def require_same(one: Any, other: Any) -> None:
    assert dict(one.attrs) == dict(other.attrs)
    assert set(one) == set(other)
    for key in one:
        if isinstance(one[key], h5py.Group):
            require_same(one[key], other[key])
        else:
            assert one[key].dtype == other[key].dtype
            assert np.array_equal(one[key], other[key])


@pytest.mark.parametrize(
    "space",
    [SPACE, spaces.Box(-1, 1, (3,)), spaces.Discrete(5), spaces.MultiBinary((2, 2))],
    ids=lambda space: type(space).__name__,
)
def test_any_of_its_spaces_comes_back(space: Any, tmp_path: Path) -> None:
    original = recorded(space)
    assert formats.write(original, tmp_path / "a.hdf5", "robomimic") == [
        "observation_space: not kept by this format",
        "action_space: not kept by this format",
    ]
    copy = formats.read(tmp_path / "a.hdf5")
    assert compare(original, copy), str(compare(original, copy))
    with h5py.File(tmp_path / "a.hdf5") as file:
        demo = file["data/demo_0"]
        assert len(demo["obs"]) == (2 if space is SPACE else 1)
        assert demo["states"].shape == (3, 5)
        assert (demo.attrs["num_samples"], file["data"].attrs["total"]) == (3, 8)


def test_what_is_missing_is_missing(tmp_path: Path) -> None:
    path = theirs(tmp_path / "a.hdf5", following=False)
    with h5py.File(path, "a") as file:
        del file["data/demo_2/rewards"], file["data/demo_10/dones"]
        del file["mask"], file["data"].attrs["env_args"]
    source = formats.read(path)
    one, two = source.iter_episodes()
    assert np.isnan(one.rewards).all()
    assert (one.ended.value, two.ended.value) == ("terminated", "unknown")
    assert np.isnan(one.observations["object"][-1]).all()
    assert not one.observations["agentview_image"][-1].any()
    assert one.infos[-1] == two.infos[-1] == {UNKNOWN: True}
    assert set(source.metadata) == {"episode_metadata"}
    assert source.name == "a"
    formats.write(source_with_spaces(source), tmp_path / "b.hdf5", "robomimic")
    assert compare(source, formats.read(tmp_path / "b.hdf5"))
    with h5py.File(tmp_path / "b.hdf5") as file:
        assert set(file["data/demo_0"]) == {"actions", "dones", "obs", "states"}


def source_with_spaces(source: Any) -> MemorySource:
    return MemorySource(source.iter_episodes(), name=source.name)


def test_dones_that_come_early_and_next_obs_that_do_not_fit(tmp_path: Path) -> None:
    path = theirs(tmp_path / "a.hdf5")
    with h5py.File(path, "a") as file:
        file["data/demo_2/dones"][0] = 1
        file["data/demo_2/next_obs/object"][0] = 9
    source = formats.read(path)
    with pytest.warns(RecordingWarning, match="demo_2: next_obs is not the next of obs"):
        one, two = source.iter_episodes()
    assert [info.get("dones") for info in one.infos] == [1, 0, 1, None]
    assert "dones" not in two.infos[0]
    formats.write(MemorySource([one, two]), tmp_path / "b.hdf5", "robomimic")
    with h5py.File(tmp_path / "b.hdf5") as file:
        assert file["data/demo_0/dones"][()].tolist() == [1, 0, 1]


def test_what_has_no_place_is_said(tmp_path: Path) -> None:
    with gymbag.record_hdf5(gymnasium.make("CartPole-v1"), tmp_path / "a.h5", "mine") as env:
        env.reset(seed=1)
        env.step(1)
    with gymbag.open(tmp_path / "a.h5") as store:
        lost = convert(store, tmp_path / "b.hdf5", target_format="robomimic")
        assert lost == [
            "description: not kept by this format",
            "observation_space: not kept by this format",
            "action_space: not kept by this format",
            "truncated: not kept by this format: episode 0",
            "seed: not kept by this format: episode 0",
            "time: not kept by this format",
            "env_spec: only the environment's id and arguments are kept",
        ]
        assert not compare(store, formats.read(tmp_path / "b.hdf5"))
    with h5py.File(tmp_path / "b.hdf5") as file:
        args = {"env_name": "CartPole-v1", "type": 2, "env_kwargs": {}}
        assert json.loads(file["data"].attrs["env_args"]) == args
    original = recorded(
        metadata={"odd": object(), "mask": "x", "n": 3, "episode_metadata": [{"a": 1, "b": {}}]}
    )
    original.episodes[0].rows[0].info.update(rewards=1, some=2)  # type: ignore[attr-defined]
    original.episodes[1].rows[-1].info["late"] = 3  # type: ignore[attr-defined]
    lost = formats.write(original, tmp_path / "c.hdf5", "robomimic")
    assert lost[2:] == [
        "info: not kept where a key is not in every row of an episode but the final one, or "
        "changes its type or shape, or means something else there: info.rewards, info.some",
        "metadata: not kept: episode_metadata.b",
        "info: those of final rows are not kept",
        "metadata: not kept, for HDF5's attributes have no place: odd",
        "metadata: not kept; it is no dict of numbers of episodes: mask",
    ]
    copy = formats.read(tmp_path / "c.hdf5")
    assert copy.metadata["n"] == 3
    assert copy.metadata["episode_metadata"] == [{"a": 1}, {}, {}]


@pytest.mark.parametrize(
    ("space", "message"),
    [
        (spaces.Dict(a=spaces.Text(3)), r"observation\.a: a Text space"),
        (spaces.Tuple([ACTIONS]), "observation: a Tuple space"),
        (spaces.Dict({"a/b": ACTIONS}), "the key 'a/b'"),
    ],
)
def test_a_space_without_a_place(space: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=message):
        formats.write(recorded(space), tmp_path / "a.hdf5", "robomimic")
    assert list(tmp_path.iterdir()) == []


def changed(name: str, change: Any) -> Any:
    def do(file: Any) -> None:
        shape = file[name].shape if isinstance(file[name], h5py.Dataset) else ()
        del file[name]
        change(file, name, shape)

    return do


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (changed("data/demo_2", lambda f, n, s: f.__setitem__(n, h5py.SoftLink("/data"))), "link"),
        (
            changed(
                "data/demo_2/obs", lambda f, n, s: f.__setitem__(n, h5py.ExternalLink("/x", "/y"))
            ),
            "obs is a link",
        ),
        (changed("data", lambda f, n, s: f.__setitem__(n, h5py.ExternalLink("/x", "/y"))), "link"),
        (
            changed(
                "data/demo_2/actions",
                lambda f, n, s: f.create_dataset(n, (2**40, 7), "f4", chunks=(1024, 7)),
            ),
            "MAX_BYTES",
        ),
        (
            changed(
                "data/demo_2/obs/object",
                lambda f, n, s: f.create_dataset(n, s, "f8", external=[("/etc/passwd", 0, 72)]),
            ),
            "other files",
        ),
        (changed("data/demo_2/obs", lambda f, n, s: None), "found no obs; have robomimic"),
        (changed("data/demo_2/actions", lambda f, n, s: None), "found no array 'actions'"),
        (lambda f: f["data/demo_2"].__setitem__("rewards2", f["data/demo_2"]), "more than 32"),
        (
            changed("data/demo_2/rewards", lambda f, n, s: f.__setitem__(n, np.zeros(2))),
            "rewards: found 2; expected 3",
        ),
        (
            changed("data/demo_2/obs/object", lambda f, n, s: f.__setitem__(n, np.zeros((2, 3)))),
            "obs/object: found 2; expected 3",
        ),
        (
            changed("data/demo_2/dones", lambda f, n, s: f.__setitem__(n, ["a", "b", "c"])),
            "dones: found no numbers",
        ),
    ],
)
def test_a_hostile_file_is_refused(change: Any, message: str, tmp_path: Path) -> None:
    path = theirs(tmp_path / "a.hdf5")
    with h5py.File(path, "a") as file:
        change(file)
    with (
        mock.patch.object(limits, "MAX_BYTES", 1 << 28),
        pytest.raises(FormatError, match=message) as caught,
    ):
        list(formats.read(path, "robomimic").iter_episodes())
    assert str(path) in str(caught.value)


def test_text_that_is_no_json_and_attributes_that_nest(tmp_path: Path) -> None:
    path = theirs(tmp_path / "a.hdf5")
    with h5py.File(path, "a") as file:
        file["data"].attrs["env_args"] = "[" * 10**4
        file["mask/odd"] = np.arange(3)
        file["mask/lost"] = np.array(["demo_7", "demo_2"], dtype="S")
    source = formats.read(path)
    assert source.name == "a"
    assert source.metadata["env_args"] == "[" * 10**4
    assert source.metadata["mask"] == {"train": [1], "valid": [0], "lost": [0]}

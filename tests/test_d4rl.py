# SPDX-License-Identifier: LGPL-3.0-or-later
"""D4RL's arrays: as its own functions take them apart, and what strangers may put into a file."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any
from unittest import mock

import gymnasium
import h5py
import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st

import gymbag
from gymbag import MemorySource, Step, compare, convert, formats
from gymbag.cli import main
from gymbag.errors import FormatError, RecordingWarning
from gymbag.formats import limits, process
from gymbag.formats.aligned import UNKNOWN
from gymbag.formats.d4rl import LACKS, from_d4rl, losses, source, to_d4rl
from gymbag.memory import MemoryEpisode

BOX = spaces.Box(-np.inf, np.inf, (3,), np.float32)
ACTIONS = spaces.Box(-1, 1, (2,), np.float64)


def recorded(lengths: list[int], ends: list[str], **more: Any) -> MemorySource:
    """Return episodes whose rows are all different, with infos of each row but the final ones."""
    episodes, rng = [], np.random.default_rng(3)
    for number, (length, end) in enumerate(zip(lengths, ends, strict=True)):
        rows = []
        for k in range(length + 1):
            last = k == length
            rows.append(
                Step(
                    math.nan,
                    rng.normal(size=3).astype("f4"),
                    rng.normal(size=2) if k else np.full(2, np.nan),
                    float(rng.normal()) if k else math.nan,
                    last and end in ("terminated", "both"),
                    last and end in ("truncated", "both"),
                    {} if last else {"qpos": rng.normal(size=4), "deep": {"lives": k}},
                )
            )
        episodes.append(MemoryEpisode(number, rows))
    return MemorySource(episodes, **more)


def dataset(n: int = 6, **arrays: Any) -> dict[str, Any]:
    found = {
        "observations": np.arange(n * 3, dtype="f4").reshape(n, 3),
        "actions": np.arange(n * 2, dtype="f4").reshape(n, 2),
        "rewards": np.arange(n, dtype="f4"),
        "terminals": np.zeros(n, bool),
        **arrays,
    }
    return {key: value for key, value in found.items() if value is not None}


def write_file(path: Path, arrays: dict[str, Any], **options: Any) -> Path:
    with h5py.File(path, "w") as file:
        for name, values in arrays.items():
            file.create_dataset(name, data=values, **(options if np.ndim(values) else {}))
    return path


def flags(*places: int, n: int = 6) -> Any:
    return np.isin(np.arange(n), places)


@settings(max_examples=25)
@given(
    st.lists(
        st.tuples(st.integers(1, 9), st.sampled_from(["terminated", "truncated", "both"])),
        min_size=1,
        max_size=6,
    ),
    st.integers(1, 4000),
)
def test_episodes_come_back_from_a_dictionary(parts: Any, block: int) -> None:
    original = recorded(*map(list, zip(*parts, strict=True)))
    with mock.patch.object(source, "BLOCK_BYTES", block):
        copy = from_d4rl(to_d4rl(original, strict=True))
        assert compare(original, copy), str(compare(original, copy))


@pytest.mark.parametrize("block", [1, 2_000, 16 << 20])
def test_a_recording_becomes_d4rls_file_and_comes_back(block: int, tmp_path: Path) -> None:
    original = recorded([3, 1, 7], ["terminated", "truncated", "both"])
    path = tmp_path / "hopper-v9.hdf5"
    assert formats.write(original, path, "d4rl", strict=True) == []
    assert formats.find_format(path).name == "d4rl"
    with mock.patch.object(source, "BLOCK_BYTES", block):
        copy = formats.read(path)
        assert compare(original, copy), str(compare(original, copy))
    assert (copy.name, copy.observation_space) == ("hopper-v9", None)
    with h5py.File(path) as file:
        found = to_d4rl(original)
        assert set(found) == {"infos/qpos", "infos/deep/lives", *source.ROWS}
        for name, values in found.items():
            assert np.array_equal(file[name][()], values)
            assert file[name].dtype == values.dtype


def transitions_of_qlearning(arrays: dict[str, Any]) -> list[tuple[Any, ...]]:
    """Return the transitions that D4RL's ``qlearning_dataset`` keeps, as it describes them.

    It leaves out the last step of a timeout, for which the next row is another episode's.
    """
    o, a, r = arrays["observations"], arrays["actions"], arrays["rewards"]
    return [
        (*o[i], *a[i], r[i], bool(arrays["terminals"][i]))
        for i in range(len(r) - 1)
        if not arrays["timeouts"][i]
    ]


def test_transitions_are_those_of_qlearning_dataset(tmp_path: Path) -> None:
    arrays = dataset(20, terminals=flags(4, 11, n=20), timeouts=flags(8, 16, n=20))
    path = write_file(tmp_path / "a.hdf5", arrays, chunks=True, compression="gzip")
    convert(path, tmp_path / "a.h5")
    with gymbag.open(tmp_path / "a.h5") as store:
        assert [len(e) for e in store.iter_episodes()] == [5, 4, 3, 5, 3]
        ended = [e.ended.value for e in store.iter_episodes()]
        assert ended == ["terminated", "truncated", "terminated", "truncated", "unknown"]
        kept = store.where(f"not has(info.{UNKNOWN}) or terminated").transitions()
        mine = [
            (*o, *a, r, bool(t))
            for o, a, r, t in zip(
                kept.observation, kept.action, kept.reward, kept.terminated, strict=True
            )
        ]
        assert mine == transitions_of_qlearning(arrays)
        inner = store.where(f"not has(info.{UNKNOWN})").transitions()
        assert np.array_equal(inner.next_observation[:4], arrays["observations"][1:5])
        # Only what is not known is made up, and each place of that says so.
        finals = store.where(f"has(info.{UNKNOWN})")
        assert np.isnan(finals["observation"]).all()
        assert len(finals) == 5
        assert convert(store, tmp_path / "b.hdf5", target_format="d4rl") == [
            "name: not kept by this format",
            "observation_space: not kept by this format",
            "action_space: not kept by this format",
            "ended: D4RL does not have an episode end but by terminals or timeouts; it is "
            "timeouts where that is not known: episode 4",
        ]
    with h5py.File(tmp_path / "b.hdf5") as file:
        assert "next_observations" not in file
        for name in ("observations", "actions", "rewards", "terminals"):
            assert np.array_equal(file[name][()], arrays[name])


def test_what_qlearning_dataset_returns_is_split_where_it_does_not_go_on() -> None:
    full = dataset(9, terminals=flags(3, n=9), timeouts=flags(6, n=9))
    following = np.roll(full["observations"], -1, axis=0)
    kept = [0, 1, 2, 3, 4, 5, 7]
    flat = {key: values[kept] for key, values in full.items() if key != "timeouts"}
    flat["next_observations"] = following[kept]
    for block in (1, 100, 16 << 20):
        with mock.patch.object(source, "BLOCK_BYTES", block):
            episodes = list(from_d4rl(flat).iter_episodes())
        # The next observation of a terminal step is the next episode's first, as D4RL has it.
        assert [len(e) for e in episodes] == [4, 2, 1]
        assert all(np.array_equal(e.observations[-1], e.observations[-1]) for e in episodes)
        assert np.array_equal(episodes[1].observations, full["observations"][[4, 5, 6]])
    nan = np.full((4, 3), np.nan, "f4")
    whole = dataset(4, observations=nan, next_observations=nan)
    assert [len(e) for e in from_d4rl(whole).iter_episodes()] == [4]


def test_a_limit_of_steps_stands_for_timeouts() -> None:
    arrays = dataset(10, terminals=flags(4, n=10))
    episodes = list(from_d4rl(arrays, max_episode_steps=3).iter_episodes())
    assert [len(e) for e in episodes] == [3, 2, 3, 2]
    ended = [e.ended.value for e in episodes]
    assert ended == ["truncated", "terminated", "truncated", "unknown"]
    with pytest.raises(FormatError, match="max_episode_steps: found 0"):
        from_d4rl(arrays, max_episode_steps=0)


def test_shapes_and_dtypes_of_d4rls_own_files(tmp_path: Path) -> None:
    arrays = dataset(
        rewards=np.arange(6.0).reshape(6, 1),
        terminals=np.zeros((6, 1), "f4"),
        timeouts=flags(2).astype(">i2"),
        observations=np.arange(6 * 8, dtype="u1").reshape(6, 2, 4),
        **{
            "infos/goal": np.arange(12.0).reshape(6, 2),
            "infos/odd": np.ones(5),
            "infos/text": ["x"] * 6,
            "metadata/algorithm": "SAC",
            "metadata/iteration": np.int64(7),
            "metadata/policy/bias": np.ones(4),
            "extra": np.ones(6),
        },
    )
    path = write_file(tmp_path / "a.hdf5", arrays)
    with pytest.warns(RecordingWarning) as said:
        found = formats.read(path)
    assert [str(w.message).removeprefix(f"{path}: ") for w in said] == [
        "infos/odd is not read; it is no array of 6 numbers or arrays",
        "infos/text is not read; it is no array of 6 numbers or arrays",
        "extra: not read; D4RL has no such arrays",
    ]
    one, two = found.iter_episodes()
    assert (len(one), one.ended.value, len(two)) == (3, "truncated", 3)
    assert one.observations.shape == (4, 2, 4)
    assert not one.observations[-1].any()
    assert one.infos[1]["goal"].tolist() == [2.0, 3.0]
    assert set(one.infos[-1]) == {UNKNOWN}
    assert found.metadata.pop("policy/bias").tolist() == [1.0] * 4
    assert found.metadata == {"algorithm": "SAC", "iteration": 7}
    with pytest.warns(RecordingWarning):
        assert compare(found, from_d4rl(arrays))
    assert list(from_d4rl(dataset(0)).iter_episodes()) == []


def test_what_has_no_place_is_said(tmp_path: Path) -> None:
    with gymbag.record_hdf5(gymnasium.make("CartPole-v1"), tmp_path / "a.h5", "mine") as env:
        for seed in range(2):
            env.reset(seed=seed)
            env.step(1)
    with gymbag.open(tmp_path / "a.h5") as store:
        expected = [
            "name: not kept by this format",
            "description: not kept by this format",
            "env_spec: not kept by this format",
            "observation_space: not kept by this format",
            "action_space: not kept by this format",
            "seed: not kept by this format: episode 0, episode 1",
            "time: not kept by this format",
            "ended: kept as truncated, and not that its user cut the episode off: "
            "episode 0, episode 1",
        ]
        expected = [*expected, *(s for s in (store.metadata and ["metadata: not kept"]) or [])]
        assert [s for s in losses(store) if not s.startswith("metadata")] == expected
        with pytest.raises(FormatError, match="D4RL's dictionary loses: name"):
            to_d4rl(store, strict=True)
        copy = from_d4rl(to_d4rl(store))
        assert [e.actions.tolist() for e in copy.iter_episodes()] == [[1], [1]]
    arguments = ["convert", str(tmp_path / "a.h5"), str(tmp_path / "b.hdf5"), "--to", "d4rl"]
    assert main(arguments) == 0
    assert main(["convert", str(tmp_path / "b.hdf5"), str(tmp_path / "c.h5")]) == 0
    assert "need not keep next observations" in " ".join(LACKS)


def test_infos_that_are_not_in_every_row(tmp_path: Path) -> None:
    original = recorded([2, 3, 2], ["terminated"] * 3)
    second = original.episodes[1]
    assert isinstance(second, MemoryEpisode)
    second.rows[1].info["some"] = 1
    second.rows[0].info["qpos"] = "text"
    second.rows[-1].info["final"] = 1
    original.episodes[2].rows[-1].info[UNKNOWN] = True  # type: ignore[attr-defined]
    said = [
        "info: those of final rows are not kept",
        "info: not kept where a key is not in every row but the final ones, or changes its type "
        "or shape, or is no number or array: info.qpos, info.some",
        "final observation: not kept, for those of some episodes are not known",
    ]
    assert sorted(losses(original)) == sorted(said)
    assert set(to_d4rl(original)) == {*source.ROWS, "infos/deep/lives"} - {"next_observations"}
    assert sorted(formats.write(original, tmp_path / "a.hdf5", "d4rl")) == sorted(said)
    with h5py.File(tmp_path / "a.hdf5") as file:
        assert set(file) == {*source.ROWS, "infos"} - {"next_observations"}
        assert list(file["infos"]) == ["deep"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rewards": None}, "no array 'rewards'"),
        ({"actions": np.zeros((5, 2))}, "actions: found float64 of shape"),
        ({"timeouts": np.zeros((6, 2))}, "timeouts: found float64 of shape"),
        ({"next_observations": np.zeros((7, 3))}, "next_observations: found"),
        ({"rewards": ["a"] * 6}, "rewards: found texts of shape"),
        ({"observations": np.float64(3)}, "observations: found float64 of shape"),
    ],
)
def test_what_is_none_of_d4rls(changes: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=message):
        from_d4rl(dataset(**changes))
    with pytest.raises(FormatError, match=rf"a\.hdf5: {message}"):
        formats.read(write_file(tmp_path / "a.hdf5", dataset(**changes)), "d4rl")


@pytest.mark.parametrize("space", [spaces.Text(3), spaces.Dict(a=BOX), spaces.Tuple([BOX])])
def test_a_space_without_a_place(space: Any) -> None:
    original = recorded([1], ["truncated"], observation_space=space, action_space=ACTIONS)
    with pytest.raises(FormatError, match=r"observation: a \w+ space.*choose another"):
        to_d4rl(original)
    with pytest.raises(FormatError, match="has no episode"):
        to_d4rl(MemorySource(observation_space=BOX, action_space=ACTIONS))


def link(file: Any, name: str) -> None:
    del file[name]
    file[name] = h5py.ExternalLink("/etc/passwd", "/x")


def soft(file: Any, name: str) -> None:
    del file[name]
    file[name] = h5py.SoftLink("/actions")


def huge(file: Any, name: str) -> None:
    for key in [*file]:
        del file[key]
        shape = (2**40, 3) if key in ("observations", "actions") else (2**40,)
        file.create_dataset(key, shape, "f4", chunks=(1024, *shape[1:]), compression="gzip")


def outside(file: Any, name: str) -> None:
    shape = file[name].shape
    del file[name]
    file.create_dataset(name, shape, "f4", external=[("/etc/passwd", 0, 4 * math.prod(shape))])


def group(file: Any, name: str) -> None:
    del file[name]
    file.create_group(name)


@pytest.mark.parametrize("change", [link, soft, huge, outside, group])
@pytest.mark.parametrize("name", ["observations", "terminals"])
def test_a_hostile_file_is_refused(change: Any, name: str, tmp_path: Path) -> None:
    path = write_file(tmp_path / "a.hdf5", dataset(timeouts=flags(3)))
    with h5py.File(path, "a") as file:
        change(file, name)
    with (
        mock.patch.object(limits, "MAX_BYTES", 1 << 28),
        pytest.raises(FormatError, match=r"link|memory|other files|no array") as caught,
    ):
        list(formats.read(path, "d4rl").iter_episodes())
    assert str(path) in str(caught.value)


def test_no_other_file_is_taken_for_one(tmp_path: Path) -> None:
    junk = tmp_path / "junk.hdf5"
    junk.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))
    (tmp_path / "text.hdf5").write_text("observations")
    with h5py.File(tmp_path / "other.hdf5", "w") as file:
        file["observations"] = 1
    for path in tmp_path.iterdir():
        assert not source.sniff(path)
    find = process.find_spec
    without = mock.patch.object(process, "find_spec", lambda n: None if n == "h5py" else find(n))
    with without, pytest.raises(FormatError, match=r"h5py, not installed.*'gymbag\[d4rl\]'"):
        formats.read(junk, "d4rl")

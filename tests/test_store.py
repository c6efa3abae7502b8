# SPDX-License-Identifier: LGPL-3.0-or-later
"""Reading and asking, on real recordings, against NumPy and against other readers of HDF5."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ale_py
import gymnasium
import h5py
import hdf5plugin  # noqa: F401 - teaches h5py the compression
import numpy as np
import pytest
import tables
from hypothesis import given, settings
from hypothesis import strategies as st

import gymbag
from gymbag.errors import FileError, NewerFormat, NoSuchDataset, NoSuchFile, NotAStore, QueryError
from tests.spaces import same

gymnasium.register_envs(ale_py)


def record(env: Any, filename: Path, steps: int, seed: int) -> list[list[tuple[Any, ...]]]:
    """Record a random policy, and keep what the environment returned."""
    kept: list[list[tuple[Any, ...]]] = []
    env.action_space.seed(seed)
    with gymbag.record_hdf5(env, filename) as recording:
        done = True
        for number in range(steps):
            if done:
                observation, info = recording.reset(seed=seed if number == 0 else None)
                kept.append([(observation, None, np.nan, False, False, info)])
            action = env.action_space.sample()
            observation, reward, terminated, truncated, info = recording.step(action)
            done = terminated or truncated
            kept[-1].append((observation, action, reward, terminated, truncated, info))
    return kept


@pytest.fixture(scope="module")
def cartpole(tmp_path_factory: Any) -> tuple[gymbag.Store, list[list[tuple[Any, ...]]]]:
    filename = tmp_path_factory.mktemp("cartpole") / "x.h5"
    kept = record(gymnasium.make("CartPole-v1"), filename, 3000, 3)
    return gymbag.open(filename), kept


@pytest.fixture(scope="module")
def breakout(tmp_path_factory: Any) -> tuple[gymbag.Store, list[list[tuple[Any, ...]]]]:
    filename = tmp_path_factory.mktemp("breakout") / "x.h5"
    kept = record(gymnasium.make("ALE/Breakout-v5"), filename, 400, 3)
    return gymbag.open(filename), kept


@pytest.mark.parametrize("which", ["cartpole", "breakout"])
def test_real_environments_are_read_back_by_gymbag_pytables_and_h5py(
    which: str, request: Any
) -> None:
    store, kept = request.getfixturevalue(which)
    rows = [row for episode in kept for row in episode]
    observations = np.stack([row[0] for row in rows])
    rewards = np.array([row[2] for row in rows])
    for episode, mine in zip(store.episodes, kept, strict=True):
        assert same(episode.observations, np.stack([row[0] for row in mine]))
        assert same(episode.infos, [row[5] for row in mine])
        assert episode.actions.tolist() == [row[1] for row in mine[1:]]
        assert len(episode.observations) == len(episode.rewards) + 1 == len(episode) + 1
    with tables.open_file(store.filename) as file:
        group = file.get_node("/" + store.name.replace("/", "%2F"))
        assert same(group.observation[:], observations)
        assert np.array_equal(group.steps.col("reward"), rewards, equal_nan=True)
    with h5py.File(store.filename) as file:
        group = file[store.name.replace("/", "%2F")]
        assert same(group["observation"][:], observations)
        assert np.array_equal(group["steps"]["reward"], rewards, equal_nan=True)
        assert group["steps"]["terminated"].astype(bool).tolist() == [row[3] for row in rows]


def test_the_seeds_loop_reads_as_it_always_did(cartpole: Any) -> None:
    store, kept = cartpole
    reader = gymbag.HDF5Reader(store.filename)
    assert (reader.nsteps, reader.name) == (len(store), "CartPole-v1")
    assert reader.observation_space == store.observation_space
    held = list(reader)
    for mine, episode, again in zip(kept, held, reader, strict=True):
        rows = list(episode)
        _time, _observation, _action, reward, done, _info = rows[0]
        assert np.isnan(reward)
        assert not done
        assert rows[-1].done == (mine[-1][3] or mine[-1][4] or episode is held[-1])
        assert len(rows) == len(mine) == sum(1 for _ in again)


def test_episodes_are_a_sequence(cartpole: Any) -> None:
    store, kept = cartpole
    assert len(store.episodes) == len(kept)
    assert [e.id for e in store.episodes[2:5]] == [2, 3, 4]
    assert store.episodes[-1].id == len(kept) - 1
    with pytest.raises(IndexError, match="episode 100000"):
        store.episodes[100_000]


@given(st.slices(200), st.slices(200))
def test_slices_of_episodes_have_their_returns(cartpole: Any, one: slice, other: slice) -> None:
    store, kept = cartpole
    some = store.episodes[one][other]
    expected = kept[one][other]
    assert some.returns.tolist() == [sum(row[2] for row in rows[1:]) for rows in expected]
    assert some.lengths.tolist() == [len(rows) - 1 for rows in expected]


def column(kept: Any, index: int) -> np.ndarray:
    return np.array([row[index] for episode in kept for row in episode])


QUERIES: dict[str, Callable[[Any], np.ndarray]] = {
    "reward > 0": lambda d: d["reward"] > 0,
    "not (reward > 0)": lambda d: ~(d["reward"] > 0),
    "action == 0": lambda d: d["taken"] & (d["action"] == 0),
    "0 < observation[2] <= 0.1": lambda d: (
        (d["observation"][:, 2] > 0) & (d["observation"][:, 2] <= np.float32(0.1))
    ),
    "observation[0] * 2 > observation[1] and step > 3": lambda d: (
        (d["observation"][:, 0].astype(float) * 2 > d["observation"][:, 1]) & (d["step"] > 3)
    ),
    "terminated | (step == 0)": lambda d: d["terminated"] | (d["step"] == 0),
    "norm(observation) > 1 and episode_return > 20": lambda d: (
        (np.linalg.norm(d["observation"].astype(float), axis=1) > 1) & (d["return"] > 20)
    ),
    "episode in (1, 5, 7) and not done": lambda d: np.isin(d["episode"], [1, 5, 7]) & ~d["done"],
    "episode_length - step < 3 or seed == 3": lambda d: (
        (d["length"] - d["step"] < 3) | (d["episode"] == 0)
    ),
    "has(seed) and ended == 'terminated'": lambda d: d["episode"] == 0,
    "min(observation) < -1": lambda d: d["observation"].min(axis=1) < -1,
    "isnan(reward) and time > 0": lambda d: d["step"] == 0,
}


def arrays(kept: Any) -> dict[str, np.ndarray]:
    lengths = [len(episode) for episode in kept]
    returns = [sum(row[2] for row in episode[1:]) for episode in kept]
    data = {
        "reward": column(kept, 2),
        "observation": column(kept, 0),
        "action": np.array([row[1] or 0 for episode in kept for row in episode]),
        "terminated": column(kept, 3),
        "done": column(kept, 3) | column(kept, 4),
        "step": np.concatenate([np.arange(n) for n in lengths]),
        "episode": np.repeat(np.arange(len(kept)), lengths),
        "return": np.repeat(returns, lengths),
        "length": np.repeat(np.array(lengths) - 1, lengths),
    }
    data["taken"] = data["step"] > 0
    data["done"][-1] = True
    return data


@settings(max_examples=60)
@given(data=st.data())
def test_answers_equal_plain_numpy(cartpole: Any, data: Any) -> None:
    store, kept = cartpole
    plain = arrays(kept)
    text = data.draw(st.sampled_from(sorted(QUERIES)))
    selection, mask = store.where(text), QUERIES[text](plain)
    for _ in range(data.draw(st.integers(0, 2))):
        text = data.draw(st.sampled_from(sorted(QUERIES)))
        match data.draw(st.sampled_from(["where", "and", "or", "not"])):
            case "where":
                selection, mask = selection.where(text), mask & QUERIES[text](plain)
            case "and":
                selection, mask = selection & store.where(text), mask & QUERIES[text](plain)
            case "or":
                selection, mask = selection | store.where(text), mask | QUERIES[text](plain)
            case _:
                selection, mask = ~selection, ~mask
    rows = np.flatnonzero(mask)
    assert selection.rows.tolist() == rows.tolist()
    assert len(selection) == len(rows)
    assert bool(selection) == bool(len(rows))
    assert same(selection["observation"], plain["observation"][rows].astype("f4"))
    assert [e.id for e in selection.episodes()] == sorted(set(plain["episode"][rows].tolist()))
    runs = list(selection.segments())
    joined = np.concatenate([run.rows for run in runs]) if runs else rows
    assert joined.tolist() == rows.tolist()
    for run in runs:
        assert len(set(plain["episode"][run.rows])) == 1
        assert (np.diff(run.rows) == 1).all()
        after = run.rows[-1] + 1
        assert after == len(mask) or not mask[after] or plain["step"][after] == 0
    transitions = selection.transitions()
    ends = rows[plain["taken"][rows]]
    assert same(transitions.observation, plain["observation"][ends - 1])
    assert same(transitions.next_observation, plain["observation"][ends])
    assert transitions.action.tolist() == plain["action"][ends].tolist()
    assert transitions.reward.tolist() == plain["reward"][ends].tolist()


def test_the_reward_of_breakout(breakout: Any) -> None:
    store, kept = breakout
    rewarded = store.where("reward > 0")
    frames = [row[0] for episode in kept for row in episode if row[2] > 0]
    assert 0 < len(rewarded) == len(frames)
    assert same(rewarded["observation"], np.stack(frames))
    assert rewarded.transitions().next_observation.shape == (len(frames), 210, 160, 3)
    lost = [row for episode in kept for row in episode if row[5]["lives"] < 3]
    assert len(store.where("info.lives < 3")) == len(lost)
    pixel = [row for episode in kept for row in episode if row[0][100, 80, 0] > 0]
    assert len(store.where("observation[100, 80, 0] > 0")) == len(pixel)
    assert len(store.where("observation[100][80][0] > 0")) == len(pixel)


def test_one_episode_is_found_without_a_scan(cartpole: Any, monkeypatch: Any) -> None:
    store, kept = cartpole
    monkeypatch.setattr("gymbag.scan.SCAN_ROWS", 10)
    monkeypatch.setattr("gymbag.records.Records.stretch_rows", 10)
    asked: list[int] = []
    from gymbag.selection import Asked

    mask = Asked.mask
    monkeypatch.setattr(Asked, "mask", lambda s, r, rows: asked.extend(rows) or mask(s, r, rows))
    assert len(store.where("episode == 9 and reward > 0")) == len(kept[9]) - 1
    assert len(asked) == len(kept[9])


def test_info_of_every_type_is_asked_for(tmp_path: Path) -> None:
    space = gymnasium.spaces.Discrete(2)
    recorder = gymbag.HDF5Recorder(tmp_path / "x.h5", space, space)
    values = [1, 2.5, "two", "x" * 100, None, 2**80, True, np.float32(0.5), [3]]
    recorder.on_reset(0.0, 0, {})
    for value in values:
        recorder.on_step(0.0, 0, 0, 0.0, False, False, {"k": value, "deep": {"k": value}})
    recorder.on_close()
    with gymbag.open(tmp_path / "x.h5") as store:
        assert same(store.episodes[0].infos[1:], [{"k": v, "deep": {"k": v}} for v in values])
        for key in ("info.k", "info.deep.k"):
            assert store.where(f"{key} > 0.5").rows.tolist() == [1, 2, 6, 7]
            assert store.where(f"{key} == 'two'").rows.tolist() == [3]
            assert store.where(f"{key} == x", x="x" * 100).rows.tolist() == [4]
            assert store.where(f"not ({key} > 0)").rows.tolist() == [0, 3, 4, 5, 9]


def test_a_store_travels_to_another_process(cartpole: Any) -> None:
    store, _ = cartpole
    with pickle.loads(pickle.dumps(store)) as copy:
        assert copy["reward"][1] == store["reward"][1]
    with pytest.raises(FileError, match="closed"):
        copy["reward"]
    assert "CartPole-v1" in repr(store)
    assert str(len(store)) in repr(store)
    assert store.describe()["actions"] == len(store) - len(store.episodes) == 3000


def test_each_wrong_file_has_its_own_message(tmp_path: Path, cartpole: Any) -> None:
    store, _ = cartpole
    text = tmp_path / "text.h5"
    text.write_text("hello")
    other = tmp_path / "other.h5"
    with h5py.File(other, "w") as file:
        file["data"] = [1]
    newer = tmp_path / "newer.h5"
    newer.write_bytes(Path(store.filename).read_bytes())
    with h5py.File(newer, "a") as file:
        file.attrs["gymbag_format"] = 99
    seed = Path(__file__).parent / "data" / "gymbag-0.4.9-cartpole.h5"
    for filename, error, message in (
        (tmp_path / "none.h5", NoSuchFile, "no such file"),
        (tmp_path, NotAStore, "folder"),
        (text, NotAStore, "not an HDF5 file"),
        (other, NotAStore, "not one of gymbag's"),
        (newer, NewerFormat, "format 99"),
        (seed, NotAStore, r"gymbag 0\.4\.9"),
    ):
        with pytest.raises(error, match=message):
            gymbag.open(filename)
    with pytest.raises(NoSuchDataset, match="'Pong'; it holds 'CartPole-v1'"):
        gymbag.open(store.filename, "Pong")
    with pytest.raises(QueryError, match="did you mean 'reward'"):
        store.where("rewrd > 0")
    with pytest.raises(LookupError, match="rewrd"):
        store["rewrd"]


def test_columns_are_taken_by_path(cartpole: Any) -> None:
    store, kept = cartpole
    observations = column(kept, 0)
    assert same(store["observation[0:2]"], observations[:, 0:2])
    assert same(store["observation[-1]"], observations[:, -1])
    assert store["info"] == [row[5] for episode in kept for row in episode]
    with pytest.raises(LookupError, match=r"observation has the shape \(4,\)"):
        store["observation[7]"]


class Marker:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("where", ["/", "/CartPole-v1", "/CartPole-v1/steps", "/CartPole-v1/meta"])
def test_what_is_pickled_in_a_file_is_never_run(where: str, cartpole: Any, tmp_path: Path) -> None:
    store, _ = cartpole
    filename, marker = tmp_path / "x.h5", tmp_path / "ran"
    filename.write_bytes(Path(store.filename).read_bytes())
    with h5py.File(filename, "a") as file:
        for name in ("TITLE", "FILTERS", "anything"):
            file[where].attrs[name] = np.bytes_(pickle.dumps(Marker(marker), 0))
    with gymbag.open(filename) as opened:
        assert len(opened) == len(store)
        opened.describe()
        assert len(opened.where("reward > 0")) == 3000
    gymbag.list_datasets(filename)
    assert not marker.exists()
    assert pickle.loads(pickle.dumps(store)).name == store.name


@pytest.mark.parametrize("text", ["reward.foo > 0", "step.real == 3", "ended.x == 'closed'"])
def test_a_part_of_a_single_value_is_refused(text: str, tmp_path: Path) -> None:
    with gymbag.record_hdf5(gymnasium.make("CartPole-v1"), tmp_path / "a.h5") as env:
        env.reset(seed=1)
        env.step(0)
    with gymbag.open(tmp_path / "a.h5") as store, pytest.raises(gymbag.QueryError, match="no part"):
        store.where(text)

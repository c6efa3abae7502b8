# SPDX-License-Identifier: LGPL-3.0-or-later
"""Recordings as tables: what is written comes back, and pandas, Polars and Arrow see the same."""

from __future__ import annotations

import csv
import math
import re
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from gymnasium import spaces
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import gymbag
from gymbag import compare, convert, formats, to_arrow, to_pandas, to_polars
from gymbag.errors import FormatError
from gymbag.formats.tabular import packages, table
from gymbag.memory import MemorySource
from tests.spaces import EXAMPLES, any_space, same
from tests.test_roundtrip import infos, plans, record

FILES = ("x.parquet", "x.arrow")


def assert_same(one: Any, other: Any) -> None:
    """Check that two sources hold the same, dtypes and bits included."""
    found = compare(one, other, times=True)
    assert found, str(found)
    assert not found.notes
    for mine, theirs in zip(one.iter_episodes(), other.iter_episodes(), strict=True):
        assert all(map(same, map(tuple, mine.steps()), map(tuple, theirs.steps())))
    assert (one.description, one.env_spec) == (other.description, other.env_spec)
    assert str(one.metadata) == str(other.metadata)


@settings(max_examples=15, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_any_recording_comes_back(data: st.DataObject, tmp_path_factory: Any) -> None:
    folder = tmp_path_factory.mktemp("tabular")
    space, action_space = data.draw(any_space()), data.draw(any_space())
    draw_info = lambda: data.draw(infos)  # noqa: E731
    about = {"description": "d", "metadata": {"x": np.arange(3)}, "env_spec": "{}"}
    record(folder / "x.h5", space, action_space, data.draw(plans), draw_info, **about)
    most = data.draw(st.sampled_from([1, 3, 1 << 17]))
    with gymbag.open(folder / "x.h5") as store, mock.patch.object(table, "MOST_ROWS", most):
        for file in FILES:
            assert convert(store, folder / file) == []
            copy = formats.read(folder / file)
            assert_same(store, copy)
            assert copy.name == "x"
        # What is no store takes the way over a file.
        assert convert(copy, folder / "again.parquet") == []
        assert_same(store, formats.read(folder / "again.parquet"))


MORE = {
    "of-nothing": spaces.Sequence(spaces.Sequence(spaces.Dict({}))),
    "of-texts": spaces.Tuple([spaces.Sequence(spaces.Text(3, charset="aß"))]),
    "half-a-pair": spaces.Text(3, charset="a\ud800"),
}
"""Spaces of which columns are of kinds that no other has."""


@pytest.mark.parametrize("space", [*EXAMPLES.values(), *MORE.values()], ids=[*EXAMPLES, *MORE])
def test_every_space(space: Any, tmp_path: Path) -> None:
    space.seed(5)
    plan = [(9, "terminated", 1, None), (3, "reset", None, {"a": 1})]
    record(tmp_path / "x.h5", space, space, plan, dict)
    with gymbag.open(tmp_path / "x.h5") as store:
        for file in FILES:
            convert(store, tmp_path / file)
            assert_same(store, formats.read(tmp_path / file))
        for columns in (None, ["observation", "action", "step"]):
            for frame in (to_pandas(store, columns), to_polars(store, columns)):
                assert len(frame) == len(store)
                assert np.array_equal(frame["step"].to_numpy(), store["step"])


RICH = spaces.Dict(
    pose=spaces.Box(-1, 1, (3,)),
    camera=spaces.Box(0, 255, (4, 5, 3), np.uint8),
    name=spaces.Text(5, min_length=0, charset='a,"\n;ß'),
    found=spaces.Sequence(spaces.Discrete(9)),
)
"""An observation of each kind of column."""


def rich(path: Path, episodes: int = 3) -> gymbag.Store:
    """Record what has everything, and open it."""
    RICH.seed(3)
    act = spaces.Tuple((spaces.Discrete(4), spaces.Box(-2, 2, (2,), np.float64)))
    act.seed(4)
    kinds = [{"lives": 3, "why": "a,b"}, {}, {"lives": 5, "score": math.nan, "deep": {"x": [1]}}]
    draws = iter(kinds * 100)
    plan = [(5 + n, "terminated", n or None, {"a": n} if n else None) for n in range(episodes)]
    record(path, RICH, act, plan, lambda: next(draws), description="all")
    return gymbag.open(path)


def test_others_see_the_same_in_the_files(tmp_path: Path) -> None:
    with rich(tmp_path / "x.h5") as store:
        convert(store, tmp_path / "x.parquet")
        convert(store, tmp_path / "x.feather")
        reset = store["step"] == 0
        for frame in (
            pl.read_parquet(tmp_path / "x.parquet"),
            pl.read_ipc(tmp_path / "x.feather"),
        ):
            assert frame["reward"].is_null().to_numpy().tolist() == reset.tolist()
            assert np.array_equal(frame["reward"].drop_nulls().to_numpy(), store["reward"][~reset])
            assert frame["observation.name"].to_list() == list(store["observation.name"])
            assert frame["observation.found[]"].to_list() == [
                list(map(int, found)) for found in store["observation.found"]
            ]
            camera = frame["observation.camera"].to_numpy().reshape(-1, 4, 5, 3)
            assert np.array_equal(camera, store["observation.camera"])
            assert frame["action[1]"].is_null().to_numpy().tolist() == reset.tolist()
            lives = frame["info.lives"].to_list()
            assert lives == [None if v is np.ma.masked else v for v in store["info.lives"]]
            scores = frame["info.score"].drop_nulls()
            assert len(scores) == len(store["info.score"].compressed())
            assert scores.is_nan().all()
            assert frame["seed"].to_list()[-1] == 2
        field = pq.read_schema(tmp_path / "x.parquet").field("observation.camera")
        assert field.metadata[b"shape"] == b"4,5,3"


def test_a_selection_is_written_as_its_whole_episodes(tmp_path: Path) -> None:
    with rich(tmp_path / "x.h5") as store:
        chosen = store.where("seed > 0 and step == 2")
        for file in FILES:
            assert convert(chosen, tmp_path / file) == []
            copy = formats.read(tmp_path / file)
            assert_same(chosen, copy)
            assert [episode.id for episode in copy.iter_episodes()] == [0, 1]
            assert [episode.seed for episode in copy.iter_episodes()] == [1, 2]


def test_csv_comes_back_but_for_what_is_said_to_be_lost(tmp_path: Path) -> None:
    with rich(tmp_path / "x.h5") as store:
        lost = convert(store, tmp_path / "x.csv")
        assert [sentence.partition(":")[0] for sentence in lost] == [
            "spaces and dtypes",
            "description",
            "observation.camera",
            "observation.found",
        ]
        copy = formats.read(tmp_path / "x.csv")
        for mine, theirs in zip(store.iter_episodes(), copy.iter_episodes(), strict=True):
            for one, other in zip(mine.steps(), theirs.steps(), strict=True):
                assert other.time == one.time
                assert same(other.reward, one.reward)
                assert (other.terminated, other.truncated) == (one.terminated, one.truncated)
                assert same(other.info, one.info)
                pose = other.observation["pose"]
                assert pose.dtype == np.float64
                assert np.array_equal(pose.astype(np.float32), one.observation["pose"])
                assert np.array_equal(pose, one.observation["pose"])
                assert other.observation["name"] == (one.observation["name"] or None)
                if not math.isnan(one.reward):
                    assert other.action[0] == one.action[0]
                    assert np.array_equal(other.action[1], one.action[1])
            assert (mine.seed, mine.options, mine.ended) == (
                theirs.seed,
                theirs.options,
                theirs.ended,
            )
        with (tmp_path / "x.csv").open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        # NaN is a value, an empty cell is none.
        assert [row["info.score"] for row in rows[:6]] == ["", "", "nan"] * 2
        assert (rows[0]["reward"], rows[0]["action[0]"]) == ("", "")
        frame = pd.read_csv(tmp_path / "x.csv")
        assert np.array_equal(frame["reward"], store["reward"], equal_nan=True)


def test_csv_by_hand(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text(
        "episode,step,observation[0],observation[1],action,reward,info.lives\n"
        "0,0,0.5,1.0,,,3\n0,1,0.25,2.0,1,1.5,\n\n7,0,0,1.0,,,\n7,1,1e-3,nan,2,-1,2\n"
    )
    copy = formats.read(path)
    first, second = copy.iter_episodes()
    assert first.observations.tolist() == [[0.5, 1.0], [0.25, 2.0]]
    assert np.isnan(second.observations[1, 1])
    assert (first.actions.tolist(), second.actions.tolist()) == ([1], [2])
    assert (first.rewards.tolist(), second.rewards.tolist()) == ([1.5], [-1.0])
    assert [first.infos, second.infos] == [[{"lives": 3}, {}], [{}, {"lives": 2}]]
    assert np.isnan(first.times).all()
    lost = convert(path, tmp_path / "log.h5")
    assert any("observation space is not known" in sentence for sentence in lost)
    with gymbag.open(tmp_path / "log.h5") as store:
        assert compare(store, copy)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("a,b\n1,2", "no column episode, step, reward, action, observation"),
        ("episode,step,reward,action,observation\n0,1,1,1,1", "line 2: found step 1; expected 0"),
        ("episode,step,reward,action,observation\n0,0,,,1\n0,2,1,1,1", "line 3: found step 2"),
        ("episode,step,reward,action,observation\n0,0,,,1,4", "line 2: 6 cells; expected 5"),
        ("episode,step,reward,action,observation\n0,0,x,,1", "line 2: found 'x'; expected a num"),
        ("episode,step,reward,action,action,observation\n", "two columns have the same name"),
        ("episode,step,reward,action,observation[\n", "observation"),
    ],
)
def test_a_csv_file_that_is_none(lines: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text(lines)
    with pytest.raises(FormatError, match=re.escape(message)):
        list(formats.read(tmp_path / "x.csv").iter_episodes())


def test_a_parquet_file_of_others_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    pl.DataFrame({"a": [1, 2]}).write_parquet(path)
    with pytest.raises(
        FormatError, match=r"not a table of gymbag's; expected one .* episode, step"
    ):
        formats.read(path)
    path.write_bytes(b"PAR1" + b"x" * 100)
    with pytest.raises(FormatError, match="damaged"):
        formats.read(path)


def altered(path: Path, change: Any) -> Path:
    """Return a Parquet file like one of gymbag's, but for what a function changes."""
    with rich(path.with_suffix(".h5")) as store:
        convert(store, path)
    whole = pq.read_table(path)
    pq.write_table(change(whole), path)
    return path


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda t: t.filter(pa.compute.not_equal(t["step"], 3)),
            "step 4 follows step 2 of episode 0",
        ),
        (
            lambda t: t.drop_columns("observation.pose"),
            "no column 'observation.pose'; expected epi",
        ),
        (lambda t: t.drop_columns("info.lives"), "no column 'info.lives'"),
        (lambda t: t.slice(0, 4), None),
        (
            lambda t: with_column(t, "observation.name", pa.nulls(len(t), pa.large_string())),
            "no value",
        ),
        (
            lambda t: with_column(t, "reward", pa.array(["x"] * len(t))),
            "'reward' is string; expected",
        ),
        (lambda t: with_column(t, "ended", pa.array(["soon"] * len(t))), "'soon' is not"),
        (lambda t: with_column(t, "options", pa.array(["{"] * len(t))), "no JSON"),
        (lambda t: with_column(t, "seed", pa.array(["x"] * len(t))), "episode 0: invalid literal"),
        (lambda t: t.replace_schema_metadata({"gymbag": "{}"}), "damaged"),
        (lambda t: t.replace_schema_metadata({"gymbag": "[" * 10_000}), "damaged"),
    ],
)
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_parquet_file_that_was_altered(change: Any, message: str | None, tmp_path: Path) -> None:
    path = altered(tmp_path / "x.parquet", change)
    if message is None:
        (episode,) = formats.read(path).iter_episodes()
        assert len(episode.rewards) == 3
        return
    with pytest.raises(FormatError, match=re.escape(message)):
        list(formats.read(path).iter_episodes())


def with_column(whole: pa.Table, name: str, values: Any) -> pa.Table:
    """Return the table with another column in place of one."""
    return whole.set_column(whole.column_names.index(name), name, values)


def test_frames_hold_what_the_store_holds(tmp_path: Path) -> None:
    with rich(tmp_path / "x.h5") as store:
        rows, reset = len(store), store["step"] == 0
        arrow, pandas, polars = to_arrow(store), to_pandas(store), to_polars(store)
        assert arrow.column_names == list(pandas.columns) == polars.columns
        assert arrow.column_names == [
            *("episode", "step", "time", "action[0]", "action[1][0]", "action[1][1]"),
            *("reward", "terminated", "truncated"),
            *(*(f"observation.pose[{k}]" for k in range(3)), "observation.name"),
            *("info.lives", "info.why", "info.score"),
        ]
        assert arrow.num_rows == len(pandas) == len(polars) == rows
        for name in arrow.column_names:
            expected = store[name]
            missing = np.ma.getmaskarray(expected) if np.ma.isMA(expected) else np.zeros(rows, "?")
            if name == "reward" or name.startswith("action"):
                missing = reset
            assert arrow[name].is_null().to_numpy().tolist() == missing.tolist(), name
            assert polars[name].is_null().to_numpy().tolist() == missing.tolist(), name
            values = np.ma.getdata(expected)[~missing].tolist()
            for found in (
                arrow[name].drop_null().to_pylist(),
                polars[name].drop_nulls().to_list(),
                pandas[name][~missing].tolist(),
            ):
                assert str(found) == str(values), name
        assert pandas["info.lives"].dtype == pd.Int64Dtype()
        assert pandas["observation.pose[0]"].dtype == np.float32
        wide = ["observation.camera", "observation.found", "action[1]", "seed", "episode_return"]
        some = store.where("episode > 0")
        narrow = to_polars(some, wide)
        assert narrow.columns == [wide[0], "observation.found[]", *wide[2:]]
        assert narrow["observation.camera"].dtype == pl.Array(pl.UInt8, (4, 5, 3))
        assert np.array_equal(narrow["observation.camera"].to_numpy(), some["observation.camera"])
        cells = to_pandas(some, wide)
        assert cells["observation.camera"][3].shape == (4, 5, 3)
        assert np.array_equal(np.stack(cells["observation.camera"]), some["observation.camera"])
        taken = [value for value in cells["action[1]"] if value is not None]
        assert np.array_equal(np.stack(taken), some["action[1]"][some["step"] > 0])
        assert cells["seed"].tolist() == some["seed"].tolist()
        assert to_pandas(some, ["info"])["info"][0] == '{"lives":3,"why":"a,b"}'
        assert to_arrow(store, "action").schema.types == [pa.int64(), pa.list_(pa.float64(), 2)]
        assert len(to_pandas(store.where("step > 99"))) == 0
        assert len(to_polars(store.where("step > 99"), wide)) == 0


def test_columns_are_not_copied(tmp_path: Path) -> None:
    with rich(tmp_path / "x.h5") as store:
        arrow = to_arrow(store, ["time", "observation.camera"])
        for frame in (to_pandas, to_polars):
            with mock.patch("gymbag.formats.tabular.frames.to_arrow", return_value=arrow):
                found = frame(store)
            column = found["time"].to_numpy()
            assert column.ctypes.data == arrow["time"].chunk(0).buffers()[1].address
        camera = to_pandas(store, ["observation.camera"])["observation.camera"]
        assert camera[0].base is camera[1].base is not None


def test_what_frames_cannot_give_is_said(tmp_path: Path) -> None:
    with rich(tmp_path / "x.h5") as store:
        with pytest.raises(FormatError, match="columns: there is no field 'nothing'"):
            to_arrow(store, ["reward", "nothing"])
        with pytest.raises(FormatError, match=r"found str; expected a store, as gymbag\.open"):
            to_pandas(str(tmp_path / "x.h5"))  # type: ignore[arg-type]
        with mock.patch.object(
            packages.importlib, "import_module", side_effect=ModuleNotFoundError
        ):
            for call, extra in (
                (to_arrow, "parquet"),
                (to_pandas, "pandas"),
                (to_polars, "polars"),
            ):
                with pytest.raises(FormatError, match=rf"pip install 'gymbag\[{extra}\]'"):
                    call(store)


def test_an_empty_recording(tmp_path: Path) -> None:
    empty = MemorySource(observation_space=RICH, action_space=spaces.Discrete(2), name="none")
    for file in (*FILES, "x.csv"):
        convert(empty, tmp_path / file)
        assert list(formats.read(tmp_path / file).iter_episodes()) == []


def test_lanes_have_a_column(tmp_path: Path) -> None:
    for lane in range(2):
        recorder = gymbag.HDF5Recorder(
            tmp_path / "x.h5", spaces.Discrete(3), spaces.Discrete(3), f"x [{lane}]"
        )
        recorder.on_reset(0.0, 1, {})
        recorder.on_step(1.0, lane, 1, 1.0, True, False, {})
        recorder.on_close()
    with gymbag.open(tmp_path / "x.h5") as store:
        convert(store, tmp_path / "x.parquet")
        assert pl.read_parquet(tmp_path / "x.parquet")["lane"].to_list() == [0, 0, 1, 1]
        assert_same(store, formats.read(tmp_path / "x.parquet"))
        assert to_pandas(store)["lane"].tolist() == [0, 0, 1, 1]
        assert "lanes: not kept by this format" in convert(store, tmp_path / "x.csv")

# SPDX-License-Identifier: LGPL-3.0-or-later
"""What the index knows of a chunk's values is right, and leaves out no row that is asked for."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete, MultiDiscrete
from hypothesis import given, settings
from hypothesis import strategies as st

import gymbag
from gymbag.errors import RecoveryWarning
from gymbag.records import Records
from gymbag.selection import Asked
from gymbag.storage import compression
from gymbag.storage.bounds import covers
from gymbag.storage.footer import Footer
from gymbag.storage.log import Kind, Piece
from tests import damage, format_reader

EPISODES, STEPS, STRETCH = 12, 40, 16
SPACES = Dict(pose=Box(-9, 9, (3,), np.float32), room=Discrete(80, start=-7)), Discrete(3)
LATE = 300
"""From this row on there are rewards."""


def record(path: Path, chunk_rows: int, *, first: int = 0, infos: str = "plain") -> Path:
    """Record what changes slowly, so that chunks differ."""
    policy = compression.POLICIES["default"]
    table = replace(policy.table, chunk_rows=chunk_rows, block_rows=chunk_rows)
    small = compression.Policy(
        lambda column: replace(policy.column(column), chunk_rows=chunk_rows, block_rows=4), table
    )
    with mock.patch.dict(compression.POLICIES, {"default": small}):
        recorder = gymbag.HDF5Recorder(path, *SPACES, "x")
        for episode in range(first, first + EPISODES):
            recorder.on_reset(1e3 * episode, observation(episode, 0), {}, seed=episode)
            for step in range(1, STEPS):
                row = episode * STEPS + step
                info = info_of(row, infos) if step % 3 else {}
                last = step == STEPS - 1
                reward = float(row % 7) if row > LATE else 0.0
                recorder.on_step(
                    *(1e3 * episode + step, observation(episode, step), row % 3, reward),
                    *(last and episode % 2 == 0, last and episode % 2 == 1, info),
                )
        recorder.on_close()
    return path


def info_of(row: int, kind: str) -> dict[str, Any]:
    if kind == "none":
        return {}
    info: dict[str, Any] = {"lives": np.uint8(max(0, 5 - row // 100))}
    if kind == "odd":
        # One that fits no column, and one of two types.
        info |= {"big": 2**70 if row == 302 else 1, "mixed": 0.5 if row < 200 else row}
    return info


def observation(episode: int, step: int) -> dict[str, Any]:
    pose = np.array([episode - 5, step / 10, np.nan if episode == 3 else 1 / (step + 1)], "f4")
    return {"pose": pose, "room": np.int64(episode * 3 - 7)}


QUESTIONS = [
    "reward > 0",
    "reward > 5.5 and not terminated",
    "not (reward <= 3)",
    "reward in (5, 6)",
    "time >= 7000",
    "done",
    "terminated or reward == 6",
    "0.5 < observation.pose[1] <= 1.5",
    "observation.pose[0] > 3",
    "not observation.pose[2] < 0.5",
    "observation.room not in (-7, -4, -1)",
    "observation.room == 20",
    "action == 2 and observation.room > 0",
    "info.lives > 3",
    "step > 35 and episode > 6",
    "not info.lives >= 3",
    "not info.lives < 6",
    "not 6 > info.lives",
    "not action < 3",
    "not (reward not in ())",
    "step > -1 and episode > 6",
    "norm(observation.pose) > 5",
]


ODD = ["info.big > 100", "info.mixed > 1", "info.mixed < 1"]


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("bounds")
    one = record(folder / "one.h5", 16)
    other = record(folder / "other.h5", 64, first=EPISODES)
    bare = record(folder / "bare.h5", 16)
    rewrite_index(bare, lambda column: replace(column, bounds=None))
    odd = record(folder / "odd.h5", 16, infos="odd")
    silent = record(folder / "silent.h5", 16, infos="none")
    several = [silent, one, other, bare]
    return {"one file": one, "several": several, "known": several[:3], "bare": bare, "odd": odd}


def rewrite_index(path: Path, change: Callable[[Any], Any]) -> None:
    """Give a file another index, whose checksum is right."""
    index = damage.index_of(path)
    columns = {name: change(column) for name, column in index.columns.items()}
    changed = Footer(index.sequence, index.end, index.digest, columns)
    with open(path, "r+b") as file:
        file.truncate(index.end)
        file.seek(index.end)
        file.write(changed.to_bytes())


def check_selection(selection: Any) -> None:
    """Check that the same rows are selected as if each were asked."""
    condition, records = selection._condition, selection._records
    everything = np.arange(records.rows)
    expected = everything[condition.mask(records, everything)]
    assert selection.rows.tolist() == expected.tolist()


@pytest.mark.parametrize("kind", ["one file", "several", "known", "bare", "odd"])
def test_the_same_rows_are_selected(sources: dict[str, Any], kind: str) -> None:
    with gymbag.open(sources[kind]) as store:
        for size in (7, STRETCH, 40, 1000):
            with mock.patch.object(Records, "stretch_rows", size):
                for text in QUESTIONS + ODD * (kind == "odd"):
                    store.refresh()
                    check_selection(store.where(text))
                    check_selection(~store.where(text))


@settings(max_examples=60)
@given(st.lists(st.sampled_from(QUESTIONS), min_size=2, max_size=4), st.data())
def test_the_same_rows_are_selected_together(
    sources: dict[str, Any], questions: list[str], data: st.DataObject
) -> None:
    ways = [lambda a, b: a & b, lambda a, b: a | b, lambda a, b: a & ~b]
    with (
        mock.patch.object(Records, "stretch_rows", STRETCH),
        gymbag.open(sources["known"]) as store,
    ):
        selection = store.where(questions[0])
        for text in questions[1:]:
            selection = data.draw(st.sampled_from(ways))(selection, store.where(text))
        check_selection(selection)


@pytest.mark.parametrize("text", QUESTIONS[:-7])
def test_stretches_are_left_out(sources: dict[str, Any], text: str) -> None:
    with mock.patch.object(Records, "stretch_rows", STRETCH), gymbag.open(sources["one file"]) as s:
        holds = s.where(text)._condition.outlook(s._records).holds
        assert holds.any()
        assert not holds.all()


def test_what_cannot_be_is_not_read(sources: dict[str, Any], monkeypatch: Any) -> None:
    with gymbag.open(sources["one file"]) as store:
        monkeypatch.setattr(Records, "stretch_rows", STRETCH)
        read: list[int] = []
        monkeypatch.setattr(
            type(store._reader._column("steps")),  # type: ignore[attr-defined]
            "packed",
            lambda column, number: read.append(number),
        )
        rewarded = store.where("reward > 5").rows
        assert sorted(read) == sorted(set((rewarded // 16).tolist()))


def test_a_window_is_never_larger_than_it_may_be(sources: dict[str, Any], monkeypatch: Any) -> None:
    monkeypatch.setattr("gymbag.scan.SCAN_ROWS", 4 * STRETCH)
    monkeypatch.setattr(Records, "stretch_rows", STRETCH)
    mask, asked = Asked.mask, []
    monkeypatch.setattr(
        Asked, "mask", lambda c, r, rows: asked.append(len(rows)) or mask(c, r, rows)
    )
    with gymbag.open(sources["one file"]) as store:
        assert len(store.where("action < 9")) == EPISODES * (STEPS - 1)
    assert set(asked) == {4 * STRETCH, EPISODES * STEPS % (4 * STRETCH)}


def test_a_chunk_in_the_log_has_no_bounds_yet(sources: dict[str, Any]) -> None:
    with gymbag.open(sources["one file"]) as store:
        column = store._reader._column("steps")  # type: ignore[attr-defined]
        assert column.bounds()["reward"]["high"][2] == 0
        column.add(Piece(Kind.ZEROS, False, "/x/steps", 32, 16, 0, 0))
        assert column.bounds()["reward"]["high"][2] == np.inf


def check(path: Path) -> None:
    """Check that the index says something, and nothing wrong."""
    with gymbag.open(path) as store:
        columns = store._reader._snapshot.columns  # type: ignore[attr-defined]
        for column in columns.values():
            for number, bounds in enumerate(column.bounds()):
                assert covers(bounds, column.load(number))
        assert 6 in columns["/x/steps"].bounds()["reward"]["high"]
    assert gymbag.verify(path)


def test_they_follow_whatever_is_done_to_a_file(tmp_path: Path) -> None:
    path, other = record(tmp_path / "x.h5", 16), record(tmp_path / "other.h5", 64)
    check(path)
    check(record(path, 16, first=EPISODES))
    gymbag.delete_episodes(path, "x", [2, 5])
    check(path)
    gymbag.repack(path)
    check(path)
    gymbag.merge([path, other], tmp_path / "merged.h5")
    check(tmp_path / "merged.h5")
    # What was recorded before anybody kept them stays unknown, and what comes then is known.
    rewrite_index(path, lambda column: replace(column, bounds=None))
    check(record(path, 16))
    with gymbag.open(path) as store:
        lows = store._reader._column("steps").bounds()["reward"]["low"]  # type: ignore[attr-defined]
    assert 0 < np.isinf(lows).sum() < len(lows)


def test_what_is_recovered_has_bounds(tmp_path: Path) -> None:
    path, dead = tmp_path / "x.h5", tmp_path / "dead.h5"
    policy = compression.POLICIES["default"]
    table = replace(policy.table, chunk_rows=16, block_rows=16)
    with mock.patch.dict(compression.POLICIES, {"default": policy._replace(table=table)}):
        recorder = gymbag.HDF5Recorder(path, *SPACES, "x", durability="step")
    recorder.on_reset(0, observation(0, 0), {})
    for step in range(1, 100):
        recorder.on_step(step, observation(0, step), 0, float(step % 7), False, False, {})
    for suffix in ("", "-wal"):
        shutil.copy(f"{path}{suffix}", f"{dead}{suffix}")
    recorder.on_close()
    with pytest.warns(RecoveryWarning):
        check(dead)


def test_the_page_says_how_they_are_kept(tmp_path: Path) -> None:
    file = format_reader.File(str(record(tmp_path / "x.h5", 16)))
    seen = 0
    for column in file.columns.values():
        values, full = column.read(), column.rows // column.size
        for field, records in column.bounds.items():
            some = values if field == "values" else values[field]
            assert len(records) == full
            for chunk, (least, most, nan) in zip(
                np.split(some[: full * column.size], full), records.tolist(), strict=True
            ):
                seen += 1
                empty = (chunk != chunk).all(axis=0)
                assert np.array_equal(np.where(empty, np.inf, np.fmin.reduce(chunk)), least)
                assert np.array_equal(np.where(empty, -np.inf, np.fmax.reduce(chunk)), most)
                assert np.isnan(chunk).any() == nan
    assert seen > 100


def test_a_file_whose_index_lies_is_found_out(tmp_path: Path) -> None:
    path = record(tmp_path / "x.h5", 16)

    def lie(column: Any) -> Any:
        if column.spec.path != "/x/steps":
            return column
        bounds = column.bounds.copy()
        bounds["reward"]["high"][-1] = 5
        return replace(column, bounds=bounds)

    rewrite_index(path, lie)
    report = gymbag.verify(path)
    assert [(d.column, d.first) for d in report.damages] == [("steps", 464)]
    assert "gymbag repack" in str(report)
    gymbag.repack(path)
    assert gymbag.verify(path)


@pytest.mark.parametrize(
    ("space", "values"),
    [
        (Discrete(2**32 + 1), [2**32, 0, 3]),
        (Discrete(2**63 - 1), [2**63 - 2, 0, 3]),
        (MultiDiscrete(np.array([100, 2], np.int8), dtype=np.int8), [[99, 1], [0, 0], [3, 1]]),
        (MultiDiscrete(np.array([2**31 - 1], np.int32), dtype=np.int32), [[2**31 - 2], [0], [3]]),
    ],
)
def test_a_column_may_hold_more_than_its_space(tmp_path: Path, space: Any, values: Any) -> None:
    path = tmp_path / "x.h5"
    recorder = gymbag.HDF5Recorder(path, space, space, "x")
    recorder.on_reset(0, np.array(values[0], space.dtype), {})
    for step, value in enumerate(values, 1):
        given = np.array(value, space.dtype)
        recorder.on_step(step, given, given, 0.0, False, False, {})
    recorder.on_close()
    part = "[0]" if space.shape else ""
    with gymbag.open(path) as store:
        for text in ("observation{} < 4", "observation{} >= 0", "action{} != 3", "action{} > 9"):
            selection = store.where(text.format(part))
            assert len(selection)
            check_selection(selection)
            check_selection(~selection)

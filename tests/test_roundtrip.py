# SPDX-License-Identifier: LGPL-3.0-or-later
"""Whatever is recorded is read back: random spaces, random episodes, random infos, random cuts."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import gymbag
from gymbag import episode as episode_module
from gymbag.steps import Ended, Step
from gymbag.storage import compression
from tests.spaces import EXAMPLES, any_space, same

info_values = st.one_of(
    st.integers(-5, 5),
    st.floats(),
    st.booleans(),
    st.text("aß\0", max_size=4),
    st.just("x" * 70),
    st.just(2**70),
    st.none(),
    st.sampled_from(
        [np.float32(0.5), np.int16(3), np.bool_(False), np.arange(3), (1, 2), [1.5, "a"]]
    ),
)
infos = st.dictionaries(
    st.sampled_from(["lives", "a b", "x.y", "episode"]),
    st.one_of(info_values, st.dictionaries(st.sampled_from(["r", "l"]), info_values, max_size=2)),
    max_size=3,
)
plans = st.lists(
    st.tuples(
        st.integers(0, 7),
        st.sampled_from(["terminated", "truncated", "reset"]),
        st.one_of(st.none(), st.integers(0, 9), st.just(2**80)),
        st.one_of(st.none(), st.just({"level": 3, "pose": [1.5]})),
    ),
    max_size=5,
)
"""Of each episode: steps, how it ends, seed, options."""


def record(
    filename: Path, space: Any, action_space: Any, plan: Any, draw_info: Any, **more: Any
) -> list[list[Step]]:
    """Record episodes, and return the rows that must come back."""
    recorder = gymbag.HDF5Recorder(filename, space, action_space, "x", **more)
    null = gymbag.null_sample(action_space)
    expected: list[list[Step]] = []
    rewards = iter(
        np.random.default_rng(7).choice([0.0, -1.5, math.inf, 1e-300, 3.0], 1000).tolist()
    )
    time = 0.0
    for steps, end, seed, options in plan:
        time += 1
        rows = [Step(time, space.sample(), null, math.nan, False, False, draw_info())]
        recorder.on_reset(time, rows[0].observation, rows[0].info, seed=seed, options=options)
        for number in range(steps):
            time += 1
            last = number == steps - 1
            row = Step(
                time,
                space.sample(),
                action_space.sample(),
                next(rewards),
                last and end == "terminated",
                last and end == "truncated",
                draw_info(),
            )
            recorder.on_step(*row)
            rows.append(row)
        if steps and end == "reset":
            rows[-1] = rows[-1]._replace(truncated=True)
        if steps:
            expected.append(rows)
    recorder.on_close()
    return expected


def check(store: gymbag.Store, expected: list[list[Step]]) -> None:
    assert len(store) == sum(map(len, expected))
    assert len(store.episodes) == len(expected)
    for episode, rows in zip(store.episodes, expected, strict=True):
        found = list(episode.steps())
        assert len(found) == len(rows)
        for one, other in zip(found, rows, strict=True):
            for field, mine, theirs in zip(Step._fields, one, other, strict=True):
                assert same(mine, theirs), (field, mine, theirs)
        assert episode.rewards.tolist() == [row.reward for row in rows[1:]]
        assert same(episode.infos, [row.info for row in rows])


@settings(max_examples=60, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_any_episodes_of_any_spaces_come_back(data: st.DataObject, tmp_path_factory: Any) -> None:
    space, action_space = data.draw(any_space()), data.draw(any_space())
    space.seed(1)
    action_space.seed(2)
    plan = data.draw(plans)
    filename = tmp_path_factory.mktemp("roundtrip") / "x.h5"
    # Small blocks and chunks, so that a few rows already cross their borders.
    with (
        mock.patch.object(episode_module, "BLOCK_ROWS", data.draw(st.sampled_from([1, 2, 4]))),
        mock.patch.object(compression, "CHUNK_ROWS", data.draw(st.sampled_from([2, 4]))),
    ):
        cut = data.draw(st.integers(0, len(plan)))
        draw_info = lambda: data.draw(infos)  # noqa: E731
        expected = record(filename, space, action_space, plan[:cut], draw_info)
        expected += record(filename, space, action_space, plan[cut:], draw_info)
    with gymbag.open(filename) as store:
        check(store, expected)
        assert store.observation_space == space
        assert store.action_space == action_space
        kept = [entry for part in (plan[:cut], plan[cut:]) for entry in part if entry[0]]
        for episode, (steps, end, seed, options) in zip(store.episodes, kept, strict=True):
            assert (len(episode), episode.seed, episode.options) == (steps, seed, options)
            assert episode.ended in (Ended(end), Ended.CLOSED)


@pytest.mark.parametrize("policy", compression.POLICIES)
@pytest.mark.parametrize("space", EXAMPLES.values(), ids=EXAMPLES)
def test_every_space_with_every_policy(space: Any, policy: str, tmp_path: Path) -> None:
    space.seed(5)
    plan = [(90, "terminated", 1, None), (3, "reset", None, None)]
    expected = record(tmp_path / "x.h5", space, space, plan, dict, compression=policy)
    with gymbag.open(tmp_path / "x.h5") as store:
        check(store, expected)


def test_minus_zero_and_the_bits_of_nan_stay(tmp_path: Path) -> None:
    space = spaces.Box(-1, 1, (1,), np.float32)
    recorder = gymbag.HDF5Recorder(tmp_path / "x.h5", space, spaces.Discrete(2), "x")
    values = [np.array([-0.0], "f4"), np.frombuffer(b"\x01\x00\xc0\x7f", "f4")]
    recorder.on_reset(0.0, values[0], {})
    recorder.on_step(1.0, values[1], 0, -0.0, True, False, {})
    recorder.on_close()
    with gymbag.open(tmp_path / "x.h5") as store:
        assert store["observation"].tobytes() == b"".join(v.tobytes() for v in values)
        assert math.copysign(1, store["reward"][1]) == -1


def test_a_long_episode_passes_many_blocks(tmp_path: Path) -> None:
    recorder = gymbag.HDF5Recorder(tmp_path / "x.h5", spaces.Discrete(9), spaces.Discrete(5), "x")
    recorder.on_reset(0.0, 1, {})
    n = 70_000
    for i in range(n):
        info = {"late": i} if i >= n - 2 else {}
        recorder.on_step(float(i), i % 9, i % 5, 0.5, i == n - 1, False, info)
    recorder.on_close()
    with gymbag.open(tmp_path / "x.h5") as store:
        assert len(store) == n + 1
        assert store.episodes[0].episode_return == n / 2
        assert np.array_equal(store["observation"][1:], np.arange(n) % 9)
        assert store["info.late"].compressed().tolist() == [n - 2, n - 1]
        assert len(store.where("info.late > 0")) == 2
        assert len(store.where("not (info.late > 0)")) == n - 1

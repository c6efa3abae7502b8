# SPDX-License-Identifier: LGPL-3.0-or-later
"""Comparing finds every kind of difference, and where it is."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete

from gymbag import compare
from gymbag.errors import CompareError
from gymbag.memory import MemoryEpisode, MemorySource
from gymbag.steps import Ended, Step


def source(**changes: Any) -> MemorySource:
    """Two episodes of three rows; `changes` replace a field of row 1 of episode 1, or of it."""
    episodes = []
    for number in range(2):
        rows = [
            Step(
                float(k),
                {"pose": np.array([k, math.nan], "f4")},
                k if k else 0,
                math.nan if k == 0 else 0.5 * k,
                k == 2,
                False,
                {"n": k, "a": [1, (2,)]},
            )
            for k in range(3)
        ]
        mine = changes if number == 1 else {}
        fields = {name: value for name, value in mine.items() if name in Step._fields}
        rows[1] = rows[1]._replace(**fields)
        rows = rows[: mine.get("rows", 3)]
        episodes.append(
            MemoryEpisode(
                number,
                rows,
                seed=mine.get("seed"),
                options=mine.get("options"),
                ended=mine.get("ended", Ended.TERMINATED),
            )
        )
    return MemorySource(
        episodes[: changes.get("episodes", 2)],
        observation_space=changes.get("space", Box(0, 1)),
        action_space=Discrete(3),
    )


@pytest.mark.parametrize(
    ("changes", "field", "episode", "step"),
    [
        ({"observation": {"pose": np.array([1, 7], "f4")}}, "observation.pose[1]", 1, 1),
        ({"observation": {"pose": np.array([1, math.nan])}}, "observation.pose", 1, 1),
        ({"observation": {"pose": np.zeros(3, "f4")}}, "observation.pose", 1, 1),
        ({"observation": {}}, "observation.pose", 1, 1),
        ({"action": 2}, "action", 1, 1),
        ({"reward": 0.75}, "reward", 1, 1),
        ({"reward": math.nan}, "reward", 1, 1),
        ({"terminated": True}, "terminated", 1, 1),
        ({"truncated": True}, "truncated", 1, 1),
        ({"info": {"n": 1}}, "info.a", 1, 1),
        ({"info": {"n": 1, "a": [1, (3,)]}}, "info.a[1][0]", 1, 1),
        ({"time": 9.0}, "time", 1, 1),
        ({"seed": 4}, "seed", 1, None),
        ({"options": {"a": 1}}, "options", 1, None),
        ({"observation": np.zeros(2, "f4")}, "observation", 1, 1),
        ({"info": {"n": 1, "a": [1, (2,)], "z": None}}, "info.z", 1, 1),
        ({"info": {"n": 1, "a": [1]}}, "info.a", 1, 1),
        ({"info": {"n": "1", "a": [1, (2,)]}}, "info.n", 1, 1),
        ({"ended": Ended.RESET}, "ended", 1, None),
        ({"rows": 2}, "number of rows", 1, None),
        ({"episodes": 1}, "number of episodes", None, None),
        ({"space": Box(0, 2)}, "observation_space", None, None),
    ],
)
def test_each_difference_is_found_where_it_is(
    changes: Any, field: str, episode: int | None, step: int | None
) -> None:
    assert compare(source(), source(), times=True)
    for one, other in ((source(), source(**changes)), (source(**changes), source())):
        found = compare(one, other, times=True)
        assert not found
        assert found.first is not None
        assert (found.first.field, found.first.episode, found.first.step) == (field, episode, step)
        assert field in str(found)
        assert json.loads(json.dumps(found.to_json()))["first"]["field"] == field


def test_tolerance_and_the_largest_error() -> None:
    other = source(reward=0.75)
    assert compare(source(), other).errors == {"reward": 0.25}
    assert compare(source(), other, tolerance=0.25)
    assert not compare(source(), other, tolerance=0.2)
    ended = compare(source(), source(terminated=True), tolerance=9)
    assert not ended
    assert not ended.errors
    large = compare([[(0, 2**60, 0, None, True, None)]], [[(0, 2**60 + 1, 0, None, True, None)]])
    assert not large


def test_an_array_has_one_largest_error_wherever_it_is() -> None:
    def rows(*arrays: Any) -> MemorySource:
        return MemorySource(
            [MemoryEpisode(0, [Step(0, a, 0, math.nan, False, False, {}) for a in arrays])]
        )

    zero, one, two = (np.array(x, "u1") for x in ([0, 0], [0, 1], [200, 1]))
    found = compare(rows(zero, zero, zero), rows(zero, one, two))
    assert found.errors == {"observation": 200.0}
    assert found.first is not None
    assert (found.first.field, found.first.step) == ("observation[1]", 1)
    assert (found.first.a, found.first.b, found.differing_rows) == ("0", "1", 2)
    tolerant = compare(rows(zero, zero, zero), rows(zero, one, two), tolerance=1)
    assert tolerant.first is not None
    assert (tolerant.first.field, tolerant.first.step) == ("observation[0]", 2)
    assert compare(rows(zero), rows(zero.astype("f4")), tolerance=1e-9)
    wide = compare(rows(np.array([2**63 - 1])), rows(np.array([-(2**63)])))
    assert wide.errors == {"observation": 2.0**64}
    assert compare(rows(np.array([2**60])), rows(np.array([2**60 + 1])), tolerance=1)
    assert compare(rows(np.array([-0.0, math.inf])), rows(np.array([0.0, math.inf])))
    nan = compare(rows(np.array([math.nan])), rows(np.array([1.0])), tolerance=5)
    assert nan.to_json()["errors"] == {"observation": "inf"}
    assert json.loads(json.dumps(nan.to_json(), allow_nan=False))


def test_options_may_hold_anything() -> None:
    assert compare(source(options={"x": np.arange(3)}), source(options={"x": np.arange(3)}))
    found = compare(source(options={"x": np.arange(3)}), source(options={"x": np.zeros(3, int)}))
    assert found.first is not None
    assert (found.first.field, found.first.episode) == ("options.x[1]", 1)


def test_what_only_one_has_is_counted() -> None:
    found = compare(source(rows=1), source())
    assert str(found.first) == "episode 1, number of rows: 1 is not 3"
    assert found.differing_rows == 2
    found = compare(source(), source(episodes=0))
    assert str(found.first) == "number of episodes: 2 is not 0"


@pytest.mark.parametrize("thing", ["a.h5", 5, [1, 2]])
def test_what_is_no_recording_is_refused(thing: Any) -> None:
    with pytest.raises(CompareError, match=r"open it|is no"):
        compare(thing, source())
    with pytest.raises(CompareError, match="tolerance"):
        compare(source(), source(), tolerance=math.nan)


def test_times_and_infos_are_left_out_when_asked() -> None:
    assert compare(source(), source(time=9.0))
    assert compare(source(), source(info={}), infos=False)
    assert compare(source(), [episode.steps() for episode in source().episodes]).notes

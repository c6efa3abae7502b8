# SPDX-License-Identifier: LGPL-3.0-or-later
"""What plots show is what is recorded, and pyplot knows nothing of it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete, MultiDiscrete, Text

import gymbag
from gymbag import Step, Store, plot

pytest.importorskip("matplotlib", reason="pip install 'gymbag[plot]'")

REWARDS = [[1.0, 2.0], [np.nan, 1.0], [0.5], [4.0, 0.0, 1.0], [-1.0, 3.0]]
SPACE = Dict(image=Box(0, 255, (6, 4, 3), np.uint8), pose=Box(-9, 9, (3,)), word=Text(4))


def record(path: Path, action_space: Any = None) -> Store:
    """Episodes of known rewards, whose frames have the number of the row as their red."""
    action_space = action_space or Discrete(3)
    action_space.seed(0)
    SPACE["pose"].seed(0)
    recorder = gymbag.HDF5Recorder(path, SPACE, action_space, "known $x$")
    episodes: list[list[Step]] = []
    for given in REWARDS:
        episodes.append([])
        for step, reward in enumerate([np.nan, *given]):
            image = np.full((6, 4, 3), (sum(map(len, episodes)), 0, 9), np.uint8)
            observation = {"image": image, "pose": SPACE["pose"].sample(), "word": "ab"}
            last = step == len(given)
            info = {"lives": step} if step % 2 else {}
            episodes[-1].append(
                Step(0.0, observation, action_space.sample(), reward, last, False, info)
            )
    gymbag.record_from_iter(recorder, episodes)
    return gymbag.open(path)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with record(tmp_path / "x.h5") as store:
        yield store


def drawn(axes: Any) -> Any:
    """Draw all of it, as for a file; return the axes."""
    axes.figure.canvas.draw()
    return axes


def points(axes: Any, line: int = 0) -> list[list[float]]:
    return np.array(axes.lines[line].get_data()).T.tolist()  # type: ignore[no-any-return]


def test_returns_and_lengths_and_their_mean(store: Store) -> None:
    axes = drawn(plot.returns(store, window=2))
    assert points(axes) == [[0, 3], [2, 0.5], [3, 5], [4, 2]]  # NaN has no place
    assert points(axes, 1) == [[0, 3], [2, 1.75], [3, 2.75], [4, 3.5]]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("episode", "return")
    axes = drawn(plot.lengths(store.where("reward > 2")))
    assert points(axes) == [[3, 3], [4, 2]]
    assert axes.get_title() == r"known \$x\$: reward > 2"
    with pytest.raises(ValueError, match="window=0"):
        plot.returns(store, window=0)


def test_histograms_count_every_value_once(store: Store) -> None:
    for field, count in (("episode_return", 4), ("reward", 9), ("observation.pose[1]", 15)):
        axes = drawn(plot.histogram(store, field))
        assert sum(bar.get_height() for bar in axes.patches) == count
    assert axes.lines[0].get_xdata()[0] == pytest.approx(store["observation.pose[1]"].mean())


def test_rewards_have_a_mean_for_each_step(store: Store) -> None:
    axes = drawn(plot.rewards(store))
    by_step = [[r[n] for r in REWARDS if len(r) > n and r[n] == r[n]] for n in range(3)]
    assert points(axes) == [[n + 1, np.mean(values)] for n, values in enumerate(by_step)]
    band = axes.collections[0].get_paths()[0].vertices
    assert set(band[band[:, 0] == 1][:, 1]) == {-1.0, 1.0}  # of -1, 0.5, 1 and 4


def test_neighbours_of_many_steps_are_put_together(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gymbag.plot.rows.POINTS", 2)
    axes = drawn(plot.rewards(store))
    first = [reward for given in REWARDS for reward in given[:2] if reward == reward]
    assert points(axes) == [[1.5, pytest.approx(np.mean(first))], [3.5, 1.0]]


def test_an_episode_step_by_step(store: Store) -> None:
    assert points(drawn(plot.episode(store, 3))) == [[1, 4], [2, 0], [3, 1]]
    axes = drawn(plot.episode(store, 3, "observation.pose", "info.lives"))
    assert [line.get_label() for line in axes.lines] == [
        *(f"observation.pose[{n}]" for n in range(3)),
        "info.lives",
    ]
    pose = store.episodes[3].observations["pose"]
    assert points(axes, 2) == [[n, row[2]] for n, row in enumerate(pose.tolist())]
    np.testing.assert_array_equal(points(axes, 3), [[0, np.nan], [1, 1], [2, np.nan], [3, 3]])
    assert axes.get_title().endswith("episode 3")
    with pytest.raises(IndexError, match="episode 9"):
        plot.episode(store, 9)
    for field, message in (
        ("observation.image", r"72 numbers a row.*observation.image\[0, 0, 0\].*plot\.frames"),
        ("observation.word", "found no numbers"),
        ("observation", "found no numbers"),
        ("ended", "found no numbers"),
    ):
        with pytest.raises(ValueError, match=message):
            plot.episode(store, 0, field)


@pytest.mark.parametrize("space", [Discrete(3), MultiDiscrete([2, 3]), Box(-1, 1, (2,), float)])
def test_actions_make_100_percent(space: Any, tmp_path: Path) -> None:
    with record(tmp_path / "y.h5", space) as store:
        axes = drawn(plot.actions(store, names=("left", "right")))
        actions = np.concatenate([episode.actions for episode in store.episodes])
    parts = actions.reshape(len(actions), -1).shape[1]
    if isinstance(space, Box):
        heights = np.array([steps.get_data().values for steps in axes.patches])
    else:
        heights = np.array([bar.get_height() for bar in axes.patches]).reshape(parts, -1)
        expected = [[np.mean(part == n) for n in range(3)] for part in actions.reshape(-1, parts).T]
        np.testing.assert_allclose(heights, 100 * np.array(expected))
        assert [text.get_text() for text in axes.get_xticklabels()] == ["left", "right", "2"]
    np.testing.assert_allclose(heights.sum(1), 100)


def test_frames_are_from_all_over(store: Store) -> None:
    axes = drawn(plot.frames(store, 3, columns=2))
    sheet = axes.images[0].get_array()
    rows = [0, 7, 14]
    for row, text in zip(rows, axes.texts, strict=True):
        x, y = text.get_position()
        below = sheet[int(np.ceil(y)) + 3 :, int(x)]
        assert row in below[:6, 0]
        number = next(n for n, episode in reversed([*enumerate(store.episodes)])
                      if episode._rows[0] <= row)  # fmt: skip
        assert text.get_text() == f"episode {number}, step {row - store.episodes[number]._rows[0]}"
    with pytest.raises(ValueError, match="columns=0"):
        plot.frames(store, columns=0)


def test_a_few_of_a_few_and_nothing(store: Store) -> None:
    nobody = store.where("reward > 99")
    for function in (plot.returns, plot.lengths, plot.histogram, plot.rewards, plot.frames):
        assert drawn(function(nobody)).texts[0].get_text() == "nothing to show"
    assert drawn(plot.actions(nobody)).texts[0].get_text() == "nothing to show"
    assert len(drawn(plot.frames(store, 100)).texts) == len(store)


def test_axes_of_ones_own_are_drawn_into(store: Store) -> None:
    from matplotlib.figure import Figure

    figure = Figure()
    all_axes = figure.subplots(2, 4).flat
    functions = (plot.returns, plot.lengths, plot.histogram, plot.rewards, plot.actions)
    for function, axes in zip((*functions, plot.frames), all_axes, strict=False):
        assert function(store, ax=axes) is axes
    assert plot.episode(store, 0, ax=all_axes[7]) is all_axes[7]
    assert figure.axes == list(all_axes)
    with pytest.raises(TypeError, match=r"found a str; expected what gymbag\.open"):
        plot.returns("x.h5")  # type: ignore[arg-type]


ASIDE = """
import sys, gymbag
from gymbag import plot
assert "matplotlib" not in sys.modules
with gymbag.open("x.h5") as store:
    plot.returns(store).figure.savefig("x.png")
    plot.frames(store).figure.savefig("x.png")
assert "matplotlib.pyplot" not in sys.modules
sys.modules["matplotlib.figure"] = None
with gymbag.open("x.h5") as store:
    try:
        plot.returns(store)
    except gymbag.GymbagError as error:
        print(error)
"""


def test_pyplot_is_left_alone(store: Store, tmp_path: Path) -> None:
    command = [sys.executable, "-c", ASIDE]
    environ = {"PYTHONPATH": str(Path(gymbag.__file__).parents[1]), "HOME": str(tmp_path)}
    said = subprocess.check_output(command, cwd=tmp_path, env=environ, text=True)
    assert "pip install 'gymbag[plot]'" in said

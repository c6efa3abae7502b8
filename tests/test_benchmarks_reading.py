# SPDX-License-Identifier: LGPL-3.0-or-later
"""The benchmarks of reading run untimed, and all that are asked give the same answers."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from benchmarks import (
    answer,
    asking,
    experience,
    growth,
    harness,
    plot,
    reading,
    rows,
    sizes,
    table,
)
from benchmarks.figures import Run
from benchmarks.readers import Places
from benchmarks.suite import Suite, same_answers

SUITES = {"reading": reading.SUITE, "asking": asking.SUITE}
ALWAYS = {"NumPy", "NumPy again", "gymbag"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All results, of little work."""
    folder = tmp_path_factory.mktemp("results")
    with warnings.catch_warnings():
        # Other libraries warn of what is theirs.
        warnings.simplefilter("ignore")
        for benchmark in (reading, asking, growth):
            name = benchmark.__name__.rpartition(".")[2]
            benchmark.main(["--quick", "--out", str(folder / f"{name}.json")])
    return folder


def load(folder: Path, name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((folder / f"{name}.json").read_text())
    return loaded


@pytest.mark.parametrize("suite", SUITES.values(), ids=SUITES)
def test_every_question_is_answered_alike(folder: Path, suite: Suite) -> None:
    results = load(folder, suite.name)
    assert results["made"]["command"] == f"python -m benchmarks.{suite.name} --quick"
    data = {file["data"] for file in results["files"]}
    for question in suite.questions:
        if question.data not in data:
            continue
        runs = [
            run
            for run in results["runs"]
            if (run["data"], run["question"]) == (question.data, question.words)
        ]
        assert {run["peer"] for run in runs} >= ALWAYS
        assert len({run["answer"] for run in runs}) == 1
        peers = [run["peer"] for run in runs]
        assert peers == [peer for peer in suite.peers[question.data] if peer in peers]
    for figure in results["figures"]:
        if figure["peer"] == suite.control:
            assert figure["wall_ratio"] == {"median": 1, "min": 1, "max": 1}


def test_answers_that_differ_end_the_benchmark() -> None:
    run: Run = {"data": "a", "question": "b", "seed": 0, "peer": "NumPy", "answer": "x"}
    same_answers(reading.SUITE, [run, run | {"peer": "gymbag"}])
    with pytest.raises(SystemExit, match="gymbag answers otherwise: b"):
        same_answers(reading.SUITE, [run, run | {"peer": "gymbag", "answer": "y"}])


def test_answers_are_told_apart() -> None:
    frames = np.zeros((2, 3, 3), np.uint8)
    assert answer.digest(iter([frames])) == answer.digest([frames])
    assert answer.digest(frames) != answer.digest(frames + 1)
    assert answer.digest([1, 2]) != answer.digest([2, 1])
    assert answer.digest(np.arange(4)) != answer.digest(np.arange(4).reshape(2, 2))


def test_what_is_not_installed_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def part(what: str, *arguments: object) -> dict[str, Any]:
        if "Zarr" in arguments:
            raise harness.Unavailable("No module named 'zarr'")
        return {"bytes": 1, "wall_seconds": 1.0}

    from benchmarks.suite import write_all

    files = list(write_all(reading.SUITE, {reading.CARTPOLE: 10}, tmp_path, part))
    assert "Zarr" not in {file["peer"] for file in files}
    assert "gymbag" in {file["peer"] for file in files}
    assert "Zarr: left out: No module named 'zarr'" in capsys.readouterr().err


def test_growth_measures_each_size(folder: Path) -> None:
    results = load(folder, "growth")
    sizes = [f"{size:,}" for size in growth.QUICK_SIZES]
    wanted = [sizes[0], f"{sizes[0]} again", *sizes[1:]]
    for question in growth.QUESTIONS:
        found = [f["peer"] for f in results["figures"] if f["question"] == question]
        assert found == wanted


# The data.


@pytest.mark.parametrize("count", [51, 1_000, 3_000])
def test_poles_make_whole_episodes(count: int) -> None:
    data = experience.cartpole(count)
    assert int(data.lengths.sum()) == len(data.observations) in (count, count - 1)
    ends = np.cumsum(data.lengths) - 1
    done = data.terminated | data.truncated
    assert np.flatnonzero(done).tolist() == ends.tolist()
    assert not (data.terminated & data.truncated).any()
    assert data.lengths.min() > 1
    assert np.abs(data.observations[ends - data.lengths + 1]).max() <= 0.05


@pytest.mark.parametrize("count", [51, 1_000])
def test_rows_make_whole_episodes(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "BLOCK", 400)
    data = rows.make(rows.SPREAD, count)
    starts = np.flatnonzero(data.step == 0)
    assert np.flatnonzero(data.terminated).tolist() == [*(starts[1:] - 1), count - 1]
    assert data.episode[starts].tolist() == list(range(len(starts)))
    assert (np.diff(data.time) > 0).all()
    assert not data.reward[starts].any()


def test_clustered_rewards_are_late() -> None:
    data = rows.make(rows.CLUSTERED, 20_000)
    assert np.flatnonzero(data.reward).min() >= 20_000 * (1 - rows.LATE)
    assert data.reward.any()


def test_every_step_can_be_drawn() -> None:
    places = Places(np.array([3, 2, 4]))
    assert set(places.rows(1_000, seed=0).tolist()) == {1, 2, 4, 6, 7, 8}
    episodes, steps = places.drawn(1_000, seed=0)
    drawn = set(zip(episodes.tolist(), steps.tolist(), strict=True))
    assert drawn == {(0, 0), (0, 1), (1, 0), (2, 0), (2, 1), (2, 2)}


# What comes of the results.


def test_all_tables_are_made(folder: Path) -> None:
    texts = table.sections(folder)
    assert list(texts) == ["reading", "asking", "growth", "summary", "drawing"]
    for name in SUITES:
        for figure in load(folder, name)["figures"]:
            assert f"{figure['question']}:" in texts[name]
            assert f": {figure['question']} |" in texts["summary"]
        assert f"python -m benchmarks.{name} --quick" in texts["summary"]


def test_the_drawing_is_svg(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "benchmarks.svg"
    plot.main(["--results", str(folder), "--out", str(out)])
    drawing = ElementTree.parse(out).getroot()
    circles = drawing.findall("{http://www.w3.org/2000/svg}circle")
    assert len(circles) == sum(len(load(folder, name)["figures"]) for name in SUITES)
    with pytest.raises(SystemExit, match="no results"):
        plot.main(["--results", str(tmp_path), "--out", str(out)])


def test_sizes_are_told_of_every_policy(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = sizes.record(sizes.walks(300), tmp_path / "mine.h5", "walks")
    sizes.main([str(file)])
    printed = capsys.readouterr().out
    assert printed.startswith("mine.h5:")
    for word in (*sizes.POLICIES, "observation", "packing"):
        assert word in printed


def test_sizes_are_told_of_several_kinds(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sizes, "QUICK_STEPS", {"walks": 100, "noise": 100})
    sizes.main(["--quick"])
    printed = capsys.readouterr().out
    assert printed.startswith("walks.h5:")
    assert "noise.h5:" in printed

# SPDX-License-Identifier: LGPL-3.0-or-later
"""The benchmarks run, their table is theirs, and their baseline writes what it claims to."""

from __future__ import annotations

import doctest
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest

from benchmarks import (
    answer,
    figures,
    harness,
    old_gymbag,
    recording,
    sections,
    stopwatch,
    table,
    vectors,
    worker,
)
from benchmarks.__main__ import DOCUMENTS
from benchmarks.gym_recording import TraceRecording
from benchmarks.recorders import CONTROL, OLD, RECORDERS

SAMPLE = Path(__file__).parent / "data" / "gym_recording-cartpole"


# gym_recording's files: an independent reader, from the description of the format.


def read_traces(folder: Path) -> list[dict[str, Any]]:
    """Return the episodes of all manifests in `folder`, in order."""
    return [episode for batch in read_batches(folder) for episode in batch]


def read_batches(folder: Path) -> Iterator[list[dict[str, Any]]]:
    for manifest in sorted(folder.glob("openaigym.trace.*.manifest.json")):
        following = 0
        for batch in json.loads(manifest.read_text())["batches"]:
            episodes = json.loads((folder / batch["fn"]).read_text())["episodes"]
            assert (batch["first"], batch["len"]) == (following, len(episodes))
            following += len(episodes)
            yield [
                {field: resolve(folder, value) for field, value in episode.items()}
                for episode in episodes
            ]


def resolve(folder: Path, value: Any) -> Any:
    if isinstance(value, list):
        return [resolve(folder, item) for item in value]
    assert value["__type"] == "ndarray"
    assert value["order"] == "C"
    assert value["npyoff"] % 8 == 0
    raw = (folder / value["npyfile"]).read_bytes()[value["npyoff"] :][: value["size"]]
    dtype = np.dtype(value["dtype"]).newbyteorder("<")
    return np.frombuffer(raw, dtype).reshape(value["shape"])


class Counting(gymnasium.Env[Any, Any]):
    """Observations that count the calls, each in an array of its own."""

    def __init__(self, shape: tuple[int, ...], dtype: Any) -> None:
        self.observation_space = gymnasium.spaces.Box(0, 255, shape, dtype)
        self.action_space = gymnasium.spaces.Discrete(7)
        self.calls = 0

    def observe(self) -> Any:
        self.calls += 1
        return np.full(self.observation_space.shape, self.calls % 256, self.observation_space.dtype)

    def reset(self, **kwargs: Any) -> tuple[Any, dict[str, Any]]:
        return self.observe(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        return self.observe(), action / 2, False, False, {}


def record_counting(
    folder: Path, lengths: list[int], shape: tuple[int, ...], dtype: Any
) -> list[dict[str, Any]]:
    """Record episodes of these lengths; return what the agent saw."""
    env = TraceRecording(Counting(shape, dtype), folder)
    seen = []
    for length in lengths:
        episode: dict[str, Any] = {"actions": [], "rewards": []}
        episode["observations"] = [env.reset()[0]]
        for action in range(length):
            observation, reward, *_ = env.step(action)
            episode["actions"].append(action)
            episode["observations"].append(observation)
            episode["rewards"].append(reward)
        seen.append(episode)
    env.close()
    return seen


def test_the_sample_of_gym_recording_reads_as_described() -> None:
    batches = list(read_batches(SAMPLE))
    assert [len(batch) for batch in batches] == [3, 6]
    episodes = read_traces(SAMPLE)
    assert sum(len(episode["actions"]) for episode in episodes) == 300
    for episode in episodes:
        assert episode["observations"].shape == (len(episode["actions"]) + 1, 4)
        assert np.abs(episode["observations"][0]).max() <= 0.05
        assert set(episode["actions"]) <= {0, 1}
        assert set(episode["rewards"]) == {1.0}


@pytest.mark.parametrize(
    ("shape", "dtype"), [((4,), np.float32), ((3,), np.uint8), ((2, 3, 1), np.uint8)]
)
def test_the_baseline_writes_what_was_seen(
    tmp_path: Path, shape: tuple[int, ...], dtype: Any
) -> None:
    seen = record_counting(tmp_path, [3, 99, 2, 0, 5], shape, dtype)
    read = read_traces(tmp_path)
    assert len(read) == len(seen)
    for found, expected in zip(read, seen, strict=True):
        # Vectors became one array, images a list of arrays.
        assert isinstance(found["observations"], np.ndarray if len(shape) == 1 else list)
        np.testing.assert_array_equal(found["observations"], expected["observations"])
        assert found["observations"][0].dtype == dtype
        if expected["actions"]:
            np.testing.assert_array_equal(found["actions"], expected["actions"])
            np.testing.assert_array_equal(found["rewards"], expected["rewards"])
        else:
            assert found["actions"].shape == found["rewards"].shape == (1, 0)
    assert not list(tmp_path.glob("*~")), "unfinished files are renamed"


@pytest.mark.parametrize(
    ("lengths", "shape", "batches"),
    [
        ([100, 100, 100], (4,), [1, 2]),
        ([99, 1], (4,), [2]),
        # 6 MB an episode: after the first batch of 100 steps each is a batch of its own.
        ([60, 60, 60, 60], (210, 160, 3), [2, 1, 1]),
    ],
)
def test_the_baseline_batches_as_gym_recording_does(
    tmp_path: Path, lengths: list[int], shape: tuple[int, ...], batches: list[int]
) -> None:
    record_counting(tmp_path, lengths, shape, np.uint8)
    (manifest,) = tmp_path.glob("*.manifest.json")
    assert [batch["len"] for batch in json.loads(manifest.read_text())["batches"]] == batches


def test_the_baseline_needs_a_reset(tmp_path: Path) -> None:
    env = TraceRecording(Counting((1,), np.uint8), tmp_path)
    with pytest.raises(ValueError, match="before the first reset"):
        env.step(0)


# The benchmark itself, untimed.


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    out = tmp_path_factory.mktemp("results") / "recording.json"
    recording.main(["--quick", "--out", str(out)])
    loaded: dict[str, Any] = json.loads(out.read_text())
    return loaded


def test_the_benchmark_measures_every_recorder_that_is_installed(
    results: dict[str, Any],
) -> None:
    expected = {CONTROL, "bare again", "gym_recording, rewritten"}
    if old_gymbag.installed():
        expected |= OLD - {"gym_recording"}
    for env_id in recording.environments(quick=True):
        measured = [f["recorder"] for f in results["figures"] if f["environment"] == env_id]
        assert set(measured) >= expected
        assert measured == [name for name in RECORDERS if name in measured]


def test_the_benchmark_keeps_figures_and_runs(results: dict[str, Any]) -> None:
    made = results["made"]
    assert made["command"] == "python -m benchmarks.recording --quick"
    assert {"numpy", "gymnasium"} <= made["packages"].keys()
    assert len(results["runs"]) == len(results["figures"]) * made["repetitions"]
    for figure in results["figures"]:
        for key in ("wall_seconds", "cpu_seconds", "wall_ratio", "cpu_ratio"):
            spread = figure[key]
            assert 0 < spread["min"] <= spread["median"] <= spread["max"]
        is_bare = figure["recorder"].startswith((CONTROL, "gym 0.9.2"))
        assert (figure["bytes_per_step"] == 0) == is_bare
        if figure["recorder"] == CONTROL:
            assert figure["wall_ratio"] == {"median": 1, "min": 1, "max": 1}
            assert figure["extra_memory_mb"] == figure["recording_memory_mb"] == 0


def test_vectors_are_recorded_lane_by_lane(tmp_path: Path) -> None:
    out = tmp_path / "vectors.json"
    vectors.main(["--quick", "--out", str(out)])
    figures = json.loads(out.read_text())["figures"]
    assert [figure["recorder"] for figure in figures] == list(vectors.RECORDERS)
    assert [figure["bytes_per_step"] > 0 for figure in figures] == [False, False, True]


def test_figures_pair_runs_of_one_repetition() -> None:
    for module in (answer, figures, recording, sections, stopwatch):
        assert doctest.testmod(module).failed == 0


def test_gymbag_records_every_step() -> None:
    cost = worker.record("gymbag", "CartPole-v1", 50, seed=0)
    assert cost.bytes > 0


def test_what_is_not_installed_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(old_gymbag, "FOLDER", tmp_path)
    with pytest.raises(ImportError, match=r"python -m benchmarks\.old_gymbag"):
        old_gymbag.activate()


# The table.


def test_the_table_is_kept_in_a_document(results: dict[str, Any], tmp_path: Path) -> None:
    stored, document = tmp_path / "recording.json", tmp_path / "README.md"
    stored.write_text(harness.to_json(results))
    assert json.loads(stored.read_text()) == results
    begin, end = table.marks("recording")
    document.write_text(f"before\n\n{begin}\nold\n{end}\n\nafter\n")
    where = ["--results", str(tmp_path)]
    assert table.main([*where, "--check", str(document)]) == 1
    assert table.main([*where, "--write", str(document)]) == 0
    assert table.main([*where, "--check", str(document)]) == 0
    text = document.read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "old\n" not in text
    assert results["made"]["command"] in text
    for figure in results["figures"]:
        median = sections.digits(figure["wall_ratio"]["median"])
        assert f"| {figure['recorder']} | {median} " in text


def test_a_section_without_results_stays_as_it_is() -> None:
    begin, end = table.marks("growth")
    document = f"before\n{begin}\nold\n{end}\nafter\n"
    assert table.updated(document, {"recording": "new\n"}) == document
    assert table.updated(document, {"growth": "new\n"}) == document.replace("old", "new")


def test_a_document_without_marks_is_refused() -> None:
    with pytest.raises(ValueError, match="put both where the table should stand"):
        table.updated("no marks here", {})
    with pytest.raises(ValueError, match="no <!-- /benchmark:growth --> after it"):
        table.updated(table.marks("growth")[0], {})


@pytest.mark.parametrize("name", ["recording", "vectors", "reading", "asking", "growth"])
def test_the_stored_results_make_a_table(name: str) -> None:
    path = harness.results_of(name)
    if not path.exists():
        pytest.skip("no results are stored")
    assert "--quick" not in json.loads(path.read_text())["made"]["command"]
    assert "| " in table.sections(harness.RESULTS)[name]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_the_tables_of_the_documents_are_those_of_the_results(document: Path) -> None:
    assert table.main(["--check", str(document)]) == 0

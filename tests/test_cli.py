# SPDX-License-Identifier: LGPL-3.0-or-later
"""The command line: one chain through all commands, exit codes, and errors in one line."""

from __future__ import annotations

import csv
import json
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import tables
from gymnasium.spaces import Box, Dict, Discrete, Text, Tuple

import gymbag
from gymbag.cli import COMMANDS, main
from gymbag.storage.names import FORMAT_ATTRIBUTE

DATA = Path(__file__).parent / "data"
LEGACY = DATA / "gymbag-0.4.9-cartpole.h5"


class InterruptedEnv(gymnasium.Env[Any, Any]):
    """Has images, nested spaces, and a user who presses Ctrl-C at the fifth step."""

    observation_space = Dict(
        image=Box(0, 255, (8, 6, 3), np.uint8),
        pose=Tuple((Box(-1, 1, (2,), np.float32), Text(3, min_length=3, charset="abc"))),
    )
    action_space = Discrete(3)
    steps = 0

    def reset(self, **kwargs: Any) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=kwargs.get("seed"))
        self.observation_space.seed(kwargs.get("seed"))
        return self.observation_space.sample(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.steps += 1
        if self.steps == 5:
            signal.raise_signal(signal.SIGINT)
        info = {"even": 1.5} if self.steps % 2 == 0 else {}
        return self.observation_space.sample(), 1.0, self.steps == 3, False, info


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def nested(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    """A recording of `InterruptedEnv`."""
    spec = gymnasium.envs.registration.EnvSpec("Interrupted-v0", entry_point=InterruptedEnv)
    monkeypatch.setitem(gymnasium.registry, spec.id, spec)
    assert main(["record", spec.id, "-o", "nested.h5", "--episodes", "9"]) == 130
    assert capsys.readouterr().err == (
        "gymbag: interrupted; kept in nested.h5: 2 episodes, 5 steps\n"
    )
    return "nested.h5"


def run(capsys: pytest.CaptureFixture[str], command: str, code: int = 0) -> str:
    """Run a command that says nothing on standard error; return its output."""
    capsys.readouterr()
    found = main(shlex.split(command))
    output, errors = capsys.readouterr()
    assert (found, errors) == (code, "")
    return output


def fail(capsys: pytest.CaptureFixture[str], command: str) -> str:
    """Run a command that cannot do it; return what it says."""
    capsys.readouterr()
    assert main(shlex.split(command)) == 2
    output, errors = capsys.readouterr()
    assert output == ""
    assert errors.startswith("gymbag: error: ")
    assert errors.endswith("\n")
    return errors.removeprefix("gymbag: error: ").rstrip("\n")


def test_the_whole_chain(capsys: pytest.CaptureFixture[str]) -> None:
    record = "record CartPole-v1 -o a.h5 --episodes 20 --seed 5 --description 'at random'"
    assert "recorded 20 episodes" in run(capsys, record)

    said = run(capsys, "info a.h5")
    assert "at random" in said
    assert re.search("[▁▂▃▄▅▆▇█]{20}", said)
    assert "20 terminated" in said
    [about] = json.loads(run(capsys, "info a.h5 --json"))
    with gymbag.open("a.h5") as store:
        assert about["rows"] == len(store)
        assert about["returns_over_time"] == [e.episode_return for e in store.episodes]
        assert about["max_length"] == max(map(len, store.episodes))
        assert about["mean_return"] == store.describe()["mean_return"]
        assert about["sessions"][0]["versions"]["gymnasium"] == gymnasium.__version__
        assert [episode.seed for episode in store.episodes] == list(range(5, 25))

        question = "'abs(observation[2]) > t and step > 0' --param t=0.05"
        found = store.where("abs(observation[2]) > t and step > 0", t=0.05)
        columns = "--columns 'episode, time,reward,terminated,ended,observation'"
        text = run(capsys, f"query a.h5 {question} {columns} --format csv")
        rows = list(csv.DictReader(text.splitlines()))
        assert len(rows) == len(found) > 0
        for name in ("episode", "time", "reward"):
            assert [float(row[name]) for row in rows] == found[name].tolist()
        assert [row["terminated"] == "True" for row in rows] == found["terminated"].tolist()
        assert [row["ended"] for row in rows] == found["ended"].tolist()
        observations = [json.loads(row["observation"]) for row in rows]
        np.testing.assert_array_equal(np.float32(observations), found["observation"])
        assert run(capsys, f"query a.h5 {question} --count") == f"{len(found)}\n"
        assert len(run(capsys, f"query a.h5 {question} --limit 3").splitlines()) == 1 + 3

        returns = [f"{episode.episode_return:g}" for episode in store.episodes]
        assert re.findall(r"return (\d+)", run(capsys, "play a.h5")) == returns
        good = run(capsys, "play a.h5 --where 'episode_return > 25 and step == 0' --limit 2")
        chosen = [episode.id for episode in store.episodes if episode.episode_return > 25][:2]
        assert [int(n) for n in re.findall(r"^episode (\d+)", good, re.MULTILINE)] == chosen

    run(capsys, "convert a.h5 a.npz")
    run(capsys, "convert a.npz b.h5")
    assert "the same" in run(capsys, "compare a.h5 b.h5 --times")
    run(capsys, "record CartPole-v1 -o c.h5 --episodes 20 --seed 6")
    difference = json.loads(run(capsys, "compare a.h5 c.h5 --json", code=1))
    assert difference["same"] is False


def test_ctrl_c_keeps_what_was_recorded(nested: str) -> None:
    with gymbag.open(nested) as store:
        assert [(len(e), e.ended.value) for e in store.episodes] == [
            (3, "terminated"),
            (2, "closed"),
        ]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_values_of_any_space_are_printed(nested: str, capsys: pytest.CaptureFixture[str]) -> None:
    columns = "--columns observation.pose,observation.pose[1],info.even,reward,info"
    rows = run(capsys, f"query {nested} 'episode == 0' {columns} --format json").splitlines()
    with gymbag.open(nested) as store:
        for row, step in zip(map(json.loads, rows), store.episodes[0].steps(), strict=True):
            array, text = step.observation["pose"]
            assert row["observation.pose"] == [array.tolist(), text]
            assert row["observation.pose[1]"] == text
            assert row["info.even"] == step.info.get("even")
            assert row["reward"] == (None if np.isnan(step.reward) else step.reward)
            assert row["info"] == step.info
    table = run(capsys, f"query {nested} True --columns observation,info.even")
    assert "image: uint8[8, 6, 3]" in table
    assert len(table.splitlines()) == 1 + 7


def test_a_gif_has_every_image(nested: str, capsys: pytest.CaptureFixture[str]) -> None:
    image = pytest.importorskip("PIL.Image")
    assert "7 frames" in run(capsys, f"play {nested} --gif out.gif")
    with image.open("out.gif") as gif:
        assert (gif.size, gif.n_frames) == ((6, 8), 7)


def test_segments_are_played_from_where_they_begin(
    nested: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(capsys, f"play {nested} --where 'step > 0' --segments").splitlines() == [
        "episode 0 from step 1: 2 steps, return 2, terminated",
        "episode 1 from step 1: 1 step, return 1, truncated",
    ]


def test_no_row_is_no(capsys: pytest.CaptureFixture[str]) -> None:
    run(capsys, "generate -o m.h5 --kind monotonic --episodes 4")
    for command in ("query m.h5 'reward > 1e9'", "play m.h5 --where 'reward > 1e9'"):
        assert main(shlex.split(command)) == 1
    assert run(capsys, "query m.h5 'reward > 1e9' --count", code=1) == "0\n"
    assert run(capsys, "query m.h5 'reward >= 40' --count") == "1\n"


def test_generate_is_reproducible(capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("one", "two"):
        run(capsys, f"generate -o {name}.h5 --episodes 3 --seed 7")
    run(capsys, "compare one.h5 two.h5")


def test_demo(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gymbag.cli.demo.register_atari", lambda: False)
    output = run(capsys, "demo -o 'my demo.h5'")
    assert "the same as recorded" in output
    lines = [line.strip() for line in output.splitlines()]
    commands = [line for line in lines if line.startswith("gymbag ")]
    assert len(commands) > 2
    for command in commands:
        run(capsys, command.removeprefix("gymbag "))
    assert "exists already" in fail(capsys, "demo -o 'my demo.h5'")


@pytest.mark.parametrize("command", [m.__name__.rpartition(".")[2] for m in COMMANDS])
def test_help_has_examples_that_parse(
    command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SystemExit, match="0"):
        main([command, "--help"])
    examples = [
        line.strip() for line in capsys.readouterr().out.partition("examples:")[2].splitlines()
    ]
    seen = []
    for module in COMMANDS:
        monkeypatch.setattr(module, "run", lambda arguments: seen.append(arguments) or 0)
    for example in filter(None, examples):
        assert main(shlex.split(example.removeprefix("gymbag "))) == 0
    assert seen


def test_files_that_are_not_ours(capsys: pytest.CaptureFixture[str]) -> None:
    main(["generate", "-o", "ours.h5"])
    main(["generate", "-o", "newer.h5"])
    with tables.open_file("newer.h5", "a") as file:
        setattr(file.root._v_attrs, FORMAT_ATTRIBUTE, 99)
    with tables.open_file("foreign.h5", "w") as file:
        file.create_array("/", "x", [1])
    Path("text.h5").write_text("hello\n", "utf-8")
    Path("folder").mkdir()
    said = {
        "missing.h5": "no such file",
        "folder": "a folder",
        "text.h5": "not an HDF5 file",
        "foreign.h5": "not one of gymbag's",
        "newer.h5": "format 99",
        f"{LEGACY}": "0.4.9",
        "ours.h5 --name no": "there is no data set 'no'; it holds 'random'",
    }
    for file, words in said.items():
        for command in (f"info {file}", f"query {file} 'step == 0'", f"play {file}"):
            message = fail(capsys, command)
            assert words in message
            assert "\n" not in message
    for command in ("compare missing.h5 ours.h5", "convert missing.h5 new.h5"):
        assert "missing.h5: no such file" in fail(capsys, command)


def test_errors_are_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    main(["generate", "-o", "ours.h5"])
    for command in (
        "record Nope-v0 -o x.h5",
        "record nomodule:Nope-v0 -o x.h5",
        "record CartPole-v1 -o nowhere/x.h5",
        "record CartPole-v1 -o ours.h5 --name random",
        "query ours.h5 True --columns step,nope",
        "query ours.h5 True --columns observation[9]",
        "play ours.h5 --gif x.gif",
        "convert ours.h5 x.unknown",
        "convert ours.h5 nowhere/x.npz",
    ):
        assert "\n" not in fail(capsys, command), command
    caret = fail(capsys, "query ours.h5 'rewrad > 0'").splitlines()
    assert caret[1:] == ["    rewrad > 0", "    ^"]
    deep = "-" * 20_000 + "1"
    for command in (
        "query ours.h5",
        "query ours.h5 True --param x",
        f"query ours.h5 'reward > t' --param t={deep}",
        f"record X -o y --human --keys a={deep}",
        "record X -o y --steps 0",
    ):
        with pytest.raises(SystemExit, match="2"):
            main(shlex.split(command))


@pytest.mark.parametrize(
    ("module", "command", "extra"),
    [
        ("ale_py", "record ALE/Breakout-v5 -o x.h5", "gymbag[atari]"),
        ("PIL", "play nothing.h5 --gif x.gif", "gymbag[gif]"),
    ],
)
def test_what_is_not_installed_is_named(
    module: str,
    command: str,
    extra: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    assert f"pip install '{extra}'" in fail(capsys, command)


def test_as_a_module() -> None:
    command = [sys.executable, "-m", "gymbag"]
    version = subprocess.run([*command, "--version"], capture_output=True, text=True, check=True)
    assert re.fullmatch(r"gymbag \d+\.\d+.*\n", version.stdout)


def test_a_reader_that_wants_no_more_is_no_error(capsys: pytest.CaptureFixture[str]) -> None:
    run(capsys, "generate -o ours.h5 --episodes 2000")
    process = subprocess.Popen(
        [sys.executable, "-m", "gymbag", "query", "ours.h5", "True", "--format", "csv"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr is not None
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait(20) == 141

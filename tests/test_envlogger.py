# SPDX-License-Identifier: LGPL-3.0-or-later
"""What EnvLogger writes into Riegeli files is read, by EnvLogger in a process of its own."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest

from gymbag import FormatError, compare, convert, formats, open
from gymbag.formats import process
from gymbag.steps import Ended


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Any]]:
    """Return a folder that EnvLogger wrote, and the steps of each episode as dm_env gave them."""
    # It is not among the tests' packages: the newest one does not run on every Linux.
    envlogger: Any = pytest.importorskip(
        "envlogger", reason="takes EnvLogger, which runs on some Linux only", exc_type=ImportError
    )
    dm_env: Any = pytest.importorskip("dm_env")
    specs: Any = pytest.importorskip("dm_env.specs")
    backends: Any = pytest.importorskip("envlogger.backends.riegeli_backend_writer")

    class Walk:
        """Goes five steps; every second episode is cut off."""

        def __init__(self) -> None:
            self.episode = self.steps = 0

        def observation_spec(self) -> Any:
            pixels = specs.Array((4, 4, 3), np.float32)
            return {"pose": specs.Array((2,), np.float32), "camera": {"left": pixels}}

        def action_spec(self) -> Any:
            return specs.DiscreteArray(3)

        def reward_spec(self) -> Any:
            return specs.Array((), np.float64)

        def discount_spec(self) -> Any:
            return specs.Array((), np.float64)

        def observe(self) -> Any:
            left = np.full((4, 4, 3), self.steps, np.float32)
            return {"pose": np.full(2, self.steps, np.float32), "camera": {"left": left}}

        def reset(self) -> Any:
            self.episode, self.steps = self.episode + 1, 0
            return dm_env.restart(self.observe())

        def step(self, action: Any) -> Any:
            self.steps += 1
            if self.steps < 5:
                return dm_env.transition(0.5, self.observe(), 0.9)
            ends = dm_env.termination if self.episode % 2 else dm_env.truncation
            return ends(1.5, self.observe())

        def close(self) -> None:
            """Nothing is open."""

    folder = tmp_path_factory.mktemp("envlogger") / "walk"
    folder.mkdir()
    backend = backends.RiegeliBackendWriter(str(folder), metadata={"agent": "random"})
    wanted = []
    with envlogger.EnvLogger(
        Walk(), backend=backend, step_fn=lambda step, action, env: {"seen": np.int64(step.last())}
    ) as env:
        for _ in range(3):
            rows = [(env.reset(), None)]
            while not rows[-1][0].last():
                action = np.int32(len(rows) % 3)
                rows.append((env.step(action), action))
            wanted.append(rows)
    return folder, wanted


def test_episodes_are_what_dm_env_gave(written: tuple[Path, list[Any]], tmp_path: Path) -> None:
    folder, wanted = written
    assert formats.find_format(folder).name == "envlogger"
    source = formats.read(folder)
    assert source.metadata == {"agent": "random"}
    episodes = list(source.iter_episodes())
    assert [e.ended for e in episodes] == [Ended.TERMINATED, Ended.TRUNCATED, Ended.TERMINATED]
    for episode, rows in zip(episodes, wanted, strict=True):
        for row, (step, action) in zip(episode.steps(), rows, strict=True):
            assert np.array_equal(row.observation["pose"], step.observation["pose"])
            left = row.observation["camera"]["left"]
            assert np.array_equal(left, step.observation["camera"]["left"])
            assert row.info["custom_data"]["seen"] == step.last()
            if action is not None:
                assert (row.action, row.reward) == (action, step.reward)
                assert row.info["discount"] == step.discount
    lost = convert(folder, tmp_path / "a.h5")
    assert "EnvLogger keeps no spaces, seeds or times" in lost
    with open(tmp_path / "a.h5") as store:
        found = compare(source, store)
        assert found, str(found)
        assert len(store.where("info.discount == 0 and observation.pose[0] == 5")) == 2


def test_a_damaged_folder_is_an_error(written: tuple[Path, list[Any]], tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(written[0], copy)
    (steps,) = copy.glob("*/steps.riegeli")
    data = bytearray(steps.read_bytes())
    data[len(data) // 2 :] = bytes(len(data) - len(data) // 2)
    steps.write_bytes(data)
    with pytest.raises(FormatError, match=r"copy"):
        list(formats.read(copy).iter_episodes())


def test_what_it_takes_is_said(tmp_path: Path) -> None:
    (tmp_path / "run" / "1").mkdir(parents=True)
    for name in ("metadata.riegeli", "1/steps.riegeli"):
        (tmp_path / "run" / name).write_bytes(b"")
    with (
        mock.patch.object(process, "_is_installed", return_value=False),
        pytest.raises(FormatError, match=r"pip install 'gymbag\[envlogger\]'"),
    ):
        convert(tmp_path / "run", tmp_path / "a.h5")

# SPDX-License-Identifier: LGPL-3.0-or-later
"""Recordings that are killed keep what they promised. `tests.torture` goes on for longer."""

from __future__ import annotations

import shutil
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest

import gymbag
from gymbag.errors import RecoveryWarning
from tests.known import EPISODES, Known, check_episode, play_on

KILLS = 200


def test_nothing_that_was_promised_is_lost(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "tests.torture",
        f"--kills={KILLS // 2}",
        f"--folder={tmp_path}",
    ]
    two = [
        subprocess.Popen(
            [*command, f"--seed={seed}"],
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[1],
        )
        for seed in (1, 2)
    ]
    for process in two:
        said, _ = process.communicate(timeout=600)
        assert process.returncode == 0, said
        assert "lost beyond the promise: 0; other failures: 0" in said


@pytest.mark.parametrize("session", [2, 3])
def test_every_step_is_safe_once_it_has_returned(tmp_path: Path, session: int) -> None:
    """Copies the files after each step, as a kill would leave them: also after each first time."""
    known: Any = Known("small", session)
    spaces = known.observation_space, known.action_space
    recorder = gymbag.HDF5Recorder(tmp_path / "x.h5", *spaces, "small", durability="step")
    env = gymbag.RecordEnv(known, recorder)
    call = play_on(env, known, lambda *_: None)
    rows = 0
    while known.episode < 5:
        call()
        rows += 1
        if known.n == 0 or (known.episode not in (0, 3, 4) and known.n > 4):
            continue
        copy = tmp_path / f"{rows}"
        copy.mkdir()
        for path in tmp_path.glob("x.h5*"):
            shutil.copy(path, copy)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RecoveryWarning)
            store = gymbag.open(copy / "x.h5")
        assert len(store) == rows
        for episode in store.episodes[-2:]:
            check_episode("small", *divmod(episode.seed or 0, EPISODES), episode)
        shutil.rmtree(copy)
    env.close()

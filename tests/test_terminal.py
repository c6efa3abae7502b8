# SPDX-License-Identifier: LGPL-3.0-or-later
"""Recorded images in the terminal: the colours are theirs, and the terminal is left as it was."""

from __future__ import annotations

import io
import os
import pty
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

import gymbag
from gymbag import Step
from gymbag.cli import main
from gymbag.cli.terminal import Terminal, fit
from gymbag.errors import GymbagError

sizes = st.integers(1, 60)
CELL = re.compile(r"\x1b\[38;2;(\d+);(\d+);(\d+);48;2;(\d+);(\d+);(\d+)m(▀+)")


@given(sizes, sizes, st.integers(2, 40), sizes)
def test_an_image_fits_and_keeps_its_mean_and_proportions(
    high: int, wide: int, height: int, width: int
) -> None:
    height -= height % 2
    frame = np.full((high, wide, 3), (10, 200, 30), np.uint8)
    shown = fit(frame, height, width)
    assert shown.shape[0] % 2 == 0
    assert shown.shape[0] <= height
    assert shown.shape[1] <= width
    assert (shown[0] == (10, 200, 30)).all()
    scale = min(height / high, width / wide)
    if scale >= 1:
        assert shown.shape[1] == wide * int(scale)
    else:
        assert shown.shape[1] == max(1, round(wide * scale))


def test_a_smaller_image_is_made_of_means() -> None:
    frame = np.random.default_rng(0).integers(0, 256, (64, 48, 3), dtype=np.uint8)
    expected = frame.reshape(16, 4, 12, 4, 3).mean((1, 3))
    assert np.abs(fit(frame, 16, 99).astype(float) - expected).max() < 2


def drawn(text: str) -> np.ndarray[Any, Any]:
    """Return the pixels that a frame's text shows."""
    rows = []
    for line in text.splitlines():
        cells = [
            [int(v) for v in cell[:6]] for cell in CELL.findall(line) for _ in range(len(cell[6]))
        ]
        if cells:
            rows += [[cell[:3] for cell in cells], [cell[3:] for cell in cells]]
    return np.array(rows, np.uint8)


def test_every_pixel_has_its_colour() -> None:
    frame = np.random.default_rng(1).integers(0, 256, (6, 9, 3), dtype=np.uint8)
    frame[2:4, :5] = 7
    file = io.StringIO()
    console = Console(
        file=file, force_terminal=True, color_system="truecolor", width=12, height=9,
        legacy_windows=False,
    )  # fmt: skip
    with Terminal(1000, console) as terminal:
        file.truncate(0)
        terminal.add(frame, "episode 3 [red] of a very long name")
        text = file.getvalue()
        assert terminal.save() == "1 frame shown"
    np.testing.assert_array_equal(drawn(text), frame)
    assert "episode 3 [" in text.splitlines()[-1]
    assert "▀▀▀▀▀" in text
    with pytest.raises(GymbagError, match="NO_COLOR"):
        Terminal(10, Console(file=io.StringIO(), force_terminal=True, color_system=None))
    with pytest.raises(GymbagError, match="no terminal"):
        Terminal(10, Console(file=io.StringIO()))


@pytest.fixture
def images(tmp_path: Path) -> str:
    """Two episodes of three images, of one colour each."""
    path = tmp_path / "images.h5"
    space = gymnasium.spaces.Box(0, 255, (40, 30, 3), np.uint8)
    recorder = gymbag.HDF5Recorder(path, space, gymnasium.spaces.Discrete(2), "colours")
    frames = [np.full(space.shape, (60 * n, 11, 22), np.uint8) for n in range(3)]
    rows = [Step(0.0, frame, 0, float(n), n == 2, False, {}) for n, frame in enumerate(frames)]
    gymbag.record_from_iter(recorder, [rows, rows])
    return str(path)


def in_a_terminal(*arguments: str, interrupt: bool = False) -> tuple[int, str]:
    """Run a command in a terminal of 80 by 24; return its exit code and what it wrote there."""
    ours, theirs = pty.openpty()
    environ = {**os.environ, "TERM": "xterm-256color", "COLORTERM": "truecolor", "COLUMNS": "80"}
    environ |= {"LINES": "24"}
    # Unbuffered, Python drops the rest of a text whose writing a signal interrupts.
    for name in ("NO_COLOR", "PYTHONUNBUFFERED"):
        environ.pop(name, None)
    command = [sys.executable, "-m", "gymbag", *arguments]
    with subprocess.Popen(command, stdout=theirs, stderr=theirs, env=environ) as process:
        os.close(theirs)
        said = b""
        while True:
            try:
                part = os.read(ours, 1 << 16)
            except OSError:
                break
            said += part
            if not part:
                break
            if interrupt and "▀".encode() in said:
                process.send_signal(signal.SIGINT)
                interrupt = False
        os.close(ours)
    return process.returncode, said.decode()


def test_in_a_real_terminal(images: str) -> None:
    code, said = in_a_terminal("play", images, "--terminal", "--fps", "200")
    assert code == 0
    for red in (0, 60, 120):
        assert f"\x1b[38;2;{red};11;22;48;2;{red};11;22m" in said
    assert "episode 1, step 2, reward 2, return 3" in said
    assert "episode 0: 2 steps, return 3, terminated" in said
    assert said.rindex("\x1b[?25h") > said.rindex("\x1b[?25l")
    assert "6 frames" in said


def test_ctrl_c_gives_the_terminal_back(images: str) -> None:
    code, said = in_a_terminal("play", images, "--terminal", "--fps", "1", interrupt=True)
    assert code == 130
    assert said.rindex("\x1b[?25h") > said.rindex("\x1b[?25l")
    assert said.splitlines()[-1].endswith("gymbag: interrupted")


def test_what_cannot_be_shown_is_said(images: str, tmp_path: Path, capsys: Any) -> None:
    assert main(["play", images, "--terminal"]) == 2
    assert "--gif or --video" in capsys.readouterr().err
    main(["generate", "-o", str(tmp_path / "numbers.h5"), "--kind", "monotonic"])
    code, said = in_a_terminal("play", str(tmp_path / "numbers.h5"), "--terminal")
    assert code == 2
    assert "hold no image" in said

# SPDX-License-Identifier: LGPL-3.0-or-later
"""What people look at: recorded images as a video."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest

import gymbag
from gymbag import Step
from gymbag.cli import main


@pytest.fixture
def images(tmp_path: Path) -> str:
    """Two episodes of 4 frames, of an odd size, each grey and brighter than the one before."""
    path = tmp_path / "images.h5"
    space = gymnasium.spaces.Box(0, 255, (63, 81, 3), np.uint8)
    recorder = gymbag.HDF5Recorder(path, space, gymnasium.spaces.Discrete(2), "grey")
    frames = [np.full(space.shape, 60 * n, np.uint8) for n in range(4)]
    rows = [Step(0.0, frame, 0, float(n), n == 3, False, {}) for n, frame in enumerate(frames)]
    gymbag.record_from_iter(recorder, [rows, rows])
    return str(path)


def test_a_video_shows_every_image(images: str, tmp_path: Path, capsys: Any) -> None:
    av = pytest.importorskip("av", reason="pip install 'gymbag[video]'")
    out = str(tmp_path / "out.mp4")
    assert main(["play", images, "--video", out, "--fps", "10"]) == 0
    assert "8 frames, 10 a second" in capsys.readouterr().out
    with av.open(out) as file:
        stream = file.streams.video[0]
        assert (stream.width, stream.height, stream.average_rate) == (82, 64, 10)
        shown = [frame.to_ndarray(format="rgb24").mean() for frame in file.decode(stream)]
    assert np.allclose(shown, [0, 60, 120, 180] * 2, atol=6)


def test_what_cannot_be_a_video_is_said(
    images: str, tmp_path: Path, capsys: Any, monkeypatch: Any
) -> None:
    pytest.importorskip("av", reason="pip install 'gymbag[video]'")
    assert main(["play", images, "--video", str(tmp_path / "out.nonsense")]) == 2
    assert "such as out.mp4" in capsys.readouterr().err
    assert main(["play", images, "--video", str(tmp_path / "none" / "out.mp4")]) == 2
    assert "out.mp4: No such file" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "av", None)
    assert main(["play", images, "--video", "out.mp4"]) == 2
    assert "gymbag[video]" in capsys.readouterr().err

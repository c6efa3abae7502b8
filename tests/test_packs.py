# SPDX-License-Identifier: LGPL-3.0-or-later
"""Frames that are packed a few at a time: seen by readers, recovered after a kill, appended to."""

from __future__ import annotations

import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import tables
from gymnasium.spaces import Box, Discrete
from hypothesis import given, settings
from hypothesis import strategies as st

import gymbag
from gymbag import HDF5Recorder
from gymbag.errors import RecoveryWarning
from gymbag.storage import buffer

SHAPE = (64, 64)
SPACE = Box(0, 255, SHAPE, "uint8")
PACK, CHUNK = 16, 256

CUT, SECURE, REOPEN = "cut", "secure", "reopen"
acts = st.lists(
    st.integers(1, CHUNK + PACK) | st.sampled_from([CUT, SECURE, SECURE, REOPEN]), max_size=8
)


def frame(number: int, rng: np.random.Generator) -> np.ndarray:
    """Return little, nothing (for whole packs and chunks, too), or noise."""
    image = np.zeros(SHAPE, np.uint8)
    kind = number // PACK % 5 if number % 700 < CHUNK * 2 else 0
    if kind > 2:
        image[:, number % 64] = number % 256
    elif kind == 2:
        image[:] = rng.integers(0, 256, SHAPE)
    return image


def observations(path: Path) -> np.ndarray:
    with gymbag.open(path) as store:
        return np.concatenate([np.zeros((0, *SHAPE)), *(e.observations for e in store.episodes)])


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(buffer, "PACK_BYTES", 1)


@settings(max_examples=20)
@given(acts=acts, seed=st.integers(0, 99), compression=st.sampled_from(["default", "fast"]))
def test_what_is_recorded_is_read_whenever_it_is_read(
    acts: list[int | str], seed: int, compression: str
) -> None:
    rng = np.random.default_rng(seed)
    frames: list[np.ndarray] = []

    def show() -> np.ndarray:
        frames.append(frame(len(frames), rng))
        return frames[-1]

    def recorder() -> HDF5Recorder:
        made = HDF5Recorder(path, SPACE, Discrete(2), compression=compression, durability="close")
        made.on_reset(0.0, show(), {})
        made.on_step(0.0, show(), 1, 0.0, False, False, {})
        return made

    with TemporaryDirectory() as name:
        path, killed = Path(name) / "a.h5", Path(name) / "killed"
        recording, whole = recorder(), 0
        for act in acts:
            if act == CUT:
                whole = len(frames)
                recording.on_reset(0.0, show(), {})
                act = 1
            if act == REOPEN:
                recording.on_close()
                whole = len(frames)
                recording = recorder()
            elif act == SECURE:
                recording.secure()
                assert np.array_equal(observations(path), np.reshape(frames[:whole], (-1, *SHAPE)))
                shutil.rmtree(killed, ignore_errors=True)
                killed.mkdir()
                for file in Path(name).glob("a.h5*"):
                    shutil.copy(file, killed)
                with pytest.warns(RecoveryWarning):
                    assert np.array_equal(observations(killed / "a.h5"), frames)
                assert gymbag.verify(killed / "a.h5")
            else:
                for _ in range(int(act)):
                    recording.on_step(0.0, show(), 1, 0.0, False, False, {})
        recording.on_close()
        assert np.array_equal(observations(path), frames)
        with tables.open_file(path) as file:
            assert np.array_equal(file.root.data.observation[:], frames)

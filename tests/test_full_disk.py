# SPDX-License-Identifier: LGPL-3.0-or-later
"""Disks that are full or fail: one clear error, and all that was acknowledged is kept."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from unittest import mock

import gymnasium
import numpy as np
import pytest

import gymbag
from gymbag.errors import FileError
from gymbag.storage import disk, file, pytables

FUNCTIONS = ("write_at", "truncate", "sync", "sync_folder", "replace", "unlink")


class Counting(gymnasium.Env[Any, Any]):
    """Counts its steps; its images cannot be compressed."""

    observation_space = gymnasium.spaces.Box(0, 255, (64, 64), np.uint8)
    action_space = gymnasium.spaces.Discrete(2)

    def __init__(self) -> None:
        self.count = 0

    def reset(self, *, seed: Any = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        return self._image(), {}

    def step(self, action: Any) -> Any:
        self.count += 1
        return self._image(), float(self.count), self.count % 10 == 0, False, {}

    def _image(self) -> Any:
        return np.random.default_rng(self.count).integers(0, 256, (64, 64), dtype=np.uint8)


def record(filename: Path, steps: int, **options: Any) -> tuple[int, FileError | None]:
    """Return how many steps returned, and the error that the last of them ended with."""
    env = gymbag.record_hdf5(Counting(), filename, name="x", **options)
    done, failure = 0, None
    try:
        env.reset()
        for _ in range(steps):
            _, _, terminated, _, _ = env.step(0)
            done += 1
            if done == 6:
                # As the committing thread does it: a checkpoint that fails is tried again.
                with suppress(FileError):
                    env.recorder._recording.file.checkpoint()
            if terminated:
                env.reset()
    except FileError as error:
        failure = error
        # What was said once is not said again.
        env.step(0)
    try:
        env.close()
    except FileError as error:
        assert failure is None
        failure = error
    return done, failure


def recorded(filename: Path) -> int:
    """Return how many steps a file holds, one after another, each as it was."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if not os.path.exists(filename) or "x" not in gymbag.list_datasets(filename):
            return 0
        with gymbag.open(filename) as store:
            steps = [s for episode in store.episodes for s in list(episode.steps())[1:]]
    for number, step in enumerate(steps, 1):
        assert step.reward == number
        wanted = np.random.default_rng(number).integers(0, 256, (64, 64), dtype=np.uint8)
        assert np.array_equal(step.observation, wanted)
    return len(steps)


def failing(real: Callable[..., Any], at: int, code: int) -> Callable[..., Any]:
    """Return a function that fails from its call number `at` on."""
    calls = iter(range(1_000_000))

    def fail(*arguments: Any, **more: Any) -> Any:
        if next(calls) >= at:
            raise OSError(code, os.strerror(code))
        return real(*arguments, **more)

    return fail


def places() -> Iterator[tuple[Any, str, int, int]]:
    for name in FUNCTIONS:
        for number, code in enumerate([errno.ENOSPC, errno.EIO, errno.EDQUOT] * 5):
            yield disk, name, number, code
    for number in range(3):
        yield pytables, "store", number, errno.ENOSPC


def test_whatever_fails_what_was_acknowledged_is_kept(tmp_path: Path) -> None:
    failed = 0
    for index, (module, name, number, code) in enumerate(places()):
        filename = tmp_path / f"{index}.h5"
        fail = failing(getattr(module, name), number, code)
        done = 0
        with (
            mock.patch.object(module, name, fail),
            mock.patch.object(file, "check_before_writing", return_value=frozenset()),
            suppress(FileError),
        ):
            done, failure = record(filename, 12, durability="step")
            failed += failure is not None
        assert str(filename) not in file._open
        assert recorded(filename) >= done, (name, number)
        before = recorded(filename)
        with (
            warnings.catch_warnings(),
            mock.patch.object(file, "check_before_writing", return_value=frozenset()),
        ):
            warnings.simplefilter("ignore")
            env = gymbag.record_hdf5(Counting(), filename, name="x")
        env.unwrapped.count = before
        env.reset()
        env.step(0)
        env.close()
        assert recorded(filename) == before + 1
    assert failed > 20


FULL = """
import resource, signal, sys
from pathlib import Path
from tests.test_full_disk import record
if sys.argv[2] != "none":
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]),) * 2)
done, failure = record(Path(sys.argv[1]), 2000, durability=0.05)
print(done, failure)
"""


def run(filename: Path, limit: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FULL, str(filename), limit],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        cwd=Path(__file__).parents[1],
    )
    number, _, failure = done.stdout.strip().partition(" ")
    return int(number), failure


@pytest.mark.skipif(not hasattr(signal, "SIGXFSZ"), reason="no limits of file sizes here")
def test_a_file_may_grow_no_more(tmp_path: Path) -> None:
    filename = tmp_path / "x.h5"
    done, failure = run(filename, "400000")
    assert "x.h5" in failure
    assert "is kept" in failure or "keeps what was recorded" in failure
    assert 0 < recorded(filename) <= done + 1


def test_a_small_disk_is_full(tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(small)],
        capture_output=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip("a file system cannot be mounted here")
    try:
        done, failure = run(small / "x.h5", "none")
        assert "No space left on device" in failure
        assert done < 2000
        roomy = tmp_path / "roomy"
        shutil.copytree(small, roomy)
        assert recorded(roomy / "x.h5") > 0
    finally:
        subprocess.run(["umount", str(small)], check=False)


def test_the_folder_is_removed(tmp_path: Path) -> None:
    folder = tmp_path / "gone"
    folder.mkdir()
    env = gymbag.record_hdf5(Counting(), folder / "x.h5")
    env.reset()
    env.step(0)
    shutil.rmtree(folder)
    with pytest.raises(FileError, match="gone"):
        env.close()


def test_what_cannot_be_written_to_is_said_at_once(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="does not exist"):
        gymbag.record_hdf5(Counting(), tmp_path / "none" / "x.h5")
    denied = mock.patch.object(os, "open", side_effect=PermissionError(errno.EACCES, "denied"))
    with denied, pytest.raises(FileError, match="denied"):
        gymbag.record_hdf5(Counting(), tmp_path / "x.h5")

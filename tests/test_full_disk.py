# SPDX-License-Identifier: LGPL-3.0-or-later
"""Disks that are full or fail: one clear error, and all that was acknowledged is kept."""

from __future__ import annotations

import errno
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from itertools import count, cycle, product
from pathlib import Path
from typing import Any
from unittest import mock

import gymnasium
import numpy as np
import pytest

import gymbag
from gymbag.errors import FileError
from gymbag.storage import disk, file, pytables, snapshot

FUNCTIONS = ("write_at", "truncate", "sync", "sync_folder", "replace", "unlink")


class Endless(gymnasium.Env[Any, Any]):
    """Has one episode."""

    observation_space = action_space = gymnasium.spaces.Discrete(2)

    def reset(self, *, seed: Any = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        return 0, {}

    def step(self, action: Any) -> Any:
        return 1, 1.0, False, False, {}


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


class Failing:
    """A function that fails in its call number `at`, and from then on if it is to `stay` so.

    Of what is to be written a part is written, as a disk does that has room for no more.
    """

    def __init__(self, real: Callable[..., Any], at: int, code: int, *, stays: bool) -> None:
        self.real, self.at, self.code, self.stays = real, at, code, stays
        self.calls = 0

    def __call__(self, *arguments: Any, **more: Any) -> Any:
        creates = self.real is not OPEN or (arguments[1] & os.O_CREAT and ".h5" in arguments[0])
        if not creates:
            return self.real(*arguments, **more)
        number, self.calls = self.calls, self.calls + 1
        if number == self.at or (self.stays and number > self.at):
            if self.real is WRITE_AT:
                descriptor, parts, offset = arguments
                data = b"".join(parts)
                self.real(descriptor, (data[: len(data) // 2],), offset)
            raise OSError(self.code, os.strerror(self.code))
        return self.real(*arguments, **more)


OPEN, WRITE_AT = os.open, disk.write_at
PLACES = [*((disk, name) for name in FUNCTIONS), (os, "open"), (pytables, "store")]


def failures(do: Callable[[Any, str, Failing], None]) -> int:
    """Do something with every call of every function failing in turn; return how often."""
    failed = 0
    codes = cycle([errno.ENOSPC, errno.EIO, errno.EDQUOT])
    with mock.patch.object(disk, "_sync"), mock.patch.object(os, "fsync"):
        for (module, name), stays in product(PLACES, (True, False)):
            fails = None
            while fails is None or fails.calls > fails.at:
                at = 0 if fails is None else fails.at + 1
                fails = Failing(getattr(module, name), at, next(codes), stays=stays)
                do(module, name, fails)
                failed += fails.calls > fails.at
    return failed


@contextmanager
def unchecked() -> Iterator[None]:
    """Leave out the look at a file that takes a process of its own."""
    checked = mock.patch.object(file, "check_before_writing", return_value=frozenset())
    # A journal that could not be put back stays: there is nobody to wait for.
    waits = mock.patch.object(snapshot, "PATIENCE", 0.05)
    with checked, waits, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def goes_on(filename: Path) -> None:
    """Check that one more episode can be recorded to a file."""
    before = recorded(filename)
    env = gymbag.record_hdf5(Counting(), filename, name="x")
    env.unwrapped.count = before
    env.reset()
    env.step(0)
    env.close()
    assert recorded(filename) == before + 1


def test_whatever_fails_what_was_acknowledged_is_kept(tmp_path: Path) -> None:
    numbers = count()

    def fail(module: Any, name: str, fails: Failing) -> None:
        filename = tmp_path / f"{next(numbers)}.h5"
        done = 0
        with mock.patch.object(module, name, fails), suppress(FileError):
            done, failure = record(filename, 8, durability="step")
            assert failure is None or ".h5" in str(failure)
        assert str(filename) not in file._open
        assert recorded(filename) >= done, (name, fails.at, fails.stays)
        goes_on(filename)

    with unchecked():
        assert failures(fail) > 50


def test_whatever_fails_in_a_recovery_is_done_again(tmp_path: Path) -> None:
    numbers = count()
    dead = tmp_path / "dead"
    dead.mkdir()
    env = gymbag.record_hdf5(Counting(), tmp_path / "x.h5", name="x", durability="step")
    env.reset()
    for number in range(7):
        env.step(0)
        if number == 3:
            env.recorder._recording.file.checkpoint()
    for path in tmp_path.glob("x.h5*"):
        shutil.copy(path, dead)
    env.close()

    def fail(module: Any, name: str, fails: Failing) -> None:
        folder = tmp_path / str(next(numbers))
        shutil.copytree(dead, folder)
        with mock.patch.object(module, name, fails):
            try:
                assert recorded(folder / "x.h5") == 7
            except FileError as error:
                assert ".h5" in str(error)  # noqa: PT017
        assert recorded(folder / "x.h5") == 7, (name, fails.at, fails.stays)
        goes_on(folder / "x.h5")

    with unchecked():
        assert failures(fail) > 30


def check_full(filename: Path, make_room: Callable[[], None]) -> bool:
    """Record until there is no more room; return whether that was soon."""
    done, failure = 0, None
    with suppress(FileError):
        done, failure = record(filename, 8, durability="step")
    # Without room it is at least not made worse, and with room it is as it was promised.
    with suppress(FileError):
        recorded(filename)
    make_room()
    assert recorded(filename) >= done
    goes_on(filename)
    return done < 8 or failure is not None


def grow_to(folder: Path, limits: list[int]) -> None:
    """Record to files that may grow no larger; for a process of its own."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    failed = 0
    with unchecked():
        for limit in limits:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
            room = partial(resource.setrlimit, resource.RLIMIT_FSIZE, (soft, hard))
            failed += check_full(folder / f"{limit}.h5", room)
    print(failed)


@pytest.mark.skipif(not hasattr(signal, "SIGXFSZ"), reason="no limits of file sizes here")
def test_a_file_may_grow_no_more(tmp_path: Path) -> None:
    limits = sorted(random.Random(0).sample(range(120_000), 60))
    code = f"from tests.test_full_disk import *; grow_to(Path({str(tmp_path)!r}), {limits})"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=Path(__file__).parents[1],
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 20


@contextmanager
def mounted(folder: Path) -> Iterator[Path]:
    """Mount a disk of 1 MB; skip the test where that is not allowed."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if (
        not shutil.which("mount")
        or subprocess.run(command, capture_output=True, check=False).returncode
    ):
        pytest.skip("a file system cannot be mounted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=False)


def test_a_small_disk_is_full(tmp_path: Path) -> None:
    failed = 0
    with mounted(tmp_path / "small") as disk_, unchecked():
        for pages in range(0, 60, 2):
            ballast = disk_ / "ballast"
            with ballast.open("wb") as stream, suppress(OSError):
                stream.write(bytes((1 << 20) - 4096 * pages))
            failed += check_full(disk_ / "x.h5", ballast.unlink)
            for path in disk_.iterdir():
                path.unlink()
    assert failed > 10


def test_a_disk_that_can_only_be_read_is_read(tmp_path: Path) -> None:
    with mounted(tmp_path / "small") as disk_, unchecked():
        env = gymbag.record_hdf5(Counting(), tmp_path / "x.h5", name="x", durability="step")
        env.reset()
        for _ in range(5):
            env.step(0)
        for path in tmp_path.glob("x.h5*"):
            shutil.copy(path, disk_)
        env.close()
        command = ["mount", "-o", "remount,ro", str(disk_)]
        subprocess.run(command, capture_output=True, check=True)
        before = {path: path.read_bytes() for path in disk_.iterdir()}
        assert recorded(disk_ / "x.h5") == 5
        for name in ("x.h5", "new.h5"):
            with pytest.raises(FileError, match="Read-only"):
                gymbag.record_hdf5(Counting(), disk_ / name, name="x")
        assert {path: path.read_bytes() for path in disk_.iterdir()} == before


def test_a_step_that_somebody_holds_raises_once(tmp_path: Path) -> None:
    env = gymbag.record_hdf5(Endless(), tmp_path / "x.h5", name="x", durability="close")
    env.reset()
    step, raised = env.step, 0
    full = OSError(errno.ENOSPC, "full")
    buffered = mock.patch("gymbag.storage.log.BUFFERED", 1)
    with mock.patch.object(disk, "write_at", side_effect=full), buffered:
        for _ in range(40_000):
            try:
                step(0)
            except FileError:
                raised += 1
    assert raised == 1
    with suppress(FileError):
        env.close()


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

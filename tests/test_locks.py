# SPDX-License-Identifier: LGPL-3.0-or-later
"""Who may write, who may read, and when: with real processes, forks and threads."""

from __future__ import annotations

import atexit
import gc
import multiprocessing
import os
import shutil
import signal
import socket
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium
import h5py
import numpy as np
import pytest

import gymbag
from gymbag.errors import FileBusy, FileError, NewerFormat, RecordingWarning, RecoveryWarning
from gymbag.storage import file, lock
from gymbag.storage.snapshot import Snapshot
from tests.known import EPISODES, Known, check_episode, play_on

# Its children are forked from a process of one thread, which has imported all and opened nothing.
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload([__name__])


def recording(
    filename: Path, name: str = "small", session: int = 1, durability: Any = 1.0
) -> tuple[Any, Callable[[], bool]]:
    """Return a wrapped environment, and a function that does the next call to it."""
    known: Any = Known(name, session)
    recorder = gymbag.HDF5Recorder(
        filename, known.observation_space, known.action_space, name, durability=durability
    )
    env = gymbag.RecordEnv(known, recorder)
    return env, play_on(env, known, lambda *_: None)


def check(filename: Path, name: str = "small", *, rows: int | None = None) -> gymbag.Store:
    """Open a data set, and compare all of it with what its environment gave."""
    store = gymbag.open(filename, name)
    for episode in store.episodes:
        assert episode.seed is not None
        check_episode(name, *divmod(episode.seed, EPISODES), episode)
    assert rows is None or len(store) == rows
    return store


def serve(pipe: Any, filename: Path, durability: Any) -> None:
    """Record in a process of its own, as told through a pipe."""
    env, call = recording(filename, durability=durability)
    pipe.send(os.getpid())
    while True:
        match pipe.recv():
            case "fork":
                child = os.fork()
                if not child:
                    time.sleep(60)
                    os._exit(0)
                pipe.send(child)
            case "meddle":
                pipe.send(_meddle(env, call, filename))
            case "checkpoint":
                written = file.written_here(str(filename))
                assert written is not None
                written.checkpoint()
                pipe.send(True)
            case "close":
                env.close()
                pipe.send(True)
            case int(calls):
                pipe.send([call() for _ in range(calls)])


def _meddle(env: Any, call: Callable[[], bool], filename: Path) -> str:
    """Try to record in a fork, to the same data set and anew, and exit as usual; say what came."""
    out, inside = os.pipe()
    child = os.fork()
    if not child:
        said = ""
        for attempt in (call, partial(recording, filename, "wide")):
            try:
                attempt()
            except FileBusy as error:
                said += f"{error}\n"
        with suppress(FileError):
            env.close()
        del env, call, attempt
        gc.collect()
        atexit._run_exitfuncs()
        os.write(inside, said.encode())
        os._exit(0)
    os.close(inside)
    os.waitpid(child, 0)
    with open(out, encoding="utf-8") as stream:
        return stream.read()


class Other:
    """Another process that records."""

    def __init__(self, filename: Path, durability: Any) -> None:
        self.pipe, pipe = PROCESSES.Pipe()
        self.process = PROCESSES.Process(target=serve, args=(pipe, filename, durability))
        self.process.start()
        pipe.close()
        self.pid = self.pipe.recv()

    def ask(self, what: Any) -> Any:
        """Have it do something, and return what it says."""
        self.pipe.send(what)
        return self.pipe.recv()

    def kill(self) -> None:
        """End it as ``kill -9`` does."""
        self.process.kill()
        self.process.join()


@contextmanager
def other(filename: Path, durability: Any = "step") -> Iterator[Other]:
    """Have another process record, and see to its end."""
    process = Other(filename, durability)
    try:
        yield process
    finally:
        process.kill()


def test_one_process_writes_and_the_next_hears_which(tmp_path: Path) -> None:
    filename = tmp_path / "x.h5"
    with other(filename) as holder:
        holder.ask(20)
        who = rf"process {holder.pid} on {socket.gethostname()} \(since 20\d\d-.*close that"
        with pytest.raises(FileBusy, match=who):
            recording(filename)
        holder.kill()
        with pytest.warns(RecoveryWarning, match=f"process {holder.pid}"):
            env, call = recording(filename, session=2)
        assert [call() for _ in range(10)]
        env.close()
    store = check(filename)
    assert {"interrupted", "closed"} <= {str(episode.ended) for episode in store.episodes}
    assert os.listdir(tmp_path) == ["x.h5"]


def test_a_fork_that_outlives_the_holder_holds_nothing(tmp_path: Path) -> None:
    filename = tmp_path / "x.h5"
    with other(filename) as holder:
        holder.ask(20)
        fork = holder.ask("fork")
        try:
            holder.kill()
            with pytest.warns(RecoveryWarning):
                env, _ = recording(filename, session=2)
            env.close()
        finally:
            os.kill(fork, signal.SIGKILL)
    check(filename)


@pytest.mark.parametrize("durability", ["step", 0.05, "close"])
def test_a_fork_cannot_record_and_harms_nothing(tmp_path: Path, durability: Any) -> None:
    filename = tmp_path / "x.h5"
    with other(filename, durability) as holder:
        holder.ask(20)
        said = holder.ask("meddle")
        assert f"is being written to by the process {holder.pid}, of which this one is a" in said
        assert f"process {holder.pid} on" in said
        assert (tmp_path / "x.h5-wal").exists()
        holder.ask(20)
        holder.ask("close")
    check(filename, rows=40)
    assert gymbag.list_datasets(filename) == ["small"]


def test_two_threads_record_side_by_side(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file, "CHECKPOINT_BYTES", 1 << 12)
    filename = tmp_path / "x.h5"
    for session in range(1, 6):
        recordings = [recording(filename, name, session, 0.003) for name in ("small", "wide")]

        def play(env: Any, call: Callable[[], bool]) -> None:
            for _ in range(100):
                call()
            env.close()

        run_all(partial(play, *one) for one in recordings)
    for name in ("small", "wide"):
        assert 480 < len(check(filename, name)) <= 500
    assert os.listdir(tmp_path) == ["x.h5"]


def run_all(tasks: Iterator[Callable[[], None]]) -> None:
    """Run tasks in threads, and raise what they raise."""
    errors: list[BaseException] = []

    def run(task: Callable[[], None]) -> None:
        try:
            task()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(task,)) for task in tasks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def test_threads_read_what_another_records(tmp_path: Path) -> None:
    filename = tmp_path / "x.h5"
    env, call = recording(filename, "wide", durability=0.01)
    assert [call() for _ in range(200)]
    shared = gymbag.open(filename)
    rows, wanted = len(shared), shared["reward"]
    reading = threading.Barrier(4)
    done = threading.Event()

    def write() -> None:
        reading.wait()
        while not done.wait(0.001):
            call()
        env.close()

    def read() -> None:
        reading.wait()
        try:
            for _ in range(3):
                assert np.array_equal(shared["reward"], wanted, equal_nan=True)
                assert len(shared["observation"]) == rows
                assert len(check(filename, "wide")) >= rows
        finally:
            done.set()

    run_all(iter([write, read, read, read]))
    assert len(check(filename, "wide")) > rows


def test_a_reader_elsewhere_follows_and_keeps_what_it_has(tmp_path: Path) -> None:
    filename = tmp_path / "x.h5"
    with other(filename, 0.05) as writer:
        writer.ask(300)
        time.sleep(0.3)
        early = gymbag.open(filename)
        rows = len(early)
        assert rows > 0
        late = gymbag.open(filename)
        writer.ask(300)
        end = time.monotonic() + 10
        while len(late) <= rows and time.monotonic() < end:
            time.sleep(0.01)
            late.refresh()
        assert rows < len(late) <= 600
        writer.ask("checkpoint")
        writer.ask(300)
        writer.ask("close")
    # Nothing of it was read before the file was brought up to date, twice.
    for episode in early.episodes:
        check_episode("small", *divmod(episode.seed or 0, EPISODES), episode)
    assert len(early) == rows
    check(filename)


def test_a_program_that_has_the_file_open_costs_nothing(tmp_path: Path) -> None:
    filename = tmp_path / "x.h5"
    env, call = recording(filename)
    assert [call() for _ in range(40)]
    env.close()
    rows = len(check(filename))
    env, call = recording(filename, session=2)
    assert [call() for _ in range(40)]
    with h5py.File(filename, "r"):
        with pytest.warns(RecordingWarning, match=r"another program has it open.*x\.h5-wal keeps"):
            env.close()
        assert len(check(filename)) == rows + 40
        assert (tmp_path / "x.h5-wal").exists()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RecoveryWarning)
        check(filename, rows=rows + 40)
    assert os.listdir(tmp_path) == ["x.h5"]


def test_what_cannot_be_recovered_can_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    filename = tmp_path / "x.h5"
    with other(filename) as writer:
        writer.ask(20)
        writer.ask("checkpoint")
        writer.ask(20)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def refuse(filename: str) -> tuple[int, bool]:
        raise FileError(f"{filename}-wal: cannot be opened for writing: Read-only file system")

    # Root may write anywhere; so that is where it would have failed.
    monkeypatch.setattr(lock, "acquire", refuse)
    store = check(filename, rows=40)
    assert store.episodes[-1].ended == "interrupted"
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_reader_sees_no_less_while_somebody_begins_to_recover(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    filename = tmp_path / "x.h5"
    with other(filename) as writer:
        writer.ask(20)
    begins, seen = threading.Event(), threading.Event()
    write_holder = lock._write_holder

    def wait(*arguments: Any, **more: Any) -> None:
        begins.set()
        seen.wait(10)
        write_holder(*arguments, **more)

    monkeypatch.setattr(lock, "_write_holder", wait)
    recovers = threading.Thread(target=partial(file.recover, filename))
    recovers.start()
    try:
        assert begins.wait(10)
        assert Snapshot(str(filename)).columns["/small/episodes"].rows > 0
    finally:
        seen.set()
        recovers.join()
    check(filename, rows=20)


def test_a_log_is_not_applied_to_another_file(tmp_path: Path) -> None:
    def record(filename: Path, *, episodes: int) -> gymbag.RecordEnv:
        env = gymbag.record_hdf5(gymnasium.make("CartPole-v1"), filename)
        for _ in range(episodes):
            env.reset(seed=1)
            env.step(0)
        return env

    for name, episodes in (("a.h5", 2), ("b.h5", 3)):
        record(tmp_path / name, episodes=episodes).close()
    env = record(tmp_path / "a.h5", episodes=1)
    env.recorder._recording.file.commit()
    log = (tmp_path / "a.h5-wal").read_bytes()
    env.close()
    for other in ((tmp_path / "b.h5").read_bytes(), b""):
        (tmp_path / "c.h5").write_bytes(other)
        (tmp_path / "c.h5-wal").write_bytes(log)
        with pytest.raises(FileError, match="does not belong"):
            gymbag.open(tmp_path / "c.h5")
        with pytest.raises(FileError, match="does not belong"):
            record(tmp_path / "c.h5", episodes=0)
        assert (tmp_path / "c.h5").read_bytes() == other
        assert (tmp_path / "c.h5-wal").exists()
    (tmp_path / "c.h5").unlink()
    with pytest.raises(FileError, match="does not belong"):
        record(tmp_path / "c.h5", episodes=0)
    assert not (tmp_path / "c.h5").exists()


@pytest.mark.parametrize(("suffix", "mark"), [("-wal", b"gymbagW3"), ("-undo", b"gymbagU3")])
def test_what_a_later_gymbag_left_is_not_touched(tmp_path: Path, suffix: str, mark: bytes) -> None:
    dead = tmp_path / "dead"
    dead.mkdir()
    env, call = recording(tmp_path / "a.h5", durability="step")
    call()
    call()
    for file_left in tmp_path.glob("a.h5*"):
        shutil.copy(file_left, dead)
    env.close()
    left = dead / f"a.h5{suffix}"
    before = left.read_bytes() if left.exists() else b""
    left.write_bytes(mark + before[len(mark) :])
    kept = [left, dead / "a.h5"]
    held = [path.read_bytes() for path in kept]
    for begin in (gymbag.open, recording):
        with pytest.raises(NewerFormat, match="later gymbag"):
            begin(dead / "a.h5")
        assert [path.read_bytes() for path in kept] == held
    if before:
        left.write_bytes(before)
    else:
        left.unlink()
    with pytest.warns(RecoveryWarning), gymbag.open(dead / "a.h5") as store:
        assert len(store) == 2

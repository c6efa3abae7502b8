# SPDX-License-Identifier: LGPL-3.0-or-later
"""A store moves on, is closed, or its process forks: whoever reads meanwhile reads right."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

import gymbag
from gymbag.errors import FileError, QueryError, SchemaError
from gymbag.storage import blocks
from gymbag.storage.cache import ChunkCache, ColumnCache, _lock
from gymbag.storage.reader import DatasetReader

EPISODES, LENGTH, WIDTH = 40, 50, 1000
HERE = {"PYTHONPATH": str(Path(gymbag.__file__).parents[1])}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    space = spaces.Box(0, np.inf, (WIDTH,), np.float64)
    recorder = gymbag.HDF5Recorder(tmp_path / "x.h5", space, spaces.Discrete(3))
    for episode in range(EPISODES):
        recorder.on_reset(0.0, np.full(WIDTH, episode * 1000.0), {})
        for step in range(1, LENGTH):
            observation = np.full(WIDTH, episode * 1000.0 + step)
            recorder.on_step(0.0, observation, 1, float(episode), step + 1 == LENGTH, False, {})
    recorder.on_close()
    return tmp_path / "x.h5"


@pytest.fixture(autouse=True)
def _little_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gymbag.records.MOST_ROWS", 8)
    monkeypatch.setattr("gymbag.scan.SCAN_ROWS", 64)
    monkeypatch.setattr("gymbag.records.Records.stretch_rows", 64)


def firsts(steps: Any) -> list[float]:
    return [float(step.observation[0]) for step in steps]


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_what_has_begun_goes_on_in_what_was_there(path: Path) -> None:
    with gymbag.open(path) as store:
        selection = store.where("step > 0 and reward > 2")
        wanted = firsts(selection.steps())
        begun, segments, episodes = selection.steps(), selection.segments(), selection.episodes()
        first = [next(begun), next(segments), next(episodes)]
        items, listed = selection.transition_items(), store.episodes
        gymbag.delete_episodes(path, None, range(10))
        store.refresh()
        assert [float(first[0].observation[0]), *firsts(begun)] == wanted
        runs = [first[1], *segments]
        assert [n for run in runs for n in run["observation"][:, 0].tolist()] == wanted
        whole = [first[2], *episodes]
        assert [n for e in whole for n in e.observations[1:, 0].tolist()] == wanted
        assert items[:].next_observation[:, 0].tolist() == wanted
        assert listed[5].observations[0, 0] == 5000
        # Whoever asks anew asks of what is there now.
        assert firsts(selection.steps()) == [n for n in wanted if n >= 10_000]
        assert len(selection.transition_items()) == len(store.episodes) * (LENGTH - 1)


def test_old_states_give_their_files_back(path: Path) -> None:
    before = descriptors()
    store = gymbag.open(path)
    for _ in range(5):
        begun = store.where("reward > 2").steps()
        next(begun)
        store.refresh()
    store.close()
    with pytest.raises(FileError, match="closed; open it again"):
        len(store.where("reward > 2"))
    del begun
    assert descriptors() == before


def in_threads(*works: Any) -> None:
    errors: list[BaseException] = []

    def run(work: Any) -> None:
        try:
            work()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def test_threads_ask_while_another_refreshes(path: Path) -> None:
    with gymbag.open(path) as store:
        wanted = store["observation"]
        done = threading.Event()

        def refresh() -> None:
            while not done.is_set():
                store.refresh()

        def ask() -> None:
            try:
                for _ in range(40):
                    assert np.array_equal(store["observation"], wanted)
            finally:
                done.set()

        in_threads(refresh, ask, ask)


def test_closing_in_the_middle_is_said(path: Path) -> None:
    store = gymbag.open(path)
    begun = store.where("reward > 2").steps()
    next(begun)
    store.close()
    others = [os.open(os.devnull, os.O_RDONLY) for _ in range(4)]
    with pytest.raises(FileError, match="closed; open it again"):
        list(begun)
    for descriptor in others:
        os.close(descriptor)


FORK = """
import os, sys, threading, time
import gymbag.storage.parallel as parallel

def work(item):
    time.sleep(0.005)
    return item

parallel.THREADS = 2
started = parallel.ordered(work, range(30))
got = [next(started) for _ in range(6)]
assert threading.active_count() > 1
child = os.fork()
got += started
assert got == list(range(30)), got
if child:
    assert os.waitpid(child, 0)[1] == 0
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_fork_goes_on_without_the_threads() -> None:
    subprocess.run([sys.executable, "-c", FORK], env=HERE, timeout=60, check=True)


FORKS = """
import os, sys, threading
import gymbag

store = gymbag.open(sys.argv[1])
wanted = float(store["observation"].sum())
done = threading.Event()

def read():
    while not done.is_set():
        store.refresh()
        store["observation"]

threads = [threading.Thread(target=read) for _ in range(2)]
for thread in threads:
    thread.start()
for _ in range(20):
    child = os.fork()
    if not child:
        os._exit(float(store["observation"].sum()) != wanted)
    assert os.waitpid(child, 0)[1] == 0
done.set()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_forks_read_whatever_threads_were_at(path: Path) -> None:
    command = [sys.executable, "-c", FORKS, os.fspath(path)]
    subprocess.run(command, env=HERE, timeout=60, check=True)


SIGNALS = """
import os, signal, sys
import gymbag
from gymbag.storage import reader

reader.CACHE_BYTES = 1 << 18
store, other = gymbag.open(sys.argv[1]), gymbag.open(sys.argv[1])
wanted = float(store["observation"].sum())
interrupted = 0

def handle(*_):
    global interrupted
    signal.setitimer(signal.ITIMER_REAL, 0)
    interrupted += 1
    store.sample(4, 0), other.sample(4, 0)
    child = os.fork()
    if not child:
        os._exit(float(store["observation"].sum()) != wanted)
    assert os.waitpid(child, 0)[1] == 0

signal.signal(signal.SIGALRM, handle)
for number in range(60):
    # The moment is another every time.
    signal.setitimer(signal.ITIMER_REAL, 0.0005 + 0.0001 * number)
    while interrupted <= number:
        assert len(store.sample(64, number).reward) == 64
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_handler_reads_and_forks_whatever_it_interrupts(path: Path) -> None:
    command = [sys.executable, "-c", SIGNALS, os.fspath(path)]
    subprocess.run(command, env=HERE, timeout=60, check=True)


def test_a_cache_interrupted_by_its_own_thread_keeps_nothing_more() -> None:
    cache, column = ChunkCache(100), ColumnCache(100)
    cache.keep("a", np.zeros(2))
    with _lock:
        assert cache.peek("a") is None
        assert column.column("a", np.dtype("f8"), (2,), 2) is None
        cache.keep("b", np.zeros(2))
        cache.clear()
    assert cache.nbytes == 16
    assert cache.peek("a") is not None


def test_who_reads_in_the_middle_of_reading_disturbs_nobody(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    rows, others = rng.permutation(EPISODES * LENGTH)[:99], rng.permutation(EPISODES * LENGTH)[:9]
    spread, unpack = blocks._spread, blocks.unpack_blocks
    with closing(DatasetReader(path, cache_bytes=0)) as reader:
        (column,) = reader.meta.schema.observation.columns

        def first(rows: Any) -> Any:
            found = reader.take(column, rows)[:, 0]
            return found // 1000 * LENGTH + found % 1000

        def interrupted(work: Any) -> Any:
            def run(*args: Any) -> Any:
                with monkeypatch.context() as calm:
                    calm.setattr(blocks, "_spread", spread)
                    calm.setattr(blocks, "unpack_blocks", unpack)
                    assert first(others).tolist() == others.tolist()
                return work(*args)

            return run

        monkeypatch.setattr(blocks, "_spread", interrupted(spread))
        monkeypatch.setattr(blocks, "unpack_blocks", interrupted(unpack))
        assert first(rows).tolist() == rows.tolist()


def test_pickles_of_parts_that_have_moved_are_refused(path: Path) -> None:
    with gymbag.open(path) as store:
        segment = next(store.where("episode == 10 and step > 3").segments())
        pickled = [pickle.dumps(next(store.where("episode == 10").episodes()))]
        pickled.append(pickle.dumps(segment))
        episode, again = map(pickle.loads, pickled)
        assert episode.observations[0, 0] == 10_000
        assert again["observation"][0, 0] == segment["observation"][0, 0]
    gymbag.delete_episodes(path, None, range(5))
    for part in pickled:
        with pytest.raises(FileError, match=r"episode 10 is not the one that was pickled"):
            pickle.loads(part)


def test_questions_are_understood_anew_when_infos_have_other_values(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"

    def record(*values: Any) -> None:
        recorder = gymbag.HDF5Recorder(path, spaces.Discrete(9), spaces.Discrete(2))
        recorder.on_reset(0.0, 0, {})
        for value in values:
            recorder.on_step(0.0, 1, 1, 0.0, False, False, {"x": value})
        recorder.on_close()

    record(True, False)
    with gymbag.open(path) as store:
        flag, compared = store.where("info.x"), store.where("step > 0") & store.where("info.x > 0")
        either = ~(store.where("info.x > 0") | store.where("episode == 7"))
        assert (len(flag), len(compared), len(either)) == (1, 1, 2)
        wanted = [0, 1]
        listed = store.where("step in wanted", wanted=wanted)
        wanted.append(2)
        record(2.5, -1.0, True)
        store.refresh()
        assert compared["info.x"].tolist() == [1.0, 2.5, 1.0]
        assert pickle.loads(pickle.dumps(either)).rows.tolist() == [0, 2, 3, 5]
        assert listed["step"].tolist() == [0, 1, 0, 1]
        assert len(pickle.loads(pickle.dumps(store.where("step in x", x={1: 0}.keys())))) == 2
        with pytest.raises(QueryError, match="is not a condition"):
            len(flag)


def test_a_file_of_other_spaces_is_not_moved_on_to(path: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.h5"
    gymbag.HDF5Recorder(other, spaces.Discrete(9), spaces.Discrete(3)).on_close()
    with gymbag.open(path) as store:
        selection = store.where("step == 1 and observation[0] > 5000")
        wanted = firsts(selection)
        os.replace(other, path)
        with pytest.raises(SchemaError, match=r"observation: it has Discrete\(9\), the one before"):
            store.refresh()
        assert firsts(selection) == wanted

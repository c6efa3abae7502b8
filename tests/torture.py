# SPDX-License-Identifier: LGPL-3.0-or-later
"""Kills recordings, thousands of times, and compares what is left with what was promised.

Each round forks a process that records, knows by its pipe which steps returned and when, and kills
it: at any moment, while HDF5 changes the file, while it recovers what the last one left, while it
closes. The next round goes on with the same file. What every row holds follows from the number of
the round, of the episode and of the step, so a reader in another process can tell as well. All
processes are forked from this one, which itself opens no file.

``python -m tests.torture --minutes 30`` prints what it did, and fails if anything was lost.
"""

from __future__ import annotations

import argparse
import atexit
import json
import os
import random
import select
import shutil
import signal
import struct
import sys
import tempfile
import threading
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import gymbag
from gymbag.errors import FileBusy, RecordingWarning, RecoveryWarning
from gymbag.storage import compression, file
from gymbag.storage.compression import Compression
from tests.known import NAMES, Known, Session, check_file, play_on, read_on

MESSAGE = struct.Struct("<BBIIQ")
OPENING, OPENED, RETURNED, CLOSING, CLOSED, SEEN = range(6)
DURABILITIES: tuple[Any, ...] = ("step", "episode", 0.05, 0.2, 1.0, "close")


@dataclass
class Plan:
    """What one round does."""

    number: int
    names: list[str]
    durabilities: list[Any]
    way: str
    calls: int
    pause: float
    checkpoint_bytes: int
    chunk_rows: int
    threads: bool
    trial: bool


def record(out: int, filename: str, plan: Plan) -> None:
    """Record as planned, telling `out` of each call that has returned."""

    def say(kind: int, name: int = 0, episode: int = 0, step: int = 0) -> None:
        os.write(out, MESSAGE.pack(kind, name, episode, step, time.monotonic_ns()))

    file.CHECKPOINT_BYTES = plan.checkpoint_bytes
    compression.CHUNK_ROWS = plan.chunk_rows
    table = Compression("zstd", 1, True, plan.chunk_rows, plan.chunk_rows)
    default = compression.POLICIES["default"]
    compression.POLICIES["default"] = default._replace(table=table)
    if not plan.trial:
        without_trial()
    say(OPENING)
    recordings: list[Callable[[], bool]] = []
    envs: list[Any] = []
    for name, durability in zip(plan.names, plan.durabilities, strict=True):
        env: Any = Known(name, plan.number)
        spaces_ = env.observation_space, env.action_space
        recorder = gymbag.HDF5Recorder(filename, *spaces_, name, durability=durability)
        envs.append(gymbag.RecordEnv(env, recorder))
        recordings.append(play_on(envs[-1], env, partial(say, RETURNED, NAMES.index(name))))
    say(OPENED)

    def play(some: list[Callable[[], bool]]) -> None:
        for _ in range(plan.calls):
            for call in some:
                call()
            if plan.pause:
                time.sleep(plan.pause)

    if plan.threads:
        threads = [threading.Thread(target=play, args=([call],)) for call in recordings]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    else:
        play(recordings)
    say(CLOSING)
    if plan.way == "exit":
        atexit._run_exitfuncs()
    for env in envs:
        env.close()
    say(CLOSED)


def read(out: int, filename: str) -> None:
    """Read beside the writers for ever, telling `out` of each look."""
    without_trial()
    read_on(filename, lambda: os.write(out, MESSAGE.pack(SEEN, 0, 0, 0, 0)))


def recover(_out: int, filename: str) -> None:
    """Open a file to read."""
    without_trial()
    gymbag.list_datasets(filename)


def check(_out: int, filename: str, sessions: list[Session], *which: Any) -> dict[str, Any]:
    """Recover a file, and compare it."""
    without_trial()
    return check_file(filename, sessions, *which)


def without_trial() -> None:
    """Let HDF5 at the file unseen: to look starts a Python, which takes longer than a round."""
    file.check_before_writing = lambda *_: frozenset()  # type: ignore[attr-defined]


class Child:
    """A forked process, and the pipe on which it tells what it does."""

    def __init__(self, folder: Path, task: Callable[..., Any], *arguments: Any) -> None:
        self.error = folder / "error.txt"
        self.data = bytearray()
        self.status: int | None = None
        self.out, inside = os.pipe()
        self.pid = os.fork()
        if not self.pid:
            status = 1
            try:
                # Recovery is what happens here, and a reader may keep a closing writer waiting.
                warnings.simplefilter("error")
                warnings.simplefilter("ignore", RecordingWarning)
                warnings.simplefilter("ignore", RecoveryWarning)
                random.seed(os.getpid())
                threading.excepthook = self.fail
                result = task(inside, *arguments)
                os.write(inside, json.dumps(result).encode() if result else b"")
                status = 0
            except FileBusy:
                status = 2
                self.error.write_text(traceback.format_exc())
            except BaseException:
                self.error.write_text(traceback.format_exc())
            finally:
                os._exit(status)
        os.close(inside)

    def fail(self, raised: Any) -> None:
        """End the process if one of its threads fails, gymbag's own included."""
        self.error.write_text("".join(traceback.format_exception(raised.exc_value)))
        os._exit(1)

    def listen(self, seconds: float) -> bool:
        """Take what has come; return False at its end."""
        if select.select([self.out], [], [], seconds)[0]:
            data = os.read(self.out, 1 << 16)
            self.data += data
            return bool(data)
        return True

    def kinds(self) -> Counter[int]:
        """Count the messages by what they say."""
        whole = len(self.data) // MESSAGE.size * MESSAGE.size
        return Counter(message[0] for message in MESSAGE.iter_unpack(self.data[:whole]))

    def last_kind(self) -> int:
        """Return what the last message says; -1 if there is none."""
        place = (len(self.data) // MESSAGE.size - 1) * MESSAGE.size
        return self.data[place] if place >= 0 else -1

    def finish(self, kill: bool = False) -> int:
        """Wait for its end, or bring it about; return how it ended."""
        if self.status is None:
            if kill:
                os.kill(self.pid, signal.SIGKILL)
            while self.listen(60):
                pass
            self.status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
            os.close(self.out)
        return self.status


class Torture:
    """Goes on with one file after the other, and keeps count."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder = folder
        self.chance = random.Random(seed)
        self.count: Counter[str] = Counter()
        self.late = 0.0
        self.failures: list[str] = []
        self.round = 0
        self.filename = ""
        self.sessions: list[Session] = []
        self.begin()

    def begin(self) -> None:
        """Begin a new file."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        self.filename = str(self.folder / "x.h5")
        self.sessions, self.checked, self.number = [], 0, 0
        self.rounds = self.chance.choice((5, 20, 40))
        self.chunk_rows = self.chance.choice((64, 512, 16384))
        self.reader: Child | None = None
        self.count["files"] += 1

    def plan(self) -> Plan:
        chance = self.chance
        self.number += 1
        both = chance.random() < 0.4
        names = list(NAMES) if both else [chance.choice(NAMES)]
        return Plan(
            number=self.number,
            names=names,
            durabilities=[chance.choice(DURABILITIES) for _ in names],
            way=chance.choice(("any", "any", "undo", "undo", "next", "recovery", "close", "exit")),
            calls=chance.choice((3, 30, 200, 100_000)),
            pause=chance.choice((0, 0.0005, 0.002)),
            checkpoint_bytes=chance.choice((4 << 10, 64 << 10, 64 << 20)),
            chunk_rows=self.chunk_rows,
            threads=both and chance.random() < 0.5,
            trial=chance.random() < 0.02,
        )

    def go(self) -> None:
        """Do one round."""
        self.round += 1
        if self.number >= self.rounds:
            self.check(last=True)
            self.begin()
        if self.chance.random() < 0.2:
            self.turn_reader()
        if self.left("-wal") and self.chance.random() < 0.2:
            self.kill_opener()
        plan = self.plan()
        left = self.left("-wal") or self.left("-undo")
        child = Child(self.folder, record, self.filename, plan)
        self.wait_for_the_moment(child, plan)
        killed = time.monotonic_ns()
        status = child.finish(kill=True)
        self.note(child, plan, status, killed, left)
        if self.chance.random() < 0.6:
            self.check(last=False)

    def wait_for_the_moment(self, child: Child, plan: Plan) -> None:
        """Return when a round's process is to be killed, or has ended."""
        chance, way = self.chance, plan.way
        begin = time.monotonic()
        # Now and then so long that the promise of a second means something.
        longest = 2.5 if chance.random() < 0.02 else chance.choice((0.02, 0.1, 0.3))
        if way in ("close", "exit"):
            plan.calls = min(plan.calls, 200)
        until = begin + (chance.uniform(0, longest) if way == "any" else 2 * longest)
        aimed = {"undo": "-undo", "next": "-wal-next"}.get(way, "")
        after = {"recovery": OPENING, "close": CLOSING, "exit": CLOSED}.get(way, -1)
        from_then = begin + chance.uniform(0, longest) / 2
        while time.monotonic() < until:
            if not child.listen(0.0001 if aimed else 0.002):
                return
            if aimed and time.monotonic() > from_then and self.left(aimed):
                time.sleep(chance.choice((0, 0, 0.001, 0.005)))
                return
            if after >= 0 and child.last_kind() == after:
                time.sleep(chance.uniform(0, 0.03))
                return

    def note(self, child: Child, plan: Plan, status: int, killed: int, left: bool) -> None:
        """Keep what a round has promised."""
        kinds = child.kinds()
        closing, closed = bool(kinds[CLOSING]), bool(kinds[CLOSED])
        count = self.count
        count["busy"] += status == 2
        count["kills"] += status == -signal.SIGKILL
        if status == -signal.SIGKILL:
            undo = self.left("-undo")
            count["in a checkpoint"] += undo
            count["in a recovery"] += left and not kinds[OPENED]
            count["in a recovery's checkpoint"] += left and not kinds[OPENED] and undo
            count["in a close"] += closing and not closed
        elif status == 1 or (status == 2 and self.reader is None):
            self.fail(f"the writer failed: {child.error.read_text()}")
        for name, durability in zip(plan.names, plan.durabilities, strict=True):
            session = Session(plan.number, name, durability, killed=killed)
            session.closing, session.closed = closing, closed
            self.sessions.append(session)
        by_name = {session.name: session for session in self.sessions[-len(plan.names) :]}
        end = len(child.data) // MESSAGE.size * MESSAGE.size
        for kind, name, episode, step, moment in MESSAGE.iter_unpack(child.data[:end]):
            if kind == RETURNED:
                by_name[NAMES[name]].returned.append((episode, step, moment))
                count["calls"] += 1

    def kill_opener(self) -> None:
        """Kill a process that recovers the file in order to read it."""
        opener = Child(self.folder, recover, self.filename)
        opener.listen(self.chance.uniform(0, 0.06))
        status = opener.finish(kill=True)
        if status == -signal.SIGKILL:
            self.count.update(("kills", "in a recovery"))
            self.count["in a recovery's checkpoint"] += self.left("-undo")
        elif status == 1:
            self.fail(f"a reader could not open it: {opener.error.read_text()}")

    def turn_reader(self) -> None:
        """Begin to read beside the writers, or end it."""
        if self.reader is None:
            self.reader = Child(self.folder, read, self.filename)
            return
        status = self.reader.finish(kill=True)
        self.count["looks of a reader"] += self.reader.kinds()[SEEN]
        if status != -signal.SIGKILL:
            self.fail(f"the reader failed: {self.reader.error.read_text()}")
        self.reader = None

    def check(self, *, last: bool) -> None:
        """Open the file in another process, and compare it."""
        if last and self.reader is not None:
            self.turn_reader()
        kept = self.folder / "before"
        shutil.rmtree(kept, ignore_errors=True)
        kept.mkdir()
        if self.reader is None:
            for path in self.folder.glob("x.h5*"):
                shutil.copy(path, kept)
        self.count["recoveries"] += self.left("-wal")
        checker = Child(self.folder, check, self.filename, self.sessions, self.checked, last)
        if checker.finish() != 0:
            self.fail(checker.error.read_text())
            return
        result = json.loads(checker.data)
        self.late = max(self.late, result["late"])
        self.count["checks"] += 1
        self.count["rows"] += result["rows"] if last else 0
        self.count["records"] += result.get("records", 0)
        self.checked = self.number + 1

    def fail(self, text: str) -> None:
        """Note a failure, keep the folder, and begin another file."""
        self.failures.append(f"round {self.round}: {text}")
        if self.reader is not None:
            self.reader.finish(kill=True)
        kept = self.folder.with_name(f"{self.folder.name}-failed-{len(self.failures)}")
        shutil.rmtree(kept, ignore_errors=True)
        self.folder.rename(kept)
        print(f"FAILED, see {kept}: {self.failures[-1]}", flush=True)
        self.begin()

    def left(self, suffix: str) -> bool:
        """Return whether a writer is there, or has died, or is in the midst of something."""
        return os.path.exists(self.filename + suffix)

    def report(self) -> None:
        """Print what was done."""
        words = ", ".join(f"{number:,} {name}" for name, number in self.count.items())
        print(f"{words}; oldest row lost {self.late:+.3f} s from the promise", flush=True)
        lost = sum("promised" in failure for failure in self.failures)
        print(f"lost beyond the promise: {lost}; other failures: {len(self.failures) - lost}")


def main() -> int:
    """Torture, and return 1 if anything was not as promised."""
    parser = argparse.ArgumentParser(description="kills recordings and looks what is left")
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--kills", type=int, default=sys.maxsize)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, default=None)
    arguments = parser.parse_args()
    folder = arguments.folder or Path(tempfile.mkdtemp(prefix="torture-"))
    torture = Torture(folder / str(arguments.seed), arguments.seed)
    end = time.monotonic() + 60 * arguments.minutes
    while time.monotonic() < end and torture.count["kills"] < arguments.kills:
        torture.go()
    torture.check(last=True)
    torture.report()
    if not torture.failures and arguments.folder is None:
        shutil.rmtree(folder)
    return 1 if torture.failures else 0


if __name__ == "__main__":
    sys.exit(main())

# SPDX-License-Identifier: LGPL-3.0-or-later
"""No step that was committed is lost, whenever the recording is killed or the power fails.

All points, not a sample: ``python -m tests.test_crash``.
"""

from __future__ import annotations

import argparse
import math
import random
import tempfile
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import tables
from gymnasium import spaces

import gymbag
from gymbag.storage import compression, file, foreign, writer
from gymbag.storage.compression import Compression
from tests.crash import WAYS, Folder, Trace, Way, promises_noted, watched

SPACES = {
    "wide": (spaces.Box(0, 255, (40, 40, 3), np.uint8), spaces.Discrete(3)),
    "ragged": (spaces.Sequence(spaces.Box(-1, 1, (2,), np.float32)), spaces.Discrete(3)),
}
Calls = dict[str, list[Any]]
"""What was done to each data set: None for a close, "reset", or a step's number and end."""
Plan = list[tuple[str, Any]]


def plan() -> list[Plan]:
    """Return what is done, opening after opening: which data set, and what.

    Commits, syncs and checkpoints; late info keys and JSON cells; a reset without a step, one in
    mid-episode, options; two data sets at once; chunks of 4 rows that are filled and are not.
    """
    first: Plan = [("wide", "reset"), *[("wide", i) for i in range(3)], ("", "sync")]
    first += [*[("wide", i) for i in range(3, 7)], ("", "commit"), ("wide", "end")]
    first += [("wide", "reset"), ("ragged", "reset"), ("wide", 7), ("ragged", 1), ("", "sync")]
    first += [("ragged", 2), ("ragged", "reset"), ("", "checkpoint"), ("ragged", 3)]
    first += [("wide", 8), ("", "commit"), ("wide", "reset"), ("wide", "reset"), ("wide", 9)]
    second: Plan = [("ragged", "reset"), ("ragged", 4), ("", "sync"), ("", "checkpoint")]
    second += [("ragged", i) for i in range(5, 12)] + [("", "sync"), ("ragged", "end")]
    third: Plan = [("wide", "reset"), ("wide", 10), ("", "commit"), ("wide", 11), ("wide", "end")]
    return [first, second, third]


def value(name: str, number: int) -> Any:
    if name == "wide":
        return np.full((40, 40, 3), number % 251, np.uint8)
    return tuple(np.full(2, number / 1000 + k / 7, np.float32) for k in range(number % 3))


def info(number: int) -> dict[str, Any]:
    """Return an info whose keys come one after another, one of them no column's."""
    found: dict[str, Any] = {"number": number} if number > 2 else {}
    return found | ({"list": [number, {"deep": None}]} if number % 4 == 3 else {})


def expected(name: str, calls: list[Any]) -> list[list[Any]]:
    """Return the episodes that calls amount to, if nothing follows."""
    episodes: list[list[Any]] = []
    running = False
    for number, call in enumerate(calls):
        if running and call in ("reset", None):
            _cut_off(episodes, "reset" if call == "reset" else "closed")
            running = False
        if call == "reset":
            row = (value(name, number), None, math.nan, False, False, info(number))
            episodes.append([_options(number), "", row])
            running = True
        elif call is not None:
            ends = call == "end"
            row = (value(name, number), number % 3, number / 8, ends, False, info(number))
            episodes[-1].append(row)
            if ends:
                episodes[-1][1] = "terminated"
                running = False
    if running:
        _cut_off(episodes, "interrupted")
    return episodes


def _cut_off(episodes: list[list[Any]], ended: str) -> None:
    if len(episodes[-1]) == 3:
        episodes.pop()
        return
    episodes[-1][1] = ended
    *most, last = episodes[-1]
    episodes[-1] = [*most, (*last[:4], True, last[5])]


def _options(number: int) -> dict[str, Any] | None:
    return {"at": number} if number % 2 else None


@contextmanager
def small_chunks() -> Iterator[None]:
    table = Compression("zstd", 1, True, 4, 4)
    with ExitStack() as stack:
        for place, name, small in (
            (compression, "CHUNK_ROWS", 4),
            (writer, "TABLE", table),
            (writer, "TEXT", table),
            (file, "check_before_writing", lambda *_: frozenset()),
        ):
            stack.enter_context(mock.patch.object(place, name, small))
        yield


def perform(filename: Path, what: Plan, calls: Calls) -> None:
    """Do what is planned, from the opening of the file to its end."""
    recorders: dict[str, gymbag.HDF5Recorder] = {}
    for name, do in what:
        if not name:
            recording = next(iter(recorders.values()))._recording
            {
                "commit": recording.file.commit,
                "sync": recording.secure,
                "checkpoint": recording.file.checkpoint,
            }[do]()
            continue
        if name not in recorders:
            recorders[name] = gymbag.HDF5Recorder(filename, *SPACES[name], name, durability="close")
        done = calls.setdefault(name, [])
        number = len(done)
        observation, about = value(name, number), info(number)
        done.append(do)
        if do == "reset":
            options = _options(number)
            recorders[name].on_reset(float(number), observation, about, options=options)
        else:
            step = (observation, number % 3, number / 8, do == "end", False, about)
            recorders[name].on_step(float(number), *step)
    for name, recorder in recorders.items():
        calls[name].append(None)
        recorder.on_close()


def make(folder: Path) -> Trace:
    """Return all that the whole plan does to a folder."""
    trace, calls = Trace(), Calls()
    filename = folder / "x.h5"

    def visible() -> dict[str, int]:
        return {name: len(done) for name, done in calls.items()}

    with small_chunks(), promises_noted(trace, visible):
        for part in plan():
            with watched(folder, trace):
                perform(filename, part, calls)
    trace.mark("trying", visible())
    trace.calls = calls  # type: ignore[attr-defined]
    return trace


def check(
    folder: Folder,
    calls: Calls,
    least: dict[str, int],
    most: dict[str, int],
    *,
    onward: bool = True,
) -> None:
    """Check that a folder holds what was promised and nothing else, and that it goes on."""
    file._open.clear()
    foreign._sound.clear()
    with tempfile.TemporaryDirectory() as place, small_chunks(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        filename = Path(place) / "x.h5"
        for name, content in folder.items():
            (Path(place) / name).write_bytes(content)
        if not filename.exists():
            assert not any(least.values()), "the file is not there"
            return
        before = {
            name: _matching(filename, name, calls, least.get(name, 0), most.get(name, 0))
            for name in SPACES
        }
        if not onward:
            return
        more: Plan = [("wide", "reset"), ("wide", 1), ("wide", "end"), ("ragged", "reset")]
        perform(filename, [*more, ("ragged", 1)], {})
        for name, rows in (("wide", 3), ("ragged", 2)):
            kept = expected(name, calls.get(name, [])[: before[name]])
            *found, last = _read(filename, name)
            assert _same(found, kept)
            assert len(last[2:]) == rows
        with tables.open_file(filename) as hdf5:
            rows = hdf5.get_node("/wide/steps").nrows
            assert hdf5.get_node("/wide/observation").shape[0] == rows
        assert gymbag.verify(filename)


def _matching(filename: Path, name: str, calls: Calls, least: int, most: int) -> int:
    """Return how many calls a data set holds; at least and at most so many."""
    found = _read(filename, name)
    done = calls.get(name, [])
    for count in range(most, least - 1, -1):
        if _same(found, expected(name, done[:count])):
            return count
    raise AssertionError(f"{name}: not what {least} to {most} calls amount to: {found!r:.300}")


def _read(filename: Path, name: str) -> list[list[Any]]:
    if name not in gymbag.list_datasets(filename):
        return []
    with gymbag.open(filename, name) as store:
        return [
            [e.options, str(e.ended), *((s[1], *s[2:]) for s in e.steps())] for e in store.episodes
        ]


def _same(found: list[list[Any]], right: list[list[Any]]) -> bool:
    return len(found) == len(right) and all(
        len(one) == len(other)
        and one[:2] == other[:2]
        and all(_same_row(a, b) for a, b in zip(one[2:], other[2:], strict=True))
        for one, other in zip(found, right, strict=True)
    )


def _same_row(found: Any, right: Any) -> bool:
    observation, action, reward, *rest = found
    wanted, act, gain, *others = right
    return (
        len(observation) == len(wanted)
        and all(np.array_equal(a, b) for a, b in zip(observation, wanted, strict=True))
        and (act is None or action == act)
        and (reward == gain or (math.isnan(reward) and math.isnan(gain)))
        and rest == others
    )


def promised(trace: Trace, at: int, kind: str) -> dict[str, int]:
    """Return what was promised before a change, against a kill or a power cut."""
    marks = [op.promise for op in trace.ops[:at] if op.caller == kind and op.kind == "mark"]
    return marks[-1] or {} if marks else {}


def tried(trace: Trace, at: int) -> dict[str, int]:
    """Return the most that can be there at a change."""
    return next((op.promise for op in trace.ops[at:] if op.caller == "trying"), {})


def walk(trace: Trace, points: list[int], seed: int) -> Counter[str]:
    """Check kills and power cuts at these changes; return how many there were."""
    counts: Counter[str] = Counter()
    for at in points:
        rng = random.Random(f"{seed} {at}")
        calls, most = trace.calls, tried(trace, at)  # type: ignore[attr-defined]
        for dead in (trace.killed(at), trace.killed(at, rng)):
            check(dead.folder(), calls, promised(trace, at, "kill"), most)
        cut_power(trace, at, seed)
        counts += Counter({"points": 1, "kills": 2, "power cuts": len(WAYS)})
    return counts


def cut_power(
    trace: Trace, at: int, seed: int, *, ways: tuple[Way, ...] = WAYS, onward: bool = True
) -> None:
    """Check all that a power cut may leave at a change."""
    rng = random.Random(f"{seed} {at} dark")
    least, most = promised(trace, at, "power"), tried(trace, at)
    for way in ways:
        dark = trace.killed(at, rng).after_power_cut(way, rng)
        check(dark, trace.calls, least, most, onward=onward)  # type: ignore[attr-defined]


@pytest.fixture(scope="module")
def trace(tmp_path_factory: pytest.TempPathFactory) -> Trace:
    return make(tmp_path_factory.mktemp("crash"))


def test_nothing_committed_is_lost(trace: Trace) -> None:
    counts = walk(trace, trace.moments()[::8], seed=0)
    assert counts["kills"] > 20


def test_nothing_is_lost_if_the_recovery_dies_too(trace: Trace, tmp_path: Path) -> None:
    moments = trace.moments()
    for number, at in enumerate(moments[len(moments) // 3 :: len(moments) // 4]):
        folder = tmp_path / str(number)
        folder.mkdir()
        dead = trace.killed(at)
        for name, content in dead.folder().items():
            (folder / name).write_bytes(content)
        with small_chunks(), watched(folder, dead), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            gymbag.list_datasets(folder / "x.h5")
        for again in range(at, len(dead.ops), 3):
            least, most = promised(trace, at, "kill"), tried(trace, at)
            check(dead.killed(again).folder(), trace.calls, least, most)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("kind", "caller"),
    [
        ("sync", "log.sync"),
        ("sync", "file._store"),
        ("sync", "undo.write_undo"),
        ("sync folder", "undo.write_undo"),
        ("sync folder", "file._open"),
        ("sync folder", "file._bring_up"),
        ("sync folder", "file._begin_log"),
    ],
)
def test_each_sync_is_needed(trace: Trace, kind: str, caller: str) -> None:
    needed = Trace([op for op in trace.ops if not (op.kind == kind and op.caller == caller)])
    needed.calls = trace.calls  # type: ignore[attr-defined]
    assert len(needed.ops) < len(trace.ops)
    with pytest.raises((AssertionError, gymbag.FileError)):
        cut_power_often(needed)


def cut_power_often(trace: Trace) -> None:
    """Cut the power everywhere, and in the ways that leave most to chance where files change."""
    for at in trace.moments()[::2]:
        cut_power(trace, at, 0, ways=("names lost", "lost"), onward=False)
    changes = ("rename", "remove", "hdf5", "cut")
    for seed in range(20):
        for at in trace.moments():
            if any(op.kind in changes for op in trace.ops[max(0, at - 4) : at]):
                cut_power(trace, at, seed, ways=("sectors", "data lost"), onward=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=1)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        trace = make(Path(folder))
        counts: Counter[str] = Counter()
        for seed in range(arguments.seeds):
            counts += walk(trace, trace.moments(), seed)
    print(", ".join(f"{count} {name}" for name, count in counts.items()), "; lost 0, unopenable 0")


if __name__ == "__main__":
    main()

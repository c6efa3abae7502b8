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
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tables

import gymbag
from gymbag.storage import file, foreign
from gymbag.storage.snapshot import Snapshot
from tests.crash import WAYS, Folder, Trace, Way, watched
from tests.crash_plan import SPACES, Calls, Plan, expected, make, perform, small_chunks, value


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
        assert [path.name for path in Path(place).iterdir() if "next" not in path.name] == ["x.h5"]
        snapshot = Snapshot(str(filename))
        with tables.open_file(filename) as hdf5:
            for path, column in snapshot.columns.items():
                leaf = hdf5.get_node(path)[:]
                assert leaf.tobytes() == column.read(0, column.rows).tobytes(), path
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
    tries = [i for i, op in enumerate(trace.ops) if op.caller == "trying"]
    promise: dict[str, int] = trace.ops[next((i for i in tries if i >= at), tries[-1])].promise
    return promise


def walk(trace: Trace, points: list[int], seed: int) -> Counter[str]:
    """Check kills and power cuts at these changes; return how many there were."""
    counts: Counter[str] = Counter()
    for at in points:
        rng = random.Random(f"{seed} {at}")
        calls, most = trace.calls, tried(trace, at)
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
        check(dark, trace.calls, least, most, onward=onward and way in ("kept", "sectors"))


@pytest.fixture(scope="module")
def trace(tmp_path_factory: pytest.TempPathFactory) -> Trace:
    return make(tmp_path_factory.mktemp("crash"))


def test_nothing_committed_is_lost(trace: Trace) -> None:
    counts = walk(trace, trace.moments()[::14], seed=0)
    assert counts["kills"] > 15


def recovery(trace: Trace, at: int, folder: Path, rng: random.Random | None = None) -> Trace:
    """Return what a process did that was killed at a change, and then the recovery."""
    dead = trace.killed(at, rng)
    for name, content in dead.folder().items():
        (folder / name).write_bytes(content)
    with small_chunks(), watched(folder, dead), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        gymbag.list_datasets(folder / "x.h5")
    # Whoever has seen the file may count on what is in it.
    dead.mark("power", promised(trace, at, "kill"))
    dead.mark("trying", tried(trace, at))
    return dead


def walk_recoveries(trace: Trace, points: list[int], seed: int, every: int) -> Counter[str]:
    """Check kills and power cuts in the recoveries from kills at and in these changes."""
    counts: Counter[str] = Counter()
    for at in points:
        rng = random.Random(f"{seed} {at} again")
        if not any(name == "x.h5" for name in trace.killed(at).folder()):
            continue
        with tempfile.TemporaryDirectory() as folder:
            dead = recovery(trace, at, Path(folder), rng)
        changes = [i for i in dead.moments() if i >= at]
        for again in [*changes[::every], len(dead.ops)]:
            least, most = promised(trace, at, "kill"), tried(trace, at)
            check(dead.killed(again, rng).folder(), trace.calls, least, most)
            ways: tuple[Way, ...] = ("data lost", rng.choice(WAYS), "sectors")
            cut_power(dead, again, seed, ways=ways)
            counts += Counter({"recoveries' kills": 1, "recoveries' power cuts": len(ways)})
    return counts


def test_nothing_is_lost_if_the_recovery_dies_too(trace: Trace) -> None:
    changed = [at for at in trace.moments() if trace.ops[at].kind == "hdf5"]
    counts = walk_recoveries(trace, [changed[1], changed[-1]], 0, every=8)
    assert counts["recoveries' kills"] > 6


def test_a_log_that_goes_on_for_want_of_room_is_not_taken_for_anothers(trace: Trace) -> None:
    callers = [trace.ops[at].caller for at in trace.moments()]
    after = [
        number
        for number, (one, two, three) in enumerate(
            zip(callers, callers[1:], callers[2:], strict=False)
        )
        if (one, two) == ("file._bring_up", "lock.name_base")
        and three not in ("lock.successor", "file.close")
    ]
    assert len(after) == 1
    moments = trace.moments()[after[0] + 2 :][:6]
    for at, seed in product(moments, range(3)):
        cut_power(trace, at, seed, ways=("some", "sectors"), onward=False)


@pytest.mark.parametrize(
    ("kind", "caller"),
    [
        ("sync", "file.sync"),
        ("sync", "file.checkpoint"),
        ("sync", "file._replace_log"),
        ("sync", "merge.write_index"),
        ("sync", "undo.write_undo"),
        ("sync folder", "undo.write_undo"),
        ("sync folder", "file._open"),
        ("sync folder", "file._bring_up"),
        ("sync folder", "file._replace_log"),
    ],
)
def test_each_sync_is_needed(trace: Trace, kind: str, caller: str) -> None:
    careless = trace.without(lambda op: op.kind == kind and op.caller == caller)
    assert len(careless.ops) < len(trace.ops)
    with pytest.raises((AssertionError, gymbag.FileError)):
        cut_power_often(careless)


def test_the_journal_is_needed(trace: Trace) -> None:
    journals = {op.inode for op in trace.ops if op.kind == "make" and op.name == "x.h5-undo"}
    careless = trace.without(lambda op: op.inode in journals or op.name == "x.h5-undo")
    changed = [at for at in careless.moments() if careless.ops[at].kind == "hdf5"]
    with pytest.raises((AssertionError, gymbag.FileError)):
        walk(careless, changed, seed=0)


def test_the_sync_of_what_is_put_back_is_needed(trace: Trace, tmp_path: Path) -> None:
    changed = [at for at in trace.moments() if trace.ops[at].kind == "hdf5"][-1]
    dead = recovery(trace, changed, tmp_path, random.Random(1))
    careless = dead.without(lambda op: op.caller == "undo.put_back" and op.kind == "sync")
    assert len(careless.ops) < len(dead.ops)
    with pytest.raises((AssertionError, gymbag.FileError)):
        cut_power_often(careless, since=changed)


def cut_power_often(trace: Trace, since: int = 0) -> None:
    """Cut the power everywhere, and in the ways that leave most to chance where files change."""
    moments = [at for at in trace.moments() if at >= since]
    for at in moments[::2]:
        cut_power(trace, at, 0, ways=("names lost", "lost"), onward=False)
    changes = ("rename", "remove", "hdf5", "cut")
    for seed in range(20):
        for at in moments:
            if any(op.kind in changes for op in trace.ops[max(0, at - 4) : at]):
                cut_power(trace, at, seed, ways=("sectors", "data lost", "some"), onward=False)


def test_a_recorder_that_was_closed_is_complete_though_another_is_open(tmp_path: Path) -> None:
    filename, copy = tmp_path / "x.h5", tmp_path / "copy"
    copy.mkdir()
    both = {
        name: gymbag.HDF5Recorder(filename, *SPACES[name], name, durability="close")
        for name in SPACES
    }
    both["wide"].on_reset(0.0, value("wide", 0), {})
    both["wide"].on_step(1.0, value("wide", 1), 0, 1.0, True, False, {})
    both["wide"].on_close()
    for path in tmp_path.glob("x.h5*"):
        (copy / path.name).write_bytes(path.read_bytes())
    both["ragged"].on_close()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert [len(episode) for episode in gymbag.open(copy / "x.h5", "wide").episodes] == [1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=1)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        trace = make(Path(folder))
        counts: Counter[str] = Counter()
        for seed in range(arguments.seeds):
            counts += walk(trace, trace.moments(), seed)
            counts += walk_recoveries(trace, trace.moments()[seed % 8 :: 8], seed, every=2)
    print(", ".join(f"{count} {name}" for name, count in counts.items()), "; lost 0, unopenable 0")


if __name__ == "__main__":
    main()

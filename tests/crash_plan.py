# SPDX-License-Identifier: LGPL-3.0-or-later
"""The recording that dies in `tests.test_crash`: what is done, and what must be there then."""

from __future__ import annotations

import errno
import math
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
from gymnasium import spaces

import gymbag
from gymbag.storage import compression, file, lock, writer
from gymbag.storage.compression import Compression
from gymbag.storage.footer import Footer, digest_of
from tests.crash import Trace, promises_noted, watched

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
    # Without room for a new log, the old one goes on.
    second += [("ragged", "reset"), ("ragged", 12), ("", "checkpoint without room"), ("ragged", 13)]
    second += [("", "commit"), ("ragged", 14), ("", "commit"), ("", "sync"), ("ragged", 15)]
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
    policy = compression.POLICIES["default"]._replace(table=table)
    with ExitStack() as stack:
        for place, name, small in (
            (compression, "CHUNK_ROWS", 4),
            (compression, "POLICIES", {"default": policy}),
            (writer, "TEXT", table),
            (file, "check_before_writing", _check_digest),
        ):
            stack.enter_context(mock.patch.object(place, name, small))
        yield


def _check_digest(_filename: str, descriptor: int, found: Footer) -> frozenset[str]:
    """Check what can be checked without a process for each file."""
    assert not found.end or found.digest == digest_of(descriptor, found)
    return frozenset()


def _without_room(recording: Any) -> None:
    full = OSError(errno.ENOSPC, "full")
    with mock.patch.object(lock, "successor", side_effect=full), pytest.raises(gymbag.FileError):
        recording.file.checkpoint()


def perform(filename: Path, what: Plan, calls: Calls) -> None:
    """Do what is planned, from the opening of the file to its end."""
    recorders: dict[str, gymbag.HDF5Recorder] = {}
    for name, do in what:
        if not name:
            recording = next(iter(recorders.values()))._recording
            acts: dict[str, Callable[[], Any]] = {
                "commit": partial(recording.file.commit, seen=False),
                "sync": recording.secure,
                "checkpoint": recording.file.checkpoint,
                "checkpoint without room": partial(_without_room, recording),
            }
            acts[do]()
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
            for kind in ("trying", "kill", "power"):
                trace.mark(kind, visible())
    trace.calls = calls
    return trace

# SPDX-License-Identifier: LGPL-3.0-or-later
"""Every moment at which a recording can die, and every disk that it can leave behind.

A recording is run once, and each change that it makes to files is kept, in order. From that
`Trace` follows what the folder would hold had the process been killed, or the power been cut, at
any moment. Each such folder is opened, compared with what was recorded, and recorded to again.

- A kill keeps all that was written, and of the change under way a beginning, cut at any byte.
- After a power cut, of what had not been synced each sector of 512 bytes, each length, and each
  name is there or not, independently of all others.
- What HDF5 does is not seen call by call. Instead any of the bytes that it changes may be as they
  were before, as they are after, or garbage, whatever the order: more than it can do.

``python -m tests.test_crash`` goes through all points, and prints what it found.
"""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple
from unittest import mock

import numpy as np

from gymbag.storage import disk, file, footer, log, pytables

SECTOR = 512
Kind = Literal["write", "cut", "hdf5", "sync", "make", "rename", "remove", "sync folder", "mark"]
Folder = dict[str, bytes]
Way = Literal["kept", "lost", "data lost", "names lost", "some", "sectors"]
WAYS: tuple[Way, ...] = ("kept", "lost", "data lost", "names lost", "some", "sectors")
"""What a power cut does to that which was not synced: "some" takes changes as a whole."""


class Op(NamedTuple):
    """One change; `inode` counts the files, so that a name can pass from one to another."""

    kind: Kind
    caller: str = ""
    """The module and the function that asked for it."""
    inode: int = 0
    offset: int = 0
    data: bytes = b""
    """What is written; all of the file, for HDF5, which cuts nothing off before `offset`."""
    name: str = ""
    target: str = ""
    promise: Any = None
    """What is promised from here on, for a mark."""


@dataclass
class Trace:
    """What a process did to a folder, and those before it."""

    ops: list[Op] = field(default_factory=list)
    inodes: dict[int, int] = field(default_factory=dict)
    """Our numbers of the files, by the system's."""
    files: int = 0
    calls: Any = None
    """What was recorded, for those who compare."""

    def mark(self, kind: str, promise: Any) -> None:
        """Note that something is promised: "trying", "kill" or "power"."""
        self.ops.append(Op("mark", kind, promise=promise))

    def without(self, leave_out: Callable[[Op], bool]) -> Trace:
        """Return what a process had done that leaves some of it out."""
        return replace(self, ops=[op for op in self.ops if not leave_out(op)])

    def moments(self) -> list[int]:
        """Return the numbers of the changes."""
        return [i for i, op in enumerate(self.ops) if op.kind != "mark"]

    def killed(self, at: int, rng: random.Random | None = None) -> Trace:
        """Return what was done up to a change, and a random part of it if `rng` is given."""
        ops = self.ops[:at]
        if rng is not None and at < len(self.ops):
            ops += _torn(self.ops[at], self.content(at), rng)
        return replace(self, ops=ops, inodes={})

    def content(self, at: int) -> bytes:
        """Return what the file of a change held before it."""
        content = b""
        for op in self.ops[:at]:
            if op.inode == self.ops[at].inode:
                content = _apply(content, op)
        return content

    def folder(self) -> Folder:
        """Return what the folder holds if nothing is lost."""
        return self.after_power_cut("kept", random.Random(0))

    def after_power_cut(self, way: Way, rng: random.Random) -> Folder:
        """Return what the folder may hold after a power cut."""
        synced: dict[int, int] = {}
        names_synced = -1
        for i, op in enumerate(self.ops):
            if op.kind == "sync":
                synced[op.inode] = i
            elif op.kind == "sync folder":
                names_synced = i
        names: dict[str, int] = {}
        contents: dict[int, bytes] = {}
        for i, op in enumerate(self.ops):
            if op.kind in ("make", "rename", "remove"):
                if i < names_synced or _name_survives(way, rng):
                    _rename(names, op)
            elif op.kind in ("write", "cut", "hdf5"):
                content = contents.get(op.inode, b"")
                kept = _apply(content, op)
                if i > synced.get(op.inode, -1):
                    kept = _survives(content, kept, op, way, rng)
                contents[op.inode] = kept
        return {name: contents.get(inode, b"") for name, inode in names.items()}


def _apply(content: bytes, op: Op) -> bytes:
    if op.kind == "write":
        content = content.ljust(op.offset, b"\0")
        return content[: op.offset] + op.data + content[op.offset + len(op.data) :]
    if op.kind == "cut":
        return content[: op.offset].ljust(op.offset, b"\0")
    return op.data if op.kind == "hdf5" else content


def _rename(names: dict[str, int], op: Op) -> None:
    if op.kind == "remove":
        names.pop(op.name, None)
    elif op.kind == "make":
        names[op.name] = op.inode
    else:
        names.pop(op.name, None)
        names[op.target] = op.inode


def _name_survives(way: Way, rng: random.Random) -> bool:
    if way in ("some", "sectors"):
        return rng.random() < 0.5
    return way in ("kept", "data lost")


def _survives(before: bytes, after: bytes, op: Op, way: Way, rng: random.Random) -> bytes:
    """Return what may be left of a change to a file that was not synced."""
    if way in ("kept", "names lost"):
        return after
    if way in ("lost", "data lost") or (way == "some" and rng.random() < 0.5):
        return before
    if way == "some":
        return after
    if op.kind == "hdf5":
        return _half_changed(before, after, rng, op.offset)
    # Each sector on its own; the length may have reached the disk before or after them.
    luck = rng.choice((0.2, 0.5, 0.9))
    size = rng.choice((len(before), len(after), rng.randint(0, len(after))))
    return _mixed(before, after, size, lambda: rng.random() < luck)


def _mixed(before: bytes, after: bytes, size: int, new: Callable[[], bool]) -> bytes:
    longest = max(len(before), len(after))
    parts = []
    for start in range(0, longest, SECTOR):
        stop = min(start + SECTOR, longest)
        source = after if new() else before
        parts.append(source[start:stop].ljust(stop - start, b"\0"))
    # What was there and is not to be cut off can become no shorter.
    return b"".join(parts)[: max(size, min(len(before), len(after)))]


def _half_changed(before: bytes, after: bytes, rng: random.Random, floor: int) -> bytes:
    """Return a file that HDF5 has half done with, at least `floor` bytes of it."""
    shape = rng.choice(("prefix", "suffix", "random", "random", "garbage", "all"))
    size = rng.choice((len(before), len(after), rng.randint(0, max(len(before), len(after)))))
    size = max(size, floor)
    sectors = -(-max(len(before), len(after)) // SECTOR)
    border = rng.randint(0, sectors)
    chosen = {
        "prefix": np.arange(sectors) < border,
        "suffix": np.arange(sectors) >= border,
        "all": np.ones(sectors, bool),
    }.get(shape, np.array([rng.random() < 0.5 for _ in range(sectors)], bool))
    mixed = _mixed(before, after, len(after), iter(chosen.tolist()).__next__)
    if shape == "garbage":
        # HDF5 may write something twice, and what stood there in between we do not know. But what
        # it leaves as it was, it has not touched.
        old, new = (np.frombuffer(x.ljust(len(mixed), b"\0"), "u1") for x in (before, after))
        length = len(mixed)
        touched = (old[:length] != new[:length]) | (np.arange(length) >= len(before))
        noise = np.frombuffer(rng.randbytes(length), "u1")
        values = np.frombuffer(mixed, "u1")
        mixed = np.where(touched & (noise < 128), noise, values).tobytes()
    elif shape == "prefix" and border:
        # Torn in the middle of a sector, as by a kill.
        place = rng.randrange(border * SECTOR)
        mixed = (after[:place] + before[place:]).ljust(place, b"\0")
    return mixed[:size].ljust(min(size, len(before)), b"\0")


def _torn(op: Op, content: bytes, rng: random.Random) -> list[Op]:
    """Return a part of one change, as a kill may leave it."""
    if op.kind == "hdf5":
        return [op._replace(data=_half_changed(content, op.data, rng, op.offset))]
    if op.kind == "write" and op.data:
        return [op._replace(data=op.data[: rng.randrange(len(op.data))])]
    return []


@contextmanager
def watched(folder: Path, trace: Trace) -> Iterator[Trace]:
    """Note all that this process does to the files of a folder. Nothing waits for the disk."""
    with ExitStack() as stack:
        watch = _Watch(folder, trace)
        for module, name in (
            *((os, "open"), (disk, "write_at"), (disk, "truncate"), (disk, "sync")),
            *((disk, "sync_folder"), (disk, "replace"), (disk, "unlink"), (pytables, "store")),
        ):
            real = getattr(module, name)
            patched = getattr(watch, name)
            stack.enter_context(
                mock.patch.object(module, name, lambda *a, p=patched, r=real, **k: p(r, *a, **k))
            )
        yield trace


class _Watch:
    def __init__(self, folder: Path, trace: Trace) -> None:
        self.folder = str(folder)
        self.trace = trace
        for path in folder.iterdir():
            # What is there already was made by those whose trace this goes on with.
            number = _rebuilt(trace.ops)[path.name]
            trace.inodes[os.stat(path).st_ino] = number

    def note(self, kind: Kind, descriptor: int = -1, **more: Any) -> None:
        if descriptor >= 0:
            more["inode"] = self.trace.inodes[os.fstat(descriptor).st_ino]
        self.trace.ops.append(Op(kind, _caller(), **more))

    def open(self, real: Any, path: Any, flags: int, *rest: Any, **more: Any) -> int:
        ours = isinstance(path, str) and os.path.dirname(path) == self.folder
        there = ours and os.path.exists(path)
        descriptor: int = real(path, flags, *rest, **more)
        if ours and flags & os.O_CREAT and not there:
            self.trace.files += 1
            self.trace.inodes[os.fstat(descriptor).st_ino] = self.trace.files
            self.note("make", descriptor, name=os.path.basename(path))
        elif there and flags & os.O_TRUNC:
            self.note("cut", descriptor, offset=0)
        return descriptor

    def write_at(self, real: Any, descriptor: int, parts: Any, offset: int) -> int:
        self.note("write", descriptor, offset=offset, data=b"".join(bytes(p) for p in parts))
        end: int = real(descriptor, parts, offset)
        return end

    def truncate(self, real: Any, descriptor: int, size: int) -> None:
        self.note("cut", descriptor, offset=size)
        real(descriptor, size)

    def sync(self, _real: Any, descriptor: int) -> None:
        self.note("sync", descriptor)

    def sync_folder(self, _real: Any, _path: str) -> None:
        self.note("sync folder")

    def replace(self, real: Any, source: str, target: str) -> None:
        inode = self.trace.inodes[os.stat(source).st_ino]
        names = os.path.basename(source), os.path.basename(target)
        self.note("rename", inode=inode, name=names[0], target=names[1])
        real(source, target)

    def unlink(self, real: Any, path: str) -> None:
        self.note("remove", name=os.path.basename(path))
        real(path)

    def store(self, real: Any, filename: str, *rest: Any, **more: Any) -> Any:
        floor = _end_of_full_chunks(filename)
        places = real(filename, *rest, **more)
        inode = self.trace.inodes[os.stat(filename).st_ino]
        self.note("hdf5", inode=inode, offset=floor, data=Path(filename).read_bytes())
        return places


def _end_of_full_chunks(filename: str) -> int:
    """Return below which length HDF5 never cuts a file off: it frees no full chunk."""
    descriptor = os.open(filename, os.O_RDONLY)
    try:
        found = footer.read_footer(descriptor)
        size = os.fstat(descriptor).st_size
    finally:
        os.close(descriptor)
    assert found is not None
    return footer.outside_chunks(found, size)[-1][0] if size else 0


def _rebuilt(ops: list[Op]) -> dict[str, int]:
    names: dict[str, int] = {}
    for op in ops:
        if op.kind in ("make", "rename", "remove"):
            _rename(names, op)
    return names


def _caller() -> str:
    """Return who called `disk`, as the name of its module and of its function."""
    frame = sys._getframe()
    # Of a log's own `sync` its caller is of interest, for there is more than one.
    while frame.f_code.co_filename == __file__ or frame.f_code is log.LogWriter.sync.__code__:
        assert frame.f_back is not None
        frame = frame.f_back
    return f"{Path(frame.f_code.co_filename).stem}.{frame.f_code.co_name}"


@contextmanager
def promises_noted(trace: Trace, visible: Callable[[], Any]) -> Iterator[None]:
    """Note in a trace what each commit and each sync promises."""
    commit, sync = file.StepFile.commit, file.StepFile.sync

    def noted_commit(self: file.StepFile, **how: Any) -> None:
        trace.mark("trying", visible())
        commit(self, **how)
        trace.mark("kill", visible())

    def noted_sync(self: file.StepFile) -> None:
        promise = next((op.promise for op in reversed(trace.ops) if op.caller == "kill"), None)
        sync(self)
        trace.mark("power", promise)

    with (
        mock.patch.object(file.StepFile, "commit", noted_commit),
        mock.patch.object(file.StepFile, "sync", noted_sync),
    ):
        yield

# SPDX-License-Identifier: LGPL-3.0-or-later
"""What stands in an HDF5 file that gymbag did not close itself: asked of a child process.

gymbag's own files say at their end where each chunk is, and are read without HDF5. Where that is
missing, because another program wrote to the file or made it, HDF5's metadata must be read; and a
file can crash HDF5, keep it busy for ever, or have it take all memory. So a child process does it
(`gymbag.storage.scan`), and this side believes nothing that comes back: each number is checked
before it is used, and no data is read here.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import math
import os
import re
import signal
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gymbag.errors import FileBusy, FileError, NoSuchFile, NotAStore
from gymbag.storage.filetypes import MOST_DEPTH, MOST_FIELDS, MOST_RANK, MOST_VALUE_BYTES
from gymbag.storage.scan import MOST_CHUNK_BYTES, MOST_OUTPUT, MOST_ROWS

SIGNATURE = b"\x89HDF\r\n\x1a\n"
MOST_REPORT = 1 << 25
CHUNK_DTYPE = np.dtype([("number", "<u8"), ("offset", "<u8"), ("size", "<u4")])
CODE = re.compile(r"[<>][iu][248]|[<>]f(2|4|8|16)|[<>]c(8|16|32)|\|[biu]1|\|S[1-9][0-9]{0,8}")
RESCUE = "gymbag rescue FILE -o NEW takes out what can still be read"

# The modules are imported by their names, but gymbag as a whole, which takes a second, is not.
BOOTSTRAP = """
import sys, types
for name, folder in (("gymbag", sys.argv[2]), ("gymbag.storage", sys.argv[3])):
    sys.modules[name] = types.ModuleType(name)
    sys.modules[name].__path__ = [folder]
from gymbag.storage.scan import main
main()
"""


@dataclass(frozen=True, slots=True, eq=False)
class ScannedLeaf:
    """A table or an array of the file, and where its chunks are."""

    path: tuple[str, ...]
    """Its group's name and its own, as HDF5 has them; its own alone if it stands in the root."""
    dtype: np.dtype[Any]
    """Of one value as it stands in the file, in its order of bytes; of a whole row in a table.
    PyTables' times are integers here: seconds, or ``seconds << 32 | microseconds``."""
    shape: tuple[int, ...]
    """Of one row."""
    rows: int
    chunk_rows: int
    filters: tuple[tuple[int, int, tuple[int, ...]], ...]
    """Number, flags and client data of each of HDF5's filters; Blosc2 is 32026, Blosc 32001."""
    numbers: NDArray[np.uint64]
    """Which chunks stand in the file, ascending. One that is missing has zeros only."""
    offsets: NDArray[np.uint64]
    """Where each of them begins in the file."""
    sizes: NDArray[np.uint32]
    """How many bytes each takes in the file."""
    texts: Mapping[str, bytes]
    """What gymbag 0.4.9 wrote in attributes; in the root's tables only."""

    @property
    def kind(self) -> str:
        """Whether it is a "table" or an "array"."""
        return "table" if self.dtype.names else "array"


@dataclass(frozen=True, slots=True, eq=False)
class Scan:
    """What stands in a file."""

    format: int | None
    """The format of gymbag's that the file's root names, if any."""
    legacy: bool
    """Whether gymbag 0.4.9 wrote it."""
    end: int
    """Where the space that HDF5 has taken ends; what follows is not HDF5's."""
    leaves: tuple[ScannedLeaf, ...]
    """In the root's groups where `format` is not None, and in the root where `legacy`."""
    refused: Mapping[tuple[str, ...], str]
    """What is there and gymbag does not touch, each with the reason; the first 1,000. A table of
    gymbag 0.4.9's of which only some chunks can be found is here, and in `leaves` as well."""


class _Unbelievable(ValueError):
    """The report says what cannot be."""


def look(path: str | os.PathLike[str], *, timeout: float = 20.0, max_bytes: int = 2 << 30) -> Scan:
    """Return what stands in an HDF5 file, found out by a child process.

    Args:
        path: the file.
        timeout: how many seconds the child may take.
        max_bytes: how many bytes of memory it may take.

    Raises:
        NoSuchFile: there is no file.
        NotAStore: it is not HDF5, or not built as gymbag builds its files.
        FileBusy: another program has it open for writing, or changed it meanwhile.
        FileError: it is damaged, or takes too long or too much memory to look at.
    """
    name = os.fspath(path)
    before = _check_file(name)
    output = _run(name, timeout, max_bytes)
    line, _, chunks = output.partition(b"\n")
    try:
        if len(line) > MOST_REPORT:
            raise _Unbelievable(f"a report of {len(line)} bytes")
        report = json.loads(line)
        if isinstance(report, dict) and "error" in report:
            raise _problem(name, str(report["error"]), str(report.get("message")))
        scan = _believe(report, chunks, before.st_size)
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError, MemoryError) as error:
        found = str(error) if isinstance(error, _Unbelievable) else repr(error)
        raise FileError(
            f"{name}: damaged: what HDF5 reads of it cannot be: {_shown(found)}; {RESCUE}"
        ) from None
    after = _check_file(name)
    if _identity(before) != _identity(after):
        raise FileBusy(f"{name}: it changed while it was looked at; wait until nobody writes to it")
    return scan


def _identity(status: os.stat_result) -> tuple[int, ...]:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _check_file(name: str) -> os.stat_result:
    """Return the status of a regular file that begins as HDF5 does."""
    try:
        status = os.stat(name)
        # Before it is opened: to open a pipe is to wait until somebody writes to it.
        start = _start(name) if stat.S_ISREG(status.st_mode) else None
    except FileNotFoundError:
        raise NoSuchFile(f"{name}: no such file") from None
    except (OSError, ValueError) as error:
        raise FileError(f"{name}: cannot be read: {error}") from error
    if start is None:
        kind = "a folder" if stat.S_ISDIR(status.st_mode) else "a pipe or device"
        raise NotAStore(f"{name}: {kind}, not a file")
    if start != SIGNATURE:
        found = "an empty file" if not start else f"it begins with {start!r}"
        raise NotAStore(f"{name}: not an HDF5 file: {found}")
    return status


def _start(name: str) -> bytes:
    with open(name, "rb") as file:
        return file.read(len(SIGNATURE))


def _run(name: str, timeout: float, max_bytes: int) -> bytes:
    """Return what the child wrote."""
    request = {
        "library": _library(),
        "file": os.path.abspath(name),
        "path": sys.path,
        "seconds": math.ceil(timeout) + 1,
        "bytes": max_bytes,
    }
    storage = Path(__file__).parent
    command = [sys.executable, "-I", "-S", "-c", BOOTSTRAP]
    command += [json.dumps(request), str(storage.parent), str(storage)]
    # HDF5 lets these choose drivers and plug-ins; only whether it locks files is the user's.
    environment = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith("HDF5_") or key == "HDF5_USE_FILE_LOCKING"
    }
    # To a file and not through a pipe: a file's size can be limited and be asked before reading.
    with tempfile.TemporaryDirectory(prefix="gymbag-") as folder:
        output = Path(folder, "report")
        try:
            with open(output, "wb") as out:
                process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=subprocess.DEVNULL,
                    cwd=folder,
                    env=environment,
                )
        except (OSError, ValueError) as error:
            raise FileError(f"{name}: no process can be started to look at it: {error}") from error
        code, late = _wait(process, timeout)
        _check_end(name, code, late, timeout)
        if output.stat().st_size > MOST_OUTPUT:
            raise FileError(f"{name}: damaged: what HDF5 reads of it has no end; {RESCUE}")
        return output.read_bytes()


def _wait(process: subprocess.Popen[bytes], timeout: float) -> tuple[int, bool]:
    """Return how the child ended, and whether it had to be ended."""
    late = threading.Event()

    def stop() -> None:
        late.set()
        process.kill()

    # Python's own way to wait for so long looks only every 50 ms.
    timer = threading.Timer(timeout, stop)
    timer.daemon = True
    timer.start()
    try:
        return process.wait(), late.is_set()
    finally:
        timer.cancel()
        with contextlib.suppress(OSError):
            process.kill()


def _check_end(name: str, code: int, late: bool, timeout: float) -> None:
    if late or code == -getattr(signal, "SIGXCPU", 0):
        raise FileError(
            f"{name}: damaged: HDF5 took longer than {timeout:g} s to look at it; {RESCUE}"
        )
    if code < 0:
        raise FileError(
            f"{name}: damaged: HDF5 itself crashed on it (signal {-code}, "
            f"{signal.strsignal(-code)}), in a process of its own; {RESCUE}"
        )
    if code:
        raise FileError(
            f"{name}: cannot be looked at: the process that reads HDF5 ended with code {code}, "
            f"perhaps for want of memory; {RESCUE}"
        )


def _library() -> str:
    """Return the file of PyTables that has HDF5 in it."""
    found = importlib.util.find_spec("tables")
    for folder in (found.submodule_search_locations or ()) if found else ():
        for path in sorted(Path(folder).glob("hdf5extension*")):
            if path.suffix in (".so", ".pyd"):
                return str(path)
    raise FileError("PyTables is not installed as expected: no hdf5extension beside it")


def _problem(name: str, kind: str, message: str) -> FileError:
    message = _shown(message)
    if kind == "busy":
        return FileBusy(f"{name}: another process holds it ({message}); close it there first")
    if kind == "refused":
        return NotAStore(f"{name}: an HDF5 file, but not one that gymbag reads: {message}")
    if kind == "library":
        return FileError(f"{name}: PyTables' HDF5 cannot be used to look at it: {message}")
    return FileError(f"{name}: damaged: {message}; {RESCUE}")


def _shown(text: str) -> str:
    """Return a text from the file as it can be shown."""
    return "".join(sign if sign.isprintable() else "\ufffd" for sign in text[:300])


def _believe(report: dict[str, Any], chunks: bytes, size: int) -> Scan:
    """Return what a report says, once all of it is found possible."""
    table = np.frombuffer(chunks, dtype=CHUNK_DTYPE)
    leaves, used = [], 0
    for told in report["leaves"]:
        count = _whole(told["chunks"], len(table) - used)
        leaves.append(_leaf(told, table[used : used + count], size))
        used += count
    if len({leaf.path for leaf in leaves}) < len(leaves):
        raise _Unbelievable("two things of the same name")
    version = report["format"]
    return Scan(
        format=None if version is None else _whole(version, 1 << 31),
        legacy=report["legacy"] is True,
        end=_whole(report["end"], size),
        leaves=tuple(leaves),
        refused={_path(path): _shown(str(reason)) for path, reason in report["refused"]},
    )


def _leaf(told: dict[str, Any], chunks: NDArray[Any], size: int) -> ScannedLeaf:
    dtype, base = _dtype(told["dtype"])
    shape = tuple(_whole(length, MOST_CHUNK_BYTES) for length in told["shape"]) + base
    rows, chunk_rows = _whole(told["rows"], MOST_ROWS), _whole(told["chunk_rows"], MOST_ROWS)
    if not chunk_rows or len(shape) > MOST_RANK - 1:
        raise _Unbelievable(f"chunks of {chunk_rows} rows of {len(shape)} dimensions")
    _whole(chunk_rows * math.prod(shape) * dtype.itemsize, MOST_CHUNK_BYTES)
    chunks = chunks[np.argsort(chunks["number"], kind="stable")]
    if len(told["path"]) == 1:
        chunks = _possible(chunks, -(-rows // chunk_rows), size)
    numbers, offsets, sizes = (chunks[field].copy() for field in CHUNK_DTYPE.names or ())
    if len(numbers) and int(numbers[-1]) >= -(-rows // chunk_rows):
        raise _Unbelievable("a chunk behind the last row")
    if (numbers[1:] == numbers[:-1]).any():
        raise _Unbelievable("two chunks for the same rows")
    # In this order nothing overflows.
    if (offsets > size).any() or (sizes > size - offsets).any() or not sizes.all():
        raise _Unbelievable("a chunk that does not lie in the file")
    return ScannedLeaf(
        path=_path(told["path"]),
        dtype=dtype,
        shape=shape,
        rows=rows,
        chunk_rows=chunk_rows,
        filters=tuple(
            (
                _whole(number, 65_535),
                _whole(flags, 1 << 32),
                tuple(_whole(x, 1 << 32) for x in data),
            )
            for number, flags, data in told["filters"]
        ),
        numbers=numbers,
        offsets=offsets,
        sizes=sizes,
        texts={str(key): str(text).encode("latin-1") for key, text in told["texts"].items()},
    )


def _possible(chunks: NDArray[Any], count: int, size: int) -> NDArray[Any]:
    """Return the chunks that can be where HDF5 says; that some are missing, others notice.

    For tables of gymbag 0.4.9's: there is no checksum on what HDF5 says, and no second index.
    """
    offsets, sizes = chunks["offset"], chunks["size"]
    inside = (offsets <= size) & (sizes <= size - np.minimum(offsets, size)) & (sizes > 0)
    chunks = chunks[inside & (chunks["number"] < count)]
    numbers, counts = np.unique(chunks["number"], return_counts=True)
    single: NDArray[Any] = chunks[np.isin(chunks["number"], numbers[counts == 1])]
    return single


def _path(told: Any) -> tuple[str, ...]:
    if not all(isinstance(name, str) for name in told):
        raise _Unbelievable("a name that is no text")
    return tuple(told)


def _whole(told: Any, most: int) -> int:
    if type(told) is not int or not 0 <= told <= most:
        raise _Unbelievable(f"{told!r:.40} instead of a number from 0 to {most}")
    return told


def _dtype(told: Any, depth: int = 0) -> tuple[np.dtype[Any], tuple[int, ...]]:
    """Return the type of a value, and its shape if it is an array."""
    if isinstance(told, str):
        if not CODE.fullmatch(told):
            raise _Unbelievable(f"the type {told!r:.40}")
        return np.dtype(told), ()
    if depth > MOST_DEPTH:
        raise _Unbelievable("a type nested too deeply")
    if "base" in told:
        dtype, inner = _dtype(told["base"], depth + 1)
        return dtype, tuple(_whole(length, MOST_VALUE_BYTES) for length in told["shape"]) + inner
    fields, size = told["fields"], _whole(told["size"], MOST_VALUE_BYTES)
    if not 1 <= len(fields) <= MOST_FIELDS:
        raise _Unbelievable(f"{len(fields)} columns")
    types = [_dtype(field[2], depth + 1) for field in fields]
    for dtype, shape in types:
        _whole(math.prod(shape) * dtype.itemsize, size)
        _whole(len(shape), MOST_RANK)
    formats: list[Any] = [(dtype, shape) if shape else dtype for dtype, shape in types]
    offsets = [_whole(field[1], size) for field in fields]
    # NumPy itself refuses names that come twice, and fields that end behind the row.
    names = _path([field[0] for field in fields])
    layout: Any = {"names": names, "formats": formats, "offsets": offsets, "itemsize": size}
    return np.dtype(layout), ()

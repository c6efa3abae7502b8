# SPDX-License-Identifier: LGPL-3.0-or-later
"""Open files, each opened once in a process however many use it.

PyTables refuses to open a file for writing that is open for reading, and the reverse; and it is
not safe to call from two threads, not even on two files. So all of a process's recordings and
readers of one file share one handle, which is exchanged when the first writer comes, and every
call to PyTables is made while `LOCK` is held.
"""

from __future__ import annotations

import atexit
import os
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import tables

from gymbag.errors import FileBusy, FileError, NewerFormat, NoSuchFile, NotAStore
from gymbag.storage.names import FORMAT, FORMAT_ATTRIBUTE
from gymbag.storage.unpickled import nothing_unpickled


class _Lock:
    """A lock for one thread at a time, which may take it again; nothing is unpickled inside."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._guards: list[AbstractContextManager[None]] = []

    def __enter__(self) -> None:
        self._lock.acquire()
        guard = nothing_unpickled()
        guard.__enter__()
        self._guards.append(guard)

    def __exit__(self, *error: object) -> None:
        self._guards.pop().__exit__(None, None, None)
        self._lock.release()


LOCK = _Lock()
"""Held around every call to PyTables."""


class SharedFile:
    """One HDF5 file, open in this process."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.writing = 0
        """How many connections write."""
        self.connections = 0
        self.before_read: list[Callable[[], None]] = []
        """What each recording does so that a reader sees all of it."""
        self.replaced = False
        """Whether a new file has taken the place of this one."""
        self._file: Any = None
        self._nodes: dict[str, Any] = {}

    @property
    def file(self) -> Any:
        """The open `tables.File`; opened again if PyTables closed it at the interpreter's exit."""
        if self.replaced:
            raise FileError(f"{self.path}: another file has taken its place; open that one")
        if self._file is None or not self._file.isopen:
            self._nodes.clear()
            self._file = _open(self.path, "a" if self.writing else "r")
        return self._file

    def node(self, path: str) -> Any:
        """Return the node at a path inside the file."""
        file = self.file
        if path not in self._nodes:
            self._nodes[path] = file.get_node(path)
        return self._nodes[path]

    def shut(self) -> None:
        """Close the handle; the next use opens another."""
        self._nodes.clear()
        if self._file is not None and self._file.isopen:
            self._file.close()
        self._file = None


_shared: dict[str, SharedFile] = {}


class Connection:
    """One user's share in an open file."""

    def __init__(self, filename: str | os.PathLike[str], *, writing: bool = False) -> None:
        self.filename = os.fspath(filename)
        self._writing = writing
        self._open = False
        path = os.path.realpath(self.filename)
        with LOCK:
            shared = _shared.get(path)
        for flush in list(shared.before_read) if shared and not writing else ():
            flush()
        with LOCK:
            self.shared = _shared.setdefault(path, SharedFile(path))
            self._connect()

    def _connect(self) -> None:
        shared = self.shared
        if self._writing and not shared.writing:
            shared.shut()
        shared.connections += 1
        shared.writing += self._writing
        self._open = True
        try:
            check_format(shared.file, self.filename)
        except BaseException:
            self.close()
            raise

    def node(self, path: str) -> Any:
        """Return the node at a path inside the file; call with `LOCK` held."""
        if not self._open:
            raise FileError(f"{self.filename}: closed; open it again to read on")
        return self.shared.node(path)

    def has(self, path: str) -> bool:
        """Return whether there is a node at a path inside the file; call with `LOCK` held."""
        return path in self.shared.file

    @property
    def file(self) -> Any:
        """The open `tables.File`; use with `LOCK` held."""
        return self.shared.file

    def flush(self) -> None:
        """Have HDF5 write what it holds."""
        with LOCK:
            self.shared.file.flush()

    def close(self) -> None:
        """Give the share back; the last one closes the file."""
        with LOCK:
            if not self._open:
                return
            self._open = False
            shared = self.shared
            shared.connections -= 1
            shared.writing -= self._writing
            if not shared.connections and not shared.replaced:
                _shared.pop(shared.path, None)
            if not shared.connections or (self._writing and not shared.writing):
                shared.shut()


def check_format(file: Any, filename: str) -> None:
    """Check that a file is ours, of a format that we know.

    Raises:
        NotAStore: another program wrote it, or gymbag 0.4.9 did.
        NewerFormat: a later gymbag wrote it.
    """
    found = getattr(file.root._v_attrs, FORMAT_ATTRIBUTE, None)
    if found is None:
        if any("gymbag_format" in leaf.attrs for leaf in file.iter_nodes("/", "Table")):
            raise NotAStore(
                f"{filename}: written by gymbag 0.4.9; make a file of today's format of it: "
                "gymbag convert OLD NEW, or gymbag.convert(old, new)"
            )
        raise NotAStore(f"{filename}: an HDF5 file, but not one of gymbag's")
    if int(found) > FORMAT:
        raise NewerFormat(
            f"{filename}: format {int(found)}; this gymbag knows formats up to {FORMAT}; "
            "install a later one to read it"
        )


def create_file(filename: str | os.PathLike[str]) -> None:
    """Make an empty file of ours, unless there is a file of that name already."""
    with LOCK:
        path = Path(filename)
        if path.exists() and path.stat().st_size:
            return
        if not path.parent.is_dir():
            raise NoSuchFile(f"{filename}: the folder {path.parent} does not exist; create it")
        old = _shared.pop(os.path.realpath(filename), None)
        if old is not None:
            old.shut()
            old.replaced = True
        file = _open(os.path.realpath(filename), "w")
        try:
            file.root._v_attrs[FORMAT_ATTRIBUTE] = FORMAT
        finally:
            file.close()


@contextmanager
def unnatural_names() -> Iterator[None]:
    """Let nodes have names that are no Python identifiers; PyTables warns of each."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", tables.NaturalNameWarning)
        yield


def _open(path: str, mode: str) -> Any:
    if mode != "w":
        if not os.path.exists(path):
            raise NoSuchFile(f"{path}: no such file")
        if not os.path.isfile(path):
            raise NotAStore(f"{path}: a folder, not a file")
    try:
        if mode != "w" and not tables.is_hdf5_file(path):
            raise NotAStore(f"{path}: not an HDF5 file")
        return tables.open_file(path, mode)
    except (tables.HDF5ExtError, OSError) as error:
        if isinstance(error, FileError):
            raise
        if "unable to lock file" in str(error):
            raise FileBusy(f"{path}: another process holds it; close it there first") from None
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        reason = next(
            (line for line in lines if "truncated" in line), lines[-1] if lines else repr(error)
        )
        raise FileError(f"{path}: cannot be opened: {reason}") from error


@atexit.register
def _shut_all() -> None:
    """Close what readers left open, before PyTables does so with a warning for each file."""
    for shared in list(_shared.values()):
        shared.shut()

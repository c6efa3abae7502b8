# SPDX-License-Identifier: LGPL-3.0-or-later
"""The one writer of a file: the commit protocol.

At rest there is `X.h5` alone. Beside it are, while a writer lives or after one died, `X.h5-wal`,
and while HDF5 changes the file, `X.h5-undo`. HDF5 promises nothing if its process dies before it
has closed a file, or if the power fails; so it is let at the file seldom, and under guard.

**Commit.** What is written goes to the log, and counts from the record on that commits it. A kill
costs nothing before that; a power cut nothing before the log was synced.

**Checkpoint**, when the log has grown, and at the end:

1. All of the file that is in no full chunk is copied to the undo journal, which is synced.
2. HDF5 opens the file, and is given the chunks from the log. It is closed; the footer, which says
   where all chunks are, is written behind it; the file is synced.
3. The journal is removed. This is the moment at which the checkpoint counts.
4. A new log takes the place of the old one, of which the footer says how far it is in the file.

**Recovery**, by the next one who opens the file and gets the lock on the log: a whole journal is
put back, one that is not whole is removed, and there is a checkpoint of what the log holds.

The steps 1 to 3 rest on one fact: HDF5 never touches a full chunk once it is written.
"""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from gymbag.errors import FileBusy, FileError, RecordingWarning
from gymbag.storage import disk, lock, log, pytables, undo
from gymbag.storage.columns import ColumnSpec
from gymbag.storage.footer import (
    Footer,
    outside_chunks,
)
from gymbag.storage.foreign import check_before_writing, note_sound
from gymbag.storage.frames import Compressor
from gymbag.storage.log import Kind, LogWriter
from gymbag.storage.mend import with_all_checksums
from gymbag.storage.merge import Notes, new_frames, write_index
from gymbag.storage.snapshot import Snapshot

PATIENCE = 1.0
"""Seconds to wait for another program that has the file open; it may only be having a look."""
CHECKPOINT_BYTES = 64 << 20
"""So large a log is brought into the file; a larger one if the file needs a large journal, so that
the journals together are never larger than the logs."""


class StepFile:
    """A file that this process writes to; `open_to_write` opens it once for all who do."""

    def __init__(self, filename: str) -> None:
        self.filename = filename
        self.users = 0
        self.pid = os.getpid()
        self.lock = threading.RLock()
        """Held by whoever writes; commits may come from another thread than the rows do."""
        self.contributors: list[Callable[[bool], None]] = []
        """What each recording does before a commit: it adds all that it has; provisionally what is
        not whole, unless it is told that all is to be seen."""
        self.datasets: set[str] = set()
        """The data sets that are being written to."""
        self.known: set[str] = set()
        """The data sets that there are, committed or not."""
        self.recovered: Snapshot | None = None
        """What was found, if the last writer died."""
        self.closed = False
        self._compressors: dict[Any, Compressor] = {}
        self.failed: FileError | None = None
        """Why nothing can be added any more."""
        self._descriptor = -1
        self._locked, found = lock.acquire(filename)
        made = not os.path.exists(filename)
        try:
            self._open(found)
        except BaseException:
            if made and os.path.exists(filename):
                disk.unlink(filename)
            if not found:
                disk.unlink(filename + log.SUFFIX)
            self._let_go()
            raise

    def _let_go(self) -> None:
        lock.release(self._locked)
        if self._descriptor >= 0:
            os.close(self._descriptor)

    def _open(self, found: bool) -> None:
        self._descriptor = disk.open_to_change(self.filename)
        # What is synced in the file and its log is of no use if a power cut takes their names.
        disk.sync_folder(self.filename)
        self._put_back()
        snapshot = Snapshot(self.filename, alive=False)
        self.taken = check_before_writing(self.filename, self._descriptor, snapshot.footer)
        """Names in the root that other programs have taken."""
        sequence = max(snapshot.contents.sequence, snapshot.footer.sequence)
        self._log = LogWriter(self.filename + log.SUFFIX, self._locked, log.HEADER_BYTES, sequence)
        self._footer = snapshot.footer
        if not snapshot.checked:
            # Another program cut the index off, or damaged it: of chunks that stay, the next one
            # has to have checksums again.
            self._footer = with_all_checksums(self._descriptor, snapshot.footer)
        self._outside = 0
        self._due = CHECKPOINT_BYTES
        self.known.update(path.rpartition("/")[0] for path in snapshot.columns)
        if found:
            if snapshot.contents.pieces:
                self.recovered = snapshot
            self._bring_up(snapshot)
            self._begin_log()
        else:
            lock.name_base(self._locked, self._footer.state)

    def _put_back(self) -> None:
        """Undo what HDF5 left half done."""
        path = self.filename + undo.SUFFIX
        if os.path.exists(path):
            undo.put_back(path, self._descriptor)
            disk.unlink(path)
            disk.sync_folder(path)

    def committed(self) -> Snapshot:
        """Return what is committed, with all that has been added so far."""
        with self.lock:
            self.commit()
            return Snapshot(self.filename, alive=True)

    def add(
        self,
        kind: Kind,
        path: str,
        first: int,
        count: int,
        data: bytes = b"",
        *,
        provisional: bool = False,
    ) -> None:
        """Add a piece of a column to the next commit; see `gymbag.storage.log`.

        Raises:
            FileError: the log cannot be written. Nothing can be added any more; what was
                committed is kept.
        """
        if kind is Kind.COLUMN:
            self.known.add(path.rpartition("/")[0])
        with self._failing():
            self._log.add(kind, path, first, count, data, provisional=provisional)

    def compressor(self, spec: ColumnSpec) -> Compressor:
        """Return what makes the frames of a column; columns that are alike share it."""
        kind = spec.table, spec.dtype, spec.chunk_shape, spec.compression
        if kind not in self._compressors:
            self._compressors[kind] = Compressor(spec)
        return self._compressors[kind]

    def commit(self, *, seen: bool = True) -> None:
        """Make all that the recordings have count, should this process be killed.

        Args:
            seen: whether readers are to see all of it now, whatever that costs the recordings.

        Raises:
            FileError: as for `add`.
        """
        with self.lock, self._failing():
            if self.closed:
                return
            for contribute in list(self.contributors):
                contribute(seen)
            self._log.commit()

    def sync(self) -> None:
        """Wait until all that was committed would survive a power cut as well."""
        with self.lock, self._failing():
            if self.closed:
                return
            descriptor = os.dup(self._log.descriptor)
        # The lock on the log is one for all its descriptors, so it is not given up here.
        try:
            with self._failing():
                disk.sync(descriptor)
        finally:
            os.close(descriptor)

    def require_mine(self) -> None:
        """Raise `FileBusy` in a copy of the process that opened the file."""
        if os.getpid() != self.pid:
            raise FileBusy(
                f"{self.filename}: is being written to by the process {self.pid}, of which this "
                "one is a copy; begin a recording of its own, to another file"
            )

    @contextmanager
    def _failing(self) -> Iterator[None]:
        """Refuse to go on after a failure, or in a copy of the process that opened the file."""
        self.require_mine()
        if self.failed is not None:
            raise self.failed
        try:
            with disk.told(self.filename):
                yield
        except FileError as error:
            self.failed = error
            raise

    def checkpoint_if_due(self) -> None:
        """Bring the file up to date if the log has grown large.

        Nothing is lost if that fails: the log keeps everything, and it is tried again later.
        """
        with self.lock:
            if self.closed or self._log.end <= max(self._due, self._outside):
                return
            try:
                self.checkpoint(patience=0)
                self._due = CHECKPOINT_BYTES
            except FileError:
                self._due = 2 * self._log.end

    def checkpoint(self, *, patience: float = PATIENCE) -> None:
        """Commit, and bring the file up to date.

        Args:
            patience: how many seconds to wait for another program that has the file open.

        Raises:
            FileBusy: another program has the file open. The log keeps everything.
            FileError: it could not be written. The log keeps everything.
        """
        with self.lock, disk.told(self.filename):
            if self.failed is None:
                self.commit()
            # What is provisional stays in the log alone, and is to be no less safe than the rest.
            with self._failing():
                self._log.sync()
            self._bring_up(Snapshot(self.filename, alive=True), patience)
            self._begin_log()

    def _bring_up(self, committed: Snapshot, patience: float = PATIENCE) -> None:
        """Do what is described above, steps 1 to 3."""
        path = self.filename + undo.SUFFIX
        parts = outside_chunks(self._footer, os.fstat(self._descriptor).st_size)
        try:
            self._outside = undo.write_undo(path, self._descriptor, parts)
            footer = self._store(committed, patience)
        except BaseException:
            self._put_back()
            raise
        disk.unlink(path)
        self._footer = footer
        note_sound(self._descriptor, footer, self.taken)
        with self._essential():
            disk.sync_folder(path)

    @contextmanager
    def _essential(self) -> Iterator[None]:
        """Add nothing any more if this fails."""
        try:
            yield
        except OSError as error:
            self.failed = self.failed or FileError(f"{self.filename}: {error.strerror}")
            raise

    def _store(self, committed: Snapshot, patience: float) -> Footer:
        known = self._footer.columns
        changed = [c for path, c in committed.columns.items() if c.logged or path not in known]
        notes = {c.spec.path: Notes(c.spec, c.rows, known.get(c.spec.path)) for c in changed}
        places = pytables.store(
            self.filename,
            ((c.spec, c.rows, notes[c.spec.path].noting(new_frames(c))) for c in changed),
            new=not self._footer.end,
            patience=patience,
        )
        columns = {**known, **{path: note.index(places[path]) for path, note in notes.items()}}
        sequence = max(committed.contents.sequence, committed.footer.sequence)
        return write_index(self.filename, self._descriptor, sequence, columns)

    def _begin_log(self) -> None:
        """Put a new log in the place of the old, which goes on if there is no room for one."""
        try:
            self._replace_log()
        except BaseException:
            with self._essential():
                lock.name_base(self._locked, self._footer.state)
                self._log.sync()
            raise

    def _replace_log(self) -> None:
        """Begin a new log; what is provisional goes along."""
        old = self._log
        descriptor = lock.successor(self.filename, self._footer.state)
        try:
            new = LogWriter(old.path, descriptor, log.HEADER_BYTES, old.sequence)
            for piece in log.read_log(old.descriptor, old.sequence, old.path).pieces:
                data = disk.read_at(old.descriptor, piece.nbytes, piece.offset)
                kind, provisional = Kind(piece.kind), piece.provisional
                new.add(kind, piece.path, piece.first, piece.rows, data, provisional=provisional)
            new.commit()
            new.sync()
            lock.succeed(self.filename)
        except BaseException:
            lock.release(descriptor)
            raise
        self._log, self._locked = new, descriptor
        lock.release(old.descriptor)
        with self._essential():
            disk.sync_folder(old.path)

    def close(self) -> None:
        """Bring the file up to date, remove the log, and let go of the file.

        Raises:
            FileError: it could not be written. The log keeps everything.
        """
        with self.lock:
            try:
                if self.failed is None:
                    self.commit()
                # Nothing follows: what is provisional, as after a failure, is now final.
                self._bring_up(Snapshot(self.filename, alive=False))
                disk.unlink(self._log.path)
            except FileBusy as error:
                message = f"{error}; until it is opened next, {self._kept()}"
                warnings.warn(message, RecordingWarning, stacklevel=2)
            except OSError as error:
                if self.failed is None:
                    raise FileError(
                        f"{error}; make room, and open it again: {self._kept()}"
                    ) from error
            finally:
                self.closed = True
                self._let_go()

    def _kept(self) -> str:
        return f"{self._log.path} keeps what was recorded; opening the file brings it up to date"


_open: dict[str, StepFile] = {}
_open_lock = threading.RLock()


def open_to_write(filename: str | os.PathLike[str]) -> StepFile:
    """Open a file for one more writer of this process; it is made if there is none.

    Raises:
        FileBusy: another process writes to it.
        FileError: it cannot be written to, or is not ours.
    """
    path = os.path.realpath(filename)
    with _open_lock:
        file = _open.get(path)
        if file is None or file.pid != os.getpid():
            with disk.told(path):
                file = _open[path] = StepFile(path)
        file.users += 1
        return file


def release(file: StepFile) -> None:
    """Give up one writer's share; the last brings the file up to date and closes it."""
    with _open_lock:
        file.users -= 1
        if file.users:
            return
        _open.pop(file.filename, None)
        file.close()


def written_here(filename: str) -> StepFile | None:
    """Return the file if this process writes to it."""
    file = _open.get(os.path.realpath(filename))
    return file if file is not None and file.pid == os.getpid() else None


def recover(filename: str) -> Snapshot | None:
    """Bring a file up to date whose writer died, and return what was found.

    Raises:
        FileBusy: another process writes to it, or does the same.
        FileError: it cannot be written to.
    """
    file = open_to_write(filename)
    release(file)
    return file.recovered

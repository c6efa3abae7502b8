# SPDX-License-Identifier: LGPL-3.0-or-later
"""HDF5, by way of PyTables: makes columns, stores chunks that come ready made, says where they lie.

A file is open for as long as it takes to bring it up to date. PyTables is not safe to call from
two threads, not even on two files, so it is called with `LOCK` held; and what is pickled in a
file stays bytes meanwhile.
"""

from __future__ import annotations

import ctypes
import threading
import time
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import tables
from numpy.typing import NDArray

from gymbag.errors import FileBusy, FileError
from gymbag.storage.columns import ColumnSpec
from gymbag.storage.names import FORMAT, FORMAT_ATTRIBUTE
from gymbag.storage.unpickled import nothing_unpickled

_lock = threading.RLock()

Change = tuple[ColumnSpec, int, Iterable[tuple[int, bytes]]]
"""A column, how many rows it is to have, and the frames of chunks by their number."""


@contextmanager
def pytables() -> Iterator[None]:
    """Have PyTables to oneself, with nothing unpickled."""
    with _lock, nothing_unpickled(), warnings.catch_warnings():
        warnings.simplefilter("ignore", tables.NaturalNameWarning)
        yield


def store(
    filename: str, changes: Iterable[Change], *, new: bool, patience: float = 0.0
) -> dict[str, NDArray[Any]]:
    """Store chunks of columns in a file, making what is not there yet.

    Args:
        filename: the HDF5 file.
        changes: what to store.
        new: whether to make the file, or begin it anew.
        patience: how many seconds to wait for another program that has it open.

    Returns:
        For each column that was changed, where all of its chunks are: records of number,
        offset and size.

    Raises:
        FileBusy: another program has the file open.
        FileError: HDF5 could not write. The file may be in any state then.
    """
    with pytables():
        file = _open(filename, "w" if new else "a", time.monotonic() + patience)
        try:
            if new:
                file.root._v_attrs[FORMAT_ATTRIBUTE] = FORMAT
            places = {spec.path: _store(file, spec, rows, frames) for spec, rows, frames in changes}
            file.flush()
        except FileError:
            raise
        except (tables.HDF5ExtError, OSError) as error:
            raise FileError(f"{filename}: cannot be written: {_reason(error)}") from error
        finally:
            file.close()
    return places


def _store(
    file: Any, spec: ColumnSpec, rows: int, frames: Iterable[tuple[int, bytes]]
) -> NDArray[Any]:
    leaf = file.get_node(spec.path) if spec.path in file else _create(file, spec)
    if leaf.nrows < rows:
        leaf.truncate(rows)
    inner = (0,) * len(spec.shape)
    for number, frame in frames:
        leaf.write_chunk((number * spec.chunk_rows, *inner), frame)
    return _places(leaf, spec.chunk_rows)


def _create(file: Any, spec: ColumnSpec) -> Any:
    group, name = spec.path.rsplit("/", 1)
    compression = spec.compression
    filters = tables.Filters(
        complevel=compression.level,
        complib=f"blosc2:{compression.codec}",
        shuffle=compression.shuffle,
    )
    if spec.table:
        names = spec.dtype.names or ()
        return file.create_table(
            group,
            name,
            # Given the dtype itself, PyTables takes half as long again.
            {n: tables.Col.from_dtype(spec.dtype[n], pos=i) for i, n in enumerate(names)},
            filters=filters,
            chunkshape=(spec.chunk_rows,),
            createparents=True,
        )
    return file.create_earray(
        group,
        name,
        tables.Atom.from_dtype(spec.dtype),
        (0, *spec.shape),
        filters=filters,
        chunkshape=spec.chunk_shape,
        createparents=True,
    )


def _open(filename: str, mode: str, deadline: float) -> Any:
    try:
        return tables.open_file(filename, mode)
    except (tables.HDF5ExtError, OSError, ValueError) as error:
        if "unable to lock file" in str(error) and time.monotonic() < deadline:
            time.sleep(0.01)
            return _open(filename, mode, deadline)
        if "unable to lock file" in str(error) or "already open" in str(error):
            raise FileBusy(f"{filename}: another program has it open; close it there") from None
        raise FileError(f"{filename}: cannot be opened: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    telling = (line for line in lines if "errno" in line or "truncated" in line)
    return next(telling, lines[-1] if lines else repr(error))


PLACE = np.dtype([("number", "<u8"), ("offset", "<u8"), ("size", "<u8")])
ON_CHUNK = ctypes.CFUNCTYPE(
    ctypes.c_int,
    ctypes.POINTER(ctypes.c_uint64),
    ctypes.c_uint,
    ctypes.c_uint64,
    ctypes.c_uint64,
    ctypes.c_void_p,
)
"""H5D_chunk_iter_op_t: offset in values, filters left out, offset and size in the file."""


def _places(leaf: Any, chunk_rows: int) -> NDArray[Any]:
    """Return where all chunks are.

    In one sweep: PyTables' `chunk_info` takes as long for a single chunk.
    """
    places: list[tuple[int, int, int]] = []

    def note(first: Any, _filters: int, offset: int, size: int, _data: Any) -> int:
        places.append((first[0] // chunk_rows, offset, size))
        return 0

    library = ctypes.CDLL(tables.hdf5extension.__file__)
    library.H5Dchunk_iter.argtypes = (ctypes.c_int64, ctypes.c_int64, ON_CHUNK, ctypes.c_void_p)
    leaf.flush()
    if library.H5Dchunk_iter(leaf._v_objectid, 0, ON_CHUNK(note), None) < 0:
        raise FileError(f"{leaf._v_file.filename}: {leaf._v_pathname}: its chunks are not listed")
    return np.array(places, PLACE)

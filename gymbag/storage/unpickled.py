# SPDX-License-Identifier: LGPL-3.0-or-later
"""Opens HDF5 files of unknown origin without running what is pickled in them.

PyTables unpickles every attribute whose bytes end in a full stop, some of them as soon as a file
is opened; and to unpickle is to run. In a block of `nothing_unpickled`, such an attribute stays
bytes. Other users of PyTables in the process notice nothing.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import tables

_refusing = ContextVar("refusing", default=False)


class _Pickle:
    """The module `pickle`, as PyTables is to see it."""

    def loads(self, *args: Any, **kwargs: Any) -> Any:
        if _refusing.get():
            raise pickle.UnpicklingError("what is pickled in a file is never unpickled")
        return pickle.loads(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        return getattr(pickle, name)


tables.attributeset.pickle = tables.atom.pickle = _Pickle()


@contextmanager
def nothing_unpickled() -> Iterator[None]:
    """Leave what is pickled in a file as bytes while the block runs, in this thread."""
    token = _refusing.set(True)
    try:
        yield
    finally:
        _refusing.reset(token)

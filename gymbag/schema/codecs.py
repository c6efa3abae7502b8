# SPDX-License-Identifier: LGPL-3.0-or-later
"""The one interface between a space and its columns, and the registry of those that exist.

A codec is compiled from a *description* of a space, plain JSON, so that a file is read without
the space's own class. Its law, for all values of the space, dtypes included::

    batch = codec.decode(iter(codec.encode([codec.snapshot(x) for x in xs])), len(xs))
    [codec.pick(batch, i) for i in range(len(xs))] == xs

A *snapshot* is an unchangeable copy of one value, cheap to take once per step. A *batch* holds
many values of one space: an array where arrays can, a dict or tuple of batches for Dict and
Tuple spaces, otherwise a tuple of values. That is how Gymnasium batches spaces, too.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar, TypeAlias, TypeVar

from numpy.typing import NDArray

from gymbag.errors import SchemaError, UnsupportedSpace
from gymbag.schema.columns import Column
from gymbag.schema.slabs import Slabs

Batch: TypeAlias = Any
Description: TypeAlias = dict[str, Any]
Arrays: TypeAlias = list[Any]
"""NumPy arrays; `Parts` in place of one of wide values, if they are packed."""


class SpaceCodec(ABC):
    """How the values of one kind of space become columns, and come back.

    To teach gymbag a space of your own, subclass this (or the codec of a space like it) and
    register it::

        @gymbag.register_space(MySpace)
        class MyCodec(gymbag.SpaceCodec): ...
    """

    type: ClassVar[str]
    """The space's name in a description, set by `register_space`."""

    columns: tuple[Column, ...] = ()
    """The columns, in the order in which `encode` gives and `decode` takes their arrays."""

    plain = range(0)
    """Integers that are snapshots themselves: a recording takes them without a call."""

    def __init__(self, description: Description, path: str, frame: str) -> None:
        self.description = description
        self.path = path
        self.frame = frame

    @classmethod
    @abstractmethod
    def describe(cls, space: Any, path: str) -> Description:
        """Return what JSON must say of `space` so that `restore` gives an equal one."""

    @abstractmethod
    def restore(self, spaces: Any) -> Any:
        """Return the space, made of the classes in module `spaces` (gymnasium's or gym's)."""

    @abstractmethod
    def null(self) -> Any:
        """Return the value that stands where there is none: NaN, 0, or empty."""

    @abstractmethod
    def snapshot(self, value: Any) -> Any:
        """Return an unchangeable copy of `value`.

        Raises:
            SchemaError: the value does not fit, and which leaf of it.
        """

    @abstractmethod
    def encode(self, snapshots: Sequence[Any]) -> Arrays:
        """Return one array for each column; lengths for a ragged one."""

    @abstractmethod
    def decode(self, arrays: Iterator[NDArray[Any]], n: int) -> Batch:
        """Return the batch of n values; takes as many arrays as there are columns."""

    def batch(self, values: Sequence[Any]) -> Batch:
        """Return values as one batch, as they come back when they are stored.

        Raises:
            SchemaError: one does not fit, and which leaf of it.
        """
        arrays = self.encode([self.snapshot(value) for value in values])
        return self.decode(iter(arrays), len(values))

    def quick(self) -> tuple[Any, Any, Any]:
        """Return which arrays need no check, and what then takes their snapshot.

        Returns:
            The dtype (that very object) and the shape of such an array, and a function; a dtype
            that no array has, where every value must go through `snapshot`.
        """
        return None, None, None

    def forget(self) -> None:
        """Take back the last snapshot, which nobody holds any more."""

    def wide(self) -> Iterator[tuple[Column, Slabs]]:
        """Iterate over the columns of wide values that can be packed, with their memory.

        There is one value of them for each snapshot.
        """
        yield from ()

    def pick(self, batch: Batch, index: int) -> Any:
        """Return one value of a batch."""
        return batch[index]

    def slice(self, batch: Batch, start: int, stop: int) -> Batch:
        """Return the batch of the values from `start` to `stop`."""
        return batch[start:stop]

    def length(self, batch: Batch) -> int:
        """Return how many values a batch holds."""
        return len(batch)

    def child(self, key: str | int) -> SpaceCodec | None:
        """Return the codec below `key`, or None if there is none."""
        return None

    def misfit(self, found: str, remedy: str = "") -> SchemaError:
        """Return the error that says `found` does not fit here."""
        expected = f"expected {self!r}"
        return SchemaError("; ".join(filter(None, (f"{self.path}: {found}", expected, remedy))))

    def __repr__(self) -> str:
        return f"{self.type} space"


Codec = TypeVar("Codec", bound=type[SpaceCodec])

LIBRARIES = ("gymnasium", "gym")
"""Packages whose spaces are known by name, so that neither must be imported to know them."""

_by_type: dict[str, type[SpaceCodec]] = {}
_by_class: dict[type, type[SpaceCodec]] = {}


def register_space(space: str | type) -> Callable[[Codec], Codec]:
    """Return a decorator that registers a codec for a class of spaces.

    Args:
        space: the class; or its name, if it is one of gymnasium's and gym's.
    """

    def register(codec: Codec) -> Codec:
        codec.type = space if isinstance(space, str) else space.__name__
        _by_type[codec.type] = codec
        if isinstance(space, type):
            _by_class[space] = codec
        return codec

    return register


def find_codec(space: Any, path: str) -> type[SpaceCodec]:
    """Return the codec of a space's class, or of the nearest class it derives from."""
    for cls in type(space).__mro__:
        if cls in _by_class:
            return _by_class[cls]
        if cls.__module__.split(".")[0] in LIBRARIES and cls.__name__ in _by_type:
            return _by_type[cls.__name__]
    raise UnsupportedSpace(
        f"{path}: no codec for a space of class {type(space).__qualname__}; known are "
        f"{', '.join(sorted(_by_type))}; teach this one with gymbag.register_space"
    )


def describe(space: Any, path: str) -> Description:
    """Return a space as plain JSON."""
    codec = find_codec(space, path)
    return {"type": codec.type, **codec.describe(space, path)}


MOST_PARTS = 50_000
"""Dicts and lists in a description; a thousand spaces are some two thousand."""
MOST_NESTED = 100


def check_description(description: Any, path: str) -> None:
    """Check that a description is neither too long nor too deep to be compiled.

    Raises:
        SchemaError: it is; no environment has such a space.
    """
    parts, level, depth = 0, [description], 0
    while level:
        level = [
            below
            for part in level
            for below in (part.values() if isinstance(part, dict) else part)
            if isinstance(below, dict | list)
        ]
        parts, depth = parts + len(level), depth + 1
        if parts > MOST_PARTS or depth > MOST_NESTED:
            raise SchemaError(
                f"{path}: the description of a space has more than {MOST_PARTS} parts, or more "
                f"than {MOST_NESTED} inside each other; expected fewer; the file may be damaged"
            )


def compile_codec(description: Description, path: str, frame: str) -> SpaceCodec:
    """Return the codec for a description, with its columns named below `path`."""
    name = description.get("type") if isinstance(description, dict) else None
    if not isinstance(name, str) or name not in _by_type:
        raise UnsupportedSpace(
            f"{path}: no codec for a space of type {name!r:.100}; known are "
            f"{', '.join(sorted(_by_type))}; teach this one with gymbag.register_space"
        )
    try:
        return _by_type[name](description, path, frame)
    except (SchemaError, MemoryError):
        raise
    except (TypeError, ValueError, KeyError, IndexError, OverflowError) as error:
        raise SchemaError(
            f"{path}: no description of a {name} space: {error!r:.200}; the file may be damaged"
        ) from error

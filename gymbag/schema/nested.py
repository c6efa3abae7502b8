# SPDX-License-Identifier: LGPL-3.0-or-later
"""Spaces made of spaces: Dict, Tuple, OneOf. Their columns are their children's."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gymbag.errors import RecordingWarning
from gymbag.schema import jsonable
from gymbag.schema.arrays import smallest_dtype
from gymbag.schema.codecs import (
    Arrays,
    Batch,
    Description,
    SpaceCodec,
    compile_codec,
    describe,
    register_space,
)
from gymbag.schema.columns import Column, child_path
from gymbag.schema.slabs import Slabs


@register_space("Dict")
class DictCodec(SpaceCodec):
    """Dict: one child for each key, keys of any JSON-able type."""

    def __init__(self, description: Description, path: str, frame: str) -> None:
        super().__init__(description, path, frame)
        named = [(jsonable.decode(key), child) for key, child in description["subspaces"]]
        self.children = {
            key: compile_codec(child, child_path(path, key), frame) for key, child in named
        }
        self.columns = tuple(c for child in self.children.values() for c in child.columns)
        self._said = False

    @classmethod
    def describe(cls, space: Any, path: str) -> Description:
        """Return the keys and their spaces, in the space's order."""
        return {
            "subspaces": [
                [jsonable.encode(key), describe(child, child_path(path, key))]
                for key, child in space.spaces.items()
            ]
        }

    def restore(self, spaces: Any) -> Any:
        """Return the Dict."""
        return spaces.Dict([(key, c.restore(spaces)) for key, c in self.children.items()])

    def null(self) -> dict[Any, Any]:
        """Return a dict of null values."""
        return {key: child.null() for key, child in self.children.items()}

    def snapshot(self, value: Any) -> tuple[Any, ...]:
        """Return the children's snapshots, in the space's order."""
        if not isinstance(value, Mapping):
            raise self.misfit(f"found {type(value).__name__}")
        try:
            row = tuple([child.snapshot(value[key]) for key, child in self.children.items()])
        except KeyError as error:
            if error.args and error.args[0] in self.children:
                raise self.misfit(f"key {error.args[0]!r} is missing") from None
            raise
        if len(value) != len(row) and not self._said:
            self._said = True
            extra = [key for key in value if key not in self.children]
            warnings.warn(
                f"{self.path}: keys {extra!r} are not in the space and are not recorded",
                RecordingWarning,
                stacklevel=2,
            )
        return row

    def encode(self, snapshots: Sequence[tuple[Any, ...]]) -> Arrays:
        """Return the children's arrays."""
        return encode_children(self.children.values(), snapshots)

    def forget(self) -> None:
        """Take back the last snapshot."""
        for child in self.children.values():
            child.forget()

    def wide(self) -> Iterator[tuple[Column, Slabs]]:
        """Iterate over the children's wide columns."""
        for child in self.children.values():
            yield from child.wide()

    def decode(self, arrays: Iterator[NDArray[Any]], n: int) -> dict[Any, Batch]:
        """Return a dict of batches."""
        return {key: child.decode(arrays, n) for key, child in self.children.items()}

    def pick(self, batch: Batch, index: int) -> dict[Any, Any]:
        """Return one dict."""
        return {key: child.pick(batch[key], index) for key, child in self.children.items()}

    def slice(self, batch: Batch, start: int, stop: int) -> Batch:
        """Return the dict of the children's slices."""
        return {k: child.slice(batch[k], start, stop) for k, child in self.children.items()}

    def length(self, batch: Batch) -> int:
        """Return how many values the children's batches hold."""
        return max((child.length(batch[k]) for k, child in self.children.items()), default=0)

    def child(self, key: str | int) -> SpaceCodec | None:
        """Return the codec of the value under `key`."""
        return self.children.get(key)

    def __repr__(self) -> str:
        return f"a dict with keys {list(self.children)}"


@register_space("Tuple")
class TupleCodec(SpaceCodec):
    """Tuple: one child for each place."""

    def __init__(self, description: Description, path: str, frame: str) -> None:
        super().__init__(description, path, frame)
        self.children = compile_list(description, path, frame)
        self.columns = tuple(c for child in self.children for c in child.columns)

    @classmethod
    def describe(cls, space: Any, path: str) -> Description:
        """Return the spaces in order."""
        return describe_list(space, path)

    def restore(self, spaces: Any) -> Any:
        """Return the Tuple."""
        return spaces.Tuple(tuple(child.restore(spaces) for child in self.children))

    def null(self) -> tuple[Any, ...]:
        """Return a tuple of null values."""
        return tuple(child.null() for child in self.children)

    def snapshot(self, value: Any) -> tuple[Any, ...]:
        """Return the children's snapshots."""
        if not isinstance(value, Sequence | np.ndarray) or isinstance(value, str | bytes):
            raise self.misfit(f"found {type(value).__name__}")
        if len(value) != len(self.children):
            raise self.misfit(f"found {len(value)} values")
        return tuple([c.snapshot(v) for c, v in zip(self.children, value, strict=True)])

    def encode(self, snapshots: Sequence[tuple[Any, ...]]) -> Arrays:
        """Return the children's arrays."""
        return encode_children(self.children, snapshots)

    def forget(self) -> None:
        """Take back the last snapshot."""
        for child in self.children:
            child.forget()

    def wide(self) -> Iterator[tuple[Column, Slabs]]:
        """Iterate over the children's wide columns."""
        for child in self.children:
            yield from child.wide()

    def decode(self, arrays: Iterator[NDArray[Any]], n: int) -> tuple[Batch, ...]:
        """Return a tuple of batches."""
        return tuple([child.decode(arrays, n) for child in self.children])

    def pick(self, batch: Batch, index: int) -> tuple[Any, ...]:
        """Return one tuple."""
        return tuple([c.pick(b, index) for c, b in zip(self.children, batch, strict=True)])

    def slice(self, batch: Batch, start: int, stop: int) -> Batch:
        """Return the tuple of the children's slices."""
        pairs = zip(self.children, batch, strict=True)
        return tuple([child.slice(part, start, stop) for child, part in pairs])

    def length(self, batch: Batch) -> int:
        """Return how many values the children's batches hold."""
        lengths = (c.length(b) for c, b in zip(self.children, batch, strict=True))
        return max(lengths, default=0)

    def child(self, key: str | int) -> SpaceCodec | None:
        """Return the codec of the value at place `key`."""
        inside = isinstance(key, int) and -len(self.children) <= key < len(self.children)
        return self.children[key] if isinstance(key, int) and inside else None

    def __repr__(self) -> str:
        return f"a tuple of {len(self.children)}"


@register_space("OneOf")
class OneOfCodec(SpaceCodec):
    """OneOf: which space was chosen, and a column for each; null where not chosen."""

    def __init__(self, description: Description, path: str, frame: str) -> None:
        super().__init__(description, path, frame)
        self.children = compile_list(description, path, frame)
        choice = Column(f"{path}#choice", smallest_dtype(0, len(self.children) - 1), (), frame)
        self.columns = (choice, *(c for child in self.children for c in child.columns))
        self._nulls: list[Any] = []

    @classmethod
    def describe(cls, space: Any, path: str) -> Description:
        """Return the spaces in order."""
        return describe_list(space, path)

    def restore(self, spaces: Any) -> Any:
        """Return the OneOf."""
        return spaces.OneOf(tuple(child.restore(spaces) for child in self.children))

    def null(self) -> tuple[Any, Any]:
        """Return the first space's null value."""
        return np.int64(0), self.children[0].null()

    def snapshot(self, value: Any) -> tuple[int, Any]:
        """Return which space was chosen, and the snapshot of its value."""
        try:
            choice, chosen = value
            index = range(len(self.children))[choice]
        except (TypeError, ValueError, IndexError):
            raise self.misfit(f"found {value!r:.80}") from None
        # Not before they are needed: a description alone is to take no memory. And not while they
        # are encoded, which is done in another thread than snapshots are taken in.
        self._nulls = self._nulls or [child.snapshot(child.null()) for child in self.children]
        return index, self.children[index].snapshot(chosen)

    def encode(self, snapshots: Sequence[tuple[int, Any]]) -> Arrays:
        """Return the choices, and each child's arrays."""
        choices = [choice for choice, _ in snapshots]
        arrays = [np.array(choices, dtype=self.columns[0].dtype)]
        for index, child in enumerate(self.children):
            values = [v if choice == index else self._nulls[index] for choice, v in snapshots]
            arrays += child.encode(values)
        return arrays

    def decode(self, arrays: Iterator[NDArray[Any]], n: int) -> tuple[Any, ...]:
        """Return pairs of the choice and its value."""
        choices = next(arrays).astype(np.int64)
        batches = [child.decode(arrays, n) for child in self.children]
        return tuple(
            (choice, self.children[choice].pick(batches[choice], row))
            for row, choice in enumerate(choices)
        )

    def __repr__(self) -> str:
        return f"a pair of a number below {len(self.children)} and a value of the space it names"


def describe_list(space: Any, path: str) -> Description:
    """Return the description of a space that has its children in a sequence."""
    return {
        "subspaces": [
            describe(child, child_path(path, index)) for index, child in enumerate(space.spaces)
        ]
    }


def compile_list(description: Description, path: str, frame: str) -> list[SpaceCodec]:
    """Return the codecs of what `describe_list` described."""
    return [
        compile_codec(child, child_path(path, index), frame)
        for index, child in enumerate(description["subspaces"])
    ]


def encode_children(children: Any, snapshots: Sequence[tuple[Any, ...]]) -> Arrays:
    """Return the arrays of all children, given one tuple of their snapshots for each row."""
    columns = zip(*snapshots, strict=True) if snapshots else iter([()] * len(children))
    return [
        array
        for child, column in zip(children, columns, strict=True)
        for array in child.encode(column)
    ]

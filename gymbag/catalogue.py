# SPDX-License-Identifier: LGPL-3.0-or-later
"""Which fields a data set has, and under which paths: what a question may name. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from gymbag.query.fields import Field, Kind, Level, Side
from gymbag.schema import Schema, SpaceCodec, child_path
from gymbag.schema.arrays import ArrayCodec, DiscreteCodec
from gymbag.schema.info import InfoColumn, Keys
from gymbag.schema.text import TextCodec

INFO = "info"

EPISODE_FIELDS = {
    field.name: field
    for field in (
        Field("episode", "number", (), Level.EPISODE),
        Field("episode_return", "number", (), Level.EPISODE),
        Field("episode_length", "number", (), Level.EPISODE),
        Field("seed", "number", (), Level.EPISODE),
        Field("lane", "number", (), Level.EPISODE),
        Field("ended", "text", (), Level.EPISODE),
    )
}
"""Fields with one value for an episode."""

STEP_FIELDS = {
    field.name: field
    for field in (
        Field("step", "number"),
        Field("time", "number"),
        Field("reward", "number"),
        Field("terminated", "bool"),
        Field("truncated", "bool"),
        Field("done", "bool"),
    )
}
"""Fields of every row, whatever the spaces."""


class DatasetCatalogue:
    """The fields of one data set.

    >>> from gymnasium.spaces import Box, Dict, Discrete
    >>> spaces = Dict(pose=Box(-1, 1, (3,)), name=Discrete(2)), Discrete(4)
    >>> catalogue = DatasetCatalogue(Schema.from_spaces(*spaces), ())
    >>> field, indices = catalogue.lookup(("observation", "pose", 0))
    >>> field.name, field.shape, indices
    ('observation.pose', (3,), (0,))
    """

    def __init__(self, schema: Schema, info_columns: Sequence[InfoColumn]) -> None:
        self._roots = {"observation": schema.observation, "action": schema.action}
        self._in_table = {column.name for column in schema.table}
        self._info: dict[Keys, list[InfoColumn]] = {}
        for column in info_columns:
            self._info.setdefault(column.keys, []).append(column)

    def lookup(
        self, keys: tuple[str | int, ...], kind: Side | None = None
    ) -> tuple[Field, tuple[int, ...]]:
        """Return the leaf that a path leads to, and the indices left for its array.

        Raises:
            LookupError: there is no such field, or it is none that a question can look into.
        """
        root, *rest = keys
        if root in self._roots:
            return self._leaf(self._roots[str(root)], rest)
        if root == INFO:
            return self._info_field(tuple(rest), kind), ()
        field = EPISODE_FIELDS.get(str(root)) or STEP_FIELDS.get(str(root))
        if field is None:
            raise LookupError(f"there is no field {root!r}")
        return field, _indices(rest, f"{root} is one value")

    def _leaf(self, codec: SpaceCodec, keys: Sequence[str | int]) -> tuple[Field, tuple[int, ...]]:
        codec, left = descend(codec, keys)
        shape, kind = (), "number"
        if isinstance(codec, ArrayCodec):
            shape = codec.shape
            kind = "bool" if codec.dtype.kind == "b" else "number"
        elif isinstance(codec, TextCodec):
            kind = "text"
        elif not isinstance(codec, DiscreteCodec):
            raise LookupError(f"{codec.path} is {codec!r}; ask for a part that is an array")
        indices = _indices(left, f"{codec.path} is {codec!r}")
        level = Level.ROW if codec.path in self._in_table else Level.WIDE
        return Field(codec.path, _kind(kind), shape, level), indices

    def _info_field(self, keys: tuple[str | int, ...], kind: Side | None) -> Field:
        path = INFO
        for key in keys:
            path = child_path(path, key)
        columns = self._info.get(tuple(str(key) for key in keys), [])
        if not columns:
            raise LookupError(
                f"no info of this data set has a number, flag or short text under {path!r}"
            )
        texts = [column for column in columns if column.dtype.kind == "S"]
        numbers = [column for column in columns if column.dtype.kind != "S"]
        if texts and (kind == "text" or not numbers):
            return Field(path, "text")
        flags = all(column.dtype.kind == "b" for column in numbers)
        return Field(path, "bool" if flags else "number")

    def info_columns(self, field: Field) -> list[InfoColumn]:
        """Return the columns that hold an info field's values."""
        return [
            column
            for columns in self._info.values()
            for column in columns
            if _path(column.keys) == field.name
            and (column.dtype.kind == "S") == (field.kind == "text")
        ]

    def codec(self, path: str) -> SpaceCodec:
        """Return the codec of the leaf at a path that `lookup` returned."""
        waiting = list(self._roots.values())
        while waiting:
            codec = waiting.pop()
            if codec.path == path:
                return codec
            waiting += _children(codec)
        raise LookupError(f"there is no field {path!r}")

    def names(self) -> Iterable[str]:
        """Return the names of all fields."""
        yield from EPISODE_FIELDS
        yield from STEP_FIELDS
        for root in self._roots.values():
            yield from _leaf_paths(root)
        yield from map(_path, self._info)


def descend(codec: SpaceCodec, keys: Sequence[str | int]) -> tuple[SpaceCodec, list[str | int]]:
    """Follow keys down through Dict and Tuple spaces; return where they lead, and those left."""
    left = list(keys)
    while left and (child := codec.child(left[0])) is not None:
        codec = child
        left.pop(0)
    return codec, left


def _children(codec: SpaceCodec) -> list[SpaceCodec]:
    children = getattr(codec, "children", ())
    return list(children.values() if isinstance(children, dict) else children)


def _leaf_paths(codec: SpaceCodec) -> list[str]:
    children = _children(codec)
    return [path for c in children for path in _leaf_paths(c)] if children else [codec.path]


def _path(keys: Keys) -> str:
    path = INFO
    for key in keys:
        path = child_path(path, key)
    return path


def _indices(keys: Sequence[str | int], what: str) -> tuple[int, ...]:
    """Return the keys that are left for a value's array.

    Raises:
        LookupError: one of them is a name; an array has no such parts.
    """
    for key in keys:
        if isinstance(key, str):
            raise LookupError(f"{what}; it has no part {key!r}")
    return tuple(key for key in keys if isinstance(key, int))


def _kind(kind: str) -> Kind:
    return "bool" if kind == "bool" else "text" if kind == "text" else "number"

# SPDX-License-Identifier: LGPL-3.0-or-later
"""The schema of a data set: an observation and an action space, compiled into columns."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np

from gymbag.errors import SchemaError
from gymbag.schema.codecs import (
    Description,
    SpaceCodec,
    check_description,
    compile_codec,
    describe,
)
from gymbag.schema.columns import ROWS, Column

FIXED = (
    Column("episode", np.dtype("<u4")),
    Column("step", np.dtype("<u4")),
    Column("time", np.dtype("<f8")),
    Column("reward", np.dtype("<f8")),
    Column("terminated", np.dtype("?")),
    Column("truncated", np.dtype("?")),
)
"""What every data set has, whatever its spaces."""

NARROW = 64
"""Up to this many bytes, a field of the action is a column of the steps table."""
MOST_NARROW = 64
"""Up to this many fields of the action are; HDF5 refuses a table of some hundred columns."""


MOST_NBYTES = 1 << 28
"""Bytes of one value of a space, all its parts together, ragged items counted once."""


def compile_space(description: Description, path: str) -> SpaceCodec:
    """Return the codec of a whole space, after a look at how large it is.

    Raises:
        SchemaError: it is larger than that of any environment, or no description.
    """
    check_description(description if isinstance(description, dict) else {}, path)
    codec = compile_codec(description, path, ROWS)
    nbytes = sum(column.nbytes for column in codec.columns)
    if nbytes > MOST_NBYTES:
        raise SchemaError(
            f"{path}: a value of the space has {nbytes:,} bytes; expected at most "
            f"{MOST_NBYTES:,}; if you mean it, set gymbag.schema.compiled.MOST_NBYTES higher"
        )
    return codec


class Schema:
    """The columns that an observation and an action space are compiled into.

    >>> from gymnasium.spaces import Box, Discrete
    >>> schema = Schema.from_spaces(Box(0, 255, (2, 2), "uint8"), Discrete(4))
    >>> [column.name for column in schema.beside]
    ['observation']
    >>> schema.table[-1].name, schema.table[-1].dtype
    ('action', dtype('uint8'))
    """

    def __init__(self, observation: Description, action: Description) -> None:
        self.observation: SpaceCodec = compile_space(observation, "observation")
        self.action: SpaceCodec = compile_space(action, "action")
        narrow = tuple(
            column
            for column in self.action.columns
            if column.frame == ROWS and not column.ragged and column.nbytes <= NARROW
        )
        if len(narrow) > MOST_NARROW:
            narrow = ()
        self.table: tuple[Column, ...] = (*FIXED, *narrow)
        """Columns of the steps table."""
        self.beside: tuple[Column, ...] = tuple(
            column
            for column in (*self.observation.columns, *self.action.columns)
            if column not in narrow
        )
        """Columns beside it, each an array of its own."""

    @property
    def row_nbytes(self) -> int:
        """Bytes of one row, ragged items left out."""
        return sum(c.nbytes for c in (*self.table, *self.beside) if c.frame == ROWS)

    def to_json(self) -> dict[str, Description]:
        """Return both spaces as plain JSON."""
        return {
            "observation_space": self.observation.description,
            "action_space": self.action.description,
        }

    @classmethod
    def from_json(cls, spaces: dict[str, Description]) -> Schema:
        """Return the schema of spaces given as `to_json` gives them."""
        return cls(spaces["observation_space"], spaces["action_space"])

    @classmethod
    def from_spaces(cls, observation_space: Any, action_space: Any) -> Schema:
        """Return the schema of two spaces.

        Raises:
            UnsupportedSpace: nobody registered a codec for one of them; the message names it.
        """
        return cls(describe(observation_space, "observation"), describe(action_space, "action"))

    def require_same(self, other: Schema, *, mine: str = "it", others: str = "the other") -> None:
        """Check that `other` has the same spaces.

        Args:
            other: another schema.
            mine: what this one belongs to, for the message.
            others: what the other one belongs to.

        Raises:
            SchemaError: it has not; the message names the first leaf that differs.
        """
        pairs = ((self.observation, other.observation), (self.action, other.action))
        for one, two in pairs:
            found = first_difference(one.description, two.description, one.path)
            if found:
                path, has, gives = found
                raise SchemaError(f"{path}: {mine} has {has}, {others} has {gives}")


def describe_space(space: Any) -> Description:
    """Return a space of gymnasium's or gym's as plain JSON.

    >>> from gymnasium.spaces import Discrete
    >>> describe_space(Discrete(4))
    {'type': 'Discrete', 'n': 4, 'start': 0, 'dtype': 'int64'}
    """
    return describe(space, "space")


def restore_space(description: Description, spaces: Any = gymnasium.spaces) -> Any:
    """Return the space that `describe_space` described.

    Args:
        description: plain JSON.
        spaces: the module whose classes to make it of, ``gymnasium.spaces`` or ``gym.spaces``.
    """
    codec = compile_space(description, "space")
    try:
        return codec.restore(spaces)
    except (TypeError, ValueError, KeyError, OverflowError, AssertionError) as error:
        raise SchemaError(f"space: its description is no space: {error!r:.200}") from error


def null_sample(space: Any) -> Any:
    """Return what stands for the action of a reset's row: NaN, 0, or empty, as the space has it.

    >>> from gymnasium.spaces import Box
    >>> null_sample(Box(0, 1, (2,)))
    array([nan, nan], dtype=float32)
    """
    return compile_codec(describe(space, "space"), "space", ROWS).null()


def first_difference(mine: Any, theirs: Any, path: str) -> tuple[str, str, str] | None:
    """Return the first leaf in which two descriptions differ, and both spaces, or None."""
    if mine == theirs:
        return None
    if isinstance(mine, dict) and isinstance(theirs, dict) and mine["type"] == theirs["type"]:
        first, second = (compile_codec(d, path, ROWS) for d in (mine, theirs))
        keys = _child_keys(first)
        if keys and keys == _child_keys(second):
            for key in keys:
                one, other = first.child(key), second.child(key)
                if one is not None and other is not None:
                    found = first_difference(one.description, other.description, one.path)
                    if found:
                        return found
    has, gives = (
        _short(compile_codec(description, path, ROWS).restore(gymnasium.spaces))
        for description in (mine, theirs)
    )
    return path, has, gives


def _child_keys(codec: SpaceCodec) -> list[Any]:
    children = getattr(codec, "children", ())
    return list(children) if isinstance(children, dict) else list(range(len(children)))


def _short(space: Any) -> str:
    text = " ".join(str(space).split())
    return text if len(text) <= 200 else f"{text[:197]}..."

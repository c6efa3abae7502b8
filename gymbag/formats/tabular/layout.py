# SPDX-License-Identifier: LGPL-3.0-or-later
"""Which columns of a table the values of a space are.

Each leaf of a space is a column with the leaf's path for its name, as a question would name it. An
array is a list of fixed size, whose shape stands beside it; what differs in length is a list, or a
list of lists. How long those are, the lists say themselves. So the columns are those of gymbag's
own file, but for the ends of ragged rows, which are written only where no list tells them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gymbag.records import Rows
from gymbag.schema import Column, SpaceCodec
from gymbag.schema.columns import ROWS
from gymbag.storage.entries import Reader

Arrays = dict[str, NDArray[Any]]
"""By the names of the space's columns: values, or lengths of ragged rows."""


@dataclass(frozen=True, slots=True)
class Leaf:
    """A column of a table."""

    column: Column
    frames: tuple[str, ...]
    """The ragged columns in whose rows its values stand, the outermost first; the last of a text's
    is that of its bytes."""
    text: bool
    valid: bool
    """Whether all texts have a place in UTF-8; half a surrogate pair has none."""

    @property
    def name(self) -> str:
        """Its name in the table."""
        return self.column.name

    @property
    def size(self) -> int:
        """How many numbers one value has."""
        return math.prod(self.column.shape)


def leaves(codec: SpaceCodec) -> list[Leaf]:
    """Return the columns for the values of a space.

    >>> from gymbag.schema import Schema
    >>> from gymnasium.spaces import Box, Dict, Discrete, Sequence, Text
    >>> space = Dict(pose=Box(-1, 1, (3,)), found=Sequence(Discrete(5)), name=Text(9))
    >>> [leaf.name for leaf in leaves(Schema.from_spaces(space, Discrete(2)).observation)]
    ['observation.pose', 'observation.found[]', 'observation.name']
    """
    frames = {column.name: column.frame for column in codec.columns if column.ragged}

    def chain(frame: str) -> tuple[str, ...]:
        return () if frame == ROWS else (*chain(frames[frame]), frame)

    valid = not any(map(_is_surrogate, _texts(codec.description)))
    found = {
        column.name: Leaf(column, chain(column.frame), column.frame == f"{column.name}#ends", valid)
        for column in codec.columns
        if not column.ragged
    }
    told = {frame for leaf in found.values() for frame in leaf.frames}
    for column in reversed(codec.columns):
        if column.ragged and column.name not in told:
            leaf = Leaf(column, chain(column.frame), False, valid)
            found[column.name] = leaf
            told |= {*leaf.frames, column.name}
    return [found[column.name] for column in codec.columns if column.name in found]


def _texts(description: Any) -> Iterator[str]:
    """Iterate over all texts in a description."""
    if isinstance(description, str):
        yield description
    elif isinstance(description, dict | list):
        inner = description.values() if isinstance(description, dict) else description
        for part in inner:
            yield from _texts(part)


def _is_surrogate(text: str) -> bool:
    return any("\ud800" <= sign <= "\udfff" for sign in text)


def read_columns(reader: Reader, codec: SpaceCodec, rows: Rows) -> Arrays:
    """Return the columns of a space at some rows."""
    items, found = {ROWS: rows}, {}
    for column in codec.columns:
        found[column.name], inner = reader.take_column(column, items[column.frame])
        if column.ragged:
            items[column.name] = inner
    return found


def null_columns(codec: SpaceCodec) -> Arrays:
    """Return the columns of the value that stands where there is none."""
    arrays = codec.encode([codec.snapshot(codec.null())])
    names = (column.name for column in codec.columns)
    return {name: np.asarray(array) for name, array in zip(names, arrays, strict=True)}

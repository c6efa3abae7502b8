# SPDX-License-Identifier: LGPL-3.0-or-later
"""The columns of a table of numbers: one number, flag or text in each cell.

A short array is a column for each of its numbers, named as a question names it: ``observation[2]``.
A long one, and what differs in length, is left out.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gymbag.records import Records, Rows
from gymbag.schema import SpaceCodec
from gymbag.schema.arrays import ArrayCodec, DiscreteCodec
from gymbag.schema.nested import DictCodec, TupleCodec
from gymbag.schema.text import TextCodec

MOST_SPREAD = 32
"""So many numbers of one array are columns of their own at most."""

Missing = NDArray[np.bool_] | None


class Cell(NamedTuple):
    """A column of one number, flag or text."""

    name: str
    codec: SpaceCodec
    place: tuple[int, ...] = ()


def spread(codec: SpaceCodec) -> tuple[list[Cell], list[SpaceCodec]]:
    """Return the narrow columns of a space, and the leaves of it that are left out.

    >>> from gymbag.schema import Schema
    >>> from gymnasium.spaces import Box, Dict, Discrete
    >>> space = Dict(camera=Box(0, 255, (210, 160, 3), "uint8"), pose=Box(-1, 1, (2,)))
    >>> cells, wide = spread(Schema.from_spaces(space, Discrete(2)).observation)
    >>> [cell.name for cell in cells], [leaf.path for leaf in wide]
    (['observation.pose[0]', 'observation.pose[1]'], ['observation.camera'])
    """
    cells: list[Cell] = []
    wide: list[SpaceCodec] = []
    for leaf in leaves_of(codec):
        if isinstance(leaf, ArrayCodec) and leaf.dtype.kind != "c":
            if math.prod(leaf.shape) > MOST_SPREAD:
                wide.append(leaf)
                continue
            for index in np.ndindex(leaf.shape):
                name = leaf.path + "".join(f"[{place}]" for place in index)
                cells.append(Cell(name, leaf, index))
        elif isinstance(leaf, DiscreteCodec | TextCodec):
            cells.append(Cell(leaf.path, leaf))
        else:
            wide.append(leaf)
    return cells, wide


def leaves_of(codec: SpaceCodec) -> Iterator[SpaceCodec]:
    """Iterate over the spaces in Dicts and Tuples."""
    if isinstance(codec, DictCodec | TupleCodec):
        inner = codec.children
        for child in inner.values() if isinstance(inner, dict) else inner:
            yield from leaves_of(child)
    else:
        yield codec


def read_cells(
    records: Records, cells: Sequence[Cell], rows: Rows
) -> Iterator[tuple[str, NDArray[Any]]]:
    """Iterate over the columns at some rows; texts come as objects."""
    last: tuple[SpaceCodec | None, Any] = None, None
    for name, codec, place in cells:
        if last[0] is not codec:  # the cells of an array follow one another
            batch = records.batch(codec, rows)
            last = codec, batch if isinstance(batch, np.ndarray) else np.array(batch, dtype=object)
        yield name, last[1][(slice(None), *place)]

# SPDX-License-Identifier: LGPL-3.0-or-later
"""Observations and actions at rows in any arrangement: windows, stacks, one row and the next.

Rows come as an array of any shape, and each leaf of the batch has that shape before its own:
rows of shape (64, 20) give frames of shape (64, 20, 210, 160, 3). A leaf that no array holds
(Text, Sequence, Graph, OneOf) is a tuple of tuples of values instead.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gymbag.records import Records, Rows
from gymbag.schema import Batch, SpaceCodec
from gymbag.schema.nested import DictCodec, TupleCodec


def gather(records: Records, codec: SpaceCodec, rows: Rows) -> Batch:
    """Return the observations or actions at `rows`; those of one chunk are read together."""
    batch = records.batch(codec, rows.ravel())
    return over_leaves(codec, batch, lambda leaf, part: _arranged(leaf, part, rows.shape))


def stacked(rows: Rows, first: Rows, stack: int | None) -> Rows:
    """Return for each row it and those before it, so that there are `stack`, the latest last.

    Where the episode has fewer, its `first` row stands for those that are missing.

    >>> stacked(np.array([5, 9]), np.array([4, 4]), 3)
    array([[4, 4, 5],
           [7, 8, 9]])
    """
    if stack is None:
        return rows
    stacks: Rows = np.maximum(rows[..., None] + np.arange(1 - stack, 1), first[..., None])
    return stacks


def pick(codec: SpaceCodec, batch: Batch, index: int) -> Batch:
    """Return what is at one place along the first axis."""
    return over_leaves(codec, batch, lambda leaf, part: part[index])


def blank(codec: SpaceCodec, batch: Batch, where: NDArray[np.bool_]) -> Batch:
    """Return the batch with zeros where it says so, and in place of other values null ones.

    Arrays are changed in place. Their null values would not do: of floats they are NaN, which
    no mask takes out of a sum again.
    """

    def blanked(leaf: SpaceCodec, part: Any) -> Any:
        if not isinstance(part, np.ndarray):
            return _replaced(part, where, leaf.null())
        part[where] = 0
        return part

    return over_leaves(codec, batch, blanked) if where.any() else batch


def over_leaves(codec: SpaceCodec, batch: Batch, change: Callable[[SpaceCodec, Any], Any]) -> Batch:
    """Return a batch of which each leaf is changed; dicts and tuples of spaces stay."""
    if isinstance(codec, DictCodec):
        return {k: over_leaves(child, batch[k], change) for k, child in codec.children.items()}
    if isinstance(codec, TupleCodec):
        pairs = zip(codec.children, batch, strict=True)
        return tuple([over_leaves(child, part, change) for child, part in pairs])
    return change(codec, batch)


def _arranged(codec: SpaceCodec, part: Any, shape: tuple[int, ...]) -> Any:
    if isinstance(part, np.ndarray):
        return part.reshape(*shape, *part.shape[1:])
    return _nested(iter([codec.pick(part, i) for i in range(math.prod(shape))]), shape)


def _nested(values: Iterator[Any], shape: tuple[int, ...]) -> Any:
    return tuple([_nested(values, shape[1:]) for _ in range(shape[0])]) if shape else next(values)


def _replaced(values: Any, where: NDArray[np.bool_], null: Any) -> Any:
    if where.ndim == 0:
        return null if where else values
    return tuple(_replaced(v, w, null) for v, w in zip(values, where, strict=True))

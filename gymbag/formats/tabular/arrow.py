# SPDX-License-Identifier: LGPL-3.0-or-later
"""Columns of NumPy's as Arrow's, and back. Numbers are not copied where Arrow has the same."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gymbag.errors import FormatError
from gymbag.formats.tabular.layout import Arrays, Leaf
from gymbag.formats.tabular.packages import pyarrow
from gymbag.schema.text import join_bytes

SHAPE = b"shape"
"""What Arrow's metadata of a column calls the shape of its lists, such as ``210,160,3``."""


def number_type(dtype: np.dtype) -> Any:
    """Return Arrow's type of a number.

    Raises:
        FormatError: it has none.
    """
    pa = pyarrow()
    try:
        return pa.from_numpy_dtype(dtype)
    except (pa.ArrowNotImplementedError, pa.ArrowInvalid, pa.ArrowTypeError):
        raise FormatError(f"Arrow has no numbers of {dtype}; choose another format") from None


def field_of(leaf: Leaf) -> Any:
    """Return Arrow's field of a column."""
    pa = pyarrow()
    shape, dtype = leaf.column.shape, _plain(leaf.column.dtype)
    if dtype != leaf.column.dtype:
        shape = (*shape, 2)
    metadata = None
    if leaf.text:
        kind = pa.large_string() if leaf.valid else pa.large_binary()
    else:
        kind = number_type(dtype)
        if shape:
            kind = pa.list_(kind, math.prod(shape))
            metadata = {SHAPE: ",".join(map(str, shape))}
    for _ in leaf.frames[: len(leaf.frames) - leaf.text]:
        kind = pa.large_list(kind)
    return pa.field(leaf.name, kind, metadata=metadata)


def _plain(dtype: np.dtype) -> np.dtype:
    """Return the dtype of the parts that complex numbers have, and of others their own."""
    return np.empty(0, dtype).real.dtype if dtype.kind == "c" else dtype


def to_array(leaf: Leaf, arrays: Arrays, missing: NDArray[np.bool_] | None = None) -> Any:
    """Return a column of a table.

    Args:
        leaf: which.
        arrays: the columns of the space.
        missing: where there is no value.
    """
    pa = pyarrow()
    frames = list(leaf.frames)
    values = np.ascontiguousarray(arrays[leaf.name])
    plain = _plain(values.dtype)
    if leaf.text:
        ends = _offsets(arrays[frames.pop()])
        rows = len(ends) - 1
        absent = missing if not frames else None
        bitmap = None if absent is None else pa.array(~absent).buffers()[1]
        kind = pa.large_string() if leaf.valid else pa.large_binary()
        buffers = [bitmap, pa.py_buffer(ends), pa.py_buffer(values)]
        found = pa.Array.from_buffers(kind, rows, buffers)
    else:
        size = leaf.size * (1 + (plain != values.dtype))
        absent = None if frames else missing
        if leaf.column.shape or plain != values.dtype:
            flat = pa.array(values.reshape(-1).view(plain))
            mask = None if absent is None else pa.array(absent)
            found = pa.FixedSizeListArray.from_arrays(flat, size, mask=mask)
        else:
            found = pa.array(values, mask=absent)
    for place, frame in reversed(list(enumerate(frames))):
        mask = pa.array(missing) if place == 0 and missing is not None else None
        found = pa.LargeListArray.from_arrays(pa.array(_offsets(arrays[frame])), found, mask=mask)
    return found


def _offsets(lengths: NDArray[Any]) -> NDArray[np.int64]:
    return np.concatenate(([0], np.cumsum(lengths, dtype=np.int64))).astype(np.int64)


def from_array(leaf: Leaf, array: Any, into: Arrays) -> None:
    """Put a column of a table among the columns of its space; zeros where there is no value.

    Raises:
        FormatError: it is not as `to_array` makes it.
    """
    pc = pyarrow().compute
    frames = list(leaf.frames)
    bytes_of_text = frames.pop() if leaf.text else ""
    for frame in frames:
        _put(into, frame, pc.fill_null(pc.list_value_length(array), 0).to_numpy())
        array = array.flatten()
    if leaf.text:
        cells = [cell or b"" for cell in array.cast("large_binary").to_pylist()]
        lengths, found = join_bytes(cells)
        _put(into, bytes_of_text, lengths)
    else:
        found = numbers(array, leaf.column.dtype, leaf.column.shape)
    _put(into, leaf.name, found)


def numbers(array: Any, dtype: np.dtype, shape: tuple[int, ...] = ()) -> NDArray[Any]:
    """Return numbers, or arrays of them, as an array of one's own; zeros where there is none."""
    pa = pyarrow()
    there = None if not array.null_count else array.is_valid().to_numpy(zero_copy_only=False)
    flat = array.flatten() if pa.types.is_fixed_size_list(array.type) else array.drop_null()
    if flat.null_count:
        raise FormatError("a list has numbers missing; expected all or none")
    some: NDArray[Any] = flat.to_numpy(zero_copy_only=False).view(dtype).reshape(-1, *shape)
    if there is None:
        return some.copy()
    found = np.zeros((len(array), *shape), dtype)
    found[there] = some
    return found


def _put(into: Arrays, name: str, found: NDArray[Any]) -> None:
    """Put an array among others; what several columns tell, all must tell alike."""
    if name in into and not np.array_equal(into[name], found):
        raise FormatError(f"the lists of {name} have other lengths than those beside them")
    into[name] = found


def column_of(batch: Any, name: str, kind: Any, expected: Sequence[str]) -> Any:
    """Return a column of a batch as the type that gymbag writes.

    Raises:
        FormatError: it is not there, or of another type.
    """
    pa = pyarrow()
    place = batch.schema.get_field_index(name)
    if place < 0:
        raise FormatError(f"no column {name!r}; expected {', '.join(expected)}")
    array = batch.column(place)
    if array.type == kind:
        return array
    try:
        return array.cast(kind)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise FormatError(f"column {name!r} is {array.type}; expected {kind} ({error})") from None

# SPDX-License-Identifier: LGPL-3.0-or-later
"""A store, or what was selected from one, as a table of Arrow's, pandas' or Polars' in memory.

>>> frame = to_pandas(store.where("reward > 0"), ["episode", "step", "observation[2]"])
>>> frame.shape, list(frame.columns)
((9, 3), ['episode', 'step', 'observation[2]'])
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gymbag.catalogue import INFO, descend
from gymbag.errors import FormatError
from gymbag.formats.tabular.arrow import SHAPE, field_of, to_array
from gymbag.formats.tabular.layout import leaves, read_columns
from gymbag.formats.tabular.narrow import leaves_of, read_cells, spread
from gymbag.formats.tabular.packages import package, pyarrow
from gymbag.query.parse import parse
from gymbag.query.tree import Path
from gymbag.records import Records, Rows
from gymbag.schema import SpaceCodec, jsonable
from gymbag.schema.arrays import ArrayCodec, DiscreteCodec
from gymbag.selection import Selection
from gymbag.store import Store

FIRST = ("episode", "step", "time")
LAST = ("reward", "terminated", "truncated")

Column = tuple[Any, Any]
"""A field of Arrow's, and its array."""


def to_arrow(source: Store | Selection, columns: Sequence[str] | None = None) -> Any:
    """Return a `pyarrow.Table` with a row for each row of the store, or for each selected one.

    Without `columns`, all that is narrow is there: numbers, flags, texts, and of arrays with up to
    32 numbers each number, as ``observation[2]``. Actions and rewards are null at a reset, and
    infos where a row has none. Numbers keep their dtypes; they are not copied once they are read.

    Args:
        source: a store or a selection.
        columns: the fields, as a question would name them; also ``seed``, ``episode_return`` and
            others of `Store.columns`, ``observation.camera`` as a whole, which is a list of fixed
            size in each row, with its shape in the metadata of the field; and ``info``, as JSON.

    Raises:
        FormatError: pyarrow is not installed, or there is no such field.

    >>> table = to_arrow(store)
    >>> table.num_rows, table["reward"].null_count, table.schema.field("observation[2]").type
    (11, 2, DataType(float))
    """
    if not isinstance(source, Store | Selection):
        raise FormatError(
            f"found {type(source).__name__}; expected a store, as gymbag.open gives it, or a "
            "selection; gymbag.convert makes a file of other sources"
        )
    columns = [columns] if isinstance(columns, str) else columns
    records = source._records
    rows = np.arange(len(source)) if isinstance(source, Store) else source.rows
    reset = records.fixed("step", rows) == 0
    found = dict(_narrow(records, rows, reset) if columns is None else ())
    for name in columns or ():
        for field, array in _asked(records, name, rows, reset):
            found[field.name] = field, array
    pa = pyarrow()
    fields = [field for field, _ in found.values()]
    return pa.table([array for _, array in found.values()], schema=pa.schema(fields))


def to_pandas(source: Store | Selection, columns: Sequence[str] | None = None) -> Any:
    """Return a `pandas.DataFrame`; see `to_arrow` for its rows and columns.

    Whole numbers and flags that some rows lack are of pandas' nullable dtypes, such as ``Int64``,
    so that they stay exact; in columns of floats, what is missing is NaN. An array is a NumPy array
    of its shape in each cell.

    Raises:
        FormatError: pandas or pyarrow is not installed, or there is no such field.

    >>> frame = to_pandas(store)
    >>> frame.groupby("episode")["reward"].sum().tolist()
    [8.0, 1.0]
    """
    pandas, pa = package("pandas", "pandas"), pyarrow()
    table = to_arrow(source, columns)
    nullable = {pa.from_numpy_dtype(kind.numpy_dtype): kind for kind in _nullable(pandas)}
    found = {}
    for field, column in zip(table.schema, table.columns, strict=True):
        if _shape(field):
            found[field.name] = pandas.Series(_arrays(field, column), dtype=object)
        else:
            kinds = nullable.get if column.null_count else None
            found[field.name] = column.to_pandas(types_mapper=kinds)
    return pandas.DataFrame(found, copy=False)


def to_polars(source: Store | Selection, columns: Sequence[str] | None = None) -> Any:
    """Return a `polars.DataFrame`; see `to_arrow` for its rows and columns.

    What is missing is null. An array is of Polars' type ``Array``, with its shape.

    Raises:
        FormatError: Polars or pyarrow is not installed, or there is no such field.

    >>> to_polars(store, ["observation"]).schema["observation"].shape
    (4,)
    """
    polars = package("polars", "polars")
    table = to_arrow(source, columns)
    frame = polars.from_arrow(table)
    deep = {field.name: shape for field in table.schema if len(shape := _shape(field)) > 1}
    return frame.with_columns(
        frame[name].reshape((len(frame), *shape)) for name, shape in deep.items() if len(frame)
    )


def _narrow(records: Records, rows: Rows, reset: NDArray[np.bool_]) -> Iterator[tuple[str, Column]]:
    """Iterate over all narrow columns."""
    lane = ("lane",) * (records.reader.lanes is not None)
    parts = {root: spread(getattr(records.schema, root))[0] for root in ("action", "observation")}
    infos = dict.fromkeys(n for n in records.names() if n.startswith((f"{INFO}.", f"{INFO}[")))
    for name in (*FIRST, *lane):
        yield name, _plain(records, name, rows, reset)
    for name, values in read_cells(records, parts["action"], rows):
        yield name, _column(name, values, reset)
    for name in LAST:
        yield name, _plain(records, name, rows, reset)
    for name, values in read_cells(records, parts["observation"], rows):
        yield name, _column(name, values, None)
    for name in infos:
        yield name, _plain(records, name, rows, reset)


def _asked(records: Records, name: str, rows: Rows, reset: NDArray[np.bool_]) -> Iterator[Column]:
    """Iterate over the columns of a field: several, if it is made of parts."""
    codec = _codec(records, name)
    if codec is None:
        yield _plain(records, name, rows, reset)
        return
    missing = reset if name.startswith("action") else None
    for leaf in leaves_of(codec):
        if isinstance(leaf, ArrayCodec | DiscreteCodec) and leaf.dtype.kind != "c":
            if leaf.columns:  # an array of no numbers has none
                yield _column(leaf.path, records.batch(leaf, rows), missing)
        else:
            columns = read_columns(records.reader, leaf, rows)
            for part in leaves(leaf):
                yield field_of(part), to_array(part, columns, missing)


def _codec(records: Records, name: str) -> SpaceCodec | None:
    """Return the codec of what is an observation or action, or a whole part of one."""
    path, _ = parse(name, {})
    if not isinstance(path, Path) or path.keys[0] not in ("observation", "action"):
        return None
    root: SpaceCodec = getattr(records.schema, str(path.keys[0]))
    keys = [key for key in path.keys[1:] if not isinstance(key, slice)]
    codec, left = descend(root, keys)
    return None if left or len(keys) < len(path.keys) - 1 else codec


def _plain(records: Records, name: str, rows: Rows, reset: NDArray[np.bool_]) -> Column:
    """Return a column that a question can ask for."""
    try:
        values = records.column(name, rows)
    except LookupError as error:
        raise FormatError(f"columns: {error.args[0]}") from error
    if name == INFO:
        values = np.array([jsonable.dumps(info) for info in values], dtype=object)
    missing = reset if name == "reward" or name.startswith("action") else None
    if isinstance(values, np.ma.MaskedArray):
        missing, values = np.ma.getmaskarray(values), values.data
        if missing.ndim > 1:
            missing = missing.reshape(len(missing), -1)[:, 0]
    return _column(name, values, missing)


def _column(name: str, values: NDArray[Any], missing: NDArray[np.bool_] | None) -> Column:
    """Return a column of NumPy's as Arrow's."""
    pa = pyarrow()
    missing = missing if missing is not None and missing.any() else None
    if values.dtype.kind in "OU":
        cells = values.tolist()
        try:
            array = pa.array(cells, pa.string(), mask=missing)
        except UnicodeEncodeError:  # half a surrogate pair; as in `field_of`
            cells = [cell.encode("utf-8", "surrogatepass") for cell in cells]
            array = pa.array(cells, pa.binary(), mask=missing)
        return pa.field(name, array.type), array
    flat = pa.array(np.ascontiguousarray(values).reshape(-1))
    if values.ndim == 1:
        array = flat if missing is None else pa.array(np.ascontiguousarray(values), mask=missing)
        return pa.field(name, array.type), array
    size = int(np.prod(values.shape[1:]))
    mask = None if missing is None else pa.array(missing)
    array = pa.FixedSizeListArray.from_arrays(flat, size, mask=mask)
    shape = ",".join(map(str, values.shape[1:]))
    return pa.field(name, array.type, metadata={SHAPE: shape}), array


def _shape(field: Any) -> tuple[int, ...]:
    """Return the shape of the arrays in a column; () of others, and of lists of arrays."""
    if not pyarrow().types.is_fixed_size_list(field.type):
        return ()
    text = (field.metadata or {}).get(SHAPE, b"").decode()
    return tuple(map(int, filter(None, text.split(","))))


def _arrays(field: Any, column: Any) -> list[Any]:
    """Return the arrays in a column, None where there is none; they are views of its memory."""
    shape, found = _shape(field), [None] * len(column)
    array = column.combine_chunks()
    there = np.flatnonzero(array.is_valid().to_numpy(zero_copy_only=False)).tolist()
    some = array.flatten().to_numpy(zero_copy_only=False).reshape(-1, *shape)
    for place, value in zip(there, some, strict=True):
        found[place] = value
    return found


def _nullable(pandas: Any) -> list[Any]:
    """Return pandas' dtypes of whole numbers and flags that may be missing."""
    sizes = (8, 16, 32, 64)
    kinds = [getattr(pandas, f"{kind}{size}Dtype")() for kind in ("Int", "UInt") for size in sizes]
    return [*kinds, pandas.BooleanDtype()]


__all__ = ["to_arrow", "to_pandas", "to_polars"]

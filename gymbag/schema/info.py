# SPDX-License-Identifier: LGPL-3.0-or-later
"""The info dict: numbers, flags and short texts become columns, the rest a cell of JSON.

A column holds the values of one key and one type, with a mask of the rows that have it. A key
that changes its type gets a second column; so every value comes back as it was, and a question
about the key is answered from all of them. Dicts inside the dict are entered: the ``r`` of
``info["episode"]`` is the column ``info.episode.r``.

An encoder holds the columns seen so far; nothing here knows of files.
"""

from __future__ import annotations

import warnings
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from gymbag.errors import RecordingWarning, SchemaError
from gymbag.schema import jsonable
from gymbag.schema.columns import ROWS, Column, child_path
from gymbag.schema.text import bytes_columns, join_bytes

Keys: TypeAlias = tuple[str, ...]

MOST_COLUMNS = 256
"""Keys beyond this many go into the JSON cell: some environments make up keys as they go."""
DEEPEST = 8
"""Dicts inside this many others are not entered; one of them might contain itself."""
TEXT_BYTES = 64
"""Texts of more UTF-8 bytes go into the JSON cell."""

CELL = "info"
"""The path of the JSON cell."""
CELL_COLUMNS = bytes_columns(CELL, ROWS)

TYPES: dict[str, tuple[type, np.dtype]] = {
    "int": (int, np.dtype("<i8")),
    "float": (float, np.dtype("<f8")),
    "bool": (bool, np.dtype("?")),
    "str": (str, np.dtype(f"S{TEXT_BYTES}")),
    **{
        f"numpy.{dtype.name}": (dtype.type, dtype)
        for dtype in map(np.dtype, ("?", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8"))
    },
    **{f"numpy.{d.name}": (d.type, d) for d in map(np.dtype, ("f2", "f4", "f8"))},
}
"""Types that get a column: name in the file, class of the value, dtype of the column."""

TYPE_NAMES = {cls: name for name, (cls, _) in TYPES.items()}


@dataclass(frozen=True, slots=True)
class InfoColumn:
    """The values of one key and one type, with a mask of the rows that have one."""

    name: str
    keys: Keys
    """Where it stands: ``("episode", "r")`` for ``info["episode"]["r"]``."""
    type: str
    """A name in `TYPES`."""

    @property
    def dtype(self) -> np.dtype:
        """The dtype of the column."""
        return TYPES[self.type][1]

    @property
    def columns(self) -> tuple[Column, Column]:
        """The values, and whether the row has one."""
        return Column(self.name, self.dtype), Column(f"{self.name}#has", np.dtype("?"))

    def restore(self, values: NDArray[Any]) -> list[Any]:
        """Return stored values with the type they had."""
        cls = TYPES[self.type][0]
        if cls is str:
            return [value.decode("utf-8") for value in values.tolist()]
        return values.tolist() if not issubclass(cls, np.generic) else list(values)

    def to_json(self) -> dict[str, Any]:
        """Return the column as plain JSON."""
        return {"name": self.name, "keys": list(self.keys), "type": self.type}

    @classmethod
    def from_json(cls, column: Mapping[str, Any]) -> InfoColumn:
        """Return the column that `to_json` gave."""
        return cls(column["name"], tuple(column["keys"]), column["type"])


@dataclass(frozen=True, slots=True)
class InfoBlock:
    """The infos of some rows, encoded."""

    columns: tuple[InfoColumn, ...]
    """Every column known so far, new ones last."""
    values: dict[str, NDArray[Any]]
    """Values and masks by column name, dense; a column that is not in it has none here."""


class InfoEncoder:
    """Collects info dicts row by row.

    >>> encoder = InfoEncoder()
    >>> encoder.add(0, {"lives": 3})
    >>> block = encoder.take(2)
    >>> block.values["info.lives"], block.values["info.lives#has"]
    (array([3, 0]), array([ True, False]))
    """

    def __init__(self, columns: Iterable[InfoColumn] = ()) -> None:
        self.columns: list[InfoColumn] = list(columns)
        self._index: dict[Keys, dict[tuple[Any, type], int]] = {}
        """Numbers of the columns: by the keys above, then by the last key and the class."""
        for index, column in enumerate(self.columns):
            *above, last = column.keys
            self._index.setdefault(tuple(above), {})[last, TYPES[column.type][0]] = index
        self._rows: list[list[int]] = [[] for _ in self.columns]
        self._values: list[list[Any]] = [[] for _ in self.columns]
        self._cells: dict[int, bytes] = {}
        self._said: set[Any] = set()

    def add(self, row: int, info: Mapping[Any, Any]) -> None:
        """Take the info of a row; rows ascend, and those without one may be left out.

        Raises:
            SchemaError: it is no mapping. Of an info that is refused, nothing is taken.
        """
        known = len(self.columns)
        try:
            rest = self._add(row, info, ())
            if rest:
                self._cells[row] = self._cell(rest)
        except BaseException:
            self.drop(row)
            self._forget_columns(known)
            if hasattr(info, "items"):
                raise
            found = f"{info!r:.80} ({type(info).__name__})"
            raise SchemaError(f"info: found {found}; expected a dict") from None

    def _add(self, row: int, info: Mapping[Any, Any], above: Keys) -> dict[Any, Any]:
        """Put what has a column there, and return the rest."""
        rest: dict[Any, Any] = {}
        known, rows, values = self._index.get(above, {}), self._rows, self._values
        for key, value in info.items():
            cls = type(value)
            column = known.get((key, cls))
            if column is not None and (
                -(2**63) <= value < 2**63 if cls is int else cls is not str or _fits(value)
            ):
                rows[column].append(row)
                values[column].append(value)
            elif cls is dict and value and type(key) is str and len(above) < DEEPEST:
                inner = self._add(row, value, (*above, key))
                if inner:
                    rest[key] = inner
            elif not self._open_column(row, key, value, above):
                rest[key] = value
        return rest

    def _open_column(self, row: int, key: Any, value: Any, above: Keys) -> bool:
        """Open a column with `value` as its first, if it can have one."""
        cls = type(value)
        if cls not in TYPE_NAMES or type(key) is not str or not _fits(value):
            return False
        keys = (*above, key)
        if not _encodes("".join(keys)):
            return False
        known = self._index.setdefault(above, {})
        if (key, cls) in known or len(self.columns) >= MOST_COLUMNS:
            return False
        known[key, cls] = len(self.columns)
        name = TYPE_NAMES[cls]
        self.columns.append(InfoColumn(self._name(keys, name), keys, name))
        self._rows.append([row])
        self._values.append([value])
        return True

    def _forget_columns(self, known: int) -> None:
        """Forget those columns that were opened after so many."""
        for column in self.columns[known:]:
            *above, last = column.keys
            del self._index[tuple(above)][last, TYPES[column.type][0]]
        del self.columns[known:], self._rows[known:], self._values[known:]

    def _name(self, keys: Keys, type_name: str) -> str:
        """Return the path of the key; with its type, if a column of another type has it."""
        path = CELL
        for key in keys:
            path = child_path(path, key)
        taken = any(column.keys == keys for column in self.columns)
        return f"{path}#{type_name}" if taken else path

    def _cell(self, rest: dict[Any, Any]) -> bytes:
        """Return `rest` as a cell of JSON, without what JSON cannot hold."""
        try:
            return jsonable.dumps(rest).encode("utf-8")
        except (TypeError, ValueError, RecursionError):
            rest = self._storable(rest, CELL, 0)
            return jsonable.dumps(rest).encode("utf-8") if rest else b""

    def _storable(self, info: dict[Any, Any], path: str, depth: int) -> dict[Any, Any]:
        """Return what of `info` can be stored, and warn of the rest, once for each key and type."""
        kept = {}
        for key, value in info.items():
            where = child_path(path, key)
            if type(value) is dict and depth < DEEPEST:
                kept[key] = self._storable(value, where, depth + 1)
                continue
            try:
                jsonable.dumps({key: value}).encode("utf-8")
                kept[key] = value
            except (TypeError, ValueError, RecursionError) as error:
                if (where, type(value)) not in self._said:
                    self._said.add((where, type(value)))
                    warnings.warn(
                        f"{where}: found a value of type {type(value).__qualname__}, which "
                        f"cannot be stored ({error}) and is left out; the other keys are kept",
                        RecordingWarning,
                        stacklevel=2,
                    )
        return kept

    def copy(self) -> InfoEncoder:
        """Return another with the same rows."""
        twin = InfoEncoder(self.columns)
        twin._rows = [rows.copy() for rows in self._rows]
        twin._values = [values.copy() for values in self._values]
        twin._cells, twin._said = self._cells.copy(), self._said
        return twin

    def take(self, n: int) -> InfoBlock:
        """Return the first n rows and forget them; later rows stay."""
        values: dict[str, NDArray[Any]] = {}
        for index, column in enumerate(self.columns):
            rows, found = self._rows[index], self._values[index]
            count = bisect_left(rows, n)
            if count:
                dense, has = _dense(n, column, rows[:count], found[:count])
                values[column.name], values[f"{column.name}#has"] = dense, has
                self._rows[index] = [row - n for row in rows[count:]]
                self._values[index] = found[count:]
            else:
                self._rows[index] = [row - n for row in rows]
        if any(row < n for row in self._cells):
            cells = [self._cells.pop(row, b"") for row in range(n)]
            names = (column.name for column in CELL_COLUMNS)
            values.update(zip(names, join_bytes(cells), strict=True))
        self._cells = {row - n: cell for row, cell in self._cells.items()}
        return InfoBlock(tuple(self.columns), values)

    def drop(self, row: int) -> None:
        """Forget the last row."""
        self._cells.pop(row, None)
        for rows, found in zip(self._rows, self._values, strict=True):
            if rows and rows[-1] == row:
                rows.pop()
                found.pop()


def _dense(
    n: int, column: InfoColumn, rows: list[int], found: list[Any]
) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Return a column of n rows and its mask, given the rows that have a value."""
    if column.type == "str":
        found = [value.encode() for value in found]
    if len(rows) == n:  # the usual case, and the cheap one
        return np.array(found, column.dtype), np.ones(n, np.bool_)
    dense, has = np.zeros(n, column.dtype), np.zeros(n, np.bool_)
    dense[rows] = found
    has[rows] = True
    return dense, has


def fits_int64(value: int) -> bool:
    """Return whether an int fits 64 bits."""
    return -(2**63) <= value < 2**63


def _fits(value: Any) -> bool:
    """Return whether a value comes back equal from the column of its type."""
    if type(value) is int:
        return -(2**63) <= value < 2**63
    if type(value) is str:
        fits = _encodes(value) and len(value.encode()) <= TEXT_BYTES
        return fits and not value.endswith("\0")
    return True


def _encodes(text: str) -> bool:
    """Return whether a text has a form in UTF-8; half of a surrogate pair has none."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def decode_infos(
    n: int,
    columns: Sequence[tuple[InfoColumn, NDArray[Any], NDArray[np.bool_]]],
    cells: Sequence[bytes],
) -> list[dict[Any, Any]]:
    """Return the infos of n rows.

    Args:
        n: how many rows.
        columns: each column with its values and its mask, n of each.
        cells: the JSON cells, n of them or none at all; an empty one holds nothing.
    """
    infos: list[dict[Any, Any]] = [{} for _ in range(n)]
    for row, cell in enumerate(cells):
        if cell:
            infos[row] = jsonable.loads(cell)
    for column, values, has in columns:
        rows = np.flatnonzero(has).tolist()
        *above, last = column.keys
        for row, value in zip(rows, column.restore(values[rows]), strict=True):
            inner = infos[row]
            for key in above:
                inner = inner.setdefault(key, {})
            inner[last] = value
    return infos

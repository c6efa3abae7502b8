# SPDX-License-Identifier: LGPL-3.0-or-later
"""Types of values in a file as NumPy has them, told in JSON by the child process to its parent.

A plain type is NumPy's code for it, such as ``<f4``; an array in a cell is ``{"base": …, "shape":
[…]}``, a row of a table ``{"fields": [[name, offset, type], …], "size": …}``. What has no fixed
size, or is no plain number, truth value or text, is refused.
"""

from __future__ import annotations

import ctypes
from ctypes import byref, c_size_t, c_uint64
from typing import Any

from gymbag.storage.libhdf5 import Library, Refused

MOST_FIELDS, MOST_DEPTH, MOST_RANK = 4_096, 4, 32
MOST_NAME, MOST_VALUE_BYTES = 1_024, 1 << 28

INTEGER, FLOAT, TIME, STRING, BITFIELD, COMPOUND, ENUM, ARRAY = 0, 1, 2, 3, 4, 6, 8, 10
TRUTH = ("FALSE", "TRUE")
ORDERS = {0: "<", 1: ">"}
NUMBERS = (INTEGER, FLOAT, TIME, BITFIELD)
CLASSES = {
    **{INTEGER: "an odd integer", FLOAT: "an odd float", TIME: "an odd time", BITFIELD: "bits"},
    **{STRING: "a text of any length", 5: "opaque", 7: "a reference", 9: "a list of any length"},
}
FLOATS = {
    2: (16, 15, 10, 5, 0, 10, 15),
    4: (32, 31, 23, 8, 0, 23, 127),
    8: (64, 63, 52, 11, 0, 52, 1023),
    16: (80, 79, 64, 15, 0, 64, 16383),
}
"""Bits, place of the sign, place and size of exponent and mantissa, and bias: of IEEE's floats,
and of the extended one of Intel's that NumPy knows in 16 bytes."""


class Types:
    """Describes types of values; what has no fixed size or is not plain is refused."""

    def __init__(self, hdf5: Library) -> None:
        self.hdf5 = hdf5
        self._fields = 0

    def describe(self, kind: int, depth: int = 0) -> Any:
        """Return NumPy's code of a plain type, or a mapping for an array or a compound."""
        size, found = self.hdf5("H5Tget_size", kind), self.hdf5("H5Tget_class", kind)
        if not 1 <= size <= MOST_VALUE_BYTES:
            raise Refused(f"claims values of {size} bytes")
        if depth > MOST_DEPTH:
            raise Refused("its type is nested too deeply")
        if found == COMPOUND:
            return self._compound(kind, size, depth)
        if found == ARRAY:
            return self._array(kind, depth)
        if found == ENUM:
            return self._enum(kind, size, depth)
        if found == STRING and not self.hdf5("H5Tis_variable_str", kind):
            return f"|S{size}"
        code = self._number(kind, found, size) if found in NUMBERS else None
        if code is None:
            name = CLASSES.get(found, f"class {found}")
            raise Refused(f"its values are of a type that gymbag never has: {name}, {size} bytes")
        if size == 1:
            return "|" + code
        order = self.hdf5("H5Tget_order", kind)
        if order not in ORDERS:
            raise Refused("its numbers are in an unusual order of bytes")
        return ORDERS[order] + code

    def _number(self, kind: int, found: int, size: int) -> str | None:
        """Return the code of a number or truth value without its order of bytes."""
        if found == FLOAT:
            return f"f{size}" if self._float(kind) == FLOATS.get(size) else None
        if found == TIME:  # PyTables' times: seconds, or seconds << 32 | microseconds
            return f"i{size}" if size in (4, 8) else None
        plain = (self.hdf5("H5Tget_precision", kind), self.hdf5("H5Tget_offset", kind))
        if plain != (8 * size, 0) or size not in (1, 2, 4, 8):
            return None
        if found == BITFIELD:
            return "b1" if size == 1 else None
        if found != INTEGER:
            return None
        return f"{'i' if self.hdf5('H5Tget_sign', kind) else 'u'}{size}"

    def _float(self, kind: int) -> tuple[int, ...]:
        fields = [c_size_t() for _ in range(5)]
        self.hdf5("H5Tget_fields", kind, *map(byref, fields))
        bits, bias = self.hdf5("H5Tget_precision", kind), self.hdf5("H5Tget_ebias", kind)
        return (bits, *(field.value for field in fields), bias)

    def _array(self, kind: int, depth: int) -> dict[str, Any]:
        rank = self.hdf5("H5Tget_array_ndims", kind)
        if not 1 <= rank <= MOST_RANK:
            raise Refused(f"its values are arrays of {rank} dimensions")
        dims = (c_uint64 * rank)()
        self.hdf5("H5Tget_array_dims2", kind, dims)
        with self.hdf5.using("H5Tget_super", kind) as base:
            return {"base": self.describe(base, depth + 1), "shape": list(dims)}

    def _enum(self, kind: int, size: int, depth: int) -> Any:
        # So h5py writes truth values; of other enumerations the numbers are told.
        if size == 1 and self.hdf5("H5Tget_nmembers", kind) == len(TRUTH):
            names = tuple(self._name(kind, place) for place in range(len(TRUTH)))
            if names == TRUTH:
                return "|b1"
        with self.hdf5.using("H5Tget_super", kind) as base:
            return self.describe(base, depth + 1)

    def _compound(self, kind: int, size: int, depth: int) -> Any:
        count = self.hdf5("H5Tget_nmembers", kind)
        self._fields += count
        if not count or self._fields > MOST_FIELDS:
            raise Refused(f"claims {self._fields} columns; at most {MOST_FIELDS} are read")
        fields = []
        for place in range(count):
            with self.hdf5.using("H5Tget_member_type", kind, place) as member:
                described = self.describe(member, depth + 1)
            offset = self.hdf5("H5Tget_member_offset", kind, place)
            fields.append([self._name(kind, place), offset, described])
        if [field[0] for field in fields] == ["r", "i"] and fields[0][2] == fields[1][2]:
            code = fields[0][2]
            if isinstance(code, str) and code[1:] == f"f{size // 2}" and fields[1][1] == size // 2:
                return f"{code[0]}c{size}"
        return {"fields": fields, "size": size}

    def _name(self, kind: int, place: int) -> str:
        address = self.hdf5("H5Tget_member_name", kind, place)
        try:
            name = ctypes.string_at(address)
        finally:
            self.hdf5("H5free_memory", address)
        if len(name) > MOST_NAME:
            raise Refused(f"a column's name is longer than {MOST_NAME} bytes")
        try:
            return name.decode()
        except UnicodeDecodeError:
            raise Refused(f"a column's name is not UTF-8: {name[:80]!r}") from None

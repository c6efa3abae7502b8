# SPDX-License-Identifier: LGPL-3.0-or-later
"""HDF5's own functions, of the library that PyTables brings, without PyTables.

Only for the child process of `gymbag.storage.scan`: a file can crash what is called here.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import sys
from collections.abc import Iterator
from ctypes import POINTER, c_char_p, c_int, c_int64, c_size_t, c_uint, c_uint64, c_void_p
from typing import Any

UNREADABLE = "HDF5 cannot read it"
"""How the reason begins why something is refused, if that is damage."""


class Refused(Exception):
    """One thing in the file that is not followed or read; the message says why."""


class Unreadable(Refused):
    """HDF5 itself cannot read something."""


class Token(ctypes.Structure):
    """H5O_token_t: where an object is."""

    _fields_ = (("bytes", ctypes.c_uint8 * 16),)


class Target(ctypes.Union):
    """The end of H5L_info2_t: the size counts for links that are not hard."""

    _fields_ = (("token", Token), ("size", c_size_t))


class Link(ctypes.Structure):
    """H5L_info2_t."""

    _fields_ = (
        ("type", c_int),
        ("order_valid", ctypes.c_bool),
        ("order", c_int64),
        ("charset", c_int),
        ("target", Target),
    )


class GroupInfo(ctypes.Structure):
    """H5G_info_t."""

    _fields_ = (
        ("storage", c_int),
        ("links", c_uint64),
        ("max_order", c_int64),
        ("mounted", ctypes.c_bool),
    )


class Reason(ctypes.Structure):
    """H5E_error2_t."""

    _fields_ = (
        ("ids", c_int64 * 3),
        ("line", c_uint),
        ("function", c_char_p),
        ("file", c_char_p),
        ("text", c_char_p),
    )


ON_LINK = ctypes.CFUNCTYPE(c_int, c_int64, c_char_p, POINTER(Link), c_void_p)
ON_CHUNK = ctypes.CFUNCTYPE(c_int, POINTER(c_uint64), c_uint, c_uint64, c_uint64, c_void_p)
ON_REASON = ctypes.CFUNCTYPE(c_int, c_uint, POINTER(Reason), c_void_p)

_ID, _SIZES = c_int64, POINTER(c_uint64)
SIGNATURES: dict[str, tuple[Any, ...]] = {
    "H5open": (c_int,),
    "H5free_memory": (c_int, c_void_p),
    "H5Eset_auto2": (c_int, _ID, c_void_p, c_void_p),
    "H5Ewalk2": (c_int, _ID, c_int, ON_REASON, c_void_p),
    "H5Eclear2": (c_int, _ID),
    "H5Fopen": (_ID, c_char_p, c_uint, _ID),
    "H5Fget_eoa": (c_int, _ID, _SIZES),
    "H5Gopen2": (_ID, _ID, c_char_p, _ID),
    "H5Gget_info": (c_int, _ID, POINTER(GroupInfo)),
    "H5Literate2": (c_int, _ID, c_int, c_int, _SIZES, ON_LINK, c_void_p),
    "H5Oopen_by_token": (_ID, _ID, Token),
    "H5Idec_ref": (c_int, _ID),
    "H5Iget_type": (c_int, _ID),
    "H5Dget_create_plist": (_ID, _ID),
    "H5Dget_space": (_ID, _ID),
    "H5Dget_type": (_ID, _ID),
    "H5Dchunk_iter": (c_int, _ID, _ID, ON_CHUNK, c_void_p),
    "H5Pget_layout": (c_int, _ID),
    "H5Pget_external_count": (c_int, _ID),
    "H5Pget_chunk": (c_int, _ID, c_int, _SIZES),
    "H5Pget_nfilters": (c_int, _ID),
    "H5Pget_filter2": (
        *(c_int, _ID, c_uint, POINTER(c_uint), POINTER(c_size_t), POINTER(c_uint)),
        *(c_size_t, c_char_p, POINTER(c_uint)),
    ),
    "H5Pfill_value_defined": (c_int, _ID, POINTER(c_int)),
    "H5Pget_fill_value": (c_int, _ID, _ID, c_void_p),
    "H5Sget_simple_extent_ndims": (c_int, _ID),
    "H5Sget_simple_extent_npoints": (c_int64, _ID),
    "H5Sget_simple_extent_dims": (c_int, _ID, _SIZES, _SIZES),
    "H5Tget_class": (c_int, _ID),
    "H5Tget_size": (c_int64, _ID),
    "H5Tget_sign": (c_int, _ID),
    "H5Tget_order": (c_int, _ID),
    "H5Tget_precision": (c_int64, _ID),
    "H5Tget_offset": (c_int, _ID),
    "H5Tget_fields": (c_int, _ID, *(POINTER(c_size_t),) * 5),
    "H5Tget_ebias": (c_int64, _ID),
    "H5Tis_variable_str": (c_int, _ID),
    "H5Tget_super": (_ID, _ID),
    "H5Tget_array_ndims": (c_int, _ID),
    "H5Tget_array_dims2": (c_int, _ID, _SIZES),
    "H5Tget_nmembers": (c_int, _ID),
    "H5Tget_member_name": (c_void_p, _ID, c_uint),
    "H5Tget_member_type": (_ID, _ID, c_uint),
    "H5Tget_member_offset": (c_int64, _ID, c_uint),
    "H5Aexists": (c_int, _ID, c_char_p),
    "H5Aopen": (_ID, _ID, c_char_p, _ID),
    "H5Aget_type": (_ID, _ID),
    "H5Aget_space": (_ID, _ID),
    "H5Aread": (c_int, _ID, _ID, c_void_p),
}


class Library:
    """HDF5 as PyTables has it. A call that fails is `Unreadable`, with what HDF5 says of it."""

    def __init__(self, library: str, path: list[str]) -> None:
        try:
            self._dll = ctypes.CDLL(library)
        except OSError:
            # Elsewhere than on Linux PyTables may have to load first what the library needs.
            sys.path[:] = path
            importlib.import_module("tables")
            self._dll = ctypes.CDLL(library)
        for name, (result, *arguments) in SIGNATURES.items():
            function = getattr(self._dll, name)
            function.restype, function.argtypes = result, arguments
        self("H5open")
        self("H5Eset_auto2", 0, None, None)
        self.native_int64 = c_int64.in_dll(self._dll, "H5T_NATIVE_INT64_g").value

    def __call__(self, name: str, *arguments: Any) -> Any:
        """Call a function of HDF5."""
        result = getattr(self._dll, name)(*arguments)
        if result is None or result < 0:
            raise Unreadable(f"{UNREADABLE}: {self._reason() or name}")
        return result

    @contextlib.contextmanager
    def using(self, name: str, *arguments: Any) -> Iterator[int]:
        """Call a function that returns an identifier, and give that back at the end."""
        found = self(name, *arguments)
        try:
            yield found
        finally:
            self("H5Idec_ref", found)

    def _reason(self) -> str:
        texts: list[str] = []

        def note(_number: int, reason: Any, _data: Any) -> int:
            texts.append((reason.contents.text or b"").decode("utf-8", "replace"))
            return 0

        self._dll.H5Ewalk2(0, 0, ON_REASON(note), None)
        self._dll.H5Eclear2(0)
        telling = [text for text in texts if "truncated" in text or "unable to lock" in text]
        return (telling or texts or [""])[0]

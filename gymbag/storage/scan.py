# SPDX-License-Identifier: LGPL-3.0-or-later
"""The program of the child process that reads HDF5's own metadata for `gymbag.storage.look`.

A file can crash HDF5, keep it busy for ever, or have PyTables run pickles that stand in
attributes. So this runs in a process of its own that limits itself first, and it never asks
PyTables: it calls HDF5 through the very library that PyTables brings, without importing it. No
data is ever read, only metadata, and no link is followed that is not a hard one::

    {"library": …, "file": …, "path": […], "seconds": 20, "bytes": 2147483648}

is its argument. Its output is a line of JSON, then the packed chunks (`CHUNK`) of the leaves, one
leaf after the other. What is odd about one leaf or link goes to ``refused``, and is not touched
further; what spoils the whole file becomes ``{"error": kind, "message": …}``.

It imports two modules beside it, and neither gymbag as a whole nor NumPy nor PyTables, which take
longer to import than the look itself.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import json
import math
import os
import struct
import sys
from collections.abc import Iterator
from ctypes import byref, c_int, c_int64, c_size_t, c_uint, c_uint64
from typing import Any

from gymbag.storage.filetypes import INTEGER, MOST_NAME, MOST_RANK, STRING, Types
from gymbag.storage.libhdf5 import ON_CHUNK, ON_LINK, Library, Refused, Token, Unreadable

MOST_GROUPS, MOST_LEAVES, MOST_REFUSED = 10_000, 2_000, 1_000
MOST_ROWS, MOST_CHUNK_BYTES, MOST_CHUNKS = 1 << 40, 1 << 28, 12_000_000
MOST_TEXT, MOST_CLIENT_DATA, MOST_OUTPUT = 65_536, 64, 1 << 28
CHUNK = struct.Struct("<QQI")
"""Number, offset in the file, and size of a chunk."""
FORMAT_ATTRIBUTE = "gymbag_format"
TEXTS = ("TITLE", "observation_space", "action_space")
"""Attributes that gymbag 0.4.9 wrote beside its tables."""

UNLIMITED = 2**64 - 1
HARD = 0
LINKS = {1: "soft", 64: "external"}
GROUP, DATASET = 2, 5
LAYOUTS = {0: "compact", 1: "contiguous", 2: "chunked", 3: "virtual"}
CHUNKED = 2
USER_DEFINED = 2


def limit(seconds: int, nbytes: int) -> None:
    """Limit this process, so that no file can make it take the machine down."""
    try:
        resource: Any = importlib.import_module("resource")
    except ImportError:  # on Windows; the parent's limit of time holds there too
        return
    wanted = {"AS": nbytes, "CPU": seconds, "CORE": 0, "FSIZE": MOST_OUTPUT, "NPROC": 0}
    for name, most in wanted.items():
        # A platform may lack one of them, or be stricter already.
        with contextlib.suppress(AttributeError, ValueError, OSError):
            resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (most, most))


class Scanner:
    """Looks at one open file."""

    def __init__(self, hdf5: Library, file: int) -> None:
        self.hdf5 = hdf5
        self.file = file
        self.report: dict[str, Any] = {"format": None, "legacy": False, "leaves": [], "refused": []}
        self.chunks = bytearray()
        self._seen: set[bytes] = set()

    def scan(self) -> None:
        """Fill the report and the chunks."""
        end = c_uint64()
        self.hdf5("H5Fget_eoa", self.file, byref(end))
        self.report["end"] = end.value
        with self.hdf5.using("H5Gopen2", self.file, b"/", 0) as root:
            version = self._format(root)
            self.report["format"] = version
            links = self._links(root, (), MOST_GROUPS)
        groups = []
        for name, token in links:
            with self._refusing(name), self._object(token) as number:
                kind = self.hdf5("H5Iget_type", number)
                if kind == GROUP:
                    self._once(token)
                    groups.append((name, token))
                elif kind != DATASET:
                    raise Refused("neither a group nor a data set")
                elif self._format(number) == 1:
                    self.report["legacy"] = True
                    self._add((name,), number)
                else:
                    raise Refused("a data set outside every group")
        # The tree of other programs is none of ours; it may be as large as it likes.
        for name, token in groups if version is not None else ():
            with self._refusing(name), self._object(token) as group:
                self._leaves(name, group)

    def _leaves(self, group_name: str, group: int) -> None:
        for name, token in self._links(group, (group_name,), MOST_LEAVES):
            with self._refusing(group_name, name), self._object(token) as number:
                if self.hdf5("H5Iget_type", number) != DATASET:
                    raise Refused("not a data set; gymbag keeps no groups inside groups")
                self._once(token)
                self._add((group_name, name), number)

    @contextlib.contextmanager
    def _refusing(self, *path: str) -> Iterator[None]:
        """Report what is refused inside, and go on."""
        try:
            yield
        except Refused as error:
            self._refuse(path, error)

    def _refuse(self, path: tuple[str, ...], why: Refused) -> None:
        # They only explain why something is not there; the first ones are enough.
        if len(self.report["refused"]) < MOST_REFUSED:
            self.report["refused"].append([path, str(why)])

    def _object(self, token: Token) -> Any:
        # By its place and not by its name: a name could lead through other links.
        return self.hdf5.using("H5Oopen_by_token", self.file, token)

    def _links(self, group: int, path: tuple[str, ...], most: int) -> list[tuple[str, Token]]:
        """Return the hard links of a group."""
        found: list[tuple[bytes, int, Token]] = []

        def note(_group: int, name: bytes, link: Any, _data: Any) -> int:
            # A copy, as HDF5 takes its own back.
            token = Token.from_buffer_copy(link.contents.target.token)
            found.append((name[: MOST_NAME + 1], link.contents.type, token))
            return len(found) > most

        self.hdf5("H5Literate2", group, 0, 0, byref(c_uint64()), ON_LINK(note), None)
        if len(found) > most:
            raise Refused(f"holds more than {most} things")
        kept = []
        for name, kind, token in found:
            text = name.decode("utf-8", "backslashreplace")
            with self._refusing(*path, text[:MOST_NAME]):
                self._check_link(name, kind)
                kept.append((text, token))
        return kept

    def _once(self, token: Token) -> None:
        # Who appends to a column must not change another; and groups can hold themselves.
        if bytes(token) in self._seen:
            raise Refused("a second name of something that stands elsewhere in the file")
        self._seen.add(bytes(token))

    @staticmethod
    def _check_link(name: bytes, kind: int) -> None:
        if kind != HARD:
            raise Refused(f"a link ({LINKS.get(kind, 'user-defined')}), which gymbag never follows")
        if len(name) > MOST_NAME:
            raise Refused(f"its name is longer than {MOST_NAME} bytes")
        try:
            name.decode()
        except UnicodeDecodeError:
            raise Refused("its name is not UTF-8") from None

    def _format(self, number: int) -> int | None:
        """Return the format that the attribute of an object says, if it has the attribute."""
        found = c_int64()
        name = FORMAT_ATTRIBUTE.encode()
        if not self.hdf5("H5Aexists", number, name):
            return None
        with self.hdf5.using("H5Aopen", number, name, 0) as attribute:
            if self._attribute_type(attribute) != (INTEGER, 1):
                raise Refused(f"its attribute {FORMAT_ATTRIBUTE} is not a whole number")
            self.hdf5("H5Aread", attribute, self.hdf5.native_int64, byref(found))
        return found.value

    def _text(self, number: int, name: str) -> str | None:
        """Return an attribute that is a text of fixed length; its bytes as Latin-1."""
        if not self.hdf5("H5Aexists", number, name.encode()):
            return None
        with self.hdf5.using("H5Aopen", number, name.encode(), 0) as attribute:
            if self._attribute_type(attribute) != (STRING, 1):
                return None
            with self.hdf5.using("H5Aget_type", attribute) as kind:
                size = self.hdf5("H5Tget_size", kind)
                if size > MOST_TEXT or self.hdf5("H5Tis_variable_str", kind):
                    return None
                read = ctypes.create_string_buffer(size)
                self.hdf5("H5Aread", attribute, kind, read)
        return read.raw.rstrip(b"\0").decode("latin-1")

    def _attribute_type(self, attribute: int) -> tuple[int, int]:
        """Return an attribute's class and its number of elements."""
        with (
            self.hdf5.using("H5Aget_type", attribute) as kind,
            self.hdf5.using("H5Aget_space", attribute) as space,
        ):
            number = self.hdf5("H5Sget_simple_extent_npoints", space)
            return self.hdf5("H5Tget_class", kind), number

    def _add(self, path: tuple[str, ...], number: int) -> None:
        """Report a data set and its chunks, once all that it claims is found to be usual."""
        hdf5 = self.hdf5
        with (
            hdf5.using("H5Dget_create_plist", number) as plist,
            hdf5.using("H5Dget_space", number) as space,
            hdf5.using("H5Dget_type", number) as kind,
        ):
            layout = hdf5("H5Pget_layout", plist)
            if hdf5("H5Pget_external_count", plist):
                raise Refused("its data stand in other files")
            if layout != CHUNKED:
                raise Refused(f"its layout is {LAYOUTS.get(layout, layout)}, not chunked")
            dtype = Types(hdf5).describe(kind)
            size = hdf5("H5Tget_size", kind)
            rows, shape, chunk_rows = self._shape(plist, space, size)
            filters = self._filters(plist)
            chunks = self._chunks(number, path, chunk_rows)
            count = len(chunks) // CHUNK.size
            if count < -(-rows // chunk_rows) and self._fills(plist, kind, size):
                raise Refused("chunks are missing, and stand for something else than zeros")
        leaf: dict[str, Any] = {"path": path, "dtype": dtype, "rows": rows, "shape": shape}
        leaf |= {"chunk_rows": chunk_rows, "filters": filters, "chunks": count, "texts": {}}
        if len(path) == 1:
            texts = ((name, self._text(number, name)) for name in TEXTS)
            leaf["texts"] = {name: text for name, text in texts if text is not None}
        self.report["leaves"].append(leaf)
        self.chunks += chunks

    def _shape(self, plist: int, space: int, size: int) -> tuple[int, list[int], int]:
        rank = self.hdf5("H5Sget_simple_extent_ndims", space)
        if not 1 <= rank <= MOST_RANK:
            raise Refused(f"{rank} dimensions")
        dims, most, chunk = ((c_uint64 * rank)() for _ in range(3))
        self.hdf5("H5Sget_simple_extent_dims", space, dims, most)
        if self.hdf5("H5Pget_chunk", plist, rank, chunk) != rank:
            raise Refused("its chunks have another number of dimensions")
        (rows, *shape), (chunk_rows, *rest) = list(dims), list(chunk)
        if most[0] != UNLIMITED or list(most[1:]) != shape:
            raise Refused("it does not grow along its first dimension alone")
        if rest != shape or not chunk_rows:
            raise Refused(f"its chunks, {list(chunk)}, are not whole rows of {shape}")
        if rows > MOST_ROWS:
            raise Refused(f"claims {rows} rows")
        if math.prod(chunk) * size > MOST_CHUNK_BYTES:
            raise Refused(f"claims chunks of {math.prod(chunk) * size} bytes")
        return rows, shape, chunk_rows

    def _filters(self, plist: int) -> list[list[Any]]:
        """Return each filter's number, flags and client data."""
        filters = []
        for place in range(self.hdf5("H5Pget_nfilters", plist)):
            flags, config, count = c_uint(), c_uint(), c_size_t(MOST_CLIENT_DATA)
            data = (c_uint * MOST_CLIENT_DATA)()
            number = self.hdf5(
                *("H5Pget_filter2", plist, place, byref(flags), byref(count)),
                *(data, 0, None, byref(config)),
            )
            filters.append([number, flags.value, list(data[: count.value])])
        return filters

    def _chunks(self, number: int, path: tuple[str, ...], chunk_rows: int) -> bytearray:
        """Return the chunks of a data set.

        Of a table of gymbag 0.4.9's, which has no other index, those are returned that can be
        found, and it is reported as refused, too.
        """
        legacy = len(path) == 1
        wrong: list[str] = []
        chunks, most = bytearray(), MOST_CHUNKS * CHUNK.size - len(self.chunks)

        def note(place: Any, mask: int, offset: int, size: int, _data: Any) -> int:
            try:
                row = place[0]
                if mask or row % chunk_rows or size >= 1 << 32:
                    if legacy:
                        return 0
                    wrong.append(f"the chunk at row {row} has skipped a filter, or is misplaced")
                chunks.extend(CHUNK.pack(row // chunk_rows, offset, size & 0xFFFFFFFF))
                if len(chunks) > most:
                    wrong.append(f"more than {MOST_CHUNKS} chunks")
            except MemoryError:  # HDF5 would not hear of it otherwise
                wrong.append("its chunks take too much memory")
            return bool(wrong)

        try:
            self.hdf5("H5Dchunk_iter", number, 0, ON_CHUNK(note), None)
        except Unreadable as error:
            if not legacy:
                raise
            self._refuse(path, error)
        if wrong:
            raise Refused(wrong[0])
        return chunks

    def _fills(self, plist: int, kind: int, size: int) -> bool:
        """Return whether missing chunks stand for something else than zeros."""
        defined = c_int()
        self.hdf5("H5Pfill_value_defined", plist, byref(defined))
        if defined.value != USER_DEFINED:
            return False
        value = ctypes.create_string_buffer(size)
        self.hdf5("H5Pget_fill_value", plist, kind, value)
        return any(value.raw)


def look(request: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
    """Return the report on a file, and the chunks."""
    try:
        hdf5 = Library(request["library"], request["path"])
    except (OSError, ImportError, AttributeError, ValueError) as error:
        return {"error": "library", "message": str(error)}, b""
    try:
        file = hdf5("H5Fopen", os.fsencode(request["file"]), 0, 0)
    except Refused as error:
        kind = "busy" if "unable to lock" in str(error) else "damaged"
        return {"error": kind, "message": str(error)}, b""
    scanner = Scanner(hdf5, file)
    try:
        scanner.scan()
    except Refused as error:
        kind = "damaged" if isinstance(error, Unreadable) else "refused"
        return {"error": kind, "message": str(error)}, b""
    return scanner.report, bytes(scanner.chunks)


def main() -> None:
    """Look at the file that the first argument names, and print what there is."""
    request = json.loads(sys.argv[1])
    limit(request["seconds"], request["bytes"])
    report, chunks = look(request)
    with open(sys.stdout.fileno(), "wb", closefd=False) as out:
        out.write(json.dumps(report).encode() + b"\n" + chunks)
    # Without the end of HDF5's own, which what stands in the file could still upset.
    os._exit(0)

# SPDX-License-Identifier: LGPL-3.0-or-later
"""A second reader of gymbag's files, written by the words of docs/file-format.md alone.

It knows nothing of gymbag and of HDF5: what it cannot read, the page does not say.
"""

from __future__ import annotations

import base64
import json
import mmap
import os
import struct
import zlib
from functools import cache
from typing import Any

import blosc2
import numpy as np

CHUNK = np.dtype([("offset", "<u8"), ("size", "<u4"), ("crc", "<u4")])
PART = np.dtype([("offset", "<u8"), ("length", "<u8")])
COLUMN, ZEROS, WHOLE_CHUNK, VALUES = range(4)
LINK_DTYPES = ("i4", "i8", "u1", "i1", "u2", "i2", "u4", "u8")


class Column:
    """A table or an array: what the index says of it, and what the log has put above."""

    def __init__(self, spec: dict[str, Any], rows: int, data: bytes, chunks: Any) -> None:
        described = spec["dtype"]
        if isinstance(described, list):
            described = [tuple(map(_hashable, field)) for field in described]
        self.dtype, self.shape = np.dtype(described), tuple(spec["shape"])
        self.size, self.rows = spec["chunk_rows"], rows
        self.data, self.chunks = data, chunks
        self.copy = base64.b64decode(spec.get("copy", ""))
        # An unfilled last chunk is the only one that a writer may move or change.
        self.last = self.stored(len(chunks) - 1) if rows % self.size else b""
        self.above: dict[int, list[tuple[int, int, int, bytes]]] = {}

    def add(self, kind: int, first: int, rows: int, data: bytes) -> None:
        number, start = divmod(first, self.size)
        self.above[number] = [
            *(self.above.get(number, []) if start else []),
            (kind, start, rows, data),
        ]
        self.rows = first + rows

    def bounds_of(self, data: bytes) -> dict[str, Any]:
        """Return the least and the greatest values, and whether there are NaN, of each field."""
        kinds = [
            (name, self.dtype[name].base, self.dtype[name].shape) for name in self.dtype.names or ()
        ]
        kept = [
            (name, [("least", kind, shape), ("most", kind, shape), ("nan", "u1")])
            for name, kind, shape in kinds or [("", self.dtype, self.shape)]
            if kind.kind in "biuf" and np.prod(shape, dtype=int) <= 16
        ]
        records = np.frombuffer(data, kept) if data else None
        return (
            {} if records is None else {name or "values": records[name or "f0"] for name, _ in kept}
        )

    def stored(self, number: int) -> bytes:
        offset, size, _ = self.chunks[number].tolist()
        return bytes(self.data[offset : offset + size])

    def frame(self, number: int) -> bytes:
        unfilled = self.last and number == len(self.chunks) - 1
        frame = self.last if unfilled else self.stored(number)
        assert zlib.crc32(frame) == self.chunks[number]["crc"]
        return frame

    def chunk(self, number: int) -> Any:
        pieces = self.above.get(number, [])
        values = np.zeros((self.size, *self.shape), self.dtype)
        replaced = bool(pieces) and pieces[0][1] == 0
        if not replaced and number < len(self.chunks) and self.chunks[number]["size"]:
            blosc2.decompress2(chunk_of(self.frame(number)), dst=values)
        for kind, start, rows, data in pieces:
            if kind == WHOLE_CHUNK:
                blosc2.decompress2(chunk_of(data), dst=values)
            elif kind == VALUES:
                blosc2.decompress2(data, dst=values[start : start + rows])
            else:
                values[start : start + rows] = np.zeros((), self.dtype)
        return values

    def read(self) -> Any:
        chunks = [self.chunk(number) for number in range(-(-self.rows // self.size))]
        return np.concatenate([np.zeros((0, *self.shape), self.dtype), *chunks])[: self.rows]


class File:
    """All columns of a file by path: as they are in it, or in it and its log."""

    def __init__(self, path: str, *, writer_lives: bool = True) -> None:
        log = b""
        if os.path.exists(path + "-wal"):
            with open(path + "-wal", "rb") as stream:
                log = stream.read()
        with open(path, "rb") as stream:
            size = os.fstat(stream.fileno()).st_size
            data: Any = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) if size else b""
        if os.path.exists(path + "-undo"):
            with open(path + "-undo", "rb") as stream:
                data = _put_back(data, stream.read())
        self.columns: dict[str, Column] = {}
        self.sequence, self.digest, self.end = 0, 0, 0
        self.data = data
        if len(data):
            self._read_index(data)
        self._read_log(log, writer_lives)

    def _read_index(self, data: Any) -> None:
        length, crc, mark = struct.unpack("<QI8s", data[-20:])
        self.end = len(data) - 20 - length
        body = data[self.end : -20]
        assert mark == b"gymbag 2"
        assert zlib.crc32(body) == crc
        (size,) = struct.unpack_from("<Q", body)
        about, place = loads(body[8 : 8 + size]), 8 + size
        self.sequence, self.digest = about["sequence"], about["digest"]
        for spec in about["columns"]:
            count = -(-spec["rows"] // spec["chunk_rows"])
            chunks = np.frombuffer(body, CHUNK, count, place)
            self.columns[spec["path"]] = Column(spec, spec["rows"], data, chunks)
            place += chunks.nbytes
        for spec in about["columns"]:
            column, nbytes = self.columns[spec["path"]], spec.get("bounds", 0)
            column.bounds = column.bounds_of(body[place : place + nbytes])
            place += nbytes
        assert place == length

    def _read_log(self, log: bytes, writer_lives: bool) -> None:
        if len(log) < 512 or not log.startswith(b"gymbagW2"):
            return
        header, place, last = loads(log[8:512]), 512, None
        pieces, group, provisional = [], [], []
        while place + 25 <= len(log):
            mark, crc, length, number, commits = struct.unpack_from("<4sIQQB", log, place)
            body = log[place + 25 : place + 25 + length]
            whole = mark == b"GBR2" and len(body) == length
            if not whole or zlib.crc32(log[place + 8 : place + 25 + length]) != crc:
                break
            if last is not None and number != last + 1:
                break
            last, place = number, place + 25 + length
            group += [piece for piece in _pieces(body) if piece[1] or number > self.sequence]
            if commits:
                pieces += [piece for piece in group if not piece[1]]
                provisional = [p for p in group if p[1] and number >= self.sequence]
                if number > self.sequence and "base" in header:
                    assert header["base"] == [self.sequence, self.digest]
                group = []
        for kind, _, path, first, rows, data in pieces + provisional * (not writer_lives):
            if kind != COLUMN:
                self.columns[path].add(kind, first, rows, data)
            elif path not in self.columns:
                self.columns[path] = Column(loads(data), 0, b"", np.zeros(0, CHUNK))


def _pieces(body: bytes) -> list[tuple[int, int, str, int, int, bytes]]:
    pieces, at = [], 0
    while at < len(body):
        kind, provisional, name, first, rows, size = struct.unpack_from("<BBHQII", body, at)
        path = body[at + 20 : at + 20 + name].decode()
        at += 20 + name + size
        pieces.append((kind, provisional, path, first, rows, body[at - size : at]))
    return pieces


def _put_back(data: Any, journal: bytes) -> bytes:
    """Return the file as it was before HDF5 was let at it."""
    if len(journal) < 28:
        return bytes(data)
    mark, crc, size, count = struct.unpack_from("<8sIQQ", journal)
    if mark != b"gymbagU2" or zlib.crc32(journal[12:]) != crc:
        return bytes(data)
    before = bytearray(data[:size]).ljust(size, b"\0")
    place = 28 + 16 * count
    for offset, length in np.frombuffer(journal, PART, count, 28).tolist():
        before[offset : offset + length] = journal[place : place + length]
        place += length
    return bytes(before)


def chunk_of(frame: bytes) -> bytes:
    assert frame[:11] == b"\x9e\xa8b2frame\x00\xd2"
    head = int.from_bytes(frame[11:15], "big")
    assert int.from_bytes(frame[16:24], "big") == len(frame)
    return frame[head : head + int.from_bytes(frame[39:47], "big")]


class Dataset:
    """One data set of a file, all of it read."""

    def __init__(self, file: File, name: str) -> None:
        self.file, self.group = file, f"/{escape(name)}/"
        self.meta = [loads(line) for line in self.column("meta").tobytes().splitlines()]
        assert self.meta[0]["line"] == "dataset"
        assert self.meta[0]["name"] == name
        self.steps, self.episodes = self.column("steps"), self.column("episodes")

    @cache  # noqa: B019  a data set lives no longer than a test
    def column(self, name: str) -> Any:
        return self.file.columns[self.group + escape(name)].read()

    def has(self, name: str) -> bool:
        return self.group + escape(name) in self.file.columns

    def values(self, side: str) -> list[Any]:
        """Return all observations, or all actions, a value for each row."""
        return self.decode(self.meta[0]["spaces"][f"{side}_space"], side, len(self.steps))

    def leaf(self, path: str) -> Any:
        in_table = escape(path) in (self.steps.dtype.names or ())
        return self.steps[escape(path)] if in_table else self.column(path)

    def cells(self, path: str) -> list[bytes]:
        data = self.column(path).tobytes()
        return self.split(path, lambda start, stop: data[start:stop])

    def split(self, path: str, take: Any) -> list[Any]:
        ends = self.column(f"{path}#ends").tolist()
        return [take(start, stop) for start, stop in zip([0, *ends], ends, strict=False)]

    def items(self, space: dict[str, Any], path: str) -> list[list[Any]]:
        ends = self.column(f"{path}#ends").tolist()
        items = self.decode(space, f"{path}[]", ends[-1] if ends else 0)
        return self.split(path, lambda start, stop: items[start:stop])

    def decode(self, space: dict[str, Any], path: str, n: int) -> list[Any]:
        kind = space["type"]
        if kind == "Text":
            return [cell.decode("utf-8", "surrogatepass") for cell in self.cells(path)]
        if kind in ("Dict", "Tuple", "OneOf"):
            parts = space["subspaces"]
            pairs = [(decode(k), s) for k, s in parts] if kind == "Dict" else list(enumerate(parts))
            found = {key: self.decode(s, child_path(path, key), n) for key, s in pairs}
            if kind == "Dict":
                return [{key: found[key][row] for key in found} for row in range(n)]
            if kind == "Tuple":
                return [tuple(found[key][row] for key in found) for row in range(n)]
            choices = self.leaf(f"{path}#choice").tolist()[:n]
            return [(choice, found[choice][row]) for row, choice in enumerate(choices)]
        if kind == "Sequence":
            return [tuple(items) for items in self.items(space["feature_space"], path)]
        if kind == "Graph":
            return self.graphs(space, path)
        shape, dtype = tuple(space.get("shape", ())), np.dtype(space["dtype"])
        if 0 in shape:
            return list(np.zeros((n, *shape), dtype))
        return list(self.leaf(path)[:n].astype(dtype))

    def graphs(self, space: dict[str, Any], path: str) -> list[Any]:
        pairs = {"type": "Box", "dtype": "int64", "shape": [2]}
        nodes = self.items(space["node_space"], f"{path}.nodes")
        links = self.items(pairs, f"{path}.edge_links")
        edges = [None] * len(nodes)
        if space["edge_space"] is not None:
            edges = self.items(space["edge_space"], f"{path}.edges")
        dtypes = self.leaf(f"{path}.edge_links#dtype")
        return [
            (nodes[i], edges[i], np.reshape(links[i], (-1, 2)).astype(LINK_DTYPES[dtypes[i]]))
            if has
            else (nodes[i], None, None)
            for i, has in enumerate(self.leaf(f"{path}.edges#has"))
        ]

    def infos(self) -> list[dict[Any, Any]]:
        cells = self.cells("info") if self.has("info") else [b""] * len(self.steps)
        infos = [loads(cell) if cell else {} for cell in cells]
        for line in self.meta:
            if line["line"] != "info":
                continue
            values = self.column(line["name"])
            for row in np.flatnonzero(self.column(f"{line['name']}#has")):
                inner = infos[row]
                for key in line["keys"][:-1]:
                    inner = inner.setdefault(key, {})
                value = values[row]
                if line["type"] == "str":
                    value = value.decode()
                elif not line["type"].startswith("numpy."):
                    value = value.item()
                inner[line["keys"][-1]] = value
        return infos

    def extra(self, episode: int) -> dict[str, Any]:
        cell = self.cells("extra")[episode] if self.has("extra") else b""
        return loads(cell) if cell else {}


def escape(name: str) -> str:
    plain = [32 <= byte < 127 and byte not in b"%/\\" for byte in name.encode()]
    if name.startswith((".", "_")):
        plain[0] = False
    pairs = zip(name.encode(), plain, strict=True)
    return "".join(chr(byte) if stays else f"%{byte:02X}" for byte, stays in pairs)


def child_path(path: str, key: Any) -> str:
    if not isinstance(key, str):
        return f"{path}[{key!r}]"
    quoted = key.replace("\\", "\\\\").replace('"', '\\"')
    return f"{path}.{key}" if key.isidentifier() else f'{path}["{quoted}"]'


def loads(text: bytes) -> Any:
    return decode(json.loads(text))


def decode(value: Any) -> Any:
    if isinstance(value, list):
        return [decode(item) for item in value]
    if not isinstance(value, dict):
        return value
    kind = value.get("$type")
    if kind is None:
        return {key: decode(item) for key, item in value.items()}
    if kind in ("array", "scalar"):
        array = np.frombuffer(base64.b64decode(value["data"]), value["dtype"])
        array = array.reshape(value["shape"])
        return array if kind == "array" else array[()]
    if kind in ("float", "complex"):
        return {"float": float, "complex": complex}[kind](value["value"])
    if kind == "bytes":
        return base64.b64decode(value["data"])
    items = [decode(item) for item in value["items"]]
    return {"tuple": tuple, "set": set, "frozenset": frozenset, "dict": dict}[kind](items)


def _hashable(part: Any) -> Any:
    return tuple(part) if isinstance(part, list) else part

# SPDX-License-Identifier: LGPL-3.0-or-later
"""Reads the records of TFRecord files, each a ``tf.train.Example``, with protobuf.

A record is its length, the checksum of that, its bytes, and their checksum.
"""

from __future__ import annotations

import importlib
import struct
from collections.abc import Iterator
from typing import Any

import numpy as np

from gymbag.formats.apart.reader import Leaf, Reader, Refused, require_plain

HEAD, CHECK = struct.Struct("<QI"), struct.Struct("<I")
PICTURES = ("PNG", "JPEG")
LISTS: dict[str, tuple[str, Any]] = {
    "int": ("int64_list", np.int64),
    "float": ("float_list", np.float32),
    "text": ("bytes_list", None),
    "image": ("bytes_list", None),
}


class ExamplesReader(Reader):
    """Reads the record ``record`` of a file; nothing may follow the one that is ``last``.

    ``features`` says of what kind each is: "int", "float", "text" or "image".
    """

    def __init__(self, file: str, most: int) -> None:
        super().__init__(file, most)
        self.crc32c: Any = importlib.import_module("google_crc32c").value
        self.message = example_message()
        self.size = require_plain(self.path)
        self.file = self.path.open("rb")
        self.at = 0

    def close(self) -> None:
        """Close the file."""
        self.file.close()

    def attributes(self) -> dict[str, Any]:
        """Return nothing."""
        return {}

    def arrays(self) -> Iterator[Leaf]:
        """Iterate over the features of a record, each with all its values in one row."""
        example = self.message.FromString(self.record(self.request["record"]))
        if self.request["last"] and self.file.tell() != self.size:
            raise Refused(f"more follows than the {self.at} records that are expected")
        found = {entry.key: entry.value for entry in example.features.feature}
        for key, kind in self.request["features"].items():
            if key not in found:
                raise Refused(f"{key}: missing")
            yield (key,), self.feature(key, kind, found[key])

    def feature(self, key: str, kind: str, feature: Any) -> Any:
        """Return the values of a feature."""
        name, dtype = LISTS[kind]
        others = [field.name for field, _ in feature.ListFields() if field.name != name]
        if others:
            raise Refused(f"{key}: found a {others[0]}; expected a {name}")
        values = getattr(feature, name).value
        if dtype is not None:
            self.take(8 * len(values), (key,))
            return np.fromiter(values, dtype, len(values))
        if kind == "text":
            self.take(sum(map(len, values)), (key,))
            return [value.decode("utf-8", "backslashreplace") for value in values]
        return self.decode_images((key,), values, PICTURES) if values else np.empty(0, np.uint8)

    def record(self, number: int) -> bytes:
        """Return the bytes of a record."""
        if number < self.at:
            self.file.seek(0)
            self.at = 0
        while True:
            head = self.file.read(HEAD.size)
            if len(head) < HEAD.size:
                raise Refused(f"the file ends after {self.at} records; it may be truncated")
            length, check = HEAD.unpack(head)
            self.require_check(head[:8], check, "length")
            if length > self.size - self.file.tell() - CHECK.size:
                raise Refused(f"of {length} bytes, before which the file ends; it may be truncated")
            self.at += 1
            if self.at > number:
                break
            self.file.seek(length + CHECK.size, 1)
        self.take(length, (self.path.name,))
        data = self.file.read(length)
        (check,) = CHECK.unpack(self.file.read(CHECK.size))
        self.require_check(data, check, "content")
        return data

    def require_check(self, data: bytes, expected: int, what: str) -> None:
        """Check bytes against their checksum."""
        crc = self.crc32c(data)
        masked = ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
        if masked != expected:
            raise Refused(f"the checksum of its {what} is wrong; the file is damaged")


def example_message() -> Any:
    """Return the class of ``tf.train.Example``, with the entries of its map as they are stored.

    The fields and their numbers are those of ``tensorflow/core/example/feature.proto``.
    """
    descriptor: Any = importlib.import_module("google.protobuf.descriptor_pb2")
    pool: Any = importlib.import_module("google.protobuf.descriptor_pool").DescriptorPool()
    factory: Any = importlib.import_module("google.protobuf.message_factory")
    field = descriptor.FieldDescriptorProto
    file = descriptor.FileDescriptorProto(name="example", package="x", syntax="proto3")
    kinds = {"bytes": field.TYPE_BYTES, "float": field.TYPE_FLOAT, "int64": field.TYPE_INT64}
    messages: dict[str, list[tuple[str, Any, bool]]] = {
        **{kind: [("value", number, True)] for kind, number in kinds.items()},
        "Feature": [(f"{kind}_list", kind, False) for kind in kinds],
        "Entry": [("key", field.TYPE_STRING, False), ("value", "Feature", False)],
        "Features": [("feature", "Entry", True)],
        "Example": [("features", "Features", False)],
    }
    for name, fields in messages.items():
        message = file.message_type.add(name=name)
        for number, (label, kind, repeated) in enumerate(fields, 1):
            made = message.field.add(name=label, number=number)
            made.label = field.LABEL_REPEATED if repeated else field.LABEL_OPTIONAL
            if isinstance(kind, str):
                made.type, made.type_name = field.TYPE_MESSAGE, f".x.{kind}"
            else:
                made.type = kind
    pool.Add(file)
    return factory.GetMessageClass(pool.FindMessageTypeByName("x.Example"))

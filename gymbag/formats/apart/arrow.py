# SPDX-License-Identifier: LGPL-3.0-or-later
"""Reads the Arrow and Parquet files of Minari's with pyarrow."""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gymbag.formats.apart.reader import MOST_DEPTH, Keys, Leaf, Reader, Refused, require_plain

MOST_JSON = 64 << 20


class ArrowReader(Reader):
    """Reads an Arrow file in a folder, and the JSON beside it."""

    format = "arrow"

    def __init__(self, file: str, most: int) -> None:
        super().__init__(file, most)
        self.arrow: Any = importlib.import_module("pyarrow")

    def attributes(self) -> dict[str, Any]:
        """Return the JSON in the folder."""
        path = self.path / "metadata.json"
        if require_plain(path) > MOST_JSON:
            raise Refused(f"{path} has more than {MOST_JSON} bytes")
        found = json.loads(path.read_text("utf-8"))
        if not isinstance(found, dict):
            raise Refused(f"{path} is no JSON object")
        return found

    def arrays(self) -> Iterator[Leaf]:
        """Iterate over the columns of the file."""
        paths = sorted(self.path.glob(f"part-*.{self.format}"))
        if len(paths) != 1:
            raise Refused(f"{self.path} has {len(paths)} files part-*.{self.format}; expected one")
        require_plain(paths[0])
        yield from self.columns(self.batches(paths[0]))

    def batches(self, path: Path) -> list[Any]:
        """Return the content of a file, in pieces."""
        with self.arrow.OSFile(str(path)) as stream:
            file = self.arrow.ipc.open_file(stream)
            return [file.get_batch(k) for k in range(file.num_record_batches)]

    def columns(self, batches: list[Any]) -> Iterator[Leaf]:
        """Iterate over the columns."""
        table = self.arrow.Table.from_batches(batches).combine_chunks()
        # Else what it says of itself is believed, and what lies behind it in memory is read.
        table.validate(full=True)
        for name in table.column_names:
            column = table.column(name).combine_chunks()
            yield from self.walk(column, (name,), table.schema.field(name))

    def walk(self, column: Any, path: Keys, field: Any) -> Iterator[Leaf]:
        """Iterate over a column, and those inside it."""
        types = self.arrow.types
        self.take(column.nbytes, path)
        if types.is_struct(column.type):
            if len(path) > MOST_DEPTH:
                raise Refused(f"{'/'.join(path)}: inside more than {MOST_DEPTH} others")
            yield path, None
            for k, below in enumerate(column.type):
                yield from self.walk(column.field(k), (*path, below.name), below)
        elif types.is_fixed_size_list(column.type):
            values = column.flatten().to_numpy(zero_copy_only=False)
            sizes = (field.metadata or {}).get(b"shape", str(column.type.list_size).encode())
            yield path, values.reshape(len(column), *map(int, filter(None, sizes.split(b","))))
        elif types.is_binary(column.type):
            yield path, self.decode_images(path, [c or b"" for c in column.to_pylist() if c])
        elif types.is_string(column.type):
            yield path, [text or "" for text in column.to_pylist()]
        else:
            yield path, column.to_numpy(zero_copy_only=False)


class ParquetReader(ArrowReader):
    """Reads a Parquet file in a folder, and the JSON beside it."""

    format = "parquet"

    def __init__(self, file: str, most: int) -> None:
        super().__init__(file, most)
        self.parquet: Any = importlib.import_module("pyarrow.parquet")

    def batches(self, path: Path) -> list[Any]:
        """Return the content of a file, in pieces."""
        # A column of few values is stored as their number, however many rows it has.
        with self.parquet.ParquetFile(path) as file:
            found = []
            for batch in file.iter_batches(batch_size=1024, use_threads=False):
                self.take(batch.nbytes, (path.name,))
                found.append(batch)
        return found

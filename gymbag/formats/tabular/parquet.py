# SPDX-License-Identifier: LGPL-3.0-or-later
"""Parquet, and Arrow's own files, as of Feather: the same table in both. Nothing is lost.

What each column holds says `gymbag.formats.tabular.table`. Files of others are not read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gymbag.formats.format import Format
from gymbag.formats.limits import require_fit
from gymbag.formats.tabular.packages import package, pyarrow
from gymbag.formats.tabular.source import Opened, TableSource
from gymbag.formats.tabular.table import Table, stored
from gymbag.steps import Source


@contextmanager
def open_parquet(path: Path, rows: int) -> Iterator[tuple[Any, Iterator[Any]]]:
    """Open a Parquet file; a row group of it is in memory at a time."""
    parquet = package("pyarrow.parquet", "parquet")
    with parquet.ParquetFile(path, pre_buffer=False) as file:

        def batches() -> Iterator[Any]:
            for number in range(file.num_row_groups):
                group = file.metadata.row_group(number)
                require_fit(group.total_byte_size, f"{path}: row group {number}")
                yield from file.iter_batches(rows, row_groups=[number], use_threads=False)

        yield file.schema_arrow, batches()


@contextmanager
def open_arrow(path: Path, rows: int) -> Iterator[tuple[Any, Iterator[Any]]]:
    """Open an Arrow file; a batch of it is in memory at a time."""
    ipc = package("pyarrow.ipc", "parquet")
    with pyarrow().OSFile(str(path)) as stream, ipc.open_file(stream) as file:

        def batches() -> Iterator[Any]:
            for number in range(file.num_record_batches):
                batch = file.get_batch(number)
                batch.validate(full=True)
                for start in range(0, len(batch), rows):
                    yield batch.slice(start, rows)

        yield file.schema, batches()


def write_parquet(source: Source, path: Path) -> list[str]:
    """Write a data set into a new Parquet file, and return what had to be made up."""
    parquet = package("pyarrow.parquet", "parquet")
    with stored(source, path) as (whole, lost):
        table = Table(whole)
        # Of arrays no two are alike.
        alike = [field.name for field in table.schema if not field.type.num_fields]
        with parquet.ParquetWriter(
            path, table.schema, compression="zstd", use_dictionary=alike
        ) as writer:
            for batch in table.batches():
                writer.write_batch(batch, row_group_size=max(1, len(batch)))
    return lost


def write_arrow(source: Source, path: Path) -> list[str]:
    """Write a data set into a new Arrow file, and return what had to be made up."""
    ipc = package("pyarrow.ipc", "parquet")
    with stored(source, path) as (whole, lost):
        table = Table(whole)
        options = ipc.IpcWriteOptions(compression="zstd")
        with ipc.new_file(str(path), table.schema, options=options) as writer:
            for batch in table.batches():
                writer.write_batch(batch)
    return lost


def _format(
    name: str,
    suffixes: tuple[str, ...],
    magic: bytes,
    opened: Opened,
    write: Callable[[Source, Path], list[str]],
) -> Format:
    def sniff(path: Path) -> bool:
        if not path.is_file():
            return False  # to open a pipe is to wait until somebody writes to it
        with path.open("rb") as file:
            return file.read(len(magic)) == magic

    def read(path: Path, name: str | None) -> TableSource:
        return TableSource(path, opened)

    def names(path: Path) -> list[str]:
        return [TableSource(path, opened).name]

    return Format(name, suffixes, sniff, names, read, write)


PARQUET = _format("parquet", (".parquet",), b"PAR1", open_parquet, write_parquet)
ARROW = _format("arrow", (".arrow", ".feather"), b"ARROW1", open_arrow, write_arrow)

__all__ = ["ARROW", "PARQUET"]

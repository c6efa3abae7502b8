# SPDX-License-Identifier: LGPL-3.0-or-later
"""CSV: a row for each recorded row, a cell for each number, flag or text.

The first line names the columns, as a question names them. A number is written so that its exact
value comes back; ``nan`` is not a number, and an empty cell is no value. Texts are quoted where
they have to be. Reading tells numbers, flags and texts apart by how they look, and knows no spaces.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from gymbag.formats.format import Format
from gymbag.formats.tabular.csv_source import NEEDED, OF_EPISODE, Cells, CSVSource
from gymbag.formats.tabular.narrow import Cell, read_cells, spread
from gymbag.formats.tabular.table import FIXED, Whole, stored
from gymbag.records import Records, Rows
from gymbag.schema.info import CELL_COLUMNS
from gymbag.steps import Source

FIRST_LINE = 1 << 20


def write(source: Source, path: Path) -> list[str]:
    """Write a data set into a new CSV file, and return what is lost, a sentence each."""
    with (
        stored(source, path) as (whole, lost),
        path.open("w", encoding="utf-8", errors="surrogatepass", newline="") as file,
    ):
        schema, reader = whole.records.schema, whole.records.reader
        (actions, wide_a), (observations, wide_o) = map(spread, (schema.action, schema.observation))
        infos = reader.meta.info_columns
        more = ["info"] * reader.has(CELL_COLUMNS[0])
        cells = [cell.name for cell in (*actions, *observations)]
        writer = csv.writer(file, lineterminator="\n")
        names = [column.name for column in infos]
        writer.writerow(["episode", "step", *FIXED, *cells, *names, *more, *OF_EPISODE])
        for columns in _columns(whole, actions, observations, more):
            writer.writerows(zip(*columns, strict=True))
        wide = [*wide_a, *wide_o]
        if reader.lanes is not None:
            lost.append("lanes: not kept by this format")
        lost += (f"{leaf.path}: left out, for it is {leaf!r}" for leaf in wide)
        return [*losses(source), *lost]


def losses(source: Source) -> list[str]:
    """Return what of a data set has no place in CSV, but for wide observations and actions."""
    lost = [
        "spaces and dtypes: not kept by this format; a text that looks like a number is read as one"
    ]
    about = {n: getattr(source, n) for n in ("description", "metadata", "env_spec")}
    return [*lost, *(f"{name}: not kept by this format" for name, value in about.items() if value)]


def _columns(
    whole: Whole, actions: Sequence[Cell], observations: Sequence[Cell], more: Sequence[str]
) -> Iterator[list[Cells]]:
    """Iterate over the columns of some rows at a time."""
    records = whole.records
    about = whole.about()
    for episodes, steps, rows in whole.parts():
        reset = steps == 0
        columns = [episodes.tolist(), steps.tolist()]
        for name in FIXED:
            values = records.fixed(name, rows)
            columns.append(_some(values, ~reset) if name == "reward" else values.tolist())
        columns += (_some(values, ~reset) for _, values in read_cells(records, actions, rows))
        columns += (values.tolist() for _, values in read_cells(records, observations, rows))
        columns += _infos(records, rows, more)
        seeds, ended, options = ([values[k] for k in episodes.tolist()] for values in about)
        first = [value if at else None for value, at in zip(options, reset, strict=True)]
        yield [*columns, seeds, ended, first]


def _some(values: Any, there: Any) -> Cells:
    """Return values, None where there is none."""
    return [v if t else None for v, t in zip(values.tolist(), there.tolist(), strict=True)]


def _infos(records: Records, rows: Rows, more: Sequence[str]) -> Iterator[Cells]:
    reader = records.reader
    for column in reader.meta.info_columns:
        values, has = (reader.take(part, rows) for part in column.columns)
        found = _some(values, has)
        text = column.dtype.kind == "S"
        yield [v.decode() if text and v is not None else v for v in found]
    if more:
        yield [cell.decode() for cell in reader.cells(CELL_COLUMNS, rows)]


def sniff(path: Path) -> bool:
    """Return whether its first line names the columns that are needed."""
    if not path.is_file():
        return False  # to open a pipe is to wait until somebody writes to it
    with path.open("rb") as file:
        line = file.readline(FIRST_LINE)
    try:
        names = next(csv.reader([line.decode("utf-8")]), [])
    except (UnicodeDecodeError, csv.Error):
        return False
    return all(name in names for name in NEEDED)


def names(path: Path) -> list[str]:
    """Return the name of its one data set, which is the file's."""
    return [path.stem]


def read(path: Path, name: str | None) -> CSVSource:
    """Read the file; it holds one data set, so the name does not matter."""
    return CSVSource(path)


FORMAT = Format(
    "csv", (".csv",), sniff, names, read, write, lacks=("CSV keeps no spaces and no dtypes",)
)

# SPDX-License-Identifier: LGPL-3.0-or-later
"""Whole episodes as one table: a row for each recorded row, a part of the rows at a time.

===================  ==========================================================================
column               holds
===================  ==========================================================================
episode, step        their numbers, from 0; step 0 is the reset
time                 Unix time in seconds
reward               null at the reset
terminated, …        also `truncated`
seed                 of the episode; null if it was given none
ended                of the episode: why it has no further row
lane                 of the episode, where a vector of environments was recorded
options              at the reset, as JSON; null if it was given none
action, …            the leaves of the action; null at the reset
observation, …       the leaves of the observation
info.lives, …        what of the infos has columns of its own; null where a row has none
info                 the rest of the info, as JSON
===================  ==========================================================================

What else there is to know stands as JSON in the schema's metadata, under ``gymbag``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from gymbag.formats import hdf5
from gymbag.formats.tabular.arrow import field_of, number_type, to_array
from gymbag.formats.tabular.layout import Leaf, leaves, read_columns
from gymbag.formats.tabular.packages import pyarrow
from gymbag.records import Records, Rows
from gymbag.schema import SpaceCodec, jsonable
from gymbag.schema.info import CELL_COLUMNS, InfoColumn, fits_int64
from gymbag.segments import StoredEpisode
from gymbag.selection import Selection
from gymbag.steps import Source
from gymbag.store import Store

HEAD = b"gymbag"
"""What the schema's metadata calls the JSON."""
FIXED = {"time": "f8", "reward": "f8", "terminated": "?", "truncated": "?"}
BATCH_BYTES = 16 << 20
"""About as many bytes are read and written together: a row group of a Parquet file."""
MOST_ROWS = 1 << 17


@contextmanager
def stored(source: Source, path: Path) -> Iterator[tuple[Whole, list[str]]]:
    """Give the episodes of a source as columns, and what had to be made up.

    What is neither a file of gymbag's nor selected from one is made one first, beside `path`.
    """
    if isinstance(source, Store | Selection):
        yield Whole(source), []
        return
    with TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as folder:
        file = Path(folder) / f"{path.stem}.h5"
        lost = hdf5.write(source, file)
        with Store(file) as store:
            yield Whole(store), lost


class Whole:
    """Whole episodes of a data set, numbered anew."""

    def __init__(self, source: Store | Selection) -> None:
        self.source = source
        self.records: Records = source._records
        whole = isinstance(source, Store)
        found = range(len(self.records.episodes)) if whole else _ids(source)
        self.numbers = np.array(found, np.int64)
        table = self.records.episodes[self.numbers]
        self.first: Rows = table["first_row"].astype(np.int64)
        self.starts: Rows = np.cumsum(table["rows"]) - table["rows"]
        self.rows = int(table["rows"].sum())
        nbytes = sum(size.nbytes for size in self.records.reader.column_sizes())
        per_row = max(1, nbytes // max(1, self.records.rows))
        self.batch_rows = max(1, min(MOST_ROWS, BATCH_BYTES // per_row))

    def parts(self) -> Iterator[tuple[Rows, Rows, Rows]]:
        """Iterate over some rows at a time: new numbers of episodes, steps, rows in the file."""
        for start in range(0, self.rows, self.batch_rows):
            places = np.arange(start, min(start + self.batch_rows, self.rows))
            episodes = np.searchsorted(self.starts, places, side="right") - 1
            steps = places - self.starts[episodes]
            yield episodes, steps, self.first[episodes] + steps

    def about(self) -> tuple[list[int | None], list[str], list[str | None]]:
        """Return of each episode the seed, why it ended, and its options as JSON."""
        episodes = [StoredEpisode(self.records, number) for number in self.numbers.tolist()]
        options = [episode.options for episode in episodes]
        return (
            [episode.seed for episode in episodes],
            [episode.ended.value for episode in episodes],
            [None if some is None else jsonable.dumps(some) for some in options],
        )


def _ids(source: Store | Selection) -> list[int]:
    return [episode.id for episode in source.iter_episodes()]


class Table:
    """Episodes as batches of Arrow's, all of the same schema."""

    def __init__(self, whole: Whole) -> None:
        self.whole = whole
        self.records = whole.records
        schema, meta = self.records.schema, self.records.reader.meta
        self._codecs: list[tuple[SpaceCodec, list[Leaf]]] = [
            (codec, leaves(codec)) for codec in (schema.action, schema.observation)
        ]
        self._info = meta.info_columns
        self._cells = self.records.reader.has(CELL_COLUMNS[0])
        self._about()
        head = {
            "version": 1,
            "name": whole.source.name,
            "description": whole.source.description,
            "metadata": whole.source.metadata,
            "env_spec": whole.source.env_spec,
            "spaces": schema.to_json(),
            "info": [column.to_json() for column in self._info],
        }
        self.schema = pyarrow().schema(
            fields(self._codecs, self._info, self._seeds.type, self._lanes is not None),
            metadata={HEAD: jsonable.dumps(head)},
        )

    def _about(self) -> None:
        """Read what is said once of each episode."""
        pa = pyarrow()
        seeds, ended, options = self.whole.about()
        small = all(seed is None or fits_int64(seed) for seed in seeds)
        texts = [None if seed is None else str(seed) for seed in seeds]
        self._seeds = pa.array(seeds, pa.int64()) if small else pa.array(texts, pa.string())
        self._ended = pa.array(ended, pa.string())
        self._options = pa.array(options, pa.large_string())
        lanes = self.records.reader.lanes
        self._lanes = None
        if lanes is not None:
            lanes = lanes[self.whole.numbers]
            self._lanes = pa.array(lanes.astype(np.int32), mask=lanes < 0)

    def batches(self) -> Iterator[Any]:
        """Iterate over the batches."""
        pa = pyarrow()
        reader = self.records.reader
        for episodes, steps, rows in self.whole.parts():
            reset = steps == 0
            fixed = {name: self.records.fixed(name, rows) for name in FIXED}
            arrays = [pa.array(episodes), pa.array(steps)]
            arrays += [
                pa.array(values, mask=reset if name == "reward" else None)
                for name, values in fixed.items()
            ]
            arrays += [self._seeds.take(arrays[0]), self._ended.take(arrays[0])]
            if self._lanes is not None:
                arrays.append(self._lanes.take(arrays[0]))
            arrays.append(self._options.take(pa.array(episodes, mask=~reset)))
            for codec, own in self._codecs:
                columns = read_columns(reader, codec, rows)
                missing = reset if codec is self.records.schema.action else None
                arrays += [to_array(leaf, columns, missing) for leaf in own]
            for column in self._info:
                values, has = (reader.take(c, rows) for c in column.columns)
                arrays.append(info_array(column, values, has))
            cells = reader.cells(CELL_COLUMNS, rows) or [b""] * len(rows)
            texts = [cell.decode() if cell else None for cell in cells]
            arrays.append(pa.array(texts, pa.large_string()))
            yield pa.record_batch(arrays, schema=self.schema)


def fields(
    codecs: Sequence[tuple[SpaceCodec, Sequence[Leaf]]],
    info: Sequence[InfoColumn],
    seed: Any,
    lanes: bool,
) -> list[Any]:
    """Return the fields of the schema."""
    pa = pyarrow()
    found = [pa.field("episode", pa.int64()), pa.field("step", pa.int64())]
    found += [pa.field(name, number_type(np.dtype(dtype))) for name, dtype in FIXED.items()]
    found += [pa.field("seed", seed), pa.field("ended", pa.string())]
    found += [pa.field("lane", pa.int32())] * lanes
    found.append(pa.field("options", pa.large_string()))
    found += [field_of(leaf) for _, own in codecs for leaf in own]
    found += [pa.field(column.name, info_type(column)) for column in info]
    return [*found, pa.field("info", pa.large_string())]


def info_type(column: InfoColumn) -> Any:
    """Return Arrow's type of an info column."""
    return pyarrow().string() if column.dtype.kind == "S" else number_type(column.dtype)


def info_array(column: InfoColumn, values: Any, has: Any) -> Any:
    """Return an info column, null where a row has no value."""
    pa = pyarrow()
    if column.dtype.kind != "S":
        return pa.array(values, mask=~has)
    cells = [cell if there else None for cell, there in zip(values.tolist(), has, strict=True)]
    return pa.array(cells, pa.binary()).cast(pa.string())

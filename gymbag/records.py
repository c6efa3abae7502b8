# SPDX-License-Identifier: LGPL-3.0-or-later
"""The rows of a data set, decoded; and the rows that a question selects."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from gymbag.catalogue import EPISODE_FIELDS, INFO, DatasetCatalogue, descend
from gymbag.errors import SchemaError
from gymbag.query import Between, Field, Values
from gymbag.query.parse import parse
from gymbag.query.tree import Path
from gymbag.schema import Batch, SpaceCodec, jsonable
from gymbag.schema.columns import ROWS
from gymbag.schema.info import CELL_COLUMNS, decode_infos
from gymbag.schema.text import TextCodec
from gymbag.steps import Step
from gymbag.storage.entries import Reader
from gymbag.storage.joined import open_reader
from gymbag.stretches import between

Rows = NDArray[np.int64]
Span = range
"""Rows that follow one another: less to look at than an array of them."""

BATCH_BYTES = 16 << 20
MOST_ROWS = 8192


def numbers(rows: Rows | Span) -> Rows:
    """Return the numbers of rows."""
    return np.arange(rows.start, rows.stop) if isinstance(rows, range) else rows


class Records:
    """The rows of one data set of a file, at one moment.

    Rows are numbered from 0 through the data set; every method takes an array of row numbers,
    and arrays that it returns are the caller's own.
    """

    stretch_rows = 1 << 14
    """So many rows are left out together, where none of them can be asked for."""

    def __init__(self, reader: Reader) -> None:
        self.reader = reader
        self._episode_values: dict[str, Values] = {}
        self._between: dict[str, Between | None] = {}
        meta = self.reader.meta
        self.schema = meta.schema
        self.catalogue = DatasetCatalogue(meta.schema, meta.info_columns)
        self.episodes = self.reader.episodes
        self.first_rows: Rows = self.episodes["first_row"].astype(np.int64)
        self.end_rows: Rows = self.first_rows + self.episodes["rows"]
        """The row after each episode's last."""
        self._actions_until = np.cumsum(self.episodes["rows"] - 1, dtype=np.int64)
        self._table = {column.name: column for column in self.schema.table}

    def __reduce__(self) -> tuple[Any, ...]:
        # A copy opens the file again: descriptors and locks are no other process's.
        return _opened, (self.reader.files, self.reader.meta.name, self.reader.max_bytes)

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return self.reader.rows

    @property
    def stretches(self) -> int:
        """How many stretches of rows there are, the last perhaps shorter."""
        return -(-self.rows // self.stretch_rows)

    @cached_property
    def batch_rows(self) -> int:
        """How many rows to decode at a time."""
        return max(1, min(MOST_ROWS, BATCH_BYTES // max(1, self.schema.row_nbytes)))

    def episode_rows(self, episode: int) -> Rows:
        """Return the rows of an episode, the reset's first."""
        return np.arange(self.first_rows[episode], self.end_rows[episode])

    @property
    def actions(self) -> int:
        """How many rows there are but for the resets'."""
        return self.rows - len(self.episodes)

    def rows_of_actions(self, actions: Rows) -> Rows:
        """Return the rows of some actions, counted through the data set from 0."""
        return actions + 1 + np.searchsorted(self._actions_until, actions, side="right")

    def episode_of(self, rows: Rows) -> Rows:
        """Return the number of the episode that each row belongs to."""
        return np.searchsorted(self.first_rows, rows, side="right") - 1

    def fixed(self, name: str, rows: Rows) -> NDArray[Any]:
        """Return a column that every data set has, such as `reward`."""
        return self.reader.take(self._table[name], rows)

    def look(self, name: str, rows: Rows | Span) -> NDArray[Any]:
        """Return the same to be read only, and so without copying what follows one another."""
        if isinstance(rows, range):
            return self.reader.view(self._table[name], slice(rows.start, rows.stop))
        return self.fixed(name, rows)

    def batch(self, codec: SpaceCodec, rows: Rows) -> Batch:
        """Return the observations, actions, or parts of them, at `rows`."""
        items = {ROWS: rows}
        arrays = []
        for column in codec.columns:
            values, inner = self.reader.take_column(column, items[column.frame])
            if column.ragged:
                items[column.name] = inner
            arrays.append(values)
        return codec.decode(iter(arrays), len(rows))

    def observations(self, rows: Rows) -> Batch:
        """Return the observations at `rows`."""
        return self.batch(self.schema.observation, rows)

    def actions_at(self, rows: Rows) -> Batch:
        """Return the actions that led to `rows`; the null action on a reset's row."""
        return self.batch(self.schema.action, rows)

    def infos(self, rows: Rows) -> list[dict[Any, Any]]:
        """Return the infos at `rows`."""
        columns = []
        for info_column in self.reader.meta.info_columns:
            values, has = info_column.columns
            columns.append(
                (info_column, self.reader.take(values, rows), self.reader.take(has, rows))
            )
        return decode_infos(len(rows), columns, self.reader.cells(CELL_COLUMNS, rows))

    def steps(self, rows: Rows) -> Iterator[Step]:
        """Iterate over rows; they are decoded some at a time."""
        pick_observation, pick_action = self.schema.observation.pick, self.schema.action.pick
        for start in range(0, len(rows), self.batch_rows):
            some = rows[start : start + self.batch_rows]
            observations, actions = self.observations(some), self.actions_at(some)
            plain = zip(
                self.fixed("time", some).tolist(),
                self.fixed("reward", some).tolist(),
                self.fixed("terminated", some).tolist(),
                self.fixed("truncated", some).tolist(),
                self.infos(some),
                strict=True,
            )
            for i, (time, reward, terminated, truncated, info) in enumerate(plain):
                observation = pick_observation(observations, i)
                action = pick_action(actions, i)
                yield Step(time, observation, action, reward, terminated, truncated, info)

    def column(self, name: str, rows: Rows) -> Any:
        """Return a field by its path, as a question would name it, at `rows`.

        Info fields come as masked arrays, masked where a row has no value.

        Raises:
            QueryError: the text is no path.
            LookupError: there is no such field.
        """
        path, _ = parse(name, {})
        if not isinstance(path, Path):
            raise LookupError(f"{name!r} is no field; fields are {', '.join(self.names())}")
        slices = [i for i, key in enumerate(path.keys) if isinstance(key, slice)]
        end = slices[0] if slices else len(path.keys)
        keys = tuple(key for key in path.keys[:end] if not isinstance(key, slice))
        if keys[0] in ("observation", "action"):
            root = getattr(self.schema, str(keys[0]))
            codec, left = descend(root, keys[1:])
            if not left and not slices:
                return self.batch(codec, rows)
        if keys == (INFO,):
            return self.infos(rows)
        field, indices = self.catalogue.lookup(keys)
        values = self.read(field, rows)
        where: tuple[Any, ...] = (slice(None), *indices, *path.keys[end:])
        try:
            data = values.data[where]
        except IndexError:
            raise LookupError(f"{name}: {field.name} has the shape {field.shape}") from None
        if values.present is None or keys[0] == "action":
            return data
        return np.ma.masked_array(data, ~values.present)

    def names(self) -> list[str]:
        """Return the names of all fields."""
        return list(self.catalogue.names())

    def read(self, field: Field, rows: Rows | Span) -> Values:
        """Return the values of a field at `rows`, as a question sees them; to be read only."""
        if field.name == "done":
            return Values(self.look("terminated", rows) | self.look("truncated", rows))
        if field.name in self._table and not field.name.startswith("action"):
            return Values(self.look(field.name, rows))
        rows = numbers(rows)
        if field.name in EPISODE_FIELDS:
            return self._of_episodes(self.episode_values(field), self.episode_of(rows))
        if field.name.startswith(INFO):
            return self._read_info(field, rows)
        codec = self.catalogue.codec(field.name)
        batch = self.batch(codec, rows)
        data = np.array(batch, dtype=object) if isinstance(codec, TextCodec) else batch
        # The null action of a reset was never taken: it matches nothing.
        taken = self.fixed("step", rows) > 0 if field.name.startswith("action") else None
        return Values(data, taken)

    def between(self, field: Field) -> Between | None:
        """Return between which values a field lies in each stretch; None if nobody knows."""
        if field.name not in self._between:
            known = between(field, self.reader, self.catalogue, self.stretch_rows)
            self._between[field.name] = known
        return self._between[field.name]

    def episode_values(self, field: Field, some: slice = slice(None)) -> Values:
        """Return an episode field's values, one for each episode or for some; to be read only."""
        values = self._episode_values.get(field.name)
        if values is None:
            values = self._episode_values[field.name] = self._read_episodes(field)
        present = None if values.present is None else values.present[some]
        return Values(values.data[some], present)

    def _read_episodes(self, field: Field) -> Values:
        table = self.episodes
        match field.name:
            case "episode":
                return Values(np.arange(len(table)))
            case "episode_length":
                return Values(table["rows"] - 1)
            case "ended":
                return Values(np.char.decode(table["ended"], "ascii"))
            case "seed":
                return self._seeds()
            case "lane":
                lanes = self.reader.lanes
                lanes = np.full(len(table), -1) if lanes is None else lanes
                return Values(lanes, lanes >= 0)
            case name:
                return Values(table[name].copy())

    def _seeds(self) -> Values:
        """Return the seeds; those of more than 64 bits are in the episodes' JSON cells."""
        seeds, present = self.episodes["seed"].copy(), self.episodes["seeded"].copy()
        large = [i for i in np.flatnonzero(present & (seeds == 0)).tolist() if self.extra(i)]
        if any("seed" in self.extra(i) for i in large):
            seeds = seeds.astype(np.float64)
            for i in large:
                seeds[i] = self.extra(i).get("seed", seeds[i])
        return Values(seeds, present)

    def extra(self, episode: int) -> dict[str, Any]:
        """Return what the table of episodes cannot hold of one: options, large seeds."""
        return self.reader.extra(episode)

    def _of_episodes(self, values: Values, episodes: Rows) -> Values:
        present = None if values.present is None else values.present[episodes]
        return Values(values.data[episodes], present)

    def _read_info(self, field: Field, rows: Rows) -> Values:
        """Return an info field, put together from the columns of all its types and the cells."""
        columns = self.catalogue.info_columns(field)
        text = field.kind == "text"
        kinds = [column.dtype for column in columns]
        data = np.zeros(len(rows), dtype=object if text else np.result_type(*kinds))
        present = np.zeros(len(rows), dtype=np.bool_)
        for info_column in columns:
            value_column, has_column = info_column.columns
            has = self.reader.take(has_column, rows)
            values = self.reader.take(value_column, rows)[has]
            data[has] = np.char.decode(values, "utf-8") if text else values
            present |= has
        wanted = (str,) if text else (bool, int, float, np.number, np.bool_)
        for index, value in self._in_cells(columns[0].keys, rows, ~present):
            if isinstance(value, wanted):
                if not text and data.dtype.kind != "f" and not isinstance(value, bool):
                    data = data.astype(np.float64)
                data[index], present[index] = value, True
        return Values(data, present)

    def _in_cells(
        self, keys: tuple[str, ...], rows: Rows, where: NDArray[np.bool_]
    ) -> Iterator[tuple[int, Any]]:
        """Iterate over values under `keys` that did not fit their column."""
        indices = np.flatnonzero(where)
        cells = self.reader.cells(CELL_COLUMNS, rows[indices])
        for index, cell in zip(indices.tolist(), cells, strict=False):
            value = jsonable.loads(cell) if cell else {}
            for key in keys:
                value = value.get(key) if isinstance(value, dict) else None
            if value is not None:
                yield index, value

    @cached_property
    def observation_space(self) -> gymnasium.Space[Any]:
        """The observation space, of Gymnasium's classes."""
        return self.schema.observation.restore(gymnasium.spaces)  # type: ignore[no-any-return]

    @cached_property
    def action_space(self) -> gymnasium.Space[Any]:
        """The action space, of Gymnasium's classes."""
        return self.schema.action.restore(gymnasium.spaces)  # type: ignore[no-any-return]


class Dataset:
    """One data set of a file, which moves on; what was read from before stays as it was."""

    def __init__(self, records: Records) -> None:
        self.records = records
        """Its rows, when it was opened or last refreshed."""

    def refresh(self) -> None:
        """Move on to what has been committed since.

        Raises:
            SchemaError: another data set is there by now, with other spaces.
        """
        reader = self.records.reader
        records = _opened(reader.files, reader.meta.name, reader.max_bytes)
        try:
            records.schema.require_same(self.records.schema, others="the one before")
        except SchemaError as error:
            raise SchemaError(
                f"{reader.filename}: data set {reader.meta.name!r} is another than it was: "
                f"{error}; open it anew"
            ) from None
        self.records = records


def _opened(files: list[str], name: str, max_bytes: int) -> Records:
    return Records(open_reader(files, name, max_bytes))

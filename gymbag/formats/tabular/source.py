# SPDX-License-Identifier: LGPL-3.0-or-later
"""Reads tables that gymbag wrote, episode by episode."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from gymbag.errors import FormatError
from gymbag.formats.limits import ROW_BYTES, require_fit, require_plain, require_short
from gymbag.formats.tabular.arrow import column_of, field_of, from_array, numbers
from gymbag.formats.tabular.layout import Arrays, leaves, null_columns
from gymbag.formats.tabular.packages import pyarrow
from gymbag.formats.tabular.table import FIXED, HEAD, info_type
from gymbag.memory import MemoryEpisode
from gymbag.schema import Schema, SpaceCodec, jsonable
from gymbag.schema.columns import ROWS
from gymbag.schema.info import InfoColumn, decode_infos
from gymbag.steps import Ended, Episode, Step

Opened = Callable[[Path, int], AbstractContextManager[tuple[Any, Iterator[Any]]]]
"""Opens a file: gives its schema, and its batches of so many rows at most."""

BATCH_BYTES = 16 << 20
MOST_ROWS = 8192

WANTED = (
    "expected one that gymbag wrote: its schema has the metadata 'gymbag', and its columns are "
    "episode, step, time, reward, terminated, truncated, seed, ended, options, action…, "
    "observation…, info…, with a row for each reset and each step; to bring other tables in, make "
    "episodes of their rows and pass those to gymbag.record_from_iter"
)


class TableSource:
    """The episodes of a table, one at a time in memory."""

    def __init__(self, path: Path, opened: Opened) -> None:
        require_plain(path.resolve())
        self.path = path
        self._opened = opened
        pa = pyarrow()
        try:
            with opened(path, 1) as (schema, _):
                self._read_head(schema)
        except FormatError:
            raise
        except (ValueError, TypeError, KeyError, OSError, pa.ArrowException) as error:
            raise FormatError(f"{path}: damaged, or not a table ({error!s:.300})") from error

    def _read_head(self, schema: Any) -> None:
        text = (schema.metadata or {}).get(HEAD)
        if text is None:
            raise FormatError(f"{self.path}: not a table of gymbag's; {WANTED}")
        require_short(len(text), f"{self.path}: the metadata {HEAD.decode()!r}")
        head = jsonable.loads(text)
        self.schema = Schema.from_json(head["spaces"])
        self.observation_space = self.schema.observation.restore(gymnasium.spaces)
        self.action_space = self.schema.action.restore(gymnasium.spaces)
        self.name, self.description = str(head["name"]), str(head["description"])
        self.metadata: dict[str, Any] = dict(head["metadata"])
        self.env_spec: str | None = head["env_spec"]
        self._info = [InfoColumn.from_json(column) for column in head["info"]]
        self._leaves = {
            leaf.name: (codec.path, leaf, field_of(leaf).type)
            for codec in (self.schema.action, self.schema.observation)
            for leaf in leaves(codec)
        }
        self._null = null_columns(self.schema.action)
        self._names = ("episode", "step", *FIXED, "seed", "ended", "options", *self._leaves)
        self._batch_rows = max(1, min(MOST_ROWS, BATCH_BYTES // max(1, self.schema.row_nbytes)))

    def iter_episodes(self) -> Iterator[Episode]:
        """Iterate over the episodes.

        Raises:
            FormatError: the file is damaged, or some rows of an episode are missing.
        """
        rows: list[Step] = []
        about: tuple[Any, Any, Any] = None, None, None
        number = nbytes = 0
        for batch in self._batches():
            nbytes += batch.nbytes + len(batch) * ROW_BYTES
            require_fit(nbytes, f"{self.path}: episode {number}")
            for step, row, now in self._rows(batch):
                if step == 0:
                    if rows:
                        yield self._episode(number, rows, *about)
                        number += 1
                    rows, about, nbytes = [], now, batch.nbytes
                elif step != len(rows):
                    raise FormatError(
                        f"{self.path}: step {step} follows step {len(rows) - 1} of episode "
                        f"{number}; expected whole episodes, each in its order"
                    )
                rows.append(row)
        if rows:
            yield self._episode(number, rows, *about)

    def _batches(self) -> Iterator[Any]:
        pa = pyarrow()
        try:
            with self._opened(self.path, self._batch_rows) as (_, batches):
                yield from batches
        except (pa.ArrowException, OSError) as error:
            raise FormatError(f"{self.path}: damaged ({error!s:.300})") from error

    def _episode(
        self, number: int, rows: list[Step], seed: Any, ended: Any, options: Any
    ) -> MemoryEpisode:
        try:
            return MemoryEpisode(
                number,
                rows,
                seed=None if seed is None else int(seed),
                options=None if options is None else dict(jsonable.loads(options)),
                ended=Ended(ended),
            )
        except (ValueError, TypeError) as error:
            raise FormatError(f"{self.path}: episode {number}: {error!s:.300}") from None

    def _rows(self, batch: Any) -> Iterator[tuple[int, Step, tuple[Any, Any, Any]]]:
        """Iterate over the rows of a batch: number of the step, the step, what its episode is."""
        try:
            batch.validate(full=True)
            steps, fields = self._fields_of(batch)
            about = [batch.column(name).to_pylist() for name in ("seed", "ended", "options")]
        except FormatError as error:
            raise FormatError(f"{self.path}: {error}") from None
        except (ValueError, TypeError, LookupError, pyarrow().ArrowException) as error:
            raise FormatError(f"{self.path}: damaged ({error!r:.300})") from error
        rows = map(Step, *fields)
        yield from zip(steps, rows, zip(*about, strict=True), strict=True)

    def _fields_of(self, batch: Any) -> tuple[list[int], list[list[Any]]]:
        """Return the numbers of the steps, and the fields of `Step`."""
        pa = pyarrow()
        steps = numbers(column_of(batch, "step", pa.int64(), self._names), np.dtype("i8"))
        fixed = {}
        for name, kind in FIXED.items():
            array = column_of(batch, name, pa.from_numpy_dtype(kind), self._names)
            fixed[name] = numbers(array, np.dtype(kind))
        reset = steps == 0
        fixed["reward"][reset] = np.nan
        columns: dict[str, Arrays] = {"action": {}, "observation": {}}
        for name, (root, leaf, kind) in self._leaves.items():
            array = column_of(batch, name, kind, self._names)
            _require_there(name, array, reset & (root == "action"))
            from_array(leaf, array, columns[root])
        for column in self.schema.action.columns:
            if column.frame == ROWS and not column.ragged:
                columns["action"][column.name][reset] = self._null[column.name]
        observations, actions = (
            _decode(codec, columns[codec.path], len(batch))
            for codec in (self.schema.observation, self.schema.action)
        )
        times, *others = (fixed[name].tolist() for name in FIXED)
        return steps.tolist(), [times, observations, actions, *others, self._infos(batch)]

    def _infos(self, batch: Any) -> list[dict[Any, Any]]:
        columns = []
        for column in self._info:
            array = column_of(batch, column.name, info_type(column), self._names)
            has = array.is_valid().to_numpy(zero_copy_only=False)
            if column.dtype.kind == "S":
                cells = [(cell or "").encode() for cell in array.to_pylist()]
                values = np.array(cells, dtype=object)
            else:
                values = numbers(array, column.dtype)
            columns.append((column, values, has))
        cells = column_of(batch, "info", pyarrow().large_string(), self._names).to_pylist()
        return decode_infos(len(batch), columns, [(cell or "").encode() for cell in cells])

    def __repr__(self) -> str:
        return f"<TableSource {self.name!r} in {str(self.path)!r}>"


def _decode(codec: SpaceCodec, arrays: Arrays, n: int) -> list[Any]:
    batch = codec.decode((arrays[column.name] for column in codec.columns), n)
    return [codec.pick(batch, row) for row in range(n)]


def _require_there(name: str, array: Any, may_lack: NDArray[np.bool_]) -> None:
    """Check that a column has a value in every row but some."""
    if array.null_count and (array.is_null().to_numpy(zero_copy_only=False) & ~may_lack).any():
        raise FormatError(f"column {name!r} has no value in some row; expected one in every row")

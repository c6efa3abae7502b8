# SPDX-License-Identifier: LGPL-3.0-or-later
"""Reads CSV files, gymbag's and others with the same names of columns."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Callable, Iterator
from itertools import groupby
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from gymbag.errors import FormatError, QueryError
from gymbag.formats.infos import fill
from gymbag.formats.limits import ROW_BYTES, require_fit, require_plain
from gymbag.memory import MemoryEpisode
from gymbag.query.parse import parse
from gymbag.query.tree import Path as FieldPath
from gymbag.schema import jsonable
from gymbag.steps import Ended, Episode, Step, end_of

Cells: TypeAlias = list[Any]
Build = Callable[[Cells], Any]
"""Makes a value of the cells of a row."""
Keys: TypeAlias = tuple[str | int, ...]

NEEDED = ("episode", "step", "reward")
OF_EPISODE = ("seed", "ended", "options")
INTEGER = re.compile(r"[-+]?[0-9]{1,4000}")
FLOAT = re.compile(r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)(e[-+]?[0-9]+)?|[-+]?inf|nan", re.IGNORECASE)
FLAGS = {"True": True, "False": False, "true": True, "false": False}


class CSVSource:
    """The episodes of a CSV file, one at a time in memory."""

    observation_space = action_space = env_spec = None
    description = ""

    def __init__(self, path: Path) -> None:
        require_plain(path.resolve())
        self.path = path
        self.name = path.stem
        self.metadata: dict[str, Any] = {}
        header = next(self._lines(), (0, []))[1]
        there = {*header, *map(_root, header)}
        missing = [name for name in (*NEEDED, "action", "observation") if name not in there]
        if missing:
            raise FormatError(
                f"{path}: no column {', '.join(missing)}; expected a first line with episode, "
                "step, reward, action or action[0]…, observation or observation[0]…, and if "
                "they are known time, terminated, truncated, info.NAME, seed, ended and options"
            )
        if len(set(header)) < len(header):
            raise FormatError(f"{path}: two columns have the same name; expected different ones")
        self._header = header
        self._observation, self._action = (self._build(root) for root in ("observation", "action"))
        self._infos = [
            (place, _keys(name)[1:])
            for place, name in enumerate(header)
            if _root(name) == "info" and name != "info"
        ]

    def _lines(self) -> Iterator[tuple[int, list[str]]]:
        """Iterate over the lines that are not empty, with their numbers."""
        with self.path.open(encoding="utf-8", errors="surrogatepass", newline="") as file:
            reader = csv.reader(file)
            try:
                for cells in reader:
                    if cells:
                        yield reader.line_num, cells
            except (csv.Error, UnicodeDecodeError) as error:
                where = f"{self.path}: line {reader.line_num}"
                raise FormatError(f"{where}: not CSV in UTF-8 ({error})") from None

    def _build(self, root: str) -> Build:
        """Return what makes observations or actions."""
        names = enumerate(self._header)
        return _builder([(_keys(name)[1:], place) for place, name in names if _root(name) == root])

    def iter_episodes(self) -> Iterator[Episode]:
        """Iterate over the episodes; each begins with the row of its reset, step 0.

        Raises:
            FormatError: the file is damaged, or rows are missing.
        """
        rows: list[Step] = []
        about: dict[str, Any] = {}
        number = nbytes = 0
        for line, cells in self._rows():
            step = cells["step"]
            if step == 0:
                if rows:
                    yield self._episode(number, rows, about)
                    number += 1
                rows, about, nbytes = [], {name: cells.get(name) for name in OF_EPISODE}, 0
            elif step != len(rows) or not rows:
                raise FormatError(
                    f"{self.path}: line {line}: found step {step}; expected "
                    f"{f'{len(rows)} or ' if rows else ''}0, the row of a reset, which has an "
                    "observation, and no action and no reward"
                )
            rows.append(cells["row"])
            nbytes += ROW_BYTES + 100 * len(self._header)
            require_fit(nbytes, f"{self.path}: episode {number}")
        if rows:
            yield self._episode(number, rows, about)

    def _rows(self) -> Iterator[tuple[int, dict[str, Any]]]:
        lines = self._lines()
        next(lines, None)
        for line, texts in lines:
            if len(texts) != len(self._header):
                raise FormatError(
                    f"{self.path}: line {line}: {len(texts)} cells; expected {len(self._header)}"
                )
            values = [_value(text) for text in texts]
            cells = dict(zip(self._header, values, strict=True))
            try:
                cells["row"] = Step(
                    _float(cells.get("time")),
                    self._observation(values),
                    self._action(values),
                    _float(cells["reward"]),
                    bool(cells.get("terminated")),
                    bool(cells.get("truncated")),
                    self._info(values, texts),
                )
            except (ValueError, TypeError) as error:
                raise FormatError(f"{self.path}: line {line}: {error!s:.200}") from None
            yield line, cells

    def _info(self, values: Cells, texts: list[str]) -> dict[Any, Any]:
        place = self._header.index("info") if "info" in self._header else -1
        info: dict[Any, Any] = {}
        if place >= 0 and texts[place]:
            info = dict(jsonable.loads(texts[place]))
        for place, keys in self._infos:
            if values[place] is not None:
                fill([info], keys, [values[place]], "info")
        return info

    def _episode(self, number: int, rows: list[Step], about: dict[str, Any]) -> MemoryEpisode:
        if len(rows) > 1:
            rows[0] = rows[0]._replace(action=_null_like(rows[1].action))
        seed, ended, options = (about[name] for name in OF_EPISODE)
        try:
            return MemoryEpisode(
                number,
                rows,
                seed=None if seed is None else int(seed),
                options=None if options is None else dict(jsonable.loads(options)),
                ended=end_of(rows[-1]) if ended is None else Ended(ended),
            )
        except (ValueError, TypeError) as error:
            raise FormatError(f"{self.path}: episode {number}: {error!s:.200}") from None

    def __repr__(self) -> str:
        return f"<CSVSource {str(self.path)!r}>"


def _value(text: str) -> Any:
    """Return what a cell holds, by its looks.

    >>> [_value(text) for text in ("", "3", "3.0", "1e-3", "nan", "True", "left")]
    [None, 3, 3.0, 0.001, nan, True, 'left']
    """
    if not text:
        return None
    if text in FLAGS:
        return FLAGS[text]
    if INTEGER.fullmatch(text):
        return int(text)
    return float(text) if FLOAT.fullmatch(text) else text


def _float(value: Any) -> float:
    if isinstance(value, str):
        raise ValueError(f"found {value!r:.80}; expected a number")
    return math.nan if value is None else float(value)


def _root(name: str) -> str:
    return re.split(r"[.\[]", name, maxsplit=1)[0]


def _keys(name: str) -> Keys:
    """Return the keys of a column's name, without the type that may follow it."""
    text = re.sub(r"#[a-z0-9.]+$", "", name)
    try:
        path, _ = parse(text, {})
    except QueryError as error:
        raise FormatError(f"column {name!r}: {error}") from None
    if not isinstance(path, FieldPath) or any(isinstance(key, slice) for key in path.keys):
        raise FormatError(f"column {name!r} is no path of a field, such as observation[2]")
    return path.keys  # type: ignore[return-value]


def _builder(columns: list[tuple[Keys, int]]) -> Build:
    """Return what makes a value of its cells: a number or text, an array of numbers, or a dict."""
    if columns[0][0] == ():
        place = columns[0][1]
        return lambda cells: cells[place]
    groups = [
        (key, _builder([(keys[1:], place) for keys, place in some]))
        for key, some in groupby(columns, key=lambda column: column[0][0])
    ]
    if all(isinstance(key, int) for key, _ in groups):
        return lambda cells: _array([build(cells) for _, build in groups])
    return lambda cells: {key: build(cells) for key, build in groups}


def _array(values: list[Any]) -> Any:
    """Return an array of numbers or of arrays of them; a tuple of anything else."""
    if all(isinstance(value, int | float) for value in values):
        return np.array(values)
    arrays = all(isinstance(value, np.ndarray) for value in values)
    if arrays and len({value.shape for value in values}) == 1:
        return np.stack(values)
    return tuple(values)


def _null_like(value: Any) -> Any:
    """Return what stands where there is no action, of which only examples are known."""
    if isinstance(value, dict):
        return {key: _null_like(item) for key, item in value.items()}
    if isinstance(value, tuple):
        return tuple(map(_null_like, value))
    if isinstance(value, np.ndarray):
        return np.full_like(value, np.nan if value.dtype.kind == "f" else 0)
    return "" if isinstance(value, str) else math.nan if isinstance(value, float) else 0

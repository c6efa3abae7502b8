# SPDX-License-Identifier: LGPL-3.0-or-later
"""Reads all of a data set, and tells what of it is damaged and which episodes that concerns.

A chunk is damaged if its checksum is not the one recorded, or if it cannot be decoded. Damage to
items of ragged rows is lifted, through the ends of the rows, to the rows that they belong to. The
columns `episode` and `step` tell where episodes begin if the table of episodes is damaged.
"""

from __future__ import annotations

import zlib
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gymbag.errors import FileError, GymbagError
from gymbag.schema import Column
from gymbag.schema.columns import ROWS
from gymbag.schema.info import CELL_COLUMNS
from gymbag.steps import Ended
from gymbag.storage.meta import Meta
from gymbag.storage.names import EPISODES, META, STEPS, escape, unescape
from gymbag.storage.stored import StoredColumn
from gymbag.storage.writer import EPISODE_DTYPE, EXTRA_COLUMNS

MOST_BYTES = 1 << 28
"""Bytes of a description, or of a table of episodes, that are read at once."""
OF_EPISODES = {EPISODES, *(column.name for column in EXTRA_COLUMNS)}
"""Columns that have an entry for each episode, not for each row."""

Rows = NDArray[np.int64]
Tick = Callable[[], None]
Chunks = Iterator[tuple[int, NDArray[Any]]]


class Range(NamedTuple):
    """Damaged entries of a column."""

    start: int
    stop: int
    reason: str


class Part(NamedTuple):
    """A column as the description of the data set has it."""

    column: Column
    spare: bool = False
    """Whether an episode can do without it: it holds infos, or options of the reset."""


@dataclass(slots=True)
class Survey:
    """What was found of a data set."""

    name: str
    columns: Mapping[str, StoredColumn]
    """By their names in the group."""
    meta: Meta | None = None
    """None if that is damaged."""
    parts: list[Part] = field(default_factory=list)
    rows: int = 0
    episodes: NDArray[Any] = field(default_factory=lambda: np.zeros(0, EPISODE_DTYPE))
    """The table of episodes, as far as it is there or could be made again; 0 rows mean unknown."""
    rebuilt: int = 0
    """How many episodes of it had to be made again."""
    damages: dict[str, list[Range]] = field(default_factory=dict)
    """By column: rows of the data set; episodes for columns that have an entry for each."""
    unknown: list[str] = field(default_factory=list)
    """Columns that the description does not speak of."""

    def episode_range(self, start: int, stop: int) -> tuple[int, int] | None:
        """Return the first and the last episode with any of these rows."""
        first = self.episodes["first_row"]
        hit = np.flatnonzero((first < stop) & (first + self.episodes["rows"] > start))
        return (int(hit[0]), int(hit[-1])) if len(hit) else None

    def hit(self, name: str) -> NDArray[np.bool_]:
        """Return for each episode whether damage to a column concerns it."""
        concerned = np.zeros(len(self.episodes), np.bool_)
        for start, stop, _ in self.damages.get(name, ()):
            found = (start, stop - 1) if name in OF_EPISODES else self.episode_range(start, stop)
            if found:
                concerned[found[0] : found[1] + 1] = True
        return concerned


def survey(name: str, columns: Mapping[str, StoredColumn], tick: Tick) -> Survey:
    """Read a data set and return what was found; `tick` is called after each chunk."""
    found = Survey(name, columns)
    found.meta = _read_meta(found, tick)
    found.parts = parts_of(found.meta, columns) if found.meta else []
    found.rows = columns[STEPS].rows if STEPS in columns else 0
    known = _read_episodes(found, tick) if found.meta else np.zeros(0, np.bool_)
    ranges = {part.column.name: _check(found, part, known, tick) for part in found.parts}
    frames = {part.column.name: part.column.frame for part in found.parts}
    for column, damaged in ranges.items():
        frame = frames[column]
        while damaged and frame not in (ROWS, EPISODES):
            damaged, frame = _lift(columns.get(escape(frame)), damaged), frames[frame]
        _merge(found.damages, column, damaged)
    described = {META, EPISODES, *(escape(part.column.name) for part in found.parts)}
    for other in sorted(set(columns) - described):
        if found.meta:
            found.unknown.append(unescape(other))
        _merge(found.damages, unescape(other), _drain(columns[other], tick))
    return found


def parts_of(meta: Meta, columns: Mapping[str, StoredColumn]) -> list[Part]:
    """Return the columns that a data set has, beside its description and its episodes."""
    steps = np.dtype([(escape(c.name), c.dtype, c.shape) for c in meta.schema.table])
    parts = [Part(Column(STEPS, steps)), *map(Part, meta.schema.beside)]
    for info_column in meta.info_columns:
        parts += (Part(column, spare=True) for column in info_column.columns)
    for pair in (CELL_COLUMNS, EXTRA_COLUMNS):
        if any(escape(column.name) in columns for column in pair):
            parts += (Part(column, spare=True) for column in pair)
    return parts


def present(column: StoredColumn) -> Rows:
    """Return the numbers of the chunks that are there; the others hold zeros."""
    stored = np.flatnonzero(column.chunks["size"])
    logged = np.fromiter(column.logged, np.int64, len(column.logged))
    numbers = np.union1d(stored, logged).astype(np.int64)
    return numbers[numbers < -(-column.rows // column.spec.chunk_rows)]


def conform(values: NDArray[Any], column: Column) -> NDArray[Any]:
    """Return values as the column has them, should another program have stored them otherwise."""
    if values.dtype == column.dtype and values.shape[1:] == column.shape:
        return values
    if column.dtype.names:
        rows = np.zeros(len(values), column.dtype)
        for name in column.dtype.names:
            rows[name] = values[name]
        return rows
    return values.astype(column.dtype).reshape(-1, *column.shape)


def _fits(column: StoredColumn, dtype: np.dtype, shape: tuple[int, ...]) -> bool:
    """Return whether the values of a column can be those of another dtype."""
    found = column.spec.dtype
    if dtype.names:
        names = found.names or ()
        return set(dtype.names) <= set(names) and all(
            found[name].shape == dtype[name].shape
            and np.can_cast(found[name].base, dtype[name].base, "equiv")
            for name in dtype.names
        )
    return column.spec.shape == shape and np.can_cast(found, dtype, "equiv")


def sound_chunks(column: StoredColumn, damaged: list[Range], tick: Tick) -> Chunks:
    """Iterate over the chunks that are there: the first row and the values; note damaged ones."""
    size = column.spec.chunk_rows
    for number in present(column).tolist():
        first = number * size
        stop = min(first + size, column.rows)
        try:
            values = column.load(number)
        except (FileError, MemoryError) as error:
            reason = str(error).rpartition("damaged: ")[2] or "it takes more memory than there is"
            _note(damaged, first, stop, reason)
        else:
            yield first, values[: stop - first]
        tick()


def _note(damaged: list[Range], start: int, stop: int, reason: str) -> None:
    if damaged and damaged[-1].stop >= start:
        start, reason = damaged[-1].start, damaged[-1].reason
        stop = max(stop, damaged.pop().stop)
    damaged.append(Range(start, stop, reason))


def _merge(damages: dict[str, list[Range]], name: str, damaged: list[Range]) -> None:
    merged: list[Range] = []
    for one in sorted([*damages.get(name, ()), *damaged]):
        _note(merged, *one)
    if merged:
        damages[name] = merged


def _drain(column: StoredColumn, tick: Tick) -> list[Range]:
    damaged: list[Range] = []
    deque(sound_chunks(column, damaged, tick), maxlen=0)
    return damaged


def _read_meta(found: Survey, tick: Tick) -> Meta | None:
    column = found.columns.get(META)
    reason = "it is not there"
    damaged: list[Range] = []
    if column is not None and column.spec.dtype == np.uint8 and column.rows <= MOST_BYTES:
        chunks = [values.tobytes() for _, values in sound_chunks(column, damaged, tick)]
        if damaged:
            reason = damaged[0].reason
        else:
            if column.mended:  # by the copy in the index
                found.damages[META] = [Range(0, 0, "its checksum is not the one recorded")]
            try:
                return Meta.parse(b"".join(chunks), found.name)
            except (GymbagError, AttributeError, RecursionError) as error:
                reason = f"the description of the data set is not understood ({error})"
    found.damages[META] = [Range(0, 0, reason)]
    return None


def _read_episodes(found: Survey, tick: Tick) -> NDArray[np.bool_]:
    """Read the table of episodes; return which of its rows are as they were written."""
    column, damaged = found.columns.get(EPISODES), list[Range]()
    if column is None:
        damaged.append(Range(0, 0, "it is not there"))
    elif column.spec.dtype != EPISODE_DTYPE or column.rows * EPISODE_DTYPE.itemsize > MOST_BYTES:
        damaged.append(Range(0, 0, "it is not a table of episodes"))
    else:
        found.episodes = np.zeros(column.rows, EPISODE_DTYPE)
        for first, values in sound_chunks(column, damaged, tick):
            found.episodes[first : first + len(values)] = values
    known = np.isin(found.episodes["ended"], [ended.value.encode() for ended in Ended])
    for start, stop, _ in damaged:
        known[start:stop] = False
    if not damaged:
        odd = np.flatnonzero(~known).tolist()
        damaged = [Range(number, number + 1, "it has no end that is known") for number in odd]
    if not _follow(found.episodes, known, found.rows):
        damaged = [Range(0, len(known), "episodes that do not follow one another")]
        known[:] = False
    if damaged:
        rebuild_episodes(found, known)
        found.damages[EPISODES] = damaged
    return known


def _follow(table: NDArray[Any], known: NDArray[np.bool_], rows: int) -> bool:
    first, count = table["first_row"], table["rows"]
    pairs = known[1:] & known[:-1]
    sensible = (first >= 0) & (first <= rows) & (count >= 1) & (count <= rows - first)
    follow = (first[1:] == first[:-1] + count[:-1])[pairs].all() and not first[:1][known[:1]].any()
    return bool(sensible[known].all() and follow)


def rebuild_episodes(found: Survey, known: NDArray[np.bool_]) -> None:
    """Make the rows of the table of episodes again that are not known, of the rows of the steps."""
    made: dict[int, Any] = {}
    steps = found.columns.get(STEPS)
    if steps is None or not _fits(steps, found.parts[0].column.dtype, ()):
        return
    run: list[NDArray[Any]] = []  # the rows of the episode that is open; none if it is torn
    reach = 0
    for first, values in sound_chunks(steps, [], lambda: None):
        values = conform(values, found.parts[0].column)
        starts = np.flatnonzero(values["step"] == 0).tolist()
        if first != reach or 2 * len(starts) > len(values) + 2:
            run = []
        reach = first + len(values)
        for number, piece in enumerate(np.split(values, starts)):
            if number:
                if run:
                    _make(made, np.concatenate(run), first + starts[number - 1])
                run = [piece]
            elif run:
                run.append(piece)
    if run and reach == found.rows:
        _make(made, np.concatenate(run), reach)
    count = max([len(found.episodes), *(number + 1 for number in made if number < found.rows)])
    table = np.zeros(count, EPISODE_DTYPE)
    table[: len(found.episodes)][known] = found.episodes[known]
    for number in sorted(made.keys() - set(np.flatnonzero(known).tolist())):
        if number < count:
            table[number] = made[number]
            found.rebuilt += 1
    found.episodes = table


def _make(made: dict[int, Any], rows: NDArray[Any], stop: int) -> None:
    """Note the entry of an episode that has these rows."""
    entry = np.zeros((), EPISODE_DTYPE)
    entry["id"] = number = int(rows["episode"][0])
    entry["first_row"], entry["rows"] = stop - len(rows), len(rows)
    entry["episode_return"] = rows["reward"][1:].sum()
    entry["start_time"], entry["end_time"] = rows["time"][0], rows["time"][-1]
    flags = rows[-1]["terminated"], rows[-1]["truncated"]
    entry["ended"] = "terminated" if flags[0] else "truncated" if flags[1] else "unknown"
    entry["crc"] = zlib.crc32(rows.tobytes())
    if (np.diff(rows["step"].astype(np.int64)) == 1).all() and len(rows) > 1:
        made[number] = entry


def _check(found: Survey, part: Part, known: NDArray[np.bool_], tick: Tick) -> list[Range]:
    """Return the damaged entries of a column."""
    column = part.column
    stored = found.columns.get(escape(column.name))
    entries = {ROWS: found.rows, EPISODES: len(found.episodes)}.get(column.frame, 0)
    if stored is None or not _fits(stored, column.dtype, column.shape):
        reason = "it is not there" if stored is None else f"{stored.spec.dtype}{stored.spec.shape}"
        return [Range(0, entries or 1 << 62, reason)]
    if column.ragged:
        items = [p.column.name for p in found.parts if p.column.frame == column.name]
        inner = found.columns.get(escape(items[0])) if items else None  # {} has no columns
        damaged = _check_ends(stored, inner.rows if inner else 0 if items else 1 << 62, tick)
    elif column.name == STEPS:
        damaged = _check_steps(found, stored, known, tick)
    else:
        damaged = _drain(stored, tick)
    if stored.rows != entries and column.frame in (ROWS, EPISODES):
        reason = f"{stored.rows} entries, where there should be {entries}"
        damaged.append(Range(min(stored.rows, entries), max(stored.rows, entries), reason))
    return damaged


def _check_steps(
    found: Survey, steps: StoredColumn, known: NDArray[np.bool_], tick: Tick
) -> list[Range]:
    """Return the damaged rows of the steps, those of episodes included whose checksum differs."""
    damaged, wrong = list[Range](), list[Range]()
    table = found.episodes
    starts, stops = table["first_row"], table["first_row"] + table["rows"]
    numbers = np.flatnonzero(known).tolist()
    at, reach, crc, whole = 0, 0, 0, False
    for first, values in sound_chunks(steps, damaged, tick):
        whole = whole and first == reach
        values = np.ascontiguousarray(conform(values, found.parts[0].column))
        data, size = memoryview(values.view(np.uint8).data), values.itemsize
        reach = first + len(values)
        while at < len(numbers) and starts[numbers[at]] < reach:
            start, stop = int(starts[numbers[at]]), int(stops[numbers[at]])
            if start >= first:
                whole, crc = True, 0
            begin = max(start, first) - first
            crc = zlib.crc32(data[begin * size : max(begin, min(stop, reach) - first) * size], crc)
            if stop > reach:
                break
            if whole and crc != table["crc"][numbers[at]]:
                wrong.append(Range(start, stop, "the episode's checksum is not the one recorded"))
            at += 1
    return sorted([*damaged, *wrong, *_missing(steps)])


def _missing(steps: StoredColumn) -> list[Range]:
    """Return the rows without a chunk; no row but the very first can be all zeros."""
    size = steps.spec.chunk_rows
    edges = pairwise([0, *present(steps).tolist(), -(-steps.rows // size)])
    gaps = (((one + 1) * size, two * size) for one, two in edges if two - one > 1)
    return [Range(one, min(two, steps.rows), "its chunk is not there") for one, two in gaps]


def _check_ends(column: StoredColumn, items: int, tick: Tick) -> list[Range]:
    """Return the entries of which it cannot be told where their items are."""
    damaged, wrong = list[Range](), list[Range]()
    reach, last, reason = 0, 0, "ends of ragged rows that do not ascend, or lead beyond the last"
    for first, values in sound_chunks(column, damaged, tick):
        if first > reach:
            if damaged and damaged[-1].stop > reach:
                last = int(values[0].astype(np.int64))
            elif last:
                wrong.append(Range(reach, first + 1, reason))
                last = 0
        ends = values.astype(np.int64)
        before = np.concatenate(([last], ends[:-1]))
        bad = (ends < before) | (ends > items) | (ends < 0)
        bad[:-1] |= ends[1:] < ends[:-1]
        for entry in np.flatnonzero(bad).tolist():
            _note(wrong, first + entry, first + entry + 1, reason)
        reach, last = first + len(ends), int(ends[-1])
    if reach < column.rows and last and not damaged:
        wrong.append(Range(reach, column.rows, reason))
    # Where a row begins is where the one before it ends.
    wrong += (Range(start, min(stop + 1, column.rows), why) for start, stop, why in damaged)
    return sorted(wrong)


def _lift(ends: StoredColumn | None, damaged: list[Range]) -> list[Range]:
    """Return the entries that damaged items belong to."""
    if ends is None:
        return damaged
    merged: dict[str, list[Range]] = {}
    _merge(merged, "", damaged)
    ranges = merged[""]
    starts, stops = np.array([(r.start, r.stop) for r in ranges], np.int64).T
    lifted: list[Range] = []
    last = 0
    for first, values in sound_chunks(ends, [], lambda: None):
        after = values.astype(np.int64)
        before = np.concatenate(([last], after[:-1]))
        which = np.searchsorted(stops, before, side="right")
        inside = which < len(ranges)
        which[~inside] = 0
        hit = np.flatnonzero(inside & (starts[which] < after) & (before < after))
        for entry in hit.tolist():
            _note(lifted, first + entry, first + entry + 1, ranges[which[entry]].reason)
        last = int(after[-1])
    return lifted

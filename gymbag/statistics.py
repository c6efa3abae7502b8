# SPDX-License-Identifier: LGPL-3.0-or-later
"""Means, spreads, extremes and quantiles of rows, put together part by part in bounded memory."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gymbag.catalogue import EPISODE_FIELDS
from gymbag.query import Field
from gymbag.query.parse import parse
from gymbag.query.tree import Path
from gymbag.records import Records, Rows

Array = NDArray[np.float64]

QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
MOST_ELEMENTS = 1024
"""Values with more elements than this have statistics for each channel, or one for all."""
MOST_CHANNELS = 4
MOST_KEPT = 1 << 20
"""Numbers of a field that are kept for its quantiles; of more, as many drawn at random."""
BINS = 20
FEW = 8
"""The most elements of a value that a table shows."""
LEFT_OUT = (*EPISODE_FIELDS, "time", "step")


@dataclass(frozen=True, eq=False)
class FieldStatistics:
    """What the values of one field are like. NaN, infinite and missing values are left out.

    Arrays are float64. Their shape is that of one value if it has at most 1,024 elements. A
    larger one has one entry for each channel of an image, (C,) or (C, 1, 1), or else one for all,
    (). Each broadcasts against a batch of values: ``(batch - field.mean) / field.std``.
    """

    name: str
    count: NDArray[np.int64]
    """How many numbers there were, elements of an image counted each."""
    missing: NDArray[np.int64]
    """How many were left out: NaN, infinite, or not there."""
    mean: Array
    """NaN, as all that follows, where there was no number."""
    std: Array
    """The standard deviation of all, as `numpy.std` gives it."""
    min: Array
    max: Array
    quantiles: Mapping[float, Array] | None
    """By fraction, 0.5 the median; None where a value has over 1,024 elements, not of uint8."""
    exact: bool
    """Whether the quantiles are of all values, not of some drawn at random."""


@dataclass(frozen=True, eq=False)
class Histogram:
    """How many of some numbers lie in each of some ranges of equal width."""

    counts: NDArray[np.int64]
    edges: Array
    """One more than counts; empty as they are if there is no number."""


@dataclass(frozen=True, eq=False)
class Statistics:
    """What the rows of a data set, or of a selection, are like; ``statistics["reward"]``.

    >>> statistics = store.statistics()
    >>> statistics["reward"].mean, statistics["observation"].mean.shape
    (array(1.), (4,))
    """

    name: str
    """The data set's."""
    rows: int
    fields: Mapping[str, FieldStatistics]
    """By their names, as in `Store.columns`: of every row, and of infos, numbers and flags."""
    skipped: tuple[str, ...]
    """Fields that are no numbers, and so have none."""
    returns: FieldStatistics
    """Of the whole episodes of which a row was selected, as all that follows."""
    lengths: FieldStatistics
    return_histogram: Histogram
    length_histogram: Histogram

    def __getitem__(self, name: str) -> FieldStatistics:
        """Return those of a field.

        Raises:
            LookupError: there is no such field, or it holds no numbers.
        """
        try:
            return self.fields[name]
        except KeyError:
            raise LookupError(
                f"{name!r} has no statistics; these have: {', '.join(self.fields)}"
            ) from None

    def to_json(self) -> str:
        """Return all of it as one line of JSON; what there is none of is null."""
        return json.dumps(_plain(self), allow_nan=False)

    def __str__(self) -> str:
        """Return a table, a line for each element of small values."""
        lines: list[tuple[str, ...]] = [("", "count", "mean", "std", "min", "median", "max")]
        lines += _lines(self.returns) + _lines(self.lengths)
        for field in self.fields.values():
            lines += _lines(field)
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        table = [
            "  ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])])
            for line in lines
        ]
        notes = []
        if sampled := [name for name, field in self.fields.items() if not field.exact]:
            notes.append(f"median of a sample: {', '.join(sampled)}")
        if self.skipped:
            notes.append(f"no numbers: {', '.join(self.skipped)}")
        return "\n".join([f"{self.name}: {self.rows:,} rows", *table, *notes])

    def __repr__(self) -> str:
        return f"<Statistics of {len(self.fields)} fields of {self.name!r}: {self.rows} rows>"


class _Running:
    """Statistics of one field so far: parts are joined as Chan, Golub and LeVeque do (1979)."""

    def __init__(self, name: str, shape: tuple[int, ...]) -> None:
        self.name = name
        self.shape = shape
        self._wide = math.prod(shape) > MOST_ELEMENTS
        self._axes, kept = _layout(shape) if self._wide else ((0,), shape)
        self._count = np.zeros(kept, np.int64)
        self._missing = np.zeros(kept, np.int64)
        self._mean, self._squares = np.zeros(kept), np.zeros(kept)
        self._min, self._max = np.full(kept, np.inf), np.full(kept, -np.inf)
        self._most = MOST_KEPT // max(1, math.prod(shape))
        self._exact = True
        self._kept: list[Array] = []
        self._keys: list[Array] = []
        self._rng = np.random.default_rng(0)

    def add(self, values: NDArray[Any]) -> None:
        """Take up some values, along the first axis."""
        x = values.astype(np.float64)
        x[~np.isfinite(x)] = np.nan
        if not self._wide:
            self._keep(x)
        there = ~np.isnan(x)
        n = self._sum(there)
        self._missing += self._sum(~there)
        if not n.any():
            return
        some = np.maximum(n, 1)
        mean = self._sum(np.where(there, x, 0)) / some
        off = np.where(there, x - self._spread(mean), 0)
        delta = np.where(n, mean - self._mean, 0)
        total = np.maximum(self._count + n, 1)
        self._squares += self._sum(off * off) + delta * delta * (self._count * (n / total))
        self._mean += delta * (n / total)
        self._count += n
        low, high = np.where(there, x, np.inf), np.where(there, x, -np.inf)
        self._min = np.minimum(self._min, low.min(self._axes).reshape(n.shape))
        self._max = np.maximum(self._max, high.max(self._axes).reshape(n.shape))

    def _sum(self, x: NDArray[Any]) -> Any:
        return x.sum(self._axes).reshape(self._count.shape)

    def _spread(self, x: NDArray[Any]) -> NDArray[Any]:
        return x[None] if x.ndim else x

    def _keep(self, x: Array) -> None:
        """Keep values for the quantiles: of too many, those with the smallest random keys."""
        self._kept.append(x)
        self._keys.append(self._rng.random(len(x)))
        if sum(map(len, self._keys)) > self._most:
            self._exact = False
            values, keys = np.concatenate(self._kept), np.concatenate(self._keys)
            smallest = np.argpartition(keys, self._most)[: self._most]
            self._kept, self._keys = [values[smallest]], [keys[smallest]]

    def finish(self) -> FieldStatistics:
        """Return what was found."""
        none = self._count == 0
        std = np.sqrt(self._squares / np.maximum(self._count, 1))
        mean, std, low, high = (
            np.where(none, np.nan, x) for x in (self._mean, std, self._min, self._max)
        )
        return FieldStatistics(
            self.name,
            *(self._count, self._missing, mean, std, low, high),
            None if self._wide else self._quantiles(none),
            self._exact,
        )

    def _quantiles(self, none: NDArray[np.bool_]) -> dict[float, Array]:
        found = np.full((len(QUANTILES), *self.shape), np.nan)
        values = np.concatenate([np.empty((0, *self.shape)), *self._kept])
        for place in np.ndindex(self.shape):
            if not none[place]:
                column = values[(slice(None), *place)]
                if len(column := column[~np.isnan(column)]):
                    found[(slice(None), *place)] = np.quantile(column, QUANTILES)
        return dict(zip(QUANTILES, found, strict=True))


class _Counted:
    """Statistics of images so far: of 256 values, it is enough to count how often each comes."""

    def __init__(self, name: str, shape: tuple[int, ...]) -> None:
        self.name = name
        self._axes, self._kept = _layout(shape)
        self._counts = np.zeros((math.prod(self._kept), 256), np.int64)
        self._missing = 0

    def add(self, values: NDArray[Any]) -> None:
        """Take up some values, along the first axis; whole ones may be missing."""
        if values.dtype != np.uint8:
            there = ~np.isnan(values).any(tuple(range(1, values.ndim)))
            self._missing += int(np.count_nonzero(~there)) * math.prod(values.shape[1:])
            values = values[there].astype(np.uint8)
        channels = [axis for axis in range(values.ndim) if axis not in self._axes]
        apart = np.moveaxis(values, channels, range(len(channels)))
        for counts, channel in zip(self._counts, apart.reshape(len(self._counts), -1), strict=True):
            counts += np.bincount(channel, minlength=256)

    def finish(self) -> FieldStatistics:
        """Return what was found."""
        n = self._counts.sum(1)
        some, numbers = np.maximum(n, 1), np.arange(256.0)
        mean = self._counts @ numbers / some
        squares = (self._counts * (numbers - mean[:, None]) ** 2).sum(1)
        reach = self._counts.cumsum(1)
        low = np.array([np.searchsorted(row, 1) for row in reach])
        high = np.array([np.searchsorted(row, last) for row, last in zip(reach, n, strict=True)])
        missing = np.full(self._kept, self._missing // len(n))
        found = [np.where(n, x, np.nan) for x in (mean, np.sqrt(squares / some), low, high)]
        quantiles = {}
        for fraction in QUANTILES:
            found_there = np.where(n, _quantile(reach, fraction * (some - 1)), np.nan)
            quantiles[fraction] = found_there.reshape(self._kept)
        mean, std, low, high = (x.reshape(self._kept) for x in found)
        count = n.reshape(self._kept)
        return FieldStatistics(self.name, count, missing, mean, std, low, high, quantiles, True)


def _quantile(reach: NDArray[np.int64], places: Array) -> Array:
    """Return what is at some places among sorted numbers, given how many there are up to each."""
    below = np.floor(places)
    one, next_one = (
        np.array([np.searchsorted(row, k + 1) for row, k in zip(reach, at, strict=True)])
        for at in (below, np.ceil(places))
    )
    return np.asarray(one + (next_one - one) * (places - below))


def collect(records: Records, name: str, parts: Iterable[Rows]) -> Statistics:
    """Return the statistics of rows, which come in parts, ascending."""
    fields, skipped = _numbers(records)
    running = [(field, _running(records, field)) for field in fields]
    rows = 0
    chosen = np.zeros(len(records.episodes), np.bool_)
    for part in parts:
        rows += len(part)
        chosen[records.episode_of(part)] = True
        for field, statistics in running:
            for values in _values(records, field, part):
                statistics.add(values)
    table = records.episodes[chosen]
    returns, lengths = table["episode_return"], table["rows"] - 1
    return Statistics(
        name,
        rows,
        {statistics.name: statistics.finish() for _, statistics in running},
        skipped,
        _of("episode_return", returns),
        _of("episode_length", lengths),
        _histogram(returns),
        _histogram(lengths),
    )


def _running(records: Records, field: Field) -> _Running | _Counted:
    """Return what takes up a field's values."""
    wide = math.prod(field.shape) > MOST_ELEMENTS
    none = records.read(field, np.empty(0, np.int64)).data
    counted = wide and np.asarray(none).dtype == np.uint8
    return (_Counted if counted else _Running)(field.name, field.shape)


def _numbers(records: Records) -> tuple[list[Field], tuple[str, ...]]:
    """Return the fields of rows that hold numbers, and the names of the others."""
    fields, skipped = [], []
    for name in records.names():
        if name in LEFT_OUT:
            continue
        path, _ = parse(name, {})
        keys = path.keys if isinstance(path, Path) else ()
        try:
            field, _ = records.catalogue.lookup(tuple(k for k in keys if not isinstance(k, slice)))
        except LookupError:
            skipped.append(name)
            continue
        if field.kind == "text":
            skipped.append(name)
        else:
            fields.append(field)
    return fields, tuple(skipped)


def _values(records: Records, field: Field, rows: Rows) -> Iterator[NDArray[Any]]:
    """Iterate over a field's values, some rows at a time; what is missing is NaN."""
    size = max(1, MOST_KEPT // max(1, math.prod(field.shape)))
    for start in range(0, len(rows), size):
        values = records.read(field, rows[start : start + size])
        data = np.asarray(values.data)
        if values.present is not None and not values.present.all():
            data = data.astype(np.float64)
            data[~values.present] = np.nan
        yield data


def _layout(shape: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return over which axes of a batch of wide values to go, and the shape of what is left."""
    if len(shape) == 3 and shape[-1] <= MOST_CHANNELS:
        return (0, 1, 2), (shape[-1],)
    if len(shape) == 3 and shape[0] <= MOST_CHANNELS:
        return (0, 2, 3), (shape[0], 1, 1)
    return tuple(range(len(shape) + 1)), ()


def _of(name: str, values: NDArray[Any]) -> FieldStatistics:
    running = _Running(name, ())
    running.add(values)
    return running.finish()


def _histogram(values: NDArray[Any]) -> Histogram:
    finite = values[np.isfinite(values)].astype(np.float64)
    if not len(finite):
        return Histogram(np.zeros(0, np.int64), np.zeros(0))
    try:
        counts, edges = np.histogram(finite, BINS)
    except ValueError:
        # Too narrow or too wide for ranges that floats can tell apart.
        counts, edges = np.array([len(finite)]), np.array([finite.min(), finite.max()])
    return Histogram(counts, edges)


def _lines(field: FieldStatistics) -> list[tuple[str, ...]]:
    """Return the lines of a table about a field: one, or one for each of a few elements."""
    if field.mean.ndim == 0:
        median = field.quantiles[0.5] if field.quantiles else None
        numbers = (field.mean, field.std, field.min, median, field.max)
        return [(field.name, f"{field.count:,}", *map(_short, numbers))]
    shown = list(np.ndindex(field.mean.shape))[:FEW]
    lines = []
    for place in shown:
        median = field.quantiles[0.5][place] if field.quantiles else None
        several = [x[place] for x in (field.mean, field.std, field.min)]
        label = f"{field.name}[{', '.join(map(str, place))}]"
        lines.append(
            (label, f"{field.count[place]:,}", *map(_short, (*several, median, field.max[place])))
        )
    if field.mean.size > len(shown):
        lines.append((f"  and {field.mean.size - len(shown):,} more", *[""] * 6))
    return lines


def _short(number: Any) -> str:
    return "" if number is None or np.isnan(number) else f"{float(number):.4g}"


def _plain(value: Any) -> Any:
    """Return what JSON has in place of a value."""
    if isinstance(value, FieldStatistics | Histogram | Statistics):
        return {name: _plain(item) for name, item in vars(value).items()}
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value

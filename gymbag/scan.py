# SPDX-License-Identifier: LGPL-3.0-or-later
"""Looks for the rows that a condition selects, where it may select any."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from gymbag.conditions import Condition, Mask
from gymbag.records import Records, Rows, Span
from gymbag.storage.parallel import ordered

SCAN_ROWS = 1 << 17
"""Rows looked at together: enough to make NumPy's overhead small, few enough to fit in a cache."""


def scan(records: Records, condition: Condition) -> Iterator[Rows]:
    """Iterate over the selected rows, ascending, some at a time."""
    possible = condition.episodes(records)

    def ask(window: Span) -> Rows:
        rows = _rows_of(records, possible, window.start, window.stop)
        selected = np.flatnonzero(condition.mask(records, rows))
        return rows.start + selected if isinstance(rows, range) else rows[selected]

    for selected in ordered(ask, _windows(records, possible, condition.outlook(records).holds)):
        if len(selected):
            yield selected


def _windows(records: Records, episodes: Mask, stretches: Mask) -> list[Span]:
    """Return where to look for rows of those episodes, in parts of at most `SCAN_ROWS`.

    Args:
        records: the rows.
        episodes: which episodes can hold one that is selected.
        stretches: which stretches of rows can.
    """
    some, size = np.flatnonzero(episodes), records.stretch_rows
    marks = np.zeros(len(stretches) + 1, np.int64)
    np.add.at(marks, records.first_rows[some] // size, 1)
    np.add.at(marks, (records.end_rows[some] - 1) // size + 1, -1)
    wanted = np.flatnonzero((np.cumsum(marks)[:-1] > 0) & stretches)
    apart = (np.diff(wanted) > 1) | (wanted[1:] * size % SCAN_ROWS == 0)
    return [
        range(int(part[0]) * size, (int(part[-1]) + 1) * size)
        for part in np.split(wanted, np.flatnonzero(apart) + 1)
        if len(part)
    ]


def _rows_of(records: Records, possible: Mask, start: int, stop: int) -> Rows | Span:
    """Return the rows between two that are of those episodes."""
    stop = min(stop, records.rows)
    first = int(records.episode_of(np.array([start]))[0])
    last = int(records.episode_of(np.array([stop - 1]))[0])
    there = np.flatnonzero(possible[first : last + 1])
    begin = np.maximum(records.first_rows[first : last + 1], start)
    end = np.minimum(records.end_rows[first : last + 1], stop)
    if there[-1] - there[0] + 1 == len(there):
        return range(int(begin[there[0]]), int(end[there[-1]]))
    return start + np.flatnonzero(np.repeat(possible[first : last + 1], end - begin))

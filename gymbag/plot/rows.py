# SPDX-License-Identifier: LGPL-3.0-or-later
"""Plots of what happens inside episodes, step by step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gymbag.bins import Values, bins, drawable, whole
from gymbag.plot.axes import (
    LINES,
    axes_or_new,
    describe,
    legend,
    numbers,
    say_nothing,
    selected,
    whole_ticks,
)
from gymbag.selection import Selection
from gymbag.store import Store

if TYPE_CHECKING:
    from matplotlib.axes import Axes

POINTS = 500
"""Of more steps, neighbours are put together."""
BARS = 24
"""Of a wider range of whole numbers, several are in one bin."""
FEW = 60
"""Of fewer steps, each is marked."""


def rewards(source: Store | Selection, *, ax: Axes | None = None) -> Axes:
    """Plot the mean reward at each step of the episodes, and a band that has four of five rewards.

    Args:
        source: a Store or a Selection; the selected rows count.
        ax: where to draw.

    >>> from gymbag import plot
    >>> plot.rewards(store).get_xlabel()
    'step'
    """
    selection = selected(source)
    acted = selection.where("step > 0")
    [values] = numbers(acted, "reward").values()
    keep = np.isin(values, drawable(values))
    steps, values = acted["step"][keep].astype(np.int64), values[keep]
    axes = axes_or_new(ax)
    if not len(values):
        say_nothing(axes, selection)
        return axes
    together = -(-int(steps.max()) // POINTS)
    places = (steps - 1) // together
    order = np.lexsort((values, places))
    places, values = places[order], values[order]
    there, first, counts = np.unique(places, return_index=True, return_counts=True)
    x = there * together + (together + 1) / 2
    low, high = (values[first + ((counts - 1) * part).astype(int)] for part in (0.1, 0.9))
    axes.fill_between(x, low, high, alpha=0.2, linewidth=0, label="10 to 90 % of them")
    axes.plot(x, np.add.reduceat(values, first) / counts, label="mean", **_marks(len(x)))
    legend(axes)
    whole_ticks(axes, x=True)
    describe(axes, selection, "step" if together == 1 else f"step, by {together}", "reward")
    return axes


def episode(source: Store | Selection, number: int, *fields: str, ax: Axes | None = None) -> Axes:
    """Plot fields of one episode, step by step; "reward" if none is named.

    Args:
        source: a Store; or a Selection, of which only the selected rows are shown.
        number: that of the episode.
        *fields: paths, as a question would name them, such as ``"observation[2]"``, ``"action"``
            or ``"info.lives"``; ``"observation"`` has a line for each of its numbers.
        ax: where to draw.

    Raises:
        IndexError: there is no such episode.
        ValueError: something is no number, or there are too many lines.

    >>> from gymbag import plot
    >>> axes = plot.episode(store, 0, "observation[0]", "observation[2]")
    >>> [line.get_label() for line in axes.lines]
    ['observation[0]', 'observation[2]']
    """
    rows = selected(source).where("episode == number", number=number)
    if not rows:
        raise IndexError(f"episode {number}: there is none, or none of its rows is selected")
    lines: dict[str, tuple[NDArray[Any], Values]] = {}
    for field in fields or ("reward",):
        # A reset has no action and no reward.
        acts = field.startswith(("action", "reward"))
        shown = rows.where("step > 0") if acts else rows
        steps = shown["step"]
        lines |= {name: (steps, values) for name, values in numbers(shown, field).items()}
    if len(lines) > LINES:
        raise ValueError(f"found {len(lines)} lines; expected at most {LINES} in one plot")
    axes = axes_or_new(ax)
    for name, (steps, values) in lines.items():
        axes.plot(steps, values, label=name, **_marks(len(steps)))
    alone = next(iter(lines)) if len(lines) == 1 else "value"
    if len(lines) > 1:
        legend(axes, sum(len(steps) for steps, _ in lines.values()))
    whole_ticks(axes, x=True)
    describe(axes, rows, "step", alone, f"episode {number}")
    return axes


def actions(
    source: Store | Selection, *, names: Sequence[str] = (), ax: Axes | None = None
) -> Axes:
    """Plot how often which actions were taken; of vectors, how often which value of each part.

    Args:
        source: a Store or a Selection; the selected rows count, but for those of resets.
        names: what the actions 0, 1, ... are called, if they are such numbers.
        ax: where to draw.

    Raises:
        ValueError: the actions are no numbers, or have too many parts.

    >>> from gymbag import plot
    >>> axes = plot.actions(store, names=("left", "right"))
    """
    selection = selected(source)
    parts = numbers(selection.where("step > 0"), "action")
    every = drawable(np.concatenate(list(parts.values())))
    axes = axes_or_new(ax)
    if not len(every):
        say_nothing(axes, selection)
        return axes
    single = whole(every) and float(np.ptp(every)) < BARS
    edges = np.arange(every.min(), every.max() + 2) - 0.5 if single else bins(every)[0]
    width = 0.8 / len(parts)
    for place, (name, values) in enumerate(parts.items()):
        found = drawable(values)
        shares = 100 * np.histogram(found, edges)[0] / max(1, len(found))
        if single:
            middle = edges[:-1] + 0.5 + (place - (len(parts) - 1) / 2) * width
            axes.bar(middle, shares, width, label=name)
        else:
            axes.stairs(shares, edges, label=name, fill=len(parts) == 1)
    if single:
        values_there = (edges[:-1] + 0.5).astype(int).tolist()
        called = dict(enumerate(names))
        axes.set_xticks(values_there, [called.get(value, str(value)) for value in values_there])
    if len(parts) > 1:
        legend(axes)
    describe(axes, selection, "action", "steps, %")
    return axes


def _marks(points: int) -> dict[str, Any]:
    """Return how a line shows that it is made of few points."""
    return {"marker": "."} if points < FEW else {}

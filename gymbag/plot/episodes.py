# SPDX-License-Identifier: LGPL-3.0-or-later
"""Plots of episodes as wholes, and of how often values come."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gymbag.bins import Values, bins, drawable, whole
from gymbag.plot.axes import (
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

MANY = 300
"""Of more episodes, the points are faint."""
OF_EPISODES = {"episode_return": "return", "episode_length": "length, steps"}
LABELS = {**OF_EPISODES, "time": "Unix time, s"}


def returns(
    source: Store | Selection, *, window: int | None = None, ax: Axes | None = None
) -> Axes:
    """Plot the return of each episode, and the running mean.

    Args:
        source: a Store; or a Selection, of which whole episodes are shown.
        window: the mean is that of so many episodes up to each; None for a twentieth of them all.
        ax: where to draw.

    >>> from gymbag import plot
    >>> plot.returns(store, window=10).get_ylabel()
    'return'
    """
    return _over_episodes(source, "episode_return", window, ax)


def lengths(
    source: Store | Selection, *, window: int | None = None, ax: Axes | None = None
) -> Axes:
    """Plot how many steps each episode has, and the running mean; see `returns`."""
    return _over_episodes(source, "episode_length", window, ax)


def histogram(
    source: Store | Selection, field: str = "episode_return", *, ax: Axes | None = None
) -> Axes:
    """Plot how often which values come, and their mean.

    Args:
        source: a Store or a Selection.
        field: the path of a number, as a question would name it. Of ``"episode_return"`` and
            ``"episode_length"`` each episode counts once; of others each selected row does, but
            for the action and the reward of a reset. What is missing or infinite is left out.
        ax: where to draw.

    Raises:
        ValueError: it is no field of single numbers.

    >>> from gymbag import plot
    >>> plot.histogram(store, "observation[2]").get_ylabel()
    'rows'
    """
    selection = selected(source)
    if field in OF_EPISODES:
        values = _of_episodes(selection, field)[1]
    else:
        acts = field.startswith(("action", "reward"))
        [values] = numbers(selection.where("step > 0") if acts else selection, field, 1).values()
    axes = axes_or_new(ax)
    found = drawable(values)
    if not len(found):
        say_nothing(axes, selection)
        return axes
    edges, counts = bins(found)
    axes.bar(edges[:-1], counts, np.diff(edges), align="edge", edgecolor="white", linewidth=0.5)
    mean = float(np.sum(found / len(found)))
    axes.axvline(mean, color="C1", label=f"mean {mean:.4g}")
    legend(axes)
    whole_ticks(axes, x=whole(found), y=True)
    label = LABELS.get(field, field)
    describe(axes, selection, label, "episodes" if field in OF_EPISODES else "rows")
    return axes


def _over_episodes(
    source: Store | Selection, field: str, window: int | None, ax: Axes | None
) -> Axes:
    if window is not None and window < 1:
        raise ValueError(f"window={window}: expected at least 1")
    selection = selected(source)
    places, values = _of_episodes(selection, field)
    window = max(1, len(values) // 20) if window is None else window
    axes = axes_or_new(ax)
    if not len(values):
        say_nothing(axes, selection)
        return axes
    faint = 0.25 if len(values) > MANY else 0.7
    label = None if window == 1 else "one episode"
    axes.plot(places, values, ".", alpha=faint, markeredgewidth=0, rasterized=True, label=label)
    if window > 1:
        mean = running_mean(values, window)
        axes.plot(places, mean, color="C1", label=f"mean of the last {window:,}")
        legend(axes, len(values))
    whole_ticks(axes, x=True, y=field == "episode_length")
    describe(axes, selection, "episode", OF_EPISODES[field])
    return axes


def _of_episodes(selection: Selection, field: str) -> tuple[Values, Values]:
    """Return the numbers of the episodes, and a value of each that a plot has a place for."""
    found = [(episode.id, getattr(episode, field)) for episode in selection.episodes()]
    table = np.array(found, np.float64).reshape(-1, 2)
    table = table[np.isin(table[:, 1], drawable(table[:, 1]))]
    return table[:, 0], table[:, 1]


def running_mean(values: Values, window: int) -> Values:
    """Return the mean of up to so many values up to each.

    >>> running_mean(np.array([1.0, 3.0, 5.0]), 2)
    array([1., 2., 4.])
    """
    sums = np.concatenate([[0.0], np.cumsum(values)])
    ends = np.arange(1, len(values) + 1)
    starts = np.maximum(0, ends - window)
    means: Values = (sums[ends] - sums[starts]) / (ends - starts)
    return means

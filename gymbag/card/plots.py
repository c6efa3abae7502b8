# SPDX-License-Identifier: LGPL-3.0-or-later
"""Plots as SVG, made of numbers and of nothing else: pure, and the same each time.

Colours and sizes of text are those of the page's style sheet.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from gymbag.bins import BINS, TALLEST, Values, bins, drawable, nice_step, whole, widened
from gymbag.card.text import escape, number, plural, tick

WIDTH, HEIGHT = 520, 220
LEFT, RIGHT, TOP, BOTTOM = 52, 12, 12, 30
POINTS = 120
WIDEST = 56
"""Of a bar; a few are not made to fill the plot."""


def ticks(low: float, high: float, parts: int = 5, least: float = 0.0) -> list[float]:
    """Return the round numbers on an axis, no two nearer than the least distance.

    >>> ticks(0, 97), ticks(0, 3, least=1)
    ([0.0, 20.0, 40.0, 60.0, 80.0], [0.0, 1.0, 2.0, 3.0])
    """
    step = max(nice_step(high - low, parts), least)
    return [n * step + 0.0 for n in range(math.ceil(low / step), math.floor(high / step) + 1)]


def histogram(values: Sequence[float] | Values, unit: str) -> str:
    """Return how often which values come.

    Args:
        values: those that are no finite numbers are left out.
        unit: what stands below the axis.
    """
    found = drawable(values)
    if not len(found):
        return nothing(unit)
    edges, counts = bins(found)
    axes = _Axes(float(edges[0]), float(edges[-1]), 0.0, float(counts.max()))
    parts = [axes.grid(unit, float(whole(found)), 1.0)]
    for left, right, count in zip(edges[:-1], edges[1:], counts.tolist(), strict=True):
        if count:
            x, y = (axes.x(left) + axes.x(right)) / 2, axes.y(count)
            width = min(WIDEST, max(1.0, axes.x(right) - axes.x(left) - 1.5))
            where = number(left + 0.5) if left % 1 == 0.5 else f"{number(left)} to {number(right)}"
            about = f"{where}: {plural(count, 'episode')}"
            parts.append(
                f'<rect class="bar" x="{x - width / 2:.1f}" y="{y:.1f}" width="{width:.1f}" '
                f'height="{axes.y(0) - y:.1f}" rx="1.5"><title>{about}</title></rect>'
            )
    mean = float(np.sum(found / len(found)))
    x = axes.x(mean)
    parts.append(
        f'<line class="mean" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{axes.y(0):.1f}">'
        f"<title>mean {number(mean)}</title></line>"
    )
    return _svg(parts, f"{unit}: histogram of {len(found):,} episodes, mean {number(mean)}")


def curve(values: Sequence[float] | Values, label: str, weights: Values | None = None) -> str:
    """Return how values change from the first to the last, and how far they spread.

    The line is the mean of neighbours, if there are more than fit; the band reaches from the
    lowest to the highest of them.

    Args:
        values: one for each episode.
        label: what they are, for those who do not see it.
        weights: what to weigh each by in the means; all the same if None.
    """
    given = np.asarray(values, np.float64)
    keep = np.isfinite(given) & (np.abs(given) <= TALLEST)
    if not keep.any():
        return nothing("episode")
    found, places = given[keep], np.flatnonzero(keep)
    weighed = np.ones(len(found)) if weights is None else weights[keep].astype(np.float64)
    runs = np.array_split(np.arange(len(found)), min(POINTS, len(found)))
    points = [
        (
            float(places[run].mean()),
            float(found[run].min()),
            float(np.sum(found[run] * (weighed[run] / max(weighed[run].sum(), 1e-300)))),
            float(found[run].max()),
        )
        for run in runs
    ]
    low, high = widened(min(p[1] for p in points), max(p[3] for p in points))
    step = nice_step(high - low, 5)
    bottom, top = math.floor(low / step) * step, math.ceil(high / step) * step
    axes = _Axes(*widened(0.0, float(len(given) - 1)), bottom, top)
    parts = [axes.grid("episode", 1.0, 0.0)]
    if len(found) > len(points):
        there = [f"{axes.x(x):.1f},{axes.y(most):.1f}" for x, _, _, most in points]
        back = [f"{axes.x(x):.1f},{axes.y(least):.1f}" for x, least, _, _ in reversed(points)]
        parts.append(f'<polygon class="band" points="{" ".join([*there, *back])}"/>')
    line = [(axes.x(x), axes.y(middle)) for x, _, middle, _ in points]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in line)
    parts.append(f'<polyline class="line" points="{path}"/>')
    if len(line) <= BINS:
        parts += [f'<circle class="dot" cx="{x:.1f}" cy="{y:.1f}" r="2.5"/>' for x, y in line]
    return _svg(parts, f"{label}, from episode to episode, {number(low)} to {number(high)}")


def shares(counts: Mapping[str, int]) -> str:
    """Return what part each count has of all, as one bar; the style sheet colours each by name."""
    total = sum(counts.values())
    if not total:
        return ""
    x, parts = 0.0, []
    for name, count in counts.items():
        width = WIDTH * 2 * count / total
        parts.append(
            f'<rect class="{escape(name)}" x="{x:.1f}" y="0" width="{width:.1f}" '
            f'height="16"><title>{escape(name)}: {count:,}</title></rect>'
        )
        x += width
    label = ", ".join(f"{count:,} {name}" for name, count in counts.items())
    return (
        f'<svg class="shares" viewBox="0 0 {WIDTH * 2} 16" preserveAspectRatio="none" role="img" '
        f'aria-label="{escape(label)}">{"".join(parts)}</svg>'
    )


def nothing(label: str) -> str:
    """Return a plot that says that there is nothing to see."""
    text = (
        f'<text class="tick" x="{WIDTH / 2}" y="{HEIGHT / 2}" text-anchor="middle">no data</text>'
    )
    return _svg([text], f"{label}: no data")


class _Axes:
    """Where numbers are in a plot."""

    def __init__(self, left: float, right: float, bottom: float, top: float) -> None:
        self.left, self.right, self.bottom, self.top = left, right, bottom, top

    def x(self, value: float) -> float:
        """Return how far to the right a number is."""
        return LEFT + (value - self.left) / (self.right - self.left) * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        """Return how far down a number is."""
        part = (value - self.bottom) / (self.top - self.bottom)
        return HEIGHT - BOTTOM - part * (HEIGHT - TOP - BOTTOM)

    def grid(self, unit: str, least_x: float, least_y: float) -> str:
        """Return lines and numbers at round places, no nearer than these distances."""
        parts = []
        for value in ticks(self.bottom, self.top, least=least_y):
            y = self.y(value)
            parts.append(
                f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
                f'<text class="tick" x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">'
                f"{tick(value)}</text>"
            )
        below = HEIGHT - BOTTOM + 18
        for value in ticks(self.left, self.right, 6, least_x):
            x = self.x(value)
            # The unit stands at the right end.
            if x < WIDTH - RIGHT - 8 * len(unit) - 24:
                parts.append(
                    f'<text class="tick" x="{x:.1f}" y="{below}" text-anchor="middle">'
                    f"{tick(value)}</text>"
                )
        parts.append(
            f'<text class="tick unit" x="{WIDTH - RIGHT}" y="{below}" text-anchor="end">'
            f"{escape(unit)}</text>"
        )
        return "".join(parts)


def _svg(parts: Sequence[str], label: str) -> str:
    return (
        f'<svg class="plot" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{escape(label)}">{"".join(parts)}</svg>'
    )

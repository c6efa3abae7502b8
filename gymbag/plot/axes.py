# SPDX-License-Identifier: LGPL-3.0-or-later
"""What all plots have in common: rows to show, numbers of theirs, and axes to show them in."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from gymbag.bins import Values
from gymbag.errors import GymbagError
from gymbag.selection import Selection
from gymbag.store import Store

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SIZE = 6.4, 3.6
"""Of a new figure, in inches."""
LINES = 12
"""The most lines, or bars side by side, in one plot."""
MANY_POINTS = 20_000
TITLE = 60
"""The most characters of a question that a title shows."""


def selected(source: Any) -> Selection:
    """Return the rows to show.

    Raises:
        TypeError: it is no Store and no Selection.
    """
    if isinstance(source, Store):
        return source.all()
    if isinstance(source, Selection):
        return source
    raise TypeError(
        f"found a {type(source).__name__}; expected what gymbag.open or its where returns"
    )


def numbers(selection: Selection, field: str, most: int = LINES) -> dict[str, Values]:
    """Return a field's numbers by their names, an entry for each row; NaN where there is none.

    Raises:
        ValueError: they are no numbers, or more than so many a row.
    """
    rows = selection.rows
    read = selection._records.column
    # One row tells what they are: those of all may be more than there is memory for.
    found = np.ma.asarray(first) if isinstance(first := read(field, rows[:1]), np.ndarray) else None
    if found is None or found.dtype.kind not in "biuf":
        raise ValueError(
            f"{field}: found no numbers; expected a field of some, as `columns` of the store names"
        )
    shape = found.shape[1:]
    names = {f"{field}[{', '.join(map(str, index))}]": index for index in np.ndindex(shape)}
    if prod(shape) > most:
        raise ValueError(
            f"{field}: found {prod(shape):,} numbers a row; expected at most {most}: name one, "
            f"such as {next(iter(names))}; plot.frames shows images"
        )
    values = np.ma.filled(np.ma.asarray(read(field, rows)).astype(np.float64), np.nan)
    if not shape:
        return {field: values}
    return {name: values[(slice(None), *index)] for name, index in names.items()}


def axes_or_new(ax: Axes | None, size: tuple[float, float] = SIZE) -> Axes:
    """Return the axes given, or those of a new figure, which pyplot does not know.

    Raises:
        GymbagError: matplotlib is not installed.
    """
    if ax is not None:
        return ax
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise GymbagError(
            "gymbag.plot: needs matplotlib; run: pip install 'gymbag[plot]'"
        ) from error
    axes: Axes = Figure(figsize=size, layout="constrained").subplots()
    axes.spines[["top", "right"]].set_visible(False)
    return axes


def describe(axes: Axes, selection: Selection, x: str, y: str, about: str = "") -> None:
    """Say what is shown, and what the axes are."""
    question = "" if selection._text == "True" else selection._text
    if len(question) > TITLE:
        question = f"{question[: TITLE - 1]}…"
    # Who has a dollar sign in a name wants no formula.
    title = ": ".join(filter(None, (selection.name, about or question))).replace("$", r"\$")
    axes.set_title(title, fontsize="medium")
    axes.set_xlabel(x)
    axes.set_ylabel(y)


def say_nothing(axes: Axes, selection: Selection) -> None:
    """Say that there is nothing to draw."""
    describe(axes, selection, "", "")
    axes.text(0.5, 0.5, "nothing to show", ha="center", transform=axes.transAxes)
    axes.set_axis_off()


def legend(axes: Axes, points: int = 0) -> None:
    """Say what is what, where there is the most room; with many points, finding that takes long."""
    place = "best" if points <= MANY_POINTS else "upper left"
    axes.legend(frameon=False, fontsize="small", loc=place)


def whole_ticks(axes: Axes, *, x: bool = False, y: bool = False) -> None:
    """Have ticks at whole numbers only."""
    if x:
        axes.locator_params(axis="x", integer=True)
    if y:
        axes.locator_params(axis="y", integer=True)

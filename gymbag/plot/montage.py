# SPDX-License-Identifier: LGPL-3.0-or-later
"""Images from all over a recording, side by side."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gymbag.images import find_image
from gymbag.plot.axes import SIZE, axes_or_new, describe, say_nothing, selected
from gymbag.selection import Selection
from gymbag.store import Store

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDEST = 480
"""Pixels of an image along its longer side, at most."""
TEXT = 0.2
"""Height of a line of text, in inches."""
TALLEST = 12.0
"""Of a new figure, in inches."""


def frames(
    source: Store | Selection, count: int = 12, *, columns: int = 4, ax: Axes | None = None
) -> Axes:
    """Show images from all over the selected rows, in their order, with episode and step.

    Args:
        source: a Store or a Selection whose observations are, or hold, images: uint8, of shape
            (H, W), (H, W, 1) or (H, W, 3).
        count: the most images.
        columns: how many stand side by side.
        ax: where to draw.

    Raises:
        ValueError: the observations hold no image; or a number is less than 1.
    """
    if count < 1 or columns < 1:
        raise ValueError(f"count={count}, columns={columns}: expected at least 1 of each")
    selection = selected(source)
    shown = list(_images(selection, count))
    if not shown:
        axes = axes_or_new(ax)
        say_nothing(axes, selection)
        return axes
    height, width = (max(image.shape[side] for image, _ in shown) for side in (0, 1))
    across = min(columns, len(shown))
    down = -(-len(shown) // across)
    gap = -(-width // 40)
    text = round(TEXT * across * (width + gap) / SIZE[0])
    sheet = np.full((down * (text + height), across * (width + gap) - gap, 3), 255, np.uint8)
    inches = SIZE[0] * sheet.shape[0] / sheet.shape[1] + 2 * TEXT
    axes = axes_or_new(ax, (SIZE[0], min(TALLEST, inches)))
    for place, (image, about) in enumerate(shown):
        top, left = place // across * (text + height) + text, place % across * (width + gap)
        sheet[top : top + image.shape[0], left : left + image.shape[1]] = image
        axes.text(left, top - text / 4, about, fontsize="x-small")
    axes.imshow(sheet)
    axes.set_axis_off()
    describe(axes, selection, "", "")
    return axes


def _images(selection: Selection, count: int) -> Iterator[tuple[NDArray[np.uint8], str]]:
    """Iterate over images, and where each is from."""
    records, rows = selection._records, selection.rows
    if len(rows) > count:
        rows = rows[np.linspace(0, len(rows) - 1, count).round().astype(np.int64)]
    places = zip(records.episode_of(rows).tolist(), rows.tolist(), strict=True)
    for (number, row), step in zip(places, records.steps(rows), strict=True):
        image = find_image(step.observation)
        if image is None or not image.size:
            raise ValueError(
                "plot.frames: the observations hold no image; expected uint8, of (H, W, 3) or "
                "(H, W), in them"
            )
        stride = -(-max(image.shape) // WIDEST)
        at = row - int(records.first_rows[number])
        yield image[::stride, ::stride], f"episode {number}, step {at}"

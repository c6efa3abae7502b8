# SPDX-License-Identifier: LGPL-3.0-or-later
"""Images shown in the terminal: each character is two pixels, one above the other."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import lru_cache
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.color import Color
from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.segment import Segment
from rich.style import Style
from rich.text import Text

from gymbag.cli.environments import polite_interrupt
from gymbag.errors import GymbagError

UPPER_HALF = "▀"
NAP = 0.05
"""Seconds until Ctrl-C is noticed, at most."""
SHARPNESS = 4
"""Of so many pixels in a row, at least, is each shown one the mean."""


class Terminal:
    """Shows frames where the last one was, at their pace.

    A context: the terminal is as it was when it is left.

    Args:
        fps: images a second, at most.
        console: the terminal; standard output if None.

    Raises:
        GymbagError: it is no terminal, or one without colours.
    """

    def __init__(self, fps: int, console: Console | None = None) -> None:
        self._console = console or Console()
        if not self._console.is_terminal:
            raise GymbagError(
                "--terminal: standard output is no terminal; expected one, or write a file with "
                "--gif or --video"
            )
        if self._console.color_system is None or self._console.no_color:
            raise GymbagError(
                "--terminal: no colours; expected a terminal with some, as TERM=xterm-256color "
                "says, and no NO_COLOR"
            )
        self._live = Live(
            console=self._console, auto_refresh=False, transient=True, vertical_overflow="crop"
        )
        self._open = ExitStack()
        self._interrupted: Callable[[], bool] = lambda: False
        self._pause = 1 / fps
        self._due = 0.0
        self._frames = 0

    def add(self, frame: Any, status: str = "") -> None:
        """Show a frame, and a line of text below.

        Raises:
            GymbagError: the observations are no images.
            KeyboardInterrupt: Ctrl-C was pressed; no frame is left half drawn.
        """
        if frame is None:
            raise GymbagError(
                "--terminal: the observations hold no image; leave it out to print a line for each "
                "episode, or see the numbers: gymbag query FILE 'episode == 0'"
            )
        while (left := self._due - time.monotonic()) > 0 and not self._interrupted():
            time.sleep(min(left, NAP))
        if self._interrupted():
            raise KeyboardInterrupt
        self._due = max(self._due, time.monotonic()) + self._pause
        self._live.update(_Shown(frame, status), refresh=True)
        self._frames += 1

    def save(self) -> str:
        """Return a line about what was shown."""
        return f"{self._frames:,} frame{'s' * (self._frames != 1)} shown"

    def __enter__(self) -> Terminal:
        self._interrupted = self._open.enter_context(polite_interrupt())
        self._open.enter_context(self._live)
        return self

    def __exit__(self, *error: object) -> None:
        self._open.close()


class _Shown:
    """A frame as large as the terminal lets it be, and a line."""

    def __init__(self, frame: NDArray[np.uint8], status: str) -> None:
        self._frame = frame
        self._status = status

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        # One line for the text, and one below it for the cursor.
        pixels = fit(self._frame, 2 * max(1, console.height - 2), options.max_width)
        for above, below in zip(pixels[::2].tolist(), pixels[1::2].tolist(), strict=True):
            cells = zip(map(tuple, above), map(tuple, below), strict=True)
            for colours, run in groupby(cells):
                yield Segment(UPPER_HALF * len(list(run)), _style(*colours))
            yield Segment.line()
        yield Text(self._status, no_wrap=True, overflow="ellipsis")


def fit(frame: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """Return an image as large as there is room, in its proportions, of an even height.

    A larger image is made smaller by means; of a smaller one each pixel is repeated.

    Args:
        frame: uint8 (H, W, 3).
        height: how many pixels there is room for.
        width: likewise.

    >>> fit(np.zeros((210, 160, 3), np.uint8), 44, 80).shape
    (44, 34, 3)
    >>> fit(np.zeros((7, 10, 3), np.uint8), 44, 80).shape
    (42, 60, 3)
    """
    high, wide = frame.shape[:2]
    if not frame.size:
        return np.zeros((2, 1, 3), np.uint8)
    scale = min(height / high, width / wide)
    if scale >= 1:
        shown = frame.repeat(int(scale), axis=0).repeat(int(scale), axis=1)
    else:
        for axis, size in enumerate((high, wide)):
            frame = _shrink(frame, axis, max(1, round(size * scale)))
        shown = frame
    return np.pad(shown, ((0, len(shown) % 2), (0, 0), (0, 0)))


def _shrink(frame: NDArray[np.uint8], axis: int, size: int) -> NDArray[np.uint8]:
    """Return the means of pixels that follow one another along an axis."""
    frame = np.take(frame, range(0, frame.shape[axis], _stride(frame.shape[axis], size)), axis)
    edges = np.arange(size) * frame.shape[axis] // size
    sums = np.add.reduceat(frame, edges, axis=axis, dtype=np.uint32)
    counts = np.diff([*edges, frame.shape[axis]])
    others = [other for other in range(3) if other != axis]
    means: NDArray[np.uint32] = sums // np.expand_dims(counts, others)
    return means.astype(np.uint8)


def _stride(pixels: int, size: int) -> int:
    """Return how many pixels to go on each time: of a huge image, the mean of some will do."""
    return max(1, pixels // (SHARPNESS * size))


@lru_cache(maxsize=1 << 14)
def _style(above: tuple[int, int, int], below: tuple[int, int, int]) -> Style:
    return Style(color=Color.from_rgb(*above), bgcolor=Color.from_rgb(*below))

# SPDX-License-Identifier: LGPL-3.0-or-later
"""How the numbers of rows, blocks and chunks follow one another. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.int64]


def as_slice(rows: Numbers) -> slice | Numbers:
    """Return rows that follow one another as a slice, which NumPy copies sooner.

    >>> as_slice(np.array([4, 5, 6])), as_slice(np.array([5, 4]))
    (slice(4, 7, None), array([5, 4]))
    """
    return slice(int(rows[0]), int(rows[-1]) + 1) if follow(rows) else rows


def follow(rows: Numbers) -> bool:
    """Return whether each row is the one after that before it."""
    return int(rows[-1]) - int(rows[0]) + 1 == len(rows) and bool((rows[1:] > rows[:-1]).all())


def alike(numbers: Numbers) -> list[tuple[int, int]]:
    """Return where runs of one number begin and end.

    >>> alike(np.array([4, 4, 2]))
    [(0, 2), (2, 3)]
    """
    cuts = np.flatnonzero(numbers[1:] != numbers[:-1]) + 1
    return list(pairwise([0, *cuts.tolist(), len(numbers)]))


def in_blocks(rows: Numbers, size: int, places: Numbers) -> Iterator[tuple[int, int, bool]]:
    """Iterate over runs of rows: of whole blocks that follow one another, or inside one block.

    Args:
        rows: ascending.
        size: rows of a block.
        places: where each is to go; those of whole blocks follow one another, too.

    Returns:
        Where a run begins and ends, and whether it is of whole blocks.

    >>> list(in_blocks(np.array([3, 4, 5, 6, 7, 8, 8]), 2, np.arange(7)))
    [(0, 1, False), (1, 5, True), (5, 7, False)]
    """
    if len(rows) != size and rows[0] // size == rows[-1] // size:
        return iter([(0, len(rows), False)])
    goes_on = (np.diff(rows) == 1) & (np.diff(places) == 1)
    breaks = np.concatenate([[0], np.cumsum(~goes_on)])
    bounds = np.array(alike(rows // size))
    start, stop = bounds[:, 0], bounds[:, 1]
    whole = (stop - start == size) & (breaks[start] == breaks[stop - 1])
    apart = ~(whole[1:] & whole[:-1] & goes_on[start[1:] - 1])
    first = np.flatnonzero(np.concatenate([[True], apart]))
    last = np.append(first[1:], len(start)) - 1
    return zip(start[first].tolist(), stop[last].tolist(), whole[first].tolist(), strict=True)


def ranges(numbers: Sequence[int], most: int) -> list[range]:
    """Return ascending numbers as ranges, each of `most` at most.

    >>> ranges([1, 2, 3, 7], 2)
    [range(1, 3), range(3, 4), range(7, 8)]
    """
    found: list[range] = []
    for number in numbers:
        if found and found[-1].stop == number and len(found[-1]) < most:
            found[-1] = range(found[-1].start, number + 1)
        else:
            found.append(range(number, number + 1))
    return found

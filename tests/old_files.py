# SPDX-License-Identifier: LGPL-3.0-or-later
"""Files as gymbag 0.4.9 would have written them, and what of them damage leaves alone."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tables

from gymbag import formats
from gymbag.storage.look import ScannedLeaf, look

DATA = Path(__file__).parent / "data"
BOTH = NAME, OTHER = "CartPole-v1", "Other"
CHUNK_ROWS = 16


def rewritten(path: Path, change: Callable[[Any], Any], names: Sequence[str] = BOTH) -> None:
    filters = tables.Filters(complevel=2, complib="blosc:zstd")
    with (
        warnings.catch_warnings(),
        tables.open_file(DATA / "gymbag-0.4.9-cartpole.h5") as old,
        tables.open_file(path, "w", filters=filters) as new,
    ):
        warnings.simplefilter("ignore", tables.NaturalNameWarning)
        table = old.root[NAME]
        for name in names:
            copy = new.create_table("/", name, table.description, chunkshape=(CHUNK_ROWS,))
            for attribute in ("gymbag_format", "observation_space", "action_space"):
                setattr(copy.attrs, attribute, getattr(table.attrs, attribute))
            copy.append(change(table[:]) if name == NAME else table[:])


def texts(path: Path, name: str = NAME) -> list[str]:
    """Return all that each episode holds, as text that is equal if it is."""
    source = formats.read(path, name=name)
    try:
        return [repr((str(e.ended), list(map(tuple, e.steps())))) for e in source.iter_episodes()]
    finally:
        getattr(source, "close", lambda: None)()


def leaf_of(path: Path, name: str = NAME) -> ScannedLeaf:
    return next(leaf for leaf in look(path).leaves if leaf.path == (name,))


def rows_of(path: Path, name: str = NAME) -> list[range]:
    """Return which rows each episode has."""
    lengths = [e.episode_length + 1 for e in formats.read(path, name=name).iter_episodes()]
    ends = np.cumsum(lengths).tolist()
    return [range(end - length, end) for end, length in zip(ends, lengths, strict=True)]


def untouched(good: Path, numbers: set[int]) -> list[str]:
    """Return the episodes that have no rows in some chunks."""
    return [
        text
        for rows, text in zip(rows_of(good), texts(good), strict=True)
        if not numbers.intersection(row // CHUNK_ROWS for row in rows)
    ]


def spoil(path: Path, good: Path, *places: tuple[int, bytes]) -> Path:
    data = bytearray(good.read_bytes())
    for offset, new in places:
        data[offset : offset + len(new)] = new
    path.write_bytes(data)
    return path

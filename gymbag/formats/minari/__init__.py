# SPDX-License-Identifier: LGPL-3.0-or-later
"""Data sets of Minari's: folders of a ``metadata.json`` and HDF5, Arrow or Parquet files.

Reading needs no Minari, and executes nothing: no environment is made of a spec, and the files
are read in a process of its own. Writing makes the HDF5 layout, for ``minari.load_dataset``.
Both take ``pip install 'gymbag[minari]'``.

What each side cannot keep is said on conversion; see `FORMAT.lacks` and `write`.

>>> folder = Path(filename).with_name("cartpole-v0")
>>> gymbag.convert(filename, folder, target_format="minari")[0]
'time: not kept by this format'
>>> read(folder, None)  # doctest: +ELLIPSIS
<MinariSource 'CartPole-v1' in '...'>
"""

from __future__ import annotations

from pathlib import Path

from gymbag.formats.format import Format
from gymbag.formats.minari.metadata import read_metadata, sniff, text
from gymbag.formats.minari.source import MinariSource
from gymbag.formats.minari.writer import write

__all__ = ["FORMAT", "MinariSource", "names", "read", "sniff", "write"]


def names(path: Path) -> list[str]:
    """Return the id of its one data set."""
    return [text(read_metadata(path)[1], "dataset_id", path.name)]


def read(path: Path, name: str | None) -> MinariSource:
    """Read the folder; it holds one data set, so the name does not matter."""
    return MinariSource(path)


FORMAT = Format(
    "minari",
    (),
    sniff,
    names,
    read,
    write,
    lacks=(
        "Minari keeps no times",
        "Minari does not tell an episode that its user cut off from one that was truncated",
    ),
)

# SPDX-License-Identifier: LGPL-3.0-or-later
"""Which data sets a file holds; and the names of the lanes of a vector of environments.

Each environment of a vector is recorded into a data set of its own, as if it were alone. That of
lane 3 of ``CartPole-v1`` is called ``CartPole-v1 [3]``; read they are one.
"""

from __future__ import annotations

import os
import re

from gymbag.storage.access import open_to_read
from gymbag.storage.names import META, unescape
from gymbag.storage.snapshot import MAX_BYTES, Snapshot

LANE = re.compile(r"(.+) \[(0|[1-9]\d{0,5})\]")


def lane_name(name: str, lane: int) -> str:
    """Return the name of the data set for one lane.

    >>> lane_name("CartPole-v1", 3), lane_of("CartPole-v1 [3]"), lane_of("CartPole-v1")
    ('CartPole-v1 [3]', ('CartPole-v1', 3), ('CartPole-v1', None))
    """
    return f"{name} [{lane}]"


def lane_of(name: str) -> tuple[str, int | None]:
    """Return the name that was recorded, and the lane; None if it is none."""
    found = LANE.fullmatch(name)
    return (found[1], int(found[2])) if found else (name, None)


def stored_names(snapshot: Snapshot) -> list[str]:
    """Return the names of the data sets in a file, each lane on its own, in order."""
    groups = (path[1:].partition("/") for path in snapshot.columns)
    names = (unescape(group) for group, _, name in groups if name == META)
    return sorted(names, key=_order)


def dataset_names(snapshot: Snapshot) -> list[str]:
    """Return the names of the data sets in a file, all lanes of a vector as one."""
    return sorted({lane_of(name)[0] for name in stored_names(snapshot)})


def list_datasets(filename: str | os.PathLike[str]) -> list[str]:
    """Return the names of the data sets in a file of gymbag's, sorted.

    The lanes of a vector of environments are one data set.

    Raises:
        FileError: there is no such file, or it is not ours.
    """
    snapshot = open_to_read(os.fspath(filename), MAX_BYTES)
    try:
        return dataset_names(snapshot)
    finally:
        snapshot.close()


def _order(name: str) -> tuple[str, int]:
    base, lane = lane_of(name)
    return base, -1 if lane is None else lane

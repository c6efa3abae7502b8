# SPDX-License-Identifier: LGPL-3.0-or-later
"""What a recording is cut into, and a file is made of: rows in columns, and episodes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from gymbag.schema.info import InfoBlock
from gymbag.steps import Ended


class EpisodeRow(NamedTuple):
    """What the table of episodes says of one."""

    id: int
    first_row: int
    """Number of its reset's row in the data set."""
    rows: int
    """Rows, the reset's included."""
    episode_return: float
    start_time: float
    """Unix time of its reset, in seconds."""
    end_time: float
    """Unix time of its last row, in seconds."""
    ended: Ended
    seed: int | None
    options: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class Block:
    """Rows that follow one another, ready to append; and the episodes that end in them."""

    rows: int
    columns: dict[str, Any]
    """Arrays by column name: one entry for each row, or for each item of ragged rows; `Parts`
    where wide values were packed."""
    info: InfoBlock
    episodes: tuple[EpisodeRow, ...]

# SPDX-License-Identifier: LGPL-3.0-or-later
"""Parts of a data set that lie in one episode: the whole episode, or a run of its rows."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gymbag.errors import FileError
from gymbag.records import Records, Rows
from gymbag.steps import Ended, Episode, Step


class StoredEpisode(Episode):
    """An episode in a file; each field is read when it is first asked for."""

    def __init__(self, records: Records, number: int) -> None:
        self._records = records
        self.id = number
        self._entry = records.episodes[number]
        self._rows = records.episode_rows(number)
        self.ended = Ended(self._entry["ended"].decode("ascii"))

    def __reduce__(self) -> tuple[Any, ...]:
        return _episode, (self._records, self.id, self._entry.tobytes())

    def steps(self) -> Iterator[Step]:
        """Iterate over the n + 1 rows, the reset first."""
        return self._records.steps(self._rows)

    @cached_property
    def _extra(self) -> dict[str, Any]:
        return self._records.extra(self.id)

    @property
    def seed(self) -> int | None:  # type: ignore[override]
        """The seed that `reset` was given; None if it was given none."""
        if not self._entry["seeded"]:
            return None
        return int(self._extra.get("seed", self._entry["seed"]))

    @property
    def options(self) -> dict[str, Any] | None:  # type: ignore[override]
        """The options that `reset` was given; None if it was given none."""
        return self._extra.get("options")

    @property
    def start_time(self) -> float:
        """Unix time of the reset, in seconds."""
        return float(self._entry["start_time"])

    @property
    def end_time(self) -> float:
        """Unix time of the last row, in seconds."""
        return float(self._entry["end_time"])

    @property
    def episode_return(self) -> float:
        """The sum of the rewards."""
        return float(self._entry["episode_return"])

    @property
    def episode_length(self) -> int:
        """The number of actions, n."""
        return int(self._entry["rows"]) - 1

    @cached_property
    def observations(self) -> Any:
        """The n + 1 observations, the reset's first."""
        return self._records.observations(self._rows)

    @cached_property
    def actions(self) -> Any:
        """The n actions."""
        return self._records.actions_at(self._rows[1:])

    @cached_property
    def rewards(self) -> NDArray[np.float64]:
        """The n rewards, float64."""
        return self._records.fixed("reward", self._rows[1:])

    @cached_property
    def terminations(self) -> NDArray[np.bool_]:
        """The n flags; only the last can be True."""
        return self._records.fixed("terminated", self._rows[1:])

    @cached_property
    def truncations(self) -> NDArray[np.bool_]:
        """The n flags; only the last can be True."""
        return self._records.fixed("truncated", self._rows[1:])

    @cached_property
    def infos(self) -> list[dict[Any, Any]]:
        """The n + 1 info dicts, the reset's first."""
        return self._records.infos(self._rows)

    @cached_property
    def times(self) -> NDArray[np.float64]:
        """The n + 1 Unix times in seconds, float64."""
        return self._records.fixed("time", self._rows)


class Segment:
    """Rows of one episode that follow one another."""

    def __init__(self, records: Records, rows: Rows) -> None:
        self._records = records
        self.rows = rows
        """Their numbers in the data set."""
        self.episode = int(records.episode_of(rows[:1])[0])
        """The number of the episode they are in."""
        self.start = int(rows[0] - records.first_rows[self.episode])
        """The step in the episode at which the segment begins; 0 is the reset."""

    def __reduce__(self) -> tuple[Any, ...]:
        entry = self._records.episodes[self.episode].tobytes()
        return _segment, (self._records, self.rows, self.episode, entry)

    @property
    def stop(self) -> int:
        """The step after its last."""
        return self.start + len(self.rows)

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.rows)

    def steps(self) -> Iterator[Step]:
        """Iterate over the rows."""
        return self._records.steps(self.rows)

    def __getitem__(self, name: str) -> Any:
        """Return a field of the rows as an array, for example ``segment["reward"]``."""
        return self._records.column(name, self.rows)

    def __repr__(self) -> str:
        return f"<Segment steps {self.start} to {self.stop - 1} of episode {self.episode}>"


def _episode(records: Records, number: int, entry: bytes) -> StoredEpisode:
    _require_same(records, number, entry)
    return StoredEpisode(records, number)


def _segment(records: Records, rows: Rows, number: int, entry: bytes) -> Segment:
    _require_same(records, number, entry)
    return Segment(records, rows)


def _require_same(records: Records, number: int, entry: bytes) -> None:
    """Check that a file that was opened again has that episode where it was."""
    if not (number < len(records.episodes) and records.episodes[number].tobytes() == entry):
        raise FileError(
            f"{records.reader.filename}: episode {number} is not the one that was pickled, for the "
            "file has changed since; take it from the store again"
        )

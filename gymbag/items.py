# SPDX-License-Identifier: LGPL-3.0-or-later
"""What training draws from: many like things of a data set, each of them read when it is used."""

from __future__ import annotations

import operator
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from gymbag.batches import Batches
from gymbag.errors import FileError
from gymbag.gather import pick
from gymbag.records import Records, Rows

Arrays = TypeVar("Arrays", bound=tuple[Any, ...])
"""A named tuple of arrays with one entry for each item."""


class Items(ABC, Generic[Arrays]):
    """A sequence of transitions or windows. Only their row numbers are in memory.

    ``items[3]`` is one, without the first axis; ``items[10:20]`` and ``items[[5, 2]]`` are some,
    as arrays. What is recorded later does not change them. They can be pickled.

    Raises:
        FileError: the items were unpickled, and their rows have moved: the file was made anew, or
            another one before it, that is read as one with it, has grown.
    """

    kind = "item"

    def __init__(self, records: Records, ends: Rows | None, text: str) -> None:
        self._records = records
        self._ends = ends
        self._text = text
        # Of all transitions, it is kept how many there were: the file may grow.
        self._count = records.actions if ends is None else len(ends)
        self._episodes = records.episodes

    @abstractmethod
    def _fetch(self, ends: Rows) -> Arrays:
        """Return those that belong to the transitions that end at some rows."""

    def __len__(self) -> int:
        """Return how many there are."""
        return self._count

    def take(self, numbers: NDArray[np.int64]) -> Arrays:
        """Return some of them, by numbers from 0 to ``len(items) - 1``, as arrays."""
        if self._episodes is not self._records.episodes:
            self._take_up()
        ends = self._records.rows_of_actions(numbers) if self._ends is None else self._ends[numbers]
        return self._fetch(ends)

    def _take_up(self) -> None:
        """Check that the episodes they were selected from still come first, then others."""
        before, now = self._episodes, self._records.episodes
        if now[: len(before)].tobytes() != before.tobytes():
            raise FileError(
                f"{self._records.reader.filename}: the {self.kind}s of {self._text!r} have moved, "
                "for what stands before them is other than when they were selected; select again"
            )
        self._episodes = now

    def __getitem__(self, index: int | slice | Sequence[int] | NDArray[np.int64]) -> Arrays:
        """Return one, or some of them as arrays, in the order asked for.

        Raises:
            IndexError: there is none of that number.
        """
        n = len(self)
        if isinstance(index, slice):
            return self.take(np.arange(*index.indices(n)))
        numbers = np.asarray(index)
        if numbers.dtype.kind not in "iu" and numbers.size:
            raise IndexError(f"{index!r:.80}: found {numbers.dtype}; expected whole numbers")
        flat = numbers.reshape(-1).astype(np.int64)
        wrong = flat[(flat < -n) | (flat >= n)]
        if len(wrong):
            raise IndexError(f"{self.kind} {wrong[0]}: there are {n}")
        batch = self.take(np.where(flat < 0, flat + n, flat))
        return batch if numbers.ndim else self.one(batch, 0)

    def one(self, batch: Any, index: int) -> Any:
        """Return one item of a batch, without the first axis."""
        schema = self._records.schema
        spaces = dict.fromkeys(("observation", "next_observation"), schema.observation)
        spaces["action"] = schema.action
        return type(batch)(
            *(
                pick(spaces[name], value, index) if name in spaces else value[index]
                for name, value in zip(batch._fields, batch, strict=True)
            )
        )

    def sample(self, batch: int, rng: np.random.Generator | int | None = None) -> Arrays:
        """Return some drawn at random, as arrays; all have the same chance, one may come twice.

        Args:
            batch: how many.
            rng: draws them; a number seeds a new generator at each call, and so gives the same
                ones again, and None gives others each time.

        Raises:
            ValueError: there is none to draw.
        """
        rng = np.random.default_rng(rng)
        if not len(self):
            raise ValueError(f"{self._text}: selects no {self.kind}; there is none to draw")
        return self.take(rng.integers(len(self), size=batch))

    def batches(
        self,
        size: int,
        *,
        seed: int | None = None,
        shuffle: bool = True,
        drop_last: bool = False,
    ) -> Batches[Arrays]:
        """Return batches of all, shuffled anew in every epoch; see `Batches`."""
        return Batches(self, size, seed=seed, shuffle=shuffle, drop_last=drop_last)

    def __repr__(self) -> str:
        return f"<{len(self)} {self.kind}s of {self._text!r}>"


def at_least(least: int, name: str, value: Any) -> int:
    """Return a whole number that an argument was given.

    Raises:
        ValueError: it is none, or too small.
    """
    try:
        number = operator.index(value)
    except TypeError:
        number = least - 1
    if number < least:
        raise ValueError(f"{name}: found {value!r}; expected a whole number from {least} on")
    return number

# SPDX-License-Identifier: LGPL-3.0-or-later
"""Batches in a shuffled order that is known for ever: the same again after a restart.

The order of an epoch depends on the seed, the epoch and the number of items alone, so the place in
it is a few numbers. This module knows neither what the items are nor where they come from.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

Arrays = TypeVar("Arrays", covariant=True)


class Pool(Protocol[Arrays]):
    """Items that can be had together, by their numbers."""

    def __len__(self) -> int:
        """Return how many there are."""

    def take(self, numbers: NDArray[np.int64]) -> Arrays:
        """Return some of them as one batch."""


class Batches(Generic[Arrays]):
    """Iterates over batches of items, epoch after epoch, each item once in every epoch.

    A `for` loop runs to the end of the epoch; the next one runs through the next epoch, in
    another order. A loop that was left goes on where it was: ``state_dict()`` is that place, and
    ``load_state_dict()`` goes there, in this process or a later one.

    Args:
        items: what the batches are made of.
        size: how many items each has; the last of an epoch may have fewer.
        seed: decides the order; None draws one, which ``state_dict()`` holds.
        shuffle: False keeps the items in their own order, in every epoch.
        drop_last: whether a last batch of fewer is left out; of other items in each epoch.

    >>> batches = store.all().batches(4, seed=0)
    >>> [len(batch.reward) for batch in batches]
    [4, 4, 1]
    >>> batches.state_dict()
    {'seed': 0, 'epoch': 1, 'position': 0, 'length': 9}
    """

    def __init__(
        self,
        items: Pool[Arrays],
        size: int,
        *,
        seed: int | None = None,
        shuffle: bool = True,
        drop_last: bool = False,
    ) -> None:
        if size < 1:
            raise ValueError(f"size: found {size}; a batch has at least one item")
        if seed is not None and seed < 0:
            raise ValueError(f"seed: found {seed}; expected 0, a larger number, or None")
        self.items = items
        self.size = size
        self.seed: int = np.random.SeedSequence().entropy if seed is None else seed  # type: ignore[assignment]
        self.shuffle = shuffle
        self.epoch = 0
        """The epoch that the next batch is of, from 0."""
        self.position = 0
        """How many items of it have been had."""
        self._stop = len(items) - len(items) % size if drop_last else len(items)
        self._order: tuple[int, int, NDArray[np.int64]] = (-1, -1, np.empty(0, np.int64))

    def __len__(self) -> int:
        """Return how many batches an epoch has."""
        return -(-self._stop // self.size)

    @property
    def left(self) -> int:
        """How many batches are left of the epoch."""
        return -(-(self._stop - self.position) // self.size)

    def __iter__(self) -> Iterator[Arrays]:
        """Iterate over the batches that are left of the epoch."""
        if not self._stop:
            self.epoch += 1
        epoch = self.epoch
        while self.epoch == epoch and self._stop:
            numbers = self._next()
            yield self.items.take(numbers)

    def stream(
        self, epochs: int | None = None, *, worker: int = 0, workers: int = 1
    ) -> Iterator[Arrays]:
        """Iterate over the batches of this epoch's rest and of those after it.

        Args:
            epochs: how many epochs, this one included; None goes on without end.
            worker: which of the `workers` this is, from 0. Each has every `workers`-th batch, so
                that taking turns they give what one alone gives, in the same order.
            workers: how many share the batches.
        """
        last = None if epochs is None else self.epoch + epochs

        def numbers() -> Iterator[NDArray[np.int64]]:
            while self._stop and (last is None or self.epoch < last):
                yield self._next()

        return map(self.items.take, islice(numbers(), worker, None, workers))

    def _next(self) -> NDArray[np.int64]:
        """Return the numbers of the next batch's items, and move on."""
        start, stop = self.position, min(self.position + self.size, self._stop)
        numbers = self.order(self.epoch)[start:stop]
        # Before the batch is handed out: who keeps the state while working on it means "after it".
        over = stop == self._stop
        self.epoch, self.position = (self.epoch + 1, 0) if over else (self.epoch, stop)
        return numbers

    def order(self, epoch: int) -> NDArray[np.int64]:
        """Return the numbers of all items in the order of an epoch; to be read only."""
        if not self.shuffle:
            return np.arange(len(self.items))
        if self._order[:2] != (self.seed, epoch):
            # RandomState, unlike Generator, is promised to give the same in every NumPy.
            bits = np.random.MT19937(np.random.SeedSequence((self.seed, epoch)))
            order = np.random.RandomState(bits).permutation(len(self.items))
            self._order = (self.seed, epoch, order)
        return self._order[2]

    def state_dict(self, ahead: int = 0) -> dict[str, int]:
        """Return the place in the order, of plain numbers.

        Args:
            ahead: of how many more batches it is to be the state. For a loader that fetches in
                other processes: so many batches have come out of it since the iteration began.
        """
        epoch, position = self.epoch, self.position
        if ahead < self.left:
            position += ahead * self.size
        elif self._stop:
            epochs, batches = divmod(ahead - self.left, len(self))
            epoch, position = epoch + 1 + epochs, batches * self.size
        return {
            "seed": self.seed,
            "epoch": epoch,
            "position": position,
            "length": len(self.items),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go to a place that `state_dict` returned, also of batches of another size.

        Raises:
            ValueError: it is of another number of items, whose order is another.
        """
        if state["length"] != len(self.items):
            raise ValueError(
                f"the state is of {state['length']} items, and there are {len(self.items)}: the "
                "selection or the file is another now; begin a new epoch, or select as before"
            )
        self.seed, self.epoch, self.position = state["seed"], state["epoch"], state["position"]
        if self.position >= self._stop:  # what is left of that epoch is less than a batch
            self.epoch, self.position = self.epoch + 1, 0

    def __getstate__(self) -> dict[str, Any]:
        # The order is made again sooner than it is sent to another process.
        return {**self.__dict__, "_order": (-1, -1, np.empty(0, np.int64))}

    def __repr__(self) -> str:
        return (
            f"<{len(self)} batches of {self.size} of {self.items!r}, seed {self.seed}, "
            f"epoch {self.epoch}>"
        )

# SPDX-License-Identifier: LGPL-3.0-or-later
"""Recordings as PyTorch's data sets; `pip install 'gymbag[torch]'`.

Batches are the named tuples that NumPy's users get, of tensors that share the arrays' memory, with
their dtypes. Nothing is decided here: what the items are, and their order, is `gymbag.items`'s and
`gymbag.batches`'s affair.

Each works in the workers of a `DataLoader`, however they are started: they open the file again.

>>> from torch.utils.data import DataLoader
>>> stream = BatchStream(store.all().batches(4, seed=0))
>>> for batch in DataLoader(stream, batch_size=None):
...     print(batch.observation.shape, batch.reward.dtype)
torch.Size([4, 4]) torch.float64
torch.Size([4, 4]) torch.float64
torch.Size([1, 4]) torch.float64
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from typing import Any

import numpy as np

from gymbag.batches import Batches
from gymbag.items import Items
from gymbag.selection import Selection
from gymbag.store import Store

try:
    import torch
    from torch.utils.data import Dataset, IterableDataset, default_collate, get_worker_info
except ImportError as error:
    raise ImportError(
        "gymbag.torch: needs PyTorch, which is not here; run: pip install 'gymbag[torch]'"
    ) from error


class ItemDataset(Dataset):  # type: ignore[misc]
    """A map-style data set: ``len(dataset)``, ``dataset[3]``, and batches read together.

    Give the `DataLoader` ``collate_fn=gymbag.torch.collate``: a batch is then taken as it was
    read. Without, it is taken apart and put together again, which gives the same more slowly.

    Args:
        items: transitions or windows of a selection.
    """

    def __init__(self, items: Items[Any]) -> None:
        self.items = items

    def __len__(self) -> int:
        """Return how many items there are."""
        return len(self.items)

    def __getitem__(self, index: int) -> Any:
        """Return one, as tensors without a batch's axis."""
        return tensors(self.items[index])

    def __getitems__(self, indices: Sequence[int]) -> Together:
        """Return some, read together; the `DataLoader` calls this."""
        return Together(self.items, self.items[list(indices)], len(indices))


class TransitionDataset(ItemDataset):
    """The transitions of a selection or a store, as `Transitions` of tensors.

    Args:
        source: its transitions end at the selected rows.
        n_step: see `Selection.transitions`.
        gamma: likewise.
        stack: likewise.

    >>> dataset = TransitionDataset(store.where("reward > 0"), n_step=3)
    >>> len(dataset), dataset[0].steps
    (9, tensor(3))
    """

    def __init__(
        self,
        source: Selection | Store,
        *,
        n_step: int = 1,
        gamma: float = 0.99,
        stack: int | None = None,
    ) -> None:
        super().__init__(_selection(source).transition_items(n_step, gamma, stack=stack))


class WindowDataset(ItemDataset):
    """The windows of a selection or a store, as `Windows` of tensors.

    Args:
        source: there is one for each of its transitions.
        length: see `Selection.windows`.
        before: likewise.
        stride: likewise.
        pad: likewise.
        stack: likewise.

    >>> WindowDataset(store, 4)[0].observation.shape
    torch.Size([5, 4])
    """

    def __init__(
        self,
        source: Selection | Store,
        length: int,
        *,
        before: int = 0,
        stride: int = 1,
        pad: bool = True,
        stack: int | None = None,
    ) -> None:
        super().__init__(
            _selection(source).windows(length, before=before, stride=stride, pad=pad, stack=stack)
        )


class BatchStream(IterableDataset):  # type: ignore[misc]
    """Batches one after another, shared among workers, for ``DataLoader(..., batch_size=None)``.

    The order is that of `batches`, whatever the number of workers. Iterating leaves the place of
    `batches` as it is, for workers cannot move it: ``state_dict(ahead=n)`` is the state after n
    batches have come out of the loader, and ``load_state_dict(state)`` goes there.

    Args:
        batches: of ``selection.batches(size)`` or ``windows.batches(size)``.
        epochs: how many epochs one iteration has, that of `batches` included; None for no end.
    """

    def __init__(self, batches: Batches[Any], epochs: int | None = 1) -> None:
        self.batches = batches
        self.epochs = epochs

    def __iter__(self) -> Iterator[Any]:
        """Iterate over the batches as tensors; in a worker, over its share of them."""
        info = get_worker_info()
        worker, workers = (0, 1) if info is None else (info.id, info.num_workers)
        stream = copy(self.batches).stream(self.epochs, worker=worker, workers=workers)
        return map(tensors, stream)

    def __len__(self) -> int:
        """Return how many batches an iteration has, of all workers together."""
        if self.epochs is None:
            raise TypeError("a stream without end has no length; give it epochs=")
        return self.batches.left + len(self.batches) * (self.epochs - 1) if self.epochs else 0

    def state_dict(self, ahead: int = 0) -> dict[str, int]:
        """Return the state after so many batches; see `Batches.state_dict`."""
        return self.batches.state_dict(ahead)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go where that state was, before the next iteration begins."""
        self.batches.load_state_dict(state)


class Together(Sequence[Any]):
    """Items that were read together: a sequence of them, and the batch."""

    def __init__(self, items: Items[Any], arrays: Any, length: int) -> None:
        self._items, self._arrays, self._length = items, arrays, length

    @property
    def batch(self) -> Any:
        """All of them, as tensors."""
        return tensors(self._arrays)

    def __len__(self) -> int:
        """Return how many items there are."""
        return self._length

    def __getitem__(self, index: Any) -> Any:
        """Return one, as tensors."""
        if not 0 <= index < self._length:
            raise IndexError(f"item {index}: {self._length} were read")
        return tensors(self._items.one(self._arrays, index))


def collate(items: Any) -> Any:
    """Return the batch that a `DataLoader` makes of items, as it was read."""
    return items.batch if isinstance(items, Together) else default_collate(items)


def tensors(value: Any) -> Any:
    """Return arrays as tensors that share their memory, in the same dicts and tuples.

    What no tensor holds, such as text, stays as it is.

    >>> tensors({"pose": np.zeros(2, np.float32), "note": ("a", "b")})
    {'pose': tensor([0., 0.]), 'note': ('a', 'b')}
    """
    match value:
        case np.ndarray():
            return torch.from_numpy(value)
        case np.generic():
            return torch.as_tensor(value)
        case dict():
            return {key: tensors(part) for key, part in value.items()}
        case tuple():
            parts = [tensors(part) for part in value]
            return type(value)(*parts) if hasattr(value, "_fields") else tuple(parts)
    return value


def _selection(source: Selection | Store) -> Selection:
    return source.all() if isinstance(source, Store) else source

# SPDX-License-Identifier: LGPL-3.0-or-later
"""A user's program with types that trains with PyTorch; mypy checks it, also without PyTorch."""

from __future__ import annotations

from pathlib import Path
from typing import assert_type

import torch
from torch.utils.data import DataLoader

import gymbag
from gymbag.torch import BatchStream, TransitionDataset, WindowDataset, collate
from tests import typed_user


def loss(network: torch.nn.Module, batch: gymbag.Transitions) -> torch.Tensor:
    """Return how far a network is from the recorded actions."""
    return torch.nn.functional.cross_entropy(network(batch.observation), batch.action)


def main(folder: Path) -> None:
    """Record, and learn from batches in their own order and in the loader's."""
    filename = folder / "typed.h5"
    typed_user.record(filename, 3)
    network = torch.nn.Linear(4, 2)
    with gymbag.open(filename) as store:
        chosen = store.where("step > 1")
        stream = BatchStream(chosen.batches(8, seed=0), epochs=2)
        for batch in DataLoader(stream, batch_size=None):
            loss(network, batch).backward()
        assert_type(len(stream), int)
        state = assert_type(stream.state_dict(ahead=1), dict[str, int])
        stream.load_state_dict(state)
        dataset = TransitionDataset(store, n_step=3, gamma=0.9)
        assert_type(len(dataset), int)
        for batch in DataLoader(dataset, batch_size=8, shuffle=True, collate_fn=collate):
            loss(network, batch).backward()
        assert_type(len(WindowDataset(chosen, 5, before=4)), int)

# SPDX-License-Identifier: LGPL-3.0-or-later
"""PyTorch's data sets give what NumPy's users are given, in this process and in workers."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest

import gymbag
from tests.spaces import same

WORKERS = [(0, None), (2, "fork"), (2, "spawn"), (2, "forkserver")]


def test_without_torch_it_says_what_to_do(monkeypatch: Any) -> None:
    monkeypatch.delitem(sys.modules, "gymbag.torch", raising=False)
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ImportError, match=r"pip install 'gymbag\[torch\]'"):
        importlib.import_module("gymbag.torch")


@pytest.fixture(scope="module")
def bag() -> Any:
    pytest.importorskip("torch", reason="the extra torch is not installed")
    return importlib.import_module("gymbag.torch")


@pytest.fixture(scope="module")
def store(tmp_path_factory: Any) -> gymbag.Store:
    filename = tmp_path_factory.mktemp("torch") / "x.h5"
    spaces = gymnasium.spaces
    observation = spaces.Dict(
        image=spaces.Box(0, 255, (40, 40, 3), np.uint8),
        pair=spaces.Tuple((spaces.Box(-1, 1, (), np.float16), spaces.Discrete(5))),
        note=spaces.Text(3),
    )
    with gymbag.record_hdf5(gymbag.RandomEnv(observation, spaces.Discrete(3)), filename) as env:
        for episode in range(6):
            env.reset(seed=episode)
            for step in range(9):
                if env.step(step % 3)[2]:
                    break
    return gymbag.open(filename)


def arrays(value: Any) -> Any:
    """Return tensors as arrays again."""
    if hasattr(value, "numpy"):
        return value.numpy()
    if isinstance(value, dict):
        return {key: arrays(part) for key, part in value.items()}
    if isinstance(value, tuple | list):
        return tuple(arrays(part) for part in value)
    return value


def alike(one: Any, other: Any) -> bool:
    return same(arrays(one), tuple(map(arrays, other)))


@pytest.mark.parametrize(("workers", "start"), WORKERS)
def test_a_loader_gives_what_was_recorded(
    bag: Any, store: gymbag.Store, workers: int, start: str | None
) -> None:
    from torch.utils.data import DataLoader

    some = store.where("step > t", t=1)
    how = {"num_workers": workers, "multiprocessing_context": start}
    expected = list(some.batches(5, shuffle=False, n_step=2))
    dataset = bag.TransitionDataset(some, n_step=2)
    assert len(dataset) == len(some.transition_items())
    for loader in (
        DataLoader(dataset, batch_size=5, collate_fn=bag.collate, **how),
        DataLoader(bag.BatchStream(some.batches(5, shuffle=False, n_step=2)), None, **how),
    ):
        found = list(loader)
        assert len(found) == len(loader) == len(expected)
        assert all(map(alike, found, expected))

    windows = some.windows(4, before=1, stack=2)
    stream = bag.BatchStream(windows.batches(3, seed=3), epochs=2)
    ordered = list(windows.batches(3, seed=3).stream(2))
    found = list(DataLoader(stream, batch_size=None, **how))
    assert all(map(alike, found, ordered))
    assert len(found) == len(ordered) == len(stream)
    stream.load_state_dict(stream.state_dict(ahead=7))
    found = list(DataLoader(stream, batch_size=None, **how))
    assert all(map(alike, found, ordered[7:]))


def test_single_items_and_the_default_way_to_collate(bag: Any, store: gymbag.Store) -> None:
    from torch.utils.data import DataLoader

    dataset = bag.WindowDataset(store, 3, stride=3)
    items = store.all().windows(3, stride=3)
    assert alike(dataset[-1], items[-1])
    assert dataset[0].observation["pair"][0].dtype.itemsize == 2
    together = dataset.__getitems__([4, 1])
    assert alike(together[1], items[1])
    with pytest.raises(IndexError, match="item 2: 2 were read"):
        together[2]
    slow = next(iter(DataLoader(dataset, batch_size=4)))
    fast = next(iter(DataLoader(dataset, batch_size=4, collate_fn=bag.collate)))
    for batch in (slow, fast):
        assert same(batch.observation["image"].numpy(), items[:4].observation["image"])
        assert same(batch.returns_to_go.numpy(), items[:4].returns_to_go)
    one = bag.collate([dataset[1]])
    assert same(one.reward.numpy(), items[[1]].reward)


def test_a_tensor_is_the_array_itself(bag: Any) -> None:
    array = np.zeros((2, 3), np.uint8)
    bag.tensors((array,))[0][0, 0] = 7
    assert array[0, 0] == 7


def test_a_stream_without_end_has_no_length(bag: Any, store: gymbag.Store) -> None:
    with pytest.raises(TypeError, match="give it epochs="):
        len(bag.BatchStream(store.all().batches(4), None))


def test_the_clone_of_the_good_episodes_solves_cartpole(bag: Any, tmp_path: Path) -> None:
    sys.path.insert(0, str(Path(__file__).parent.parent / "examples"))
    try:
        example = importlib.import_module("behaviour_cloning")
    finally:
        sys.path.pop(0)
    assert example.main([str(tmp_path / "x.h5")]) >= 475

# SPDX-License-Identifier: LGPL-3.0-or-later
"""What training is given, against plain NumPy over the rows as they were recorded."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st

import gymbag
from gymbag.batches import Batches
from gymbag.errors import FileError
from tests.spaces import EXAMPLES, same

OBSERVATION = spaces.Dict(
    pose=spaces.Box(-9, 9, (2,)), note=spaces.Text(3), id=spaces.Discrete(9, start=-3)
)
ACTION = spaces.Tuple((spaces.Discrete(4, start=1), spaces.Box(-9, 9, (), np.float64)))
BLANK_OBSERVATION = {"pose": np.zeros(2, "f4"), "note": "", "id": 0}
BLANK_ACTION = (0, 0.0)
LENGTHS = [3, 1, 7, 2, 1, 12, 5]

Row = tuple[Any, Any, float, bool, bool]


@contextmanager
def finishing(recorder: gymbag.HDF5Recorder) -> Iterator[gymbag.HDF5Recorder]:
    yield recorder
    recorder.on_close()


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: Any) -> tuple[gymbag.Store, list[list[Row]]]:
    """Record episodes of all kinds of ends; the time of a row is its number."""
    filename = tmp_path_factory.mktemp("training") / "x.h5"
    rng = np.random.default_rng(0)
    OBSERVATION.seed(1)
    ACTION.seed(1)
    kept: list[list[Row]] = []
    with finishing(gymbag.HDF5Recorder(filename, OBSERVATION, ACTION)) as recorder:
        time = 0.0
        for number, length in enumerate(LENGTHS):
            observation = OBSERVATION.sample()
            recorder.on_reset(time, observation, {})
            kept.append([(observation, None, 0.0, False, False)])
            for step in range(1, length + 1):
                last = step == length
                row = (
                    OBSERVATION.sample(),
                    ACTION.sample(),
                    float(rng.integers(-3, 4)),
                    last and number % 3 == 0,
                    last and number % 3 == 1,
                )
                time += 1
                recorder.on_step(time, *row, {})
                kept[-1].append(row)
            if number % 3 == 2:  # the next reset, or the end, cuts it off
                kept[-1][-1] = (*row[:4], True)
            time += 1
    return gymbag.open(filename), kept


def arranged(space: spaces.Space[Any], values: Any) -> Any:
    """Return nested lists of a space's values as arrays, dicts and tuples of them."""

    def deep(values: Any, key: Any) -> Any:
        return [deep(v, key) for v in values] if isinstance(values, list) else values[key]

    if isinstance(space, spaces.Dict):
        return {key: arranged(child, deep(values, key)) for key, child in space.items()}
    if isinstance(space, spaces.Tuple):
        return tuple(arranged(child, deep(values, i)) for i, child in enumerate(space.spaces))
    if isinstance(space, spaces.Text):
        return tuples(values)
    shape = () if space.shape is None else space.shape
    array = np.array(values, dtype=space.dtype)
    return array if len(values) else array.reshape((0, *shape))


def tuples(values: Any) -> Any:
    return tuple(map(tuples, values)) if isinstance(values, list) else values


def seen(rows: list[Row], step: int, stack: int | None) -> Any:
    """Return an observation, or those up to it."""
    if stack is None:
        return rows[step][0]
    return [rows[max(0, step - back)][0] for back in reversed(range(stack))]


stacks = st.none() | st.integers(1, 4)


@st.composite
def chosen(draw: Any) -> list[tuple[int, int]]:
    """Some rows, as episodes and steps in them, in order; often runs of them."""
    every = [(e, s) for e, length in enumerate(LENGTHS) for s in range(length + 1)]
    kind = draw(st.sampled_from(["all", "none", "one", "run", "some"]))
    if kind == "some":
        return sorted(draw(st.sets(st.sampled_from(every))))
    first = draw(st.integers(0, len(every) - 1))
    last = draw(st.integers(first, len(every)))
    return {"all": every, "none": [], "one": [every[first]], "run": every[first:last]}[kind]


def select(store: gymbag.Store, rows: list[tuple[int, int]]) -> gymbag.Selection:
    if len(rows) == len(store):
        return store.all()
    firsts = np.cumsum([0, *(length + 1 for length in LENGTHS)])
    return store.where("time in rows", rows=[int(firsts[e] + s) for e, s in rows])


@settings(max_examples=80)
@given(rows=chosen(), n_step=st.integers(1, 9), gamma=st.floats(0, 1), stack=stacks, data=st.data())
def test_transitions_over_steps_equal_plain_sums(
    recorded: Any, rows: Any, n_step: int, gamma: float, stack: int | None, data: Any
) -> None:
    store, kept = recorded
    selection = select(store, rows)
    ends = [(kept[e], s, min(s + n_step - 1, LENGTHS[e])) for e, s in rows if s]
    found = selection.transitions(n_step, gamma, stack=stack)
    before = arranged(OBSERVATION, [seen(episode, s - 1, stack) for episode, s, _ in ends])
    after = arranged(OBSERVATION, [seen(episode, last, stack) for episode, _, last in ends])
    if ends:  # of none, the oracle knows no shape
        assert same(found.observation, before)
        assert same(found.next_observation, after)
    assert same(found.action, arranged(ACTION, [episode[s][1] for episode, s, _ in ends]))
    sums = [
        sum(gamma**i * episode[s + i][2] for i in range(last - s + 1)) for episode, s, last in ends
    ]
    assert np.allclose(found.reward, sums)
    assert found.terminated.tolist() == [episode[last][3] for episode, _, last in ends]
    assert found.truncated.tolist() == [episode[last][4] for episode, _, last in ends]
    assert found.steps.tolist() == [last - s + 1 for _, s, last in ends]
    assert found.observation["pose"].shape == (len(ends), *([stack] if stack else []), 2)

    items = selection.transition_items(n_step, gamma, stack=stack)
    assert len(items) == len(ends)
    if not ends:
        with pytest.raises(ValueError, match="selects no transition"):
            selection.sample(3, n_step=n_step)
        return
    one = data.draw(st.integers(-len(ends), len(ends) - 1))
    assert same(items[one].action[1], found.action[1][one])
    assert same(items[one].observation["note"], found.observation["note"][one])
    drawn = np.random.default_rng(5).integers(len(ends), size=4)
    sample = selection.sample(4, 5, n_step=n_step, gamma=gamma, stack=stack)
    assert same(sample.reward, found.reward[drawn])
    if len(rows) == len(store):
        assert same(store.sample(4, 5, n_step=n_step, gamma=gamma).reward, sample.reward)
    assert same(sample.observation["pose"], found.observation["pose"][drawn])


@settings(max_examples=80)
@given(
    rows=chosen(),
    length=st.integers(1, 9),
    before=st.integers(0, 8),
    stride=st.integers(1, 4),
    pad=st.booleans(),
    stack=stacks,
)
def test_windows_equal_plain_slices(
    recorded: Any,
    rows: Any,
    length: int,
    before: int,
    stride: int,
    pad: bool,
    stack: int | None,
) -> None:
    store, kept = recorded
    before = min(before, length - 1)
    windows = select(store, rows).windows(
        length, before=before, stride=stride, pad=pad, stack=stack
    )
    expected = []
    run = 0
    for e, s in (row for row in rows if row[1]):
        run = run + 1 if (e, s - 1) in rows and s > 1 else 0
        steps = range(s - before, s - before + length)
        if run % stride == 0 and (pad or (steps[0] >= 1 and steps[-1] <= LENGTHS[e])):
            expected.append((kept[e], steps))
    found = windows[:]
    assert len(windows) == len(found.mask) == len(expected)
    nothing = BLANK_OBSERVATION if stack is None else [BLANK_OBSERVATION] * stack
    for i, (episode, steps) in enumerate(expected):
        last = len(episode) - 1
        mask = [1 <= s <= last for s in steps]
        observations = [
            seen(episode, s, stack) if 0 <= s <= last else nothing for s in (steps[0] - 1, *steps)
        ]
        here = [episode[s] if there else None for s, there in zip(steps, mask, strict=True)]
        one = windows[i]
        assert same(one.observation, arranged(OBSERVATION, observations))
        assert same(one.action, arranged(ACTION, [row[1] if row else BLANK_ACTION for row in here]))
        assert one.mask.tolist() == mask
        assert one.reward.tolist() == [row[2] if row else 0 for row in here]
        assert one.terminated.tolist() == [bool(row and row[3]) for row in here]
        assert one.truncated.tolist() == [bool(row and row[4]) for row in here]
        there = list(zip(steps, mask, strict=True))
        assert one.step.tolist() == [s - 1 if m else 0 for s, m in there]
        to_go = [sum(row[2] for row in episode[s:]) if m else 0 for s, m in there]
        assert one.returns_to_go.tolist() == to_go
        assert same(found.observation["pose"][i], one.observation["pose"])
        assert found.returns_to_go[i].tolist() == to_go


class Numbers:
    """A pool whose items are their own numbers."""

    def __init__(self, n: int) -> None:
        self.n = n

    def __len__(self) -> int:
        return self.n

    def take(self, numbers: Any) -> list[int]:
        taken: list[int] = numbers.tolist()
        return taken


@given(
    n=st.integers(0, 30),
    size=st.integers(1, 12),
    seed=st.integers(0, 2**70),
    shuffle=st.booleans(),
    drop_last=st.booleans(),
    data=st.data(),
)
def test_each_epoch_has_each_item_once_and_goes_on_where_it_was(
    n: int, size: int, seed: int, shuffle: bool, drop_last: bool, data: Any
) -> None:
    def fresh() -> Batches[list[int]]:
        return Batches(Numbers(n), size, seed=seed, shuffle=shuffle, drop_last=drop_last)

    batches = fresh()
    epochs = [list(batches) for _ in range(3)]
    assert [len(epoch) for epoch in epochs] == [len(batches)] * 3
    for epoch in epochs:
        had = [number for batch in epoch for number in batch]
        assert len(set(had)) == len(had) == (n - n % size if drop_last else n)
        assert had == sorted(had) or shuffle
    every = [batch for epoch in epochs for batch in epoch]
    assert list(fresh().stream(3)) == every

    had = data.draw(st.integers(0, len(every)))
    first = fresh()
    stream = first.stream(3)
    before = [next(stream) for _ in range(had)]
    assert fresh().state_dict(ahead=had) == first.state_dict()
    again = Batches(Numbers(n), size, shuffle=shuffle, drop_last=drop_last)
    again.load_state_dict(first.state_dict())
    after = [batch for _ in range(again.epoch, 3) for batch in again]
    assert before + after == every

    workers = data.draw(st.integers(1, 4))
    shares = [list(fresh().stream(3, worker=w, workers=workers)) for w in range(workers)]
    assert [shares[i % workers][i // workers] for i in range(len(every))] == every


def test_batches_of_another_size_go_on_in_the_same_order() -> None:
    batches = Batches(Numbers(10), 4, seed=1)
    order = batches.order(0).tolist()
    next(iter(batches))
    other = Batches(Numbers(10), 5, seed=2)
    other.load_state_dict(batches.state_dict())
    assert list(other) == [order[4:9], order[9:]]
    other = Batches(Numbers(10), 7, seed=2, drop_last=True)
    other.load_state_dict(batches.state_dict() | {"position": 8})
    assert next(iter(other)) == batches.order(1).tolist()[:7]


def test_the_order_is_the_same_for_ever() -> None:
    batches = Batches(Numbers(8), 8, seed=7)
    assert [batches.order(epoch).tolist() for epoch in (0, 1)] == [
        [7, 4, 6, 1, 5, 0, 2, 3],
        [7, 4, 3, 0, 1, 5, 2, 6],
    ]


def test_a_state_of_other_items_is_refused(recorded: Any) -> None:
    store, _ = recorded
    state = store.all().batches(4).state_dict()
    with pytest.raises(ValueError, match=r"the state is of 31 items, and there are 6"):
        store.where("step == 1 and episode < 6").batches(4).load_state_dict(state)


def test_all_of_it_is_pickled_and_reads_the_same(recorded: Any) -> None:
    store, _ = recorded
    some = (store.where("reward > t", t=0.0) & store.all()) | ~store.where("step > 2")
    windows = some.where("step < 9").windows(3, before=1)
    batches = windows.batches(4, seed=1)
    next(iter(batches))
    selection, other, items, rest = pickle.loads(
        pickle.dumps((some, store.all(), windows, batches))
    )
    assert selection.rows.tolist() == some.rows.tolist()
    assert repr(selection) == repr(some)
    assert len(selection & other) == len(some)
    assert same(items[:].observation, windows[:].observation)
    assert [batch.step.tolist() for batch in rest] == [batch.step.tolist() for batch in batches]


def append(filename: Path, steps: int) -> None:
    space = spaces.Discrete(3)
    with finishing(gymbag.HDF5Recorder(filename, space, space)) as recorder:
        recorder.on_reset(0.0, 0, {})
        for _ in range(steps):
            recorder.on_step(0.0, 1, 2, 1.0, False, False, {})


def test_items_stay_as_they_were_while_the_file_grows(tmp_path: Path) -> None:
    append(tmp_path / "x.h5", 4)
    with gymbag.open(tmp_path / "x.h5") as store:
        items = store.all().transition_items()
        append(tmp_path / "x.h5", 5)
        store.refresh()
        assert (len(items), len(store.all().transition_items())) == (4, 9)
        for same_items in (items, pickle.loads(pickle.dumps(items))):
            assert len(same_items[:].reward) == 4


def test_items_whose_rows_have_moved_are_refused(tmp_path: Path) -> None:
    files = [tmp_path / "x.h5", tmp_path / "y.h5"]
    for filename in files:
        append(filename, 4)
    with gymbag.open(files) as store:
        items = store.all().windows(2)
        assert len(pickle.loads(pickle.dumps(items))[:].mask) == 8
        pickled = pickle.dumps(items)
        append(files[0], 4)
        store.refresh()
        assert len(items[:].mask) == 8  # of the files as they were
        with pytest.raises(FileError, match=r"y\.h5: the windows of 'True' have moved"):
            pickle.loads(pickled)[:]


@pytest.mark.parametrize(
    ("message", "call"),
    [
        ("n_step: found 0; expected a whole number from 1", lambda s: s.transitions(0)),
        ("gamma: found 2; expected a number from 0 to 1", lambda s: s.transitions(3, 2)),
        ("stack: found 1.5", lambda s: s.transitions(stack=1.5)),
        ("length: found 0", lambda s: s.windows(0)),
        ("stride: found 0", lambda s: s.windows(3, stride=0)),
        ("before: found 3; expected less than the length, 3", lambda s: s.windows(3, before=3)),
        ("size: found 0", lambda s: s.batches(0)),
        ("seed: found -1", lambda s: s.batches(1, seed=-1)),
    ],
)
def test_what_makes_no_sense_is_refused(recorded: Any, message: str, call: Any) -> None:
    with pytest.raises(ValueError, match=message):
        call(recorded[0].all())


def test_an_item_that_is_not_there_is_an_index_error(recorded: Any) -> None:
    items = recorded[0].all().transition_items()
    with pytest.raises(IndexError, match="transition 31: there are 31"):
        items[31]
    with pytest.raises(IndexError, match="found bool"):
        items[[True, False]]
    assert len(items[[]].reward) == 0


def test_minaris_words(recorded: Any) -> None:
    store, _ = recorded
    assert (store.total_episodes, store.total_steps) == (len(LENGTHS), sum(LENGTHS))
    assert [e.id for e in store.iterate_episodes()] == list(range(len(LENGTHS)))
    assert [e.id for e in store.iterate_episodes([4, 2])] == [4, 2]
    assert list(store.iterate_episodes([])) == []
    drawn = [e.id for e in store.sample_episodes(5, 3)]
    assert len(set(drawn)) == 5
    assert drawn == [e.id for e in store.sample_episodes(5, 3)]
    with pytest.raises(ValueError, match="8 episodes were asked for; it has 7"):
        store.sample_episodes(8)
    long = store.filter_episodes(lambda episode: len(episode) > 4)
    assert [e.id for e in long.episodes()] == [2, 5, 6]
    assert not store.filter_episodes(lambda episode: False)


@pytest.mark.parametrize("name", sorted(EXAMPLES))
def test_every_space_is_trained_from(name: str, tmp_path: Path) -> None:
    space = EXAMPLES[name]
    env = gymbag.RandomEnv(space, space, episode_steps=4)
    with gymbag.record_hdf5(env, tmp_path / "x.h5") as recording:
        recording.reset(seed=1)
        space.seed(2)
        for _ in range(4):
            recording.step(space.sample())
    with gymbag.open(tmp_path / "x.h5") as store:
        rows = list(store.steps())
        items = store.all().transition_items(n_step=2)
        windows = store.all().windows(3, before=1, stack=2)[:]
        for i, last in enumerate([2, 3, 4, 4]):
            assert same(items[i].observation, rows[i].observation)
            assert same(items[i].action, rows[i + 1].action)
            assert same(items[i].next_observation, rows[last].observation)
        inside = [[False, True, True], [True] * 3, [True] * 3, [True, True, False]]
        assert windows.mask.tolist() == inside

# SPDX-License-Identifier: LGPL-3.0-or-later
"""An environment whose every value is known beforehand, and files compared with what it gave."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import gymnasium
import numpy as np
import tables
from gymnasium import spaces

import gymbag
from gymbag.storage import snapshot

NAMES = ("small", "wide")
"""Data sets: of a few numbers, and of frames that fill their chunks."""
PATTERN = np.arange(84 * 84 * 4, dtype=np.uint8).reshape(84, 84, 4)
EPISODES = 10_000
"""The seed of a reset is this times the number of the round, and the number of the episode."""
SLACK = 0.5
"""Seconds by which a promise of seconds may be late: the machine has other things to do."""


class Known(gymnasium.Env[Any, Any]):
    """An environment whose every value follows from the round, the episode and the step."""

    action_space = spaces.Discrete(1000)

    def __init__(self, name: str, session: int) -> None:
        self.name, self.session, self.episode, self.n = name, session, -1, 0
        self.observation_space = (
            spaces.Box(-np.inf, np.inf, (3,), np.float64)
            if name == "small"
            else spaces.Box(0, 255, PATTERN.shape, np.uint8)
        )

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        self.episode, self.n = self.episode + 1, 0
        return self.observe()[0], info_of(self.session, self.episode, 0)

    def step(self, action: Any) -> Any:
        self.n += 1
        session, episode, n = self.session, self.episode, self.n
        length, ended = plan_of(session, episode)
        last = n == length
        flags = last and ended == "terminated", last and ended == "truncated"
        return self.observe()[0], reward_of(session, episode, n), *flags, info_of(*self.place)

    @property
    def place(self) -> tuple[int, int, int]:
        return self.session, self.episode, self.n

    def observe(self) -> Any:
        return observations_of(self.name, self.session, self.episode, np.array([self.n]))


def observations_of(name: str, session: int, episode: int, steps: Any) -> Any:
    if name == "small":
        return np.stack([steps * 0.1, steps * 0 + session, steps * 0 + episode + 0.5], axis=1)
    factor = (steps * 7 + session * 13 + episode * 5) % 251
    return PATTERN * factor.astype(np.uint8)[:, None, None, None]


def plan_of(session: int, episode: int) -> tuple[int, str]:
    """Return how many steps an episode has, and how it ends."""
    chance = random.Random(session * EPISODES + episode)
    return chance.choice((1, 3, 10, 40, 40, 150)), chance.choice(
        ("terminated", "truncated", "reset")
    )


def reward_of(session: int, episode: int, step: int) -> float:
    return step * 0.5 + episode - session * 0.25


def action_of(session: int, episode: int, step: int) -> int:
    return (session * 31 + episode * 7 + step) % 999 + 1


def info_of(session: int, episode: int, step: int) -> dict[str, Any]:
    """Return an info; new keys, and ones that need a cell, come sooner or later."""
    info: dict[str, Any] = {"n": step, f"k{session % 5}": float(step)}
    if episode % 3 == 1 and step > 2:
        info["late"] = f"text {step}"
    if (session + episode) % 3 == 0 and step % 4 == 1:
        info["list"] = [step, episode]
    return info


def options_of(session: int, episode: int) -> dict[str, Any] | None:
    return {"o": episode} if (session + episode) % 4 == 1 else None


@dataclass
class Session:
    """One round's recording into one data set: what was asked of it, and what came back."""

    number: int
    name: str
    durability: Any
    returned: list[tuple[int, int, int]] = field(default_factory=list)
    """Episode, step, and the moment at which the call had returned, in nanoseconds."""
    closing: bool = False
    closed: bool = False
    killed: int = 0

    def promised(self) -> int:
        """Return how many of the calls must be in the file."""
        if self.closed or self.durability == "step":
            return len(self.returned)
        if self.durability == "close":
            return 0
        if self.durability == "episode":
            ends = (i + 1 for i, call in enumerate(self.returned) if self._ends(i, *call[:2]))
            return max(ends, default=0)
        before = self.killed - (self.durability + SLACK) * 1e9
        return sum(moment <= before for _, _, moment in self.returned)

    def _ends(self, i: int, episode: int, step: int) -> bool:
        length, ended = plan_of(self.number, episode)
        return step == length and (ended != "reset" or i + 1 < len(self.returned))

    def calls(self) -> Iterator[tuple[int, int]]:
        """Iterate over the calls that returned, and the one under way."""
        episode, step = 0, -1
        for episode, step, _ in self.returned:
            yield episode, step
        if not self.closed:
            full = step == plan_of(self.number, episode)[0]
            yield (episode + 1, 0) if full else (episode, step + 1)


def check_session(session: Session, episodes: list[Any], contents: bool) -> dict[str, float]:
    """Compare what a file holds of a session with what was promised and what was sent."""
    where = f"session {session.number} of {session.name!r} ({session.durability})"
    rows = 0
    calls = list(session.calls())
    for number, episode in enumerate(episodes):
        length, ended = plan_of(session.number, number)
        found = episode.episode_length
        assert episode.seed == session.number * EPISODES + number, f"{where}: seed {episode.seed}"
        last = number == len(episodes) - 1
        allowed = {ended} if found == length else set()
        if last and (found < length or ended == "reset"):
            allowed |= {"closed"} if session.closed else {"interrupted"}
            allowed |= {"closed"} if session.closing else set()
        assert episode.ended in allowed, (
            f"{where}: {number}: {episode.ended} after {found}/{length}"
        )
        if contents:
            check_episode(session.name, session.number, number, episode)
        rows += found + 1
    promise = calls[: session.promised()]
    # A reset that no step follows is no episode.
    while promise and promise[-1][1] == 0:
        promise.pop()
    assert rows >= len(promise), f"{where}: lost {len(promise) - rows} of {len(promise)} promised"
    assert rows <= len(calls), f"{where}: {rows} rows of {len(calls)} calls"
    late = 0.0
    if isinstance(session.durability, float) and rows < len(session.returned):
        # Rows that were lost say how old one can be that is not safe.
        late = (session.killed - session.returned[rows][2]) / 1e9 - session.durability
    return {"rows": rows, "late": late}


def check_episode(name: str, session: int, number: int, episode: Any) -> None:
    """Compare every value of an episode with what it must be."""
    steps = np.arange(episode.episode_length + 1)
    where = f"{name}, session {session}, episode {number}"
    wanted = observations_of(name, session, number, steps)
    assert np.array_equal(episode.observations, wanted), f"{where}: observations"
    assert episode.actions.tolist() == [action_of(session, number, n) for n in steps[1:]], where
    assert episode.rewards.tolist() == [reward_of(session, number, n) for n in steps[1:]], where
    assert episode.infos == [info_of(session, number, n) for n in steps.tolist()], f"{where}: infos"
    assert episode.options == options_of(session, number), f"{where}: options"
    assert (np.diff(episode.times) >= 0).all(), f"{where}: times"
    done = episode.terminations | episode.truncations
    assert done.tolist() == [False] * (len(done) - 1) + [True], f"{where}: flags"
    assert bool(episode.terminations[-1]) == (episode.ended == "terminated"), f"{where}: flags"


def check_file(filename: str, sessions: list[Session], checked: int, last: bool) -> dict[str, Any]:
    """Recover a file, if that is needed, and compare it; with contents from a session on."""
    result: dict[str, Any] = {"rows": 0, "late": 0.0}
    there = gymbag.list_datasets(filename) if os.path.exists(filename) else []
    for name in NAMES:
        mine = [session for session in sessions if session.name == name]
        episodes: list[Any] = []
        if name in there:
            store = gymbag.open(filename, name)
            episodes = list(store.episodes)
        for session in mine:
            group = [e for e in episodes if e.seed // EPISODES == session.number]
            assert episodes[: len(group)] == group, f"{name}: not in order at {session.number}"
            del episodes[: len(group)]
            found = check_session(session, group, last or session.number >= checked)
            result["rows"] += found["rows"]
            result["late"] = max(result["late"], found["late"])
        assert not episodes, f"{name}: {len(episodes)} episodes of nobody"
    if last and there:
        _compare_with_pytables(filename, there)
        result["records"] = snapshot.Snapshot(filename).footer.sequence
    return result


def _compare_with_pytables(filename: str, there: list[str]) -> None:
    with tables.open_file(filename, "r") as plain:
        for name in there:
            steps = plain.get_node(f"/{name}/steps").read()
            store = gymbag.open(filename, name)
            assert np.array_equal(steps["reward"], store["reward"], equal_nan=True), name
            assert plain.get_node(f"/{name}/episodes").nrows == len(store.episodes)


def read_on(filename: str, saw: Callable[[], object]) -> None:
    """Read beside a writer for ever: what is seen may only grow, and must be right."""
    known: dict[str, int] = {}
    seeds: dict[str, int] = {}
    last: dict[str, list[int]] = {}
    stores: dict[str, gymbag.Store] = {}
    while True:
        there = gymbag.list_datasets(filename) if os.path.exists(filename) else []
        assert known.keys() <= set(there), f"{there}, where {sorted(known)} were"
        for name in there:
            if name in stores and random.random() < 0.8:
                stores[name].refresh()
            else:
                stores[name] = gymbag.open(filename, name)
            episodes = stores[name].episodes
            assert len(episodes) >= known.get(name, 0), f"{name}: {known[name]}: went back"
            for number in range(known.get(name, 0), len(episodes)):
                seed = int(episodes[number].seed or 0)
                first, before = seed % EPISODES == 0, seeds.get(name, -1)
                assert seed > before, f"{name}: {seed} after {before}"
                assert first or seed == before + 1, f"{name}: {seed} after {before}"
                check_episode(name, *divmod(seed, EPISODES), episodes[number])
                seeds[name] = seed
            lengths = [episode.episode_length for episode in episodes[-2:]]
            if len(episodes) == known.get(name):
                assert lengths == last[name], f"{name}: an episode changed: {last[name]}, {lengths}"
            known[name], last[name] = len(episodes), lengths
        saw()
        time.sleep(0.002)


def play_on(env: Any, known: Known, say: Callable[..., None]) -> Callable[[], bool]:
    """Return a function that does the next call to a wrapped environment, and says so."""

    def call() -> bool:
        session, episode, step = known.place
        if episode < 0 or step == plan_of(session, episode)[0]:
            seed, options = session * EPISODES + episode + 1, options_of(session, episode + 1)
            env.reset(seed=seed, options=options)
        else:
            env.step(action_of(session, episode, step + 1))
        say(*known.place[1:])
        return True

    return call

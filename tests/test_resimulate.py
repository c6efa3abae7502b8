# SPDX-License-Identifier: LGPL-3.0-or-later
"""A recording is checked against its environment: what is equal is, what is not is found."""

from __future__ import annotations

import json
import math
import shlex
from pathlib import Path
from typing import Any

import gym
import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete, Text, Tuple
from hypothesis import given
from hypothesis import strategies as st

import gymbag
from gymbag import ListRecorder, RecordEnv, Resimulation, record_hdf5, resimulate
from gymbag.cli import main
from gymbag.errors import CompareError
from gymbag.memory import MemoryEpisode, MemorySource
from gymbag.steps import Ended, Step


class Walk(gymnasium.Env[Any, Any]):
    """A walk at random; every fifth step of an episode ends it, in one of two ways."""

    observation_space = Dict(
        pose=Box(-np.inf, np.inf, (2,), np.float32),
        seen=Tuple((Discrete(9), Text(3, charset="abc"))),
    )
    action_space = Discrete(3)

    def __init__(self, drift: float = 0.0) -> None:
        self.drift = drift

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.steps = 0
        self.pose = np.full(2, (options or {}).get("start", 0.0))
        return self._observe(), {"weather": self.np_random.random()}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.steps += 1
        self.pose += self.np_random.normal(action, size=2) + self.drift
        reward = math.nan if self.steps == 2 else float(self.pose[0])
        last = self.steps == 5
        even = bool(self.np_random.integers(2))
        return self._observe(), reward, last and even, last and not even, {"nobody": object()}

    def _observe(self) -> Any:
        # A list, where the space says array: it is compared as it is recorded.
        return {
            "pose": self.pose.astype(np.float32).tolist(),
            "seen": (self.steps, "abc"[self.steps % 3]),
        }


class GymWalk(gym.Env):  # type: ignore[misc,name-defined]
    """The same for gym 0.26."""

    observation_space = gym.spaces.Discrete(100)
    action_space = gym.spaces.Discrete(2)

    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.steps = 0
        return int(self.np_random.integers(100)), {}

    def step(self, action: Any) -> Any:
        self.steps += 1
        return int(self.np_random.integers(100)), 1.0, self.steps == 3, False, {}


class OldWalk:
    """The same for nobody's library, with steps of four values."""

    observation_space = Discrete(100)
    action_space = Discrete(2)

    def reset(self, seed: int | None = None) -> Any:
        self.steps, self.rng = 0, np.random.default_rng(seed)
        return int(self.rng.integers(100))

    def step(self, action: Any) -> Any:
        self.steps += 1
        info = {"TimeLimit.truncated": True} if self.steps == 3 else {}
        return int(self.rng.integers(100)), 0, self.steps == 3, info


def play(env: Any, *resets: dict[str, Any], most: int = 9) -> Any:
    """Play an episode after each reset; the second one is cut off by the next reset."""
    for number, reset in enumerate(resets):
        env.reset(**reset)
        for action in range(2 if number == 1 else most):
            if any(env.step(action % 2)[2:-1]):
                break
    return env


def recorded(*resets: dict[str, Any], env: Any = None) -> MemorySource:
    """Return a recording of `Walk`."""
    recorder = ListRecorder(Walk.observation_space, Walk.action_space)
    play(RecordEnv(env or Walk(), recorder), *resets).close()
    return MemorySource(
        recorder.iter_episodes(),
        observation_space=Walk.observation_space,
        action_space=Walk.action_space,
    )


CHAIN = ({"seed": 1}, {}, {"options": {"start": 7.0}}, {}, {"seed": 2})
GOOD = recorded(*CHAIN)


def why_not(found: Resimulation) -> list[str]:
    return [episode.not_checked for episode in found.episodes]


def test_episodes_without_a_seed_follow_from_those_before(tmp_path: Path) -> None:
    assert [episode.ended.value for episode in GOOD.episodes][1] == "reset"
    told: list[int] = []
    found = resimulate(GOOD, Walk, progress=told.append)
    assert found
    assert told == [1, 2, 3, 4, 5]
    assert [bool(episode) for episode in found.episodes] == [True] * 5
    assert [episode.rows for episode in found.episodes] == [6, 3, 6, 6, 6]
    assert "5 equal, 0 diverged" in str(found)

    path = tmp_path / "walk.h5"
    with pytest.warns(gymbag.RecordingWarning, match="left out"):
        play(record_hdf5(Walk(), path), *CHAIN).close()
    with gymbag.open(path) as store:
        assert resimulate(store, Walk, infos=True)
        chosen = store.where("observation.pose[0] > 7 and step == 0")
        numbers = [episode.id for episode in chosen.episodes()] or [2]
        assert [e.episode for e in resimulate(store, Walk, episodes=numbers).episodes] == [2]
        # A selection lacks those that it would follow from.
        selection = resimulate(store.where("episode in (0, 2)"), Walk)
        assert why_not(selection) == ["", "no seed, and the episode before it is not here"]


def changed(value: Any) -> Any:
    """Return another value of the same kind."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, str):
        return "a" if value != "a" else "b"
    return 0.5 if value != value else value + 1


PLACES = {
    "observation.pose[1]": lambda o: {**o, "pose": [o["pose"][0], changed(o["pose"][1])]},
    "observation.seen[0]": lambda o: {**o, "seen": ((o["seen"][0] + 1) % 9, o["seen"][1])},
    "observation.seen[1]": lambda o: {**o, "seen": (o["seen"][0], changed(o["seen"][1]))},
    "reward": changed,
    "terminated": changed,
    "truncated": changed,
}


@given(st.data())
def test_one_changed_value_is_found_where_it_is(data: Any) -> None:
    episodes = list(GOOD.episodes)
    number = data.draw(st.integers(0, len(episodes) - 1))
    episode: Any = episodes[number]
    place = data.draw(st.sampled_from(sorted(PLACES)))
    first = 0 if place.startswith("observation") else 1
    # Where the user cut an episode off, the last row is truncated, and not by the environment.
    last = len(episode) - (place == "truncated" and episode.ended is Ended.RESET)
    step = data.draw(st.integers(first, last))
    rows = list(episode.rows)
    field = place.split(".")[0]
    rows[step] = rows[step]._replace(**{field: PLACES[place](getattr(rows[step], field))})
    episodes[number] = MemoryEpisode(
        number, rows, seed=episode.seed, options=episode.options, ended=episode.ended
    )
    spoilt = MemorySource(
        episodes, observation_space=GOOD.observation_space, action_space=GOOD.action_space
    )

    found = resimulate(spoilt, Walk)
    assert not found
    [culprit] = found.diverged
    assert culprit.divergence is not None
    assert (culprit.episode, culprit.rows, culprit.divergence.step) == (number, step, step)
    assert culprit.divergence.field == place
    assert f"episode {number}, step {step}, {place}: recorded " in str(found)
    # What follows from it is not checked, up to the next seed.
    after = [bool(why) for why in why_not(found)]
    assert after == [number < k < 4 for k in range(5)]
    assert json.loads(json.dumps(found.to_json(), allow_nan=False))["diverged"] == 1


def test_tolerance_is_for_floats_only() -> None:
    assert resimulate(GOOD, lambda: Walk(1e-7), tolerance=1e-5)
    relative = resimulate(GOOD, lambda: Walk(1e-7), relative_tolerance=1e-3)
    assert relative
    assert set(relative.errors) == {"observation.pose", "reward"}
    exact = resimulate(GOOD, lambda: Walk(1e-7))
    first = exact.episodes[0].divergence
    assert first is not None
    assert (first.step, first.field) == (1, "observation.pose[0]")
    assert first.error == pytest.approx(1e-7, abs=1e-7)
    rows = list(GOOD.episodes[0].steps())
    rows[5] = rows[5]._replace(terminated=rows[5].truncated, truncated=rows[5].terminated)
    assert not resimulate([MemoryEpisode(0, rows, seed=1)], Walk, tolerance=9)
    with pytest.raises(CompareError, match="relative_tolerance: found -1"):
        resimulate(GOOD, Walk, relative_tolerance=-1)


def test_what_cannot_be_reproduced_is_not_checked(tmp_path: Path) -> None:
    found = resimulate(recorded({}, {}, {"seed": 3}), Walk)
    assert why_not(found) == ["no seed", "no seed", ""]
    assert found
    assert "episodes 0 to 1: not checked: no seed" in str(found)
    assert not resimulate(recorded({}), Walk)
    path = tmp_path / "walk.h5"
    for resets in (({"seed": 1}, {}, {}), ({}, {"seed": 1})):
        with pytest.warns(gymbag.RecordingWarning, match="left out"):
            play(record_hdf5(Walk(), path), *resets).close()
    with gymbag.open(path) as store:
        assert why_not(resimulate(store, Walk))[2:] == [
            "",
            "no seed, and it is the first of a recording",
            "",
        ]
    for ended in (Ended.CLOSED, Ended.INTERRUPTED, Ended.UNKNOWN):
        episodes: list[Any] = list(GOOD.episodes)
        episodes[0] = MemoryEpisode(0, episodes[0].rows[:4], seed=1, ended=ended)
        found = resimulate(MemorySource(episodes), Walk)
        assert why_not(found)[1] == "no seed, and nothing says what came before it"


def test_a_lost_reset_is_named_as_a_reason() -> None:
    recorder = ListRecorder()
    env = play(RecordEnv(Walk(), recorder), {"seed": 1})
    env.reset()
    play(env, {}).close()
    found = resimulate(MemorySource(recorder.iter_episodes()), Walk)
    # The reset that nobody stepped after drew the weather, and is not in the recording.
    assert [bool(episode) for episode in found.episodes] == [True, False]
    assert any("has no seed: it follows from the one before only if" in n for n in found.notes)


@pytest.mark.parametrize("make_env", [GymWalk, OldWalk])
def test_environments_of_gym_and_of_nobody(make_env: Any) -> None:
    recorder = ListRecorder(make_env.observation_space, make_env.action_space)
    play(RecordEnv(make_env(), recorder), {"seed": 1}, {"seed": 2}, {"seed": 3})
    source = MemorySource(recorder.iter_episodes())
    assert len(resimulate(source, make_env).checked) == 3
    wrong = [MemoryEpisode(0, source.episodes[0].rows, seed=4)]  # type: ignore[attr-defined]
    assert len(resimulate(wrong, make_env).diverged) == 1


def test_an_environment_without_chance_needs_no_seed() -> None:
    rows = [Step(0, k, 0, 1.0 if k else math.nan, k == 3, False, {}) for k in range(4)]

    class Count(OldWalk):
        def reset(self) -> Any:  # type: ignore[override]
            self.steps = 0
            return 0

        def step(self, action: Any) -> Any:
            self.steps += 1
            return self.steps, 1, self.steps == 3, {}

    source = MemorySource([MemoryEpisode(0, rows), MemoryEpisode(1, rows[:3], ended=Ended.UNKNOWN)])
    assert why_not(resimulate(source, Count)) == ["no seed"] * 2
    assert len(resimulate(source, Count, unseeded=True).checked) == 2


def test_what_cannot_be_checked_at_all_is_refused() -> None:
    class Broken(Walk):
        def step(self, action: Any) -> Any:
            raise ArithmeticError("no")

    with pytest.raises(CompareError, match=r"episode 0, step 1: .* raised ArithmeticError: no"):
        resimulate(GOOD, Broken)
    for thing in ("Walk-v0", lambda: None):
        with pytest.raises(CompareError, match=r"make_env: .*expected a function"):
            resimulate(GOOD, thing)  # type: ignore[arg-type]
    with pytest.raises(CompareError, match="is no Episode"):
        resimulate(gymbag.generate_monotonic(), Walk)


def test_at_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)

    def run(command: str) -> tuple[int, str, str]:
        capsys.readouterr()
        return (main(shlex.split(command)), *capsys.readouterr())

    run("record CartPole-v1 -o a.h5 --episodes 4")
    assert run("check a.h5 --env CartPole-v1")[::2] == (0, "")
    code, said, _ = run("check a.h5 --env CartPole-v1 --param sutton_barto_reward=True --json")
    found = json.loads(said)
    assert (code, found["diverged"]) == (1, 4)
    assert found["episodes"][0]["divergence"]["field"] == "reward"
    assert found["notes"] == ["env_spec.kwargs.sutton_barto_reward: recorded nothing, now True"]
    assert run("check a.h5 --env CartPole-v1 --where 'episode_return > 1e9'")[0] == 1
    Path("mine_to_check.py").write_text(
        "import gymnasium\ndef make():\n    return gymnasium.make('CartPole-v1')\n", "utf-8"
    )
    assert run("check a.h5 --env mine_to_check:make --where 'episode == 2'")[0] == 0
    for command, words in {
        "check a.h5": "if you trust it: gymbag check a.h5 --env CartPole-v1",
        "check a.h5 --env mine_to_check:nothing": "has no nothing; expected MODULE:FUNCTION",
        "check a.h5 --env CartPole-v1 --param nope=1": "nope",
        "check a.h5 --env nowhere:make": "No module named 'nowhere'",
        "check a.h5 --env Nope-v0": "Nope",
    }.items():
        code, _, error = run(command)
        assert (code, words in error, error.count("\n")) == (2, True, 1), error


def test_what_a_file_names_is_not_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    evil = Walk()
    entry = {"entry_point": "os:mkdir", "kwargs": {"path": str(tmp_path / "made")}}
    for env_id in ("os:mkdir", "CartPole-v1"):
        evil.spec = gymnasium.envs.registration.EnvSpec(env_id.partition(":")[0], **entry)
        text = json.dumps({**json.loads(evil.spec.to_json()), "id": env_id})
        monkeypatch.setattr("gymbag.record.spec_json", lambda _, text=text: text)
        path = tmp_path / f"{env_id[:2]}.h5"
        with pytest.warns(gymbag.RecordingWarning, match="left out"):
            play(record_hdf5(evil, path), {"seed": 1}).close()
        assert main(["check", str(path)]) == 2
        error = capsys.readouterr().err
        assert env_id in error
        assert ("if you trust it" in error) is (":" not in env_id)
        with gymbag.open(path) as store:
            assert resimulate(store, Walk)
    assert not (tmp_path / "made").exists()


def test_each_lane_of_a_vector_follows_from_its_own_seed(tmp_path: Path) -> None:
    path = tmp_path / "vector.h5"
    vector = gymnasium.make_vec("CartPole-v1", num_envs=3, vectorization_mode="sync")
    envs = record_hdf5(vector, path)
    envs.action_space.seed(1)
    envs.reset(seed=[7, None, 8])
    for _ in range(60):
        envs.step(envs.action_space.sample())
    envs.close()
    with gymbag.open(path) as store:
        found = resimulate(store, lambda: gymnasium.make("CartPole-v1"))
        lanes = store.where("step == 0")["lane"].tolist()
    assert found
    assert len(found.episodes) > 3
    for episode, lane in zip(found.episodes, lanes, strict=True):
        assert episode.not_checked.startswith("no seed") is (lane == 1)

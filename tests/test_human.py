# SPDX-License-Identifier: LGPL-3.0-or-later
"""A person plays: what the keys say is what is recorded. The window is one that nobody sees."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest

import gymbag
from gymbag.cli import main
from gymbag.cli.human import Game

pygame: Any = pytest.importorskip("pygame", reason="pip install 'gymbag[human]'")

SCREENLESS = "SDL_VIDEODRIVER", "dummy"
Frames = list[str]
"""What the person does in each frame: ``+left`` presses a key, ``-left`` lets it go."""


@pytest.fixture
def person(monkeypatch: pytest.MonkeyPatch) -> Callable[[Frames], list[str]]:
    """Has a person do things, a frame each, and at last close the window; returns the titles."""
    monkeypatch.setenv(*SCREENLESS)

    def sits_down(frames: Frames) -> list[str]:
        titles: list[str] = []

        class Clock:
            frames_left: Iterator[str]

            def __init__(self) -> None:
                self.frames_left = iter(frames)

            def tick(self, fps: float) -> None:
                titles.append(pygame.display.get_caption()[0])
                done = next(self.frames_left, None)
                if done is None:
                    pygame.event.post(pygame.event.Event(pygame.QUIT))
                for act in (done or "").split():
                    kind = pygame.KEYDOWN if act[0] == "+" else pygame.KEYUP
                    code = pygame.key.key_code(act[1:])
                    pygame.event.post(pygame.event.Event(kind, key=code))

        monkeypatch.setattr("pygame.time.Clock", Clock)
        return titles

    return sits_down


def actions(path: Path) -> list[list[Any]]:
    with gymbag.open(path) as store:
        assert store.metadata == {"policy": "human"}
        return [episode.actions.tolist() for episode in store.episodes]


def test_what_is_pressed_is_recorded(tmp_path: Path, person: Any, capsys: Any) -> None:
    # It is held for three frames; then nothing is pressed, and the game waits; then a tap.
    titles = person(["+left", "", "", "-left", "", "+right -right", "", "+left +right", "-right"])
    path = tmp_path / "x.h5"
    assert main(["record", "CartPole-v1", "-o", str(path), "--human", "--seed", "3"]) == 0
    assert actions(path) == [[0, 0, 0, 1, 1, 0]]
    with gymbag.open(path) as store:
        [episode] = store.episodes
        env = gymnasium.make("CartPole-v1")
        expected = [env.reset(seed=3)[0]] + [env.step(a)[0] for a in (0, 0, 0, 1, 1, 0)]
        np.testing.assert_array_equal(episode.observations, expected)
        assert (episode.seed, episode.ended) == (3, "closed")
    said = capsys.readouterr().out
    assert "left" in said
    assert "waits" in said
    assert "recorded 1 episode, 6 steps" in said
    assert titles[1] == "CartPole-v1 step 1, return 1"


def test_episodes_and_steps_are_limits(tmp_path: Path, person: Any, capsys: Any) -> None:
    person(["+left", *[""] * 99])
    path = tmp_path / "x.h5"
    assert main(["record", "CartPole-v1", "-o", str(path), "--human", "--episodes", "2"]) == 0
    with gymbag.open(path) as store:
        assert [(e.seed, e.ended.value) for e in store.episodes] == [
            (0, "terminated"),
            (1, "terminated"),
        ]
    person(["+left", *[""] * 99])
    assert main(["record", "CartPole-v1", "-o", str(path), "--human", "--steps", "4"]) == 0
    assert actions(path)[2:] == [[0] * 4]


def test_nobody_plays(tmp_path: Path, person: Any, capsys: Any) -> None:
    person([""])
    assert main(["record", "CartPole-v1", "-o", str(tmp_path / "x.h5"), "--human"]) == 0
    assert "recorded 0 episodes, 0 steps" in capsys.readouterr().out


class Own(gymnasium.Env[Any, Any]):
    """Names its keys itself, two at once among them, and is not done before its third step."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012
    observation_space = gymnasium.spaces.Discrete(9)
    action_space: Any = gymnasium.spaces.Discrete(4)

    def __init__(self, render_mode: str | None = None) -> None:
        self.render_mode = render_mode

    def get_keys_to_action(self) -> dict[Any, int]:
        return {"a": 1, (ord("s"),): 2, ("a", "s"): 3}

    def reset(self, **kwargs: Any) -> Any:
        self.at = 0
        return 0, {}

    def step(self, action: Any) -> Any:
        self.at += 1
        return self.at, 0.0, self.at == 3, False, {}

    def render(self) -> Any:
        return np.zeros((4, 5, 3), np.uint8)


class Continuous(Own):
    action_space = gymnasium.spaces.Box(-1, 1, (2,), np.float32)

    def get_keys_to_action(self) -> Any:
        raise AssertionError("the user's keys come first")


class Silent(Own):
    metadata = {"render_modes": ["ansi"]}  # noqa: RUF012


class Bare(gymnasium.Env[Any, Any]):
    """Knows no render mode at all."""


@pytest.fixture
def own(monkeypatch: pytest.MonkeyPatch) -> Callable[[type], str]:
    def register(cls: type) -> str:
        spec = gymnasium.envs.registration.EnvSpec(f"{cls.__name__}-v0", entry_point=cls)
        monkeypatch.setitem(gymnasium.registry, spec.id, spec)
        return spec.id

    return register


def test_keys_of_the_environment_and_of_the_user(
    tmp_path: Path, person: Any, own: Any, capsys: Any
) -> None:
    person(["", "+s", "+a", "-s", "-a"])
    path = tmp_path / "x.h5"
    assert main(["record", own(Own), "-o", str(path), "--human"]) == 0
    assert actions(path) == [[0, 2, 3], [1, 0]]
    assert "a+s" in capsys.readouterr().out

    person(["+left", "-left +z", "+left"])
    path = tmp_path / "y.h5"
    keys = "left=[-1,0],left+z=[-1.0, 0.5],none=[0,0]"
    assert main(["record", own(Continuous), "-o", str(path), "--human", "--keys", keys]) == 0
    assert actions(path) == [[[-1.0, 0.0], [0.0, 0.0], [-1.0, 0.5]]]


@pytest.mark.parametrize("env_id", ["MountainCar-v0", "FrozenLake-v1", "Pendulum-v1", "Taxi-v4"])
def test_gymnasiums_own_can_be_played(
    env_id: str, tmp_path: Path, person: Any, capsys: Any
) -> None:
    person(["+left", "-left", "+right", "+up", "-right"])
    path = tmp_path / "x.h5"
    assert main(["record", env_id, "-o", str(path), "--human"]) == 0
    [acted] = actions(path)[:1]
    assert len(acted) >= 2


def test_what_is_missing_is_said(
    tmp_path: Path, own: Any, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = str(tmp_path / "x.h5")

    def said(*arguments: str) -> str:
        assert main(["record", *arguments, "-o", path]) == 2
        error: str = capsys.readouterr().err
        assert error.count("\n") == 1
        return error

    monkeypatch.delenv("SDL_VIDEODRIVER", raising=False)
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    if sys.platform == "linux":
        assert "screen" in said("CartPole-v1", "--human")
    monkeypatch.setenv(*SCREENLESS)
    monkeypatch.setattr(Own, "get_keys_to_action", None)
    assert "is no action of Discrete(2)" in said("CartPole-v1", "--human", "--keys", "a=0,d=2")
    with pytest.raises(SystemExit, match="2"):
        main(["record", "CartPole-v1", "-o", "x.h5", "--human", "--keys", "a=0,d=1,a=1"])
    assert "'a': found two actions" in capsys.readouterr().err
    assert "no such key" in said("CartPole-v1", "--human", "--keys", "lft=0")
    assert "for --human" in said("CartPole-v1", "--keys", "a=0")
    assert "['ansi']; expected rgb_array" in said(own(Silent), "--human")
    assert "expected rgb_array" in said(own(Bare), "--human")
    monkeypatch.delattr(Own, "get_keys_to_action")
    assert "--keys a=0,d=1" in said(own(Own), "--human")
    monkeypatch.setitem(sys.modules, "pygame", None)
    assert "pip install 'gymbag[human]'" in said("CartPole-v1", "--human")
    assert not Path(path).exists()
    with pytest.raises(SystemExit, match="2"):
        main(["record", "CartPole-v1", "-o", path, "--human", "--keys", "a"])


def test_the_latest_key_counts_where_the_combination_means_nothing() -> None:
    game = Game.__new__(Game)
    game._keys = {frozenset({1}): 0, frozenset({2}): 1}
    game._held, game._tapped = [1, 2], []
    assert game._choose() == {2}
    game._held = []
    assert game._choose() is None

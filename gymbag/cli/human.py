# SPDX-License-Identifier: LGPL-3.0-or-later
"""A person plays an environment in a window, with keys.

It does what Gymnasium's `play` does, and takes keys from the same place. That one goes on until its
window is closed, whatever the number of episodes, gives each the same seed, misses a key that is
pressed and let go within a frame, and chooses a backend for matplotlib.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from itertools import count
from typing import Any

import gymnasium
import numpy as np

from gymbag.cli.environments import make
from gymbag.cli.keys import find_keys, load_pygame, name_keys
from gymbag.cli.output import print_table
from gymbag.errors import GymbagError

FPS = 30
"""Steps a second, if the environment does not say how many images it shows in one."""
HEIGHT = 480
"""About as many pixels high is the window at least; of a small image each is shown as several."""


def make_shown(env_id: str) -> gymnasium.Env[Any, Any]:
    """Return the environment of that id, which gives images of itself.

    Raises:
        GymbagError: it gives none.
    """
    modes: Any = "none"
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*render_mode")
        try:
            env = make(env_id, render_mode="rgb_array")
            modes = env.metadata.get("render_modes", [])
        except TypeError as error:
            if "render_mode" not in str(error):
                raise
    if "rgb_array" not in modes:
        raise GymbagError(
            f"--human: {env_id}: render modes are {modes}; expected rgb_array among them, to have "
            "images to show"
        )
    return env


class Game:
    """An environment with keys, in a window that opens when it is played.

    Args:
        env: gives images.
        keys: names of keys and their actions; None for those that are known.
        fps: steps a second; None for as many as the environment says.

    Raises:
        GymbagError: pygame, a screen or the keys are missing.
    """

    def __init__(
        self, env: gymnasium.Env[Any, Any], keys: Mapping[str, Any] | None, fps: int | None
    ) -> None:
        self._pygame = load_pygame()
        self._keys = find_keys(env, self._pygame, keys)
        self._used = frozenset().union(*self._keys)
        self._fps = fps or env.metadata.get("render_fps") or FPS
        self._meanings = _meanings(env)
        self._held: list[int] = []
        """Keys that are held, the last pressed at the end."""
        self._tapped: list[int] = []
        """Keys that were pressed since the last step, let go meanwhile or not."""
        self._closed = False
        self._screen: Any = None

    def explain(self) -> None:
        """Print which key does what."""
        rows = [
            [name_keys(codes, self._pygame), action, self._meanings.get(str(action), "")]
            for codes, action in self._keys.items()
        ]
        if frozenset() not in self._keys:
            rows.append(["no key", "", "waits"])
        print_table(["keys", "action", "meaning"], [*rows, ["escape", "", "ends the recording"]])

    def steps(
        self, env: gymnasium.Env[Any, Any], seed: int, stopped: Callable[[], bool]
    ) -> Iterator[bool]:
        """Let a person act until the window is closed; after each step, say if it ended an episode.

        Args:
            env: where to.
            seed: of the first episode; each next episode has the next number.
            stopped: asked again and again whether to end.
        """
        clock = self._pygame.time.Clock()
        try:
            for number in count(seed):
                env.reset(seed=number)
                self._tapped.clear()
                steps, total, ended = 0, 0.0, False
                self._show(env, f"step {steps}")
                while not ended:
                    clock.tick(self._fps)
                    self._listen()
                    if self._closed or stopped():
                        return
                    chosen = self._choose()
                    if chosen is None:
                        continue
                    _, reward, terminated, truncated, _ = env.step(self._keys[chosen])
                    steps, total = steps + 1, total + float(reward)
                    ended = terminated or truncated
                    self._show(env, f"step {steps:,}, return {total:g}")
                    yield ended
        finally:
            self._pygame.display.quit()

    def _listen(self) -> None:
        pygame = self._pygame
        for event in pygame.event.get():
            if event.type == pygame.QUIT:
                self._closed = True
            elif event.type == pygame.KEYDOWN and event.key in self._used:
                self._held = [*(key for key in self._held if key != event.key), event.key]
                self._tapped.append(event.key)
            elif event.type == pygame.KEYDOWN and event.key == pygame.K_ESCAPE:
                self._closed = True
            elif event.type == pygame.KEYUP and event.key in self._held:
                self._held.remove(event.key)
            elif event.type == pygame.WINDOWFOCUSLOST:
                self._held.clear()

    def _choose(self) -> frozenset[int] | None:
        """Return the keys that count now: all together, or the latest; None to wait."""
        pressed = [*self._held, *self._tapped]
        self._tapped.clear()
        choices = [frozenset(pressed), *(frozenset([key]) for key in pressed[::-1]), frozenset()]
        return next((codes for codes in choices if codes in self._keys), None)

    def _show(self, env: gymnasium.Env[Any, Any], status: str) -> None:
        frame = env.render()
        if not isinstance(frame, np.ndarray) or frame.ndim != 3 or frame.dtype != np.uint8:
            raise GymbagError("--human: the environment gave no image; expected uint8 (H, W, 3)")
        display = self._pygame.display
        if self._screen is None:
            height, width = frame.shape[:2]
            zoom = max(1, round(HEIGHT / height))
            self._screen = display.set_mode((width * zoom, height * zoom))
        image = self._pygame.surfarray.make_surface(frame.swapaxes(0, 1))
        self._pygame.transform.scale(image, self._screen.get_size(), self._screen)
        display.set_caption(f"{'' if env.spec is None else env.spec.id} {status}".strip())
        display.flip()


def _meanings(env: gymnasium.Env[Any, Any]) -> dict[str, str]:
    """Return what an environment, as one of Atari, calls its actions."""
    if not env.has_wrapper_attr("get_action_meanings"):
        return {}
    return {
        str(action): text
        for action, text in enumerate(env.get_wrapper_attr("get_action_meanings")())
    }

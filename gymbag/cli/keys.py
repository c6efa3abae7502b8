# SPDX-License-Identifier: LGPL-3.0-or-later
"""Which key does what in an environment that a person plays."""

from __future__ import annotations

import argparse
import ast
import os
import re
from collections.abc import Hashable, Iterable, Mapping
from typing import Any, TypeAlias

import gymnasium
import numpy as np
from gymnasium.spaces import Box, MultiBinary, MultiDiscrete

from gymbag.errors import GymbagError

Keys: TypeAlias = dict[frozenset[int], Any]
"""The action for each set of keys that are held together; for none, if the game does not wait."""

NONE = "none"

KNOWN: dict[str, dict[str, Any]] = {
    "Acrobot": {"left": 0, NONE: 1, "right": 2},
    "Blackjack": {"s": 0, "h": 1},
    "CartPole": {"left": 0, "right": 1},
    "CliffWalking": {"up": 0, "right": 1, "down": 2, "left": 3},
    "CliffWalkingSlippery": {"up": 0, "right": 1, "down": 2, "left": 3},
    "FrozenLake": {"left": 0, "down": 1, "right": 2, "up": 3},
    "FrozenLake8x8": {"left": 0, "down": 1, "right": 2, "up": 3},
    "LunarLander": {NONE: 0, "left": 1, "up": 2, "right": 3},
    # Its own are those of SDL 1, and no key of SDL 2 has such a number.
    "MountainCar": {"left": 0, NONE: 1, "right": 2},
    "MountainCarContinuous": {"left": [-1.0], NONE: [0.0], "right": [1.0]},
    "Pendulum": {"left": [2.0], NONE: [0.0], "right": [-2.0]},
    "Taxi": {"down": 0, "up": 1, "right": 2, "left": 3, "p": 4, "d": 5},
}
"""Gymnasium's environments that do not say it themselves."""


def load_pygame() -> Any:
    """Return pygame, ready to open a window.

    Raises:
        GymbagError: it is not installed, or there is no screen.
    """
    os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
    try:
        import pygame
    except ImportError as error:
        raise GymbagError("--human: needs pygame; run: pip install 'gymbag[human]'") from error
    try:
        pygame.display.init()
    except pygame.error as error:
        raise GymbagError(f"--human: {error}; expected a screen to open a window on") from error
    driver = pygame.display.get_driver()
    # Without a screen SDL shows the window to nobody, unless somebody asked for that.
    if driver in ("offscreen", "dummy") and not os.environ.get("SDL_VIDEODRIVER"):
        pygame.display.quit()
        raise GymbagError("--human: found no screen; expected one to open a window on")
    return pygame


def keys_argument(text: str) -> dict[str, Any]:
    """Return the names of keys and their actions.

    >>> keys_argument("left=0,right=1,left+up=[0.5,-1],none=2")
    {'left': 0, 'right': 1, 'left+up': [0.5, -1], 'none': 2}
    """
    found: dict[str, Any] = {}
    for part in re.split(r",(?=[^,\[\]=]+=)", text):
        name, _, value = (text.strip() for text in part.partition("="))
        if name in found:
            raise argparse.ArgumentTypeError(f"{name!r:.80}: found two actions; expected one")
        try:
            found[name] = ast.literal_eval(value if name else "")
        except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
            raise argparse.ArgumentTypeError(
                f"{part!r:.80}: expected KEY=ACTION, as in a=0,d=1,a+d=2,none=3"
            ) from None
    return found


def find_keys(env: gymnasium.Env[Any, Any], pygame: Any, given: Mapping[str, Any] | None) -> Keys:
    """Return which keys stand for which actions.

    Those of the user come first; then Gymnasium's own environments; then what the environment
    says in ``get_keys_to_action``, where no key means action 0, as for Gymnasium's `play`.

    Raises:
        GymbagError: nobody knows, there is no such key, or it is no action of the environment.
    """
    if given is None:
        name = "" if env.spec is None else env.spec.name
        given = KNOWN.get(name)
    if given is not None:
        named = {_codes(text, pygame): action for text, action in given.items()}
    elif env.has_wrapper_attr("get_keys_to_action"):
        theirs = env.get_wrapper_attr("get_keys_to_action")()
        named = {_their_codes(keys): action for keys, action in theirs.items()}
        if env.action_space.contains(0):
            named.setdefault(frozenset(), 0)
    else:
        raise GymbagError(
            f"--human: nobody says which key does what in an environment of {env.action_space}; "
            "say it: --keys a=0,d=1"
        )
    return {codes: _as_action(env.action_space, action) for codes, action in named.items()}


def name_keys(codes: Iterable[int], pygame: Any) -> str:
    """Return the names of keys that are held together."""
    return "+".join(pygame.key.name(code) or str(code) for code in sorted(codes)) or "no key"


def _codes(text: str, pygame: Any) -> frozenset[int]:
    try:
        names = () if text == NONE else text.split("+")
        return frozenset(pygame.key.key_code(name.strip()) for name in names)
    except ValueError:
        raise GymbagError(
            f"--keys: {text!r}: there is no such key; expected names as a, space, left, or left+up "
            "for two, or none"
        ) from None


def _their_codes(keys: Hashable) -> frozenset[int]:
    """Return the keys that an environment names: characters, their numbers, or several of them."""
    several: Iterable[Any] = (keys,) if isinstance(keys, int) else keys  # type: ignore[assignment]
    return frozenset(ord(key) if isinstance(key, str) else int(key) for key in several)


def _as_action(space: gymnasium.Space[Any], value: Any) -> Any:
    arrays = isinstance(space, Box | MultiBinary | MultiDiscrete)
    try:
        action = np.asarray(value, space.dtype) if arrays else value
        if space.contains(action):
            return action
    except (TypeError, ValueError):
        pass
    like = f"; expected a list of the shape {space.shape}" if arrays else ""
    raise GymbagError(f"--keys: {value!r} is no action of {space}{like}")

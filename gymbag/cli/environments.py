# SPDX-License-Identifier: LGPL-3.0-or-later
"""Environments by name, and somebody to act in them."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any

import gymnasium

from gymbag.errors import GymbagError
from gymbag.generate import RandomAgent


def make(env_id: str) -> gymnasium.Env[Any, Any]:
    """Return the environment of that id; a module may stand before it, as ``module:EnvId``.

    Raises:
        GymbagError: a package is missing; the message says how to get it.
    """
    if env_id.startswith("ALE/") and not register_atari():
        raise GymbagError(f"{env_id}: needs ale-py; run: pip install 'gymbag[atari]'")
    try:
        return gymnasium.make(env_id)
    except ImportError as error:
        raise GymbagError(f"{env_id}: {error}") from error


def register_atari() -> bool:
    """Make the Atari games known to Gymnasium; return whether they are installed."""
    try:
        import ale_py
    except ImportError:
        return False
    ale_py.ALEInterface.setLoggerMode(ale_py.LoggerMode.Error)
    gymnasium.register_envs(ale_py)
    return True


def random_steps(env: gymnasium.Env[Any, Any], seed: int) -> Iterator[bool]:
    """Take random actions for ever; after each, say whether it ended an episode.

    Args:
        env: where to.
        seed: of the actions and of the first episode; each next episode has the next number.
    """
    agent = RandomAgent(env.action_space, seed)
    for number in count(seed):
        env.reset(seed=number)
        ended = False
        while not ended:
            _, _, terminated, truncated, _ = env.step(agent.act())
            ended = terminated or truncated
            yield ended


@contextmanager
def polite_interrupt() -> Iterator[Callable[[], bool]]:
    """Let the step that runs be finished at the first Ctrl-C; the second one is as always.

    Yields:
        A function that says whether Ctrl-C was pressed.
    """
    pressed = False

    def press(*_: object) -> None:
        nonlocal pressed
        pressed = True
        signal.signal(signal.SIGINT, before)

    before = signal.signal(signal.SIGINT, press)
    try:
        yield lambda: pressed
    finally:
        signal.signal(signal.SIGINT, before)

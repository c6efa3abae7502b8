# SPDX-License-Identifier: LGPL-3.0-or-later
"""Environments by name, and somebody to act in them."""

from __future__ import annotations

import importlib
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import count
from typing import Any

import gymnasium

from gymbag.errors import GymbagError
from gymbag.generate import RandomAgent


def make(env_id: str, **kwargs: Any) -> gymnasium.Env[Any, Any]:
    """Return the environment of that id; a module may stand before it, as ``module:EnvId``.

    Args:
        env_id: the id.
        **kwargs: for `gymnasium.make`.

    Raises:
        GymbagError: a package is missing; the message says how to get it.
    """
    if env_id.startswith("ALE/") and not register_atari():
        raise GymbagError(f"{env_id}: needs ale-py; run: pip install 'gymbag[atari]'")
    try:
        return gymnasium.make(env_id, **kwargs)
    except ImportError as error:
        raise GymbagError(f"{env_id}: {error}") from error


def find_maker(text: str) -> Callable[..., Any]:
    """Return what makes the environment that a user named.

    Args:
        text: an id as for `make`, or ``module:function`` with a function, or a class, that returns
            the environment; a module in the working directory is found, too.

    Raises:
        GymbagError: the module cannot be imported, or has no such function.

    >>> find_maker("gymbag:RandomEnv").__name__
    'RandomEnv'
    """
    module_name, colon, name = text.rpartition(":")
    if not colon:
        return partial(make, text)
    # After all else, so that nothing there stands in for a module of another package.
    sys.path.append(os.getcwd())
    try:
        module = importlib.import_module(module_name)
    except (ImportError, ValueError) as error:
        raise GymbagError(f"{text}: {error}; expected MODULE:FUNCTION or MODULE:ENV_ID") from error
    finally:
        sys.path.pop()
    if hasattr(module, name):
        found: Callable[..., Any] = getattr(module, name)
        return found
    if name.isidentifier():
        raise GymbagError(f"{text}: {module_name} has no {name}; expected MODULE:FUNCTION")
    return partial(make, text)


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

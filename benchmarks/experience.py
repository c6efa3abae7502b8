# SPDX-License-Identifier: LGPL-3.0-or-later
"""The experience that `benchmarks.reading` reads: frames of Breakout, and a great many poles."""

from __future__ import annotations

from typing import Any, NamedTuple

import gymnasium
import numpy as np
from numpy.typing import NDArray

BREAKOUT, CARTPOLE = "Breakout", "CartPole"


class Experience(NamedTuple):
    """Whole episodes; row 0 of each is its reset, whose action, reward and flags are 0."""

    observations: NDArray[Any]
    actions: NDArray[np.int64]
    rewards: NDArray[np.float64]
    terminated: NDArray[np.bool_]
    truncated: NDArray[np.bool_]
    lengths: NDArray[np.int64]
    """Rows of each episode, the reset's included."""


def space_of(column: NDArray[Any]) -> gymnasium.Space[Any]:
    """Return a space of such observations or actions."""
    if column.ndim == 1:
        return gymnasium.spaces.Discrete(int(column.max()) + 1)
    low, high = (0, 255) if column.dtype == np.uint8 else (-np.inf, np.inf)
    return gymnasium.spaces.Box(low, high, column.shape[1:], column.dtype.type)


def make(name: str, rows: int) -> Experience:
    return {BREAKOUT: breakout, CARTPOLE: cartpole}[name](rows)


def breakout(steps: int) -> Experience:
    """Return so many steps of ALE/Breakout-v5, of random actions; the last episode is cut off."""
    import ale_py

    gymnasium.register_envs(ale_py)
    env = gymnasium.make("ALE/Breakout-v5")
    random = np.random.default_rng(0)
    rows: list[tuple[Any, int, float, bool, bool]] = []
    starts, seed = [], 0
    done = True
    for action in random.integers(4, size=steps).tolist():
        if done:
            starts.append(len(rows))
            rows.append((env.reset(seed=seed)[0], 0, 0.0, False, False))
            seed += 1
        observation, reward, terminated, truncated, _ = env.step(action)
        rows.append((observation, action, float(reward), terminated, truncated))
        done = terminated or truncated
    env.close()
    return experience([np.array(column) for column in zip(*rows, strict=True)], starts)


GRAVITY, CART, POLE, HALF_LENGTH, FORCE, SECONDS = 9.8, 1.0, 0.1, 0.5, 10.0, 0.02
MOST_TILT, MOST_WAY, MOST_STEPS = 0.2095, 2.4, 200
BATCH = 512
NOISE = 1.0


def cartpole(rows: int) -> Experience:
    """Return so many rows of poles on carts, many at a time, under a clumsy hand.

    The frictionless cart and pole of Barto, Sutton and Anderson, 1983, by Euler's method. It is
    pushed to where the pole falls, but for noise, for at most 200 steps.
    """
    random = np.random.default_rng(0)
    parts: list[list[NDArray[Any]]] = []
    total = 0
    while total < rows:
        parts.append(poles(random))
        total += len(parts[-1][0])
    joined = map(np.concatenate, zip(*parts, strict=True))
    observations, actions, terminated, truncated, steps = joined
    starts = np.flatnonzero(steps[:rows] == 0).tolist()
    rewards = (steps > 0).astype(np.float64)
    columns = [observations, actions, rewards, terminated, truncated]
    cut = [column[:rows] for column in columns]
    # An episode cut short by the number of rows is truncated, and needs a step for that.
    if starts[-1] == rows - 1:
        cut, starts = [column[:-1] for column in cut], starts[:-1]
    cut[4][-1] = not cut[3][-1]
    return experience(cut, starts)


def poles(random: np.random.Generator) -> list[NDArray[Any]]:
    """Return observations, actions, both flags and steps of `BATCH` episodes, one by one."""
    state = random.uniform(-0.05, 0.05, (BATCH, 4))
    states, actions = [state], [np.zeros(BATCH, np.int64)]
    upright, alive = np.ones(BATCH, np.bool_), [np.ones(BATCH, np.bool_)]
    fallen = [np.zeros(BATCH, np.bool_)]
    for _ in range(MOST_STEPS):
        alive.append(upright)
        push = state[:, 2] + state[:, 3] + random.normal(0, NOISE, BATCH) > 0
        state = moved(state, np.where(push, FORCE, -FORCE))
        falls = (np.abs(state[:, 0]) > MOST_WAY) | (np.abs(state[:, 2]) > MOST_TILT)
        states.append(state)
        actions.append(push.astype(np.int64))
        fallen.append(falls)
        upright = upright & ~falls
    steps = np.broadcast_to(np.arange(MOST_STEPS + 1)[:, None], (MOST_STEPS + 1, BATCH))
    terminated = np.array(fallen)
    truncated = (steps == MOST_STEPS) & ~terminated
    lived = np.array(alive).T
    columns = np.array(states, np.float32), np.array(actions), terminated, truncated, steps
    return [column.swapaxes(0, 1)[lived] for column in columns]


def moved(state: NDArray[np.float64], force: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the states one step later: place, speed, angle, its speed."""
    speed, angle, turning = state[:, 1], state[:, 2], state[:, 3]
    sine, cosine = np.sin(angle), np.cos(angle)
    mass = CART + POLE
    swing = (force + POLE * HALF_LENGTH * turning**2 * sine) / mass
    inertia = HALF_LENGTH * (4 / 3 - POLE * cosine**2 / mass)
    turned = (GRAVITY * sine - cosine * swing) / inertia
    pushed = swing - POLE * HALF_LENGTH * turned * cosine / mass
    return state + SECONDS * np.stack([speed, pushed, turning, turned], axis=1)


def experience(columns: list[NDArray[Any]], starts: list[int]) -> Experience:
    lengths = np.diff([*starts, len(columns[0])])
    return Experience(*columns, lengths)

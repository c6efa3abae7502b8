# SPDX-License-Identifier: LGPL-3.0-or-later
"""Measures one recording in a process of its own and prints one line of JSON.

    python -m benchmarks.worker gymbag CartPole-v1 100000 0
    python -m benchmarks.worker gymbag CartPole-v1 100000 0 8

The last number is how many environments step together, as a vector. It ends with the status
EX_UNAVAILABLE when the recorder is not installed. POSIX only.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium
import numpy as np

from benchmarks.harness import work
from benchmarks.recorders import RECORDERS
from benchmarks.stopwatch import Stopwatch, folder_bytes, peak_mb


class Cost(NamedTuple):
    """What one recording took, from the wrapping of the environment to the end of `close`."""

    wall_seconds: float
    cpu_seconds: float
    bytes: int


def drive(env: Any, actions: list[int]) -> None:
    env.reset()
    for action in actions:
        outcome = env.step(action)
        # terminated and truncated of five values, or twice the done of gym 0.9.2's four.
        if outcome[2] or outcome[-2]:
            env.reset()


def drive_vector(env: Any, actions: np.ndarray) -> None:
    env.reset()
    for action in actions:
        env.step(action)


def record(recorder: str, env_id: str, steps: int, seed: int, lanes: int = 0) -> Cost:
    rng = np.random.default_rng(seed)
    env: Any
    actions: Any
    if lanes:
        env = gymnasium.make_vec(env_id, lanes, vectorization_mode="sync")
        actions = rng.integers(env.single_action_space.n, size=(-(-steps // lanes), lanes))
    else:
        env = gymnasium.make(env_id)
        # Plain ints, which alone the original gym_recording can write.
        actions = rng.integers(env.action_space.n, size=steps).tolist()
    env.reset(seed=seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        watch = Stopwatch()
        recording = RECORDERS[recorder](env, folder)
        (drive_vector if lanes else drive)(recording, actions)
        recording.close()
        wall, cpu = watch.read()
        return Cost(round(wall, 6), round(cpu, 6), folder_bytes(folder))


def measure(recorder: str, env_id: str, steps: str, seed: str, lanes: str = "0") -> dict[str, Any]:
    if env_id.startswith("ALE/"):
        import ale_py

        gymnasium.register_envs(ale_py)
    # The first recording pays for imports, in time and in memory; the second warms up.
    record(recorder, env_id, 1, int(seed), int(lanes))
    loaded = peak_mb()
    record(recorder, env_id, int(steps) // 20 + 1, int(seed), int(lanes))
    cost = record(recorder, env_id, int(steps), int(seed), int(lanes))
    return {
        "recorder": recorder,
        "environment": f"{env_id}, {lanes} lanes" if int(lanes) else env_id,
        "steps": int(steps),
        "seed": int(seed),
        **cost._asdict(),
        "loaded_mb": loaded,
        "peak_mb": peak_mb(),
    }


if __name__ == "__main__":
    sys.exit(work(measure, *sys.argv[1:]))

# SPDX-License-Identifier: LGPL-3.0-or-later
"""Measures one recording in a process of its own and prints one line of JSON.

    python -m benchmarks.worker gymbag CartPole-v1 100000 0

It ends with the status EX_UNAVAILABLE when the recorder is not installed. POSIX only.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium
import numpy as np

from benchmarks.recorders import RECORDERS


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


def record(recorder: str, env_id: str, steps: int, seed: int) -> Cost:
    env: Any = gymnasium.make(env_id)
    env.reset(seed=seed)
    # Plain ints, which alone the original gym_recording can write.
    actions = np.random.default_rng(seed).integers(env.action_space.n, size=steps).tolist()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        wall, cpu = time.perf_counter(), cpu_seconds()
        recording = RECORDERS[recorder](env, folder)
        drive(recording, actions)
        recording.close()
        wall, cpu = time.perf_counter() - wall, cpu_seconds() - cpu
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return Cost(round(wall, 6), round(cpu, 6), size)


def cpu_seconds() -> float:
    # A recorder may compress in a process of its own.
    both = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in both)


def peak_mb() -> float:
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit // 1000 / 1000


def measure(recorder: str, env_id: str, steps: int, seed: int) -> dict[str, Any]:
    if env_id.startswith("ALE/"):
        import ale_py

        gymnasium.register_envs(ale_py)
    # The first recording pays for imports, in time and in memory; the second warms up.
    record(recorder, env_id, 1, seed)
    loaded = peak_mb()
    record(recorder, env_id, steps // 20 + 1, seed)
    cost = record(recorder, env_id, steps, seed)
    return {
        "recorder": recorder,
        "environment": env_id,
        "steps": steps,
        "seed": seed,
        **cost._asdict(),
        "loaded_mb": loaded,
        "peak_mb": peak_mb(),
    }


def main(recorder: str, env_id: str, steps: str, seed: str) -> int:
    try:
        print(json.dumps(measure(recorder, env_id, int(steps), int(seed))))
    except ImportError as error:
        print(error, file=sys.stderr)
        return os.EX_UNAVAILABLE
    return os.EX_OK


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

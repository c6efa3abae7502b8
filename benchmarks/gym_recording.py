# SPDX-License-Identifier: LGPL-3.0-or-later
"""A baseline that records as gym_recording does, written anew from its files.

One recorder writes into one folder, where ``P`` is ``openaigym.trace.<counter>.<pid>``:

``P.ep<first episode>.bin``
    Raw little-endian arrays, each at a multiple of 8 bytes.
``P.ep<first episode>.json``
    ``{"episodes": [{"actions": …, "observations": …, "rewards": …}, …]}``, each array as its
    place in the bin file.
``P.manifest.json``
    ``{"batches": [{"first": …, "len": …, "fn": …}, …]}``, rewritten after each batch.

Episodes wait in memory until at least a batch of steps has come together. Nothing is copied
on the way: an environment that reuses its arrays is recorded wrongly, as with the original.
Times, infos, spaces and why an episode ended are not kept.

    recording = TraceRecording(env, folder)
"""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, SupportsFloat

import gymnasium
import numpy as np
from numpy.typing import NDArray

FIRST_BATCH_STEPS = 100
BATCH_BYTES = 5_000_000
MOST_BATCH_STEPS = 50_000
ALIGNMENT = 8

_counter = itertools.count()


class TraceRecording(gymnasium.Wrapper[Any, Any, Any, Any]):
    """An environment whose steps a `TraceWriter` writes into `folder`."""

    def __init__(self, env: gymnasium.Env[Any, Any], folder: Path) -> None:
        super().__init__(env)
        self._writer = TraceWriter(folder)

    def reset(self, **kwargs: Any) -> tuple[Any, dict[str, Any]]:
        """Reset the environment and begin an episode."""
        observation, info = self.env.reset(**kwargs)
        self._writer.begin(observation)
        return observation, info

    def step(self, action: Any) -> tuple[Any, SupportsFloat, bool, bool, dict[str, Any]]:
        """Step the environment and keep what came of it."""
        outcome = self.env.step(action)
        self._writer.step(action, outcome[0], outcome[1])
        return outcome

    def close(self) -> None:
        """Close the environment and save what is left."""
        super().close()
        self._writer.close()


class TraceWriter:
    """Collects episodes and writes them in batches into `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._prefix = f"openaigym.trace.{next(_counter)}.{os.getpid()}"
        self._episode: dict[str, list[Any]] | None = None
        self._episodes: list[dict[str, list[Any]]] = []
        self._steps = 0
        self._batch_steps = FIRST_BATCH_STEPS
        self._batches: list[dict[str, Any]] = []
        self._saved = 0

    def begin(self, observation: Any) -> None:
        """End the episode, if there is one, and begin another."""
        self._end()
        self._episode = {"actions": [], "observations": [observation], "rewards": []}

    def step(self, action: Any, observation: Any, reward: Any) -> None:
        """Keep one step of the episode that `begin` began."""
        if self._episode is None:
            raise ValueError("step before the first reset; reset the environment first")
        self._episode["actions"].append(action)
        self._episode["observations"].append(observation)
        self._episode["rewards"].append(reward)
        self._steps += 1

    def close(self) -> None:
        """End the episode and save what is left."""
        self._end()
        if self._episodes:
            self._save()

    def _end(self) -> None:
        if self._episode is None:
            return
        self._episodes.append(self._episode)
        self._episode = None
        if self._steps >= self._batch_steps:
            self._save()

    def _save(self) -> None:
        name = f"{self._prefix}.ep{self._saved:09d}"
        with (
            replacing(self._folder / f"{name}.json", "w") as text,
            replacing(self._folder / f"{name}.bin", "wb") as binary,
        ):
            episodes = [
                {field: put(binary, f"{name}.bin", values) for field, values in episode.items()}
                for episode in self._episodes
            ]
            json.dump({"episodes": episodes}, text)
            size = binary.tell()
        self._batches.append(
            {"first": self._saved, "len": len(self._episodes), "fn": f"{name}.json"}
        )
        # The manifest comes last: until it names them, a reader does not see the new files.
        with replacing(self._folder / f"{self._prefix}.manifest.json", "w") as manifest:
            json.dump({"batches": self._batches}, manifest)

        steps_that_fit = int(BATCH_BYTES * self._steps / size) + 1
        self._batch_steps = min(steps_that_fit, MOST_BATCH_STEPS)
        self._saved += len(self._episodes)
        self._episodes = []
        self._steps = 0


@contextmanager
def replacing(path: Path, mode: str) -> Iterator[IO[Any]]:
    """Open a file that appears as `path` only when it is complete."""
    unfinished = path.with_name(f"{path.name}~")
    with unfinished.open(mode) as file:
        yield file
    unfinished.replace(path)


def put(binary: IO[bytes], name: str, values: list[Any]) -> Any:
    """Write what an episode holds in one field; return the JSON that tells where.

    Scalars and vectors become one array. Images stay apart: a list of arrays.
    """
    if not values:
        return put_array(binary, name, np.empty((1, 0)))
    if isinstance(values[0], np.ndarray) and values[0].ndim != 1:
        return [put_array(binary, name, value) for value in values]
    return put_array(binary, name, np.array(values))


def put_array(binary: IO[bytes], name: str, array: NDArray[Any]) -> dict[str, Any]:
    """Write one array; return the JSON that tells where."""
    binary.write(bytes(-binary.tell() % ALIGNMENT))
    offset = binary.tell()
    array.astype(array.dtype.newbyteorder("<"), copy=False).tofile(binary)
    return {
        "__type": "ndarray",
        "shape": array.shape,
        "order": "C",
        "dtype": array.dtype.name,
        "npyfile": name,
        "npyoff": offset,
        "size": array.nbytes,
    }

# SPDX-License-Identifier: LGPL-3.0-or-later
"""The wrapper around a vector of environments: each lane is recorded as if it were alone.

What a vector returns depends on how it begins new episodes, as ``metadata["autoreset_mode"]``
says (https://gymnasium.farama.org/api/vector/):

=========  ==============================================  =====================================
mode       the step that ends an episode returns           the step after it
=========  ==============================================  =====================================
NEXT_STEP  its observation and info                        resets the lane and ignores its action
SAME_STEP  those of the next reset; its own are            is the first of the next episode
           ``info["final_obs"]``, ``info["final_info"]``
DISABLED   its observation and info                        is an error; the user resets the lanes
                                                           of ``options["reset_mask"]``
=========  ==============================================  =====================================

Vectors of gym's are of the second kind, with ``final_observation``.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache, partial
from time import time as now
from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv, VectorWrapper
from gymnasium.vector.utils import iterate

from gymbag.errors import FileError, RecordingWarning, SchemaError
from gymbag.hdf5 import Durability, HDF5Recorder, close_all
from gymbag.recorder import Recorder
from gymbag.steps import Ended
from gymbag.storage.datasets import lane_name

FINAL_OBSERVATION = ("final_obs", "final_observation")
PLAIN = (np.dtype(np.int64), np.dtype(np.float64), np.dtype(np.bool_))
"""What a vector makes of Python's own numbers."""


class VectorRecording:
    """What a wrapper around a vector does, whichever library the vector is of.

    It returns exactly what the vector returned.
    """

    env: Any
    recorders: Sequence[Recorder]
    """One for each lane."""
    _on_error = "raise"

    def _begin(
        self,
        env: Any,
        recorders: Sequence[Recorder],
        mode: AutoresetMode,
        over: Callable[[Any, Any], Iterable[Any]],
    ) -> None:
        """Record what a vector does.

        Args:
            env: the vector.
            recorders: one for each lane.
            mode: how it begins new episodes.
            over: iterates over a batch of values of a space.
        """
        if len(recorders) != env.num_envs:
            raise ValueError(f"{len(recorders)} recorders for {env.num_envs} environments")
        self.recorders = recorders
        self._mode = mode
        self._over = over
        self._recorded = [False] * env.num_envs
        """Lanes of which an episode is being recorded."""
        self._ended = [False] * env.num_envs
        """Lanes of which the next step is a reset."""
        self._stopped = False
        self._secure: Callable[[bool], None] = lambda ended: None

    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        """Reset the vector, or the lanes of ``options["reset_mask"]``, and record what it returns.

        Episodes of these lanes that have not ended are recorded as cut off by the user.
        """
        # The vector takes the mask out of its options.
        given = dict(options or {})
        mask = given.pop("reset_mask", None)
        result = self.env.reset(seed=seed, options=options)
        if self._stopped:
            return result
        count, time = len(self.recorders), now()
        observations, infos = self._split(*result)
        lanes = range(count) if mask is None else np.flatnonzero(mask).tolist()
        seeds = seed if isinstance(seed, Sequence) else [None] * count
        if isinstance(seed, int | np.integer):
            seeds = [int(seed) + lane for lane in range(count)]
        calls = [
            (lane, self._reset_lane, (time, observations[lane], infos[lane], seeds[lane], given))
            for lane in lanes
        ]
        self._record_all(calls, ended=False)
        return result

    def step(self, actions: Any) -> Any:
        """Step the vector, record what it returns, and return it.

        Raises:
            SchemaError: something does not fit its space; the lane is not recorded until its next
                reset, and the others are.
            FileError: the recording failed; that is said once, and no more is recorded.
        """
        result = self.env.step(actions)
        if self._stopped:
            return result
        batch, rewards, *flags, info = result
        observations, infos = self._split(batch, info)
        time, acted = now(), list(self._over(self.env.action_space, actions))
        terminated, truncated = (np.asarray(flag).tolist() for flag in flags)
        rows = zip(
            observations,
            acted,
            np.asarray(rewards).tolist(),
            terminated,
            truncated,
            infos,
            strict=True,
        )
        calls = [(lane, self._step_lane, (time, *row)) for lane, row in enumerate(rows)]
        self._record_all(calls, ended=any(terminated) or any(truncated))
        return result

    def _record_all(
        self, calls: Iterable[tuple[int, Callable[..., None], tuple[Any, ...]]], *, ended: bool
    ) -> None:
        """Do what is to be done for each lane: what does not fit in one is no fault of others."""
        wrong: SchemaError | None = None
        try:
            for lane, call, arguments in calls:
                try:
                    call(lane, *arguments)
                except SchemaError as error:
                    self._recorded[lane] = False
                    self.recorders[lane].on_end(Ended.CLOSED)
                    wrong = wrong or error
            self._secure(ended)
        except FileError as error:
            self._stopped = True
            if self._on_error == "raise":
                raise
            message = f"the recording has stopped, and the environments go on without it: {error}"
            warnings.warn(message, RecordingWarning, stacklevel=3)
        if wrong is not None:
            raise wrong

    def _reset_lane(
        self, lane: int, time: float, observation: Any, info: Any, seed: Any, options: Any
    ) -> None:
        self._recorded[lane] = self._ended[lane] = False
        self.recorders[lane].on_reset(time, observation, info, seed=seed, options=options or None)
        self._recorded[lane] = True

    def _step_lane(
        self,
        lane: int,
        time: float,
        observation: Any,
        action: Any,
        reward: float,
        terminated: bool,
        truncated: bool,
        info: dict[Any, Any],
    ) -> None:
        if self._ended[lane]:
            self._reset_lane(lane, time, observation, info, None, None)
            return
        ends = terminated or truncated
        following = None
        if ends and self._mode is AutoresetMode.SAME_STEP:
            following = observation, info
            observation, info = _final(info)
        recorded, self._recorded[lane] = self._recorded[lane], not ends and self._recorded[lane]
        self._ended[lane] = ends and self._mode is AutoresetMode.NEXT_STEP
        if recorded:
            self.recorders[lane].on_step(
                time, observation, action, reward, terminated, truncated, info
            )
        if following is not None:
            self._reset_lane(lane, time, *following, None, None)

    def close(self, **kwargs: Any) -> Any:
        """Finish the recording, and close the vector."""
        self._stopped = True
        try:
            self._close()
        finally:
            self.env.close(**kwargs)

    def _close(self) -> None:
        for recorder in self.recorders:
            recorder.on_close()

    def _split(self, batch: Any, infos: Any) -> tuple[list[Any], list[dict[Any, Any]]]:
        """Return each lane's observation and info."""
        arrays = isinstance(batch, np.ndarray)
        observations = list(batch if arrays else self._over(self.env.observation_space, batch))
        return observations, split_infos(infos, len(self.recorders))


class RecordVectorEnv(VectorRecording, VectorWrapper):
    """Wraps a vector of environments and passes what each does to a recorder of its own.

    Args:
        env: the vector, of Gymnasium's.
        recorders: one for each lane; they are closed when the vector is.

    >>> import gymnasium
    >>> from gymbag import ListRecorder
    >>> vector = gymnasium.make_vec("CartPole-v1", 2, vectorization_mode="sync")
    >>> env = RecordVectorEnv(vector, [ListRecorder(), ListRecorder()])
    >>> observations, infos = env.reset(seed=1)
    >>> observations, *rest = env.step([0, 1])
    >>> env.close()
    >>> [recorder.data[0][1].action for recorder in env.recorders]
    [0, 1]
    """

    def __init__(self, env: VectorEnv[Any, Any, Any], recorders: Sequence[Recorder]) -> None:
        VectorWrapper.__init__(self, env)
        mode = AutoresetMode(env.metadata.get("autoreset_mode", AutoresetMode.NEXT_STEP))
        self._begin(env, recorders, mode, iterate)


def is_vector(env: Any) -> bool:
    """Return whether it is a vector of environments, of Gymnasium's or of gym's."""
    return isinstance(env, VectorEnv) or any(
        cls.__name__ == "VectorEnv" and cls.__module__.startswith("gym.")
        for cls in type(env).__mro__
    )


def record_vector(
    env: Any,
    filename: str | os.PathLike[str],
    description: str,
    name: str,
    *,
    durability: Durability,
    on_error: str,
    **about: Any,
) -> Any:
    """Wrap a vector so that each of its lanes is recorded into an HDF5 file as if it were alone.

    Args:
        env: the vector.
        filename: the HDF5 file.
        description: what to remember of it.
        name: of the data set; that of lane 3 is called ``NAME [3]``, and all are read as one.
        durability: as for `gymbag.record_hdf5`.
        on_error: likewise.
        **about: what else an `HDF5Recorder` takes.
    """
    # One lane's thread makes all safe: a commit is of the whole file.
    waits = isinstance(durability, str)
    recorders: list[HDF5Recorder] = []
    try:
        for lane in range(env.num_envs):
            recorders.append(  # noqa: PERF401
                HDF5Recorder(
                    filename,
                    env.single_observation_space,
                    env.single_action_space,
                    lane_name(name, lane),
                    description,
                    durability="close" if waits or lane else durability,
                    lanes=env.num_envs,
                    **about,
                )
            )
    except BaseException:
        for recorder in recorders:
            recorder.on_close()
        raise
    gymnasiums = isinstance(env, VectorEnv)
    wrapper = RecordVectorEnv(env, recorders) if gymnasiums else _gym_wrapper()(env, recorders)
    wrapper._on_error = on_error
    wrapper._close = partial(close_all, recorders)  # type: ignore[method-assign]
    if durability in ("step", "episode"):
        wrapper._secure = lambda ended: (
            recorders[0].secure() if ended or durability == "step" else None
        )
    return wrapper


def split_infos(infos: Mapping[Any, Any], lanes: int) -> list[dict[Any, Any]]:
    """Return the info of each lane, which a vector has put together.

    >>> split_infos({"lives": np.array([3, 0]), "_lives": np.array([True, False])}, 2)
    [{'lives': 3}, {}]
    """
    split: list[dict[Any, Any]] = [{} for _ in range(lanes)]
    for key, value in infos.items():
        if isinstance(key, str) and key.startswith("_") and key[1:] in infos:
            continue
        mask = infos.get(f"_{key}")
        values: Any = [value] * lanes
        if isinstance(value, dict):
            values = split_infos(value, lanes)
        elif isinstance(value, np.ndarray | list | tuple) and len(value) == lanes:
            plain = isinstance(value, np.ndarray) and value.ndim == 1 and value.dtype in PLAIN
            values = value.tolist() if plain else value  # type: ignore[union-attr]
        for lane in range(lanes) if mask is None else np.flatnonzero(mask).tolist():
            split[lane][key] = values[lane]
    return split


def _final(info: dict[Any, Any]) -> tuple[Any, dict[Any, Any]]:
    """Take the observation and the info of an episode's last step out of those of the reset."""
    observation = next((info.pop(key) for key in FINAL_OBSERVATION if key in info), None)
    if observation is None:
        raise SchemaError(
            "info: an episode has ended, and there is no final_obs; expected it of a vector that "
            'resets its lanes in the same step, as its metadata["autoreset_mode"] says'
        )
    return observation, info.pop("final_info", {})


@cache
def _gym_wrapper() -> type:
    """Return the wrapper for vectors of gym's, which whoever made one has imported."""
    import gym
    from gym.vector.utils import iterate as over

    class GymRecordVectorEnv(VectorRecording, gym.vector.VectorEnvWrapper):  # type: ignore[misc]
        """Records a vector of gym's."""

        def __init__(self, env: Any, recorders: Sequence[Recorder]) -> None:
            gym.vector.VectorEnvWrapper.__init__(self, env)
            self._begin(env, recorders, AutoresetMode.SAME_STEP, over)

    return GymRecordVectorEnv

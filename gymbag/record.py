# SPDX-License-Identifier: LGPL-3.0-or-later
"""The wrapper around an environment, which hands all that it does to a recorder."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from time import time as now
from typing import Any, Literal

import gymnasium
from gymnasium.utils import RecordConstructorArgs

from gymbag.hdf5 import Durability, HDF5Recorder
from gymbag.recorder import Recorder
from gymbag.steps import Ended
from gymbag.trigger import (
    Trigger,
    TriggeredRecorder,
    bernoulli,
    decides_at_the_end,
    every,
    maxima,
)
from gymbag.vector import is_vector, record_vector
from gymbag.wrapper import Recording

OnError = Literal["raise", "stop"]


class RecordEnv(Recording, gymnasium.Wrapper[Any, Any, Any, Any], RecordConstructorArgs):
    """Wraps an environment and passes all that it does to a recorder.

    An environment of gym's gets a `gym.Wrapper`, one of neither library a plain wrapper of the
    same kind; old ones, whose `step` returns four values, are recognised by what they return.

    Args:
        env: the environment.
        recorder: where to; it is closed when the environment is.

    >>> import gymnasium
    >>> from gymbag import ListRecorder, RecordEnv
    >>> env = RecordEnv(gymnasium.make("CartPole-v1"), ListRecorder())
    >>> observation, info = env.reset(seed=1)
    >>> observation, *rest = env.step(0)
    >>> env.close()
    >>> [step.action for step in env.recorder.data[0]][1:]
    [0]
    """

    def __new__(cls, env: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: D102
        if isinstance(env, gymnasium.Env):
            return super().__new__(cls)
        wrapper = _wrapper_class(_library(env) == "gym")
        recording = wrapper(env, cls.make_recorder(env, *args, **kwargs))
        recording._on_error = kwargs.get("on_error", "raise")
        return recording

    def __init__(self, env: Any, recorder: Recorder, **saved: Any) -> None:
        saved = saved or {"recorder": recorder, "_disable_deepcopy": True}
        RecordConstructorArgs.__init__(self, **saved)
        gymnasium.Wrapper.__init__(self, env)
        self._begin(env, recorder)

    def reset(  # type: ignore[override]
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Reset the environment, record what it returns, and return it."""
        return Recording.reset(self, seed=seed, options=options)  # type: ignore[no-any-return]

    @staticmethod
    def make_recorder(env: Any, recorder: Recorder) -> Recorder:
        """Return the recorder that the arguments name."""
        return recorder


class RecordHDF5(RecordEnv):
    """Wraps an environment and records it into an HDF5 file; see `record_hdf5`.

    Its arguments are plain values, so `gymnasium.make(env.spec)` makes another like it.
    """

    def __init__(
        self,
        env: Any,
        filename: str | os.PathLike[str],
        description: str = "",
        *,
        name: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        compression: str = "default",
        durability: Durability = 1.0,
        on_error: OnError = "raise",
        episode_trigger: Trigger | None = None,
    ) -> None:
        recorder = self.make_recorder(
            env,
            filename,
            description,
            name=name,
            metadata=metadata,
            compression=compression,
            durability=durability,
            on_error=on_error,
            episode_trigger=episode_trigger,
        )
        super().__init__(
            env,
            recorder,
            filename=os.fspath(filename),
            description=description,
            name=name,
            metadata=None if metadata is None else dict(metadata),
            compression=compression,
            durability=durability,
            on_error=on_error,
            episode_trigger=episode_trigger,
        )
        self._on_error = on_error

    @staticmethod
    def make_recorder(  # type: ignore[override]
        env: Any,
        filename: str | os.PathLike[str],
        description: str = "",
        *,
        name: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        compression: str = "default",
        durability: Durability = 1.0,
        on_error: OnError = "raise",
        episode_trigger: Trigger | None = None,
    ) -> Recorder:
        """Return the recorder that the arguments describe."""
        _check_on_error(on_error)
        _check_trigger(episode_trigger)
        spec = getattr(env, "spec", None)
        if name is None:
            name = getattr(spec, "id", None) or type(_unwrapped(env)).__name__
        recorder = HDF5Recorder(
            filename,
            env.observation_space,
            env.action_space,
            name,
            description,
            metadata=metadata,
            env_spec=spec_json(spec),
            compression=compression,
            durability=_settle(durability, episode_trigger),
            start_time=now(),
        )
        if episode_trigger is None:
            return recorder
        spaces = env.observation_space, env.action_space
        return TriggeredRecorder(recorder, episode_trigger, spaces)


def record_hdf5(
    env: Any,
    filename: str | os.PathLike[str],
    description: str = "",
    *,
    name: str | None = None,
    metadata: Mapping[str, Any] | None = None,
    compression: str = "default",
    durability: Durability = 1.0,
    on_error: OnError = "raise",
    episode_trigger: Trigger | None = None,
) -> RecordEnv:
    """Wrap an environment so that everything it does is recorded into an HDF5 file.

    The wrapper returns exactly what the environment returns. The file is made if there is none;
    an existing one is appended to, and its other data sets stay as they are. The recording is
    complete after `close`, and also if you never close it and the interpreter exits. If the process
    is killed, at most the last second is lost, and the file opens as if nothing had happened.

    Args:
        env: of Gymnasium or of Gym, also an old one whose `step` returns four values; or a vector
            of them, each lane of which is recorded as if it were alone.
        filename: the HDF5 file.
        description: what you want to remember of this recording.
        name: name of the data set in the file; the id of `env.spec` if you give none, or else
            the name of the environment's class.
        metadata: more to remember: anything that JSON holds, and NumPy arrays.
        compression: "default"; "fast" for quicker reading; "small" for smaller files; "archive" for
            the smallest, at 2 ms a frame.
        durability: how much a kill may cost at most: so many seconds of experience, or "step" for
            nothing that `step` has returned from, "episode" for the running episode, "close" for
            everything. A power cut may cost as much again, for so long the disk may take.
        on_error: what to do if the file cannot be written any more, for example because the disk
            is full: "raise" an error in the next step, or "stop" recording with one warning and
            go on without. What was committed before is kept.
        episode_trigger: a function of the number of an episode, from 0, that says at its reset
            whether to record it, as of Gymnasium's `RecordVideo`: `gymbag.every(10)`,
            `gymbag.bernoulli(0.1)` or your own. Each lane of a vector counts for itself.
            `gymbag.maxima()` keeps the episodes whose return is higher than all before; that is
            known only at the end, so there an episode is safe once it has ended, and not before.
            A trigger of your own decides at the end if it has a method ``keep(episode)``.

    Raises:
        UnsupportedSpace: nobody has said how to store one of the spaces.
        SchemaError: the file has a data set of this name with another space.
        FileError: the file cannot be written, or is not gymbag's.

    >>> import gymnasium, tempfile, os
    >>> import gymbag
    >>> filename = os.path.join(tempfile.mkdtemp(), "cartpole.h5")
    >>> with gymbag.record_hdf5(gymnasium.make("CartPole-v1"), filename) as env:
    ...     observation, info = env.reset(seed=1)
    ...     observation, reward, terminated, truncated, info = env.step(0)
    >>> gymbag.list_datasets(filename)
    ['CartPole-v1']
    """
    if not hasattr(env, "observation_space"):
        raise TypeError(f"env: found {env!r:.80}; expected an environment, or a vector of them")
    if is_vector(env):
        _check_on_error(on_error)
        _check_trigger(episode_trigger)
        # gym's have none of their own.
        specs = (getattr(one, "spec", None) for one in (env, *getattr(env, "envs", ())))
        spec = next(filter(None, specs), None)
        wrapper = record_vector(
            env,
            filename,
            description,
            name or getattr(spec, "id", None) or type(_unwrapped(env)).__name__,
            metadata=metadata,
            env_spec=spec_json(spec),
            compression=compression,
            durability=_settle(durability, episode_trigger),
            on_error=on_error,
            start_time=now(),
        )
        if episode_trigger is not None:
            spaces = env.single_observation_space, env.single_action_space
            wrapper.recorders = [
                TriggeredRecorder(recorder, episode_trigger, spaces)
                for recorder in wrapper.recorders
            ]
            wrapper._close = partial(_end_and_close, wrapper.recorders, wrapper._close)
        return wrapper  # type: ignore[no-any-return]
    return RecordHDF5(
        env,
        filename,
        description,
        name=name,
        metadata=metadata,
        compression=compression,
        durability=durability,
        on_error=on_error,
        episode_trigger=episode_trigger,
    )


def _check_on_error(on_error: str) -> None:
    if on_error not in ("raise", "stop"):
        raise ValueError(f'on_error={on_error!r}: expected "raise" or "stop"')


def _check_trigger(trigger: Any) -> None:
    if trigger in (every, bernoulli, maxima) or not (trigger is None or callable(trigger)):
        raise TypeError(
            f"episode_trigger: found {trigger!r:.80}; expected a function of the episode's number, "
            "such as gymbag.every(10) or gymbag.maxima()"
        )


def _settle(durability: Durability, trigger: Trigger | None) -> Durability:
    """Return the durability that keeps the promise: what is held back comes all at once."""
    return "episode" if durability == "step" and decides_at_the_end(trigger) else durability


def _end_and_close(recorders: Sequence[Recorder], close: Callable[[], None]) -> None:
    """End what is held back, before the recorders that it goes to are closed."""
    try:
        for recorder in recorders:
            recorder.on_end(Ended.CLOSED)
    finally:
        close()


def spec_json(spec: Any) -> str | None:
    """Return an environment's spec as JSON, or None if it has none that JSON can hold."""
    try:
        return None if spec is None else str(spec.to_json())
    except (AttributeError, TypeError, ValueError):
        return None


def _library(env: Any) -> str | None:
    roots = {cls.__module__.split(".")[0] for cls in type(env).__mro__}
    return "gym" if "gym" in roots else None


def _unwrapped(env: Any) -> Any:
    return getattr(env, "unwrapped", env)


@cache
def _wrapper_class(of_gym: bool) -> type:
    """Return the wrapper for an environment of gym's, or of nobody's.

    gym is imported by whoever made its environment, and by nobody else: it prints a notice.
    """
    if of_gym:
        import gym

        class GymRecordEnv(Recording, gym.Wrapper):  # type: ignore[misc]
            """Records an environment of gym's."""

            def __init__(self, env: Any, recorder: Recorder) -> None:
                super().__init__(env)
                self._begin(env, recorder)

        return GymRecordEnv

    class PlainRecordEnv(Recording):
        """Records an environment that is of neither library."""

        def __init__(self, env: Any, recorder: Recorder) -> None:
            self.env = env
            self._begin(env, recorder)

        def __getattr__(self, name: str) -> Any:
            return getattr(self.env, name)

        def __enter__(self) -> Any:
            return self

        def __exit__(self, *error: object) -> None:
            self.close()

    return PlainRecordEnv

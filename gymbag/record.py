# SPDX-License-Identifier: LGPL-3.0-or-later
"""The wrapper around an environment, which hands all that it does to a recorder.

It returns exactly what the environment returned. It owns the clock; the recorder does the rest.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Mapping
from functools import cache
from time import time as now
from typing import Any, Literal

import gymnasium
from gymnasium.utils import RecordConstructorArgs

from gymbag.errors import FileError, RecordingWarning, SchemaError
from gymbag.hdf5 import Durability, HDF5Recorder
from gymbag.recorder import Recorder
from gymbag.steps import Ended

OnError = Literal["raise", "stop"]


class _Recording:
    """What all wrappers do, whatever library their environment is of."""

    env: Any
    recorder: Recorder
    _on_error: str = "raise"

    def _begin(self, env: Any, recorder: Recorder) -> None:
        self.recorder = recorder
        self._on_step: Callable[..., None] = recorder.on_step
        self._running = False
        self._stopped = False
        self._said = False
        self._five: bool | None = True if isinstance(env, gymnasium.Env) else None
        self._autoreset = _resets_itself(env)

    def step(self, action: Any) -> Any:
        """Step the environment, record what it returns, and return it.

        Raises:
            SchemaError: something does not fit its space; the episode is recorded up to here.
            FileError: the recording failed; that is said once, and no more is recorded.
        """
        result = self.env.step(action)
        if not self._running:
            if self._autoreset and not self._stopped:
                self._record_reset(result[0], result[-1], None, None)
            else:
                self._say_unrecorded()
            return result
        if len(result) == 5:
            observation, reward, terminated, truncated, info = result
        else:
            observation, reward, done, info = result
            truncated = bool(done and info.get("TimeLimit.truncated", False))
            terminated = done and not truncated
        try:
            self._on_step(now(), observation, action, reward, terminated, truncated, info)
        except BaseException as error:
            self._running = False
            if not self._stop(error):
                raise
        if terminated or truncated:
            self._running = False
        return result

    def reset(self, **kwargs: Any) -> Any:
        """Reset the environment, record what it returns, and return it.

        An episode that has not ended is recorded as cut off by the user.

        Args:
            **kwargs: what the environment takes, as a rule `seed` and `options`.
        """
        result = self.env.reset(**kwargs)
        if self._stopped:
            return result
        if self._gives_info(result):
            observation, info = result
        else:
            observation, info = result, {}
        self._record_reset(observation, info, kwargs.get("seed"), kwargs.get("options"))
        return result

    def _record_reset(self, observation: Any, info: Any, seed: Any, options: Any) -> None:
        self._running = False
        try:
            self.recorder.on_reset(now(), observation, info, seed=seed, options=options)
        except BaseException as error:
            if not self._stop(error):
                raise
            return
        self._running = True

    def close(self) -> None:
        """Finish the recording, and close the environment."""
        self._running, self._stopped = False, True
        try:
            self.recorder.on_close()
        except FileError as error:
            if not self._stop(error):
                raise
        finally:
            self.env.close()

    def __deepcopy__(self, memo: Any) -> Any:
        raise TypeError("a recording cannot be copied; copy the environment, and record the copy")

    def _gives_info(self, result: Any) -> bool:
        """Return whether `reset` returned an observation *and* an info, as it does since 2022."""
        if self._five is None:
            pair = isinstance(result, tuple) and len(result) == 2 and isinstance(result[1], dict)
            self._five = pair and result not in self.env.observation_space
        return self._five

    def _stop(self, error: BaseException) -> bool:
        """Make the best of a failure: what does not fit ends an episode, all else the recording.

        Returns:
            Whether the environment goes on, unrecorded, and the user was warned.
        """
        if isinstance(error, SchemaError):
            self.recorder.on_end(Ended.CLOSED)
            return False
        self._stopped = True
        if self._on_error == "raise" or not isinstance(error, FileError):
            return False
        message = f"the recording has stopped, and the environment goes on without it: {error}"
        warnings.warn(message, RecordingWarning, stacklevel=4)
        return True

    def _say_unrecorded(self) -> None:
        if not self._said and not self._stopped:
            self._said = True
            warnings.warn(
                "step: no episode is running, so this step is not recorded; call reset first",
                RecordingWarning,
                stacklevel=3,
            )


class RecordEnv(_Recording, gymnasium.Wrapper[Any, Any, Any, Any], RecordConstructorArgs):
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
        return _Recording.reset(self, seed=seed, options=options)  # type: ignore[no-any-return]

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
    ) -> HDF5Recorder:
        """Return the recorder that the arguments describe."""
        if on_error not in ("raise", "stop"):
            raise ValueError(f'on_error={on_error!r}: expected "raise" or "stop"')
        spec = getattr(env, "spec", None)
        if name is None:
            name = getattr(spec, "id", None) or type(_unwrapped(env)).__name__
        return HDF5Recorder(
            filename,
            env.observation_space,
            env.action_space,
            name,
            description,
            metadata=metadata,
            env_spec=spec_json(spec),
            compression=compression,
            durability=durability,
            start_time=now(),
        )


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
) -> RecordEnv:
    """Wrap an environment so that everything it does is recorded into an HDF5 file.

    The wrapper returns exactly what the environment returns. The file is made if there is none;
    an existing one is appended to, and its other data sets stay as they are. The recording is
    complete after `close`, and also if you never close it and the interpreter exits. If the process
    is killed, at most the last second is lost, and the file opens as if nothing had happened.

    Args:
        env: of Gymnasium or of Gym, also an old one whose `step` returns four values.
        filename: the HDF5 file.
        description: what you want to remember of this recording.
        name: name of the data set in the file; the id of `env.spec` if you give none, or else
            the name of the environment's class.
        metadata: more to remember: anything that JSON holds, and NumPy arrays.
        compression: "default"; "fast" for quicker reading; "small" for smaller files.
        durability: how much a kill may cost at most: so many seconds of experience, or "step" for
            nothing that `step` has returned from, "episode" for the running episode, "close" for
            everything. A power cut may cost as much again, for so long the disk may take.
        on_error: what to do if the file cannot be written any more, for example because the disk
            is full: "raise" an error in the next step, or "stop" recording with one warning and
            go on without. What was committed before is kept.

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
    return RecordHDF5(
        env,
        filename,
        description,
        name=name,
        metadata=metadata,
        compression=compression,
        durability=durability,
        on_error=on_error,
    )


def spec_json(spec: Any) -> str | None:
    """Return an environment's spec as JSON, or None if it has none that JSON can hold."""
    try:
        return None if spec is None else str(spec.to_json())
    except (AttributeError, TypeError, ValueError):
        return None


def _resets_itself(env: Any) -> bool:
    """Return whether the step after an episode's last is the reset of the next."""
    while isinstance(env, gymnasium.Wrapper):
        if isinstance(env, gymnasium.wrappers.Autoreset):
            return True
        env = env.env
    return False


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

        class GymRecordEnv(_Recording, gym.Wrapper):  # type: ignore[misc]
            """Records an environment of gym's."""

            def __init__(self, env: Any, recorder: Recorder) -> None:
                super().__init__(env)
                self._begin(env, recorder)

        return GymRecordEnv

    class PlainRecordEnv(_Recording):
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

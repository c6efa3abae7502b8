# SPDX-License-Identifier: LGPL-3.0-or-later
"""What every recording wrapper does, whatever library its environment is of.

It returns exactly what the environment returned. It owns the clock; the recorder does the rest.
"""

from __future__ import annotations

import sys
import warnings
import weakref
from collections.abc import Callable
from time import time as now
from typing import Any

import gymnasium

from gymbag.errors import EpisodeError, FileError, RecordingWarning, SchemaError
from gymbag.recorder import Recorder
from gymbag.steps import Ended


class Recording:
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
        self._quicken(env)

    def _quicken(self, env: Any) -> None:
        """Step by what the recorder has to offer, if a subclass has no `step` of its own."""
        if not isinstance(env, gymnasium.Env) or type(self).step is not Recording.step:
            return
        # By a weak reference: whoever drops the wrapper ends the recording at once.
        reference = weakref.WeakMethod(self._make_the_best)

        def otherwise(action: Any, result: Any, error: BaseException) -> None:
            make_the_best = reference()
            if make_the_best is None:
                raise error
            make_the_best(action, result, error)

        quick = self.recorder.around(env.step, now, otherwise)
        if quick is not None:
            self.step = quick  # type: ignore[method-assign,assignment]

    def _make_the_best(self, action: Any, result: Any, error: BaseException) -> None:
        """Do what there is to do where a step was not recorded."""
        if isinstance(error, EpisodeError):
            self._leave_out(result)
        elif len(result) == 4:
            del self.step
            self._record_step(action, result)
        else:
            # Whoever has kept the quick `step` goes on calling it; for it, no episode runs now.
            self.recorder.on_end(Ended.CLOSED)
            if not self._stop(error):
                raise error

    def step(self, action: Any) -> Any:
        """Step the environment, record what it returns, and return it.

        Raises:
            SchemaError: something does not fit its space; the episode is recorded up to here.
            FileError: the recording failed; that is said once, and no more is recorded.
        """
        result = self.env.step(action)
        if self._running:
            self._record_step(action, result)
        else:
            self._leave_out(result)
        return result

    def _leave_out(self, result: Any) -> None:
        """Take what a step returned while no episode runs."""
        if self._autoreset and not self._stopped:
            self._record_reset(result[0], result[-1], None, None)
        elif not self._said and not self._stopped:
            self._said = True
            warnings.warn(
                "step: no episode is running, so this step is not recorded; call reset first",
                RecordingWarning,
                stacklevel=_outside(),
            )

    def _record_step(self, action: Any, result: Any) -> None:
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

    def reset(self, **kwargs: Any) -> Any:
        """Reset the environment, record what it returns, and return it.

        An episode that has not ended is recorded as cut off by the user.

        Args:
            **kwargs: what the environment takes, as a rule `seed` and `options`.
        """
        result = self.env.reset(**kwargs)
        if self._stopped:
            return result
        if self._five or self._gives_info(result):
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
        self._end()
        try:
            self.recorder.on_close()
        except FileError as error:
            if not self._stop(error):
                raise
        finally:
            self.env.close()

    def _end(self) -> None:
        """Record no more."""
        self._running, self._stopped = False, True
        vars(self).pop("step", None)

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
        self._end()
        if self._on_error == "raise" or not isinstance(error, FileError):
            return False
        message = f"the recording has stopped, and the environment goes on without it: {error}"
        warnings.warn(message, RecordingWarning, stacklevel=_outside())
        return True


def _outside() -> int:
    """Return the level in the stack of whoever called gymbag."""
    frame, level = sys._getframe(1), 1
    while frame.f_back is not None and frame.f_globals.get("__package__") == __package__:
        frame, level = frame.f_back, level + 1
    return level


def _resets_itself(env: Any) -> bool:
    """Return whether the step after an episode's last is the reset of the next."""
    while isinstance(env, gymnasium.Wrapper):
        if isinstance(env, gymnasium.wrappers.Autoreset):
            return True
        env = env.env
    return False

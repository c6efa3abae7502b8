# SPDX-License-Identifier: LGPL-3.0-or-later
"""The recorders that are compared: one small function each.

A recorder takes an environment and an empty folder and returns the environment to drive, whose
`close` finishes the recording. It imports its library itself, because each is measured in a
process that should load no other; where it is not installed, the ImportError says so.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from benchmarks import old_gymbag

if TYPE_CHECKING:
    import gymnasium

Env: TypeAlias = "gymnasium.Env[Any, Any]"


def bare(env: Env, folder: Path) -> Any:
    return env


def gymbag(env: Env, folder: Path) -> Any:
    from gymbag import record_hdf5

    return record_hdf5(env, str(folder / "recording.h5"))


def gym_recording_rewritten(env: Env, folder: Path) -> Any:
    from benchmarks.gym_recording import TraceRecording

    return TraceRecording(env, folder)


def old_gym(env: Env, folder: Path) -> Any:
    old_gymbag.activate()
    from benchmarks.old_gym import OldGym

    return OldGym(env)


def gymbag_0_4_9(env: Env, folder: Path) -> Any:
    env_of_2017 = old_gym(env, folder)
    from gymbag import record_hdf5

    return record_hdf5(env_of_2017, str(folder / "recording.h5"))


def gym_recording(env: Env, folder: Path) -> Any:
    env_of_2017 = old_gym(env, folder)
    from gym_recording.wrappers import TraceRecordingWrapper  # type: ignore[import-not-found]

    recording = TraceRecordingWrapper(env_of_2017)
    # It takes a directory as an argument, but goes to one of its own making all the same.
    Path(recording.directory).rmdir()
    recording.recording.directory = str(folder)
    return recording


CONTROL = "bare"
"""What the others are compared with."""

RECORDERS: dict[str, Callable[[Any, Path], Any]] = {
    CONTROL: bare,
    "bare again": bare,
    "gymbag": gymbag,
    "gym_recording, rewritten": gym_recording_rewritten,
    "gym 0.9.2 adaptor alone": old_gym,
    "gymbag 0.4.9": gymbag_0_4_9,
    "gym_recording": gym_recording,
}

OLD = {"gym 0.9.2 adaptor alone", "gymbag 0.4.9", "gym_recording"}
"""Those that need gym 0.9.2."""

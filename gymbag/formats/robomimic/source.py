# SPDX-License-Identifier: LGPL-3.0-or-later
"""Demonstrations of robomimic's as episodes, each a group that is read when it is its turn.

Observations are the dicts under ``obs``; a lone ``flat``, which robomimic makes of D4RL's, is the
array itself. The last of ``next_obs`` is the final observation. Everything else that has an entry
for each action, such as ``states``, is in the info of the row before that action. ``dones`` that
are not just at the end are there, too.
"""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from gymbag.errors import FormatError, RecordingWarning
from gymbag.formats.aligned import aligned_episode
from gymbag.formats.group import FileGroup, holds
from gymbag.formats.infos import fill
from gymbag.formats.limits import ROW_BYTES, require_fit, require_short
from gymbag.formats.process import Leaves, Request, answers, require_installed
from gymbag.steps import Episode

FLAT = "flat"
"""The name that robomimic gives observations that have none."""
OWN = ("actions", "rewards", "dones", "obs", "next_obs")
"""What is in an episode elsewhere than in its infos."""
NUMBER = re.compile(r"demo_([0-9]{1,18})")

Tree = dict[str, Any]


class RobomimicSource:
    """The demonstrations of a file, one at a time in memory. It knows no spaces."""

    observation_space = None
    action_space = None
    env_spec = None
    description = ""

    def __init__(self, path: Path) -> None:
        require_installed(("h5py",), f"{path}: to read robomimic's files", "robomimic")
        self.path = path
        self._about, names = FileGroup(path, ("data",)).about()
        self.demos = sorted(names, key=_order)
        name = self.env_args.get("env_name") if isinstance(self.env_args, dict) else None
        self.name = name if isinstance(name, str) else path.stem

    @cached_property
    def env_args(self) -> Any:
        """What robomimic makes the environment of: JSON, or the text that should have been it."""
        text = self._about.get("env_args")
        if not isinstance(text, str):
            return {}
        require_short(len(text), f"{self.path}: env_args")
        try:
            return json.loads(text)
        except (ValueError, RecursionError):
            return text

    @cached_property
    def metadata(self) -> dict[str, Any]:
        """What the file says beside its arrays.

        ``env_args``, and other attributes of the data; ``mask``, numbers of episodes by the name of
        the subset; and ``episode_metadata``, a list of the attributes of each episode.
        """
        found = {key: value for key, value in self._about.items() if key != "total"}
        if self.env_args:
            found["env_args"] = self.env_args
        file = {"kind": "hdf5", "file": str(self.path.absolute())}
        masks = {**file, "group": ["mask"], "optional": True, "take": "arrays"}
        asked = [self._asked(name, "attributes") for name in self.demos]
        (_, leaves), *others = answers([(f"{self.path}: mask", masks), *asked])
        if leaves:
            found["mask"] = self._numbers(leaves)
        own = [dict(kept) for kept, _ in others]
        for kept in own:
            kept.pop("num_samples", None)
        if any(own):
            found["episode_metadata"] = own
        return found

    def _numbers(self, leaves: Leaves) -> dict[str, list[int]]:
        """Return the numbers of the episodes that each mask names."""
        numbers = {name: number for number, name in enumerate(self.demos)}
        return {
            "/".join(path): [numbers[name] for name in names if name in numbers]
            for path, names in leaves.items()
            if isinstance(names, list)
        }

    def iter_episodes(self) -> Iterator[Episode]:
        """Iterate over the episodes; one without any action is none.

        Raises:
            FormatError: the file is damaged, or not robomimic's.
        """
        asked = [self._asked(name, "arrays") for name in self.demos]
        number, said = 0, False
        for (where, _), (_, leaves) in zip(asked, answers(asked), strict=True):
            demo = _Demo(leaves, where)
            if demo.length:
                if demo.contradicts and not said:
                    said = True
                    warnings.warn(
                        f"{where}: next_obs is not the next of obs, for which gymbag has no "
                        "place; but for the last it is left out, here and in later episodes",
                        RecordingWarning,
                        stacklevel=2,
                    )
                yield demo.episode(number)
                number += 1

    def _asked(self, name: str, take: str) -> Request:
        file = str(self.path.absolute())
        request = {"kind": "hdf5", "file": file, "group": ["data", name], "take": take}
        return f"{self.path}: {name}", request

    def __repr__(self) -> str:
        return f"<RobomimicSource {self.name!r} in {str(self.path)!r}>"


class _Demo:
    """The arrays of one demonstration."""

    def __init__(self, leaves: Leaves, where: str) -> None:
        self.where = where
        self.arrays = {path: leaf for path, leaf in leaves.items() if leaf is not None}
        self.actions = self.arrays.get(("actions",))
        if not isinstance(self.actions, np.ndarray) or not self.actions.ndim:
            raise FormatError(f"{where}: found no array 'actions'; all of robomimic's have one")
        self.length = len(self.actions)
        require_fit(self.length * ROW_BYTES, f"{where}: {self.length} steps")
        self.observations, self.following = self._below("obs"), self._below("next_obs")
        if not self.observations:
            raise FormatError(
                f"{where}: found no obs; have robomimic extract the observations from the states "
                "first, with dataset_states_to_obs.py"
            )

    def _below(self, group: str) -> dict[tuple[str, ...], Any]:
        found = {path[1:]: leaf for path, leaf in self.arrays.items() if path[0] == group}
        for path, leaf in found.items():
            self._require_rows((group, *path), leaf)
        return found

    def _require_rows(self, path: tuple[str, ...], leaf: Any) -> None:
        if np.ndim(leaf) == 0 or len(leaf) != self.length:
            raise FormatError(
                f"{self.where}: {'/'.join(path)}: found {len(leaf) if np.ndim(leaf) else 'one'}; "
                f"expected {self.length}, as there are actions"
            )

    @property
    def contradicts(self) -> bool:
        """Whether a next observation is not the next one."""
        return any(
            not np.array_equal(leaf[:-1], self.observations[path][1:], equal_nan=_nan(leaf))
            for path, leaf in self.following.items()
            if path in self.observations
        )

    def episode(self, number: int) -> Episode:
        """Return it as an episode."""
        dones, rewards = self._flags("dones"), self._flags("rewards")
        final = None
        if set(self.following) >= set(self.observations):
            final = self._value(self.following, -1)
        infos: list[Tree] = [{} for _ in range(self.length)]
        for path, leaf in self.arrays.items():
            early = path == ("dones",) and any(dones[:-1])
            if (path[0] not in OWN or early) and np.ndim(leaf) and len(leaf) == self.length:
                fill(infos, path, leaf, self.where)
        return aligned_episode(
            number,
            [self._value(self.observations, k) for k in range(self.length)],
            list(self.actions),  # type: ignore[arg-type]
            rewards or [np.nan] * self.length,
            terminated=bool(dones and dones[-1]),
            truncated=False,
            final=final,
            infos=infos,
        )

    def _value(self, leaves: dict[tuple[str, ...], Any], row: int) -> Any:
        """Return one observation: a dict, with dicts in it where groups are in groups."""
        found: Tree = {}
        for path, leaf in leaves.items():
            if path in self.observations:
                fill([found], path, [leaf[row]], self.where)
        return found[FLAT] if set(found) == {FLAT} else found

    def _flags(self, name: str) -> list[float]:
        """Return the rewards or dones; nothing if there are none."""
        leaf = self.arrays.get((name,))
        if leaf is None:
            return []
        if not isinstance(leaf, np.ndarray) or leaf.dtype.kind not in "biuf":
            raise FormatError(f"{self.where}: {name}: found no numbers")
        self._require_rows((name,), leaf.reshape(-1))
        return list(leaf.reshape(-1).astype(np.float64).tolist())


def _nan(leaf: Any) -> bool:
    return isinstance(leaf, np.ndarray) and leaf.dtype.kind in "fc"


def _order(name: str) -> tuple[int, str]:
    found = NUMBER.fullmatch(name)
    return (int(found[1]) if found else 10**18), name


def names(path: Path) -> list[str]:
    """Return the name of its one data set: the environment's."""
    return [RobomimicSource(path).name]


def read(path: Path, name: str | None) -> RobomimicSource:
    """Read the file; it holds one data set, so the name does not matter."""
    return RobomimicSource(path)


def sniff(path: Path) -> bool:
    """Return whether it is an HDF5 file with a group ``data`` of demonstrations."""
    return holds(path, ("data",), lambda found: any(map(NUMBER.fullmatch, found)))

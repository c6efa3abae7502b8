# SPDX-License-Identifier: LGPL-3.0-or-later
"""EnvLogger's folders of Riegeli files; read only.

A step of EnvLogger is an action and the `TimeStep` of dm_env that it led to, as a row here; the
first has no action. A last step whose discount is 0 is terminated, another one truncated, and an
episode whose last step is none goes on. The infos have the rest: ``info.discount``, and
``info.custom_data``, what the user's function gave; from that of an episode, nothing is kept.

Riegeli has no reader on the package index but EnvLogger's own, which takes no TensorFlow; it runs
in a process of its own. ``pip install 'gymbag[envlogger]'``; version 1.3 asks for glibc 2.38, and
1.2 for less. What EnvLogger writes by its other backend, as data sets of TensorFlow, is of the
format ``rlds``.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from gymbag.errors import FormatError
from gymbag.formats.aligned import null_like
from gymbag.formats.format import Format
from gymbag.formats.infos import fill
from gymbag.formats.process import Leaves, Request, answer, answers, require_installed
from gymbag.memory import MemoryEpisode
from gymbag.steps import Episode, Step

METADATA, STEPS = "metadata.riegeli", "steps.riegeli"
LAST = 2
"""The type of a last step."""


class EnvLoggerSource:
    """The episodes of a folder. It knows no spaces."""

    observation_space = None
    action_space = None
    env_spec = None
    description = ""

    def __init__(self, path: Path) -> None:
        require_installed(("envlogger",), f"{path}: to read Riegeli", "envlogger")
        self.folder = path
        self.name = path.resolve().name
        about, _ = answer(str(path), self._asked("attributes"))
        self._count = int(about["episodes"])
        metadata = json.loads(about["metadata"])
        self.metadata: dict[str, Any] = metadata if isinstance(metadata, dict) else {}

    def _asked(self, take: str, **more: Any) -> dict[str, Any]:
        return {"kind": "envlogger", "file": str(self.folder.absolute()), "take": take, **more}

    def _requests(self) -> Iterator[Request]:
        for number in range(self._count):
            yield f"{self.folder}: episode {number}", self._asked("arrays", episode=number)

    def iter_episodes(self) -> Iterator[Episode]:
        """Iterate over the episodes; one without any action is left out.

        Raises:
            FormatError: a file is missing or damaged, or steps have values of different kinds.
        """
        number = 0
        with closing(answers(self._requests())) as found:
            for (where, _), (_, leaves) in zip(self._requests(), found, strict=True):
                rows = _rows(leaves, where)
                if len(rows) > 1:
                    yield MemoryEpisode(number, rows)
                    number += 1

    def __repr__(self) -> str:
        return f"<EnvLoggerSource {self.name!r} in {str(self.folder)!r}>"


def _rows(leaves: Leaves, where: str) -> list[Step]:
    """Return the rows of an episode."""
    types = leaves.get(("step_type",))
    if types is None or not len(types):
        raise FormatError(f"{where}: no steps")
    trees: list[dict[str, Any]] = [{} for _ in types]
    for path, values in leaves.items():
        if path[0] != "steps":
            some = leaves.get(("steps", *path), np.arange(len(values)))
            if len(some) != len(values) or (len(some) and not 0 <= some.max() < len(trees)):
                raise FormatError(f"{where}: {'/'.join(path)}: of other steps than there are")
            fill([trees[k] for k in some.tolist()], path, list(values), where)
    if any("observation" not in tree for tree in trees):
        raise FormatError(f"{where}: a step without an observation")
    if any("action" not in tree for tree in trees[1:]):
        raise FormatError(f"{where}: a step without an action")
    trees[0]["action"] = null_like(trees[-1].get("action", 0))
    rows = []
    for row, tree in enumerate(trees):
        ends = int(tree["step_type"]) == LAST and row == len(trees) - 1
        terminated = ends and float(tree.get("discount", 1.0)) == 0
        info = {key: tree[key] for key in ("discount", "custom_data") if key in tree}
        reward = float(tree.get("reward", math.nan)) if row else math.nan
        action, observation = tree["action"], tree["observation"]
        rows.append(
            Step(math.nan, observation, action, reward, terminated, ends and not terminated, info)
        )
    return rows


def is_envlogger(path: Path) -> bool:
    """Return whether it is a folder of EnvLogger's."""
    return (path / METADATA).is_file() and any(path.glob(f"*/{STEPS}"))


def names(path: Path) -> list[str]:
    """Return the one name that there is, that of the folder."""
    return [path.resolve().name]


def read(path: Path, name: str | None) -> EnvLoggerSource:
    """Read a folder.

    Raises:
        FormatError: EnvLogger is missing, or the folder has another name.
    """
    if name not in (None, *names(path)):
        raise FormatError(f"{path}: found {name!r}; it holds {names(path)[0]!r}")
    return EnvLoggerSource(path)


FORMAT = Format(
    "envlogger",
    (),
    is_envlogger,
    names,
    read,
    lacks=("EnvLogger keeps no spaces, seeds or times",),
)

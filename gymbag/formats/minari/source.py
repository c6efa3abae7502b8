# SPDX-License-Identifier: LGPL-3.0-or-later
"""A data set of Minari's, read episode by episode."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

from gymbag.errors import FormatError, RecordingWarning
from gymbag.formats.aligned import null_like
from gymbag.formats.limits import ROW_BYTES, require_fit
from gymbag.formats.minari import metadata
from gymbag.formats.minari.spaces import from_json
from gymbag.formats.minari.values import Values, image_paths
from gymbag.formats.process import Leaves, answers, require_installed
from gymbag.memory import MemoryEpisode
from gymbag.schema import null_sample
from gymbag.steps import Episode, Step

STANDARD = {"id", "total_steps", "seed", "options"}
STANDARD |= {f"rewards_{which}" for which in ("sum", "mean", "std", "max", "min")}
"""What Minari says of every episode; the rest is the user's."""


NEEDS = {
    "hdf5": ("h5py", "PIL"),
    "arrow": ("pyarrow", "PIL"),
    "parquet": ("pyarrow", "PIL"),
}
"""What reads each of Minari's layouts."""


class MinariSource:
    """The episodes of a data set, one at a time in memory. No environment is made."""

    def __init__(self, path: Path) -> None:
        self.folder, self._about = metadata.read_metadata(path)
        about = self._about
        where = self.folder / metadata.FILE
        try:
            self.observation_space = from_json(about.get("observation_space"), "observation")
            self.action_space = from_json(about.get("action_space"), "action")
        except ValueError as error:  # a space may also be larger than gymbag's may be
            raise FormatError(f"{where}: {error}") from None
        self.layout: str = about["data_format"]
        self.total_episodes: int = about["total_episodes"]
        self.name = metadata.text(about, "name", metadata.text(about, "dataset_id", path.name))
        self.description = metadata.text(about, "description")
        self.env_spec = metadata.text(about, "env_spec") or None

    @cached_property
    def metadata(self) -> dict[str, Any]:
        """What the user kept; ``episode_metadata`` is a list of what episodes have of their own."""
        found = metadata.users(self._about)
        raw = self._raw(take="attributes")
        own = [{k: v for k, v in kept.items() if k not in STANDARD} for kept, _ in raw]
        if any(own):
            found["episode_metadata"] = own
        return found

    def iter_episodes(self) -> Iterator[Episode]:
        """Iterate over the episodes; one without any action is none.

        Raises:
            FormatError: a file is missing, damaged, or not Minari's.
        """
        images = [
            *image_paths(self.observation_space, ["observations"], self.layout),
            *image_paths(self.action_space, ["actions"], self.layout),
        ]
        number, said = 0, False
        for place, (attributes, leaves) in enumerate(self._raw(take="arrays", images=images)):
            where = f"{self.folder}: episode {place}"
            rows, early = self._rows(leaves, where)
            if early and not said:
                said = True
                warnings.warn(
                    f"{where}: terminated or truncated before its last step, where gymbag has no "
                    "place for it; it is left out, here and in later episodes",
                    RecordingWarning,
                    stacklevel=2,
                )
            if len(rows) > 1:
                seed, options = attributes.get("seed"), attributes.get("options")
                yield MemoryEpisode(
                    number,
                    rows,
                    seed=seed if type(seed) is int else None,
                    options=options if isinstance(options, dict) else None,
                )
                number += 1

    def _raw(self, **what: Any) -> Iterator[tuple[dict[str, Any], Leaves]]:
        """Iterate over the attributes and the arrays of the episodes."""
        needs = f"{self.folder}: to read Minari's layout {self.layout!r}"
        require_installed(NEEDS[self.layout], needs, "minari")
        folder = self.folder.absolute()
        hdf5 = self.layout == "hdf5"
        return answers(
            (
                f"{self.folder}: episode {k}",
                {
                    "kind": self.layout,
                    "file": str(folder / "main_data.hdf5" if hdf5 else folder / str(k)),
                    "group": [f"episode_{k}"],
                    **what,
                },
            )
            for k in range(self.total_episodes)
        )

    def _rows(self, leaves: Leaves, where: str) -> tuple[list[Step], bool]:
        """Return the rows of an episode, and whether a flag before the last had to go."""
        values = Values(leaves, self.layout, where)
        # Arrow's columns are as long as the observations; the last entry of the others is none.
        padding = self.layout != "hdf5"
        got = values.flat("rewards")
        n = len(got) - padding
        require_fit((n + 1) * ROW_BYTES, f"{where}: {n} steps")
        flags = [values.flat(name) for name in ("terminations", "truncations")]
        if any(len(some) != len(got) for some in flags):
            raise FormatError(
                f"{where}: found {len(got)} rewards, {len(flags[0])} terminations and "
                f"{len(flags[1])} truncations; expected as many of each"
            )
        if n < 1:
            return [], False
        observations = values.rows(self.observation_space, ("observations",), n + 1)
        taken = values.rows(self.action_space, ("actions",), n)
        known = self.action_space is not None
        null = null_sample(self.action_space) if known else null_like(taken[0])
        ended = [bool(some[n - 1]) for some in flags]
        early = any(any(some[: n - 1]) for some in flags)
        rows = [
            Step(math.nan, observation, action, reward, False, False, info)
            for observation, action, reward, info in zip(
                observations, [null, *taken], [math.nan, *got[:n]], values.infos(n + 1), strict=True
            )
        ]
        rows[-1] = rows[-1]._replace(terminated=ended[0], truncated=ended[1])
        return rows, early

    def __repr__(self) -> str:
        return f"<MinariSource {self.name!r} in {str(self.folder)!r}>"

# SPDX-License-Identifier: LGPL-3.0-or-later
"""The spaces to write for a source that does not know its own."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces

from gymbag.errors import FormatError
from gymbag.schema import child_path
from gymbag.steps import Episode, Source


def known_spaces(source: Source, first: Episode | None) -> tuple[Any, Any, list[str]]:
    """Return both spaces, and what had to be made up, a sentence each.

    Args:
        source: whose spaces.
        first: its first episode, if it has one.

    Raises:
        FormatError: a space is not known, and the episode does not say what it may be.
    """
    found, lost = [], []
    for name, batches in (("observation", "observations"), ("action", "actions")):
        space = getattr(source, f"{name}_space")
        if space is None:
            if first is None:
                raise FormatError(
                    f"{source.name!r} has no episode, and does not know its {name} space; "
                    f"set {name}_space"
                )
            space = like(getattr(first, batches), name)
            lost.append(f"the {name} space is not known; {space} is written in its place")
        found.append(space)
    return found[0], found[1], lost


def like(batch: Any, name: str = "value") -> Any:
    """Return an unbounded space for arrays of which only examples are known, or dicts of them.

    >>> like(np.zeros((5, 2), "f4"))
    Box(-inf, inf, (2,), float32)
    """
    if isinstance(batch, dict):
        pairs = [(key, like(part, child_path(name, key))) for key, part in batch.items()]
        return spaces.Dict(pairs)
    array = batch if isinstance(batch, np.ndarray) else np.empty(0, dtype=object)
    if array.dtype.kind not in "iufb":
        kind = array.dtype if array is batch else type(batch).__name__
        raise FormatError(
            f"{name}: found a batch of {kind}, which does not say what the space is; "
            f"set {name}_space"
        )
    if array.dtype.kind == "f":
        return spaces.Box(-np.inf, np.inf, array.shape[1:], array.dtype.type)
    if array.dtype.kind == "b":
        return spaces.Box(0, 1, array.shape[1:], np.bool_)
    limits = np.iinfo(array.dtype)
    return spaces.Box(limits.min, limits.max, array.shape[1:], array.dtype.type)

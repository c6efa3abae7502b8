# SPDX-License-Identifier: LGPL-3.0-or-later
"""Reads EnvLogger's folders of Riegeli files, with EnvLogger itself."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np

from gymbag.formats.apart.reader import MOST_DEPTH, Keys, Leaf, Reader, Refused, require_plain

FILES = ("metadata.riegeli",)


class EnvLoggerReader(Reader):
    """Reads the episode ``episode`` of a folder, or how many there are, and their metadata.

    A value that not every step has, as the first has no action, comes with the numbers of the steps
    that have it, below ``"steps"``.
    """

    def __init__(self, file: str, most: int) -> None:
        super().__init__(file, most)
        for name in FILES:
            require_plain(self.path / name)
        self.reader: Any = importlib.import_module("envlogger.reader").Reader(file)

    def close(self) -> None:
        """Close the files."""
        self.reader.close()

    def attributes(self) -> dict[str, Any]:
        """Return the number of episodes, and what is said of all of them, as a text."""
        about = json.dumps(self.reader.metadata(), default=str)
        return {"episodes": len(self.reader.episodes), "metadata": about}

    def arrays(self) -> Iterator[Leaf]:
        """Iterate over the values of an episode, each with an entry for every step that has it."""
        found: dict[Keys, tuple[list[int], list[Any]]] = {}
        count = nbytes = 0
        for step in self.reader.episodes[self.request["episode"]]:
            seen = step.timestep
            row = {name: getattr(seen, name) for name in ("step_type", "reward", "discount")}
            row |= {"observation": seen.observation, "action": step.action}
            for path, value in parts(row | {"custom_data": step.custom_data}, ()):
                nbytes += sys.getsizeof(value)
                if nbytes > self.most:
                    raise Refused(f"an episode has more than {self.most} bytes")
                numbers, values = found.setdefault(path, ([], []))
                numbers.append(count)
                values.append(value)
            count += 1
        for path, (numbers, values) in found.items():
            self.take(sum(map(sys.getsizeof, values)), path)
            yield path, column(path, values)
            if len(numbers) < count:
                yield ("steps", *path), np.array(numbers)


def parts(value: Any, path: Keys) -> Iterator[Leaf]:
    """Iterate over the arrays and texts in a value of a step."""
    if len(path) > MOST_DEPTH:
        raise Refused(f"{'/'.join(path)}: nested more than {MOST_DEPTH} deep")
    if isinstance(value, list | tuple):
        value = dict(enumerate(value))
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from parts(inner, (*path, str(key)))
    elif value is not None:
        yield path, value if isinstance(value, str) else np.asarray(value)


def column(path: Keys, values: list[Any]) -> Any:
    """Return the values of all steps as one array, or as a list of texts."""
    if all(isinstance(value, str) for value in values):
        return values
    kinds = {(getattr(value, "dtype", "text"), np.shape(value)) for value in values}
    if len(kinds) > 1:
        raise Refused(f"{'/'.join(path)}: values of different kinds: {kinds}")
    return np.stack(values)

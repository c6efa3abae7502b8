# SPDX-License-Identifier: LGPL-3.0-or-later
"""What a query can ask for, and what it is given: the border of `gymbag.query`.

A query knows no field by name. A `Catalogue` says which fields there are, and whoever evaluates
the plan hands over their `Values`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

Kind = Literal["number", "bool", "text"]
Side = Literal["number", "text"]
"""What can be compared with each other; a bool counts as a number."""


class Level(IntEnum):
    """How dear a field is to read; a plan asks the cheap levels first."""

    EPISODE = 0
    """One value per episode, from the table of episodes."""
    ROW = 1
    """Narrow: a column of the table of steps, or an info column."""
    WIDE = 2
    """An array beside the table: observations and wide actions."""


@dataclass(frozen=True, slots=True)
class Field:
    """One leaf that a reader can be asked for."""

    name: str
    """The canonical path, for example ``observation.pose``."""
    kind: Kind
    shape: tuple[int, ...] = ()
    """The shape of one row's value, ``()`` for a scalar."""
    level: Level = Level.ROW


@dataclass(frozen=True, slots=True)
class Values:
    """The values of one field in n rows."""

    data: NDArray[Any]
    """``(n, *shape)``; text as NumPy's ``U`` or as objects. What is not present is ignored."""
    present: NDArray[np.bool_] | None = None
    """``(n,)``, False where a row has no value; None if every row has one."""


class Catalogue(Protocol):
    """Says which fields there are."""

    def lookup(
        self, keys: tuple[str | int, ...], kind: Side | None = None
    ) -> tuple[Field, tuple[int, ...]]:
        """Return the leaf that a path leads to, and the indices that remain for its array.

        Args:
            keys: The path as typed, for example ``("observation", "pose", 0)``.
            kind: Which field is preferred where a key holds numbers in some rows and text in
                others. It decides between two fields and never makes a lookup fail.

        Raises:
            LookupError: There is no such field; the user reads the message.
        """

    def names(self) -> Iterable[str]:
        """Return the names to choose from when a user mistypes one."""


class Fields:
    """A catalogue of given fields, whose names are dotted paths.

    Several fields may share a name if their kinds differ; the first is the default.

    >>> fields = Fields([Field("reward", "number"), Field("observation.pose", "number", (3,))])
    >>> field, indices = fields.lookup(("observation", "pose", 0))
    >>> field.name, indices
    ('observation.pose', (0,))
    >>> fields.lookup(("rewrad",))
    Traceback (most recent call last):
    ...
    LookupError: there is no field 'rewrad'
    """

    def __init__(self, fields: Iterable[Field]) -> None:
        self._fields: dict[str, list[Field]] = {}
        for field in fields:
            self._fields.setdefault(field.name, []).append(field)

    def lookup(
        self, keys: tuple[str | int, ...], kind: Side | None = None
    ) -> tuple[Field, tuple[int, ...]]:
        """Return the field with the longest name that `keys` begin with, and the other keys."""
        for end in range(len(keys), 0, -1):
            found = self._fields.get(".".join(map(str, keys[:end])))
            indices = tuple(key for key in keys[end:] if isinstance(key, int))
            if found and len(indices) == len(keys) - end:
                preferred = [f for f in found if (f.kind == "text") == (kind == "text")]
                return (preferred[0] if kind and preferred else found[0]), indices
        raise LookupError(f"there is no field {'.'.join(map(str, keys))!r}")

    def names(self) -> Iterable[str]:
        """Return the names of the fields."""
        return self._fields

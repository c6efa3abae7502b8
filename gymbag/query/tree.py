# SPDX-License-Identifier: LGPL-3.0-or-later
"""What a text says, before anyone knows what its names mean.

::

    Given      a constant or a parameter          0.5  "reset"  t
    Listing    what `in` looks through            (1, 2)  ids
    Path       a field                            observation.pose[0]
    Call       a function, or arithmetic          max(x)  x + 1
    Chain      comparisons                        0 < x <= 1  x in (1, 2)
    Junction   and, or, not, and & | ~            x and not y

Each node knows where it stands in the text, in characters.
"""

from __future__ import annotations

from dataclasses import dataclass

Scalar = bool | int | float | str


@dataclass(frozen=True, slots=True)
class Given:
    """A constant, or a parameter that is one value."""

    value: Scalar
    at: int
    """Where it stands in the text, in characters; so in every node."""


@dataclass(frozen=True, slots=True)
class Listing:
    """The constants that `in` looks through."""

    items: tuple[Scalar, ...]
    at: int


@dataclass(frozen=True, slots=True)
class Path:
    """A field as typed: ``observation.pose[0]`` is ``("observation", "pose", 0)``."""

    keys: tuple[str | int | slice, ...]
    places: tuple[int, ...]
    """Where each key stands."""

    @property
    def at(self) -> int:
        """Where the path begins."""
        return self.places[0]


@dataclass(frozen=True, slots=True)
class Call:
    """A function of its arguments; the name may be an operator's."""

    name: str
    arguments: tuple[Node, ...]
    at: int


@dataclass(frozen=True, slots=True)
class Chain:
    """``0 < x <= 1`` is ``("<", "<=")`` between three operands."""

    operators: tuple[str, ...]
    operands: tuple[Node, ...]
    at: int


@dataclass(frozen=True, slots=True)
class Junction:
    """``and``, ``or``, ``&``, ``|`` of its terms, or ``not``, ``~`` of a single one."""

    word: str
    terms: tuple[Node, ...]
    at: int


Node = Given | Listing | Path | Call | Chain | Junction

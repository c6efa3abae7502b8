# SPDX-License-Identifier: LGPL-3.0-or-later
"""What a data set says of itself: lines of JSON that are only ever added to. Pure.

========  ====================================================================================
line      says
========  ====================================================================================
dataset   name and spaces; always the first
session   a recording began: when, by which versions, with what description, metadata, spec
info      a column for a key of the infos was opened
view      a question was saved under a name, or, if it says none, is no longer
========  ====================================================================================
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from gymbag.errors import NotAStore, UnsupportedSpace
from gymbag.schema import Schema, jsonable
from gymbag.schema.info import InfoColumn


@dataclass(frozen=True, slots=True)
class Session:
    """One recording into a data set."""

    start_time: float
    """Unix time in seconds."""
    description: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    env_spec: str | None = None
    """The environment's spec as JSON; it is kept as text and never made into an environment."""
    versions: Mapping[str, str] = field(default_factory=dict)
    """Versions of Python and of the packages that took part."""

    def line(self) -> bytes:
        """Return the session as a line of JSON."""
        names = ("start_time", "description", "metadata", "env_spec", "versions")
        try:
            return _line("session", **{name: getattr(self, name) for name in names})
        except (TypeError, ValueError) as error:
            raise type(error)(
                f"metadata: found {error}; expected what JSON has a place for, and NumPy arrays"
            ) from None


@dataclass(frozen=True, slots=True)
class View:
    """A question that was saved under a name.

    It is text from a file: whoever uses it has it parsed, like any other question.
    """

    name: str
    question: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    """Values for the names in the question that are no fields."""

    def line(self) -> bytes:
        """Return the view as a line of JSON.

        Raises:
            TypeError, ValueError: JSON cannot hold a parameter.
        """
        content = {"name": self.name, "question": self.question}
        return _line("view", **content, parameters=dict(self.parameters))


def no_view_line(name: str) -> bytes:
    """Return the line that takes a view back."""
    return _line("view", name=name, question=None, parameters={})


@dataclass(frozen=True, slots=True)
class Meta:
    """All lines, read."""

    name: str
    schema: Schema
    sessions: tuple[Session, ...]
    info_columns: tuple[InfoColumn, ...]
    views: Mapping[str, View] = field(default_factory=dict)
    """By name, the one saved last at the end."""

    @property
    def description(self) -> str:
        """The last description that was given."""
        return next((s.description for s in reversed(self.sessions) if s.description), "")

    @property
    def metadata(self) -> dict[str, Any]:
        """All metadata, that of later sessions above that of earlier ones."""
        return {key: value for s in self.sessions for key, value in s.metadata.items()}

    @property
    def env_spec(self) -> str | None:
        """The last environment spec that was given, as JSON."""
        return next((s.env_spec for s in reversed(self.sessions) if s.env_spec), None)

    @classmethod
    def parse(cls, lines: bytes, where: str) -> Meta:
        """Return what the lines say.

        Raises:
            NotAStore: they are not what they should be.
        """
        try:
            first, *rest = filter(None, map(_loaded, lines.splitlines()))
            return cls(
                name=first["name"],
                schema=Schema.from_json(first["spaces"]),
                sessions=tuple(
                    Session(**_without_kind(line)) for line in rest if line["line"] == "session"
                ),
                info_columns=tuple(
                    InfoColumn.from_json(line) for line in rest if line["line"] == "info"
                ),
                views=_views(line for line in rest if line["line"] == "view"),
            )
        except UnsupportedSpace as error:
            raise NotAStore(f"{where}: {error}") from error
        except (KeyError, TypeError, ValueError) as error:
            raise NotAStore(f"{where}: its description is damaged ({error!r})") from error


VIEW = b'{"line": "view"'
"""How the line of a view begins."""


def _loaded(line: bytes) -> Any:
    """Return what a line says; None if it is a view that is damaged, for nothing else needs it."""
    try:
        return jsonable.loads(line)
    except (ValueError, RecursionError):
        if line.startswith(VIEW):
            return None
        raise


def _views(lines: Iterable[Mapping[str, Any]]) -> dict[str, View]:
    """Return the views that stand; what is none costs nothing but itself."""
    views: dict[str, View] = {}
    for line in lines:
        name, question, parameters = map(line.get, ("name", "question", "parameters"))
        if isinstance(name, str):
            views.pop(name, None)
            if isinstance(question, str) and isinstance(parameters, dict):
                views[name] = View(name, question, parameters)
    return views


def joined_views(metas: Iterable[Meta]) -> dict[str, View]:
    """Return the views of data sets that are read as one; the first that has a name keeps it."""
    views: dict[str, View] = {}
    for meta in metas:
        views |= {name: view for name, view in meta.views.items() if name not in views}
    return views


def dataset_line(name: str, schema: Schema) -> bytes:
    """Return the first line."""
    return _line("dataset", name=name, spaces=schema.to_json())


def info_lines(columns: Iterable[InfoColumn]) -> bytes:
    """Return a line for each column."""
    return b"".join(_line("info", **column.to_json()) for column in columns)


def _line(kind: str, **content: Any) -> bytes:
    return jsonable.dumps({"line": kind, **content}).encode("ascii") + b"\n"


def _without_kind(line: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in line.items() if key != "line"}

# SPDX-License-Identifier: LGPL-3.0-or-later
"""Questions that are saved in a file, under names."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from gymbag.errors import NoSuchView
from gymbag.storage.access import open_to_read
from gymbag.storage.datasets import lane_of, stored_names
from gymbag.storage.meta import View, no_view_line
from gymbag.storage.snapshot import MAX_BYTES
from gymbag.storage.views import append_lines
from gymbag.store import Store

MOST_BYTES = 1 << 20
"""Bytes of a view as it stands in the file."""
LONGEST_NAME = 100


def save_view(
    filename: str | os.PathLike[str],
    view: str,
    question: str,
    params: Mapping[str, Any] | None = None,
    *,
    name: str | None = None,
    overwrite: bool = False,
) -> None:
    """Save a question in a file, so that whoever opens it can ask it by a name.

    `Store.view` asks it, `Store.views` lists all. What is kept is the text, not the answer: rows
    that are recorded later are asked, too. Repacking, merging, rescuing and deleting episodes keep
    views; other formats have no place for them.

    Args:
        filename: a file that gymbag recorded.
        view: the name.
        question: as for `Store.where`.
        params: values for the names in it that are no fields.
        name: the data set; None if the file holds only one.
        overwrite: whether the question may take the place of another of that name.

    Raises:
        QueryError: the question is not understood; the message shows where.
        ValueError: the name is empty, too long or taken, or a value cannot be kept.
        FileBusy: somebody is recording to the file.
        FileError: the file cannot be opened or written.

    >>> gymbag.save_view(filename, "rewarded", "reward > t", {"t": 0.5})
    >>> with gymbag.open(filename) as store:
    ...     print(store.views["rewarded"].question, len(store.view("rewarded")))
    reward > t 9
    """
    params = {} if params is None else params
    if not isinstance(params, Mapping) or not all(isinstance(key, str) for key in params):
        raise ValueError(f"params: found {params!r:.80}; expected values by their names, a dict")
    saved = View(view, question, dict(params))
    if (
        not isinstance(view, str)
        or not view.isprintable()
        or not 0 < len(view.strip()) <= LONGEST_NAME
    ):
        raise ValueError(f"view {view!r:.200}: expected 1 to {LONGEST_NAME} printable signs")

    def check(views: Mapping[str, View]) -> None:
        if view in views and not overwrite:
            raise ValueError(
                f"{os.fspath(filename)}: there is a view {view!r} already: "
                f"{views[view].question!r:.200}; choose another name, or take its place "
                "with --overwrite, or overwrite=True"
            )

    with Store(filename, name) as store:
        store.where(question, **saved.parameters)
        check(store.views)
        dataset = store.name
    try:
        line = saved.line()
    except (TypeError, ValueError) as error:
        raise ValueError(f"view {view!r}: a value cannot be kept: {error}") from None
    if len(line) > MOST_BYTES:
        raise ValueError(
            f"view {view!r}: takes {len(line):,} bytes; expected {MOST_BYTES:,} at most"
        )
    # Checked again: somebody else may have been faster.
    append_lines(filename, {_parts(filename, dataset)[0]: line}, check=check)


def remove_view(filename: str | os.PathLike[str], view: str, *, name: str | None = None) -> None:
    """Take a saved question out of a file again.

    Raises:
        NoSuchView: there is none of that name.
        FileBusy: somebody is recording to the file.
        FileError: the file cannot be opened or written.

    >>> gymbag.save_view(filename, "short", "episode_length < 5")
    >>> gymbag.remove_view(filename, "short")
    >>> "short" in gymbag.open(filename).views
    False
    """
    with Store(filename, name) as store:
        if view not in store.views:
            raise NoSuchView(f"{store.filename}: {store.name}: no view {view!r}")
        dataset = store.name
    # Of a merged vector several lanes may have it.
    append_lines(filename, dict.fromkeys(_parts(filename, dataset), no_view_line(view)))


def _parts(filename: str | os.PathLike[str], dataset: str) -> list[str]:
    """Return the names under which a data set stands in its file: one, or one for each lane."""
    snapshot = open_to_read(os.fspath(filename), MAX_BYTES)
    try:
        return [
            stored for stored in stored_names(snapshot) if dataset in (stored, lane_of(stored)[0])
        ]
    finally:
        snapshot.close()

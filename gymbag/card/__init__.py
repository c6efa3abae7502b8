# SPDX-License-Identifier: LGPL-3.0-or-later
"""A data sheet of a recording: one page of HTML that needs nothing else, and runs nothing."""

from __future__ import annotations

from gymbag.card.facts import collect
from gymbag.card.page import render
from gymbag.store import Store

__all__ = ["card"]


def card(store: Store) -> str:
    """Return a page of HTML about a data set: counts, curves, frames, columns and spaces.

    The page holds all that it shows, has no script, and asks no server for anything. Whatever
    comes from the file is text on it, never markup. It has frames if the observations are images
    and Pillow is installed.

    >>> page = gymbag.card(store)
    >>> "CartPole-v1" in page, "<script" in page
    (True, False)
    """
    return render(collect(store))

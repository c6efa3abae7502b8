# SPDX-License-Identifier: LGPL-3.0-or-later
"""The page of a card: facts in, HTML out. Pure.

Every value from the file passes through `escape` or `number`; there is no other way in.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import PurePath
from typing import Any

import numpy as np

from gymbag.bins import drawable
from gymbag.card.facts import Facts, Frame, Named
from gymbag.card.look import STYLE
from gymbag.card.plots import curve, histogram, shares
from gymbag.card.text import escape, number, plural
from gymbag.storage.meta import Session
from gymbag.version import __version__

MOST_ROWS = 100
"""Rows of a table, at most; a file may hold thousands of columns."""
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
"""What a browser may load: a second wall behind the escaping."""

NOTHING = "\u2013"
"""A dash where there is no value."""


def render(facts: Facts) -> str:
    """Return the page."""
    parts = [
        header(facts),
        tiles(facts),
        plots(facts),
        how_ended(facts),
        frames(facts.frames),
        extremes(facts.best, facts.worst),
        spaces(facts),
        metadata(facts),
        columns(facts),
        sessions(facts.sessions),
        f"<footer>Made by gymbag {__version__}. Times are UTC.</footer>",
    ]
    body = "\n".join(filter(None, parts))
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(facts.name, 100)}</title>\n<style>\n{STYLE}</style>\n</head>\n"
        f"<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n"
    )


def header(facts: Facts) -> str:
    """Return name, description, file and time."""
    times = [session.start_time for session in facts.sessions]
    when = " to ".join(dict.fromkeys(day(time) for time in (times[:1] + times[-1:]) if day(time)))
    file = escape(PurePath(facts.filename).name, 200)
    about = f'<p class="about">{escape(facts.description, 5000)}</p>' if facts.description else ""
    return (
        f'<header><p class="kind">Recording</p><h1>{escape(facts.name, 200)}</h1>{about}'
        f'<p class="soft">{" · ".join(filter(None, (file, when)))}</p></header>'
    )


def tiles(facts: Facts) -> str:
    """Return the numbers that say most."""
    lengths, returns = facts.summary.lengths, facts.summary.returns
    finite = returns[np.isfinite(returns)]
    raw = sum(column.nbytes for column in facts.columns)
    stored = sum(column.stored for column in facts.columns)
    with np.errstate(all="ignore"):
        seconds = float(np.nansum(facts.summary.end_times - facts.summary.start_times))
    rate = facts.actions / seconds if seconds > 0 else 0.0
    found = [
        ("episodes", f"{facts.episodes:,}", how_seeded(facts)),
        ("steps", f"{facts.actions:,}", f"{number(rate, 3)} a second" if rate else ""),
        (
            "mean return",
            number(float(np.sum(finite / len(finite)))) if len(finite) else NOTHING,
            f"{number(finite.min())} to {number(finite.max())}" if len(finite) else "",
        ),
        (
            "mean length",
            number(float(lengths.mean())) if len(lengths) else NOTHING,
            f"{int(lengths.min()):,} to {int(lengths.max()):,} steps" if len(lengths) else "",
        ),
        (
            "in the file",
            size(stored),
            f"{number(raw / stored, 3)} times smaller"
            if raw > stored > 0
            else f"{size(raw)} of data",
        ),
    ]
    boxes = (
        f'<div class="tile"><span class="what">{what}</span><b>{value}</b><span>{more}</span></div>'
        for what, value, more in found
    )
    return f'<div class="tiles">{"".join(boxes)}</div>'


def how_seeded(facts: Facts) -> str:
    """Return how many of the episodes can be run again on their own."""
    return f"{facts.seeded:,} with a seed" if facts.episodes else ""


def plots(facts: Facts) -> str:
    """Return the curves and histograms."""
    if not facts.episodes:
        return section("Episodes", '<p class="soft">There is no episode yet.</p>')
    returns, lengths = facts.summary.returns, facts.summary.lengths
    with np.errstate(all="ignore"):
        rewards = returns / lengths
    weights = lengths.astype(np.float64)
    found = {
        "Return over time": curve(returns, "return"),
        "Mean reward over time": curve(rewards, "mean reward", weights),
        "Returns": histogram(returns, "return"),
        "Lengths": histogram(lengths.astype(np.float64), "steps"),
    }
    odd = len(returns) - len(drawable(returns))
    note = f'<p class="soft note">Not drawn: {plural(odd, "return")}, NaN or far too large.</p>'
    drawn = (section(title, svg) for title, svg in found.items())
    return f'<div class="plots">{"".join(drawn)}</div>{note if odd else ""}'


def how_ended(facts: Facts) -> str:
    """Return why the episodes have no further row."""
    ends = facts.summary.ends
    legend = "".join(
        f'<li><svg viewBox="0 0 10 10" aria-hidden="true"><circle class="{escape(name)}" '
        f'cx="5" cy="5" r="5"/></svg>{escape(name)} <span>{count:,}</span></li>'
        for name, count in ends.items()
    )
    bar = shares(ends)
    return section("How episodes ended", f'{bar}<ul class="legend">{legend}</ul>') if ends else ""


def frames(found: Sequence[Frame]) -> str:
    """Return what the agent saw, here and there."""
    figures = "".join(
        f'<figure><img src="data:image/png;base64,{frame.png}" width="{frame.width}" '
        f'height="{frame.height}" alt="The observation at step {frame.step} of episode '
        f'{frame.episode}"><figcaption>episode {frame.episode:,}, step {frame.step:,}</figcaption>'
        "</figure>"
        for frame in found
    )
    return section("Observations", f'<div class="frames">{figures}</div>') if figures else ""


def extremes(best: Sequence[Named], worst: Sequence[Named]) -> str:
    """Return the tables of the best and of the worst episodes."""
    tables = [
        section(
            title,
            table(
                ("episode", "return>", "length>", "ended", "seed>"),
                (
                    (
                        f"{named.episode:,}",
                        number(named.episode_return),
                        f"{named.episode_length:,}",
                        escape(named.ended),
                        "" if named.seed is None else escape(named.seed, 40),
                    )
                    for named in some
                ),
            ),
        )
        for title, some in (("Best episodes", best), ("Worst episodes", worst))
        if some
    ]
    return f'<div class="plots">{"".join(tables)}</div>' if tables else ""


def spaces(facts: Facts) -> str:
    """Return both spaces, and the spec as the file has it."""
    pairs = (("Observation space", facts.observation_space), ("Action space", facts.action_space))
    found = "".join(
        f"<h2>{title}</h2><pre>{escape(' '.join(space.split()), 4000)}</pre>"
        for title, space in pairs
    )
    if facts.env_spec:
        spec = escape(facts.env_spec, 4000)
        found += f"<details><summary>The environment's spec</summary><pre>{spec}</pre></details>"
    return f"<section>{found}</section>"


def metadata(facts: Facts) -> str:
    """Return what the user kept with it."""
    rows = [
        (f'<span class="key">{escape(key, 100)}</span>', escape(value))
        for key, value in facts.metadata.items()
    ]
    return section("Metadata", table(("key", "value"), rows, "pairs")) if rows else ""


def columns(facts: Facts) -> str:
    """Return what each column takes."""
    found = sorted(facts.columns, key=lambda column: -column.stored)
    rows = []
    for column in found:
        shape = f"[{', '.join(map(str, column.shape))}]" if column.shape else ""
        names = column.dtype.names
        kind = plural(len(names), "field") if names else f"{column.dtype}{shape}"
        ratio = f"{number(column.nbytes / column.stored, 3)}\u00d7" if column.stored else ""
        rows.append(
            (
                f"<code>{escape(column.name, 100)}</code>",
                escape(kind, 100),
                size(column.nbytes),
                size(column.stored),
                ratio,
                escape(column.compression, 40),
            )
        )
    head = ("column", "type", "data>", "in the file>", "ratio>", "compression")
    return section("Columns", table(head, rows)) if rows else ""


def sessions(found: Sequence[Session]) -> str:
    """Return when it was recorded, and with what."""
    rows = [
        (
            f'<span class="key">{day(session.start_time, "%Y-%m-%d %H:%M:%S") or NOTHING}</span>',
            ", ".join(f"{escape(k, 60)} {escape(v, 60)}" for k, v in session.versions.items()),
        )
        for session in found
    ]
    return section("Recorded", table(("began", "versions"), rows, "pairs")) if rows else ""


def section(title: str, content: str) -> str:
    """Return a part of the page."""
    return f"<section><h2>{title}</h2>{content}</section>"


def table(head: Sequence[str], rows: Iterable[Sequence[str]], kind: str = "plain") -> str:
    """Return a table; a column whose head ends in ``>`` stands to the right."""
    sides = [' class="right"' if name.endswith(">") else "" for name in head]
    top = "".join(
        f"<th{side}>{name.rstrip('>')}</th>" for side, name in zip(sides, head, strict=True)
    )
    lines = list(_lines(rows, sides))
    more = len(lines) - MOST_ROWS
    note = f'<p class="soft">and {more:,} more</p>' if more > 0 else ""
    body = "".join(lines[:MOST_ROWS])
    return f'<table class="{kind}"><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>{note}'


def _lines(rows: Iterable[Sequence[str]], sides: Sequence[str]) -> Iterator[str]:
    for row in rows:
        cells = zip(sides, row, strict=True)
        yield f"<tr>{''.join(f'<td{side}>{cell}</td>' for side, cell in cells)}</tr>"


def size(count: float) -> str:
    """Return a number of bytes as people say it.

    >>> size(12), size(869_323)
    ('12 B', '869 kB')
    """
    units = ["B", "kB", "MB", "GB", "TB"]
    place = min(int(math.log10(max(count, 1)) / 3 + 1e-4), len(units) - 1)
    part = count / 1000**place
    return f"{part:.{1 if place and part < 100 else 0}f} {units[place]}"


def day(time: Any, form: str = "%Y-%m-%d") -> str:
    """Return a Unix time as a date; nothing if it is none.

    >>> day(0.0), day(86400.0), day(1e300)
    ('', '1970-01-02', '')
    """
    try:
        return datetime.fromtimestamp(time, UTC).strftime(form) if time else ""
    except (TypeError, ValueError, OverflowError, OSError):
        return ""

# SPDX-License-Identifier: LGPL-3.0-or-later
"""Draws how long each question takes, as ratios to NumPy, into docs/benchmarks.svg.

    python -m benchmarks.plot

A panel for each question, a dot for each peer at its median, and a line for the range. The scale
is logarithmic, and the same in all panels.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Iterator
from html import escape
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

from benchmarks.harness import RESULTS, ROOT
from benchmarks.sections import OWN, digits

SUITES = ["reading", "asking"]
TARGET = ROOT / "docs" / "benchmarks.svg"

WIDTH, LABELS, VALUES = 760, 190, 60
LINE, TITLE, GAP = 18, 26, 16
OWN_COLOUR, OTHER_COLOUR = "#c2410c", "#64748b"
STYLE = """\
text { font: 12px system-ui, sans-serif; fill: #64748b; dominant-baseline: middle }
.title { font-weight: 600; fill: #475569 } .own { font-weight: 600; fill: #c2410c }
.grid { stroke: #94a3b8; stroke-opacity: .3 } .one { stroke: #94a3b8; stroke-dasharray: 2 2 }
"""


class Scale:
    """Where a ratio stands from left to right."""

    def __init__(self, ratios: list[float]) -> None:
        self.low = math.floor(math.log10(min(*ratios, 1.0)))
        self.high = max(math.ceil(math.log10(max(ratios))), self.low + 1)

    def __call__(self, ratio: float) -> float:
        """Return the distance from the left."""
        share = (math.log10(ratio) - self.low) / (self.high - self.low)
        return round(LABELS + share * (WIDTH - LABELS - VALUES), 1)

    @property
    def decades(self) -> list[float]:
        """The powers of ten that lines stand at."""
        return [10.0**power for power in range(self.low, self.high + 1)]


def svg(figures: list[dict[str, Any]]) -> str:
    """Return the drawing of all questions."""
    values = [figure["wall_ratio"][key] for figure in figures for key in ("min", "max")]
    scale = Scale(values)
    body: list[str] = []
    top = 0
    for (data, question), some in groupby(figures, itemgetter("data", "question")):
        title = escape(f"{data}: {question}")
        body.append(f'<text class="title" x="0" y="{top + TITLE / 2}">{title}</text>')
        top += TITLE
        peers = list(some)
        body += grid(scale, top, top + LINE * len(peers))
        for figure in peers:
            body += row(figure, scale, top + LINE / 2)
            top += LINE
        top += GAP
    body += [
        f'<text x="{scale(tick)}" y="{top}" text-anchor="middle">{label(tick)}</text>'
        for tick in scale.decades
    ]
    size = f'viewBox="0 0 {WIDTH} {top + LINE}" width="{WIDTH}" height="{top + LINE}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">'
    about = "<title>Time of each question, as a ratio to NumPy</title>"
    return "\n".join([head, about, f"<style>\n{STYLE}</style>", *body, "</svg>\n"])


def label(tick: float) -> str:
    return f"{tick:,.0f}" if tick >= 1 else f"{tick:g}"


def grid(scale: Scale, top: float, bottom: float) -> Iterator[str]:
    for tick in scale.decades:
        place = f'x1="{scale(tick)}" x2="{scale(tick)}" y1="{top}" y2="{bottom}"'
        yield f'<line class="{"one" if tick == 1 else "grid"}" {place}/>'


def row(figure: dict[str, Any], scale: Scale, y: float) -> Iterator[str]:
    own = figure["peer"].startswith(OWN)
    colour = OWN_COLOUR if own else OTHER_COLOUR
    ratio = figure["wall_ratio"]
    style = ' class="own"' if own else ""
    place = f'x1="{scale(ratio["min"])}" x2="{scale(ratio["max"])}" y1="{y}" y2="{y}"'
    name, value = escape(figure["peer"]), digits(ratio["median"])
    yield f'<text{style} x="{LABELS - 12}" y="{y}" text-anchor="end">{name}</text>'
    yield f'<line {place} stroke="{colour}" stroke-width="2"/>'
    yield f'<circle cx="{scale(ratio["median"])}" cy="{y}" r="4" fill="{colour}"/>'
    yield f'<text{style} x="{WIDTH}" y="{y}" text-anchor="end">{value}</text>'


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.plot", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--results", type=Path, default=RESULTS, help="the folder of the JSON")
    parser.add_argument("--out", type=Path, default=TARGET, help="where the drawing goes")
    args = parser.parse_args(arguments)
    paths = [args.results / f"{name}.json" for name in SUITES]
    figures = [
        figure
        for path in paths
        if path.exists()
        for figure in json.loads(path.read_text())["figures"]
    ]
    if not figures:
        raise SystemExit(f"no results in {args.results}: python -m benchmarks.reading makes some")
    args.out.write_text(svg(figures))


if __name__ == "__main__":
    main()

# SPDX-License-Identifier: LGPL-3.0-or-later
"""Prints the results of `benchmarks.recording` as Markdown, or keeps them in a document.

    python -m benchmarks.table
    python -m benchmarks.table --write README.md
    python -m benchmarks.table --check README.md

In a document the text stands between ``<!-- benchmark:recording -->`` and
``<!-- /benchmark:recording -->``; ``--check`` exits with 1 where it is not the newest.
"""

from __future__ import annotations

import argparse
import json
import sys
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

from benchmarks.harness import results_of

BEGIN = "<!-- benchmark:recording -->"
END = "<!-- /benchmark:recording -->"

HEAD = """\
| | time / bare | CPU / bare | bytes a step | memory, + MB | while recording |
|:--|--:|--:|--:|--:|--:|
"""

NOTE = """\
Medians over {repetitions} repetitions, their range in brackets. Ratios are to the bare \
environment in the same repetition; `bare again` shows how far two equal runs lie apart. The \
actions are random and the same for all, and `close` is included. Memory is the peak of \
the process over that of the bare environment, and how much of it came while recording rather \
than with the libraries. Python {python}, {cpus} CPUs, {date}. Made by:

```sh
{command}
```
"""


def markdown(results: dict[str, Any]) -> str:
    """Return a table for each environment, and how they were made."""
    tables = [
        f"`{env_id}`, {steps:,} steps:\n\n{HEAD}" + "".join(map(row, rows))
        for (env_id, steps), rows in groupby(results["figures"], itemgetter("environment", "steps"))
    ]
    return "\n".join([*tables, NOTE.format(**results["made"])])


def row(figure: dict[str, Any]) -> str:
    cells = [
        figure["recorder"],
        ratio(figure["wall_ratio"]),
        ratio(figure["cpu_ratio"]),
        number(figure["bytes_per_step"]),
        number(round(figure["extra_memory_mb"])),
        number(round(figure["recording_memory_mb"])),
    ]
    return f"| {' | '.join(cells)} |\n"


def ratio(spread: dict[str, float]) -> str:
    low, high = spread["min"], spread["max"]
    text = f"{spread['median']:.2f}"
    return text if low == high else f"{text} ({low:.2f}-{high:.2f})"


def number(value: float) -> str:
    return f"{value:.1f}" if isinstance(value, float) and 0 < value < 100 else f"{value:,.0f}"


def replaced(document: str, text: str) -> str:
    """Return `document` with `text` between the two marks.

    Raises:
        ValueError: A mark is missing.
    """
    before, begin, rest = document.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"found no {BEGIN} … {END}; put both where the table should stand")
    return f"{before}{BEGIN}\n{text}{END}{after}"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.table", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument(
        "--results", type=Path, default=results_of("recording"), help="the JSON to read"
    )
    action = parser.add_mutually_exclusive_group()
    action.add_argument("--write", type=Path, metavar="FILE", help="put it into this document")
    action.add_argument("--check", type=Path, metavar="FILE", help="is this document up to date?")
    args = parser.parse_args(arguments)

    text = markdown(json.loads(args.results.read_text()))
    path = args.write or args.check
    if path is None:
        print(text, end="")
        return 0
    document = path.read_text()
    wanted = replaced(document, text)
    if args.write:
        path.write_text(wanted)
    elif wanted != document:
        print(f"{path}: stale; run python -m benchmarks.table --write {path}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

# SPDX-License-Identifier: LGPL-3.0-or-later
"""``gymbag info``."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

from gymbag.cli.arguments import Subparsers, add_command
from gymbag.cli.output import format_bytes, print_table, printable, to_json
from gymbag.cli.sparkline import WIDTH, sparkline
from gymbag.storage.datasets import list_datasets
from gymbag.storage.sizes import ColumnSize
from gymbag.store import Store, require_file
from gymbag.summary import bucket_means, summarize


def add(subparsers: Subparsers[argparse.ArgumentParser]) -> None:
    """Say what the command takes."""
    parser = add_command(
        subparsers,
        "info",
        run,
        "Show what a file holds. No row is read, unless --statistics asks for it.",
        "gymbag info cartpole.h5",
        "gymbag info atari.h5 --name ALE/Breakout-v5 --json",
    )
    parser.add_argument("file", metavar="FILE", help="recorded by gymbag")
    parser.add_argument("--name", help="the data set to show; all of them if not given")
    parser.add_argument(
        "--statistics", action="store_true", help="read all rows, and show what they are like"
    )
    parser.add_argument("--json", action="store_true", help="print a JSON list of data sets")


def run(arguments: argparse.Namespace) -> int:
    """Show."""
    require_file(arguments.file)
    names = [arguments.name] if arguments.name else list_datasets(arguments.file)
    found, tables = [], dict[str, str]()
    for name in names:
        with Store(arguments.file, name) as store:
            about = describe(store)
            if arguments.statistics:
                statistics = store.statistics()
                about["statistics"] = json.loads(statistics.to_json())
                tables[name] = str(statistics)
            found.append(about)
    if arguments.json:
        print(to_json(found))
        return 0
    size = format_bytes(Path(arguments.file).stat().st_size)
    number = len(list_datasets(arguments.file))
    print(f"{arguments.file}: {number} data set{'s' * (number != 1)}, {size}")
    for about in found:
        print()
        show(about)
        if arguments.statistics:
            print(f"\n{tables[about['name']]}")
    return 0


def describe(store: Store) -> dict[str, Any]:
    """Return all that is to be shown of a data set."""
    summary = summarize(store)
    some = len(summary.lengths) > 0
    return {
        **store.describe(),
        "min_length": int(summary.lengths.min()) if some else None,
        "max_length": int(summary.lengths.max()) if some else None,
        "ended": summary.ends,
        "returns_over_time": bucket_means(summary.returns, WIDTH),
        "lengths_over_time": bucket_means(summary.lengths, WIDTH),
        "metadata": store.metadata,
        "views": [asdict(view) for view in store.views.values()],
        "env_spec": store.env_spec,
        "sessions": [asdict(session) for session in store.sessions],
        "sizes": [_size(column) for column in store.column_sizes()],
    }


def show(about: Mapping[str, Any]) -> None:
    """Print what `describe` returned."""
    lines = [
        ("about", about["description"]),
        ("episodes", f"{about['episodes']:,}"),
        ("steps", f"{about['actions']:,} ({about['rows']:,} rows: each reset is one, too)"),
    ]
    if about["episodes"]:
        mean, low, high = (about[f"{which}_return"] for which in ("mean", "min", "max"))
        lines.append(("return", f"{mean:g} on average, from {low:g} to {high:g}"))
        lines.append(("", sparkline(about["returns_over_time"])))
        mean, low, high = (about[f"{which}_length"] for which in ("mean", "min", "max"))
        lines.append(("length", f"{mean:g} steps on average, from {low:,} to {high:,}"))
        lines.append(("", sparkline(about["lengths_over_time"])))
        lines.append(("ended", ", ".join(f"{n:,} {how}" for how, n in about["ended"].items())))
    lines.append(("observation", " ".join(about["observation_space"].split())))
    lines.append(("action", " ".join(about["action_space"].split())))
    lines.append(("size", how_small(about)))
    lines += [("metadata", f"{key}: {to_json(v)}") for key, v in about["metadata"].items()]
    lines += [("view", f"{view['name']}: {view['question']}") for view in about["views"]]
    lines += [("recorded", how_recorded(session)) for session in about["sessions"]]
    print(printable(about["name"]))
    for label, text in lines:
        if text:
            print(f"  {label:<11}  {printable(text)}")
    print()
    print_table(
        ["  column", "type", "raw", "in file", "ratio", "compression"],
        [
            [
                f"  {size['name']}",
                size["type"],
                format_bytes(size["nbytes"]),
                format_bytes(size["stored"]),
                ratio(size["nbytes"], size["stored"]),
                size["compression"],
            ]
            for size in about["sizes"]
        ],
    )


def how_small(about: Mapping[str, Any]) -> str:
    """Return the size of a data set, raw and in the file, as people say it."""
    raw, stored, steps = about["nbytes"], about["stored"], about["actions"]
    text = f"{format_bytes(raw)} of data in {format_bytes(stored)}"
    if raw > stored > 0:
        text += f", {raw / stored:.3g} times smaller"
    if steps:
        text += f"; {stored / steps:.3g} bytes for each step"
    return text


def ratio(nbytes: int, stored: int) -> str:
    """Return how many times smaller a column is in the file.

    >>> ratio(1000, 8), ratio(0, 0)
    ('125x', '')
    """
    return f"{nbytes / stored:.3g}x" if nbytes and stored else ""


def how_recorded(session: Mapping[str, Any]) -> str:
    """Return when a recording began, if that is known, and which versions made it."""
    versions = ", ".join(f"{name} {number}" for name, number in session["versions"].items())
    if not session["start_time"]:
        return f"by {versions}"
    begun = datetime.fromtimestamp(session["start_time"]).astimezone()
    return f"{begun:%Y-%m-%d %H:%M:%S} by {versions}"


def _size(column: ColumnSize) -> dict[str, Any]:
    shape = f"[{', '.join(map(str, column.shape))}]" if column.shape else ""
    names = column.dtype.names
    return {
        "name": column.name,
        "type": f"table of {len(names)} columns" if names else f"{column.dtype}{shape}",
        "columns": {name: str(column.dtype[name]) for name in names or ()},
        "compression": column.compression,
        "nbytes": column.nbytes,
        "stored": column.stored,
    }

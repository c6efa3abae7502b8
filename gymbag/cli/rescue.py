# SPDX-License-Identifier: LGPL-3.0-or-later
"""``gymbag rescue``."""

from __future__ import annotations

import argparse

from gymbag.cli.arguments import Subparsers, add_command
from gymbag.cli.bars import chunk_bar
from gymbag.cli.output import to_json
from gymbag.formats.rescue import rescue


def add(subparsers: Subparsers[argparse.ArgumentParser]) -> None:
    """Say what the command takes."""
    parser = add_command(
        subparsers,
        "rescue",
        run,
        "Save every undamaged episode of a damaged file, also of one of gymbag 0.4.9, into a new "
        "one, and say what was lost. Exit with 1 if anything was.",
        "gymbag rescue damaged.h5 -o saved.h5",
    )
    parser.add_argument("file", metavar="FILE", help="the damaged file; it is only read")
    parser.add_argument("-o", "--output", metavar="NEW", required=True, help="the file to write")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace) -> int:
    """Rescue."""
    with chunk_bar(f"reading {arguments.file}") as progress:
        saved = rescue(arguments.file, arguments.output, progress=progress)
    if arguments.json:
        print(to_json(saved.to_json()))
        return 0 if saved else 1
    print(
        f"{arguments.output}: saved {saved.episodes:,} episodes, {saved.rows:,} rows, "
        f"of {saved.datasets} data sets"
    )
    for loss in saved.losses:
        print(f"  {loss}")
    for note in saved.notes:
        print(f"note: {note}")
    return 0 if saved else 1

# SPDX-License-Identifier: LGPL-3.0-or-later
"""``gymbag verify``."""

from __future__ import annotations

import argparse

from gymbag.cli.arguments import Subparsers, add_command
from gymbag.cli.bars import chunk_bar
from gymbag.cli.output import format_bytes, to_json
from gymbag.storage.verify import Report, verify


def add(subparsers: Subparsers[argparse.ArgumentParser]) -> None:
    """Say what the command takes."""
    parser = add_command(
        subparsers,
        "verify",
        run,
        "Read all of a file, and say what of it is damaged. Exit with 1 if anything is.",
        "gymbag verify atari.h5",
        "gymbag verify atari.h5 --json",
    )
    parser.add_argument("file", metavar="FILE", help="recorded by gymbag")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace) -> int:
    """Verify."""
    with chunk_bar(f"reading {arguments.file}") as progress:
        report = verify(arguments.file, progress=progress)
    if arguments.json:
        print(to_json(report.to_json()))
    else:
        show(arguments.file, report)
    return 0 if report else 1


def show(file: str, report: Report) -> None:
    """Print a report."""
    about = f"{report.datasets} data set{'s' * (report.datasets != 1)}, "
    about += f"{report.episodes:,} episodes, "
    about += f"{report.chunks:,} chunks of {format_bytes(report.nbytes)}"
    print(f"{file}: {'sound' if report else 'damaged'}: {about}")
    for damage in report.damages:
        print(f"  {damage}")
    for note in report.notes:
        print(f"note: {note}")
    if not report:
        print(f"save what can still be read: gymbag rescue {file} -o NEW")

# SPDX-License-Identifier: LGPL-3.0-or-later
"""``gymbag merge``."""

from __future__ import annotations

import argparse

from gymbag.cli.arguments import Subparsers, add_command
from gymbag.cli.bars import chunk_bar
from gymbag.storage.combine import merge


def add(subparsers: Subparsers[argparse.ArgumentParser]) -> None:
    """Say what the command takes."""
    parser = add_command(
        subparsers,
        "merge",
        run,
        "Put several recordings into one new file. Data sets of the same name are appended to each "
        "other, in the order of the files; nothing is lost.",
        "gymbag merge monday.h5 tuesday.h5 -o week.h5",
        "gymbag merge runs/*.h5 -o runs.h5",
    )
    parser.add_argument("files", metavar="FILE", nargs="+", help="recorded by gymbag")
    parser.add_argument("-o", "--output", metavar="NEW", required=True, help="the file to write")
    parser.add_argument(
        "--separate",
        action="store_true",
        help="keep data sets of one name apart if their spaces differ, as NAME and NAME-2",
    )


def run(arguments: argparse.Namespace) -> int:
    """Merge."""
    with chunk_bar(f"writing {arguments.output}") as progress:
        merged = merge(
            arguments.files, arguments.output, separate=arguments.separate, progress=progress
        )
    print(merged)
    return 0

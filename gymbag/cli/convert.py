# SPDX-License-Identifier: LGPL-3.0-or-later
"""``gymbag convert``."""

from __future__ import annotations

import argparse

from gymbag.cli.arguments import Subparsers, add_command, add_name
from gymbag.cli.output import progress
from gymbag.formats import convert


def add(subparsers: Subparsers[argparse.ArgumentParser]) -> None:
    """Say what the command takes."""
    parser = add_command(
        subparsers,
        "convert",
        run,
        "Convert a recording to another format, and say what is lost on the way.",
        "gymbag convert old.h5 new.h5 --from gymbag-0.4.9",
        "gymbag convert cartpole.h5 cartpole.npz --strict",
        "gymbag convert cartpole.h5 cartpole-v0 --to minari",
    )
    parser.add_argument("source", metavar="A", help="what to read")
    parser.add_argument("target", metavar="B", help="what to write")
    parser.add_argument(
        "--from", metavar="FORMAT", dest="source_format", help="of A; recognised if not given"
    )
    parser.add_argument(
        "--to", metavar="FORMAT", dest="target_format", help="of B; by its name if not given"
    )
    parser.add_argument(
        "--strict", action="store_true", help="write nothing if B cannot hold all that A has"
    )
    add_name(parser)


def run(arguments: argparse.Namespace) -> int:
    """Convert."""
    with progress() as bars:
        bars.add_task(f"{arguments.source} → {arguments.target}", total=None)
        losses = convert(
            arguments.source,
            arguments.target,
            source_format=arguments.source_format,
            target_format=arguments.target_format,
            name=arguments.name,
            strict=arguments.strict,
        )
    print(f"{arguments.source} is now also {arguments.target}")
    for loss in losses:
        print(f"note: {loss}")
    return 0

# SPDX-License-Identifier: LGPL-3.0-or-later
"""``gymbag compare``."""

from __future__ import annotations

import argparse
from contextlib import ExitStack

from gymbag.cli.arguments import Subparsers, add_command
from gymbag.cli.output import to_json
from gymbag.cli.sources import open_source
from gymbag.compare import compare


def add(subparsers: Subparsers[argparse.ArgumentParser]) -> None:
    """Say what the command takes."""
    parser = add_command(
        subparsers,
        "compare",
        run,
        "Compare two recordings, step by step. Exit with 1 if they differ.",
        "gymbag compare monday.h5 tuesday.h5",
        "gymbag compare original.h5 converted.npz --tolerance 1e-6 --json",
    )
    parser.add_argument("a", metavar="A", help="a file of any format that gymbag reads")
    parser.add_argument("b", metavar="B", help="another one, maybe of another format")
    parser.add_argument("--name", help="the data set, where a file holds several")
    parser.add_argument(
        "--tolerance", metavar="T", type=float, default=0.0, help="by how much numbers may differ"
    )
    parser.add_argument("--times", action="store_true", help="compare the times of the rows, too")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace) -> int:
    """Compare."""
    with ExitStack() as stack:
        a = stack.enter_context(open_source(arguments.a, arguments.name))
        b = stack.enter_context(open_source(arguments.b, arguments.name))
        result = compare(a, b, tolerance=arguments.tolerance, times=arguments.times)
        print(to_json(result.to_json()) if arguments.json else result)
    return 0 if result else 1

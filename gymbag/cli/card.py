# SPDX-License-Identifier: LGPL-3.0-or-later
"""``gymbag card``."""

from __future__ import annotations

import argparse
from pathlib import Path

from gymbag.card import card
from gymbag.cli.arguments import Subparsers, add_command, add_name
from gymbag.cli.output import format_bytes
from gymbag.store import Store


def add(subparsers: Subparsers[argparse.ArgumentParser]) -> None:
    """Say what the command takes."""
    parser = add_command(
        subparsers,
        "card",
        run,
        "Write a data sheet of a recording; one page of HTML that needs nothing else.",
        "gymbag card cartpole.h5",
        "gymbag card atari.h5 --name ALE/Breakout-v5 -o breakout.html",
    )
    parser.add_argument("file", metavar="FILE", help="recorded by gymbag")
    add_name(parser)
    parser.add_argument(
        "-o",
        "--output",
        metavar="OUT",
        help="where to; FILE with .html in place of its ending if not given",
    )


def run(arguments: argparse.Namespace) -> int:
    """Write."""
    path = Path(arguments.output or Path(arguments.file).with_suffix(".html"))
    with Store(arguments.file, arguments.name) as store:
        page = card(store)
    path.write_text(page, "utf-8")
    print(f"{path}: {format_bytes(path.stat().st_size)}")
    return 0

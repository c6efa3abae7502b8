# SPDX-License-Identifier: LGPL-3.0-or-later
"""``gymbag repack``."""

from __future__ import annotations

import argparse

from gymbag.cli.arguments import Subparsers, add_command
from gymbag.cli.bars import chunk_bar
from gymbag.cli.output import format_bytes
from gymbag.storage.compression import POLICIES
from gymbag.storage.repack import repack


def add(subparsers: Subparsers[argparse.ArgumentParser]) -> None:
    """Say what the command takes."""
    parser = add_command(
        subparsers,
        "repack",
        run,
        "Write a file anew, without the space that was freed in it. Until that is done the old "
        "one stays, and nobody can record to it.",
        "gymbag repack atari.h5",
        "gymbag repack atari.h5 --compression small -o archive.h5",
    )
    parser.add_argument("file", metavar="FILE", help="recorded by gymbag")
    parser.add_argument(
        "--compression", choices=sorted(POLICIES), help="compress anew; as it was if not given"
    )
    parser.add_argument(
        "-o", "--output", metavar="NEW", help="the file to write; FILE is replaced if not given"
    )


def run(arguments: argparse.Namespace) -> int:
    """Repack."""
    with chunk_bar(f"writing {arguments.output or arguments.file}") as progress:
        before, after = repack(
            arguments.file,
            arguments.output,
            compression=arguments.compression,
            progress=progress,
        )
    sizes = f"{format_bytes(before)} before, {format_bytes(after)} now"
    print(f"{arguments.output or arguments.file}: {sizes}")
    return 0

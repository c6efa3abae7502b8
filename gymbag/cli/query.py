# SPDX-License-Identifier: LGPL-3.0-or-later
"""``gymbag query``."""

from __future__ import annotations

import argparse
import ast
import csv
import sys
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

import numpy as np

from gymbag.cli.arguments import Subparsers, add_command, add_name, count
from gymbag.cli.output import print_table, to_json
from gymbag.errors import GymbagError
from gymbag.records import Records, Rows
from gymbag.selection import Selection
from gymbag.store import Store

COLUMNS = "episode,step,action,reward,terminated,truncated"
MOST_ROWS = 20
"""How many rows a terminal is shown."""

ABOUT = """\
Print the rows of which a question holds; exit with 1 if there are none, as grep does.

A question compares fields: episode, episode_return, episode_length, seed, ended, step, time,
reward, terminated, truncated, done, observation, action, info. Parts of them are written
observation[2], observation.pose[0] or info.lives; `gymbag info FILE --json` lists all columns."""


def add(subparsers: Subparsers[argparse.ArgumentParser]) -> None:
    """Say what the command takes."""
    parser = add_command(
        subparsers,
        "query",
        run,
        ABOUT,
        "gymbag query cartpole.h5 'abs(observation[2]) > 0.2 and not terminated'",
        "gymbag query cartpole.h5 'reward > t' --param t=0.5 --count",
        "gymbag query atari.h5 'reward > 0' --columns episode,step,info.lives --format csv",
    )
    parser.add_argument("file", metavar="FILE", help="recorded by gymbag")
    parser.add_argument("question", metavar="QUESTION", help="which rows, for example 'reward > 0'")
    add_name(parser)
    parser.add_argument(
        "--columns", metavar="A,B,…", default=COLUMNS, help=f"what to print (default: {COLUMNS})"
    )
    parser.add_argument(
        "--format",
        choices=["table", "csv", "json"],
        default="table",
        help="json is one object on each line (default: table)",
    )
    parser.add_argument(
        "--limit",
        metavar="N",
        type=count,
        help=f"the most rows to print; on a terminal, a table has {MOST_ROWS} if not given",
    )
    parser.add_argument(
        "--param",
        metavar="NAME=VALUE",
        action="append",
        type=parameter,
        default=[],
        help="a value for a name in the question; may be given several times",
    )
    parser.add_argument("--count", action="store_true", help="print only how many rows there are")


def run(arguments: argparse.Namespace) -> int:
    """Ask, and print."""
    with Store(arguments.file, arguments.name) as store:
        selection = store.where(arguments.question, **dict(arguments.param))
        if arguments.count:
            number = len(selection)
            print(number)
            return 0 if number else 1
        names = split_columns(arguments.columns)
        found = selection.rows
        limit = arguments.limit
        if limit is None and arguments.format == "table" and sys.stdout.isatty():
            limit = MOST_ROWS
        rows = read(store, found[:limit], names)
        match arguments.format:
            case "csv":
                print_csv(names, rows)
            case "json":
                for row in rows:
                    print(to_json(dict(zip(names, row, strict=True))))
            case _:
                print_table(names, rows)
    if limit is not None and len(found) > limit:
        print(f"{limit:,} of {len(found):,} rows; --limit shows more", file=sys.stderr)
    return 0 if len(found) else 1

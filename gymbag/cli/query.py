# SPDX-License-Identifier: LGPL-3.0-or-later
"""``gymbag query``."""

from __future__ import annotations

import argparse
import csv
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from gymbag.cli.arguments import Subparsers, add_command, add_name, add_param, ask, count
from gymbag.cli.output import print_table, to_json
from gymbag.errors import GymbagError
from gymbag.records import Records, Rows
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
    parser.add_argument(
        "question",
        metavar="QUESTION",
        help="which rows, for example 'reward > 0'; @NAME is a view that is saved in the file",
    )
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
    add_param(parser)
    parser.add_argument("--count", action="store_true", help="print only how many rows there are")


def run(arguments: argparse.Namespace) -> int:
    """Ask, and print."""
    with Store(arguments.file, arguments.name) as store:
        selection = ask(store, arguments.question, **dict(arguments.param))
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
    if arguments.limit is None and limit is not None and len(found) > limit:
        print(f"{limit:,} of {len(found):,} rows; --limit shows more", file=sys.stderr)
    if not len(found):
        print("no row matches", file=sys.stderr)
        return 1
    return 0


def split_columns(text: str) -> list[str]:
    """Return the names in a list, whose brackets may hold commas.

    >>> split_columns("step, observation[0,1]")
    ['step', 'observation[0,1]']
    """
    return [name.strip() for name in re.split(r",(?![^\[]*\])", text)]


def read(store: Store, rows: Rows, names: Sequence[str]) -> Iterator[list[Any]]:
    """Iterate over the values of fields at `rows`; they are read some at a time.

    Raises:
        GymbagError: there is no such field; that is said at once, also if there is no row.
    """
    records = store._records
    for name in names:
        try:
            records.column(name, rows[:0])
        except LookupError as error:
            raise GymbagError(f"--columns {name}: {error.args[0]}") from error
    starts = range(0, len(rows), records.batch_rows)
    blocks = (rows[start : start + records.batch_rows] for start in starts)
    return (
        list(row)
        for block in blocks
        for row in zip(*(values_of(records, name, block) for name in names), strict=True)
    )


def values_of(records: Records, name: str, rows: Rows) -> list[Any]:
    """Return a field's values at `rows`, one for each, whatever space they are of."""
    column = records.column(name, rows)
    if isinstance(column, np.ma.MaskedArray):
        return [None if value is np.ma.masked else value for value in column]
    if isinstance(column, np.ndarray | list):
        return list(column)
    codec = records.catalogue.codec(name)
    return [codec.pick(column, i) for i in range(len(rows))]


def print_csv(names: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Print rows as CSV; an array is a JSON list in its cell, no value is an empty cell."""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(names)
    for row in rows:
        writer.writerow([to_json(value) if is_nested(value) else value for value in row])


def is_nested(value: Any) -> bool:
    """Return whether a value is made of others."""
    return isinstance(value, np.ndarray | list | tuple | dict)

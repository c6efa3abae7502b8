# SPDX-License-Identifier: LGPL-3.0-or-later
"""``gymbag view``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping

from gymbag.cli.arguments import Subparsers, add_command, add_name, add_param
from gymbag.cli.output import print_table, to_json
from gymbag.store import Store
from gymbag.views import remove_view, save_view


def add(subparsers: Subparsers[argparse.ArgumentParser]) -> None:
    """Say what the command takes."""
    parser = add_command(
        subparsers,
        "view",
        run,
        "List the questions that are saved in a file, save one under a name, or remove one. "
        "`gymbag query FILE @NAME` asks it, `gymbag play FILE --where @NAME` plays its episodes.",
        "gymbag view cartpole.h5",
        "gymbag view cartpole.h5 --save tilted 'abs(observation[2]) > t' --param t=0.1",
        "gymbag view cartpole.h5 --remove tilted",
    )
    parser.add_argument("file", metavar="FILE", help="recorded by gymbag")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--save", metavar=("NAME", "QUESTION"), nargs=2, help="save a question")
    what.add_argument("--remove", metavar="NAME", help="remove one")
    add_name(parser)
    add_param(parser)
    parser.add_argument("--overwrite", action="store_true", help="in place of one of that name")


def run(arguments: argparse.Namespace) -> int:
    """List, save or remove."""
    file, name = arguments.file, arguments.name
    if arguments.remove is not None:
        remove_view(file, arguments.remove, name=name)
        print(f"{file}: removed the view {arguments.remove!r}")
        return 0
    if arguments.save is not None:
        view, question = arguments.save
        params, overwrite = dict(arguments.param), arguments.overwrite
        save_view(file, view, question, params, name=name, overwrite=overwrite)
        print(f"{file}: saved the view {view!r}")
        return 0
    with Store(file, name) as store:
        views = store.views.values()
    if not views:
        print("no view is saved", file=sys.stderr)
        return 1
    rows = [[one.name, one.question, parameters(one.parameters)] for one in views]
    print_table(["view", "question", "parameters"], rows)
    return 0


def parameters(values: Mapping[str, object]) -> str:
    """Return parameters as one would type them.

    >>> parameters({"t": 0.5, "why": "reset"})
    't=0.5 why="reset"'
    """
    return " ".join(f"{name}={to_json(value)}" for name, value in values.items())

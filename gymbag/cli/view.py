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
        "`gymbag query FILE --view NAME` asks it, and `gymbag play` plays its episodes.",
        "gymbag view cartpole.h5",
        "gymbag view cartpole.h5 tilted 'abs(observation[2]) > t' --param t=0.1",
        "gymbag view cartpole.h5 tilted --remove",
    )
    parser.add_argument("file", metavar="FILE", help="recorded by gymbag")
    parser.add_argument("view", metavar="NAME", nargs="?", help="the question's name")
    parser.add_argument("question", metavar="QUESTION", nargs="?", help="what to save")
    add_name(parser)
    add_param(parser)
    parser.add_argument("--overwrite", action="store_true", help="in place of one of that name")
    parser.add_argument("--remove", action="store_true", help="remove it")


def run(arguments: argparse.Namespace) -> int:
    """List, save or remove."""
    file, view, question = arguments.file, arguments.view, arguments.question
    if arguments.remove:
        if view is None or question is not None:
            raise ValueError("--remove: expected the name of a view, and no question")
        remove_view(file, view, name=arguments.name)
        print(f"{file}: removed the view {view!r}")
        return 0
    if question is not None:
        params, overwrite = dict(arguments.param), arguments.overwrite
        save_view(file, view, question, params, name=arguments.name, overwrite=overwrite)
        print(f"{file}: saved the view {view!r}")
        return 0
    with Store(file, arguments.name) as store:
        found = [one for one in store.views.values() if view in (None, one.name)]
    if not found:
        print("no such view" if view else "no view is saved", file=sys.stderr)
        return 1
    rows = [[one.name, one.question, parameters(one.parameters)] for one in found]
    print_table(["view", "question", "parameters"], rows)
    return 0


def parameters(values: Mapping[str, object]) -> str:
    """Return parameters as one would type them.

    >>> parameters({"t": 0.5, "why": "reset"})
    't=0.5 why="reset"'
    """
    return " ".join(f"{name}={to_json(value)}" for name, value in values.items())

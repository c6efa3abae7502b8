# SPDX-License-Identifier: LGPL-3.0-or-later
"""What the commands' arguments have in common."""

from __future__ import annotations

import argparse
import ast
import re
from collections.abc import Callable
from textwrap import indent
from typing import Any

from gymbag.selection import Selection
from gymbag.store import Store

Subparsers = argparse._SubParsersAction  # the type that `add_subparsers` returns
Run = Callable[[argparse.Namespace], int]


def add_command(
    subparsers: Subparsers[argparse.ArgumentParser],
    name: str,
    run: Run,
    about: str,
    *examples: str,
) -> argparse.ArgumentParser:
    """Return the parser of a new command.

    Args:
        subparsers: where to add it.
        name: what the user types.
        run: what to call with its arguments.
        about: what it does; the list of commands shows its first sentence, up to a semicolon.
        *examples: lines that the user can copy.
    """
    parser = subparsers.add_parser(
        name,
        help=about[0].lower() + re.split(r"[.;](?:\s|$)", about[1:])[0],
        description=about,
        epilog=f"examples:\n{indent(chr(10).join(examples), '  ')}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=run)
    return parser


def add_name(parser: argparse.ArgumentParser) -> None:
    """Let the user say which data set."""
    parser.add_argument(
        "--name", help="the data set in the file; none is needed if it holds only one"
    )


def add_param(parser: argparse.ArgumentParser) -> None:
    """Let the user give values for names in a question."""
    parser.add_argument(
        "--param",
        metavar="NAME=VALUE",
        action="append",
        type=parameter,
        default=[],
        help="a value for a name in the question; may be given several times",
    )


def ask(store: Store, question: str, **params: Any) -> Selection:
    """Return what a question selects; ``@NAME`` is one that is saved in the file."""
    if question.startswith("@"):
        if params:
            raise ValueError(f"--param: {question} has values of its own, and takes no others")
        return store.view(question[1:])
    return store.where(question, **params)


def count(text: str) -> int:
    """Return a number of things, at least one."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text}: at least 1")
    return number


def parameter(text: str) -> tuple[str, Any]:
    """Return the name and the value of ``NAME=VALUE``; what is no literal of Python's is text.

    >>> parameter("t=0.5"), parameter("why=reset")
    (('t', 0.5), ('why', 'reset'))
    """
    name, equals, value = text.partition("=")
    if not equals or not name.isidentifier():
        raise argparse.ArgumentTypeError(f"{text!r}: expected NAME=VALUE")
    try:
        return name, ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return name, value
    except (MemoryError, RecursionError, TypeError):
        message = f"{text!r:.80}: no value; it is nested too deeply, or cannot be"
        raise argparse.ArgumentTypeError(message) from None

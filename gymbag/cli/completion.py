# SPDX-License-Identifier: LGPL-3.0-or-later
"""``gymbag --print-completion``: the script by which a shell completes what is typed."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from typing import Any

SHELLS = ("bash", "zsh", "tcsh")
FILES = {"FILE", "NEW", "OUT", "A", "B"}
"""What the help calls arguments that are names of files or folders."""


class PrintCompletion(argparse.Action):
    """Prints the script for a shell, and exits. It needs shtab."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        """Print it."""
        try:
            import shtab
        except ImportError:
            needed = "--print-completion needs shtab; pip install 'gymbag[completion]'"
            parser.exit(2, f"gymbag: error: {needed}\n")
        for action in _actions(parser):
            if action.metavar in FILES:
                action.complete = shtab.FILE  # type: ignore[attr-defined]
        print(shtab.complete(parser, shell=str(values)))
        parser.exit()


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """Iterate over all arguments of a parser and of its commands."""
    for action in parser._actions:
        yield action
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield from _actions(command)

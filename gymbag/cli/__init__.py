# SPDX-License-Identifier: LGPL-3.0-or-later
"""The command line. A command parses, calls the library and prints; it decides nothing.

=========  ==========================================================================
exit code  means
=========  ==========================================================================
0          yes, or done
1          no: nothing matched, or the two differ
2          could not; standard error says why, in one line
130        interrupted with Ctrl-C; what was recorded is kept
141        whoever read the output wanted no more of it
=========  ==========================================================================
"""

from __future__ import annotations

import argparse
import os
import sys
import warnings
from collections.abc import Sequence

import gymnasium

from gymbag.cli import (
    card,
    check,
    compare,
    convert,
    delete,
    demo,
    generate,
    info,
    merge,
    play,
    query,
    record,
    repack,
    rescue,
    verify,
    view,
)
from gymbag.cli.completion import SHELLS, PrintCompletion
from gymbag.cli.output import explain, show_warning
from gymbag.errors import GymbagError
from gymbag.hdf5 import package_versions

COMMANDS = (
    *(demo, record, info, query, view, play, card, check, compare, convert, generate),
    *(verify, rescue, repack, merge, delete),
)

EXAMPLES = """\
examples:
  gymbag demo
  gymbag record CartPole-v1 -o cartpole.h5 --episodes 100
  gymbag query cartpole.h5 'episode_return > 50 and step == 0'

`gymbag COMMAND --help` has more of them.
"""

INTERRUPTED = 130
BROKEN_PIPE = 141


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        argv: its arguments; those of the process if None.

    Returns:
        The exit code.
    """
    arguments = make_parser().parse_args(argv)
    with warnings.catch_warnings():
        warnings.showwarning = show_warning
        try:
            code: int = arguments.run(arguments)
            sys.stdout.flush()
        except KeyboardInterrupt as interrupt:
            print("; ".join(["gymbag: interrupted", *map(str, interrupt.args)]), file=sys.stderr)
            return INTERRUPTED
        except BrokenPipeError:
            # Python flushes once more on its way out, and would complain again.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return BROKEN_PIPE
        except (GymbagError, gymnasium.error.Error, OSError, ValueError) as error:
            print(f"gymbag: error: {explain(error)}", file=sys.stderr)
            return 2
    return code


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    parser = argparse.ArgumentParser(
        prog="gymbag",
        description="Record reinforcement-learning environments, ask what happened, play it back.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    version = f"gymbag {package_versions()['gymbag']}"
    parser.add_argument("--version", action="version", version=version)
    parser.add_argument(
        "--print-completion",
        action=PrintCompletion,
        choices=SHELLS,
        help="print what makes the shell complete commands, options and names of files",
    )
    subparsers = parser.add_subparsers(metavar="COMMAND", required=True)
    for command in COMMANDS:
        command.add(subparsers)
    return parser

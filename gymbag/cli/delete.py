# SPDX-License-Identifier: LGPL-3.0-or-later
"""``gymbag delete``."""

from __future__ import annotations

import argparse
import sys

import numpy as np

from gymbag.cli.arguments import Subparsers, add_command, add_name, ask
from gymbag.cli.bars import chunk_bar
from gymbag.cli.output import format_bytes
from gymbag.storage.repack import delete_dataset, delete_episodes
from gymbag.store import Store


def add(subparsers: Subparsers[argparse.ArgumentParser]) -> None:
    """Say what the command takes."""
    parser = add_command(
        subparsers,
        "delete",
        run,
        "Delete a data set, or some of its episodes; their space is given back. Those that follow "
        "move up.",
        "gymbag delete atari.h5 --name ALE/Breakout-v5",
        "gymbag delete cartpole.h5 --where 'episode_length < 10'",
        "gymbag delete cartpole.h5 --episodes 3,5",
    )
    parser.add_argument("file", metavar="FILE", help="recorded by gymbag")
    add_name(parser)
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--where", metavar="QUESTION", help="delete the episodes in which it holds of some row"
    )
    which.add_argument(
        "--episodes", metavar="N,N", type=numbers, help="delete the episodes of these numbers"
    )
    parser.add_argument("--yes", action="store_true", help="do not ask whether that is meant")


def numbers(text: str) -> list[int]:
    """Return numbers of episodes.

    >>> numbers("3,5")
    [3, 5]
    """
    return [int(part) for part in text.split(",")]


def run(arguments: argparse.Namespace) -> int:
    """Delete."""
    whole = arguments.where is None and arguments.episodes is None
    if whole and arguments.name is None:
        raise ValueError("say what to delete: --where, --episodes, or a whole data set with --name")
    with Store(arguments.file, arguments.name) as store:
        name, count = store.name, len(store.episodes)
        chosen = set(arguments.episodes or ())
        if arguments.where is not None:
            chosen = episodes_where(store, arguments.where)
    if not whole and not chosen:
        print(f"{arguments.file}: {name}: no such episode, so nothing is deleted")
        return 1
    what = f"all of {name!r}" if whole else f"{len(chosen)} of the {count} episodes of {name!r}"
    if not arguments.yes and not agreed(f"Delete {what} from {arguments.file}?"):
        print("nothing is deleted")
        return 1
    with chunk_bar(f"writing {arguments.file}") as progress:
        if whole:
            before, after = delete_dataset(arguments.file, name, progress=progress)
        else:
            before, after = delete_episodes(arguments.file, name, chosen, progress=progress)
    sizes = f"{format_bytes(before)} before, {format_bytes(after)} now"
    print(f"{arguments.file}: deleted {what}: {sizes}")
    return 0


def episodes_where(store: Store, question: str) -> set[int]:
    """Return the numbers of the episodes in which a question holds of some row."""
    return set(np.unique(ask(store, question)["episode"]).tolist())


def agreed(question: str) -> bool:
    """Ask, if there is somebody to ask; a script has said what it means."""
    if not sys.stdin.isatty():
        return True
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")

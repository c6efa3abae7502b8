# SPDX-License-Identifier: LGPL-3.0-or-later
"""``gymbag check``."""

from __future__ import annotations

import argparse
import json
import shlex
from contextlib import ExitStack
from functools import partial
from typing import Any

from gymbag.cli.arguments import Subparsers, add_command, add_name, parameter
from gymbag.cli.environments import find_maker
from gymbag.cli.output import progress, to_json
from gymbag.cli.sources import open_source
from gymbag.errors import GymbagError
from gymbag.resimulate import resimulate
from gymbag.steps import Source
from gymbag.store import Store

ABOUT = """\
Run the real environment with the recorded seeds, options and actions, and find where it first does
something else. Exit with 1 if it does, or if nothing could be checked.

An episode without a seed is checked after the one that it follows from. The environment is made of
what you name and of nothing that the file says."""


def add(subparsers: Subparsers[argparse.ArgumentParser]) -> None:
    """Say what the command takes."""
    parser = add_command(
        subparsers,
        "check",
        run,
        ABOUT,
        "gymbag check cartpole.h5 --env CartPole-v1",
        "gymbag check lake.h5 --env FrozenLake-v1 --param is_slippery=False",
        "gymbag check mine.h5 --env my_module:make_env --tolerance 1e-6",
        "gymbag check cartpole.h5 --env CartPole-v1 --where 'episode_return > 50' --json",
    )
    parser.add_argument("file", metavar="FILE", help="a file of any format that gymbag reads")
    add_name(parser)
    parser.add_argument(
        "--env",
        metavar="ENV_ID|MODULE:FUNCTION",
        help="its id, as for gymnasium.make, or a function that makes it",
    )
    parser.add_argument(
        "--param",
        metavar="NAME=VALUE",
        action="append",
        type=parameter,
        default=[],
        help="an argument to make the environment with; may be given several times",
    )
    parser.add_argument("--where", metavar="QUESTION", help="only episodes with such a row")
    parser.add_argument(
        "--tolerance", metavar="T", type=float, default=0.0, help="by how much floats may differ"
    )
    parser.add_argument(
        "--relative-tolerance",
        metavar="T",
        type=float,
        default=0.0,
        help="the same, in parts of the recorded number",
    )
    parser.add_argument("--infos", action="store_true", help="compare the infos, too")
    parser.add_argument(
        "--unseeded",
        action="store_true",
        help="check what follows from no seed, too: the environment knows no chance",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace) -> int:
    """Check."""
    with ExitStack() as stack:
        source = stack.enter_context(open_source(arguments.file, arguments.name))
        if arguments.env is None:
            raise GymbagError(which_env(source, arguments.file))
        episodes = chosen(source, arguments.where)
        every = getattr(source, "episodes", None) if episodes is None else episodes
        bars = stack.enter_context(progress())
        bar = bars.add_task("checking episodes", total=None if every is None else len(every))
        result = resimulate(
            source,
            partial(find_maker(arguments.env), **dict(arguments.param)),
            tolerance=arguments.tolerance,
            relative_tolerance=arguments.relative_tolerance,
            infos=arguments.infos,
            unseeded=arguments.unseeded,
            episodes=episodes,
            progress=lambda done: bars.update(bar, completed=done),
        )
    print(to_json(result.to_json()) if arguments.json else result)
    return 0 if result else 1


def chosen(source: Source, question: str | None) -> set[int] | None:
    """Return the numbers of the episodes that a question is about; None for all."""
    if question is None:
        return None
    if not isinstance(source, Store):
        raise GymbagError("--where: only a file of gymbag's own answers questions; convert it")
    return {episode.id for episode in source.where(question).episodes()}


def which_env(source: Source, file: str) -> str:
    """Return what to say to a user who has not named the environment."""
    env_id, kwargs = named(source.env_spec)
    reason = "none is made because a file says so"
    if not env_id:
        return f"--env: name the environment; {reason}, and {file} does not say which it was"
    said = f"--env: name the environment; {reason}; {file} says that it was {env_id!r}"
    if ":" in env_id:
        # It names a module to be imported: not to be run by a careless paste.
        return said
    parts = ["gymbag", "check", file, "--env", env_id]
    parts += [word for name, value in kwargs.items() for word in ("--param", f"{name}={value}")]
    return f"{said}; if you trust it: {shlex.join(parts)}"


def named(spec: str | None) -> tuple[str, dict[str, Any]]:
    """Return the id and the arguments that a spec's JSON names; it may say anything.

    >>> named('{"id": "FrozenLake-v1", "kwargs": {"is_slippery": false}}')
    ('FrozenLake-v1', {'is_slippery': False})
    >>> named("[]")
    ('', {})
    """
    try:
        found = json.loads(spec or "{}")
        kwargs = found.get("kwargs") or {}
        return str(found["id"]), dict(kwargs.items())
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError):
        return "", {}

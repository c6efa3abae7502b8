# SPDX-License-Identifier: LGPL-3.0-or-later
"""``gymbag record``."""

from __future__ import annotations

import argparse
import math
import shlex
from pathlib import Path

from gymbag.cli.arguments import Subparsers, add_command, count
from gymbag.cli.environments import make, polite_interrupt, random_steps
from gymbag.cli.human import Game, make_shown
from gymbag.cli.keys import keys_argument
from gymbag.cli.output import format_bytes, progress
from gymbag.errors import GymbagError
from gymbag.record import record_hdf5
from gymbag.storage.compression import POLICIES

EPISODES = 10


def add(subparsers: Subparsers[argparse.ArgumentParser]) -> None:
    """Say what the command takes."""
    parser = add_command(
        subparsers,
        "record",
        run,
        "Record an environment. A file that exists is appended to; Ctrl-C keeps what there is.",
        "gymbag record CartPole-v1 -o cartpole.h5 --episodes 100",
        "gymbag record ALE/Breakout-v5 -o atari.h5 --steps 5000 --seed 7 --compression small",
        "gymbag record my_package:MyEnv-v0 -o mine.h5 --description 'before the fix'",
        "gymbag record CartPole-v1 -o me.h5 --human --fps 15",
        "gymbag record FrozenLake-v1 -o me.h5 --human --keys 'a=0,s=1,d=2,w=3' --episodes 5",
    )
    parser.add_argument("env", metavar="ENV_ID", help="its id, as for gymnasium.make")
    parser.add_argument("-o", "--output", metavar="FILE", required=True, help="where to")
    parser.add_argument(
        "--episodes",
        metavar="N",
        type=count,
        help=f"how many; {EPISODES} if --steps is not given either, and with --human any number",
    )
    parser.add_argument(
        "--steps", metavar="N", type=count, help="stop after as many, even inside an episode"
    )
    parser.add_argument("--policy", choices=["random"], default="random", help="who acts")
    parser.add_argument(
        "--human", action="store_true", help="you act: a window opens, and you play with the keys"
    )
    parser.add_argument(
        "--keys",
        metavar="KEY=ACTION,...",
        type=keys_argument,
        help="which do what, such as a=0,d=1,a+d=2,none=0; without none it waits for a key",
    )
    parser.add_argument(
        "--fps",
        metavar="N",
        type=count,
        help="steps a second; as the environment says if not given",
    )
    parser.add_argument(
        "--seed",
        metavar="S",
        type=int,
        default=0,
        help="of the actions and the first episode; the next one has S + 1 (default: 0)",
    )
    parser.add_argument("--name", help="the data set's name in the file (default: ENV_ID)")
    parser.add_argument("--description", metavar="TEXT", default="", help="what to remember")
    parser.add_argument("--compression", choices=list(POLICIES), default="default", help="how")


def run(arguments: argparse.Namespace) -> int:
    """Record."""
    human: bool = arguments.human
    if not human and (arguments.keys or arguments.fps):
        raise GymbagError("--keys, --fps: they are for --human")
    most_steps = arguments.steps or math.inf
    most_episodes = arguments.episodes or (math.inf if arguments.steps or human else EPISODES)
    steps = episodes = 0
    ended = True
    bare = make_shown(arguments.env) if human else make(arguments.env)
    game = Game(bare, arguments.keys, arguments.fps) if human else None
    env = record_hdf5(
        bare,
        arguments.output,
        arguments.description,
        name=arguments.name,
        metadata={"policy": "human"} if human else None,
        compression=arguments.compression,
    )
    if game is not None:
        game.explain()
    with env, polite_interrupt() as interrupted, progress() as bars:
        by_steps = arguments.steps and not arguments.episodes
        most = most_steps if by_steps else most_episodes
        bar = bars.add_task(arguments.env, total=None if most == math.inf else most)
        acted = (
            random_steps(env, arguments.seed)
            if game is None
            else game.steps(env, arguments.seed, interrupted)
        )
        for ended in acted:
            steps += 1
            episodes += ended
            if by_steps or ended:
                bars.update(bar, completed=steps if by_steps else episodes)
            if episodes >= most_episodes or steps >= most_steps or interrupted():
                break
        stopped = interrupted()
    begun = episodes if ended else episodes + 1
    what = f"{begun:,} episode{'s' * (begun != 1)}, {steps:,} step{'s' * (steps != 1)}"
    size = format_bytes(Path(arguments.output).stat().st_size)
    file = shlex.quote(arguments.output)
    if stopped:
        raise KeyboardInterrupt(f"kept in {file}: {what}")
    print(f"recorded {what}; {file} now has {size}")
    return 0

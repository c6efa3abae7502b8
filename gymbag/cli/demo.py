# SPDX-License-Identifier: LGPL-3.0-or-later
"""``gymbag demo``: record, look, ask and play back, with real environments."""

from __future__ import annotations

import argparse
import shlex
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from gymbag.cli.arguments import Subparsers, add_command
from gymbag.cli.environments import make, random_steps, register_atari
from gymbag.cli.output import format_bytes, print_table, progress
from gymbag.cli.query import read
from gymbag.errors import GymbagError
from gymbag.playback import PlaybackEnv
from gymbag.record import record_hdf5
from gymbag.selection import Selection
from gymbag.store import Store

SEED = 0


@dataclass(frozen=True)
class Chapter:
    """An environment, and what the demo asks about it."""

    env_id: str
    steps: int
    plain: str
    """The question in English."""
    question: str
    columns: tuple[str, ...]


BREAKOUT = Chapter(
    "ALE/Breakout-v5",
    3000,
    "When did the agent score, and which life was it?",
    "reward > 0 and not terminated",
    ("episode", "step", "reward", "info.lives"),
)
CARTPOLE = Chapter(
    "CartPole-v1",
    20_000,
    "In the good episodes, when did the pole lean far to the right?",
    "episode_return > 30 and observation[2] > 0.1",
    ("episode", "step", "observation[2]", "episode_return"),
)


def add(subparsers: Subparsers[argparse.ArgumentParser]) -> None:
    """Say what the command takes."""
    parser = add_command(
        subparsers,
        "demo",
        run,
        "Record real environments, ask about them and play the answer back. Takes seconds.",
        "gymbag demo",
        "gymbag demo -o demo.h5",
    )
    parser.add_argument(
        "-o", "--output", metavar="FILE", help="a new file; one in a temporary folder if not given"
    )


def run(arguments: argparse.Namespace) -> int:
    """Show what gymbag does."""
    path = Path(arguments.output or Path(tempfile.mkdtemp(prefix="gymbag-demo-"), "demo.h5"))
    if path.exists():
        raise GymbagError(f"{path}: exists already; name a new file")
    atari = register_atari()
    chapters = [CARTPOLE, BREAKOUT] if atari else [CARTPOLE]
    for chapter in chapters:
        record(path, chapter)
    show_sizes(path, chapters)
    for chapter in chapters:
        ask(path, chapter)
    play_back(path, chapters[-1])
    say_next(path, chapters[-1])
    if not atari:
        print("\nWith Atari games in it: pip install 'gymbag[atari]'")
    return 0


def record(path: Path, chapter: Chapter) -> None:
    """Record an agent that acts at random."""
    with (
        record_hdf5(make(chapter.env_id), path, "gymbag demo, random actions") as env,
        progress() as bars,
    ):
        bar = bars.add_task(f"recording {chapter.env_id}", total=chapter.steps)
        for taken, _ in enumerate(random_steps(env, SEED), start=1):
            bars.update(bar, completed=taken)
            if taken == chapter.steps:
                break


def show_sizes(path: Path, chapters: list[Chapter]) -> None:
    """Print what the file holds, and how small it is."""
    rows = []
    for chapter in chapters:
        with Store(path, chapter.env_id) as store:
            about = store.describe()
        raw, stored, steps = about["nbytes"], about["stored"], about["actions"]
        rows.append(
            [
                chapter.env_id,
                about["episodes"],
                steps,
                format_bytes(raw),
                format_bytes(stored),
                round(raw / stored),
                round(stored / steps),
            ]
        )
    print(f"Recorded into {path}, {format_bytes(path.stat().st_size)}:\n")
    header = ["data set", "episodes", "steps", "data", "in file", "times smaller", "bytes/step"]
    print_table(header, rows)


def ask(path: Path, chapter: Chapter) -> None:
    """Ask a question; print the line that does it, and the first answers."""
    print(f"\n{chapter.plain}\n")
    print(f"    store = gymbag.open(filename, {chapter.env_id!r})")
    print(f"    found = store.where({chapter.question!r})\n")
    with Store(path, chapter.env_id) as store:
        begun = time.perf_counter()
        rows = store.where(chapter.question).rows
        took = time.perf_counter() - begun
        some = rows[:3]
        print(f"{len(rows):,} of {len(store):,} rows, in {took * 1000:.1f} ms. The first:\n")
        print_table(chapter.columns, read(store, some, chapter.columns))


def play_back(path: Path, chapter: Chapter) -> None:
    """Play the first episode of an answer, as an environment."""
    print("\nPlay such an episode back, as an environment like any other:\n")
    print("    env = gymbag.PlaybackEnv(found)")
    print("    observation, info = env.reset()\n")
    with Store(path, chapter.env_id) as store:
        found: Selection = store.where(chapter.question)
        recorded = next(iter(found.episodes()), None)
        if recorded is None:
            return
        env = PlaybackEnv(found)
        observation, _ = env.reset()
        total, done = 0.0, False
        while not done:
            _, reward, terminated, truncated, _ = env.step(env.action_space.sample())
            total += reward
            done = terminated or truncated
        same = "the same as recorded" if total == recorded.episode_return else "NOT as recorded"
        print(
            f"Episode {recorded.id}: {env.step_num:,} steps with observations of shape "
            f"{observation.shape}, {observation.dtype}; its return is {total:g}, {same}."
        )


def say_next(path: Path, chapter: Chapter) -> None:
    """Print what to try next."""
    file, name = shlex.quote(str(path)), chapter.env_id
    print("\nTry next:\n")
    print(f"    gymbag info {file}")
    print(f"    gymbag query {file} --name {name} 'reward > 0 and step < 100'")
    if chapter is BREAKOUT:
        print(f"    gymbag play {file} --name {name} --where 'reward > 0' --limit 1")
        print("    … and with --gif scored.gif, after pip install 'gymbag[gif]'")
    else:
        print(f"    gymbag play {file} --name {name} --where 'episode_return > 50'")
    print("    gymbag record CartPole-v1 -o mine.h5 --episodes 100")

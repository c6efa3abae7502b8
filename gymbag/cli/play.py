# SPDX-License-Identifier: LGPL-3.0-or-later
"""``gymbag play``."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from itertools import islice
from typing import Any

from gymbag.cli.arguments import Subparsers, add_command, add_name, ask, count
from gymbag.cli.terminal import Terminal
from gymbag.cli.video import Video
from gymbag.errors import GymbagError
from gymbag.playback import PlaybackEnv
from gymbag.selection import Selection
from gymbag.store import Store

MOST_FRAMES = 1000
"""How many frames a GIF holds: half a minute of a game."""

FPS: int = PlaybackEnv.metadata["render_fps"]

FRAME_MS = 40
"""A GIF's times are hundredths of a second, and many viewers slow down below 20 ms."""


def add(subparsers: Subparsers[argparse.ArgumentParser]) -> None:
    """Say what the command takes."""
    parser = add_command(
        subparsers,
        "play",
        run,
        "Play recorded episodes back, and print a line for each. Exit with 1 if there are none.",
        "gymbag play cartpole.h5 --where 'episode_return > 50'",
        "gymbag play atari.h5 --where 'reward > 0' --limit 1 --gif scored.gif",
        "gymbag play atari.h5 --limit 3 --video three.mp4 --fps 60",
        "gymbag play atari.h5 --where 'reward > 0' --segments --terminal",
        "gymbag play cartpole.h5 --where 'observation[2] > 0.1' --segments",
    )
    parser.add_argument("file", metavar="FILE", help="recorded by gymbag")
    add_name(parser)
    parser.add_argument(
        "--where", metavar="QUESTION", default="True", help="only episodes with such a row"
    )
    parser.add_argument(
        "--segments", action="store_true", help="only the runs of such rows, not whole episodes"
    )
    parser.add_argument("--limit", metavar="N", type=count, help="the most episodes to play")
    parser.add_argument(
        "--gif", metavar="OUT", help=f"write the first {MOST_FRAMES:,} images as an animated GIF"
    )
    parser.add_argument(
        "--video", metavar="OUT", help="write all images as a video, such as out.mp4"
    )
    parser.add_argument(
        "--terminal", action="store_true", help="show the images here, in the terminal"
    )
    parser.add_argument(
        "--fps",
        type=count,
        default=FPS,
        metavar="N",
        help=f"images a second of it; {FPS} if not given",
    )


def run(arguments: argparse.Namespace) -> int:
    """Play."""
    outputs: list[Frames | Terminal | Video] = []
    if arguments.gif is not None:
        outputs.append(Frames(arguments.gif))
    if arguments.video is not None:
        outputs.append(Video(arguments.video, arguments.fps))
    with ExitStack() as stack, Store(arguments.file, arguments.name) as store:
        selection = ask(store, arguments.where)
        env = PlaybackEnv(
            selection,
            segments=arguments.segments,
            render_mode="rgb_array" if outputs or arguments.terminal else None,
        )
        labels = name_segments(selection) if arguments.segments else name_episodes(selection)
        if arguments.terminal:
            outputs.append(stack.enter_context(Terminal(arguments.fps)))
        played = 0
        for label in islice(labels, arguments.limit):
            print(f"{label}: {play(env, outputs, label)}")
            played += 1
    if not played:
        print("nothing to play", file=sys.stderr)
        return 1
    for output in outputs:
        print(output.save())
    return 0


def name_episodes(selection: Selection) -> Iterator[str]:
    """Name what a `PlaybackEnv` of a selection plays, in the same order."""
    return (f"episode {episode.id}" for episode in selection.episodes())


def name_segments(selection: Selection) -> Iterator[str]:
    """Name the segments that a `PlaybackEnv` of a selection plays: those that have a step."""
    return (
        f"episode {segment.episode} from step {segment.start}"
        for segment in selection.segments()
        if len(segment) > 1
    )


def play(env: PlaybackEnv, outputs: Sequence[Frames | Terminal | Video], label: str) -> str:
    """Play the next episode, of which a label says where it is; return a line about it."""
    env.reset()
    total, done = 0.0, False
    status = label
    while True:
        for output in outputs:
            output.add(env.render(), status)
        if done:
            break
        _, reward, terminated, truncated, _ = env.step(None)
        total += reward
        done = terminated or truncated
        status = f"{label}, step {env.step_num:,}, reward {reward:g}, return {total:g}"
    end = "terminated" if terminated else "truncated"
    return f"{env.step_num:,} step{'s' * (env.step_num != 1)}, return {total:g}, {end}"


class Frames:
    """Images for an animated GIF, the first `MOST_FRAMES`.

    Raises:
        GymbagError: Pillow is not installed.
    """

    def __init__(self, path: str) -> None:
        try:
            from PIL import Image
        except ImportError as error:
            raise GymbagError("--gif: needs Pillow; run: pip install 'gymbag[gif]'") from error
        self._path = path
        self._make: Any = Image.fromarray
        self._images: list[Any] = []
        self._seen = 0

    def add(self, frame: Any, status: str = "") -> None:
        """Keep a frame, if there is room.

        Raises:
            GymbagError: the observations are no images.
        """
        if frame is None:
            raise GymbagError("--gif: the observations hold no image; leave it out to play them")
        self._seen += 1
        if len(self._images) < MOST_FRAMES:
            self._images.append(self._make(frame))

    def save(self) -> str:
        """Write the file; return a line about it."""
        first, *others = self._images
        first.save(
            self._path,
            format="GIF",
            save_all=True,
            append_images=others,
            duration=FRAME_MS,
            loop=0,
        )
        kept = f"{len(self._images):,}"
        of = "" if self._seen == len(self._images) else f" of {self._seen:,}"
        return f"{self._path}: {kept}{of} frames, {os.path.getsize(self._path):,} bytes"

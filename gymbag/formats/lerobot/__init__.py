# SPDX-License-Identifier: LGPL-3.0-or-later
"""LeRobot's data sets of the version 3.0: a folder of Parquet files, JSON and MP4 videos.

See `gymbag.formats.lerobot.source` for what becomes of the features, and
`gymbag.formats.lerobot.writer` for what is written: ``lerobot`` keeps images as they are, and
``lerobot-video`` encodes them as videos, which is lossy. Parquet, images and videos are read in a
process of their own. Takes ``pip install 'gymbag[lerobot]'``, and ``gymbag[lerobot-video]`` where
there are videos, and no LeRobot.

>>> gymbag.convert(filename, filename + ".lerobot", target_format="lerobot")[-1]
'final observation: not kept by this format'
>>> source = gymbag.formats.read(filename + ".lerobot")
>>> source.metadata["fps"], [len(episode) for episode in source.iter_episodes()]
(30, [8, 1])
"""

from __future__ import annotations

from dataclasses import replace

from gymbag.formats.aligned import SAYS_UNKNOWN
from gymbag.formats.format import Format
from gymbag.formats.lerobot.info import names, sniff
from gymbag.formats.lerobot.source import LeRobotSource, read
from gymbag.formats.lerobot.writer import write, write_video

__all__ = ["FORMAT", "VIDEO", "LeRobotSource", "names", "read", "sniff", "write", "write_video"]

FORMAT = Format(
    "lerobot",
    (),
    sniff,
    names,
    read,
    write,
    lacks=(
        f"LeRobot keeps no final observation: {SAYS_UNKNOWN}",
        "LeRobot keeps no spaces, seeds, or times but from the beginning of an episode",
        "LeRobot need not tell terminated from truncated: next.done alone counts as terminated",
    ),
)

VIDEO = replace(FORMAT, name="lerobot-video", sniff=lambda path: False, write=write_video)
"""The same, written with videos; what is read says itself what it has."""

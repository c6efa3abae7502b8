# SPDX-License-Identifier: LGPL-3.0-or-later
"""Data sets of D4RL's: arrays of all steps, as an HDF5 file or as the dictionary that D4RL gives.

The arrays are ``observations``, ``actions``, ``rewards``, ``terminals``, ``timeouts``, and, where
they are there, ``next_observations`` and ``infos/…``; see `gymbag.formats.d4rl.source` for how they
become episodes, and `gymbag.formats.d4rl.writer` for what has no place. Reading needs no D4RL, and
an HDF5 file is read in a process of its own. Files take ``pip install 'gymbag[d4rl]'``.

>>> dataset = to_d4rl(store)
>>> dataset["observations"].shape, dataset["timeouts"].sum().item()
((9, 4), 2)
>>> [len(episode) for episode in from_d4rl(dataset).iter_episodes()]
[8, 1]
"""

from __future__ import annotations

from gymbag.formats.aligned import SAYS_UNKNOWN
from gymbag.formats.d4rl.source import D4RLSource, from_d4rl, names, read, sniff
from gymbag.formats.d4rl.writer import losses, to_d4rl, write
from gymbag.formats.format import Format

__all__ = ["FORMAT", "LACKS", "D4RLSource", "from_d4rl", "losses", "read", "to_d4rl", "write"]

LACKS = (
    "D4RL keeps no spaces, times, seeds, or infos of final rows",
    f"D4RL need not keep next observations: {SAYS_UNKNOWN}",
)
"""What dictionaries and files do not say."""

FORMAT = Format("d4rl", (), sniff, names, read, write, lacks=LACKS)

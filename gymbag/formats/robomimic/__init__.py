# SPDX-License-Identifier: LGPL-3.0-or-later
"""Data sets of robomimic's: an HDF5 file with a group for each demonstration.

``data/demo_0`` holds ``obs/…``, ``next_obs/…``, ``actions``, ``rewards``, ``dones`` and ``states``;
the attribute ``env_args`` of ``data`` names the environment, and ``mask/…`` names subsets. See
`gymbag.formats.robomimic.source` for where that is found in episodes. The file is read in a
process of its own. Takes ``pip install 'gymbag[robomimic]'``, and no robomimic.

>>> notes = gymbag.convert(filename, filename + ".demo", target_format="robomimic")
>>> source = gymbag.formats.read(filename + ".demo")
>>> source.metadata["env_args"]["env_name"], [len(episode) for episode in source.iter_episodes()]
('CartPole-v1', [8, 1])
"""

from __future__ import annotations

from gymbag.formats.aligned import SAYS_UNKNOWN
from gymbag.formats.format import Format
from gymbag.formats.robomimic.source import RobomimicSource, names, read, sniff
from gymbag.formats.robomimic.writer import write

__all__ = ["FORMAT", "RobomimicSource", "names", "read", "sniff", "write"]

FORMAT = Format(
    "robomimic",
    (),
    sniff,
    names,
    read,
    write,
    lacks=(
        "robomimic keeps no spaces, times, seeds, or infos of final rows",
        "robomimic does not tell terminated from truncated: a done counts as terminated",
        f"robomimic need not keep next_obs: {SAYS_UNKNOWN}",
    ),
)

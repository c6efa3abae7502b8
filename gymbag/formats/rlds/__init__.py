# SPDX-License-Identifier: LGPL-3.0-or-later
"""RLDS: data sets of TensorFlow Datasets with one record for each episode; read only.

A folder such as ``bridge/1.0.0`` with ``dataset_info.json``, ``features.json`` and files like
``bridge-train.tfrecord-00000-of-00008``. See `gymbag.formats.rlds.source` for what becomes of the
features. Records, images included, are read in a process of their own. Takes
``pip install 'gymbag[rlds]'``, and no TensorFlow.

The format: https://github.com/google-research/rlds#dataset-format
"""

from __future__ import annotations

from gymbag.formats.aligned import SAYS_UNKNOWN
from gymbag.formats.format import Format
from gymbag.formats.rlds.info import is_rlds
from gymbag.formats.rlds.source import RLDSSource, names, read

__all__ = ["FORMAT", "RLDSSource", "names", "read"]

FORMAT = Format(
    "rlds",
    (),
    is_rlds,
    names,
    read,
    lacks=(
        "RLDS keeps no spaces, seeds or times",
        "RLDS keeps float64 as float32",
        "RLDS has texts in observations: they are read as info.observation",
        f"RLDS need not know what followed the last action: {SAYS_UNKNOWN}",
        "RLDS gives the action and reward of a last step no meaning: info.last_step has them, "
        "if they are not all 0",
    ),
)

# SPDX-License-Identifier: LGPL-3.0-or-later
"""Plots of what was recorded, with matplotlib: ``pip install 'gymbag[plot]'``.

Each function takes a `Store` or a `Selection`, draws into the axes it is given, or into those of a
new figure, and returns them. pyplot is not touched: nothing pops up, and nothing has to be closed.

>>> from gymbag import plot
>>> axes = plot.returns(store)
>>> axes.figure.savefig(filename + ".png")
"""

from gymbag.plot.episodes import histogram, lengths, returns
from gymbag.plot.montage import frames
from gymbag.plot.rows import actions, episode, rewards

__all__ = ["actions", "episode", "frames", "histogram", "lengths", "returns", "rewards"]

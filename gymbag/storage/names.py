# SPDX-License-Identifier: LGPL-3.0-or-later
"""Where everything stands in a file: the one place that knows names inside HDF5.

::

    /                            attribute gymbag_format = 2
    └── ALE%2FBreakout-v5        one group a data set, its name percent-encoded
        ├── meta                 bytes: lines of JSON; see `gymbag.storage.meta`
        ├── steps                table: episode, step, time, reward, action, …
        ├── episodes             table: a row for each finished episode
        ├── extra, extra#ends    bytes: a JSON cell for each episode: seed and options
        ├── observation          array beside `steps`, same row number
        └── info.lives, …#has    array beside `steps`, and which rows have a value

Behind what HDF5 knows of the file stands its index, `gymbag.storage.footer`.

The rows of an episode lie together, and its row in `episodes` says where: `first_row` and `rows`.
That is the index by which one episode is found without a scan. PyTables' own index on the column
`episode` would cost recording 5 % and lag behind chunks that are written directly; asked with an
index that lags, PyTables finds nothing and says nothing.
"""

from __future__ import annotations

from functools import lru_cache
from urllib.parse import quote, unquote

FORMAT = 2
"""The format of the file, in an attribute of its root; gymbag 0.4.9 wrote format 1."""
FORMAT_ATTRIBUTE = "gymbag_format"

META = "meta"
STEPS = "steps"
EPISODES = "episodes"
EXTRA = "extra"
EXTRA_ENDS = "extra#ends"

PLAIN = " !\"#$&'()*+,:;<=>?@[]^`{|}"
"""Signs left as they are; a slash separates groups, and a percent sign is ours."""


@lru_cache(1024)
def escape(name: str) -> str:
    """Return a name as HDF5 can hold it.

    >>> escape("ALE/Breakout-v5"), unescape("ALE%2FBreakout-v5")
    ('ALE%2FBreakout-v5', 'ALE/Breakout-v5')
    """
    escaped = quote(name, safe=PLAIN)
    # A lone dot means "here" to HDF5, and PyTables keeps names with these beginnings to itself.
    if escaped.startswith((".", "_")):
        escaped = f"%{ord(escaped[0]):02X}{escaped[1:]}"
    return escaped


def unescape(name: str) -> str:
    """Return the name that `escape` was given."""
    return unquote(name)

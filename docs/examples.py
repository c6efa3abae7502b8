# SPDX-License-Identifier: LGPL-3.0-or-later
"""Shows the examples in docstrings as code: Markdown would take ``>>>`` for a quotation."""

from __future__ import annotations

import re
from typing import Any

import griffe

EXAMPLE = re.compile(r"^>>> .+(?:\n.+)*", re.MULTILINE)
DIRECTIVE = re.compile(r"  # doctest: .*$", re.MULTILINE)


class Examples(griffe.Extension):
    """Puts fences around them, and leaves out what is for doctest alone."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Change the docstring of an object."""
        if obj.docstring is not None:
            text = EXAMPLE.sub(r"```pycon\n\g<0>\n```", obj.docstring.value)
            obj.docstring.value = DIRECTIVE.sub("", text)

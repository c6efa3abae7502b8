# SPDX-License-Identifier: LGPL-3.0-or-later
"""Gives a package index the README, whose links into the repository lead nowhere there."""

import re
from pathlib import Path

LINK = re.compile(r"\[([^\]]+)\]\((?!https?:|#)([^)]+)\)")


def without_relative_links(markdown: str) -> str:
    """Return the text with the path of a file in place of each link to it."""
    return LINK.sub(r"\1 (`\2`)", markdown)


if __name__ == "__main__":
    from setuptools import setup

    readme = Path(__file__).with_name("README.md").read_text("utf-8")
    setup(long_description=without_relative_links(readme))

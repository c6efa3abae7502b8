# SPDX-License-Identifier: LGPL-3.0-or-later
"""Brings the pages at the top of the repository into the site, and turns links to them.

All pages are written to be read where they lie; only the site has them in one folder. It loads
nothing from elsewhere.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
PAGES = {
    "SECURITY.md": "security.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
}
LINK = re.compile(r"(?<!!)\[([^\]]+)\]\((?!https?:|#)([^)#\s]+)(#[^)]*)?\)")

ELSEWHERE = re.compile(
    r'<(?:(?:script|img|iframe)\b[^>]*\bsrc|link\b[^>]*\brel="?(?:stylesheet|preload|preconnect|icon)\b'
    r'[^>]*\bhref)="?(?:https?:)?//[^>]*>'
)


def on_files(files: Files, config: Any) -> Files:
    """Add the pages."""
    for path, page in PAGES.items():
        files.append(File.generated(config, page, content=(ROOT / path).read_text("utf-8")))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Turn links; of one to something that is not on the site, the text stays."""
    here = ROOT if page.file.src_uri in PAGES.values() else ROOT / "docs"

    def turned(link: re.Match[str]) -> str:
        text, target, place = link[1], link[2], link[3] or ""
        path = (here / target).resolve()
        name = path.relative_to(ROOT).as_posix()
        if not path.exists():
            return link[0]
        page_name = PAGES.get(name, name.removeprefix("docs/"))
        found = files.get_file_from_path(page_name) is not None
        return f"[{text}]({page_name}{place})" if found else text

    return LINK.sub(turned, markdown)


def on_post_page(output: str, page: Any, config: Any) -> None:
    """Stop where a page would load something from elsewhere, such as a font or a script.

    Raises:
        PluginError: it would.
    """
    if found := ELSEWHERE.search(output):
        raise PluginError(f"{page.file.src_uri}: found {found[0]}; expected what the site brings")

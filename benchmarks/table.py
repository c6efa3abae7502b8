# SPDX-License-Identifier: LGPL-3.0-or-later
"""Prints the results of the benchmarks as Markdown, or keeps them in a document.

    python -m benchmarks.table
    python -m benchmarks.table --write README.md
    python -m benchmarks.table --check README.md

In a document each section stands between ``<!-- benchmark:NAME -->`` and
``<!-- /benchmark:NAME -->``, whose names are those of `benchmarks.sections`; a section without
results stays as it is. ``--check`` exits with 1 where one is not the newest.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from benchmarks.harness import RESULTS
from benchmarks.sections import SECTIONS


def marks(name: str) -> tuple[str, str]:
    return f"<!-- benchmark:{name} -->", f"<!-- /benchmark:{name} -->"


def sections(folder: Path) -> dict[str, str]:
    """Return the text of each section of which all results are in `folder`."""
    found = {}
    for name, (make, sources) in SECTIONS.items():
        paths = [folder / f"{source}.json" for source in sources]
        if all(path.exists() for path in paths):
            found[name] = make(*(json.loads(path.read_text()) for path in paths))
    return found


def updated(document: str, texts: dict[str, str]) -> str:
    """Return `document` with the texts between those marks that are there.

    Raises:
        ValueError: There is no mark in it, or one of a pair is missing.
    """
    pairs = {name: marks(name) for name in SECTIONS}
    if not any(begin in document for begin, _ in pairs.values()):
        begin, end = next(iter(pairs.values()))
        raise ValueError(f"found no {begin} … {end}; put both where the table should stand")
    for name, (begin, end) in pairs.items():
        before, found, rest = document.partition(begin)
        _, closed, after = rest.partition(end)
        if found and not closed:
            raise ValueError(f"found {begin}, but no {end} after it")
        if found and name in texts:
            document = f"{before}{begin}\n{texts[name]}{end}{after}"
    return document


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.table", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--results", type=Path, default=RESULTS, help="the folder of the JSON")
    action = parser.add_mutually_exclusive_group()
    action.add_argument("--write", type=Path, metavar="FILE", help="put it into this document")
    action.add_argument("--check", type=Path, metavar="FILE", help="is this document up to date?")
    args = parser.parse_args(arguments)

    texts = sections(args.results)
    path = args.write or args.check
    if path is None:
        print("\n".join(texts.values()), end="")
        return 0
    document = path.read_text()
    wanted = updated(document, texts)
    if args.write:
        path.write_text(wanted)
    elif wanted != document:
        print(f"{path}: stale; run python -m benchmarks.table --write {path}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

# SPDX-License-Identifier: LGPL-3.0-or-later
"""Runs all benchmarks and puts what they found into the documents.

python -m benchmarks
"""

from __future__ import annotations

import argparse

from benchmarks import asking, growth, plot, reading, recording, table, vectors
from benchmarks.harness import ROOT

BENCHMARKS = [recording, vectors, reading, asking, growth]
DOCUMENTS = [ROOT / "README.md", ROOT / "docs" / "benchmarks.md"]


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--repeat", type=int, metavar="N", help="repetitions of each")
    args = parser.parse_args(arguments)
    repeat = ["--repeat", str(args.repeat)] if args.repeat else []
    for benchmark in BENCHMARKS:
        benchmark.main(repeat)
    for document in DOCUMENTS:
        table.main(["--write", str(document)])
    plot.main([])


if __name__ == "__main__":
    main()

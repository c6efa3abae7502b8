# SPDX-License-Identifier: LGPL-3.0-or-later
"""What a question about ten million narrow rows costs, as ratios to NumPy in memory.

    python -m benchmarks.asking

The answer to a question is the numbers of rows. The reference has every column in memory,
uncompressed, before it is asked; the others read their files, which are in the page cache.
"""

from __future__ import annotations

from benchmarks.suite import Question, Suite, run_suite

ASKERS = "benchmarks.askers"
SPREAD, CLUSTERED = "rewards spread", "rewards late"
LIMIT = 0.999
ROWS = 10_000_000
QUICKEST = "the quickest other"
QUICK_ROWS = 20_000

PEERS = {
    "NumPy": f"{ASKERS}.arrays:Arrays",
    "NumPy again": f"{ASKERS}.arrays:Arrays",
    "gymbag": f"{ASKERS}.own:Gymbag",
    "Polars, Parquet": f"{ASKERS}.polar:Polars",
    "DuckDB, Parquet": f"{ASKERS}.duck:DuckDB",
    "PyTables, a table": f"{ASKERS}.pytable:Table",
    "PyTables, arrays": f"{ASKERS}.pytable:Arrays",
}

SUITE = Suite(
    name="asking",
    about=__doc__,
    control="NumPy",
    maker="benchmarks.rows:make",
    sizes={SPREAD: ROWS, CLUSTERED: ROWS},
    quick_sizes={SPREAD: QUICK_ROWS, CLUSTERED: QUICK_ROWS},
    packages=("blosc2", "duckdb", "gymbag", "numpy", "polars", "tables"),
    peers={SPREAD: PEERS, CLUSTERED: PEERS},
    questions=(
        Question(
            "reward > 0 and not terminated, file opened anew",
            SPREAD,
            lambda asker, seed: asker.rewarded(),
            aim=QUICKEST,
        ),
        Question(
            "the same, asked again in the open file",
            SPREAD,
            lambda asker, seed: asker.rewarded(),
            anew=False,
            aim="1.5",
        ),
        Question(
            f"reward > {LIMIT}, file opened anew",
            SPREAD,
            lambda asker, seed: asker.above(LIMIT),
            aim=QUICKEST,
        ),
        Question(
            "the return of every episode",
            SPREAD,
            lambda asker, seed: asker.returns(),
            aim="5 ms",
        ),
        Question(
            "one episode in the middle, file open",
            SPREAD,
            lambda asker, seed: asker.episode(asker.count() // 500 + seed % 10),
            anew=False,
        ),
        Question(
            "opening the file",
            SPREAD,
            lambda asker, seed: asker.count(),
            opens=True,
            aim="50 ms",
        ),
        Question(
            "reward > 0 and not terminated, file opened anew",
            CLUSTERED,
            lambda asker, seed: asker.rewarded(),
            aim=QUICKEST,
        ),
        Question(
            f"reward > {LIMIT}, file opened anew",
            CLUSTERED,
            lambda asker, seed: asker.above(LIMIT),
            aim="a tenth of spread",
        ),
    ),
)


def main(arguments: list[str] | None = None) -> None:
    run_suite(SUITE, arguments)


if __name__ == "__main__":
    main()

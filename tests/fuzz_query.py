# SPDX-License-Identifier: LGPL-3.0-or-later
"""Random questions for as long as you like: ``python -m tests.fuzz_query --seconds 60``.

With atheris installed they follow the branches of `gymbag.query`; else they are random tokens.
Not run by pytest; what it finds belongs into ``test_hostile_text.py``.
"""

from __future__ import annotations

import argparse
import importlib
import random
import sys
import time

from tests.test_hostile_text import SHAPES, TOKENS, WORST, ask

SLOW = 0.5
"""Seconds; a question of this length takes some milliseconds."""


def check(text: str) -> None:
    """Ask, and say of what was slow how slow it was."""
    start = time.perf_counter()
    ask(text)
    taken = time.perf_counter() - start
    if taken > SLOW:
        raise AssertionError(f"{taken:.1f} s for {text!r}")


def made_up(chance: random.Random, depth: int = 0) -> str:
    """Return tokens, a piece of one of the worst, or shapes filled with such."""
    match chance.randrange(4) if depth < 5 else 2:
        case 0:
            return "".join(chance.choices(TOKENS, k=chance.randrange(1, 40)))
        case 1:
            worst = chance.choice(WORST)[:9_000]
            start = chance.randrange(len(worst))
            return worst[start : start + chance.randrange(1, 5_000)]
        case 2:
            return chance.choice(("reward", "terminated", "image", "ended", "2", "info.mixed"))
    return f"({chance.choice(SHAPES).format(*(made_up(chance, depth + 1) for _ in range(4)))})"[
        :9_900
    ]


def main() -> None:
    """Run until the time is over."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    try:
        atheris = importlib.import_module("atheris")
    except ImportError:
        chance, number = random.Random(options.seed), 0
        until = time.monotonic() + options.seconds
        while time.monotonic() < until:
            check(made_up(chance))
            number += 1
        print(f"{number} questions; each was a plan or refused")
        return
    atheris.instrument_all()
    atheris.Setup(
        [sys.argv[0], f"-max_total_time={options.seconds:.0f}", "-max_len=10000"],
        lambda data: check(atheris.FuzzedDataProvider(data).ConsumeUnicode(10_000)),
    )
    atheris.Fuzz()


if __name__ == "__main__":
    main()

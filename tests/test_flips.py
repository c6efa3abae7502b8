# SPDX-License-Identifier: LGPL-3.0-or-later
"""No flipped byte and no lost end goes unnoticed."""

from __future__ import annotations

from pathlib import Path

from tests.flips import run


def test_damage_is_found_or_makes_no_difference(tmp_path: Path) -> None:
    results, wrong = run(tmp_path, flips=60, cuts=10, seed=1)
    assert not wrong
    assert results["found"] > 20

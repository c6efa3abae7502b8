# SPDX-License-Identifier: LGPL-3.0-or-later
"""The typed program also runs; that its types are right is mypy's to say."""

from __future__ import annotations

from pathlib import Path

from tests import typed_user


def test_the_typed_program_runs(tmp_path: Path) -> None:
    typed_user.main(tmp_path)

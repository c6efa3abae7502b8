# SPDX-License-Identifier: LGPL-3.0-or-later
"""The typed programs also run; that their types are right is mypy's to say."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import typed_user


def test_the_typed_program_runs(tmp_path: Path) -> None:
    typed_user.main(tmp_path)


def test_the_typed_program_with_pytorch_runs(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="the program is for PyTorch's users")
    from tests import typed_torch

    typed_torch.main(tmp_path)

# SPDX-License-Identifier: LGPL-3.0-or-later
"""What CONTRIBUTING.md sends people to is there, and in the order that it says."""

from __future__ import annotations

import re
from importlib.util import find_spec

from tests.test_layers import LEVEL, ROOT

PAGE = (ROOT.parent / "CONTRIBUTING.md").read_text("utf-8")


def test_the_paths_are_there() -> None:
    paths = re.findall(r"`([\w.*/-]+/[\w.*-]*)`", PAGE)
    assert len(paths) > 20
    for path in paths:
        if "NAME" not in path:
            assert list(ROOT.parent.glob(path.rstrip("/"))), path
    for module in re.findall(r"python -m ((?:tests|benchmarks)[\w.]*)", PAGE):
        assert find_spec(module), module


def test_the_layers_are_those_that_are_tested() -> None:
    (chain,) = re.findall(r"^cli → .*?(?=^```)", PAGE, re.MULTILINE | re.DOTALL)
    steps = [re.findall(r"\w+", step) for step in re.split("→", chain)]
    levels = [[LEVEL[name] for name in names] for names in steps if names]
    assert levels == sorted(levels)
    assert all(len(set(names)) == 1 for names in levels)

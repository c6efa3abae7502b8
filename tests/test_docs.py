# SPDX-License-Identifier: LGPL-3.0-or-later
"""What the documentation says is run: every Python block, one after another, as a reader would."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import gymnasium
import pytest

import gymbag

ROOT = Path(gymbag.__file__).parent.parent
OPTIONAL = {
    "gymbag.torch": "torch",
    "gymbag.formats.d3rlpy": "d3rlpy",
    "gymbag.formats.imitation": "imitation",
    "gymbag.formats.stable_baselines3": "stable_baselines3",
    "gymbag.formats.torchrl": "torchrl",
}
"""Modules that are for the users of a package, and that package."""
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def test_the_readmes_python_runs(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    blocks = BLOCK.findall((ROOT / "README.md").read_text("utf-8"))
    assert len(blocks) >= 5
    names: dict[str, Any] = {}
    for block in blocks:
        exec(compile(block, "README.md", "exec"), names)
    names["store"].close()


@pytest.mark.parametrize("page", sorted((ROOT / "docs").glob("*.md")), ids=lambda page: page.name)
def test_the_python_of_the_pages_runs(page: Path, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    for block in BLOCK.findall(page.read_text("utf-8")):
        if not all(find_spec(name) for name in OPTIONAL.values() if name in block):
            continue  # what a reader without the package leaves out, too
        exec(compile(block, page.name, "exec"), names)


@pytest.mark.parametrize(
    "module",
    [
        name
        for _, name, _ in pkgutil.walk_packages(gymbag.__path__, "gymbag.")
        if "__main__" not in name
    ],
)
def test_the_examples_of_the_docstrings_run(module: str, tmp_path: Path) -> None:
    if module in OPTIONAL:
        pytest.importorskip(OPTIONAL[module], reason="the module is for this package's users")
    filename = str(tmp_path / "x.h5")
    with gymbag.record_hdf5(gymnasium.make("CartPole-v1"), filename) as env:
        env.reset(seed=1)
        for _ in range(8):
            env.step(0)
        env.reset(seed=1)
        env.step(0)
    names = {"gymbag": gymbag, "gymnasium": gymnasium, "filename": filename}
    with gymbag.open(filename) as store:
        found = doctest.testmod(
            importlib.import_module(module), extraglobs={**names, "store": store}
        )
    assert not found.failed

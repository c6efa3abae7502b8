# SPDX-License-Identifier: LGPL-3.0-or-later
"""What the documentation says is run: every Python block, one after another, as a reader would."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
import re
import runpy
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
DOCS = sorted((ROOT / "docs").glob("*.md"))
LINK = re.compile(r"\]\((?!https?:|#)([^)#\s]+)")
"""The path that a relative link leads to."""
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page: Path) -> list[str]:
    """Return the Python of a page, each block behind empty lines: its lines keep their numbers."""
    text = page.read_text("utf-8")
    return ["\n" * text.count("\n", 0, found.start(1)) + found[1] for found in BLOCK.finditer(text)]


def run(page: Path) -> dict[str, Any]:
    """Run a page from top to bottom, as a reader would; return the names it leaves."""
    names: dict[str, Any] = {}
    for block in blocks(page):
        if not all(find_spec(name) for name in OPTIONAL.values() if name in block):
            continue  # what a reader without the package leaves out, too
        exec(compile(block, str(page), "exec"), names)
    return names


def test_the_readmes_python_runs(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    assert len(blocks(ROOT / "README.md")) >= 4
    run(ROOT / "README.md")["store"].close()


@pytest.mark.parametrize("page", [*ROOT.glob("*.md"), *DOCS], ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in LINK.findall(page.read_text("utf-8")):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_a_package_index_is_given_no_relative_link() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    assert LINK.search(readme)
    text = runpy.run_path(str(ROOT / "setup.py"))["without_relative_links"](readme)
    assert not LINK.search(text)
    assert "Security (`SECURITY.md`)" in text


@pytest.mark.parametrize("page", DOCS, ids=lambda page: page.name)
def test_the_python_of_the_pages_runs(page: Path, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    run(page)


def test_a_block_that_fails_is_shown_by_its_page_and_line(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# A page\n\n```python\nx = 1\n```\n\n```python\nx\nassert x == 2\n```\n", "utf-8"
    )
    with pytest.raises(AssertionError) as caught:
        run(page)
    last = caught.traceback[-1]
    assert (Path(last.path), last.lineno + 1) == (page, 9)


def test_the_reference_has_all_that_is_public() -> None:
    page = (ROOT / "docs" / "api.md").read_text("utf-8")
    documented = set(re.findall(r"^::: gymbag\.(\w+)$", page, re.MULTILINE))
    assert not set(gymbag.__all__) - documented - {"__version__"}


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

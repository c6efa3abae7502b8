# SPDX-License-Identifier: LGPL-3.0-or-later
"""Imports point one way, and the pure modules stay pure."""

from __future__ import annotations

import ast
from pathlib import Path

import gymbag

ROOT = Path(gymbag.__file__).parent

LAYERS = [
    ["__main__"],
    ["cli"],
    ["__init__"],
    ["playback_vector"],
    ["card", "formats", "playback", "plot", "resimulate", "torch"],
    ["compare", "generate", "record", "summary"],
    ["hdf5_reader", "trigger", "vector", "views"],
    ["held"],
    ["hdf5", "memory", "store", "wrapper"],
    ["recorder"],
    ["selection"],
    ["scan"],
    ["conditions", "segments", "statistics", "transitions", "windows"],
    ["items"],
    ["gather"],
    ["records"],
    ["stretches"],
    ["storage"],
    ["episode"],
    ["block", "catalogue", "mismatch"],
    ["query", "schema"],
    ["batches", "bins", "divergence", "images", "steps"],
    ["errors", "version"],
]
"""Each line imports only lines below it; the names in a line do not import each other."""

LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}

PURE = {
    "batches",
    "bins",
    "block",
    "divergence",
    "errors",
    "images",
    "steps",
    "schema",
    "query",
    "catalogue",
    "episode",
    "mismatch",
}
IMPURE = {"tables", "blosc2", "os", "io", "pathlib", "time", "random", "threading", "logging"}
EXTRAS = {
    "PIL",
    "ale_py",
    "av",
    "gym",
    "h5py",
    "matplotlib",
    "pandas",
    "polars",
    "pyarrow",
    "pygame",
    "shtab",
}
"""Only these may be imported inside a function: what is not installed, or prints a notice."""


def modules() -> dict[str, Path]:
    return {
        ".".join(path.relative_to(ROOT).with_suffix("").parts): path
        for path in sorted(ROOT.rglob("*.py"))
    }


def imports(path: Path) -> list[tuple[str, bool]]:
    """Return what a module imports, and whether it does so inside a function."""
    tree = ast.parse(path.read_text("utf-8"))
    inside = {
        id(node)
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for node in ast.walk(function)
    }
    found: list[tuple[str, bool]] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(alias.name, id(node) in inside) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found += [(f"{node.module}.{alias.name}", id(node) in inside) for alias in node.names]
    return found


def part(module: str) -> str:
    return module.split(".")[0]


def test_imports_point_one_way() -> None:
    wrong = []
    for module, path in modules().items():
        for name, _ in imports(path):
            root, _, rest = name.partition(".")
            if root != "gymbag":
                continue
            target = part(rest) if part(rest) in LEVEL else "__init__"
            same_part = part(module) == target and target != "__init__"
            if not same_part and LEVEL[part(module)] >= LEVEL[target]:
                wrong.append(f"{module} imports {name}")
    assert not wrong


def test_no_cycle_inside_a_folder() -> None:
    graph = {
        module: {
            candidate
            for name, _ in imports(path)
            for candidate in (
                name.removeprefix("gymbag."),
                name.removeprefix("gymbag.").rpartition(".")[0],
            )
            if name.startswith("gymbag.") and candidate in modules()
        }
        for module, path in modules().items()
    }
    done: set[str] = set()

    def visit(module: str, above: tuple[str, ...]) -> None:
        assert module not in above, f"cycle: {' > '.join((*above, module))}"
        if module not in done:
            for target in graph[module]:
                visit(target, (*above, module))
            done.add(module)

    for module in graph:
        visit(module, ())


def test_no_import_hides_in_a_function() -> None:
    hidden = [
        f"{module} imports {name}"
        for module, path in modules().items()
        for name, inside in imports(path)
        if inside and name.split(".")[0] not in EXTRAS
    ]
    assert not hidden


def test_pure_modules_are_pure() -> None:
    impure = [
        f"{module} imports {name}"
        for module, path in modules().items()
        if part(module) in PURE
        for name, _ in imports(path)
        if name.split(".")[0] in IMPURE
    ]
    assert not impure


def test_only_storage_and_the_reader_of_old_files_know_hdf5() -> None:
    users = {
        m
        for m, path in modules().items()
        for name, _ in imports(path)
        if name.split(".")[0] == "tables"
    }
    assert {part(user) for user in users} <= {"storage", "formats"}


def test_public_names_are_sorted_and_there() -> None:
    assert gymbag.__all__ == sorted(gymbag.__all__)
    for name in gymbag.__all__:
        assert hasattr(gymbag, name)


def test_files_are_short_and_carry_the_licence() -> None:
    for path in [
        *ROOT.rglob("*.py"),
        *ROOT.parent.glob("tests/*.py"),
        *ROOT.parent.glob("benchmarks/*.py"),
        *ROOT.parent.glob("examples/*.py"),
    ]:
        lines = path.read_text("utf-8").splitlines()
        assert lines[0] == "# SPDX-License-Identifier: LGPL-3.0-or-later", path
        assert "tests" in path.parts or len(lines) <= 400, path

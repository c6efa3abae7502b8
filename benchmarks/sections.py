# SPDX-License-Identifier: LGPL-3.0-or-later
"""Results as Markdown: a section for each benchmark."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import groupby
from operator import itemgetter
from typing import Any, TypeAlias

from benchmarks import asking as askers
from benchmarks import reading as readers
from benchmarks.recording import AIMS

Results: TypeAlias = dict[str, Any]
Spread: TypeAlias = dict[str, float]

REFERENCE = "NumPy"
OWN = "gymbag"

RECORDING_NOTE = """\
Medians over {repetitions} repetitions, their range in brackets. Ratios are to the bare \
environment in the same repetition; `bare again` shows how far two equal runs lie apart. The \
actions are random and the same for all, and `close` is included. Memory is the peak of \
the process over that of the bare environment, and how much of it came while recording rather \
than with the libraries."""

SUITE_NOTE = """\
Medians over {repetitions} repetitions, their range in brackets. Ratios are to NumPy in the same \
repetition; `NumPy again` shows how far two equal runs lie apart. All files are in the page cache, \
and all answers are checked to be equal. Memory is what the process grew by while it answered all \
questions about the data, mapped files included."""

GROWTH_NOTE = """\
Medians over {repetitions} repetitions, their range in brackets. Ratios are to the smallest file \
in the same repetition; `again` shows how far two equal runs lie apart."""

SUMMARY_NOTE = """\
Medians, their range in brackets; ratios are to NumPy on uncompressed arrays in the same \
repetition."""

MADE = """\
Python {python}, {cpus} CPUs, {date}; {versions}. Made by:

```sh
{command}
```
"""


def recording(results: Results) -> str:
    """Return a table for each environment, and how they were made."""
    names = "", "time / bare", "CPU / bare", "bytes a step", "memory, + MB", "while recording"
    tables = [
        f"`{env_id}`, {steps:,} steps{aim(env_id)}:\n\n" + table(names, map(recorder_cells, rows))
        for (env_id, steps), rows in groupby(results["figures"], itemgetter("environment", "steps"))
    ]
    return "\n".join([*tables, note(RECORDING_NOTE, results)])


def aim(env_id: str) -> str:
    """Return what gymbag is to cost at most, if that was ever said."""
    if env_id not in AIMS:
        return ""
    time, nbytes, memory = AIMS[env_id]
    return f" (the aim: {time:.2f} times bare, {nbytes} bytes, {memory} MB while recording)"


def recorder_cells(figure: dict[str, Any]) -> list[str]:
    return [
        figure["recorder"],
        ratio(figure["wall_ratio"]),
        ratio(figure["cpu_ratio"]),
        number(figure["bytes_per_step"]),
        number(round(figure["extra_memory_mb"])),
        number(round(figure["recording_memory_mb"])),
    ]


def suite(results: Results) -> str:
    """Return a table for each question and one for the files of each data set."""
    rows = {file["data"]: file["rows"] for file in results["files"]}
    tables = [
        f"{data}, {rows[data]:,} rows: {question}:\n\n" + table(TIMES, map(peer_cells, figures))
        for (data, question), figures in groupby(results["figures"], itemgetter("data", "question"))
    ]
    names = "", "bytes a row", "memory, + MB"
    tables += [
        f"{data}, {rows[data]:,} rows: the files:\n\n" + table(names, map(file_cells, files))
        for data, files in groupby(results["files"], itemgetter("data"))
    ]
    return "\n".join([*tables, note(SUITE_NOTE, results)])


TIMES = "", "time", "CPU time", f"time / {REFERENCE}", f"CPU / {REFERENCE}"


def peer_cells(figure: dict[str, Any]) -> list[str]:
    return [
        figure["peer"],
        duration(figure["wall_seconds"]["median"]),
        duration(figure["cpu_seconds"]["median"]),
        ratio(figure["wall_ratio"]),
        ratio(figure["cpu_ratio"]),
    ]


def file_cells(file: dict[str, Any]) -> list[str]:
    return [file["peer"], number(file["bytes_per_row"]), number(file["memory_mb"])]


def growth(results: Results) -> str:
    """Return a table for each question, of all sizes."""
    smallest = results["figures"][0]["peer"]
    names = "rows", "time", "CPU time", f"time / {smallest}", f"CPU / {smallest}"
    tables = [
        f"{question}:\n\n" + table(names, map(peer_cells, figures))
        for question, figures in groupby(results["figures"], itemgetter("question"))
    ]
    return "\n".join([*tables, note(GROWTH_NOTE, results)])


def summary(reading: Results, asking: Results) -> str:
    """Return one line for each question: the reference, gymbag, and the quickest other."""
    aims = {(q.data, q.words): q.aim for q in (*readers.SUITE.questions, *askers.SUITE.questions)}
    cells = [
        [
            f"{data}: {question}",
            *compared({figure["peer"]: figure for figure in figures}, aims[data, question]),
        ]
        for results in (reading, asking)
        for (data, question), figures in groupby(results["figures"], itemgetter("data", "question"))
    ]
    names = "", REFERENCE, f"{OWN} / {REFERENCE}", "aim", "quickest other", f"it / {REFERENCE}"
    both = reading["made"], asking["made"]
    packages = sorted((both[0]["packages"] | both[1]["packages"]).items())
    commands = "\n".join(made["command"] for made in both)
    made = both[0] | {"packages": dict(packages), "command": commands}
    return table(names, cells) + "\n" + note(SUMMARY_NOTE, {"made": made})


def compared(figures: dict[str, dict[str, Any]], aim: str) -> list[str]:
    others = [name for name in figures if not name.startswith((REFERENCE, OWN))]
    best = min(others, key=lambda name: figures[name]["wall_ratio"]["median"], default=None)
    return [
        duration(figures[REFERENCE]["wall_seconds"]["median"]),
        ratio(figures[OWN]["wall_ratio"]),
        aim,
        best or "",
        ratio(figures[best]["wall_ratio"]) if best else "",
    ]


def drawing(reading: Results, asking: Results) -> str:
    """Return a link to what `benchmarks.plot` draws, from beside it."""
    return f"![Time of each question, as a ratio to {REFERENCE}](benchmarks.svg)\n"


SECTIONS: dict[str, tuple[Callable[..., str], tuple[str, ...]]] = {
    "recording": (recording, ("recording",)),
    "vectors": (recording, ("vectors",)),
    "reading": (suite, ("reading",)),
    "asking": (suite, ("asking",)),
    "growth": (growth, ("growth",)),
    "summary": (summary, ("reading", "asking")),
    "drawing": (drawing, ("reading", "asking")),
}
"""What makes each section, and of which results."""


def note(text: str, results: Results) -> str:
    made = results["made"]
    versions = ", ".join(f"{name} {version}" for name, version in made["packages"].items())
    return f"{text} {MADE}".format(**made, versions=versions)


def table(names: Iterable[str], rows: Iterable[list[str]]) -> str:
    """Return a table whose first column is text and whose others are figures."""
    head = [*names]
    names_line, *lines = (f"| {' | '.join(cells)} |\n" for cells in (head, *rows))
    rule = f"|:--|{'--:|' * (len(head) - 1)}\n"
    return names_line.replace("|  |", "| |") + rule + "".join(lines)


def duration(seconds: float) -> str:
    """Return three digits and a unit.

    >>> duration(0.0123456), duration(1e-6), duration(2.5)
    ('12.3 ms', '1 µs', '2.5 s')
    """
    units = {"s": 1.0, "ms": 1e-3, "µs": 1e-6}
    unit = next((unit for unit in units if seconds >= units[unit]), "µs")
    return f"{float(f'{seconds / units[unit]:.3g}'):,g} {unit}"


def ratio(spread: Spread) -> str:
    low, high = spread["min"], spread["max"]
    text = digits(spread["median"])
    return text if low == high else f"{text} ({digits(low)}-{digits(high)})"


def digits(value: float) -> str:
    """Return what is worth reading of a ratio.

    >>> digits(1.234), digits(45.67), digits(1234.5)
    ('1.23', '45.7', '1,234')
    """
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:,.0f}"


def number(value: float) -> str:
    return f"{value:.1f}" if isinstance(value, float) and 0 < value < 100 else f"{value:,.0f}"

# SPDX-License-Identifier: LGPL-3.0-or-later
"""Benchmarks against other recorders and other formats; never installed with the package.

Measure all and put the tables into the documents, or measure one and print all as Markdown::

    python -m benchmarks
    python -m benchmarks.recording
    python -m benchmarks.table

`recording`, `reading`, `asking` and `growth` are benchmarks, and `sizes` looks at a file.
"""

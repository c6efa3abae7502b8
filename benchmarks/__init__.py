# SPDX-License-Identifier: LGPL-3.0-or-later
"""Benchmarks against other recorders; never installed with the package.

Measure and store, then print the result as Markdown::

    python -m benchmarks.recording
    python -m benchmarks.table
"""

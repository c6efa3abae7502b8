# SPDX-License-Identifier: LGPL-3.0-or-later
"""The packages that make tables, imported when they are used."""

from __future__ import annotations

import importlib
from typing import Any

from gymbag.errors import FormatError


def package(name: str, extra: str) -> Any:
    """Return a package, or a module of it.

    Raises:
        FormatError: it is not installed; the message says what installs it.

    >>> package("no_such_package", "parquet")
    Traceback (most recent call last):
    gymbag.errors.FormatError: no_such_package is not installed here; pip install 'gymbag[parquet]'
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        missing = name.partition(".")[0]
        raise FormatError(
            f"{missing} is not installed here; pip install 'gymbag[{extra}]'"
        ) from None


def pyarrow() -> Any:
    """Return pyarrow."""
    return package("pyarrow", "parquet")

# SPDX-License-Identifier: LGPL-3.0-or-later
"""What a peer of a `benchmarks.suite` is: a way to keep data in files, and to ask them."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Self


class Peer:
    """Files of one kind; an instance is what was opened.

    A question that the format cannot answer raises NotImplementedError. A module of a peer
    imports its library at its top: where it is not installed, the ImportError says so.
    """

    resident: ClassVar[bool] = False
    """Whether all is in memory before a question is asked, also one of a file opened anew."""

    def __init__(self, folder: Path) -> None:
        """Open what `write` wrote."""

    @classmethod
    def write(cls, data: Any, folder: Path) -> None:
        """Write the data into an empty folder."""
        raise NotImplementedError

    def close(self) -> None:
        """Give back what was opened."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

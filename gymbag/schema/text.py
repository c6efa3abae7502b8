# SPDX-License-Identifier: LGPL-3.0-or-later
"""Text: ragged rows of UTF-8 bytes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gymbag.schema.codecs import Arrays, Description, SpaceCodec, register_space
from gymbag.schema.columns import Column


def join_bytes(cells: Sequence[bytes]) -> Arrays:
    """Return the lengths of the cells, and all their bytes one after another."""
    lengths = np.fromiter(map(len, cells), dtype=np.uint64, count=len(cells))
    return [lengths, np.frombuffer(b"".join(cells), dtype=np.uint8)]


def split_bytes(lengths: NDArray[np.uint64], data: NDArray[np.uint8]) -> list[bytes]:
    """Return the cells that `join_bytes` was given."""
    whole = data.tobytes()
    ends = np.cumsum(lengths).tolist()
    return [whole[start:end] for start, end in zip([0, *ends], ends, strict=False)]


def bytes_columns(path: str, frame: str) -> tuple[Column, Column]:
    """Return the two columns of ragged bytes: the lengths, and the bytes themselves."""
    ends = f"{path}#ends"
    return (
        Column(ends, np.dtype("<u8"), (), frame, ragged=True),
        Column(path, np.dtype("u1"), (), ends),
    )


@register_space("Text")
class TextCodec(SpaceCodec):
    """Text of any length and alphabet."""

    def __init__(self, description: Description, path: str, frame: str) -> None:
        super().__init__(description, path, frame)
        self.columns = bytes_columns(path, frame)

    @classmethod
    def describe(cls, space: Any, path: str) -> Description:
        """Return the limits of length, and the alphabet.

        The alphabet is sorted: the space keeps a set, whose order is another in each process.
        """
        return {
            "max_length": int(space.max_length),
            "min_length": int(space.min_length),
            "charset": "".join(sorted(space.character_set)),
        }

    def restore(self, spaces: Any) -> Any:
        """Return the Text space."""
        names = ("max_length", "min_length", "charset")
        return spaces.Text(**{name: self.description[name] for name in names})

    def null(self) -> str:
        """Return the empty string."""
        return ""

    def snapshot(self, value: Any) -> bytes:
        """Return the text in UTF-8."""
        if not isinstance(value, str):
            raise self.misfit(f"found {type(value).__name__}")
        return value.encode("utf-8", "surrogatepass")

    def encode(self, snapshots: Sequence[bytes]) -> Arrays:
        """Return the lengths and the bytes."""
        return join_bytes(snapshots)

    def decode(self, arrays: Iterator[NDArray[Any]], n: int) -> tuple[str, ...]:
        """Return the texts."""
        cells = split_bytes(next(arrays), next(arrays))
        return tuple(cell.decode("utf-8", "surrogatepass") for cell in cells)

    def __repr__(self) -> str:
        return "a str"

# SPDX-License-Identifier: LGPL-3.0-or-later
"""What all readers of the child process have in common."""

from __future__ import annotations

import io
import math
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

Keys = tuple[str, ...]
Leaf = tuple[Keys, Any]
"""A path, and an array or a list of texts; None for a group."""

MOST_LEAVES = 10_000
MOST_DEPTH = 32
MODES = ("L", "RGB", "RGBA")
"""Of images; in others, the values are no brightness, or are not of one byte."""


class Refused(ValueError):
    """The file holds what is not read from a stranger's file."""


class Reader:
    """Reads one file or folder; asked again, it goes on with it."""

    def __init__(self, file: str, most: int) -> None:
        self.path = Path(file)
        self.most = most
        self.left = most
        self.leaves = 0
        self.request: dict[str, Any] = {}
        self.images: set[Keys] = set()

    def answer(self, request: dict[str, Any]) -> tuple[dict[str, Any], list[Leaf]]:
        """Return what stands beside the arrays that are asked for, and the arrays."""
        self.left, self.leaves, self.request = self.most, 0, request
        self.images = {tuple(path) for path in request.get("images", ())}
        attributes = self.attributes()
        return attributes, list(self.arrays()) if request["take"] != "attributes" else []

    def close(self) -> None:
        """Close what is open."""

    def attributes(self) -> dict[str, Any]:
        """Return what stands beside the arrays."""
        raise NotImplementedError

    def arrays(self) -> Iterator[Leaf]:
        """Iterate over the arrays."""
        raise NotImplementedError

    def take(self, nbytes: int, path: Keys) -> None:
        """Take so much memory for a leaf, if it is there.

        Raises:
            Refused: the episode takes more than it may.
        """
        self.left -= nbytes
        self.leaves += 1
        if self.left < 0 or self.leaves > MOST_LEAVES:
            raise Refused(
                f"{'/'.join(path)}: an answer has more than {self.most} bytes or {MOST_LEAVES} "
                "arrays; if you trust the file, set gymbag.formats.limits.MAX_BYTES higher"
            )

    def decode_images(self, path: Keys, cells: Any, formats: tuple[str, ...] = ("JPEG",)) -> Any:
        """Return images as one array."""
        from PIL import Image

        frames: Any = None
        for k, cell in enumerate(cells):
            # Only in these: to read some of its other formats, Pillow runs programs.
            with Image.open(io.BytesIO(cell), formats=formats) as image:
                if image.mode not in MODES:
                    raise Refused(f"{'/'.join(path)}: an image of the mode {image.mode}")
                shape = (image.height, image.width, len(image.getbands()))
                if frames is None:
                    self.take(len(cells) * math.prod(shape), path)
                    frames = np.empty((len(cells), *shape), np.uint8)
                if shape != frames.shape[1:]:
                    raise Refused(f"{'/'.join(path)}: images of {frames.shape[1:]} and {shape}")
                frames[k] = np.asarray(image).reshape(shape)
        if frames is None:
            raise Refused(f"{'/'.join(path)}: no images")
        return frames[..., 0] if frames.shape[-1] == 1 else frames


def require_plain(path: Path) -> int:
    """Return the size of a plain file; a link would lead elsewhere, a pipe might never end."""
    try:
        status = path.lstat()
    except OSError as error:
        raise Refused(f"{path}: missing, or cannot be read: {error.strerror}") from None
    if not stat.S_ISREG(status.st_mode):
        raise Refused(f"{path}: a folder, link, pipe or device; expected a plain file")
    return status.st_size

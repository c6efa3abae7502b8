# SPDX-License-Identifier: LGPL-3.0-or-later
"""Images as a video file, written one by one."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from gymbag.errors import GymbagError


class Video:
    """A video of frames of one size; the ending of its name says the format, such as ``.mp4``.

    Raises:
        GymbagError: PyAV is not installed.
    """

    def __init__(self, path: str, fps: int) -> None:
        try:
            import av
        except ImportError as error:
            raise GymbagError("--video: needs PyAV; run: pip install 'gymbag[video]'") from error
        self._av: Any = av
        self._path = path
        self._fps = fps
        self._file: Any = None
        self._stream: Any = None
        self._frames = 0
        self._shape: tuple[int, ...] = ()

    def add(self, frame: Any, status: str = "") -> None:
        """Write a frame.

        Raises:
            GymbagError: the observations are no images, or no video of that name can be made.
        """
        if frame is None:
            raise GymbagError("--video: the observations hold no image; leave it out to play them")
        # The usual way to store colours needs an even height and width: the last line is doubled.
        height, width = frame.shape[:2]
        even = np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        if self._file is None:
            self._open(even.shape)
        if even.shape != self._shape:
            raise GymbagError(
                f"--video: found images of {frame.shape[:2]} and others; expected one"
            )
        self._write(self._av.VideoFrame.from_ndarray(even, format="rgb24"))
        self._frames += 1

    def save(self) -> str:
        """Finish the file; return a line about it."""
        self._write(None)
        self._file.close()
        size = os.path.getsize(self._path)
        return f"{self._path}: {self._frames:,} frames, {self._fps} a second, {size:,} bytes"

    def _open(self, shape: tuple[int, ...]) -> None:
        try:
            self._file = self._av.open(self._path, "w")
            codec = self._file.default_video_codec
            codec = "libx264" if codec == "h264" else codec
            self._stream = self._file.add_stream(codec, rate=self._fps)
        except (ValueError, self._av.FFmpegError) as error:
            raise GymbagError(
                f"--video: {self._path}: {error}; expected a name such as out.mp4"
            ) from error
        # PyAV opens it only as the first frame is written, and its error would not name it.
        open(self._path, "wb").close()
        self._shape = shape
        self._stream.height, self._stream.width = shape[:2]
        self._stream.pix_fmt = "yuv420p"

    def _write(self, frame: Any) -> None:
        for packet in self._stream.encode(frame):
            self._file.mux(packet)

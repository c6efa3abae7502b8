# SPDX-License-Identifier: LGPL-3.0-or-later
"""Images of a feature as LeRobot's videos, in H.264.

LeRobot encodes AV1, by SVT-AV1, if it is not told otherwise, and reads both. Of 17 runs here that
encoded 10,000 images with SVT-AV1, one ended in an error of FFmpeg's, after which the process did
not end; why was not found.
"""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

from gymbag.errors import FormatError
from gymbag.formats.lerobot.info import VIDEO_PATH, chunk_and_file

CODEC = "libx264"
OPTIONS = {"g": "2", "crf": "23"}
"""Every second image can be decoded without those before it, so that any is found fast."""
PIXELS = "yuv420p"
FILE_MB = 200
FILE_SECONDS = 1000
"""LeRobot wants times right to 1e-4 s, and has them in 32 bits, which fails later in a file."""
MOST_FPS = 1000
DENOMINATOR = 100_000


def can_be_video(shape: tuple[int, ...]) -> bool:
    """Return whether images of a shape can be: (H, W, 3), with even sides.

    >>> can_be_video((210, 160, 3)), can_be_video((84, 84, 1)), can_be_video((15, 15, 3))
    (True, False, False)
    """
    sides = shape[:2]
    return shape[2:] == (3,) and all(n % 2 == 0 for n in sides)


def rate_of(fps: float) -> Fraction:
    """Return images a second as a fraction, as a video has them.

    Raises:
        FormatError: no video has so many.

    >>> rate_of(29.97)
    Fraction(2997, 100)
    """
    if not 1 / MOST_FPS <= fps <= MOST_FPS:
        raise FormatError(
            f"fps: found {fps!r}, at which no video runs; expected 1/{MOST_FPS} to {MOST_FPS}; "
            "write images, as lerobot"
        )
    return Fraction(fps).limit_denominator(DENOMINATOR)


class Videos:
    """Writes the videos of one feature, with the images of many episodes in each file.

    Raises:
        FormatError: no codec is there, or a video cannot run at so many images a second.
    """

    def __init__(self, folder: Path, key: str, fps: float) -> None:
        import av

        self._av: Any = av
        self._folder, self._key, self._fps = folder, key, fps
        self._rate = rate_of(fps)
        if CODEC not in av.codecs_available:
            raise FormatError(
                f"{key}: this PyAV cannot encode with {CODEC}, as that of the package index can; "
                "write images, as lerobot, or pip install --force-reinstall av"
            )
        self._file = -1
        self._frames = self._bytes = 0
        self._container: Any = None
        self._stream: Any = None

    def add(self, images: Any) -> dict[str, Any]:
        """Write the images of an episode, (n, H, W, 3); return where they are."""
        try:
            if self._container is None or self._is_full(len(images)):
                self._open(*images.shape[1:3])
            start = self._frames
            for image in images:
                self._encode(self._av.VideoFrame.from_ndarray(image, format="rgb24"))
            self._frames += len(images)
        except self._av.FFmpegError as error:
            raise FormatError(
                f"{self._key}: {error}, as {CODEC} encoded images of {images.shape[1:]}; write "
                "images, as lerobot"
            ) from error
        chunk, file = chunk_and_file(self._file)
        found: dict[str, Any] = {
            "chunk_index": chunk,
            "file_index": file,
            "from_timestamp": start / self._fps,
            "to_timestamp": self._frames / self._fps,
        }
        return {f"videos/{self._key}/{name}": value for name, value in found.items()}

    def _is_full(self, more: int) -> bool:
        late = (self._frames + more) / self._fps > FILE_SECONDS
        return late or self._bytes > FILE_MB << 20

    def _open(self, height: int, width: int) -> None:
        self.close()
        self._file, self._frames, self._bytes = self._file + 1, 0, 0
        chunk, file = chunk_and_file(self._file)
        named = VIDEO_PATH.format(video_key=self._key, chunk_index=chunk, file_index=file)
        path = self._folder / named
        path.parent.mkdir(parents=True, exist_ok=True)
        self._container = self._av.open(str(path), "w", format="mp4")
        self._stream = self._container.add_stream(CODEC, rate=self._rate, options=OPTIONS)
        self._stream.height, self._stream.width, self._stream.pix_fmt = height, width, PIXELS

    def _encode(self, frame: Any) -> None:
        packets = self._stream.encode(frame)
        self._bytes += sum(packet.size for packet in packets)
        self._container.mux(packets)

    def close(self) -> None:
        """Finish the file."""
        if self._container is not None:
            self._encode(None)
            self._container.close()
            self._container = None

    def about(self) -> dict[str, Any]:
        """Return what LeRobot's ``info.json`` says of the videos."""
        return {
            "video.height": self._stream.height,
            "video.width": self._stream.width,
            "video.codec": self._stream.codec.canonical_name,
            "video.pix_fmt": PIXELS,
            "video.is_depth_map": False,
            "video.fps": self._fps,
            "video.channels": 3,
            "has_audio": False,
        }

"""Write frames as a video file with PyAV."""

from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from lgcn.checks import InputError
from lgcn.files import replace_when_done
from lgcn.video.frames import import_av

_TICKS = 12800
"""Time stamps per second."""
_CODECS = {"libx264": {"crf": "20"}, "mpeg4": {"qscale": "3"}}
"""Encoders and their options, the first that this PyAV has is used."""


class VideoWriter:
    """Writes an mp4 file frame by frame; it appears under its name once it is closed, if it has frames.

    Args:
        path: of the file.
        frame_rate: frames per second, as a hint to players: each frame has a time of its own.

    Raises:
        InputError: if PyAV is not installed.
    """

    def __init__(self, path: str | Path, frame_rate: float) -> None:
        self.path = Path(path)
        self._av = import_av()
        self._rate = Fraction(frame_rate).limit_denominator(1001)
        self._resources = ExitStack()
        self._container: Any = None
        self._stream: Any = None
        self._last = -1

    def write(self, pixels: np.ndarray, time: float) -> None:
        """Append a frame.

        Args:
            pixels: uint8 [H, W, 3], RGB, of the size of the first frame. An odd row or column at the end is left out:
                the codec takes even sizes.
            time: seconds, later than that of the frame before.

        Raises:
            InputError: for another size, or one below 2 x 2.
            OSError: if the file cannot be written, or the disk is full.
        """
        height, width = (side // 2 * 2 for side in pixels.shape[:2])
        if not height or not width:
            raise InputError(f"Expected frames of 2 x 2 pixels or more (got {pixels.shape[1]} x {pixels.shape[0]}).")
        if self._stream is None:
            temporary = self._resources.enter_context(replace_when_done(self.path))
            self._container = self._resources.enter_context(self._av.open(str(temporary), "w", format="mp4"))
            codec = next(name for name in _CODECS if name in self._av.codecs_available)
            self._stream = self._container.add_stream(codec, rate=self._rate, options=_CODECS[codec])
            self._stream.width, self._stream.height, self._stream.pix_fmt = width, height, "yuv420p"
            self._stream.codec_context.time_base = Fraction(1, _TICKS)
        if (self._stream.width, self._stream.height) != (width, height):
            raise InputError(
                f"Expected frames of {self._stream.width} x {self._stream.height} pixels, as the first one "
                f"(got {width} x {height})."
            )
        frame = self._av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels[:height, :width]), format="rgb24")
        self._last = max(self._last + 1, round(time * _TICKS))
        frame.pts, frame.time_base = self._last, Fraction(1, _TICKS)
        self._container.mux(self._stream.encode(frame))

    def close(self) -> None:
        """Complete the file and move it to its name."""
        with self._resources:
            if self._stream is not None:
                self._container.mux(self._stream.encode())
                self._stream = None

    def __enter__(self) -> "VideoWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

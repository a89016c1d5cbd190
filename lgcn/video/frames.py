"""Read the frames of video files and webcams with PyAV, one at a time."""

import re
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from lgcn.checks import InputError, InputFileError

if TYPE_CHECKING:
    import av

VIDEO_SUFFIXES = frozenset(
    ".3gp .avi .flv .m2ts .m4v .mkv .mov .mp4 .mpeg .mpg .mts .ogv .webm .wmv".split()  # noqa: SIM905 - shorter
)
"""Endings by which ``lgcn predict`` knows a video file; :class:`VideoReader` reads any that FFmpeg can."""

_WEBCAM = re.compile(r"webcam(?::(.*))?", re.DOTALL)

_DEVICES: dict[str, tuple[str, str, str | None]] = {
    "linux": ("v4l2", "/dev/video{}", "0"),
    "darwin": ("avfoundation", "{}", "0"),
    "win32": ("dshow", "video={}", None),
}
"""FFmpeg's input device of a platform, the address of a webcam, and the number or name of the first one."""


class VideoFrame(NamedTuple):
    """One frame of a video."""

    number: int
    """From 0."""
    time: float
    """Seconds since the first frame."""
    image: Tensor
    """uint8 [3, H, W], RGB, upright."""


class VideoReader:
    """Iterates over the frames of a video file or webcam; holds one frame at a time.

    >>> with VideoReader("clip.mp4") as video:
    ...     for frame in video:
    ...         print(frame.number, frame.time, frame.image.shape)

    Frames that are damaged are skipped, with a warning at the end. The rotation that phones store is applied. Each
    iteration starts with the first frame.

    Args:
        source: path of a file, or ``"webcam"`` or ``"webcam:N"`` for a camera of this machine, numbered from 0 (on
            Windows ``"webcam:NAME"``).

    Raises:
        InputError: if PyAV is not installed, or there is no such camera.
        InputFileError: for a file that is missing or holds no video; in the iteration, if it cannot be read to its end,
            as a camera that is unplugged.
    """

    def __init__(self, source: str | Path) -> None:
        self.source = str(source)
        self._open()

    def _open(self) -> None:
        self._container = _open(self.source)
        if not self._container.streams.video:
            self._container.close()
            raise InputFileError(f"Expected a video in '{self.source}' (it has none).")
        self._stream = self._container.streams.video[0]
        self._stream.thread_type = "AUTO"
        self._begun = False

    @property
    def frame_rate(self) -> float:
        """Frames per second on average, as the file states; 30 if it does not."""
        rate = self._stream.average_rate or self._stream.guessed_rate
        return float(rate) if rate else 30.0

    @property
    def num_frames(self) -> int | None:
        """About how many frames there are; None if the file does not say, as with a webcam."""
        if self._stream.frames:
            return int(self._stream.frames)
        if self._stream.duration and self._stream.time_base:
            return round(float(self._stream.duration * self._stream.time_base) * self.frame_rate)
        # The duration of the container is in microseconds.
        return round(self._container.duration / 1e6 * self.frame_rate) if self._container.duration else None

    def __iter__(self) -> Iterator[VideoFrame]:
        import av

        if self._begun:
            self.close()
            self._open()
        self._begun = True
        number = damaged = 0
        first: float | None = None
        time = -1 / self.frame_rate
        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets, None)
            except av.FFmpegError as error:
                reason = error.strerror or error
                raise InputFileError(
                    f"Expected to read on in '{self.source}' after {number} frames ({reason})."
                ) from None
            if packet is None:
                break
            try:
                decoded = packet.decode()
            except av.error.InvalidDataError:
                damaged += 1
                continue
            for frame in decoded:
                stamp = None if frame.pts is None else frame.time
                first = stamp if first is None else first
                # Time stamps may be missing, or repeat where files were cut.
                following = time + 1 / self.frame_rate
                time = following if stamp is None or stamp - (first or 0.0) <= time else stamp - (first or 0.0)
                yield VideoFrame(number, time, _upright(frame))
                number += 1
        if not number:
            raise InputFileError(f"Expected a video in '{self.source}' (none of its frames can be decoded).")
        if damaged:
            warnings.warn(f"Skipped {damaged} damaged parts of '{self.source}'.", VideoWarning, stacklevel=2)

    def close(self) -> None:
        """Release the file or camera."""
        self._container.close()

    def __enter__(self) -> "VideoReader":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class VideoWarning(UserWarning):
    """A video could be read only in part."""


def is_video(source: str | Path) -> bool:
    """Whether the name is that of a video file or of a webcam."""
    return _WEBCAM.fullmatch(str(source)) is not None or Path(source).suffix.lower() in VIDEO_SUFFIXES


def import_av() -> Any:
    """The module of PyAV.

    Raises:
        InputError: if it is not installed.
    """
    try:
        import av
    except ImportError:
        raise InputError("Expected PyAV for videos (it is not installed). pip install 'lgcn[video]'") from None
    return av


def _open(source: str) -> "av.container.InputContainer":
    av = import_av()
    webcam = _WEBCAM.fullmatch(source)
    device, address = (None, source) if webcam is None else _webcam(webcam[1])
    try:
        return av.open(address, format=device)
    except (av.FFmpegError, ValueError, OSError) as error:
        reason = getattr(error, "strerror", None) or error
    if webcam is None:
        raise InputFileError(f"Expected a video at '{source}' ({reason}).")
    raise InputError(
        f"Expected a webcam at '{address}' (FFmpeg's device '{device}': {reason}). Number the cameras from 0, "
        "webcam:0, and check that this user may use them; or record a file and give that."
    )


def _webcam(name: str | None) -> tuple[str, str]:
    """FFmpeg's input device and the address of the camera on this platform."""
    if sys.platform not in _DEVICES:
        raise InputError(
            f"Expected a platform whose webcams FFmpeg reads: Linux, macOS or Windows (got {sys.platform}). Record a "
            "file and give that."
        )
    device, address, default = _DEVICES[sys.platform]
    camera = name or default
    if camera is None:
        raise InputError("Expected the name of a webcam, webcam:NAME, as Windows' device manager lists it (got none).")
    return device, address.format(camera) if camera.isdigit() or sys.platform == "win32" else camera


def _upright(frame: "av.VideoFrame") -> Tensor:
    """The pixels [3, H, W] of a frame, turned as its metadata says."""
    pixels = torch.from_numpy(frame.to_ndarray(format="rgb24"))
    quarters = round(frame.rotation / 90) % 4
    return torch.rot90(pixels, quarters, (0, 1)).permute(2, 0, 1).contiguous()

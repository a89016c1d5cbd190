"""The files that ``lgcn predict`` writes for a video."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lgcn.cli.images import OVERLAY_ENDING
from lgcn.cli.messages import counted
from lgcn.cli.writable import writing_to

if TYPE_CHECKING:
    from lgcn.schemes import LandmarkScheme
    from lgcn.video import TrackedFace, VideoFrame


def video_files(folder: Path, stem: str, overlay: bool) -> list[Path]:
    """The results of a video of this name: JSON Lines, and its overlay."""
    return [folder / f"{stem}.jsonl", *([folder / f"{stem}{OVERLAY_ENDING}.mp4"] if overlay else [])]


class VideoFolder:
    """Writes the results of a video as frames are made; the frames so far are kept whatever ends it.

    Args:
        folder: created when something is written.
        stem: name of the files.
        scheme: of the landmarks.
        frame_rate: of the video.
        overlay: arguments of :func:`lgcn.visualization.draw_landmarks` if landmarks are drawn.
    """

    def __init__(
        self,
        folder: Path,
        stem: str,
        scheme: "LandmarkScheme",
        frame_rate: float,
        overlay: dict[str, Any] | None,
    ) -> None:
        from lgcn.predict.record_file import RecordFile
        from lgcn.video import VideoWriter

        self.files = video_files(folder, stem, overlay is not None)
        self._folder, self._scheme, self._marks = folder, scheme, overlay or {}
        self._record = RecordFile(self.files[0])
        self._tracks: set[int] = set()
        self._writer: VideoWriter | None = None
        if overlay is not None:
            self._writer = VideoWriter(self.files[1], frame_rate)

    @property
    def num_frames(self) -> int:
        """How many frames are written."""
        return self._record.num_images

    def write(self, frame: "VideoFrame", faces: "Sequence[TrackedFace]") -> None:
        """Write one frame.

        Raises:
            InputFileError: if the disk is full or has become read-only.
        """
        from lgcn.video import draw_tracks, to_frame_record

        with writing_to(self._folder):
            if self._writer is not None:
                self._writer.write(draw_tracks(frame, faces, self._scheme, **self._marks), frame.time)
            self._record.append(to_frame_record(frame, faces))
        self._tracks.update(each.track for each in faces)

    def describe(self) -> str:
        """What was written, as in ``2 faces in 30 frames; written: out/clip.jsonl``."""
        written = ", ".join(map(str, self.files))
        return f"{counted(len(self._tracks), 'face')} in {counted(self.num_frames, 'frame')}; written: {written}"

    def close(self) -> None:
        """Complete the files."""
        self._record.close()
        if self._writer is not None:
            with writing_to(self._folder):
                self._writer.close()

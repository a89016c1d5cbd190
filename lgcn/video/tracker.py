"""Follow faces through the frames of a video."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import cycle
from typing import NamedTuple

import torch
from torch import Tensor

from lgcn.checks import InputError, check_at_least
from lgcn.geometry import landmark_box
from lgcn.images import ImageLike, as_image_tensor
from lgcn.predict import Face, LandmarkPredictor, PreparedImage
from lgcn.predict.boxes import rotated_box, upright_rotation
from lgcn.video.frames import VideoFrame
from lgcn.video.smoothing import KalmanSmoother, SmoothedState

_SAME_FACE = 0.3
"""Smallest intersection over union of two boxes of a face in neighbouring frames."""
_FRAME_SECONDS = 1 / 30
_DEFAULT_SMOOTHER = KalmanSmoother()


class TrackedFace(NamedTuple):
    """A face in one frame of a video."""

    track: int
    """The number of the face, the same in all frames; counted from 0."""
    face: Face
    """Its landmarks, smoothed; ``box`` is tight around them. What else it holds is of this frame alone."""
    measured: Tensor
    """[K, 2], the landmarks of this frame alone."""


@dataclass(frozen=True)
class _Track:
    """What is known of a face from the frames before."""

    number: int
    box: Tensor
    rotation: Tensor
    face: Face
    state: SmoothedState | None
    missing: int = 0


class LandmarkTracker:
    """Predicts the landmarks of faces in video, frame by frame, with one number for each face.

    >>> tracker = LandmarkTracker(LandmarkPredictor.from_pretrained("lgcn-68"))
    >>> for frame in VideoReader("clip.mp4"):
    ...     for track, face, _ in tracker(frame.image, frame.time):
    ...         print(frame.number, track, face.landmarks)

    A known face is cropped around its landmarks in the frame before and predicted in one pass. The face detector runs
    every ``detect_every`` frames, where no face is known, and while one is missing.

    Args:
        predictor: its face detector finds faces; a face is lost if the mean confidence of its landmarks falls below
            its ``min_confidence``.
        detect_every: frames from one search for new faces to the next.
        patience: frames for which a lost face is expected to appear again where it was, and keeps its number.
        smoother: None returns the landmarks of each frame as they are predicted.

    Raises:
        InputError: for a number out of range.
    """

    def __init__(
        self,
        predictor: LandmarkPredictor,
        *,
        detect_every: int = 30,
        patience: int = 30,
        smoother: KalmanSmoother | None = _DEFAULT_SMOOTHER,
    ) -> None:
        check_at_least("detect_every", detect_every, 1)
        check_at_least("patience", patience, 0)
        self.predictor = predictor
        self.detect_every = detect_every
        self.patience = patience
        self.smoother = smoother
        self.reset()

    def reset(self) -> None:
        """Forget all faces, before another video."""
        self._tracks: list[_Track] = []
        self._turns = cycle(self.predictor.prepare.TURNS)
        self._count = 0
        self._since_detection = 0
        self._time: float | None = None

    def stream(self, frames: Iterable[VideoFrame | ImageLike]) -> Iterator[tuple[VideoFrame, list[TrackedFace]]]:
        """Yield each frame with its faces; holds one frame at a time.

        Args:
            frames: of a :class:`VideoReader`, or images, 30 a second.
        """
        for number, frame in enumerate(frames):
            if not isinstance(frame, VideoFrame):
                frame = VideoFrame(number, number * _FRAME_SECONDS, as_image_tensor(frame))
            yield frame, self(frame.image, frame.time)

    @torch.inference_mode()
    def __call__(self, image: ImageLike, time: float | None = None) -> list[TrackedFace]:
        """The faces in the next frame, by their numbers.

        Args:
            image: as for :class:`LandmarkPredictor`.
            time: seconds, later than the frame before; 1/30 s later if None.

        Raises:
            InputError: for a time that is not later.
        """
        seconds = self._advance(time)
        prepared = self.predictor.prepare(image, torch.zeros(0, 4))
        tracks = self._follow(prepared, seconds)
        lost = any(track.missing for track in tracks)
        if not tracks or lost or self._since_detection >= self.detect_every:
            tracks = self._search(prepared, tracks)
            self._since_detection = 0
        self._since_detection += 1
        self._tracks = [track for track in tracks if track.missing <= self.patience]
        seen = [track for track in self._tracks if not track.missing]
        return [self._result(track) for track in sorted(seen, key=lambda track: track.number)]

    def _advance(self, time: float | None) -> float:
        """Seconds since the frame before."""
        before = self._time
        if time is None:
            time = 0.0 if before is None else before + _FRAME_SECONDS
        if before is not None and not time > before:
            raise InputError(f"Expected 'time' to be later than that of the frame before, {before:g} s (got {time:g}).")
        self._time = time
        return 0.0 if before is None else time - before

    def _follow(self, image: PreparedImage, seconds: float) -> list[_Track]:
        """The known faces in this frame; those not seen are missing."""
        crops = [image._replace(boxes=track.box[None], rotation=float(track.rotation)) for track in self._tracks]
        faces = [each[0] for each in self.predictor.predict(crops, passes=1, search_further=False)] if crops else []
        tracks = []
        for track, face in zip(self._tracks, faces, strict=True):
            box, rotation = self._next_crop(face.landmarks, track.rotation)
            if is_a_face(face, self.predictor.min_confidence) and _is_on(image.image, box):
                state = None if track.missing else track.state
                tracks.append(self._updated(_Track(track.number, box, rotation, face, state), seconds))
            else:
                tracks.append(replace(track, missing=track.missing + 1))
        return _without_doubles(tracks)

    def _search(self, image: PreparedImage, tracks: list[_Track]) -> list[_Track]:
        """The known faces, and those that the face detector finds; one that is found where a face was lost is that."""
        found = self.predictor.prepare(image.image, name=image.name)
        if not len(found.boxes) and not tracks and self.predictor.turned:
            # One other orientation a frame: a search takes longer than a prediction.
            found = self.predictor.prepare.turned(found, next(self._turns))
        known = torch.stack([landmark_box(track.face.landmarks) for track in tracks]) if tracks else torch.zeros(0, 4)
        pairs = match_boxes(known, found.boxes)
        taken = {j for i, j in pairs if not tracks[i].missing}
        again = {j: tracks[i] for i, j in pairs if tracks[i].missing}
        new = [j for j in range(len(found.boxes)) if j not in taken]
        crops = [found._replace(boxes=found.boxes[[j]], detected=False) for j in new]
        candidates = self.predictor.predict(crops, search_further=False) if crops else []
        tracks = list(tracks)
        for j, (face,) in zip(new, candidates, strict=True):
            box, rotation = self._next_crop(face.landmarks, torch.tensor(found.rotation))
            if not is_a_face(face, self.predictor.min_confidence) or not _is_on(image.image, box):
                continue
            if j in again:
                number = again[j].number
                tracks.remove(again[j])
            else:
                number = self._count
                self._count += 1
            tracks.append(self._updated(_Track(number, box, rotation, face, None), 0.0))
        return _without_doubles(tracks)

    def _next_crop(self, pos: Tensor, rotation: Tensor) -> tuple[Tensor, Tensor]:
        """Box [4] and rotation [] of the crop in the next frame."""
        rotation = upright_rotation(pos[None], rotation[None], self.predictor.detector.scheme.flip_pairs)
        return rotated_box(pos[None], rotation)[0], rotation[0]

    def _updated(self, track: _Track, seconds: float) -> _Track:
        if self.smoother is None:
            return track
        pos = track.face.landmarks[None]
        covariance = None if track.face.covariance is None else track.face.covariance[None]
        if track.state is None:
            return replace(track, state=self.smoother.start(pos, covariance))
        return replace(track, state=self.smoother.update(track.state, pos, covariance, seconds))

    def _result(self, track: _Track) -> TrackedFace:
        pos = track.face.landmarks if track.state is None else track.state.pos[0].float()
        return TrackedFace(
            track.number, replace(track.face, landmarks=pos, box=landmark_box(pos)), track.face.landmarks
        )


def is_a_face(face: Face, min_confidence: float) -> bool:
    """Whether the landmarks are on a face, as :class:`LandmarkPredictor` decides it for detected ones."""
    return face.mean_confidence >= min_confidence


def match_boxes(first: Tensor, second: Tensor) -> list[tuple[int, int]]:
    """Pairs of boxes [F, 4] and [G, 4] of the same face, one to one, with the largest overlap in sum."""
    # Imported only here: both are slow to import, and predictions of images do without.
    from scipy.optimize import linear_sum_assignment
    from torchvision.ops import box_iou

    overlap = box_iou(first, second)
    pairs = zip(*linear_sum_assignment(overlap.numpy(), maximize=True), strict=True)
    return [(int(i), int(j)) for i, j in pairs if overlap[i, j] >= _SAME_FACE]


def _is_on(image: Tensor, box: Tensor) -> bool:
    """Whether a box has an extent and a part in the image."""
    x0, y0, x1, y1 = box.tolist()
    return min(x1 - x0, y1 - y0) >= 2 and x1 > 0 and y1 > 0 and x0 < image.shape[2] - 1 and y0 < image.shape[1] - 1


def _without_doubles(tracks: list[_Track]) -> list[_Track]:
    """The tracks, without those that have run onto a face of an older one."""
    from torchvision.ops import box_iou

    kept: list[_Track] = []
    for track in sorted(tracks, key=lambda track: (track.missing > 0, track.number)):
        boxes = [landmark_box(each.face.landmarks) for each in kept if not each.missing]
        own = landmark_box(track.face.landmarks)
        if track.missing or not boxes or box_iou(own[None], torch.stack(boxes)).max() < 0.6:
            kept.append(track)
    return kept

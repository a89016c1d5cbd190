"""Predict the landmarks of the faces in images."""

import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice, repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import torch

from lgcn.checks import InputError, check_at_least, check_device
from lgcn.export import OnnxDetector, load_detector
from lgcn.images import MAX_PIXELS, ImageLike
from lgcn.predict.boxes import BoxesLike
from lgcn.predict.face import Face, NoFaceWarning
from lgcn.predict.face_detector import FaceDetector
from lgcn.predict.face_network import FaceCrop, FaceNetwork
from lgcn.predict.preparation import ImagePreparer, PreparedImage, image_name
from lgcn.predict.workers import MAX_PIXELS_HELD, Task, prepare_all

if TYPE_CHECKING:
    from lgcn.models import LandmarkDetector


_DOUBTFUL = 0.1
"""Images without a face that fits with this probability are searched further, and reported: faces have 0.97 on average,
crops beside a face 0.03."""
_FITTING = 0.5
"""Landmarks fit rather than not: no other orientation is tried."""
_HOPELESS = 0.5
"""A detected face is not looked at closer below this share of ``min_confidence``: in training photos of 300-W no
upright face was that unsure in the first pass, and most false positives were."""


class LandmarkPredictor:
    """Detects the faces in images and predicts the landmarks of each.

    >>> predictor = LandmarkPredictor.from_pretrained("lgcn-68")
    >>> for face in predictor("photo.jpg"):
    ...     print(face.landmarks)

    With two passes, the second crop is cut around the landmarks of the first, upright. Face detectors disagree on the
    box of a face; the second crop is like those in training, whatever the first box was.

    Args:
        detector: a copy for inference is made of it now, on its device; or an exported one.
        face_detector: detects the faces in images without given boxes; scikit-image's cascade if None, but only for
            landmarks of a face (``detector.scheme.subject``).
        passes: how often a face is cropped and predicted, 1 or more.
        batch_size: faces in a batch.
        min_confidence: a detected face is dropped as a false positive if the mean confidence of its landmarks is
            below this; a face whose box is given never is. None takes the value of ``detector``, which
            is chosen for its weights; 0 keeps all.
        max_pixels: image files of more pixels are refused before they are decoded; None reads any.
        turned: whether to try other orientations: of the image where no face is detected, or none that is likely to
            fit (in steps of 30 degrees), and of given boxes whose landmarks do not fit (quarter turns;
            ``fit_probability`` below 0.5, mean confidence below ``min_confidence`` where that is unknown).

    Raises:
        InputError: for a number out of range.
    """

    def __init__(
        self,
        detector: "LandmarkDetector | OnnxDetector",
        face_detector: FaceDetector | None = None,
        passes: int = 2,
        batch_size: int = 32,
        min_confidence: float | None = None,
        max_pixels: int | None = MAX_PIXELS,
        turned: bool = True,
    ) -> None:
        if isinstance(detector, str | Path):
            raise InputError(
                f"Expected 'detector' to be a LandmarkDetector (got {type(detector).__name__}). Load one by name "
                "or path with LandmarkPredictor.from_pretrained."
            )
        check_at_least("passes", passes, 1)
        check_at_least("batch_size", batch_size, 1)
        if min_confidence is None:
            min_confidence = detector.min_confidence
        if not 0 <= min_confidence <= 1:
            raise InputError(f"Expected 'min_confidence' to be in [0, 1] (got {min_confidence}).")
        self.detector = detector
        self._predict_faces = FaceNetwork(detector)
        self.passes = passes
        self.batch_size = batch_size
        self.min_confidence = min_confidence
        self.turned = turned
        self.prepare = ImagePreparer(face_detector, max_pixels, detector.scheme.subject)
        """Reads an image and finds its faces: ``predict([prepare(image)])`` is the same as a call."""

    @classmethod
    def from_pretrained(
        cls,
        source: str | Path,
        *,
        device: str | torch.device = "cpu",
        face_detector: FaceDetector | None = None,
        passes: int = 2,
        batch_size: int = 32,
        min_confidence: float | None = None,
        max_pixels: int | None = MAX_PIXELS,
        turned: bool = True,
        flip_test: bool | None = None,
    ) -> "LandmarkPredictor":
        """Load a trained detector as :meth:`lgcn.models.LandmarkDetector.from_pretrained` does, or an exported one.

        Args:
            source: a shipped name (``"lgcn-68"``), a folder, a ``.ckpt`` file or an id on the hub; or the ``.onnx``
                file of an exported detector, which ONNX Runtime runs without PyTorch's network.
            device: where the network runs.
            face_detector: as in the constructor, like the arguments below.
            passes: how often a face is cropped and predicted.
            batch_size: faces in a batch.
            min_confidence: below which a detected face is a false positive; the model's own if None.
            max_pixels: of the largest image file that is read.
            turned: whether to try other orientations of the image or of boxes.
            flip_test: whether landmarks are the mean over each face and its mirror image, for twice the time; the
                model's own if None.

        Raises:
            InputError: for an unknown model, a device that torch cannot use here, or ``flip_test`` with an ONNX file.
        """
        # Check the device before a model is loaded or downloaded.
        device = check_device(device)
        detector = load_detector(source, device, flip_test)
        return cls(detector, face_detector, passes, batch_size, min_confidence, max_pixels, turned)

    @overload
    def __call__(
        self, images: ImageLike, boxes: BoxesLike | None = None, *, return_connectivity: bool = False
    ) -> list[Face]: ...

    @overload
    def __call__(
        self,
        images: list[Any] | tuple[Any, ...],
        boxes: Sequence[BoxesLike | None] | None = None,
        *,
        return_connectivity: bool = False,
    ) -> list[list[Face]]: ...

    def __call__(
        self,
        images: Any,
        boxes: Any = None,
        *,
        return_connectivity: bool = False,
    ) -> list[Face] | list[list[Face]]:
        """Predict the faces in one image, or in each image of a list.

        Args:
            images: a path, bytes of a file, Pillow image, uint8 array [H, W, 3] or uint8 tensor [3, H, W] in RGB, or a
                list of them.
            boxes: [F, 4] or [4] for one image; for a list one such entry each, None to detect the faces. A box may
                reach over the border of its image, and fit the face loosely.
            return_connectivity: keep the learned edge weights [K, K] of every face.

        Returns:
            The faces in the image, from large to small if they were detected, else in the order of ``boxes``; a list
            of such lists for a list of images. Empty, with a :class:`NoFaceWarning`, if no face was detected. That
            warning is also given if no detected face is likely to fit.

        Raises:
            InputFileError: for a file that is missing, or is not an image.
            InputError: for an unusable array, a box that is not finite, has no area or lies outside its image, or no
                box where the landmarks are not of a face.
        """
        if not isinstance(images, list | tuple):
            return self.predict([self.prepare(images, boxes)], return_connectivity=return_connectivity)[0]
        if boxes is None:
            boxes = [None] * len(images)
        elif len(boxes) != len(images):
            raise InputError(
                f"Expected 'boxes' to hold one entry for each of the {len(images)} images (got {len(boxes)} entries)."
            )
        return [faces for _, faces in self.stream(images, boxes, return_connectivity=return_connectivity)]

    def stream(
        self,
        images: Iterable[ImageLike],
        boxes: Iterable[BoxesLike | None] | None = None,
        *,
        names: Iterable[str] | None = None,
        workers: int = 0,
        on_error: Callable[[str, InputError], None] | None = None,
        return_connectivity: bool = False,
    ) -> Iterator[tuple[PreparedImage, list[Face]]]:
        """Yield each image with its faces, in order, as batches are done; any number of images in bounded memory.

        >>> for image, faces in predictor.stream(Path("photos").glob("*.jpg"), workers=4):
        ...     print(image.name, len(faces))

        Args:
            images: paths, arrays and so on, as in a call; consumed as needed.
            boxes: one entry for each image, as in a call.
            names: one for each image, in messages and results; the path, or ``images[n]``, if None.
            workers: processes that read images and detect faces while the network runs; 0 does it in between.
                Call this under ``if __name__ == "__main__":`` where processes are not simply forked (Windows, macOS,
                Python 3.14 and newer).
            on_error: called with the name of an image that cannot be used, and the error, which is raised if None.
            return_connectivity: as in a call.

        Raises:
            InputError: as in a call.
        """
        check_at_least("workers", workers, 0)
        given = (repeat(None) if each is None else each for each in (boxes, names))
        tasks = (
            Task(image, own, image_name(image, f"images[{number}]") if name is None else name)
            for number, (image, own, name) in enumerate(zip(images, *given, strict=False))
        )
        prepared = prepare_all(self.prepare, tasks, workers=workers, ahead=self.batch_size, on_error=on_error)
        for group in self.grouped(prepared):
            yield from zip(group, self.predict(group, return_connectivity=return_connectivity), strict=True)

    def grouped(self, images: Iterable[PreparedImage]) -> Iterator[list[PreparedImage]]:
        """Group images until their faces fill a batch or their pixels reach the memory limit."""
        group: list[PreparedImage] = []
        for image in images:
            group.append(image)
            faces = sum(len(each.boxes) for each in group)
            pixels = sum(each.image.shape[1] * each.image.shape[2] for each in group)
            if faces >= self.batch_size or pixels >= MAX_PIXELS_HELD:
                yield group
                group = []
        if group:
            yield group

    @torch.inference_mode()
    def predict(
        self,
        images: Sequence[PreparedImage],
        *,
        return_connectivity: bool = False,
        passes: int | None = None,
        search_further: bool = True,
    ) -> list[list[Face]]:
        """Predict all faces in prepared images, in common batches; one list of faces for each image.

        Detected faces of low confidence are dropped as false positives. Where no face is left, or none whose landmarks
        are likely to fit, the image is searched further: for smaller faces, if it is large, and in other orientations.
        Warns if that does not help. For boxes around known landmarks, give ``passes=1`` (None takes the predictor's)
        and ``search_further=False``, which does not turn boxes either.
        """
        passes = self.passes if passes is None else passes
        results = self._predict_all(images, return_connectivity, passes)
        if search_further and self.turned:
            self._turn_misfits(images, results, return_connectivity, passes)
        for number, image in enumerate(images):
            if not image.detected or _best_fit(results[number]) >= _DOUBTFUL:
                continue
            for other in self._further_searches(image) if search_further else ():
                (faces,) = self._predict_all([other], return_connectivity, passes)
                results[number] = max(results[number], faces, key=_best_fit)
                if _best_fit(faces) >= _FITTING:
                    break
            best = _best_fit(results[number])
            if best < _DOUBTFUL:
                message = self.prepare.describe_no_face(image, self.min_confidence, best if results[number] else None)
                warnings.warn(message, NoFaceWarning, stacklevel=3)
        return results

    def _further_searches(self, image: PreparedImage) -> Iterator[PreparedImage]:
        """An image in which no face was found with the boxes of other searches, the most promising first."""
        finer = self.prepare.finer(image)
        if finer is not None:
            yield finer
        for degrees in self.prepare.TURNS if self.turned else ():
            yield self.prepare.turned(image, degrees)

    def _predict_all(self, images: Sequence[PreparedImage], return_connectivity: bool, passes: int) -> list[list[Face]]:
        """The faces of each image, without detected ones of low confidence."""
        least = [self.min_confidence if image.detected else 0.0 for image in images]
        crops = [
            FaceCrop(image.image, box, image.rotation, _HOPELESS * limit)
            for image, limit in zip(images, least, strict=True)
            for box in image.boxes
        ]
        remaining = iter(self._predict_faces(crops, passes, self.batch_size, return_connectivity))
        return [
            [face for face in islice(remaining, len(image.boxes)) if face.mean_confidence >= limit]
            for image, limit in zip(images, least, strict=True)
        ]

    def _turn_misfits(
        self, images: Sequence[PreparedImage], results: list[list[Face]], return_connectivity: bool, passes: int
    ) -> None:
        """Replace faces in given boxes whose landmarks do not fit by those of a turned crop, if these fit better."""
        misfits = [
            (number, i)
            for number, image in enumerate(images)
            for i, face in enumerate(results[number])
            if not image.detected and face.score < (self.min_confidence if face.fit_probability is None else _FITTING)
        ]
        turns = (90.0, 180.0, 270.0)
        faces = [(images[number], images[number].boxes[i]) for number, i in misfits]
        crops = [FaceCrop(image.image, box, image.rotation + turn) for image, box in faces for turn in turns]
        turned = iter(self._predict_faces(crops, passes, self.batch_size, return_connectivity))
        for number, i in misfits:
            candidates = [results[number][i], *islice(turned, len(turns))]
            results[number][i] = max(candidates, key=lambda face: face.score)

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({self.detector.scheme.name}, input_size={self.detector.input_size}, "
            f"passes={self.passes}, batch_size={self.batch_size})"
        )


def _best_fit(faces: Sequence[Face]) -> float:
    """The highest probability that the landmarks of a face fit: 0 without faces, 1 if the model does not know it."""
    return max((1.0 if face.fit_probability is None else face.fit_probability for face in faces), default=0.0)

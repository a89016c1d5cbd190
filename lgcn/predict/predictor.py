"""Predict the landmarks of the faces in images."""

import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice, repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, overload

import torch
from torch import Tensor, nn

from lgcn.checks import InputError, check_at_least, check_device
from lgcn.export import OnnxDetector, load_detector
from lgcn.geometry import crop_image, invert_affine, transform_points
from lgcn.images import MAX_PIXELS, ImageLike
from lgcn.predict.boxes import BoxesLike, tight_boxes, upright_rotation
from lgcn.predict.face import Face, NoFaceWarning
from lgcn.predict.face_detector import FaceDetector
from lgcn.predict.preparation import ImagePreparer, PreparedImage, image_name
from lgcn.predict.workers import MAX_PIXELS_HELD, Task, prepare_all
from lgcn.schemes import normalizing_distance
from lgcn.typing import DetectorOutput

if TYPE_CHECKING:
    from lgcn.models import LandmarkDetector


_DOUBTFUL = 0.1
"""Images without a face that fits with this probability are searched further, and reported: faces have 0.98 on average,
crops beside a face 0.02."""


class _Crop(NamedTuple):
    """A face to predict."""

    image: Tensor
    box: Tensor
    rotation: float


class LandmarkPredictor:
    """Detects the faces in images and predicts the landmarks of each.

    >>> predictor = LandmarkPredictor.from_pretrained("lgcn-68")
    >>> for face in predictor("photo.jpg"):
    ...     print(face.landmarks)

    With two passes, the second crop is cut around the landmarks of the first, upright. Face detectors disagree on the
    box of a face; the second crop is like those in training, whatever the first box was.

    Args:
        detector: a copy for inference is made of it now, on its device; or an exported one.
        face_detector: detects the faces in images without given boxes; scikit-image's cascade if None.
        passes: how often a face is cropped and predicted, 1 or more.
        batch_size: faces in a batch.
        min_confidence: a detected face is dropped as a false positive if the mean confidence of its landmarks is
            below this; a face whose box is given never is. None takes the value of ``detector``, which
            is chosen for its weights; 0 keeps all.
        max_pixels: image files of more pixels are refused before they are decoded; None reads any.
        turned: whether faces are also looked for in the image turned by 90, 180 and 270 degrees if none is found, or
            none whose landmarks are likely to fit.

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
        self._network = _channels_last(detector.for_inference())
        self.passes = passes
        self.batch_size = batch_size
        self.min_confidence = min_confidence
        self.turned = turned
        self.prepare = ImagePreparer(face_detector, max_pixels)
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
            turned: whether turned faces are looked for if none is found.

        Raises:
            InputError: for an unknown model or a device that torch cannot use here.
        """
        # Check the device before a model is loaded or downloaded.
        device = check_device(device)
        detector = load_detector(source, device)
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
            InputError: for an unusable array, or a box that is not finite, has no area or lies outside its image.
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
            workers: processes that read images and detect faces while the network runs; 0 does it in between. On
                systems that do not fork, call this under ``if __name__ == "__main__":``.
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
        self, images: Sequence[PreparedImage], *, return_connectivity: bool = False, passes: int | None = None
    ) -> list[list[Face]]:
        """Predict all faces in prepared images, in common batches; one list of faces for each image.

        Detected faces of low confidence are dropped as false positives. Warns of an image in which no face is left, or
        none whose landmarks are likely to fit.
        ``passes`` replaces those of this predictor: one is enough for boxes around known landmarks.
        """
        self._network.eval()
        passes = self.passes if passes is None else passes
        results = self._predict_all(images, return_connectivity, passes)
        for number, image in enumerate(images):
            if not image.detected or _best_fit(results[number]) >= _DOUBTFUL:
                continue
            if self.turned:
                turned = self._predict_all(self.prepare.turned(image), return_connectivity, passes)
                results[number] = max([results[number], *turned], key=_best_fit)
            best = _best_fit(results[number])
            if best < _DOUBTFUL:
                message = self.prepare.describe_no_face(image, self.min_confidence, best if results[number] else None)
                warnings.warn(message, NoFaceWarning, stacklevel=3)
        return results

    def _predict_all(self, images: Sequence[PreparedImage], return_connectivity: bool, passes: int) -> list[list[Face]]:
        """The faces of each image, without detected ones of low confidence."""
        crops = [_Crop(image.image, box, image.rotation) for image in images for box in image.boxes]
        faces: list[Face] = []
        for start in range(0, len(crops), self.batch_size):
            faces += self._predict_batch(crops[start : start + self.batch_size], return_connectivity, passes)
        remaining = iter(faces)
        least = [self.min_confidence if image.detected else 0.0 for image in images]
        return [
            [face for face in islice(remaining, len(image.boxes)) if face.mean_confidence >= limit]
            for image, limit in zip(images, least, strict=True)
        ]

    def _predict_batch(self, crops: "Sequence[_Crop]", return_connectivity: bool, passes: int) -> list[Face]:
        """One face for each crop, predicted in all passes."""
        images, boxes, rotations = zip(*crops, strict=True)
        box, rotation = torch.stack(boxes), torch.tensor(rotations)
        around = box
        for number in range(passes):
            last = number == passes - 1
            found = self._run(images, around, rotation, return_connectivity and last)
            if not last:
                rotation = upright_rotation(found.pos, rotation, self.detector.scheme.flip_pairs)
                around = tight_boxes(found.pos, around, images, rotation)
        distance = self._eye_distance(found.pos)
        score = None if found.score is None else found.score.tolist()
        known = (found.connectivity, found.covariance, found.expected_error, distance, found.covered, score)
        optional = ([None] * len(crops) if each is None else each for each in known)
        fields = zip(box, found.pos, found.initial, found.confidence, *optional, strict=True)
        return [Face(*each) for each in fields]

    def _run(
        self, images: Sequence[Tensor], boxes: Tensor, rotation: Tensor, return_connectivity: bool
    ) -> DetectorOutput:
        """Crop, run the network once, and map its output to pixels of the images, on the CPU."""
        size, options = self.detector.input_size, self.detector.protocol.crop_options
        faces = zip(images, boxes, rotation.tolist(), strict=True)
        crops, affines = zip(
            *(crop_image(image, box, size, **options, rotation=turn) for image, box, turn in faces), strict=True
        )
        affine = torch.stack(affines)
        inputs = torch.stack(crops).to(_device_of(self.detector)).contiguous(memory_format=torch.channels_last)
        output: DetectorOutput = self._network(inputs, return_connectivity=return_connectivity)
        back = invert_affine(affine.double())
        # On the CPU first: not every accelerator has float64.
        pos, initial = (transform_points(each.cpu().double(), back).float() for each in (output.pos, output.initial))
        confidence = output.confidence.cpu().float()
        if not (torch.isfinite(pos).all() and torch.isfinite(confidence).all()):
            raise InputError("Expected a model that returns finite landmarks (got NaN). Its weights are damaged.")
        connectivity = None if output.connectivity is None else output.connectivity.cpu().float()
        covariance = error = None
        if output.covariance is not None and output.expected_error is not None:
            linear = back[:, None, :, :2]
            covariance = (linear @ output.covariance.cpu().double() @ linear.mT).float()
            # The crop is a similarity, or nearly: lengths grow by the square root of the area.
            error = (output.expected_error.cpu().double() * linear.det().abs().sqrt()).float()
        covered, score = (None if each is None else each.cpu() for each in (output.covered, output.score))
        return DetectorOutput(
            pos, initial, confidence, output.heatmaps, connectivity, covariance, error, covered, score
        )

    def _eye_distance(self, pos: Tensor) -> list[float | None]:
        """The normaliser of the protocol for landmarks [F, K, 2], if it is a distance between landmarks."""
        scheme = self.detector.scheme
        normalizer = self.detector.protocol.normalizer_of(scheme.name) or scheme.default_normalizer
        if normalizer not in scheme.normalizers:
            return [None] * len(pos)
        distances: list[float | None] = normalizing_distance(pos, scheme, normalizer).tolist()
        return distances

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({self.detector.scheme.name}, input_size={self.detector.input_size}, "
            f"passes={self.passes}, batch_size={self.batch_size})"
        )


def _best_fit(faces: Sequence[Face]) -> float:
    """The highest probability that the landmarks of a face fit: 0 without faces, 1 if the model does not know it."""
    return max((1.0 if face.fit_probability is None else face.fit_probability for face in faces), default=0.0)


def _channels_last(network: Any) -> Any:
    """The network in the memory format that convolutions prefer on most machines."""
    return network.to(memory_format=torch.channels_last) if isinstance(network, nn.Module) else network


def _device_of(detector: "LandmarkDetector | OnnxDetector") -> torch.device:
    # An exported detector has no parameters, and takes crops from the CPU.
    return next((parameter.device for parameter in detector.parameters()), torch.device("cpu"))

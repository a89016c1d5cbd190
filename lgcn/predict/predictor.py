"""Predict the landmarks of the faces in images."""

import os
import warnings
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, overload

import torch
from torch import Tensor

from lgcn.checks import InputError, check_at_least, check_device
from lgcn.export import OnnxDetector, load_detector
from lgcn.geometry import crop_image, invert_affine, transform_points
from lgcn.images import MAX_PIXELS, ImageLike, as_image_tensor
from lgcn.predict.boxes import BoxesLike, check_boxes, tight_boxes
from lgcn.predict.face import Face, NoFaceWarning
from lgcn.predict.face_detector import CascadeFaceDetector, FaceDetector
from lgcn.typing import DetectorOutput

if TYPE_CHECKING:
    from lgcn.models import LandmarkDetector

_MAX_PIXELS_HELD = 2**26
"""Pixels of images held at a time, about 200 MB."""


class PreparedImage(NamedTuple):
    """An image with the boxes of its faces, ready to be predicted."""

    name: str
    """Name in messages."""
    image: Tensor
    """uint8 [3, H, W]."""
    boxes: Tensor
    """[F, 4], float32, each of which overlaps the image."""
    detected: bool = False
    """Whether the boxes come from a face detector, and so may be false positives."""


class LandmarkPredictor:
    """Detects the faces in images and predicts the landmarks of each.

    >>> predictor = LandmarkPredictor.from_pretrained("lgcn-68")
    >>> for face in predictor("photo.jpg"):
    ...     print(face.landmarks)

    With two passes, the second crop is cut around the landmarks of the first. Face detectors disagree on the box of
    a face; the second crop is like those in training, whatever the first box was. NME of
    ``lgcn-68`` on every other face of LFPW test with one, two and three passes: 3.55, 3.14, 3.12 % from the boxes of
    the cascade, 3.13, 3.11, 3.12 % from the annotated boxes.

    Args:
        detector: a copy for inference is made of it now, on its device; or an exported one.
        face_detector: detects the faces in images without given boxes; scikit-image's cascade if None.
        passes: how often a face is cropped and predicted, 1 or more.
        batch_size: faces in a batch.
        min_confidence: a detected face is dropped as a false positive if the mean confidence of its landmarks is
            below this; a face whose box is given never is. None takes the value of ``detector``, which
            is chosen for its weights; 0 keeps all.
        max_pixels: image files of more pixels are refused before they are decoded; None reads any.

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
    ) -> None:
        if isinstance(detector, str | Path):
            raise InputError(
                f"Expected 'detector' to be a LandmarkDetector (got {type(detector).__name__}). Load one by name "
                "or path with LandmarkPredictor.from_pretrained."
            )
        check_at_least("passes", passes, 1)
        check_at_least("batch_size", batch_size, 1)
        if max_pixels is not None:
            check_at_least("max_pixels", max_pixels, 1)
        if min_confidence is None:
            min_confidence = detector.min_confidence
        if not 0 <= min_confidence <= 1:
            raise InputError(f"Expected 'min_confidence' to be in [0, 1] (got {min_confidence}).")
        self.detector = detector
        self._network = detector.for_inference()
        self.passes = passes
        self.batch_size = batch_size
        self.min_confidence = min_confidence
        self.max_pixels = max_pixels
        self._face_detector = face_detector

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
    ) -> "LandmarkPredictor":
        """Loads a trained detector as :meth:`lgcn.models.LandmarkDetector.from_pretrained` does, or an exported one.

        Args:
            source: a shipped name (``"lgcn-68"``), a folder, a ``.ckpt`` file or an id on the hub; or the ``.onnx``
                file of an exported detector, which ONNX Runtime runs without PyTorch's network.
            device: where the network runs.
            face_detector: as in the constructor, like the arguments below.
            passes: how often a face is cropped and predicted.
            batch_size: faces in a batch.
            min_confidence: below which a detected face is a false positive; the model's own if None.
            max_pixels: of the largest image file that is read.

        Raises:
            InputError: for an unknown model or a device that torch cannot use here.
        """
        # Check the device before a model is loaded or downloaded.
        device = check_device(device)
        return cls(load_detector(source, device), face_detector, passes, batch_size, min_confidence, max_pixels)

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
        """Predicts the faces in one image, or in each image of a list.

        Args:
            images: a path, bytes of a file, Pillow image, uint8 array [H, W, 3] or uint8 tensor [3, H, W] in RGB, or a
                list of them.
            boxes: [F, 4] or [4] for one image; for a list one such entry each, None to detect the faces. A box may
                reach over the border of its image, and fit the face loosely.
            return_connectivity: keep the learned edge weights [K, K] of every face.

        Returns:
            The faces in the image, from large to small if they were detected, else in the order of ``boxes``; a list
            of such lists for a list of images. Empty, with a :class:`NoFaceWarning`, if no face was detected.

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
        named = [_name_of(image, f"images[{number}]") for number, image in enumerate(images)]
        prepared = (self.prepare(*each[:2], name=each[2]) for each in zip(images, boxes, named, strict=True))
        return [
            faces
            for group in self.grouped(prepared)
            for faces in self.predict(group, return_connectivity=return_connectivity)
        ]

    def prepare(self, image: ImageLike, boxes: BoxesLike | None = None, *, name: str | None = None) -> PreparedImage:
        """Reads one image and checks its boxes, or detects its faces.

        Args:
            image: as in a call.
            boxes: [F, 4] or [4]; None detects the faces.
            name: name of the image in messages; its path or ``image`` if None.

        Raises:
            InputError: as in a call.
        """
        name = _name_of(image, "image") if name is None else name
        pixels = as_image_tensor(image, max_pixels=self.max_pixels).cpu()
        if boxes is not None:
            return PreparedImage(name, pixels, check_boxes(boxes, pixels, name))
        if self._face_detector is None:
            self._face_detector = CascadeFaceDetector()
        return PreparedImage(name, pixels, check_boxes(self._face_detector(pixels), pixels, name), detected=True)

    def grouped(self, images: Iterable[PreparedImage]) -> Iterator[list[PreparedImage]]:
        """Groups images until their faces fill a batch or their pixels reach the memory limit."""
        group: list[PreparedImage] = []
        for image in images:
            group.append(image)
            faces = sum(len(each.boxes) for each in group)
            pixels = sum(each.image.shape[1] * each.image.shape[2] for each in group)
            if faces >= self.batch_size or pixels >= _MAX_PIXELS_HELD:
                yield group
                group = []
        if group:
            yield group

    @torch.inference_mode()
    def predict(self, images: Sequence[PreparedImage], *, return_connectivity: bool = False) -> list[list[Face]]:
        """Predicts all faces in prepared images, in common batches; one list of faces for each image.

        Detected faces of low confidence are dropped as false positives. Warns of an image in which no face is left.
        """
        self._network.eval()
        crops = [(image.image, box) for image in images for box in image.boxes]
        faces: list[Face] = []
        for start in range(0, len(crops), self.batch_size):
            sources, boxes = zip(*crops[start : start + self.batch_size], strict=True)
            faces += self._predict_batch(sources, torch.stack(boxes), return_connectivity)
        remaining = iter(faces)
        return [self._drop_false_positives(image, [next(remaining) for _ in image.boxes]) for image in images]

    def _drop_false_positives(self, image: PreparedImage, faces: list[Face]) -> list[Face]:
        """The faces that were given, or are confident; warns if none of several candidates is."""
        if not image.detected:
            return faces
        confident = [face for face in faces if face.confidence.mean() >= self.min_confidence]
        if not confident:
            least = f"below min_confidence = {self.min_confidence:g}"
            dropped = f" ({len(faces)} candidate{'s' * (len(faces) > 1)} {least})" if faces else ""
            warnings.warn(
                f"No face was detected in '{image.name}'{dropped}. If there is one, give its box: "
                "the default face detector detects frontal faces only.",
                NoFaceWarning,
                stacklevel=4,
            )
        return confident

    def _predict_batch(self, images: Sequence[Tensor], boxes: Tensor, return_connectivity: bool) -> list[Face]:
        """Faces from one image and one box [4] each, in all passes."""
        around = boxes
        for number in range(self.passes):
            last = number == self.passes - 1
            pos, initial, confidence, connectivity = self._run(images, around, return_connectivity and last)
            if not last:
                around = tight_boxes(pos, around, images)
        return [
            Face(boxes[i], pos[i], initial[i], confidence[i], None if connectivity is None else connectivity[i])
            for i in range(len(boxes))
        ]

    def _run(
        self, images: Sequence[Tensor], boxes: Tensor, return_connectivity: bool
    ) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        """Crops, runs the network once, and maps its output to pixels of the images, on the CPU."""
        size, crop = self.detector.input_size, self.detector.protocol.crop_options
        crops, affines = zip(
            *(crop_image(image, box, size, **crop) for image, box in zip(images, boxes, strict=True)), strict=True
        )
        affine = torch.stack(affines)
        inputs = torch.stack(crops).to(_device_of(self.detector))
        output: DetectorOutput = self._network(inputs, return_connectivity=return_connectivity)
        back = invert_affine(affine.double())
        # On the CPU first: not every accelerator has float64.
        pos, initial = (transform_points(each.cpu().double(), back).float() for each in (output.pos, output.initial))
        confidence = output.confidence.cpu().float()
        if not (torch.isfinite(pos).all() and torch.isfinite(confidence).all()):
            raise InputError("Expected a model that returns finite landmarks (got NaN). Its weights are damaged.")
        connectivity = None if output.connectivity is None else output.connectivity.cpu().float()
        return pos, initial, confidence, connectivity

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({self.detector.scheme.name}, input_size={self.detector.input_size}, "
            f"passes={self.passes}, batch_size={self.batch_size})"
        )


def _name_of(image: object, otherwise: str) -> str:
    if isinstance(image, str | os.PathLike):
        return os.fsdecode(image)
    return str(getattr(image, "filename", "") or otherwise)


def _device_of(detector: "LandmarkDetector | OnnxDetector") -> torch.device:
    # An exported detector has no parameters, and takes crops from the CPU.
    return next((parameter.device for parameter in detector.parameters()), torch.device("cpu"))

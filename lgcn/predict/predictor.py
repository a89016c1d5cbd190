"""Pictures in, landmarks out."""

import os
import warnings
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, overload

import torch
from torch import Tensor
from torch_geometric.data import Data

from lgcn.checks import InputError, check_device
from lgcn.geometry import invert_affine, transform_points
from lgcn.images import ImageLike, as_image_tensor
from lgcn.models import LandmarkDetector
from lgcn.predict.boxes import BoxesLike, check_boxes, tight_boxes
from lgcn.predict.face import Face, NoFaceWarning
from lgcn.predict.face_detector import CascadeFaceDetector, FaceDetector
from lgcn.transforms import CropToInput
from lgcn.typing import DetectorOutput

_MAX_PIXELS = 2**26
"""Pixels of pictures held at a time, about 200 MB."""


class Picture(NamedTuple):
    """A picture that is ready to be predicted."""

    name: str
    """What messages call it."""
    image: Tensor
    """uint8 [3, H, W]."""
    boxes: Tensor
    """[F, 4], float32, all of them on the picture at least in part."""
    found: bool = False
    """Whether a face detector found the boxes, which then may be false alarms."""


class LandmarkPredictor:
    """Finds the faces of pictures and the landmarks of each.

    >>> predictor = LandmarkPredictor.from_pretrained("lgcn-68")
    >>> for face in predictor("photo.jpg"):
    ...     print(face.landmarks)

    With two passes, the second looks at a crop around the landmarks that the first has found. What
    people call the box of a face differs a lot between face detectors; the second crop is the one that
    the network was trained with, whatever the first box was. ``lgcn-68`` on every other face of LFPW test,
    NME with one, two and three passes: from the boxes of the cascade 3.55, 3.14, 3.12 %, from the annotated
    boxes 3.13, 3.11, 3.12 %.

    Args:
        detector: put into eval mode; works on the device where it is.
        face_detector: finds the boxes where none are given; scikit-image's cascade if None.
        passes: how often a face is cropped and predicted, 1 or more.
        batch_size: faces in a batch.
        min_confidence: what the face detector has found is dropped as a false alarm if the mean confidence of
            its landmarks is below this; faces whose boxes are given never are. None takes the value that
            the config of ``detector`` has for its weights, 0 keeps all.

    Raises:
        InputError: for a number out of range.
    """

    def __init__(
        self,
        detector: LandmarkDetector,
        face_detector: FaceDetector | None = None,
        passes: int = 2,
        batch_size: int = 32,
        min_confidence: float | None = None,
    ) -> None:
        for name, number in (("passes", passes), ("batch_size", batch_size)):
            if number < 1:
                raise InputError(f"Expected '{name}' to be 1 or more (got {number}).")
        if min_confidence is None:
            min_confidence = detector.config.min_confidence
        if not 0 <= min_confidence <= 1:
            raise InputError(f"Expected 'min_confidence' to be in [0, 1] (got {min_confidence}).")
        self.detector = detector.eval()
        self.passes = passes
        self.batch_size = batch_size
        self.min_confidence = min_confidence
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
    ) -> "LandmarkPredictor":
        """Loads a trained detector as :meth:`lgcn.models.LandmarkDetector.from_pretrained` does.

        Args:
            source: a shipped name (``"lgcn-68"``), a folder, a ``.ckpt`` file or an id on the hub.
            device: where the network runs.
            face_detector: as in the constructor, like the rest.
            passes: how often a face is cropped and predicted.
            batch_size: faces in a batch.
            min_confidence: below which what the face detector has found is a false alarm; the model's own if None.

        Raises:
            InputError: for an unknown model or a device that torch cannot use here.
        """
        # A wrong device is told before a model is loaded or even fetched.
        device = check_device(device)
        detector = LandmarkDetector.from_pretrained(source).to(device)
        return cls(detector, face_detector, passes, batch_size, min_confidence)

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
        """Predicts the faces of one picture, or of each picture of a list.

        Args:
            images: a path, Pillow image, uint8 array [H, W, 3] or uint8 tensor [3, H, W] in RGB, or a list of them.
            boxes: [F, 4] or [4] for one picture; for a list one such entry each, None where faces are to be
                found. A box may reach over the border of its picture, and fit the face loosely.
            return_connectivity: keep the learned edge weights [K, K] of every face.

        Returns:
            The faces of the picture, from large to small where they were found here, in the order of
            ``boxes`` otherwise; a list of such lists for a list of pictures. Empty, with a
            :class:`NoFaceWarning`, where no face was found.

        Raises:
            InputFileError: for a file that is missing or no picture.
            InputError: for an unusable array, or a box that is not finite, has no area or lies outside its picture.
        """
        if not isinstance(images, list | tuple):
            return self.predict([self.prepare(images, boxes)], return_connectivity=return_connectivity)[0]
        if boxes is None:
            boxes = [None] * len(images)
        elif len(boxes) != len(images):
            raise InputError(
                f"Expected 'boxes' to hold one entry for each of the {len(images)} pictures (got {len(boxes)} "
                "entries). Use None for a picture whose faces are to be found, [] for one without faces."
            )
        pictures = (
            self.prepare(image, each, name=_name_of(image, f"images[{number}]"))
            for number, (image, each) in enumerate(zip(images, boxes, strict=True))
        )
        return [
            faces
            for group in self.grouped(pictures)
            for faces in self.predict(group, return_connectivity=return_connectivity)
        ]

    def prepare(self, image: ImageLike, boxes: BoxesLike | None = None, *, name: str | None = None) -> Picture:
        """Reads one picture and checks its boxes, or finds its faces.

        Args:
            image: as in a call.
            boxes: [F, 4] or [4]; None finds them.
            name: what messages call the picture; its path or ``image`` if None.

        Raises:
            InputError: as in a call.
        """
        name = _name_of(image, "image") if name is None else name
        pixels = as_image_tensor(image).cpu()
        if boxes is not None:
            return Picture(name, pixels, check_boxes(boxes, pixels, name), found=False)
        if self._face_detector is None:
            self._face_detector = CascadeFaceDetector()
        return Picture(name, pixels, check_boxes(self._face_detector(pixels), pixels, name), found=True)

    def grouped(self, pictures: Iterable[Picture]) -> Iterator[list[Picture]]:
        """Groups of pictures that fill a batch with faces, or as many as should be in memory at a time."""
        group: list[Picture] = []
        for picture in pictures:
            group.append(picture)
            faces = sum(len(each.boxes) for each in group)
            pixels = sum(each.image.shape[1] * each.image.shape[2] for each in group)
            if faces >= self.batch_size or pixels >= _MAX_PIXELS:
                yield group
                group = []
        if group:
            yield group

    @torch.inference_mode()
    def predict(self, pictures: Sequence[Picture], *, return_connectivity: bool = False) -> list[list[Face]]:
        """Predicts all faces of prepared pictures, in common batches; one list of faces for each picture.

        What a face detector has found and the network is not sure of is left out. Warns where no face is left.
        """
        self.detector.eval()
        crops = [(picture.image, box) for picture in pictures for box in picture.boxes]
        faces: list[Face] = []
        for start in range(0, len(crops), self.batch_size):
            images, boxes = zip(*crops[start : start + self.batch_size], strict=True)
            faces += self._predict_batch(images, torch.stack(boxes), return_connectivity)
        ahead = iter(faces)
        return [self._believed(picture, [next(ahead) for _ in picture.boxes]) for picture in pictures]

    def _believed(self, picture: Picture, faces: list[Face]) -> list[Face]:
        """The faces without false alarms, with a warning if none is left."""
        if not picture.found:
            return faces
        sure = [face for face in faces if face.confidence.mean() >= self.min_confidence]
        if not sure:
            least = f"below min_confidence = {self.min_confidence:g}"
            doubted = f" ({len(faces)} candidate{'s' * (len(faces) > 1)} {least})" if faces else ""
            warnings.warn(
                f"No face was found in '{picture.name}'{doubted}. Give its box if there is one: "
                "the default face detector knows frontal faces only.",
                NoFaceWarning,
                stacklevel=4,
            )
        return sure

    def _predict_batch(self, images: Sequence[Tensor], boxes: Tensor, return_connectivity: bool) -> list[Face]:
        """One picture and one box [4] for each face -> faces."""
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
        """Crops, runs the network, and brings all it returns to pixels of the pictures, on the CPU."""
        crop = CropToInput(self.detector.input_size, **self.detector.protocol.crop_options)
        faces = [
            crop(Data(image=image.unsqueeze(0), bbox=box.unsqueeze(0)))
            for image, box in zip(images, boxes, strict=True)
        ]
        affine = torch.cat([face.affine for face in faces])
        crops = torch.cat([face.image for face in faces]).to(_device_of(self.detector))
        output: DetectorOutput = self.detector(crops, return_connectivity=return_connectivity)
        back = invert_affine(affine.double())
        pos, initial = (transform_points(each.double().cpu(), back).float() for each in (output.pos, output.initial))
        if not (torch.isfinite(pos).all() and torch.isfinite(output.confidence).all()):
            raise InputError("Expected a model that returns finite landmarks (got NaN). Its weights are damaged.")
        connectivity = None if output.connectivity is None else output.connectivity.float().cpu()
        return pos, initial, output.confidence.float().cpu(), connectivity

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({self.detector.scheme.name}, input_size={self.detector.input_size}, "
            f"passes={self.passes}, batch_size={self.batch_size})"
        )


def _name_of(image: object, otherwise: str) -> str:
    if isinstance(image, str | os.PathLike):
        return os.fspath(image)
    return str(getattr(image, "filename", "") or otherwise)


def _device_of(detector: LandmarkDetector) -> torch.device:
    return next(detector.parameters()).device

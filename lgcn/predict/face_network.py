"""Run a detector on faces in images: crops, passes, and back to pixels of the images."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from lgcn.checks import InputError
from lgcn.export import OnnxDetector
from lgcn.geometry import crop_image, invert_affine, transform_points
from lgcn.predict.boxes import tight_boxes, upright_rotation
from lgcn.predict.face import Face
from lgcn.schemes import normalizing_distance
from lgcn.typing import DetectorOutput

if TYPE_CHECKING:
    from lgcn.models import LandmarkDetector


class FaceCrop(NamedTuple):
    """Where a face is expected."""

    image: Tensor
    """uint8 [3, H, W]."""
    box: Tensor
    """[4], pixels of the image."""
    rotation: float
    """Degrees by which the face has to be turned clockwise to be upright."""
    least_confidence: float = 0.0
    """Landmarks of a lower mean confidence are taken for no face, and not looked at closer."""


class FaceNetwork:
    """A detector for inference that takes faces in images of any size.

    Args:
        detector: a copy for inference is made of it now, on its device; or an exported one.
    """

    def __init__(self, detector: "LandmarkDetector | OnnxDetector") -> None:
        self.detector = detector
        self.network = _channels_last(detector.for_inference())

    def __call__(
        self, crops: Sequence[FaceCrop], passes: int, batch_size: int, return_connectivity: bool = False
    ) -> list[Face]:
        """Predict one face for each crop; every pass but the first crops around the landmarks of the one before."""
        self.network.eval()
        faces: list[Face] = []
        for start in range(0, len(crops), batch_size):
            faces += self._predict_batch(crops[start : start + batch_size], return_connectivity and passes == 1)
        promising = [
            number
            for number, (crop, face) in enumerate(zip(crops, faces, strict=True))
            if face.mean_confidence >= crop.least_confidence
        ]
        if passes > 1 and promising:
            closer = self._closer([crops[number] for number in promising], [faces[number] for number in promising])
            again = self(closer, passes - 1, batch_size, return_connectivity)
            for number, face in zip(promising, again, strict=True):
                faces[number] = replace(face, box=crops[number].box)
        return faces

    def _closer(self, crops: Sequence[FaceCrop], faces: Sequence[Face]) -> list[FaceCrop]:
        """Crops around the landmarks of faces, upright."""
        images, boxes, rotations, _ = zip(*crops, strict=True)
        landmarks = torch.stack([face.landmarks for face in faces])
        rotation = upright_rotation(landmarks, torch.tensor(rotations), self.detector.scheme.flip_pairs)
        around = tight_boxes(landmarks, torch.stack(boxes), images, rotation)
        changed = zip(crops, around, rotation.tolist(), strict=True)
        return [crop._replace(box=box, rotation=turn) for crop, box, turn in changed]

    def _predict_batch(self, crops: Sequence[FaceCrop], return_connectivity: bool) -> list[Face]:
        images, boxes, rotations, _ = zip(*crops, strict=True)
        box = torch.stack(boxes)
        found = self._run(images, box, torch.tensor(rotations), return_connectivity)
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
        output: DetectorOutput = self.network(inputs, return_connectivity=return_connectivity)
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


def _channels_last(network: Any) -> Any:
    """The network in the memory format that convolutions prefer on most machines."""
    return network.to(memory_format=torch.channels_last) if isinstance(network, nn.Module) else network


def _device_of(detector: "LandmarkDetector | OnnxDetector") -> torch.device:
    # An exported detector has no parameters, and takes crops from the CPU.
    return next((parameter.device for parameter in detector.parameters()), torch.device("cpu"))

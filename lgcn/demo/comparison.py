"""A face in a photo, and the same face with a part of the photo painted over."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from lgcn.checks import InputError, check_choice, check_shape
from lgcn.export import OnnxDetector
from lgcn.predict import Face, LandmarkPredictor, PreparedImage
from lgcn.predict.boxes import tight_boxes, upright_rotation
from lgcn.schemes import LandmarkScheme


@dataclass(frozen=True, eq=False)
class Comparison:
    """The landmarks of one face without and with paint, predicted from the same crop.

    Whatever differs between the two is an effect of the paint: the crop, which is that of the face without paint, is
    not. With no paint the two are equal.
    """

    seen: Face
    """In the photo."""
    painted: Face
    """In the painted photo."""
    under_brush: Tensor
    """bool [K], whether each landmark of ``seen`` is painted over."""


class Effect(NamedTuple):
    """What the paint does to some landmarks of a face: means over them, lengths in pixels of the photo.

    All but the number are NaN if there are no such landmarks, and what the model does not know is NaN too.
    """

    landmarks: int
    """How many."""
    confidence: tuple[float, float]
    """Of the heatmaps, without and with paint."""
    expected_error: tuple[float, float]
    """Without and with paint."""
    initial_shift: float
    """How far the paint moves the landmarks decoded from the heatmaps."""
    refined_shift: float
    """How far it moves those that the graph has refined."""
    believed_covered: tuple[float, float]
    """Number that the model believes covered, without and with paint."""


class Listening(NamedTuple):
    """How much a landmark takes from one landmark."""

    name: str
    seen: float
    """Weight in the photo."""
    painted: float
    """Weight in the painted photo."""


def add_paint(photo: Tensor, layers: Sequence[Image.Image]) -> tuple[Tensor, Tensor]:
    """A photo with layers of paint over it, and where the paint is.

    Args:
        photo: uint8 [3, H, W].
        layers: Pillow images with transparency, as large as the photo, from bottom to top.

    Returns:
        The painted photo, uint8 [3, H, W], and a mask, bool [H, W].

    Raises:
        InputError: for a layer of another size.
    """
    check_shape("photo", photo, "3 H W")
    height, width = photo.shape[1:]
    mask = torch.zeros(height, width, dtype=torch.bool)
    drawn = Image.fromarray(photo.permute(1, 2, 0).numpy()).convert("RGBA")
    for layer in layers:
        if layer.size != (width, height):
            raise InputError(f"Expected layers of {width} x {height} pixels, as the photo has (got {layer.size}).")
        layer = layer.convert("RGBA")
        # The soft border of a brush hides little.
        mask |= torch.from_numpy(np.array(layer.getchannel("A")) >= 128)
        drawn.alpha_composite(layer)
    return torch.from_numpy(np.array(drawn.convert("RGB"))).permute(2, 0, 1).contiguous(), mask


def compare(predictor: LandmarkPredictor, photo: Tensor, painted: Tensor, mask: Tensor, face: Face) -> Comparison:
    """Predict a face of a photo without and with paint.

    Args:
        predictor: has found ``face``. Edge weights are kept if its model has a graph, and is not an exported file.
        photo: uint8 [3, H, W].
        painted: uint8 [3, H, W], see :func:`add_paint`.
        mask: bool [H, W], where the paint is.
        face: in ``photo``; the crop is cut around its landmarks.
    """
    height, width = photo.shape[1:]
    check_shape("painted", painted, "3 H W", H=height, W=width)
    check_shape("mask", mask, "H W", H=height, W=width)
    pos = face.landmarks[None]
    rotation = upright_rotation(pos, torch.zeros(1), predictor.detector.scheme.flip_pairs)
    box = tight_boxes(pos, face.box[None], [photo], rotation)
    # One image for each, in one batch.
    images = [
        PreparedImage(name, image, box, rotation=rotation.item())
        for name, image in (("photo", photo), ("painted photo", painted))
    ]
    edges = has_edges(predictor)
    (seen,), (under,) = predictor.predict(images, return_connectivity=edges, passes=1, search_further=False)
    column, row = seen.landmarks.round().long().unbind(1)
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    covered = mask[row.clamp(0, height - 1), column.clamp(0, width - 1)] & inside
    return Comparison(seen, under, covered)


def has_edges(predictor: LandmarkPredictor) -> bool:
    """Whether a predictor can return edge weights: its model has a graph, and is not an exported file."""
    return predictor.detector.refiner is not None and not isinstance(predictor.detector, OnnxDetector)


def effect_of_paint(comparison: Comparison, which: Tensor) -> Effect:
    """The effect of the paint on the landmarks ``which``, bool [K]."""
    seen, painted = comparison.seen, comparison.painted
    both = (seen, painted)
    check_shape("which", which, "K", K=len(seen.landmarks))

    def mean(values: Tensor | None) -> float:
        return float("nan") if values is None else float(values[which].mean())

    def count(face: Face) -> float:
        return float("nan") if face.covered is None else float(face.covered[which].sum())

    confidence = mean(seen.confidence), mean(painted.confidence)
    error = mean(seen.expected_error), mean(painted.expected_error)
    return Effect(
        int(which.sum()),
        confidence,
        error,
        mean((painted.initial - seen.initial).norm(dim=1)),
        mean((painted.landmarks - seen.landmarks).norm(dim=1)),
        (count(both[0]), count(both[1])),
    )


def listens_to(comparison: Comparison, scheme: LandmarkScheme, landmark: str, *, strongest: int = 8) -> list[Listening]:
    """What a landmark takes its position from: its own first, then the strongest edges into it with paint.

    Args:
        comparison: of faces with edge weights.
        scheme: of its landmarks.
        landmark: name of the landmark.
        strongest: number of edges; all if that is fewer.

    Raises:
        InputError: for a name that is not in the scheme, or faces without edge weights.
    """
    check_choice("landmark", landmark, scheme.names)
    rows = [face.connectivity for face in (comparison.seen, comparison.painted)]
    if rows[0] is None or rows[1] is None:
        raise InputError(
            "Expected a comparison with edge weights (got one without). Use a model with a graph that is not an "
            "exported file."
        )
    number = scheme.names.index(landmark)
    seen, painted = rows[0][number], rows[1][number]
    others = painted.clone()
    others[number] = -1
    order = [number, *others.argsort(descending=True)[: min(strongest, len(others) - 1)].tolist()]
    return [Listening(scheme.names[j], float(seen[j]), float(painted[j])) for j in order]

"""Named tuples of tensors that the parts of a detector exchange.

Axis letters everywhere: B images, K landmarks, N = B*K nodes, E edges, C channels,
H x W an image, h x w a heatmap. Points are (x, y), sizes are (H, W), pixel centres lie
at integers. What users hold prints the shapes of its tensors, as PyG's ``Data`` does.
"""

from typing import Any, NamedTuple

from torch import Tensor

Size = tuple[int, int]
"""(H, W) of an image, a network input or a heatmap."""


def summary(record: Any, fields: dict[str, Any]) -> str:
    """One line for :func:`repr`: the shapes of tensors, and no field that is None."""
    known = ", ".join(f"{name}={_shape(value)}" for name, value in fields.items() if value is not None)
    return f"{type(record).__name__}({known})"


def _shape(value: Any) -> str:
    if isinstance(value, Tensor):
        return str(list(value.shape))
    if isinstance(value, tuple):
        return f"({', '.join(map(_shape, value))})"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


class HeatmapOutput(NamedTuple):
    """Output of a backbone."""

    heatmaps: Tensor
    """[B, K, h, w], logits or values, according to the codec's ``activation``."""
    features: Tensor
    """[B, C, h, w], sampled at the landmarks for the visual features of eq. 2."""


class SupervisedHeatmapOutput(NamedTuple):
    """Output of a backbone in training whose intermediate heatmaps have a loss too, such as stacked hourglasses."""

    heatmaps: Tensor
    """[B, K, h, w], as in :class:`HeatmapOutput`."""
    features: Tensor
    """[B, C, h, w]."""
    intermediate: tuple[Tensor, ...]
    """Heatmaps [B, K, h, w] of earlier stages."""


class DecodedLandmarks(NamedTuple):
    """Landmarks that a codec has read from heatmaps."""

    pos: Tensor
    """[B, K, 2], pixels of the network input."""
    confidence: Tensor
    """[B, K], in [0, 1]."""


class KeyPoints(NamedTuple):
    """Landmarks of B images or persons, as any network found them or a refiner improved them.

    Positions are in pixels of the network's input. Only ``pos`` is always there.
    """

    pos: Tensor
    """[B, K, 2]."""
    confidence: Tensor | None = None
    """[B, K], normally in [0, 1]."""
    covariance: Tensor | None = None
    """[B, K, 2, 2], of the errors of ``pos``, square pixels."""
    heatmaps: Tensor | None = None
    """[B, K, h, w], as the network returned them."""
    features: Tensor | None = None
    """[B, C, h, w], a feature map, or [B, K, C], features at the landmarks."""
    mask: Tensor | None = None
    """[B, K], False where a landmark is missing."""
    connectivity: Tensor | None = None
    """[B, K, K], the edge weights of the refiner, if requested."""
    expected_error: Tensor | None = None
    """[B, K], expected distance of ``pos`` from the truth, pixels."""
    covered: Tensor | None = None
    """bool [B, K], landmarks that the refiner believes covered, or that are missing."""
    score: Tensor | None = None
    """[B], in [0, 1], the probability that the landmarks of an image fit."""

    def __repr__(self) -> str:
        return summary(self, self._asdict())


class DetectorOutput(NamedTuple):
    """Output of :class:`lgcn.models.LandmarkDetector`; positions are in pixels of the network input."""

    pos: Tensor
    """[B, K, 2], refined by the graph (equal to ``initial`` without a refiner)."""
    initial: Tensor
    """[B, K, 2], decoded from the heatmaps."""
    confidence: Tensor
    """[B, K], in [0, 1], decoded from the heatmaps."""
    heatmaps: Tensor
    """[B, K, h, w], as the backbone returned them."""
    connectivity: Tensor | None = None
    """[B, K, K], row i holds e_ij, the weights of node i's neighbours; only if requested."""
    covariance: Tensor | None = None
    """[B, K, 2, 2], of the errors of ``pos``, square pixels; None if the refiner does not know it."""
    expected_error: Tensor | None = None
    """[B, K], expected distance of ``pos`` from the truth, pixels; None if the refiner does not know it."""
    covered: Tensor | None = None
    """bool [B, K], landmarks that the model believes covered; None if it is not calibrated."""
    score: Tensor | None = None
    """[B], in [0, 1], the probability that the landmarks of a face fit; None if the model is not calibrated."""
    intermediate: tuple[Tensor, ...] | None = None
    """Heatmaps [B, K, h, w] of earlier stages of the backbone, in training, if it supervises them."""

    def __repr__(self) -> str:
        return summary(self, self._asdict())

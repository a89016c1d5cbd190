"""The prediction for one face of an image."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor


class NoFaceWarning(UserWarning):
    """No face was detected in an image for which no boxes were given."""


@dataclass(frozen=True, eq=False)
class Face:
    """Landmarks of one face, in pixels of the upright image (EXIF orientation applied); on the CPU.

    Pixel centres lie at integers, the first at 0. Landmarks can lie outside the image.
    """

    box: Tensor
    """[4], (x0, y0, x1, y1): the box of the face, as given or as detected."""
    landmarks: Tensor
    """[K, 2], refined by the graph."""
    initial: Tensor
    """[K, 2], decoded from the heatmaps."""
    confidence: Tensor
    """[K], in [0, 1], decoded from the heatmaps."""
    connectivity: Tensor | None = None
    """[K, K], row i holds the weights e_ij of landmark i's neighbours; None unless requested."""

    def to_dict(self) -> dict[str, Any]:
        """Plain lists for JSON: coordinates to 0.001 pixels, confidences to four digits, no connectivity."""
        return {
            "box": _rounded(self.box, 3),
            "landmarks": _rounded(self.landmarks, 3),
            "initial": _rounded(self.initial, 3),
            "confidence": _rounded(self.confidence, 4),
        }


def _rounded(values: Tensor, digits: int) -> list[Any]:
    # Rounded in float64: the nearest float32 would be printed with all its digits.
    rounded: list[Any] = values.cpu().double().round(decimals=digits).tolist()
    return rounded

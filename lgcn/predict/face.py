"""The prediction for one face of an image."""

from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

from lgcn.typing import summary


class NoFaceWarning(UserWarning):
    """No face, or none that is likely to fit, was detected in an image for which no boxes were given."""


@dataclass(frozen=True, eq=False, repr=False)
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
    covariance: Tensor | None = None
    """[K, 2, 2], of the errors of ``landmarks``, square pixels; None if the model does not know it (no Gaussian
    refiner)."""
    expected_error: Tensor | None = None
    """[K], pixels: how far ``landmarks`` are from the truth on average, for landmarks that the model is as sure of."""
    eye_distance: float | None = None
    """Pixels between the eyes, as the normaliser of the model's protocol measures it; None if that is no distance
    between landmarks."""
    covered: Tensor | None = None
    """bool [K], the landmarks that the model believes covered; None if it is not calibrated to tell."""
    fit_probability: float | None = None
    """In [0, 1], that the landmarks fit a face, with an NME of 8 % or less, where as many faces fit as do not; None if
    the model is not calibrated to tell."""

    @property
    def mean_confidence(self) -> float:
        """In [0, 1], of the landmarks: what ``min_confidence`` compares."""
        return float(self.confidence.mean())

    @property
    def score(self) -> float:
        """In [0, 1], higher for better faces: ``fit_probability`` where it is known, else the mean confidence."""
        return self.mean_confidence if self.fit_probability is None else self.fit_probability

    @property
    def expected_error_percent(self) -> Tensor | None:
        """[K], the expected error in per cent of the distance between the eyes; None if either is unknown."""
        error = self.expected_error
        return None if error is None or self.eye_distance is None else 100 * error / max(self.eye_distance, 1e-6)

    def __repr__(self) -> str:
        known = {each.name: getattr(self, each.name) for each in fields(self)}
        return summary(self, known | {"box": _rounded(self.box, 1)})

    def to_dict(self) -> dict[str, Any]:
        """Plain lists for JSON: pixels to 0.001, confidences and per cents to four digits, no connectivity.

        Covariances are ``[xx, xy, yy]``. What is not known is None.
        """
        covariance = None if self.covariance is None else self.covariance[:, [0, 0, 1], [0, 1, 1]]
        return {
            "box": _rounded(self.box, 3),
            "score": round(self.score, 4),
            "landmarks": _rounded(self.landmarks, 3),
            "initial": _rounded(self.initial, 3),
            "confidence": _rounded(self.confidence, 4),
            "expected_error": _rounded(self.expected_error, 3),
            "expected_error_percent": _rounded(self.expected_error_percent, 4),
            "covariance": _rounded(covariance, 4),
            "covered": None if self.covered is None else self.covered.tolist(),
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Face":
        """The face that :meth:`to_dict` gave ``values`` of."""
        covariance, error, covered = values["covariance"], values["expected_error"], values["covered"]
        distance = None
        if values["expected_error_percent"] is not None:
            errors = zip(values["expected_error"], values["expected_error_percent"], strict=True)
            distance = max((100 * pixels / percent for pixels, percent in errors if percent), default=None)
        return cls(
            torch.tensor(values["box"]),
            torch.tensor(values["landmarks"]),
            torch.tensor(values["initial"]),
            torch.tensor(values["confidence"]),
            None,
            None if covariance is None else torch.tensor(covariance)[:, [0, 1, 1, 2]].unflatten(1, (2, 2)),
            None if error is None else torch.tensor(error),
            distance,
            None if covered is None else torch.tensor(covered),
            None if covered is None else values["score"],
        )


def _rounded(values: Tensor | None, digits: int) -> Any:
    # Rounded in float64: the nearest float32 would be printed with all its digits.
    return None if values is None else values.cpu().double().round(decimals=digits).tolist()

"""Options and output of :class:`lgcn.models.ShapeRefiner`."""

from collections.abc import Mapping
from dataclasses import field
from typing import Annotated, Any, NamedTuple

from pydantic.dataclasses import dataclass
from torch import Tensor

from lgcn.checks import InputError
from lgcn.models.refiner_config import GaussianConfig
from lgcn.options import STRICT_KEYS, Bounds, input_errors, update
from lgcn.schemes import SCHEMES

KIND = "shape_refiner"
"""Value of ``model`` in the ``config.json`` of a saved refiner."""
OUTLIER_SHARE = 0.002
"""Share of the landmarks in the fit that may contradict the others as much as an outlier does."""


@input_errors
@dataclass(frozen=True, config=STRICT_KEYS)
class ShapeRefinerConfig:
    """Options of a :class:`ShapeRefiner`.

    Args:
        num_landmarks: K.
        scheme: Name of the landmark scheme, or null; only a reminder of what the landmarks are.
        gaussian: Options of the shape prior and of the noise.
    """

    num_landmarks: Annotated[int, Bounds(3, 100_000)]
    scheme: str | None = None
    gaussian: GaussianConfig = field(
        default_factory=lambda: GaussianConfig(
            noise="full", use_confidence=False, noise_inputs=("confidence",), offset=False, hidden_channels=()
        )
    )

    def __post_init__(self) -> None:
        if self.scheme in SCHEMES.names() and SCHEMES[self.scheme].num_landmarks != self.num_landmarks:
            raise InputError(
                f"Expected 'num_landmarks' to be {SCHEMES[self.scheme].num_landmarks}, as in the scheme "
                f"'{self.scheme}' (got {self.num_landmarks})."
            )


class Refinement(NamedTuple):
    """Refined landmarks and what is known of each; pixels of the image that the points were given in."""

    pos: Tensor
    """[N, K, 2], refined; missing landmarks are predicted from the others. NaN where fewer than two were given."""
    covariance: Tensor
    """[N, K, 2, 2], of the errors of ``pos``, square pixels."""
    expected_error: Tensor
    """[N, K], expected distance of ``pos`` from the truth."""
    deviation: Tensor
    """[N, K], distance of the given landmark from where the others predict it, in units of the expected deviation; 0
    where it was missing."""
    outlier_p: Tensor
    """[N, K], share of the landmarks that the refiner was fitted to with a ``deviation`` as large: small for outliers.
    """
    observed: Tensor
    """[N, K], False where a landmark was missing and has been filled in."""
    covered: Tensor | None = None
    """bool [N, K], whether a landmark is probably covered, given with less confidence than all but 5 % of those in the
    fit, or missing; None if the refiner uses no confidences, or was fitted to less than 100 images."""

    def outliers(self, p: float = OUTLIER_SHARE) -> Tensor:
        """[N, K], whether a landmark contradicts the others more than all but a share ``p`` of those in the fit."""
        return self.outlier_p <= p


def read_shape_config(saved: Any) -> ShapeRefinerConfig:
    """Read the ``config.json`` of a saved refiner; raises :class:`InputError` for what does not fit."""
    if not isinstance(saved, Mapping) or saved.get("model") != KIND:
        raise InputError(f"Expected the configuration of a ShapeRefiner, with 'model': '{KIND}'.")
    options = {key: value for key, value in saved.items() if key != "model"}
    return update(ShapeRefinerConfig(options.get("num_landmarks", 0)), options)

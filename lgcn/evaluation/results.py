"""What comes out of an evaluation: the figures of a set of landmarks, and all that they were measured on."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

from torch import Tensor

from lgcn.metrics import auc_ced, error_percentiles, failure_rate
from lgcn.protocols import EvaluationProtocol

PERCENTS = (90, 95, 99)
"""Of the faces, whose largest error is reported."""


@dataclass(frozen=True, eq=False)
class EvaluationRow:
    """One set of landmarks of a detector, judged."""

    nme: float
    """Per cent of the normalising distance, mean over faces."""
    fr: dict[float, float]
    """Threshold (fraction) -> per cent of the faces whose NME is above it."""
    auc: dict[float, float]
    """Threshold (fraction) -> area under the cumulative error distribution up to it, in [0, 1]."""
    errors: Tensor
    """[N], NME of each face as a fraction, in the order of the dataset; NaN for a face without landmarks."""
    percentiles: dict[int, float] = field(default_factory=dict)
    """90, 95, 99 -> per cent of the normalising distance that this part of the faces stays below."""
    landmark_errors: Tensor | None = None
    """[N, K], error of each landmark as a fraction; NaN where it is not annotated."""
    landmarks: Tensor | None = None
    """[N, K, 2], pixels of the image."""

    @classmethod
    def from_errors(
        cls,
        errors: Tensor,
        thresholds: Sequence[float],
        landmark_errors: Tensor | None = None,
        landmarks: Tensor | None = None,
    ) -> "EvaluationRow":
        """Figures of per-face errors [N]; what is given beside them is kept."""
        percentiles = 100 * error_percentiles(errors, PERCENTS)
        return cls(
            nme=100 * errors.nanmean().item(),
            fr={threshold: 100 * failure_rate(errors, threshold).item() for threshold in thresholds},
            auc={threshold: auc_ced(errors, threshold).item() for threshold in thresholds},
            errors=errors,
            percentiles=dict(zip(PERCENTS, percentiles.tolist(), strict=True)),
            landmark_errors=landmark_errors,
            landmarks=landmarks,
        )

    @property
    def per_landmark(self) -> Tensor:
        """[K], NME of each landmark in per cent; NaN where no face has it."""
        assert self.landmark_errors is not None
        return 100 * self.landmark_errors.nanmean(dim=0)

    def select(self, faces: Tensor) -> "EvaluationRow":
        """The row of the faces that a mask [N] names."""
        parts = (None if part is None else part[faces] for part in (self.landmark_errors, self.landmarks))
        return self.from_errors(self.errors[faces], tuple(self.fr), *parts)


@dataclass(frozen=True, eq=False)
class EvaluationResult:
    """What was evaluated on what, how, and what came out."""

    model: str
    dataset: str
    split: str
    protocol: EvaluationProtocol
    normalizer: str
    num_faces: int
    """Faces that were judged."""
    expected_faces: int | None
    """Published number of faces of the split, None where none is published."""
    warning: str | None
    """What is missing of the split; figures on a part cannot be compared with published ones."""
    thresholds: tuple[float, ...]
    rows: dict[str, EvaluationRow]
    """"initial" (decoded from the heatmaps) and, where the detector has a refiner, "refined" (by the graph)."""
    masks: dict[str, Tensor] = field(default_factory=dict)
    """Subset -> bool [N], in the order of the publication's columns."""
    expected_subset_faces: dict[str, int] = field(default_factory=dict)
    """Subset -> its published number of faces."""
    image_ids: tuple[str, ...] = ()
    """N paths of the pictures, relative to the dataset's root."""
    landmark_names: tuple[str, ...] = ()
    """Of the K landmarks."""
    missed_faces: int | None = None
    """Faces that no detected box overlaps, cropped by their landmarks; None where boxes are not a detector's."""
    unreadable: dict[str, str] = field(default_factory=dict)
    """Picture that was left out, as in ``image_ids`` -> why it cannot be read."""

    @cached_property
    def subsets(self) -> dict[str, dict[str, EvaluationRow]]:
        """Subset -> rows, as in ``rows``."""
        return {name: {kind: row.select(mask) for kind, row in self.rows.items()} for name, mask in self.masks.items()}

    def num_judged(self, subset: str | None = None) -> int:
        """Faces of a subset (None: of all) that were judged."""
        judged = ~self.rows["initial"].errors.isnan()
        return int((judged if subset is None else judged & self.masks[subset]).sum())

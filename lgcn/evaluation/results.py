"""Results of an evaluation: the metrics of each set of landmarks, and their conditions."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from lgcn.covariance import region_limit
from lgcn.metrics import auc_ced, error_percentiles, failure_rate
from lgcn.protocols import EvaluationProtocol

PERCENTS = (90, 95, 99)
"""Percentiles of the NME that are reported."""

REGION_PERCENT = 90
"""Nominal probability, in per cent, of the regions whose coverage is reported."""


@dataclass(frozen=True, eq=False)
class EvaluationRow:
    """Metrics of one set of landmarks, initial or refined."""

    nme_percent: float
    """Mean over faces, per cent of the normalising distance."""
    fr_percent: dict[float, float]
    """Threshold (fraction) to per cent of the faces whose NME is above it."""
    auc: dict[float, float]
    """Threshold (fraction) to the area under the cumulative error distribution up to it, in [0, 1]."""
    errors: Tensor
    """[N], NME of each face as a fraction, in the order of the dataset; NaN for a face that was not measured."""
    nme_percent_percentiles: dict[int, float] = field(default_factory=dict)
    """90, 95, 99 to the NME in per cent that this percentage of the faces does not exceed."""
    landmark_errors: Tensor | None = None
    """[N, K], error of each landmark as a fraction; NaN where it is not annotated."""
    landmarks: Tensor | None = None
    """[N, K, 2], pixels of the image."""
    covered: Tensor | None = None
    """bool [N, K], landmarks that the condition covers; None if it covers none."""
    expected_errors: Tensor | None = None
    """[N, K], errors that the predicted covariances expect, fractions; None if the detector predicts none."""
    mahalanobis: Tensor | None = None
    """[N, K], squared Mahalanobis distances of the errors under the predicted covariances."""
    called_covered: Tensor | None = None
    """bool [N, K], landmarks that the detector believes covered; None if it does not tell."""

    @classmethod
    def from_errors(
        cls,
        errors: Tensor,
        thresholds: Sequence[float],
        landmark_errors: Tensor | None = None,
        landmarks: Tensor | None = None,
        **others: Tensor | None,
    ) -> "EvaluationRow":
        """Metrics of per-face errors [N]; the other tensors are stored unchanged."""
        percentiles = 100 * error_percentiles(errors, PERCENTS)
        return cls(
            nme_percent=100 * errors.nanmean().item(),
            fr_percent={threshold: 100 * failure_rate(errors, threshold).item() for threshold in thresholds},
            auc={threshold: auc_ced(errors, threshold).item() for threshold in thresholds},
            errors=errors,
            nme_percent_percentiles=dict(zip(PERCENTS, percentiles.tolist(), strict=True)),
            landmark_errors=landmark_errors,
            landmarks=landmarks,
            **others,
        )

    @property
    def nme_percent_per_landmark(self) -> Tensor:
        """[K], NME of each landmark in per cent; NaN where no face has it."""
        assert self.landmark_errors is not None
        return 100 * self.landmark_errors.nanmean(dim=0)

    @property
    def covered_nme_percent(self) -> float | None:
        """Mean error of covered landmarks, each counted once; NaN without any, None if the condition covers none."""
        return self._nme_percent_where(True)

    @property
    def visible_nme_percent(self) -> float | None:
        """Mean error of the other landmarks, like :attr:`covered_nme_percent`."""
        return self._nme_percent_where(False)

    @property
    def coverage_percent(self) -> float | None:
        """Share of the landmarks that lie in their 90 % regions; None without covariances."""
        if self.mahalanobis is None:
            return None
        inside = (self.mahalanobis <= region_limit(REGION_PERCENT / 100)).double()
        return 100 * inside.masked_fill(self.mahalanobis.isnan(), torch.nan).nanmean().item()

    @property
    def expected_nme_percent(self) -> float | None:
        """Mean of the errors that the covariances expect, to be compared with ``nme_percent``; None without them."""
        return None if self.expected_errors is None else 100 * self.expected_errors.nanmean(dim=1).nanmean().item()

    @property
    def covered_recall_percent(self) -> float | None:
        """Share of the covered landmarks that the detector calls covered; None as the others, NaN without any."""
        return None if self.covered is None else self._called_covered_percent(self.covered)

    @property
    def covered_precision_percent(self) -> float | None:
        """Share of the landmarks called covered that the condition covers; hair and hands count as wrong."""
        if self.covered is None or self.called_covered is None or self.landmark_errors is None:
            return None
        called = self.called_covered & ~self.landmark_errors.isnan()
        return 100 * self.covered[called].double().mean().item()

    @property
    def covered_false_percent(self) -> float | None:
        """Share of the landmarks that the condition leaves visible, but the detector calls covered."""
        return self._called_covered_percent(None if self.covered is None else ~self.covered)

    def _called_covered_percent(self, among: Tensor | None) -> float | None:
        if self.called_covered is None or self.landmark_errors is None:
            return None
        chosen = ~self.landmark_errors.isnan()
        return 100 * self.called_covered[chosen if among is None else chosen & among].double().mean().item()

    def _nme_percent_where(self, covered: bool) -> float | None:
        if self.covered is None or self.landmark_errors is None:
            return None
        return 100 * self.landmark_errors[self.covered == covered].nanmean().item()

    def select(self, faces: Tensor) -> "EvaluationRow":
        """The row of the faces in a mask [N]."""
        names = ("landmark_errors", "landmarks", "covered", "expected_errors", "mahalanobis", "called_covered")
        parts = {name: getattr(self, name) for name in names}
        chosen = {name: None if part is None else part[faces] for name, part in parts.items()}
        return self.from_errors(self.errors[faces], tuple(self.fr_percent), **chosen)


@dataclass(frozen=True, eq=False)
class EvaluationResult:
    """Metrics of a model on a split under one condition, with all settings needed to compare them."""

    model: str
    dataset: str
    split: str
    protocol: EvaluationProtocol
    normalizer: str
    num_faces: int
    """Faces that were measured."""
    expected_faces: int | None
    """Published number of faces of the split, None if none is published."""
    warning: str | None
    """Missing parts of the split, None if it is complete; results on a part are not comparable with published ones."""
    thresholds: tuple[float, ...]
    rows: dict[str, EvaluationRow]
    """"initial" (decoded from the heatmaps) and, if the detector has a refiner, "refined" (by the graph)."""
    masks: dict[str, Tensor] = field(default_factory=dict)
    """Subset to a bool mask [N], in the order of the columns of publications."""
    expected_subset_faces: dict[str, int] = field(default_factory=dict)
    """Subset to its published number of faces."""
    image_ids: tuple[str, ...] = ()
    """N paths of images, relative to the root of the dataset."""
    landmark_names: tuple[str, ...] = ()
    """Names of the K landmarks."""
    missed_faces: int | None = None
    """Faces without a detected box, cropped by their landmarks; None if boxes are not those of a face detector."""
    unreadable: dict[str, str] = field(default_factory=dict)
    """Image that was left out, as in ``image_ids``, to the reason why it cannot be read."""
    sigmas: tuple[float, ...] | None = None
    """Those of the scheme, for OKS; None where neither PCK nor OKS is reported, since errors are not by the box."""
    condition: str = "clean"
    """Degradation of the faces, see :data:`lgcn.evaluation.CONDITIONS`."""
    seed: int = 0
    """Seed of the degradation."""
    properties: dict[str, Tensor] = field(default_factory=dict)
    """Property of the faces to values [N], by which errors are broken down, see :func:`lgcn.evaluation.break_down`."""

    @cached_property
    def subsets(self) -> dict[str, dict[str, EvaluationRow]]:
        """Subset to rows, as in ``rows``."""
        return {name: {kind: row.select(mask) for kind, row in self.rows.items()} for name, mask in self.masks.items()}

    def num_measured(self, subset: str | None = None) -> int:
        """Faces of a subset that were measured; of all faces if None."""
        measured = ~self.rows["initial"].errors.isnan()
        return int((measured if subset is None else measured & self.masks[subset]).sum())

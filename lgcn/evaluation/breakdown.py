"""Breakdown of errors by kinds of faces: groups of faces with similar properties, with standard errors."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lgcn.covariance import region_limit
from lgcn.evaluation.comparison_table import ComparisonTable
from lgcn.evaluation.results import REGION_PERCENT, EvaluationResult, EvaluationRow
from lgcn.evaluation.text_tables import threshold_title
from lgcn.files import printable

PROPERTY_TITLES = {
    "eye_distance_px": "eye distance, px",
    "box_size_px": "size of the box, px",
    "nose_offset": "yaw (nose offset)",
    "roll_degrees": "roll, degrees",
    "mouth_opening": "mouth opening",
}
"""Property to its title in tables; others keep their names."""

NUM_GROUPS = 3
"""Groups of a property with real values."""

MARKED_FROM = 3.0
"""Standard errors: larger differences are marked. Of eighteen groups without any effect, one is in 5 % of tables."""


@dataclass(frozen=True, eq=False)
class FaceGroup:
    """Metrics of the faces of one group, and of how far they differ from the other faces."""

    low: float
    """Smallest value of the property in the group."""
    high: float
    """Largest value."""
    num_faces: int
    row: EvaluationRow
    """Metrics of the last set of landmarks, the refined ones if there are any."""
    others: EvaluationRow
    """Metrics of the faces that the property sorts into other groups."""

    @property
    def nme_standard_error(self) -> float:
        """Of ``row.nme_percent`` as an estimate for all faces of that kind; NaN for a single face."""
        return 100 * _standard_error(self.row.errors)

    @property
    def difference(self) -> float:
        """NME in per cent minus that of the other faces; NaN without any."""
        return self.row.nme_percent - self.others.nme_percent

    @property
    def difference_standard_error(self) -> float:
        return 100 * math.hypot(_standard_error(self.row.errors), _standard_error(self.others.errors))

    @property
    def is_different(self) -> bool:
        """Whether the difference is more than three standard errors."""
        return abs(self.difference) > MARKED_FROM * self.difference_standard_error

    @property
    def coverage_standard_error(self) -> float | None:
        """Of ``row.coverage_percent``, in per cent, over faces: the landmarks of a face err together."""
        if self.row.mahalanobis is None:
            return None
        inside = (self.row.mahalanobis <= region_limit(REGION_PERCENT / 100)).double()
        return 100 * _standard_error(inside.masked_fill(self.row.mahalanobis.isnan(), torch.nan).nanmean(dim=1))

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        row = self.row
        values: dict[str, Any] = {
            "from": self.low,
            "to": self.high,
            "num_faces": self.num_faces,
            "nme_percent": row.nme_percent,
            "nme_percent_standard_error": self.nme_standard_error,
            "nme_percent_minus_others": self.difference,
            "nme_percent_minus_others_standard_error": self.difference_standard_error,
        }
        values |= {f"fr_percent@{threshold_title(each)}": fr for each, fr in row.fr_percent.items()}
        if row.mahalanobis is not None:
            values["expected_nme_percent"] = row.expected_nme_percent
            values[f"coverage_percent@{REGION_PERCENT}"] = row.coverage_percent
            values[f"coverage_percent@{REGION_PERCENT}_standard_error"] = self.coverage_standard_error
        return {name: None if isinstance(each, float) and math.isnan(each) else each for name, each in values.items()}


def break_down(result: EvaluationResult) -> dict[str, list[FaceGroup]]:
    """The groups of each property in ``result.properties``, of small values first.

    Real values are split into thirds at their quantiles; booleans and integers, such as labels of your own, have a
    group for each value. Faces without a value or an NME are left out, and so are properties with a single group.
    """
    row = list(result.rows.values())[-1]
    found = {}
    for name, values in result.properties.items():
        values = values.double() if values.is_floating_point() else values
        group = _groups(values, ~row.errors.isnan())
        numbers = [number for number in group.unique().tolist() if number >= 0]
        if len(numbers) > 1:
            found[name] = [_face_group(row, values, group, number) for number in numbers]
    return found


def breakdown_tables(results: Sequence[EvaluationResult]) -> list[ComparisonTable]:
    """A table for each result with properties, with a row for each group of faces."""
    return [
        _table(result, several=len(results) > 1)
        for result in results
        if result.properties and any(not row.errors.isnan().all() for row in result.rows.values())
    ]


def _table(result: EvaluationResult, several: bool) -> ComparisonTable:
    words = [result.model, result.split, result.condition] if several else []
    groups = [(PROPERTY_TITLES.get(name, name), group) for name, each in break_down(result).items() for group in each]
    thresholds = [threshold_title(threshold) for threshold in result.thresholds]
    columns = ["faces", "NME", "vs. others", *(f"FR@{each} % (faces)" for each in thresholds)]
    has_regions = list(result.rows.values())[-1].mahalanobis is not None
    columns += ["expected", f"in {REGION_PERCENT} % regions"] if has_regions else []
    rows = []
    for title, group in groups:
        row = group.row
        cells = [
            str(group.num_faces),
            f"{row.nme_percent:.2f} ± {group.nme_standard_error:.2f}",
            f"{group.difference:+.2f} ± {group.difference_standard_error:.2f}{' *' if group.is_different else '  '}",
            *(f"{fr:.2f} ({round(group.num_faces * fr / 100)})" for fr in row.fr_percent.values()),
        ]
        if has_regions:
            cells += [f"{row.expected_nme_percent:.2f}"]
            cells += [f"{row.coverage_percent:.1f} ± {group.coverage_standard_error:.1f}"]
        ends = _number(group.low) if group.low == group.high else f"{_number(group.low)} to {_number(group.high)}"
        rows.append((printable(f"{title}: {ends}"), "", cells))
    title = ", ".join(["NME % by kinds of faces", *words])
    return ComparisonTable(printable(title), tuple(columns), rows, rows_are="kind")


def _groups(values: Tensor, measured: Tensor) -> Tensor:
    """The number of the group of each face [N], -1 for faces without one."""
    usable = measured & ~values.isnan()
    group = torch.full(values.shape, -1)
    if values.is_floating_point() and usable.any():
        limits = values[usable].quantile(torch.arange(1, NUM_GROUPS, dtype=torch.float64) / NUM_GROUPS)
        group[usable] = torch.bucketize(values[usable], limits)
    else:
        group[usable] = values[usable].unique(return_inverse=True)[1]
    return group


def _face_group(row: EvaluationRow, values: Tensor, group: Tensor, number: int) -> FaceGroup:
    own = group == number
    ends = values[own].double().aminmax()
    return FaceGroup(ends.min.item(), ends.max.item(), int(own.sum()), row.select(own), row.select((group >= 0) & ~own))


def _standard_error(values: Tensor) -> float:
    """Of the mean over faces [N], from the deviation between them."""
    values = values[~values.isnan()]
    return math.nan if len(values) < 2 else (values.std() / math.sqrt(len(values))).item()


def _number(value: float) -> str:
    return f"{value:.2f}" if abs(value) < 10 and value != round(value) else f"{value:.0f}"

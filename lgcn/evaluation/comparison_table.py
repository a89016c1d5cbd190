"""Tables in the layout of publications: a column for each subset, a row for each set of landmarks."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from lgcn.evaluation.literature import PublishedResult
from lgcn.evaluation.results import EvaluationResult
from lgcn.evaluation.text_tables import PUBLISHED_MARK, ROW_TITLES, align, markdown_table, threshold_title
from lgcn.files import printable

COLUMN_TITLES = {
    "test": "Test",
    "pose": "Pose",
    "expression": "Expr.",
    "illumination": "Illum.",
    "make-up": "Make-up",
    "occlusion": "Occlu.",
    "blur": "Blur",
    "common": "Common",
    "challenging": "Challenge",
    "full": "Full",
    "private": "Private",
    "indoor": "Indoor",
    "outdoor": "Outdoor",
    "frontal": "Frontal",
}
"""Subset or split to the title of its column in publications; others keep their names."""

_PUBLISHED_THRESHOLD = 0.10
_DIGITS = {"nme_percent": 3, "fr_percent": 2, "auc": 4}


@dataclass(frozen=True)
class ComparisonTable:
    """One metric for all rows and columns."""

    title: str
    """The metric, its unit, and its normaliser or threshold."""
    columns: tuple[str, ...]
    """Titles of the subsets."""
    rows: list[tuple[str, str, list[str]]]
    """Name, protocol ("" if all rows have the same and it is named elsewhere), and a cell for each column; "-" where
    there is no value."""
    rows_are: str = "landmarks"
    """What the names of the rows are, for the header of Markdown."""

    def as_text(self) -> str:
        """Aligned columns."""
        cells, left = self._cells(self.title)
        return "\n".join(align(cells, left=left))

    def as_markdown(self) -> str:
        """A Markdown table with the title above it."""
        (header, *rows), left = self._cells(self.rows_are)
        return f"**{self.title}**\n\n{markdown_table(header, rows, left=left)}"

    def _cells(self, first: str) -> tuple[list[list[str]], int]:
        """All rows, the header first, and how many columns are names."""
        if any(protocol for _, protocol, _ in self.rows):
            rows = [[name, protocol, *row] for name, protocol, row in self.rows]
            return [[first, "protocol", *self.columns], *rows], 2
        return [[first, *self.columns], *([name, *row] for name, _, row in self.rows)], 1


def comparison_tables(
    results: Sequence[EvaluationResult], published: Sequence[PublishedResult] = ()
) -> list[ComparisonTable]:
    """NME, then FR and AUC at each threshold, of several models on several splits of a dataset.

    The columns are those of publications: a split comes before its subsets, except 300-W's "full", which comes after
    them. Published FR and AUC are shown at 0.10, the threshold that they were reported for.

    Args:
        results: results on one dataset. A cell is "-" where the protocol of a result has another threshold.
        published: results of other systems, which are marked.
    """
    columns = _columns_of(results)
    titles = tuple(printable(COLUMN_TITLES.get(name, name)) for name in columns)
    by_model: dict[tuple[str, str], list[EvaluationResult]] = {}
    for result in results:
        by_model.setdefault((result.model, result.condition), []).append(result)
    several = [len({key[part] for key in by_model}) > 1 for part in (0, 1)]
    normalizers = sorted({result.normalizer for result in results})

    counts = [_face_count(results, split, subset) for split, subset in columns.values()]
    faces = ("faces", "", counts)
    tables = [ComparisonTable(f"NME % ({', '.join(normalizers)})", titles, [faces])]
    metrics = [("nme_percent", 0.0)]
    for threshold in dict.fromkeys(threshold for result in results for threshold in result.thresholds):
        name = threshold_title(threshold)
        tables += [ComparisonTable(f"FR@{name} %", titles, []), ComparisonTable(f"AUC@{name}", titles, [])]
        metrics += [("fr_percent", threshold), ("auc", threshold)]

    for table, (metric, threshold) in zip(tables, metrics, strict=True):
        for key, of_model in by_model.items():
            words = ", ".join(word for word, differs in zip(key, several, strict=True) if differs)
            for kind in of_model[0].rows:
                label = ROW_TITLES.get(kind, kind)
                name = printable(f"{words}: {label}") if words else label
                cells = [_cell(of_model, split, subset, kind, metric, threshold) for split, subset in columns.values()]
                protocol = of_model[0].protocol.name
                protocol += "" if len(normalizers) == 1 else f", {of_model[0].normalizer}"
                table.rows.append((name, protocol, cells))
        if metric != "nme_percent" and threshold != _PUBLISHED_THRESHOLD:
            continue
        for each in published:
            values: dict[str, float] = getattr(each, metric)
            if not values.keys().isdisjoint(columns):
                protocol = each.protocol or "?"
                protocol += "" if normalizers == [each.normalizer] else f", {each.normalizer}"
                cells = [_as_published(values.get(name), metric) for name in columns]
                table.rows.append((f"{each.system} {PUBLISHED_MARK}", protocol, cells))
    return tables


def _columns_of(results: Sequence[EvaluationResult]) -> dict[str, tuple[str, str | None]]:
    """Name of a column to its split and subset."""
    columns: dict[str, tuple[str, str | None]] = {}
    for result in results:
        whole: dict[str, tuple[str, str | None]] = {result.split: (result.split, None)}
        parts: dict[str, tuple[str, str | None]] = {name: (result.split, name) for name in result.masks}
        ordered = {**parts, **whole} if result.split == "full" else {**whole, **parts}
        for name, place in ordered.items():
            if columns.get(name, place) != place:
                # Another split has a subset of that name.
                name = f"{result.split}/{name}"
            columns[name] = place
    return columns


def _face_count(results: Sequence[EvaluationResult], split: str, subset: str | None) -> str:
    """Measured faces, and the published number if it differs."""
    result = next(result for result in results if result.split == split and subset in (None, *result.masks))
    measured = result.num_measured(subset)
    expected = result.expected_faces if subset is None else result.expected_subset_faces.get(subset)
    return str(measured) if expected in (None, measured) else f"{measured}/{expected}"


def _cell(
    results: Sequence[EvaluationResult], split: str, subset: str | None, kind: str, metric: str, threshold: float
) -> str:
    result = next((result for result in results if result.split == split), None)
    if result is None or subset not in (None, *result.masks):
        return "-"
    row = (result.rows if subset is None else result.subsets[subset])[kind]
    value = row.nme_percent if metric == "nme_percent" else getattr(row, metric).get(threshold, math.nan)
    return _number(value, metric)


def _number(value: float, metric: str) -> str:
    # NaN: a subset without faces, or a threshold that was not requested.
    return "-" if math.isnan(value) else f"{value:.{_DIGITS[metric]}f}"


def _as_published(value: float | None, metric: str) -> str:
    """The value with the published number of digits."""
    if value is None:
        return "-"
    least = _DIGITS[metric] - (metric != "fr_percent")
    return f"{value:.{max(least, len(f'{value:g}'.partition('.')[2]))}f}"

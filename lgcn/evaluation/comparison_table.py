"""The tables of publications: a column for each subset, a row for each set of landmarks."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from lgcn.evaluation.formatting import ROW_TITLES, align, threshold_title
from lgcn.evaluation.literature import PublishedFigures
from lgcn.evaluation.results import EvaluationResult

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
"""Subset or split -> what publications print over its column; others keep their names."""

PUBLISHED_MARK = "(published)"
NOTE = (
    f"{PUBLISHED_MARK}: as others have reported it, not measured here. Rows can be compared only where their protocol "
    "is the same; '?' is a protocol that is not known."
)

_PUBLISHED_THRESHOLD = 0.10
_DIGITS = {"nme": 3, "fr": 2, "auc": 4}


@dataclass(frozen=True)
class ComparisonTable:
    """One figure of all rows and columns."""

    title: str
    """The figure, its unit and its normaliser or threshold."""
    columns: tuple[str, ...]
    """Titles of the subsets."""
    rows: list[tuple[str, str, list[str]]]
    """Name, protocol, and a cell for each column; "-" where there is no figure."""

    def as_text(self) -> str:
        """Aligned columns."""
        cells = [
            [self.title, "protocol", *self.columns],
            *([name, protocol, *row] for name, protocol, row in self.rows),
        ]
        return "\n".join(align(cells, left=2))

    def as_markdown(self) -> str:
        """A table with a line of title over it."""
        lines = [["landmarks", "protocol", *self.columns], ["---", "---", *(len(self.columns) * ["--:"])]]
        lines += [[name, protocol, *row] for name, protocol, row in self.rows]
        return "\n".join([f"**{self.title}**", "", *(f"| {' | '.join(line)} |" for line in lines)])


def comparison_tables(
    results: Sequence[EvaluationResult], published: Sequence[PublishedFigures] = ()
) -> list[ComparisonTable]:
    """NME, then FR and AUC at each threshold, of several models on several splits of a dataset.

    The columns are those of publications: the whole split before its subsets, but after them on 300-W's "full".
    Published FR and AUC are shown at 0.10, the threshold that they were reported for.

    Args:
        results: of one dataset. Where their protocols have other thresholds there is no figure at these.
        published: rows that are marked as such.
    """
    columns = _columns_of(results)
    titles = tuple(COLUMN_TITLES.get(name, name) for name in columns)
    by_model: dict[str, list[EvaluationResult]] = {}
    for result in results:
        by_model.setdefault(result.model, []).append(result)
    normalizers = sorted({result.normalizer for result in results})

    counts = [_face_count(results, split, subset) for split, subset in columns.values()]
    faces = ("faces", "", counts)
    tables = [ComparisonTable(f"NME % ({', '.join(normalizers)})", titles, [faces])]
    figures = [("nme", 0.0)]
    for threshold in dict.fromkeys(threshold for result in results for threshold in result.thresholds):
        name = threshold_title(threshold)
        tables += [ComparisonTable(f"FR@{name} %", titles, []), ComparisonTable(f"AUC@{name}", titles, [])]
        figures += [("fr", threshold), ("auc", threshold)]

    for table, (figure, threshold) in zip(tables, figures, strict=True):
        for model, of_model in by_model.items():
            for kind in of_model[0].rows:
                label = ROW_TITLES.get(kind, kind)
                name = label if len(by_model) == 1 else f"{model}: {label}"
                cells = [_cell(of_model, split, subset, kind, figure, threshold) for split, subset in columns.values()]
                protocol = of_model[0].protocol.name
                protocol += "" if len(normalizers) == 1 else f", {of_model[0].normalizer}"
                table.rows.append((name, protocol, cells))
        if figure != "nme" and threshold != _PUBLISHED_THRESHOLD:
            continue
        for each in published:
            values: dict[str, float] = getattr(each, figure)
            if not values.keys().isdisjoint(columns):
                protocol = each.protocol or "?"
                protocol += "" if normalizers == [each.normalizer] else f", {each.normalizer}"
                cells = [_as_published(values.get(name), figure) for name in columns]
                table.rows.append((f"{each.system} {PUBLISHED_MARK}", protocol, cells))
    return tables


def _columns_of(results: Sequence[EvaluationResult]) -> dict[str, tuple[str, str | None]]:
    """Name of a column -> its split and subset."""
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
    """Faces judged, and of how many published ones where that is another number."""
    result = next(result for result in results if result.split == split)
    judged = result.num_judged(subset)
    expected = result.expected_faces if subset is None else result.expected_subset_faces.get(subset)
    return str(judged) if expected in (None, judged) else f"{judged}/{expected}"


def _cell(
    results: Sequence[EvaluationResult], split: str, subset: str | None, kind: str, figure: str, threshold: float
) -> str:
    result = next((result for result in results if result.split == split), None)
    if result is None:
        return "-"
    row = (result.rows if subset is None else result.subsets[subset])[kind]
    value = row.nme if figure == "nme" else getattr(row, figure).get(threshold, math.nan)
    return _number(value, figure)


def _number(value: float, figure: str) -> str:
    # NaN: of a subset without faces, or a threshold that was not asked for.
    return "-" if math.isnan(value) else f"{value:.{_DIGITS[figure]}f}"


def _as_published(value: float | None, figure: str) -> str:
    """With the digits that were published, and no more."""
    if value is None:
        return "-"
    least = _DIGITS[figure] - (figure != "fr")
    return f"{value:.{max(least, len(f'{value:g}'.partition('.')[2]))}f}"

"""Evaluation results as printed text and as a page of Markdown."""

from collections.abc import Sequence

from lgcn import __version__
from lgcn.evaluation.comparison_table import ComparisonTable
from lgcn.evaluation.conditions import CLEAN, FOUND
from lgcn.evaluation.conditions_table import conditions_tables
from lgcn.evaluation.keypoint_metrics import keypoint_metrics, metric_title
from lgcn.evaluation.literature import PublishedResult
from lgcn.evaluation.results import PERCENTS, EvaluationResult
from lgcn.evaluation.text_tables import PUBLISHED_NOTE, ROW_TITLES, align, markdown_table, threshold_title
from lgcn.files import printable

NORMALIZER_TITLES = {
    "inter_ocular": "distance between the outer eye corners",
    "inter_pupil": "distance between the pupils or eye centres",
    "box": "sqrt(width x height) of the tight landmark box",
    "box_size": "size of the face box in the annotation",
}


def format_result(result: EvaluationResult) -> str:
    """The result as text: conditions, a table of metrics, and a warning if faces are missing.

    NME, FR and PCK are in per cent, AUC and OKS are fractions. PCK and OKS are reported for schemes whose errors are
    measured by the size of the landmark box.
    """
    table = [["landmarks", "NME %"]]
    for threshold in result.thresholds:
        table[0] += [f"FR@{threshold_title(threshold)} %", f"AUC@{threshold_title(threshold)}"]
    further = {name: keypoint_metrics(row.landmark_errors, result.sigmas) for name, row in result.rows.items()}
    table[0] += map(metric_title, next(iter(further.values())))
    for name, row in result.rows.items():
        cells = [ROW_TITLES.get(name, name), f"{row.nme_percent:.3f}"]
        for threshold in result.thresholds:
            cells += [f"{row.fr_percent[threshold]:.2f}", f"{row.auc[threshold]:.4f}"]
        cells += [f"{value:.2f}" if "_percent" in metric else f"{value:.4f}" for metric, value in further[name].items()]
        table.append(cells)
    return "\n".join([*_fact_lines(facts_of(result)), "", *align(table, left=1), *_warning_lines(result)])


def format_conditions(results: Sequence[EvaluationResult]) -> str:
    """Results under several conditions as text: the facts of each model and split, and one table over conditions."""
    groups: dict[tuple[str, str], list[EvaluationResult]] = {}
    for result in results:
        groups.setdefault((result.model, result.split), []).append(result)
    parts = []
    for group, table in zip(groups.values(), conditions_tables(results), strict=True):
        # The conditions share all facts but these.
        facts = {name: value for result in group for name, value in facts_of(result).items() if name != "condition"}
        found = next((result for result in group if FOUND in result.masks), None)
        if found is not None:
            del facts["boxes"]
            facts["detector"] = (
                f"missed {found.missed_faces} of {len(found.image_ids)} faces, which are cropped by their landmarks"
            )
        facts["seed"] = str(group[0].seed)
        parts.append("\n".join([*_fact_lines(facts), "", table.as_text(), *_warning_lines(group[0])]))
    return "\n\n".join(parts)


def _fact_lines(facts: dict[str, str]) -> list[str]:
    return [f"{name + ':':<12}{value}" for name, value in facts.items()]


def _warning_lines(result: EvaluationResult) -> list[str]:
    warning = warning_of(result)
    return [] if warning is None else ["", warning]


def facts_of(result: EvaluationResult) -> dict[str, str]:
    """Model, dataset, protocol and further conditions, as printable text."""
    normalizer = NORMALIZER_TITLES.get(result.normalizer, "distance of that name")
    expected = "" if result.expected_faces in (None, result.num_faces) else f" of {result.expected_faces}"
    facts = {
        "model": result.model,
        "dataset": f"{result.dataset}, split {result.split}",
        "faces": f"{result.num_faces}{expected}",
        "protocol": f"{result.protocol.name} ({result.protocol.description})",
        "normalizer": f"{result.normalizer} ({normalizer})",
    }
    if result.condition != CLEAN:
        facts["condition"] = f"{result.condition}, seed {result.seed}"
    if result.missed_faces is not None:
        facts["boxes"] = (
            f"from a face detector, which missed {result.missed_faces} of {len(result.image_ids)} faces; these are "
            "cropped by their landmarks"
        )
    if result.unreadable:
        images = f"{len(result.unreadable)} image{'s' if len(result.unreadable) > 1 else ''}"
        facts["left out"] = f"{images} that cannot be read: {some_names(list(result.unreadable))}"
    return {name: printable(value) for name, value in facts.items()}


def some_names(names: Sequence[str], most: int = 5) -> str:
    """The first names, and the number of the others."""
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return f"{', '.join(names[:most])}{rest}"


def warning_of(result: EvaluationResult) -> str | None:
    """The warning about an incomplete split; None if it is complete."""
    if result.warning is None:
        return None
    return printable(f"WARNING: INCOMPLETE {result.warning}. These results cannot be compared with published ones.")


def report_markdown(
    results: Sequence[EvaluationResult],
    tables: Sequence[ComparisonTable],
    published: Sequence[PublishedResult] = (),
    images: Sequence[tuple[str, str]] = (),
) -> str:
    """Conditions and results of evaluations, as a page of Markdown.

    Args:
        results: each gets a list of its facts.
        tables: tables of :func:`lgcn.evaluation.conditions_tables` and :func:`lgcn.evaluation.comparison_tables`.
        published: the published results in the tables, whose sources are listed.
        images: pairs of a title and the name of a file in the folder of the page.
    """
    parts = ["# Evaluation"]
    for result in results:
        lines = [f"- {name}: {value}" for name, value in facts_of(result).items()]
        warning = warning_of(result)
        parts += ["\n".join(lines), *([f"**{warning}**"] if warning else [])]
    parts += [table.as_markdown() for table in tables]
    if published:
        parts.append(PUBLISHED_NOTE)
    parts.append(_percentiles(results))
    parts += [f"## {printable(title)}\n\n![{printable(title)}]({name})" for title, name in images]
    if published:
        lines = [f"- {each.system}: {each.source}{f'; {each.note}' if each.note else ''}" for each in published]
        parts.append("## Sources of published results\n\n" + "\n".join(lines))
    parts.append(f"lgcn {__version__}")
    return "\n\n".join(parts) + "\n"


def _percentiles(results: Sequence[EvaluationResult]) -> str:
    degraded = any(result.condition != CLEAN for result in results)
    header = ["model", "split", *(["condition"] if degraded else []), "protocol", "landmarks"]
    left = len(header)
    header += [f"{percent} %" for percent in PERCENTS]
    rows = []
    for result in results:
        names = [printable(result.model), printable(result.split)]
        names += [printable(result.condition)] if degraded else []
        names.append(result.protocol.name)
        for kind, row in result.rows.items():
            values = [f"{value:.3f}" for value in row.nme_percent_percentiles.values()]
            rows.append([*names, ROW_TITLES.get(kind, kind), *values])
    return f"**Percentiles of the NME in % over faces**\n\n{markdown_table(header, rows, left=left)}"

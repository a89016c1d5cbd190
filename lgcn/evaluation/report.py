"""What was evaluated, how, and what came out, as one page of Markdown."""

from collections.abc import Sequence

from lgcn import __version__
from lgcn.evaluation.comparison_table import NOTE, ComparisonTable
from lgcn.evaluation.formatting import ROW_TITLES, facts_of, warning_of
from lgcn.evaluation.literature import PublishedFigures
from lgcn.evaluation.results import PERCENTS, EvaluationResult


def report_markdown(
    results: Sequence[EvaluationResult],
    tables: Sequence[ComparisonTable],
    published: Sequence[PublishedFigures] = (),
    pictures: Sequence[tuple[str, str]] = (),
) -> str:
    """The page.

    Args:
        results: each gets a list of its facts.
        tables: of :func:`lgcn.evaluation.comparison_table.comparison_tables`.
        published: those in the tables, whose sources are listed.
        pictures: pairs of a title and a file beside the page.
    """
    parts = ["# Evaluation"]
    for result in results:
        lines = [f"- {name}: {value}" for name, value in facts_of(result).items()]
        warning = warning_of(result)
        parts += ["\n".join(lines), *([f"**{warning}**"] if warning else [])]
    parts += [table.as_markdown() for table in tables]
    if published:
        parts.append(NOTE)
    parts.append(_percentiles(results))
    parts += [f"## {title}\n\n![{title}]({name})" for title, name in pictures]
    if published:
        lines = [f"- {each.system}: {each.source}{f'; {each.note}' if each.note else ''}" for each in published]
        parts.append("## Sources of published figures\n\n" + "\n".join(lines))
    parts.append(f"lgcn {__version__}")
    return "\n\n".join(parts) + "\n"


def _percentiles(results: Sequence[EvaluationResult]) -> str:
    header = ["model", "split", "protocol", "landmarks", *(f"{percent} %" for percent in PERCENTS)]
    lines = [header, [*(4 * ["---"]), *(len(PERCENTS) * ["--:"])]]
    for result in results:
        for kind, row in result.rows.items():
            values = [f"{value:.3f}" for value in row.percentiles.values()]
            lines.append([result.model, result.split, result.protocol.name, ROW_TITLES.get(kind, kind), *values])
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return f"**NME % that this part of the faces stays below**\n\n{table}"

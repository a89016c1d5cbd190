"""Tables as plain text and as Markdown, and the titles that they share."""

import math
from collections.abc import Sequence

from tabulate import tabulate

ROW_TITLES = {"initial": "initial (heatmap)", "refined": "refined (graph)"}

PUBLISHED_MARK = "(published)"
PUBLISHED_NOTE = (
    f"{PUBLISHED_MARK}: as reported by others, not measured here. Compare rows only if their protocol is the same; "
    "'?' is an unknown protocol."
)


def align(table: Sequence[Sequence[str]], left: int) -> list[str]:
    """Lines of a plain-text table: the first ``left`` columns are aligned to the left, the others to the right."""
    sides = _sides(table, left)
    return tabulate(table, tablefmt="plain", colalign=sides, disable_numparse=True, preserve_whitespace=True).split(
        "\n"
    )


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]], left: int) -> str:
    """A table in Markdown: the first ``left`` columns are aligned to the left, the others to the right."""
    sides = _sides([header], left)
    return tabulate(rows, header, tablefmt="pipe", colalign=sides, disable_numparse=True)


def _sides(table: Sequence[Sequence[str]], left: int) -> list[str]:
    return ["left" if number < left else "right" for number in range(len(table[0]))]


def threshold_title(threshold: float) -> str:
    """0.1 -> "0.10", 0.075 -> "0.075": two digits, as in the literature, or as many as needed."""
    return f"{threshold:.2f}" if math.isclose(round(threshold, 2), threshold) else f"{threshold:g}"

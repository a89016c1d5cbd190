"""Sentences and tables of the page, in Markdown."""

import math
from collections.abc import Sequence

from tabulate import tabulate

from lgcn.demo.comparison import Comparison, effect_of_paint, listens_to
from lgcn.predict import Face
from lgcn.schemes import LandmarkScheme


def describe_faces(faces: Sequence[Face], comparison: Comparison) -> str:
    """A sentence on the faces of a photo, and one on the chosen one."""
    found = "One face was found." if len(faces) == 1 else f"{len(faces)} faces were found."
    error = comparison.painted.expected_error
    mean = "" if error is None else f", its mean expected error {float(error.mean()):.1f} pixels"
    return f"{found} Its score is {comparison.painted.score:.2f}{mean}."


def effect_table(comparison: Comparison) -> str:
    """What the paint does to the landmarks under it and to the others; an invitation if there is no paint on any."""
    under = comparison.under_brush
    if not under.any():
        return "### Under the brush\nNo landmark is painted over. Choose the brush and paint over an eye or the mouth."
    hidden, others = effect_of_paint(comparison, under), effect_of_paint(comparison, ~under)
    rows = [
        ("confidence of the heatmaps", *(_change(each.confidence, 2) for each in (hidden, others))),
        ("expected error, pixels", *(_change(each.expected_error, 1) for each in (hidden, others))),
        ("believed covered", *(_change(each.believed_covered, 0) for each in (hidden, others))),
        ("moved by the paint before the graph, pixels", *(_number(each.initial_shift, 1) for each in (hidden, others))),
        ("moved by the paint after the graph, pixels", *(_number(each.refined_shift, 1) for each in (hidden, others))),
    ]
    heads = ("without → with paint", f"{hidden.landmarks} landmarks under the brush", f"{others.landmarks} others")
    return "### Under the brush\n" + tabulate(rows, heads, tablefmt="github", disable_numparse=True)


def listening_table(comparison: Comparison, scheme: LandmarkScheme, landmark: str | None) -> str:
    """What the landmark listens to; an invitation if there is none."""
    if comparison.painted.connectivity is None:
        return "### What a landmark listens to\nThis model holds no edges: it has no graph, or is an exported file."
    if landmark is None:
        return "### What a landmark listens to\nClick a landmark in the image, or choose one by name."
    rows = [
        (each.name if number else "itself", f"{each.seen:.2f}", f"{each.painted:.2f}")
        for number, each in enumerate(listens_to(comparison, scheme, landmark))
    ]
    heads = ("weight of", "without paint", "with paint")
    table = tabulate(rows, heads, tablefmt="github", disable_numparse=True)
    return f"### What {landmark} listens to\n{table}"


def _number(value: float, digits: int) -> str:
    return "–" if math.isnan(value) else f"{value:.{digits}f}"


def _change(values: tuple[float, float], digits: int) -> str:
    before, after = (_number(value, digits) for value in values)
    return "–" if before == after == "–" else f"{before} → {after}"

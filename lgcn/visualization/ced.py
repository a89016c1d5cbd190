"""Cumulative error distributions as a plot and as CSV: the fraction of faces whose error is below a threshold."""

import csv
from collections.abc import Mapping
from pathlib import Path

import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MultipleLocator, PercentFormatter
from torch import Tensor

from lgcn.checks import InputError, check_shape
from lgcn.evaluation.text_tables import threshold_title
from lgcn.files import escape_name, printable, replace_when_done, write_from_memory
from lgcn.metrics import auc_ced, check_threshold, cumulative_error_distribution, failure_rate
from lgcn.visualization.layout import fit_text, shorten_paths

# Distinguishable with any of the common colour blindnesses (Okabe and Ito 2008), the darkest first; line styles
# distinguish the curves in print without colours too.
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
_STYLES = ("-", "--", "-.", ":", (0, (6, 1, 1, 1, 1, 1)))

_WIDTH, _HEIGHT, _LINE = 6.4, 4.4, 0.19
"""Inches, without the lines of the legend; and of one line."""

_NO_BREAK = "\N{NO-BREAK SPACE}"


def plot_ced(
    results: Mapping[str, Tensor], threshold: float = 0.10, path: str | Path | None = None, *, title: str = ""
) -> Figure:
    """A plot with one curve for each model or subset.

    The curves are exact steps. The legend gives AUC and failure rate at the threshold. Long paths in names and title
    are cut from the left, and long lines wrap.

    Args:
        results: name -> errors [N], fractions, as :func:`lgcn.metrics.normalized_mean_error` gives them; NaN entries
            are left out. Drawn and listed in this order.
        threshold: upper end of the x axis, a fraction.
        path: file that the plot is written to, atomically; the suffix (``.png``, ``.pdf``, ``.svg``) says the format.
        title: above the plot, for instance dataset and protocol.

    Raises:
        InputError: for no curve, a curve without errors, or a threshold that is not a fraction.
    """
    _check(results, threshold)
    figure = Figure(figsize=(_WIDTH, _HEIGHT), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    at, more_lines, legend_size = f"@{threshold_title(threshold)}", 0, 8.0
    names = shorten_paths([printable(name) for name in results])
    for number, (name, errors) in enumerate(zip(names, results.values(), strict=True)):
        judged = errors[~errors.isnan()].double().cpu().sort().values
        inside = judged[judged <= threshold]
        x = torch.cat([inside.new_zeros(1), inside, inside.new_tensor([threshold])])
        y = torch.cat([torch.arange(len(inside) + 1), torch.tensor([len(inside)])]) / len(judged)
        auc, fr = auc_ced(errors, threshold).item(), 100 * failure_rate(errors, threshold).item()
        (line,) = axes.plot(
            x.tolist(),
            y.tolist(),
            drawstyle="steps-post",
            color=_COLOURS[number % len(_COLOURS)],
            linestyle=_STYLES[number % len(_STYLES)],
            linewidth=1.8,
        )
        # A leading underscore would hide it from the legend, and a dollar sign would start a formula.
        figures = f"(AUC{at} {auc:.4f}, FR{at} {fr:.2f} %)".replace(" ", _NO_BREAK)
        lines, size = fit_text(f"{name.lstrip('_')}  {figures}", _WIDTH - 0.8, 8.0)
        line.set_label("\n".join(lines).replace(_NO_BREAK, " ").replace("$", r"\$"))
        more_lines, legend_size = more_lines + len(lines), min(size, legend_size)
    axes.set(xlim=(0, threshold), ylim=(0, 1.005), xlabel="NME, % of the normalising distance", ylabel="faces")
    axes.xaxis.set_major_formatter(PercentFormatter(1.0, symbol=""))
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.yaxis.set_major_locator(MultipleLocator(0.1))
    axes.grid(color="#d9d9d9", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    # The legend lies beneath the axes, where it hides no curve.
    figure.legend(loc="outside lower center", fontsize=legend_size, frameon=False, handlelength=3.5)
    if title:
        (title,) = shorten_paths([printable(title)])
        lines, size = fit_text(title, _WIDTH - 1.0, 10.0)
        axes.set_title("\n".join(lines), fontsize=size, parse_math=False)
        more_lines += len(lines) - 1
    figure.set_figheight(_HEIGHT + _LINE * more_lines)
    if path is not None:
        FigureCanvasAgg(figure)
        with write_from_memory(path) as buffer:
            figure.savefig(buffer, format=Path(path).suffix[1:] or None)
    return figure


def save_ced_csv(results: Mapping[str, Tensor], threshold: float, path: str | Path, *, num_points: int = 201) -> None:
    """Write the curves as CSV: column ``nme`` (fraction), then a column for each curve (fraction of the faces).

    Args:
        results: as for :func:`plot_ced`.
        threshold: the last ``nme``; the first is 0.
        path: the file, written whole or not at all.
        num_points: rows, evenly apart.

    Raises:
        InputError: as :func:`plot_ced` does, and for fewer than two points.
    """
    _check(results, threshold)
    if num_points < 2:
        raise InputError(f"Expected 'num_points' to be 2 or more (got {num_points}).")
    x = threshold * torch.arange(num_points, dtype=torch.float64) / (num_points - 1)
    curves = [cumulative_error_distribution(errors.double().cpu(), x).tolist() for errors in results.values()]
    with replace_when_done(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["nme", *(escape_name(name) for name in results)])
        writer.writerows([f"{value:.6g}" for value in row] for row in zip(x.tolist(), *curves, strict=True))


def _check(results: Mapping[str, Tensor], threshold: float) -> None:
    check_threshold(threshold)
    if not results:
        raise InputError("Expected 'results' to hold the errors of at least one curve (got none).")
    for name, errors in results.items():
        check_shape(f"results['{name}']", errors, "N")
        if errors.isnan().all():
            raise InputError(
                f"Expected 'results' to hold errors for '{name}' (got {len(errors)}, all NaN). Leave it out."
            )

"""Tables of the finished runs: means, spreads, and paired differences with their intervals."""

import math
from typing import Any

import torch
from tabulate import tabulate
from torch import Tensor

from benchmarks.ablation.degradations import CONDITIONS, REGIMES
from benchmarks.ablation.experiments import EXPERIMENTS, Experiment
from benchmarks.ablation.outputs import DECODES, PARTS, Outputs
from benchmarks.ablation.shape_model import NOISE, ShapeModel
from benchmarks.ablation.training import Run, per_face, variant_of

Figures = dict[Run, dict[str, Any]]
Table = tuple[str, list[str], list[list[str]]]
"""Title, header, rows."""

DECODE_LABELS = {
    "argmax": "backbone, integer argmax",
    "quarter": "backbone, quarter offset",
    "dark": "backbone, DARK",
    "softargmax": "backbone, soft-argmax",
}


def backbone_figures(tested: dict[str, dict[str, Outputs]]) -> dict[str, dict[str, dict[str, list[float]]]]:
    """Part -> decode -> condition -> NME of each face in per cent."""
    return {
        part: {
            decode: {condition: per_face(outputs, outputs.pos[decode]) for condition, outputs in conditions.items()}
            for decode in DECODES
        }
        for part, conditions in tested.items()
    }


def error_sizes(trained: dict[str, dict[str, Outputs]]) -> list[dict[str, Any]]:
    """Mean NME in per cent of the initial landmarks that refiners are trained on, by regime and part."""
    return [
        {"regime": regime, "faces": part, **{decode: _nme(outputs, decode) for decode in DECODES}}
        for part, regimes in trained.items()
        for regime, outputs in regimes.items()
    ]


def calibration(tested: dict[str, Outputs], start: str = "softargmax", quantiles: int = 10) -> list[dict[str, Any]]:
    """How well the confidence of a landmark predicts its error, for each condition and for all together.

    ``rank_correlation``: Spearman's, of confidence and error; ``within_type``: the same after subtracting the mean rank
    of the landmark's type, which a learned matrix knows without confidences; ``nme_by_quantile``: mean error in per
    cent for quantiles of the confidence, lowest first.
    """
    together = Outputs.join(list(tested.values()))
    rows = []
    for condition, outputs in {**tested, "all": together}.items():
        error, confidence = outputs.errors(outputs.pos[start]).double(), outputs.confidence.double()
        ranks = _ranks(error.flatten()).view_as(error), _ranks(confidence.flatten()).view_as(confidence)
        within = [rank - rank.mean(dim=0) for rank in ranks]
        parts = error.flatten()[confidence.flatten().argsort()].tensor_split(quantiles)
        rows.append(
            {
                "condition": condition,
                "rank_correlation": _correlation(*ranks),
                "within_type": _correlation(*within),
                "nme_by_quantile": [round(100 * part.mean().item(), 3) for part in parts],
            }
        )
    return rows


def summary(figures: Figures, seeds: list[int]) -> list[dict[str, Any]]:
    """Mean and standard deviation over seeds of the NME in per cent, for each row and condition."""
    rows = []
    for name, experiment in EXPERIMENTS.items():
        for variant in experiment.variants:
            done = [figures[run] for run in _of(experiment, variant, seeds) if run in figures]
            for part in PARTS if done else ():
                nme = torch.tensor(
                    [[_mean(run["nme"][part][condition]) for condition in CONDITIONS] for run in done]
                ).double()
                spread = nme.std(dim=0) if len(done) > 1 else torch.full_like(nme[0], math.nan)
                weights = [run["weights"] for run in done if run["weights"]]
                rows.append(
                    {
                        "experiment": name,
                        "variant": variant,
                        "faces": part,
                        "seeds": len(done),
                        "mean": dict(zip(CONDITIONS, nme.mean(dim=0).tolist(), strict=True)),
                        "std": dict(zip(CONDITIONS, _or_none(spread), strict=True)),
                        "weights": {key: _mean([run[key] for run in weights]) for key in weights[0]} if weights else {},
                    }
                )
    return rows


def comparisons(
    figures: Figures,
    backbone: dict[str, dict[str, dict[str, list[float]]]],
    seeds: list[int],
    part: str = "test",
    draws: int = 2000,
) -> list[dict[str, Any]]:
    """Paired differences of NME, in percentage points, with 95 % intervals of a bootstrap over faces and seeds."""
    rows = []
    for name, experiment in EXPERIMENTS.items():
        pairs = [*experiment.comparisons, *((variant, "backbone") for variant in experiment.variants)]
        for first, second in pairs:
            runs = list(zip(*(_of(experiment, variant, seeds) for variant in (first, second)), strict=True))
            both = [(a, b) for a, b in runs if a in figures and (second == "backbone" or b in figures)]
            if not both:
                continue
            row: dict[str, Any] = {"experiment": name, "first": first, "second": second, "seeds": len(both)}
            for condition in CONDITIONS:
                initial = backbone[part][experiment.start][condition]
                others = [initial if second == "backbone" else figures[b]["nme"][part][condition] for _, b in both]
                row[condition] = _paired([figures[a]["nme"][part][condition] for a, _ in both], others, draws)
            rows.append(row)
    return rows


def shape_models(
    tested: dict[str, Outputs], trained: dict[str, Outputs], figures: Figures, seeds: list[int], draws: int = 2000
) -> list[dict[str, Any]]:
    """NME of the Gaussian shape model for each start and regime of the experiments, and paired differences.

    ``confidence_minus_type`` is the gain from confidences in the shape model, ``confidence_minus_learnable`` its
    difference from the paper's refiner, if that has been trained.
    """
    rows = []
    for start, regime in dict.fromkeys((each.start, each.regime) for each in EXPERIMENTS.values()):
        model = ShapeModel(trained[regime], start)
        nme = {
            noise: {condition: per_face(outputs, model.refine(outputs, noise)) for condition, outputs in tested.items()}
            for noise in NOISE
        }
        runs = [Run("learnable", regime, start, seed) for seed in seeds]
        learnable = [figures[run]["nme"]["test"] for run in runs if run in figures]
        row: dict[str, Any] = {"start": start, "regime": regime, "variance_by_confidence": model.of_confidence.tolist()}
        row |= {noise: {condition: _mean(each) for condition, each in of.items()} for noise, of in nme.items()}
        of_others = {"type": [nme["type"]], "learnable": learnable}
        for name, others in of_others.items():
            row[f"confidence_minus_{name}"] = {
                condition: _paired(
                    [nme["confidence"][condition]] * len(others), [each[condition] for each in others], draws
                )
                for condition in (CONDITIONS if others else ())
            }
        rows.append(row)
    return rows


def _paired(first: list[list[float]], second: list[list[float]], draws: int) -> list[float]:
    """Mean difference of NME [S, N], and its interval."""
    difference = torch.tensor(first).double() - torch.tensor(second).double()
    return [difference.mean().item(), *interval(difference, draws)]


def interval(difference: Tensor, draws: int = 2000, seed: int = 0) -> tuple[float, float]:
    """95 % bootstrap interval of the mean of [S, N], over faces and seeds."""
    generator = torch.Generator().manual_seed(seed)
    S, N = difference.shape
    faces = torch.randint(N, (draws, N), generator=generator)
    runs = torch.randint(S, (draws, S), generator=generator)
    # The mean over drawn seeds first: [draws, N] would otherwise be [draws, S, N].
    share = torch.zeros(draws, S, dtype=difference.dtype).scatter_add_(
        1, runs, torch.full((draws, S), 1 / S, dtype=difference.dtype)
    )
    means = (share @ difference).gather(1, faces).mean(dim=1)
    low, high = means.quantile(means.new_tensor([0.025, 0.975])).tolist()
    return low, high


def tables(figures: dict[str, Any], seeds: list[int]) -> list[Table]:
    """All tables in the order of the page, from the content of the JSON."""
    made = [_backbone_table(figures), _size_table(figures), _calibration_table(figures)]
    for name, experiment in EXPERIMENTS.items():
        rows = [row for row in figures["summary"] if row["experiment"] == name and row["faces"] == "test"]
        if not rows:
            continue
        initial = figures["backbone"]["test"][experiment.start]
        body = [[DECODE_LABELS[experiment.start], *(f"{initial[c]:.3f}" for c in CONDITIONS), "", ""]]
        for row in rows:
            cells = [f"{row['mean'][c]:.3f}{_plus_minus(row['std'][c])}" for c in CONDITIONS]
            weights = [f"{row['weights'][key]:.3f}" if row["weights"] else "" for key in ("moved", "unsure")]
            short = "" if row["seeds"] == len(seeds) else f" ({row['seeds']} of {len(seeds)} seeds)"
            body.append([variant_of(row["variant"]).label + short, *cells, *weights])
        made.append((experiment.title, ["", *CONDITIONS, "moved", "unsure"], body))
        pairs = [row for row in figures["comparisons"] if row["experiment"] == name and row["second"] != "backbone"]
        if pairs:
            body = [
                [f"{variant_of(row['first']).label} - {variant_of(row['second']).label}"]
                + [_difference(row[condition]) for condition in CONDITIONS]
                for row in pairs
            ]
            made.append((f"{experiment.title}: paired differences", ["", *CONDITIONS], body))
    return [*made, *_shape_tables(figures)]


def key_table(figures: dict[str, Any]) -> Table:
    """The table of ``docs/ablation.md``: the paper's situation next to a sub-pixel start trained under patches."""
    columns = [
        (name, condition)
        for name, conditions in (
            ("argmax-clean", ("clean", "patch 40 %")),
            ("patches", ("clean", "patch 40 %", "blur 4 px")),
        )
        for condition in conditions
    ]
    starts = {"argmax-clean": "integer argmax", "patches": "sub-pixel"}
    nme = {(row["experiment"], row["variant"]): row["mean"] for row in figures["summary"] if row["faces"] == "test"}
    models = {(row["start"], row["regime"]): row for row in figures["shape_models"]}
    body = [["backbone", *(figures["backbone"]["test"][EXPERIMENTS[name].start][c] for name, c in columns)]]
    for variant in ("isolated", "adjacency_raw", "adjacency", "no_confidence", "learnable"):
        body.append([variant_of(variant).label, *(nme[name, variant][c] for name, c in columns)])
    for noise in ("type", "confidence"):
        of = [models[EXPERIMENTS[name].start, EXPERIMENTS[name].regime][noise][c] for name, c in columns]
        body.append([NOISE[noise], *of])
    cells = [[label, *(f"{value:.3f}" for value in values)] for label, *values in body]
    return "Key results", ["", *(f"{starts[name]}: {c}" for name, c in columns)], cells


def markdown(made: list[Table]) -> str:
    """Tables as Markdown, each under a heading."""
    return "\n\n".join(f"## {title}\n\n{_tabulate(header, body, 'pipe')}" for title, header, body in made)


def plain(made: list[Table]) -> str:
    """Tables for a terminal."""
    return "\n".join(f"\n{title}\n{_tabulate(header, body, 'plain')}" for title, header, body in made)


def markdown_table(made: Table) -> str:
    """One table as Markdown, without its title."""
    _, header, body = made
    return _tabulate(header, body, "pipe")


def _tabulate(header: list[str], body: list[list[str]], form: str) -> str:
    aligned = ["left", *("right" for _ in header[1:])]
    return tabulate(body, header, tablefmt=form, colalign=aligned, disable_numparse=True)


def _backbone_table(figures: dict[str, Any]) -> Table:
    body = []
    for part in PARTS:
        for decode in DECODES:
            row = figures["backbone"][part][decode]
            body.append([f"{DECODE_LABELS[decode]}, {part} faces", *(f"{row[c]:.3f}" for c in CONDITIONS)])
    return "The backbone alone", ["", *CONDITIONS], body


def _size_table(figures: dict[str, Any]) -> Table:
    body = [
        [f"{row['regime']}, {row['faces']} faces", *(f"{row[decode]:.3f}" for decode in DECODES)]
        for row in figures["error_sizes"]
    ]
    return f"Errors of the initial landmarks on training crops ({', '.join(REGIMES)})", ["", *DECODES], body


def _calibration_table(figures: dict[str, Any]) -> Table:
    rows = figures["calibration"]
    tenths = [f"tenth {n + 1}" for n in range(len(rows[0]["nme_by_quantile"]))]
    body = [
        [row["condition"], f"{row['rank_correlation']:.2f}", f"{row['within_type']:.2f}"]
        + [f"{nme:.1f}" for nme in row["nme_by_quantile"]]
        for row in rows
    ]
    title = "Confidence and error: NME by tenths of the confidence, lowest first"
    return title, ["", "rank correlation", "within a type", *tenths], body


def _shape_tables(figures: dict[str, Any]) -> list[Table]:
    body, pairs = [], []
    for row in figures["shape_models"]:
        where = f"{row['start']}, {row['regime']}"
        body += [[f"{where}: {label}", *(f"{row[noise][c]:.3f}" for c in CONDITIONS)] for noise, label in NOISE.items()]
        for name, label in (("type", NOISE["type"]), ("learnable", variant_of("learnable").label)):
            differences = row[f"confidence_minus_{name}"]
            if differences:
                what = f"{where}: {NOISE['confidence']} - {label}"
                pairs.append([what, *(_difference(differences[c]) for c in CONDITIONS)])
    title = "A Gaussian shape model instead of the graph"
    return [(title, ["", *CONDITIONS], body), (f"{title}: paired differences", ["", *CONDITIONS], pairs)]


def _of(experiment: Experiment, variant: str, seeds: list[int]) -> list[Run]:
    return [Run(variant, experiment.regime, experiment.start, seed) for seed in seeds]


def _nme(outputs: Outputs, decode: str) -> float:
    return 100 * outputs.errors(outputs.pos[decode]).mean().item()


def _ranks(values: Tensor) -> Tensor:
    return values.argsort().argsort().double()


def _correlation(one: Tensor, other: Tensor) -> float:
    return torch.corrcoef(torch.stack([one.flatten(), other.flatten()]))[0, 1].item()


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def _or_none(values: Tensor) -> list[float | None]:
    return [None if math.isnan(value) else value for value in values.tolist()]


def _plus_minus(spread: float | None) -> str:
    return "" if spread is None else f" ± {spread:.3f}"


def _difference(row: list[float]) -> str:
    mean, low, high = row
    # The interval excludes 0.
    star = " *" if low > 0 or high < 0 else ""
    return f"{mean:+.3f} ({low:+.3f} ... {high:+.3f}){star}"

"""``lgcn connectivity``: the learned graph of each picture, as pictures and in figures."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lgcn.cli.output_folder import tell, writing_to

if TYPE_CHECKING:
    from torch import Tensor

    from lgcn.predict import Face, Picture
    from lgcn.schemes import LandmarkScheme


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options; nothing heavy is imported for ``--help``."""
    parser.add_argument(
        "images", nargs="+", type=Path, metavar="PHOTO|DIR", help="pictures, and folders whose pictures are taken"
    )
    parser.add_argument(
        "--model", default="lgcn-68", help="shipped name, folder, .ckpt of lgcn fit or hub id (default: lgcn-68)"
    )
    parser.add_argument(
        "--landmarks",
        nargs="+",
        default=[],
        metavar="L",
        help="names or numbers from 0 of the landmarks whose strongest edges are drawn (default: heat maps only)",
    )
    parser.add_argument(
        "--strongest", type=int, default=5, metavar="N", help="edges into each of these landmarks (default: 5)"
    )
    parser.add_argument(
        "--boxes", type=Path, metavar="FILE", help="face boxes, instead of finding faces, as for lgcn predict"
    )
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder to write to")
    parser.add_argument("--format", choices=("png", "pdf", "svg"), default="png", help="of the figures (default: png)")
    parser.add_argument(
        "--dpi", type=int, default=200, metavar="N", help="pixels to the inch of figures 7 inches wide (default: 200)"
    )
    parser.add_argument(
        "--min-confidence",
        type=float,
        metavar="C",
        help="drop faces that were found, not given, if the mean confidence of their landmarks is below this "
        "(default: the model's own value)",
    )
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1, mps, ... (default: cpu)")
    parser.add_argument("--batch-size", type=int, default=32, metavar="N", help="faces in a batch (default: 32)")


def run(args: argparse.Namespace) -> int:
    """Predicts, prints what the weights are like and writes the figures; the exit status."""
    from lgcn.checks import InputError, check_at_least
    from lgcn.cli.images import find_images, predict_images, prepare_images, read_boxes_of, short_warnings
    from lgcn.files import replace_when_done
    from lgcn.predict import LandmarkPredictor
    from lgcn.visualization import draw_connectivity
    from lgcn.visualization.connectivity import MOST_FACES, find_landmarks

    check_at_least("--strongest", args.strongest, 1)
    check_at_least("--dpi", args.dpi, 1)
    pictures, problems = find_images(args.images)
    if problems:
        raise problems[0]
    if len(pictures) > MOST_FACES:
        raise InputError(f"Expected at most {MOST_FACES} pictures for one figure (got {len(pictures)}). Name fewer.")
    targets = _targets(args, pictures)
    table = None if args.boxes is None else read_boxes_of(args.boxes, pictures)
    predictor = LandmarkPredictor.from_pretrained(
        args.model, device=args.device, batch_size=args.batch_size, min_confidence=args.min_confidence
    )
    scheme = predictor.detector.scheme
    if predictor.detector.refiner is None:
        raise InputError(f"Expected a model with a graph (got '{args.model}', which has none).")
    chosen = find_landmarks(scheme, args.landmarks)
    rows: list[tuple[Picture, Face]] = []
    with short_warnings():
        for picture, faces in predict_images(predictor, prepare_images(predictor, pictures, table, None), True):
            rows += [(picture, face) for face in faces]
            if len(rows) > MOST_FACES:
                raise InputError(f"Expected at most {MOST_FACES} faces for one figure (got more). Name fewer pictures.")
    if not rows:
        raise InputError("Expected a face in at least one picture (got none). Give its box with '--boxes'.")
    weights = [face.connectivity for _, face in rows if face.connectivity is not None]
    titles = _titles([picture.name for picture, _ in rows])
    _print_figures(weights, titles, scheme, chosen, args.strongest)
    with writing_to(args.output):
        for path, strongest, heat_map in targets:
            figure = draw_connectivity(
                [picture.image for picture, _ in rows],
                [face for _, face in rows],
                scheme,
                chosen,
                strongest=strongest,
                heat_map=heat_map,
                titles=titles,
            )
            with replace_when_done(path) as beside:
                figure.savefig(beside, dpi=args.dpi)
    tell("note", f"written: {', '.join(str(path) for path, _, _ in targets)}.")
    return 0


def _targets(args: argparse.Namespace, pictures: Sequence[Path]) -> list[tuple[Path, int, bool]]:
    """What is written: path, edges into each landmark and whether the heat maps, of each figure."""
    from lgcn.checks import InputFileError
    from lgcn.predict.output import check_folder

    folder = check_folder(args.output)
    targets = [(folder / f"connectivity_heat_map.{args.format}", 0, True)]
    if args.landmarks:
        targets.insert(0, (folder / f"connectivity_edges.{args.format}", args.strongest, False))
    inputs = {path.resolve() for path in pictures}
    for path, _, _ in targets:
        if path.resolve() in inputs:
            raise InputFileError(
                f"Expected another folder for '--output' (got '{folder}', where '{path.name}' would replace an input)."
            )
    return targets


def _titles(names: Sequence[str]) -> list[str]:
    """Names of files, with their folders where two are alike, and the number of the face where there are several."""
    alike = len({Path(name).name for name in names}) < len(set(names))
    titles: list[str] = []
    for row, name in enumerate(names):
        face = f", face {names[:row].count(name)}" if names.count(name) > 1 else ""
        titles.append((name if alike else Path(name).name) + face)
    return titles


def _print_figures(
    weights: Sequence["Tensor"], titles: Sequence[str], scheme: "LandmarkScheme", chosen: Sequence[int], strongest: int
) -> None:
    """How far the weights of each face are from uniform, how far from those of the first face, and the strongest."""
    from lgcn.visualization.edge_grid import strongest_into

    signed = any((weight < 0).any() for weight in weights)
    for title, weight in zip(titles, weights, strict=True):
        print(f"{title}: {_describe_signed(weight) if signed else _describe(weight)}")
        if weight is not weights[0]:
            change = (weight - weights[0]).abs().sum()
            if signed:
                print(f"  changed by {change / weights[0].abs().sum():.1%} of the size of {titles[0]}'s weights")
            else:
                print(f"  {change / (2 * len(weight)):.1%} of the weight lies on other edges than in {titles[0]}")
        for i in chosen:
            edges = zip(*(each.tolist() for each in strongest_into(i, weight, strongest)), strict=True)
            print(f"  into {scheme.names[i]}: {', '.join(f'{scheme.names[j]} {e:.3f}' for j, e in edges)}")


def _describe(weight: "Tensor") -> str:
    """What weights [K, K] of 0 and more are like."""
    from lgcn.visualization.connectivity import uniform_weight

    uniform = uniform_weight(weight)
    times = weight[weight > 0] / uniform
    neighbours = weight.xlogy(weight).sum(dim=1).neg().exp().mean()
    return (
        f"e_ij from {times.min():.2g} to {times.max():.3g} times the uniform weight 1/{round(1 / uniform)} "
        f"(median {times.median():.2g}), as good as {neighbours:.1f} equal neighbours"
    )


def _describe_signed(weight: "Tensor") -> str:
    """What weights [K, K] of both signs are like."""
    edges = weight[weight != 0]
    negative = (edges < 0).float().mean()
    return f"e_ij from {edges.min():.3g} to {edges.max():.3g} (median {edges.median():.2g}), {negative:.1%} negative"

"""``lgcn connectivity``: plot the learned graph of each image, and print its statistics."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lgcn.cli.messages import short_warnings, tell
from lgcn.cli.predictor_options import add_input_arguments, load_predictor
from lgcn.cli.writable import check_not_replaced, check_writable_folder, writing_to

if TYPE_CHECKING:
    from torch import Tensor

    from lgcn.predict import Face, PreparedImage
    from lgcn.schemes import LandmarkScheme

EPILOG = """\
examples:
  lgcn connectivity photo.jpg --output out
      all edge weights as a heat map
  lgcn connectivity photo.jpg --landmarks nose_tip 36 --output out
      also the strongest edges into two landmarks, over the photo
  lgcn connectivity before.jpg after.jpg --output out
      two images with one scale of colours"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options; nothing slow is imported for ``--help``."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = EPILOG
    add_input_arguments(parser)
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
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder to write to")
    parser.add_argument("--overwrite", action="store_true", help="replace earlier plots in the folder")
    parser.add_argument("--format", choices=("png", "pdf", "svg"), default="png", help="format (default: png)")
    parser.add_argument(
        "--dpi", type=int, default=200, metavar="N", help="pixels per inch of plots 7 inches wide (default: 200)"
    )


def run(args: argparse.Namespace) -> int:
    """Predict, print statistics of the weights and write the plots; the exit status."""
    from lgcn.checks import InputError, check_at_least
    from lgcn.cli.images import find_images, load_input, read_boxes_of
    from lgcn.files import printable, write_from_memory
    from lgcn.visualization import draw_connectivity
    from lgcn.visualization.connectivity import MOST_FACES, find_landmarks

    check_at_least("--strongest", args.strongest, 1)
    check_at_least("--dpi", args.dpi, 1)
    images, problems = find_images(args.images, recursive=args.recursive)
    if problems:
        raise problems[0]
    if len(images) > MOST_FACES:
        raise InputError(f"Expected at most {MOST_FACES} images in one plot (got {len(images)}). Name fewer.")
    targets = _targets(args, images)
    boxes = None if args.boxes is None else map(read_boxes_of(args.boxes, images).find, images)
    predictor = load_predictor(args)
    scheme = predictor.detector.scheme
    if predictor.detector.refiner is None:
        raise InputError(f"Expected a model with a graph (got '{args.model}', which has none).")
    chosen = find_landmarks(scheme, args.landmarks)
    rows: list[tuple[PreparedImage, Face]] = []
    with short_warnings():
        for image, faces in predictor.stream(
            map(load_input, images), boxes, names=map(str, images), return_connectivity=True
        ):
            rows += [(image, face) for face in faces]
            if len(rows) > MOST_FACES:
                raise InputError(f"Expected at most {MOST_FACES} faces in one plot (got more). Name fewer images.")
    if not rows:
        raise InputError("Expected a face in at least one image (got none). Give its box with '--boxes'.")
    weights = [face.connectivity for _, face in rows if face.connectivity is not None]
    titles = _titles([printable(image.name) for image, _ in rows])
    _print_statistics(weights, titles, scheme, chosen, args.strongest)
    with writing_to(args.output):
        for path, strongest, heat_map in targets:
            figure = draw_connectivity(
                [image.image for image, _ in rows],
                [face for _, face in rows],
                scheme,
                chosen,
                strongest=strongest,
                heat_map=heat_map,
                titles=titles,
            )
            with write_from_memory(path) as buffer:
                figure.savefig(buffer, format=args.format, dpi=args.dpi)
    tell("note", f"written: {', '.join(str(path) for path, _, _ in targets)}.")
    return 0


def _targets(args: argparse.Namespace, images: Sequence[Path]) -> list[tuple[Path, int, bool]]:
    """For each plot: its path, the number of edges into each landmark, and whether it is a heat map."""
    from lgcn.checks import InputFileError
    from lgcn.files import real_path

    folder = args.output
    check_writable_folder("--output", folder)
    targets = [(folder / f"connectivity_heat_map.{args.format}", 0, True)]
    if args.landmarks:
        targets.insert(0, (folder / f"connectivity_edges.{args.format}", args.strongest, False))
    inputs = set(map(real_path, images))
    for path, _, _ in targets:
        if real_path(path) in inputs:
            raise InputFileError(
                f"Expected another folder for '--output' (got '{folder}', where '{path.name}' would replace an input)."
            )
    check_not_replaced([path for path, _, _ in targets], args.overwrite)
    return targets


def _titles(names: Sequence[str]) -> list[str]:
    """File names, with folders if two are equal, and the face number if an image has several."""
    equal = len({Path(name).name for name in names}) < len(set(names))
    titles: list[str] = []
    for row, name in enumerate(names):
        face = f", face {names[:row].count(name)}" if names.count(name) > 1 else ""
        titles.append((name if equal else Path(name).name) + face)
    return titles


def _print_statistics(
    weights: Sequence["Tensor"], titles: Sequence[str], scheme: "LandmarkScheme", chosen: Sequence[int], strongest: int
) -> None:
    """Print the distance of each face's weights from uniform ones, from those of the first face, and the strongest."""
    from lgcn.visualization.edge_grid import are_shares, strongest_into

    signed = any((weight < 0).any() for weight in weights)
    describe = _describe_signed if signed else _describe if are_shares(weights) else _describe_responses
    for title, weight in zip(titles, weights, strict=True):
        print(f"{title}: {describe(weight)}")
        if weight is not weights[0]:
            change = (weight - weights[0]).abs().sum()
            if describe is not _describe:
                print(f"  changed by {change / weights[0].abs().sum():.1%} of the size of {titles[0]}'s weights")
            else:
                print(f"  {change / (2 * len(weight)):.1%} of the weight lies on other edges than in {titles[0]}")
        for i in chosen:
            edges = zip(*(each.tolist() for each in strongest_into(i, weight, strongest)), strict=True)
            print(f"  into {scheme.names[i]}: {', '.join(f'{scheme.names[j]} {e:.3f}' for j, e in edges)}")


def _describe(weight: "Tensor") -> str:
    """Statistics of weights [K, K], all 0 or more."""
    from lgcn.visualization.connectivity import uniform_weight

    uniform = uniform_weight(weight)
    times = weight[weight > 0] / uniform
    neighbours = weight.xlogy(weight).sum(dim=1).neg().exp().mean()
    return (
        f"e_ij from {times.min():.2g} to {times.max():.3g} times the uniform weight 1/{round(1 / uniform)} "
        f"(median {times.median():.2g}), equivalent to {neighbours:.1f} equal neighbours"
    )


def _describe_responses(weight: "Tensor") -> str:
    """Statistics of weights [K, K] that do not add up to 1, such as those of a Gaussian refiner."""
    own, others = weight.diagonal(), weight[~weight.new_ones(len(weight)).diag().bool()]
    of_own = f", own weights from {own.min():.2g} to {own.max():.2g} (median {own.median():.2g})" if own.any() else ""
    return f"e_ij from {others.min():.2g} to {others.max():.2g} (median {others.median():.2g}){of_own}"


def _describe_signed(weight: "Tensor") -> str:
    """Statistics of weights [K, K] of both signs."""
    edges = weight[weight != 0]
    negative = (edges < 0).float().mean()
    return f"e_ij from {edges.min():.3g} to {edges.max():.3g} (median {edges.median():.2g}), {negative:.1%} negative"

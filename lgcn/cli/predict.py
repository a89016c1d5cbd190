"""``lgcn predict``: landmarks of images as JSON, CSV or ``.pts`` files, and drawn over the images."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lgcn.cli.images import find_images, predict_images, prepare_images, read_boxes_of
from lgcn.cli.messages import counted, short_warnings, tell
from lgcn.cli.output_folder import OutputFolder
from lgcn.cli.standard_output import StandardOutput
from lgcn.cli.stopping import stoppable

if TYPE_CHECKING:
    from lgcn.predict import BoxTable, LandmarkPredictor

EPILOG = """\
examples:
  lgcn predict photo.jpg
      prints the landmarks of every face as JSON
  lgcn predict photo.jpg --output out --overlay
      writes them to out/landmarks.json, and draws them over the photo
  lgcn predict photos -r --output out --format csv
      all images in photos and its subfolders, one row per face
  lgcn predict photos --boxes boxes.csv --output out
      faces with given boxes

Unusable images are reported and skipped; the exit status is then 2. Results
are written image by image to landmarks.part.jsonl in the output folder, which
becomes landmarks.json at the end. An interrupted run (Ctrl-C: exit status 130,
SIGTERM: 143) writes the results so far; a killed run leaves the part file, one
line per image."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options; nothing slow is imported for ``--help``."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = EPILOG
    add_input_arguments(parser)
    parser.add_argument("--output", type=Path, metavar="DIR", help="folder to write to (default: print JSON or CSV)")
    parser.add_argument("--overwrite", action="store_true", help="replace earlier results in the folder")
    parser.add_argument(
        "--format",
        choices=("json", "csv", "pts"),
        default="json",
        help="json, csv (a row per face) or pts (a 1-based file per face: NAME.pts, NAME_1.pts, ...); default: json",
    )
    parser.add_argument("--overlay", action="store_true", help="also draw the landmarks over each image with a face")
    parser.add_argument(
        "--edges", type=int, default=0, metavar="N", help="also draw the N strongest learned edges (needs --overlay)"
    )


def add_input_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what commands share that predict landmarks: images, their boxes, and the model."""
    parser.add_argument("images", nargs="+", type=Path, metavar="IMAGE|DIR", help="image files and folders")
    parser.add_argument("-r", "--recursive", action="store_true", help="also search subfolders (links are followed)")
    parser.add_argument(
        "--model",
        default="lgcn-68",
        help="shipped name, folder, .ckpt of lgcn fit, .onnx of lgcn export or hub id (default: lgcn-68)",
    )
    parser.add_argument(
        "--boxes",
        type=Path,
        metavar="FILE",
        help="face boxes in pixels, instead of detecting faces: CSV with image,x0,y0,x1,y1, "
        "JSON {image: [[x0, y0, x1, y1], ...]}, or what lgcn predict writes",
    )
    parser.add_argument(
        "--min-confidence",
        type=float,
        metavar="C",
        help="drop a detected face if the mean confidence of its landmarks is below C; lower it if faces are missed, "
        "raise it if there are false positives (default: the model's own value)",
    )
    parser.add_argument(
        "--max-pixels",
        type=int,
        metavar="N",
        help="refuse images of more pixels, each of which takes about 8 bytes of memory (default: 134217728)",
    )
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1, mps, ... (default: cpu)")
    parser.add_argument("--batch-size", type=int, default=32, metavar="N", help="faces in a batch (default: 32)")


def run(args: argparse.Namespace) -> int:
    """Predicts and writes; 2 if an input could not be used, else 0."""
    _check_options(args)
    images, problems = find_images(args.images, recursive=args.recursive)
    if len(args.images) == 1 and problems:
        raise problems[0]
    for problem in problems:
        tell("error", problem)
    target = (
        StandardOutput(args.format)
        if args.output is None
        else OutputFolder(
            args.output,
            images,
            file_format=args.format,
            overlay=args.overlay,
            edges=args.edges,
            overwrite=args.overwrite,
        )
    )
    if images:
        table = None if args.boxes is None else read_boxes_of(args.boxes, images)
        predictor = load_predictor(args)
        if args.edges:
            _check_graph(predictor, args.model)
        with stoppable(), short_warnings():
            _predict(predictor, images, table, target, args, problems)
        if args.output is not None and target.num_images:
            tell("note", f"{target.describe()}.")
    if problems:
        done = counted(target.num_images, "image")
        tell("error", f"{counted(len(problems), 'input')} could not be used; results for {done}.")
    return 2 if problems else 0


def _predict(
    predictor: "LandmarkPredictor",
    images: Sequence[Path],
    table: "BoxTable | None",
    target: OutputFolder | StandardOutput,
    args: argparse.Namespace,
    problems: list[Exception],
) -> None:
    """Predicts all images; whatever ends it, the results of those that are done are written."""
    # Alone, an image that cannot be read is the error of the command; among others, it must not cost their results.
    alone = len(args.images) == len(images) == 1
    prepared = prepare_images(predictor, images, table, None if alone else problems)
    scheme = predictor.detector.scheme
    try:
        for image, faces in predict_images(predictor, prepared, args.edges > 0):
            target.write(image, faces, scheme)
        target.finish()
    except BaseException as first:
        if isinstance(first, BrokenPipeError) and args.output is None:
            raise  # the reader closed the pipe, as in `lgcn predict ... | head`
        try:
            target.finish()
        except Exception as second:
            # A full disk, for instance: the landmarks stay in the part file.
            if str(second) != str(first):
                tell("error", second)
        if target.num_images:
            by = str(first) or "Ctrl-C" if isinstance(first, KeyboardInterrupt) else "an error"
            tell("note", f"Stopped by {by} after {target.num_images} of {len(images)} images. {target.describe()}.")
        raise


def load_predictor(args: argparse.Namespace) -> "LandmarkPredictor":
    """The predictor that the options of :func:`add_input_arguments` ask for."""
    from lgcn.predict import LandmarkPredictor

    limit = {} if args.max_pixels is None else {"max_pixels": args.max_pixels}
    return LandmarkPredictor.from_pretrained(
        args.model, device=args.device, batch_size=args.batch_size, min_confidence=args.min_confidence, **limit
    )


def _check_graph(predictor: "LandmarkPredictor", model: str) -> None:
    from lgcn.checks import InputError

    if predictor.detector.refiner is None:
        raise InputError(f"Expected a model with a graph for '--edges' (got '{model}', which has none).")


def _check_options(args: argparse.Namespace) -> None:
    from lgcn.checks import InputError

    if args.output is None and (args.overlay or args.format == "pts"):
        option = "--overlay" if args.overlay else "--format pts"
        raise InputError(f"Expected '--output' with the folder to write to, which '{option}' needs (got none).")
    if args.edges < 0 or (args.edges and not args.overlay):
        raise InputError(
            f"Expected '--edges' to be 0 or more, and '--overlay' to draw them on (got --edges {args.edges}"
            f"{'' if args.overlay else ' without --overlay'})."
        )

"""``lgcn predict``: landmarks of pictures as JSON, CSV or ``.pts`` files, and pictures of them."""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from lgcn.cli.images import find_images, predict_images, prepare_images, read_boxes_of, short_warnings
from lgcn.cli.output_folder import OutputFolder, tell, writing_to

if TYPE_CHECKING:
    from lgcn.predict import Face, LandmarkPredictor


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options; nothing heavy is imported for ``--help``."""
    parser.add_argument(
        "images",
        nargs="+",
        type=Path,
        metavar="IMAGE|DIR",
        help="pictures, and folders whose pictures are taken (not those of folders in them, nor earlier overlays)",
    )
    parser.add_argument(
        "--model", default="lgcn-68", help="shipped name, folder, .ckpt of lgcn fit or hub id (default: lgcn-68)"
    )
    parser.add_argument(
        "--boxes",
        type=Path,
        metavar="FILE",
        help="face boxes, instead of finding faces: CSV with image,x0,y0,x1,y1, "
        "JSON {image: [[x0, y0, x1, y1], ...]}, or what this command writes",
    )
    parser.add_argument("--output", type=Path, metavar="DIR", help="folder to write to (default: print, JSON and CSV)")
    parser.add_argument(
        "--format",
        choices=("json", "csv", "pts"),
        default="json",
        help="json, csv (one row a face), or pts (one 1-based file a face: NAME.pts, NAME_1.pts, ...) (default: json)",
    )
    parser.add_argument("--overlay", action="store_true", help="also draw the landmarks over each picture with a face")
    parser.add_argument(
        "--edges", type=int, default=0, metavar="N", help="draw the N strongest learned edges too (needs --overlay)"
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
    """Predicts and writes; 2 if an input could not be used, of which each is named on stderr, else 0."""
    _check_options(args)
    pictures, problems = find_images(args.images)
    if len(args.images) == 1 and problems:
        raise problems[0]
    # Alone, a bad picture is the error of the command; among others, it must not cost their results.
    alone = len(args.images) == len(pictures) == 1
    for problem in problems:
        tell("error", problem)
    target = (
        None
        if args.output is None
        else OutputFolder(args.output, pictures, overlay=args.overlay, edges=args.edges, pts=args.format == "pts")
    )
    results: list[tuple[str, list[Face]]] = []
    if pictures:
        table = None if args.boxes is None else read_boxes_of(args.boxes, pictures)
        predictor = _load_predictor(args)
        with short_warnings():
            prepared = prepare_images(predictor, pictures, table, None if alone else problems)
            for picture, faces in predict_images(predictor, prepared, args.edges > 0):
                if target is not None:
                    target.write_image(picture, faces, predictor.detector.scheme)
                # Without the K x K weights, of which thousands of faces would fill the memory.
                results.append((picture.name, [replace(face, connectivity=None) for face in faces]))
        if results:
            _finish(args, results, predictor.detector.scheme.num_landmarks, target)
    if problems:
        done = _counted(len(results), "picture")
        tell("error", f"{_counted(len(problems), 'input')} could not be used; results for {done}.")
    return 2 if problems else 0


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


def _load_predictor(args: argparse.Namespace) -> "LandmarkPredictor":
    from lgcn.checks import InputError
    from lgcn.predict import LandmarkPredictor

    predictor = LandmarkPredictor.from_pretrained(
        args.model, device=args.device, batch_size=args.batch_size, min_confidence=args.min_confidence
    )
    if args.edges and predictor.detector.refiner is None:
        raise InputError(f"Expected a model with a graph for '--edges' (got '{args.model}', which has none).")
    return predictor


def _finish(
    args: argparse.Namespace,
    results: Sequence[tuple[str, list["Face"]]],
    num_landmarks: int,
    target: OutputFolder | None,
) -> None:
    """Writes or prints what there is one of for all pictures, and says what was written."""
    from lgcn.files import write_text
    from lgcn.predict import to_csv, to_json

    if args.format != "pts":
        text = to_json(results) if args.format == "json" else to_csv(results, num_landmarks)
        if target is None:
            sys.stdout.write(text)
            return
        path = target.folder / f"landmarks.{args.format}"
        with writing_to(target.folder):
            write_text(path, text)
        target.written.append(path)
    assert target is not None
    faces = _counted(sum(len(each) for _, each in results), "face")
    written = [str(path) for path in target.written]
    if len(written) > 3:
        written = [written[0], f"{len(written) - 2} more", written[-1]]
    tell("note", f"{faces} in {_counted(len(results), 'picture')}; written: {', '.join(written) or 'nothing'}.")


def _counted(number: int, thing: str) -> str:
    return f"{number} {thing}{'' if number == 1 else 's'}"

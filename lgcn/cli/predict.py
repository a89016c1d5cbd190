"""``lgcn predict``: landmarks of images as JSON, CSV or ``.pts`` files, and drawn over the images."""

import argparse
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lgcn.cli.images import find_images, load_input, read_boxes_of
from lgcn.cli.messages import counted, short_warnings, tell
from lgcn.cli.output_folder import OutputFolder
from lgcn.cli.standard_output import StandardOutput
from lgcn.cli.stopping import stoppable

if TYPE_CHECKING:
    from lgcn.predict import BoxTable, LandmarkPredictor

_ENOUGH_FOR_WORKERS = 16
_MOST_WORKERS = 8

EPILOG = """\
examples:
  lgcn predict photo.jpg
      prints the landmarks of every face as JSON
  lgcn predict photo.jpg --output out --overlay
      writes them to out/landmarks.json, and draws them over the photo
  lgcn predict photos -r --output out --format csv --workers 4
      all images in photos and its subfolders, one row per face
  lgcn predict photos -r --output out --format csv --workers 4 --resume
      goes on where that run was stopped, or adds new images to it
  lgcn predict 'photos/**/*.jpg' --boxes boxes.csv --output out
      a pattern, and faces with given boxes
  curl -s URL | lgcn predict - --format jsonl | jq .faces
      an image from standard input

An image that cannot be used is reported, also in out/unreadable.csv, and
skipped; the exit status is then 2. Results are written image by image to
out/landmarks.jsonl, one line of JSON for each; the other formats are made from
it at the end. A run that is stopped (Ctrl-C: exit status 130, SIGTERM: 143) or
killed keeps the images that were done."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options; nothing slow is imported for ``--help``."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = EPILOG
    add_input_arguments(parser)
    parser.add_argument(
        "--workers",
        type=int,
        metavar="N",
        help="processes that read images and detect faces while the network runs (default: one a core, 8 at most, for "
        f"{_ENOUGH_FOR_WORKERS} images or more, else 0)",
    )
    parser.add_argument("--output", type=Path, metavar="DIR", help="folder to write to (default: print JSON or CSV)")
    earlier = parser.add_mutually_exclusive_group()
    earlier.add_argument(
        "--resume", action="store_true", help="go on with the run in the folder; starts one if none is"
    )
    earlier.add_argument("--overwrite", action="store_true", help="replace earlier results in the folder")
    parser.add_argument(
        "--format",
        choices=("json", "jsonl", "csv", "npz", "coco", "pts"),
        default="json",
        help="json, jsonl (a line per image), csv (a row per face), npz (NumPy arrays), coco (COCO's results) or pts "
        "(a 1-based file per face: NAME.pts, NAME_1.pts, ...); default: json",
    )
    parser.add_argument("--overlay", action="store_true", help="also draw the landmarks over each image with a face")
    parser.add_argument(
        "--edges", type=int, default=0, metavar="N", help="also draw the N strongest learned edges (needs --overlay)"
    )


def add_input_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what commands share that predict landmarks: images, their boxes, and the model."""
    parser.add_argument(
        "images",
        nargs="+",
        type=Path,
        metavar="IMAGE|DIR|PATTERN",
        help="image files, folders, patterns such as 'photos/*.jpg', or - for standard input",
    )
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
    target = StandardOutput(args.format) if args.output is None else _output_folder(args, images)
    if images:
        _predict(images, target, args, problems)
    if problems:
        done = counted(target.num_images, "image")
        tell("error", f"{counted(len(problems), 'input')} could not be used; results for {done}.")
    return 2 if problems else 0


def _output_folder(args: argparse.Namespace, images: Sequence[Path]) -> OutputFolder:
    from lgcn import __version__

    settings = {
        "lgcn": __version__,
        "model": args.model,
        "boxes": None if args.boxes is None else str(args.boxes),
        "min_confidence": args.min_confidence,
    }
    return OutputFolder(
        args.output,
        images,
        settings,
        file_format=args.format,
        overlay=args.overlay,
        edges=args.edges,
        overwrite=args.overwrite,
        resume=args.resume,
    )


def _predict(
    images: Sequence[Path], target: OutputFolder | StandardOutput, args: argparse.Namespace, problems: list[Exception]
) -> None:
    """Predicts the images that are not done yet; whatever ends it, the results of those that are done are written."""
    from lgcn.cli.progress import Progress

    def report(name: str, error: Exception) -> None:
        # Alone, an image that cannot be read is the error of the command; among others, it must not cost their results.
        if len(args.images) == len(images) == 1:
            raise error
        tell("error", error)
        problems.append(error)
        target.report_unreadable(name, error)
        progress.advance()

    table = None if args.boxes is None else read_boxes_of(args.boxes, images)
    predictor = load_predictor(args)
    if args.edges:
        _check_graph(predictor, args.model)
    waiting = [path for path in images if str(path) not in target.done]
    workers = _default_workers(len(waiting)) if args.workers is None else args.workers
    progress = Progress(len(images), len(images) - len(waiting))
    try:
        with stoppable(), short_warnings(), progress:
            target.start(predictor.detector.scheme)
            if table is not None:
                waiting = [path for path in waiting if _has_boxes(table, path, report)]
            for image, faces in predictor.stream(
                map(load_input, waiting),
                None if table is None else map(table.find, waiting),
                names=map(str, waiting),
                workers=workers,
                on_error=report,
                return_connectivity=args.edges > 0,
            ):
                target.write(image, faces)
                progress.advance()
            target.finish()
    except BaseException as first:
        if isinstance(first, BrokenPipeError) and args.output is None:
            raise  # the reader closed the pipe, as in `lgcn predict ... | head`
        try:
            target.finish()
        except Exception as second:
            # A full disk, for instance: the landmarks stay in the record.
            if str(second) != str(first):
                tell("error", second)
        if target.num_images:
            by = str(first) or "Ctrl-C" if isinstance(first, KeyboardInterrupt) else "an error"
            tell("note", f"Stopped by {by} after {target.num_images} of {len(images)} images. {target.describe()}.")
        raise
    if args.output is not None and target.num_images:
        tell("note", f"{target.describe()}; {progress.rate():.2f} images/s.")


def _has_boxes(table: "BoxTable", path: Path, report: Callable[[str, Exception], None]) -> bool:
    from lgcn.checks import InputFileError

    try:
        table.find(path)
    except InputFileError as error:
        report(str(path), error)
        return False
    return True


def _default_workers(images: int) -> int:
    return min(os.cpu_count() or 1, _MOST_WORKERS) if images >= _ENOUGH_FOR_WORKERS else 0


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

    whole = args.format in ("npz", "coco", "pts")
    needs_folder = {"--overlay": args.overlay, f"--format {args.format}": whole, "--resume": args.resume}
    option = next((name for name, given in needs_folder.items() if given), None)
    if args.output is None and option:
        raise InputError(f"Expected '--output' with the folder to write to, which '{option}' needs (got none).")
    if args.edges < 0 or (args.edges and not args.overlay):
        raise InputError(
            f"Expected '--edges' to be 0 or more, and '--overlay' to draw them on (got --edges {args.edges}"
            f"{'' if args.overlay else ' without --overlay'})."
        )

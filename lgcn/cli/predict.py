"""``lgcn predict``: landmarks of images as JSON, CSV or ``.pts`` files, and drawn over the images."""

import argparse
import hashlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lgcn.cli.images import find_images, load_input, read_boxes_of
from lgcn.cli.messages import counted, short_warnings, tell
from lgcn.cli.output_folder import OutputFolder
from lgcn.cli.predictor_options import add_input_arguments, load_predictor
from lgcn.cli.standard_output import StandardOutput
from lgcn.cli.stopping import stoppable

if TYPE_CHECKING:
    from lgcn.predict import BoxTable, LandmarkPredictor

MARKS = ("ellipses", "confidence", "initial", "indices", "boxes")
"""What ``--draw`` takes: names of arguments of :func:`lgcn.visualization.draw_landmarks`."""

_ENOUGH_FOR_WORKERS = 16
_MOST_WORKERS = 8
_LARGEST_CROP = 4096
_DETECT_EVERY, _SMOOTHING = 30, 1.0

EPILOG = """\
examples:
  lgcn predict photo.jpg
      prints the landmarks of every face as JSON
  lgcn predict photo.jpg --output out --overlay
      writes them to out/landmarks.json, and draws them over the photo
  lgcn predict photos -r --output out --format csv --workers 4
      all images in photos and its subfolders, one row per face
  lgcn predict photos -r --output out --format csv --workers 4 --resume
      continues where that run was stopped, or adds new images to it
  lgcn predict 'photos/**/*.jpg' --boxes boxes.csv --output out
      a pattern, and faces with given boxes
  curl -s URL | lgcn predict - --format jsonl | jq .faces
      an image from standard input
  lgcn predict clip.mp4 --output out --overlay
      a video: each face with a number and smoothed landmarks, a line of JSON
      for each frame in out/clip.jsonl, and drawn in out/clip_overlay.mp4
  lgcn predict webcam | jq '.faces[].track'
      the first camera of this machine, frame by frame

An image that cannot be used is reported, also in out/unreadable.csv, and
skipped; the exit status is then 2. Results are written image by image to
out/landmarks.jsonl, one line of JSON for each; the other formats are made from
it at the end. A run that is stopped (Ctrl-C: exit status 130, SIGTERM: 143) or
killed keeps the images that were done."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options; nothing slow is imported for ``--help``."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = EPILOG
    parser.usage = "lgcn predict IMAGE|VIDEO [...] [--output DIR] [options]"
    add_input_arguments(
        parser,
        "image files, folders, patterns such as 'photos/*.jpg', - for standard input; or videos, webcam, webcam:1",
    )
    results = parser.add_argument_group("results")
    results.add_argument("--output", type=Path, metavar="DIR", help="folder to write to (default: print JSON or CSV)")
    results.add_argument(
        "--format",
        choices=("json", "jsonl", "csv", "npz", "coco", "pts"),
        default="json",
        metavar="NAME",
        help="json, jsonl (a line per image), csv (a row per face), npz (NumPy arrays), coco (COCO's results) or pts "
        "(a 1-based file per face: NAME.pts, NAME_1.pts, ...); default: json",
    )
    results.add_argument("--overlay", action="store_true", help="also draw the landmarks over each image with a face")
    results.add_argument(
        "--draw",
        type=_marks,
        default=(),
        metavar="MARK,...",
        help="draw more over the image: ellipses (90 %% of errors), confidence (as colour), initial (before the "
        "graph), indices, boxes (needs --overlay)",
    )
    results.add_argument(
        "--edges", type=int, default=0, metavar="N", help="also draw the N strongest learned edges (needs --overlay)"
    )
    results.add_argument(
        "--aligned",
        type=int,
        metavar="SIZE",
        help="also cut each face out, upright and SIZE pixels wide: NAME_aligned.png, with the transform in "
        "landmarks.jsonl",
    )
    results.add_argument(
        "--report", action="store_true", help="also write report.html: scores, and thumbnails of the worst faces first"
    )
    video = parser.add_argument_group("videos and webcams (pip install 'lgcn[video]')")
    video.add_argument(
        "--detect-every",
        type=int,
        default=_DETECT_EVERY,
        metavar="N",
        help="search for new faces every N frames; known faces are tracked from frame to frame (default: 30)",
    )
    video.add_argument(
        "--smoothing",
        type=float,
        default=_SMOOTHING,
        metavar="S",
        help="strength of the smoothing: 0 for none, above 1 for calmer landmarks with more lag (default: 1)",
    )
    long_runs = parser.add_argument_group("long runs")
    long_runs.add_argument(
        "--workers",
        type=int,
        metavar="N",
        help="processes that read images and detect faces while the network runs (default: one a core, 8 at most, for "
        f"{_ENOUGH_FOR_WORKERS} images or more, else 0)",
    )
    earlier = long_runs.add_mutually_exclusive_group()
    earlier.add_argument("--resume", action="store_true", help="continue the run in the folder, if there is one")
    earlier.add_argument("--overwrite", action="store_true", help="replace earlier results in the folder")
    long_runs.add_argument(
        "--ray",
        metavar="ADDRESS",
        help="predict on a Ray cluster (auto, ray://host:10001 or local) and write Parquet to --output; images and "
        "output may lie in an object store (s3://...)",
    )


def _marks(text: str) -> tuple[str, ...]:
    marks = tuple(text.split(","))
    for mark in marks:
        if mark not in MARKS:
            raise argparse.ArgumentTypeError(f"choose from {','.join(MARKS)} (got '{mark}')")
    return marks


def run(args: argparse.Namespace) -> int:
    """Predict and write; 2 if an input could not be used, else 0."""
    from lgcn.checks import InputError

    _check_options(args)
    if args.ray is not None:
        from lgcn.cli import predict_on_ray

        predict_on_ray.run(args)
        return 0
    if any(map(_is_video, args.images)):
        from lgcn.cli import predict_video

        return predict_video.run(args)
    if (args.detect_every, args.smoothing) != (_DETECT_EVERY, _SMOOTHING):
        raise InputError("Expected a video or a webcam for '--detect-every' and '--smoothing' (got images).")
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


def _is_video(path: Path) -> bool:
    from lgcn.video import is_video

    # Path.is_dir raises for names that are too long, and below folders that may not be entered.
    return not os.path.isdir(path) and is_video(path)  # noqa: PTH112


def _output_folder(args: argparse.Namespace, images: Sequence[Path]) -> OutputFolder:
    from lgcn import __version__

    read = {"model": Path(args.model), "boxes": args.boxes, "face_weights": args.face_weights}
    settings = {
        "lgcn": __version__,
        "model": args.model,
        "boxes": None if args.boxes is None else str(args.boxes),
        "min_confidence": args.min_confidence,
        "faces": args.faces,
        "face_weights": None if args.face_weights is None else str(args.face_weights),
        "min_face": args.min_face,
        "max_side": args.max_side,
        "upright_only": args.upright_only,
        "flip_test": args.flip_test,
        "aligned": args.aligned,
        # The same path may hold another model by the time a run is resumed.
        **{f"{name}_sha256": None if path is None else _digest(path) for name, path in read.items()},
    }
    return OutputFolder(
        args.output,
        images,
        settings,
        file_format=args.format,
        overlay={"edges": args.edges, **dict.fromkeys(args.draw, True)} if args.overlay else None,
        aligned=args.aligned,
        report=args.report,
        overwrite=args.overwrite,
        resume=args.resume,
    )


def _digest(path: Path) -> str | None:
    """Of a file, or of the model in a folder; None if there is neither, as for the name of a shipped model."""
    files = [path] if path.is_file() else sorted(path.glob("*.json")) + sorted(path.glob("*.safetensors"))
    digest = hashlib.sha256()
    for each in files:
        digest.update(each.read_bytes())
    return digest.hexdigest() if files else None


def _predict(
    images: Sequence[Path], target: OutputFolder | StandardOutput, args: argparse.Namespace, problems: list[Exception]
) -> None:
    """Predict the images that are not done yet; whatever ends it, the results of those that are done are written."""
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
        tell("note", f"{target.describe()}{f'; {progress.rate():.2f} images/s' if waiting else ''}.")


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


def _check_graph(predictor: "LandmarkPredictor", model: str) -> None:
    from lgcn.checks import InputError

    if predictor.detector.refiner is None:
        raise InputError(f"Expected a model with a graph for '--edges' (got '{model}', which has none).")


def _check_options(args: argparse.Namespace) -> None:
    from lgcn.checks import InputError

    whole = args.format in ("npz", "coco", "pts")
    needs_folder = {f"--{name}": getattr(args, name) for name in ("overlay", "aligned", "report", "resume")}
    needs_folder[f"--format {args.format}"] = whole
    option = next((name for name, given in needs_folder.items() if given), None)
    if args.output is None and option:
        raise InputError(f"Expected '--output' with the folder to write to, which '{option}' needs (got none).")
    if args.aligned is not None and not 8 <= args.aligned <= _LARGEST_CROP:
        raise InputError(f"Expected '--aligned' to be 8 to {_LARGEST_CROP} pixels (got {args.aligned}).")
    if args.draw and not args.overlay:
        raise InputError("Expected '--overlay', which '--draw' adds to (got none).")
    if args.edges < 0 or (args.edges and not args.overlay):
        raise InputError(
            f"Expected '--edges' to be 0 or more, and '--overlay' to draw them on (got --edges {args.edges}"
            f"{'' if args.overlay else ' without --overlay'})."
        )

"""``lgcn predict`` for videos and webcams: a line of JSON for each frame, and the video with landmarks."""

import argparse
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from lgcn.cli.messages import short_warnings, tell
from lgcn.cli.predictor_options import load_predictor
from lgcn.cli.result_names import unique_stems
from lgcn.cli.stopping import stoppable
from lgcn.cli.writable import check_not_replaced, check_writable_folder

if TYPE_CHECKING:
    from lgcn.predict import LandmarkPredictor

_FOR_IMAGES = ("edges", "aligned", "report", "resume", "workers", "ray", "boxes", "recursive")
"""Options that a video does not take."""


def run(args: argparse.Namespace) -> int:
    """Predict the videos one after the other, and write; 2 if one of several could not be used, else 0."""
    from lgcn.checks import InputError
    from lgcn.cli.video_folder import video_files

    _check_options(args)
    # A camera's name is no file's name: webcam:1, webcam:/dev/video2.
    stems = unique_stems([Path(str(path).replace(":", "_")) for path in args.images])
    if args.output is not None:
        check_writable_folder("--output", args.output)
        results = [file for stem in stems for file in video_files(args.output, stem, args.overlay)]
        _check_inputs(args.images, results)
        check_not_replaced(results, args.overwrite)
    predictor = load_predictor(args)
    status = 0
    for path, stem in zip(args.images, stems, strict=True):
        try:
            _predict(path, stem, predictor, args)
        except InputError as error:
            # Alone, a video that cannot be read is the error of the command; among others, it must not cost theirs.
            if len(args.images) == 1:
                raise
            tell("error", error)
            status = 2
    return status


def _check_options(args: argparse.Namespace) -> None:
    from lgcn.checks import InputError
    from lgcn.video import is_video

    images = [path for path in args.images if not is_video(path)]
    if images:
        raise InputError(f"Expected either images or videos (got videos and '{images[0]}'). Use a command for each.")
    option = next((f"--{name}" for name in _FOR_IMAGES if getattr(args, name)), None)
    if args.format not in ("json", "jsonl"):
        option = f"--format {args.format}"
    if option:
        raise InputError(f"Expected options that videos take, whose results are JSON Lines (got '{option}').")
    if args.output is None and len(args.images) > 1:
        raise InputError("Expected '--output' with the folder to write to, which several videos need (got none).")


def _check_inputs(videos: list[Path], results: list[Path]) -> None:
    from lgcn.checks import InputFileError
    from lgcn.files import real_path

    replaced = set(map(real_path, videos)) & set(map(real_path, results))
    if replaced:
        raise InputFileError(f"Expected another '--output' (got one where '{replaced.pop()}' would be replaced).")


def _predict(path: Path, stem: str, predictor: "LandmarkPredictor", args: argparse.Namespace) -> None:
    """Predict one video; whatever ends it, the frames that are done are written."""
    from lgcn.cli.progress import Progress
    from lgcn.cli.standard_output import StandardOutput
    from lgcn.cli.video_folder import VideoFolder
    from lgcn.video import KalmanSmoother, LandmarkTracker, VideoReader, to_frame_record

    smoother = KalmanSmoother(args.smoothing) if args.smoothing else None
    tracker = LandmarkTracker(predictor, detect_every=args.detect_every, smoother=smoother)
    printed, folder = StandardOutput("jsonl"), None
    with ExitStack() as resources:
        video = resources.enter_context(VideoReader(path))
        if args.output is not None:
            marks = dict.fromkeys(args.draw, True) if args.overlay else None
            folder = VideoFolder(args.output, stem, predictor.detector.scheme, video.frame_rate, marks)
        progress = resources.enter_context(Progress(video.num_frames, unit="frame"))
        for context in (stoppable(), short_warnings()):
            resources.enter_context(context)
        try:
            for frame, faces in tracker.stream(video):
                if folder is None:
                    printed.write_record(to_frame_record(frame, faces))
                else:
                    folder.write(frame, faces)
                progress.advance()
        except KeyboardInterrupt as stop:
            tell("note", f"Stopped by {str(stop) or 'Ctrl-C'}.")
            raise
        finally:
            if folder is not None:
                folder.close()
                if folder.num_frames:
                    tell("note", f"{folder.describe()}; {progress.rate():.2f} frames/s.")

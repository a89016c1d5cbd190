"""``lgcn export``: write a detector as an ONNX, ``torch.export`` or AOTInductor file, and compare it with the model."""

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lgcn.cli.predictor_options import add_flip_test_argument

if TYPE_CHECKING:
    from torch import Tensor

    from lgcn.export import ExportMetadata, ParityReport
    from lgcn.models import LandmarkDetector

EPILOG = """\
examples:
  lgcn export lgcn-68 --output lgcn-68.onnx
      from pixels of face crops to landmarks, in one file
  lgcn predict photo.jpg --model lgcn-68.onnx
      runs it with ONNX Runtime
  lgcn export model --output model.onnx --images photos --int8
      also writes model.int8.onnx, calibrated with the faces in photos
  lgcn export lgcn-68 --format aoti --output lgcn-68.pt2
      compiled for CPUs like this one

The file is compared with the model on the faces in --images; the largest
differences are printed and written to --report. The exit status is 1 if
landmarks differ by more than 0.001 pixels."""

LEAST_TO_CALIBRATE = 16
"""Crops below which scales of int8 are a guess, and a note says so."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options; nothing slow is imported for ``--help``."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = EPILOG
    parser.add_argument("model", metavar="MODEL", help="shipped name, folder, .ckpt of lgcn fit or hub id")
    parser.add_argument("--output", type=Path, required=True, metavar="FILE", help="file to write")
    parser.add_argument(
        "--format",
        choices=("onnx", "torch_export", "aoti"),
        default="onnx",
        help="onnx, torch_export (for torch.export.load) or aoti (compiled by AOTInductor; needs a C++ compiler); "
        "default: onnx",
    )
    parser.add_argument(
        "--dtype",
        choices=("uint8", "float32"),
        default="uint8",
        help="type of the pixels: uint8, or float32 in 0 to 1; default: uint8",
    )
    add_flip_test_argument(parser)
    parser.add_argument(
        "--int8", action="store_true", help="also write FILE with the suffix .int8.onnx, quantised for CPUs"
    )
    parser.add_argument(
        "--images",
        type=Path,
        nargs="+",
        metavar="IMAGE|DIR",
        help="photos whose faces the file is compared on, and calibrated with, or whole images if the landmarks are of "
        "other things (default: one photo, in 16 crops)",
    )
    parser.add_argument(
        "--max-faces", type=int, default=200, metavar="N", help="faces that are used of --images (default: 200)"
    )
    parser.add_argument("--report", type=Path, metavar="FILE", help="also write the comparison to FILE, as JSON")
    parser.add_argument("--overwrite", action="store_true", help="replace files that exist")


def run(args: argparse.Namespace) -> int:
    """Exports, compares and writes; 1 if the file does not agree with the model, else 0."""
    from lgcn.checks import InputError, check_at_least
    from lgcn.cli.messages import tell
    from lgcn.cli.writable import check_not_replaced, check_writable_file, writing_to
    from lgcn.export import compare_file, export_detector, quantize
    from lgcn.files import write_text
    from lgcn.models import LandmarkDetector

    check_at_least("--max-faces", args.max_faces, 1)
    if args.int8 and args.format != "onnx":
        raise InputError(f"Expected '--format onnx' for '--int8' (got --format {args.format}).")
    small = args.output.with_suffix(".int8.onnx")
    files = [("--output", args.output), *([("--output", small)] if args.int8 else [])]
    files += [("--report", args.report)] if args.report else []
    for option, path in files:
        check_writable_file(option, path)
    check_not_replaced([path for _, path in files], args.overwrite)
    detector = LandmarkDetector.from_pretrained(args.model, flip_test=args.flip_test)
    with writing_to(args.output.parent):
        metadata = export_detector(detector, args.output, args.format, args.dtype)
    crops = _crops(args, metadata, detector)
    report = compare_file(detector, args.output, args.format, crops, args.dtype)
    _print(args.output, report)
    reports: dict[str, Any] = {"model": args.model, "format": args.format, "file": _entry(args.output, report)}
    if args.int8:
        if len(crops) < LEAST_TO_CALIBRATE or args.images is None:
            tell("note", "int8 is calibrated with few faces. Give some dozens with '--images'.")
        # Different faces for the scales and for the comparison, where there are enough.
        half = crops[: max(1, len(crops) // 2)]
        with writing_to(small.parent):
            quantize(args.output, small, half if args.dtype == "uint8" else half.float() / 255)
        quantised = compare_file(detector, small, "onnx", crops[len(half) :] if len(crops) > 1 else crops, args.dtype)
        _print(small, quantised)
        reports["int8"] = _entry(small, quantised)
    if args.report:
        with writing_to(args.report.parent):
            write_text(args.report, json.dumps(reports, indent=2) + "\n")
    if not report.agrees:
        tell("error", f"'{args.output}' does not agree with the model to {1e-3:g} pixels.")
    return 0 if report.agrees else 1


def _crops(args: argparse.Namespace, metadata: "ExportMetadata", detector: "LandmarkDetector") -> "Tensor":
    """Crops of the faces in ``--images``, or of the sample photo."""
    import warnings

    import torch

    from lgcn.checks import InputError
    from lgcn.cli.images import find_images
    from lgcn.cli.messages import tell
    from lgcn.export import sample_crops
    from lgcn.geometry import crop_image
    from lgcn.images import read_image
    from lgcn.predict import LandmarkPredictor, NoFaceWarning, WholeImage

    if args.images is None:
        return sample_crops(metadata)
    paths, problems = find_images(args.images, recursive=True)
    # Only faces are found by themselves.
    find = None if detector.scheme.subject == "face" else WholeImage()
    predictor = LandmarkPredictor(detector, find, passes=1, turned=False)
    crops: list[Tensor] = []
    for path in paths:
        if len(crops) >= args.max_faces:
            break
        try:
            image = read_image(path)
        except InputError as error:
            problems.append(error)
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NoFaceWarning)
            faces = predictor(image)
        # Of what is no face, landmarks are noise: scales for it are wrong, and any two networks disagree.
        boxes = [face.box for face in faces if face.fit_probability is None or face.fit_probability >= 0.5]
        crops += [crop_image(image, box, metadata.input_size, **metadata.crop)[0] for box in boxes]
    for problem in problems:
        tell("error", problem)
    if not crops:
        raise InputError(
            f"Expected '--images' with at least one {detector.scheme.subject} (got none that was detected)."
        )
    return torch.stack(crops[: args.max_faces])


def _entry(path: Path, report: "ParityReport") -> dict[str, Any]:
    return {"path": str(path), "bytes": path.stat().st_size, **report.to_dict()}


def _print(path: Path, report: "ParityReport") -> None:
    from lgcn.files import printable

    differences = ", ".join(f"{name} {value:.1e}" for name, value in report.largest.items())
    print(
        printable(f"{path}: {path.stat().st_size / 1e6:.1f} MB"),
        f"compared on {report.num_crops} crops, largest differences: {differences}; batch {report.batch_px:.1e}",
        f"landmarks: median {report.median_px:.1e} px, {report.nme_percent:.2g} % of the box",
        sep="\n  ",
    )

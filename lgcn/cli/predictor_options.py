"""Options of the commands that predict landmarks: images, their boxes, the face detector and the model."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lgcn.cli.libraries import load_libraries

if TYPE_CHECKING:
    from lgcn.predict import LandmarkPredictor


def add_input_arguments(
    parser: argparse.ArgumentParser,
    images: str = "image files, folders, patterns such as 'photos/*.jpg', or - for standard input",
) -> None:
    """Add what commands share that predict landmarks: images, their faces, and the model."""
    parser.add_argument(
        "images",
        nargs="+",
        type=_path,
        metavar="IMAGE",
        help=images,
    )
    parser.add_argument("-r", "--recursive", action="store_true", help="also search subfolders (links are followed)")
    parser.add_argument(
        "--max-pixels",
        type=int,
        metavar="N",
        help="refuse images of more pixels, each of which takes about 8 bytes of memory (default: 134217728)",
    )
    faces = parser.add_argument_group("finding faces")
    faces.add_argument(
        "--boxes",
        type=Path,
        metavar="FILE",
        help="face boxes in pixels, instead of detecting faces: CSV with image,x0,y0,x1,y1, "
        "JSON {image: [[x0, y0, x1, y1], ...]}, or what lgcn predict writes",
    )
    faces.add_argument(
        "--faces",
        choices=("cascade", "mtcnn", "whole_image", "yunet"),
        metavar="NAME",
        help="cascade (frontal faces; needs nothing), mtcnn (small and turned ones; facenet-pytorch), yunet (the same; "
        "OpenCV and --face-weights) or whole_image (each image is one face, or one object of the model); "
        "default: cascade",
    )
    faces.add_argument("--face-weights", type=Path, metavar="FILE", help="ONNX file of yunet's weights")
    faces.add_argument(
        "--min-face",
        type=float,
        metavar="F",
        help="side of the smallest face to search for, as a fraction of the longer side of the image (default: 0.05 "
        "for cascade); for large group photos lower it and raise --max-side",
    )
    faces.add_argument(
        "--max-side",
        type=int,
        metavar="N",
        help="shrink larger images to N pixels for the search (default: 640 for cascade); slower if larger",
    )
    faces.add_argument(
        "--upright-only",
        action="store_true",
        help="do not try other orientations of the image if no face is found (steps of 30 degrees), nor of boxes whose "
        "landmarks do not fit (quarter turns)",
    )
    faces.add_argument(
        "--min-confidence",
        type=float,
        metavar="C",
        help="drop a detected face if the mean confidence of its landmarks is below C; lower it if faces are missed, "
        "raise it if there are false positives (default: the model's own value)",
    )
    model = parser.add_argument_group("the model")
    model.add_argument(
        "--model",
        default="lgcn-68",
        help="shipped name, folder, .ckpt of lgcn fit, .onnx of lgcn export or hub id (default: lgcn-68)",
    )
    add_flip_test_argument(model)
    model.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1, mps, ... (default: cpu)")
    model.add_argument("--batch-size", type=int, default=32, metavar="N", help="faces in a batch (default: 32)")


def add_flip_test_argument(parser: "argparse._ActionsContainer") -> None:
    """Add ``--flip-test``."""
    parser.add_argument(
        "--flip-test",
        action=argparse.BooleanOptionalAction,
        help="average heatmaps with those of the mirrored face, for twice the time (default: as the model was made)",
    )


def _path(text: str) -> Path:
    # Path("") is the current folder, which nobody means who leaves a variable of a script empty.
    if not text:
        raise argparse.ArgumentTypeError("expected a path (got an empty text)")
    return Path(text)


def load_predictor(args: argparse.Namespace) -> "LandmarkPredictor":
    """The predictor that the options of :func:`add_input_arguments` ask for."""
    from lgcn.checks import check_device
    from lgcn.export.onnx_detector import is_onnx
    from lgcn.predict import LandmarkPredictor

    # Wrong options are told before the seconds that the libraries take.
    options = predictor_options(args)
    check_device(args.device)
    if not is_onnx(args.model):
        load_libraries("lgcn.models")
    predictor = LandmarkPredictor.from_pretrained(args.model, **options)
    if args.boxes is None:
        predictor.prepare.check_finds_boxes()
    return predictor


def predictor_options(args: argparse.Namespace) -> dict[str, Any]:
    """The keyword arguments of :meth:`LandmarkPredictor.from_pretrained` that the options ask for."""
    from lgcn.checks import InputError
    from lgcn.predict import create_face_detector

    limit = {} if args.max_pixels is None else {"max_pixels": args.max_pixels}
    options = {"weights": args.face_weights, "min_face": args.min_face, "max_side": args.max_side}
    given = {name: value for name, value in options.items() if value is not None}
    if args.boxes is not None and (given or args.faces is not None):
        names = [f"--{name.replace('_', '-')}" for name in given if name != "weights"]
        option = names[0] if names else "--face-weights" if given else f"--faces {args.faces}"
        raise InputError(f"Expected either '--boxes' or options that find faces (got '--boxes' and '{option}').")
    if args.faces == "yunet" and args.face_weights is None:
        raise InputError("Expected '--face-weights' with the ONNX file of yunet (got none).")
    find_faces = None
    if args.faces is not None or given:
        find_faces = create_face_detector(args.faces or "cascade", **given)
    return {
        "device": args.device,
        "face_detector": find_faces,
        "batch_size": args.batch_size,
        "min_confidence": args.min_confidence,
        "turned": not args.upright_only,
        "flip_test": args.flip_test,
        **limit,
    }

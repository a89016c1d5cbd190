"""``lgcn refine``: improve the landmarks in a file by a refiner of ``lgcn fit-refiner``."""

import argparse
import sys
from pathlib import Path

EPILOG = """\
examples:
  lgcn refine points.json --refiner my-refiner
      prints the file with refined landmarks
  lgcn refine points.csv --refiner my-refiner --output refined.csv
      writes them to a file

Landmarks come as lgcn predict writes them (JSON, JSON Lines, CSV), or as COCO
results. Missing ones (null, NaN, an empty cell, or x, y, score 0 in COCO) are
filled in. Each landmark gets its expected error in pixels and, of refiners that
use confidences, whether it is probably covered. Outliers are listed by
landmark number, from 0. Other fields of the file are kept."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options; nothing slow is imported for ``--help``."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = EPILOG
    parser.add_argument("points", type=Path, metavar="FILE", help="landmarks of any detector")
    parser.add_argument("--refiner", required=True, metavar="DIR", help="folder of lgcn fit-refiner, or hub id")
    parser.add_argument(
        "--drop-outliers",
        type=int,
        default=0,
        metavar="N",
        help="replace up to N outliers of each object by what the others predict (default: 0, only name them)",
    )
    parser.add_argument(
        "--outlier-share",
        type=float,
        metavar="P",
        help="outliers contradict the others more than all but this share of the landmarks in the fit; larger where "
        "those had outliers, too (default: 0.002)",
    )
    parser.add_argument("--output", type=Path, metavar="FILE", help="file to write (default: print)")
    parser.add_argument("--overwrite", action="store_true", help="replace the file if it exists")


def run(args: argparse.Namespace) -> int:
    """Refine and write; the exit status."""
    from lgcn.checks import InputError, check_number
    from lgcn.cli.messages import counted, tell
    from lgcn.cli.writable import check_not_replaced, check_writable_file, writing_to
    from lgcn.files import write_text
    from lgcn.models import ShapeRefiner, refine
    from lgcn.models.shape_config import OUTLIER_SHARE
    from lgcn.predict.keypoint_files import read_keypoints

    if args.output is not None:
        check_not_replaced([args.output], args.overwrite)
        check_writable_file("--output", args.output)
    share = OUTLIER_SHARE if args.outlier_share is None else check_number("--outlier-share", args.outlier_share, 0, 1)
    refiner = ShapeRefiner.from_pretrained(args.refiner)
    file = read_keypoints(args.points)
    if not len(file):
        text = args.points.read_text(encoding="utf-8")
        tell("warning", f"No object to refine in '{args.points}'.")
    else:
        count = file.keypoints.pos.shape[1]
        if count != refiner.num_landmarks:
            raise InputError(
                f"Expected {refiner.num_landmarks} landmarks of each object in '{args.points}', as the refiner "
                f"'{args.refiner}' has (got {count})."
            )
        refined = refine(file.keypoints, refiner, args.drop_outliers, share)
        text = file.render(refined, share)
        filled = int((~refined.observed & refined.pos.isfinite().all(-1)).sum())
        tell(
            "note",
            f"{counted(len(file), 'object')} refined, {counted(filled, 'landmark')} filled in, "
            f"{counted(int(refined.outliers(share).sum()), 'outlier')}.",
        )
    if args.output is None:
        sys.stdout.write(text)
        return 0
    with writing_to(args.output):
        write_text(args.output, text)
    return 0

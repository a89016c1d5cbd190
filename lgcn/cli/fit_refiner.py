"""``lgcn fit-refiner``: fit a refiner of points to predictions of any detector and the true landmarks."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from lgcn.cli.dataset_options import add_dataset_option, parse_dataset_options

if TYPE_CHECKING:
    from torch import Tensor

    from lgcn.models import ShapeRefiner

EPILOG = """\
examples:
  lgcn fit-refiner points.json --dataset ibug300w --root 300w --split train --output my-refiner
      truth from a dataset; then: lgcn refine other.json --refiner my-refiner
  lgcn fit-refiner results.json --truth person_keypoints_val2017.json --output my-refiner
      COCO results and annotations
  lgcn fit-refiner points.csv --dataset pts --root faces --split all --scheme ten.yaml --output my-refiner
      landmarks of your own

It takes seconds to a minute: no training, no images. The predictions should be of images
that the detector was not trained on. Confidences are used if there are any."""

HELD_OUT = 5
"""Every fifth object measures a refiner that is fitted to the others."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options; nothing slow is imported for ``--help``."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = EPILOG
    parser.add_argument("points", type=Path, metavar="FILE", help="predicted landmarks, as for lgcn refine")
    parser.add_argument("--truth", type=Path, metavar="FILE", help="true landmarks: COCO annotations, or as FILE")
    parser.add_argument("--dataset", help="name of a dataset with the true landmarks, for instance ibug300w or pts")
    parser.add_argument("--root", type=Path, metavar="DIR", help="folder of the dataset")
    parser.add_argument("--split", help="its split")
    add_dataset_option(parser)
    parser.add_argument("--no-confidence", action="store_true", help="do not use the confidences")
    parser.add_argument("--rank", type=int, metavar="R", help="factors of the shape (default: 16, or what K allows)")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder to save the refiner in")
    parser.add_argument("--overwrite", action="store_true", help="replace a refiner in the folder")


def run(args: argparse.Namespace) -> int:
    """Fit, measure and save; the exit status."""
    from lgcn.checks import InputError
    from lgcn.cli.messages import counted, tell
    from lgcn.cli.writable import check_not_replaced, check_writable_folder, writing_to
    from lgcn.models.loading import CONFIG_NAME, WEIGHTS_NAME
    from lgcn.models.shape_statistics import LEAST_IMAGES
    from lgcn.predict.keypoint_files import read_keypoints
    from lgcn.predict.keypoint_matching import match_keypoints

    check_not_replaced([args.output / name for name in (CONFIG_NAME, WEIGHTS_NAME)], args.overwrite)
    check_writable_folder("--output", args.output)
    predicted = read_keypoints(args.points)
    truth_images, truth, scheme = _read_truth(args)
    true_source = args.truth or f"{args.root}, split {args.split}"
    for name, each in ((args.points, predicted.keypoints.pos), (true_source, truth)):
        if not len(each):
            raise InputError(f"Expected landmarks to fit to in '{name}' (got no object).")
    if predicted.keypoints.pos.shape[1] != truth.shape[1]:
        raise InputError(
            f"Expected {truth.shape[1]} landmarks of each object in '{args.points}', as in '{true_source}' (got "
            f"{predicted.keypoints.pos.shape[1]})."
        )
    matched = match_keypoints(predicted.images, predicted.keypoints.pos, truth_images, truth)
    rows, faces = matched.predicted, matched.true
    shapes, points = truth[faces], predicted.keypoints.pos[rows]
    scores = None if args.no_confidence else predicted.keypoints.confidence
    scores = None if scores is None else scores[rows]
    refiner = _fit(args, scheme, shapes, points, scores)
    print(
        f"fitted to {counted(len(rows), 'object')}; {len(predicted) - len(rows)} predicted ones have no truth, "
        f"{len(truth) - len(faces)} true ones no prediction"
    )
    if len(rows) < LEAST_IMAGES:
        tell(
            "warning",
            f"With fewer than {LEAST_IMAGES} objects none are held out: how far landmarks follow the others is not "
            "chosen, and expected errors and outliers are not calibrated.",
        )
    print(_measured(args, scheme, shapes, points, scores))
    with writing_to(args.output):
        refiner.save_pretrained(args.output)
    print(f"saved in '{args.output}'; use it with: lgcn refine FILE --refiner {args.output}")
    return 0


def _fit(
    args: argparse.Namespace, scheme: str | None, shapes: "Tensor", points: "Tensor", scores: "Tensor | None"
) -> "ShapeRefiner":
    from lgcn.models import ShapeRefiner
    from lgcn.options import update

    base = ShapeRefiner(num_landmarks=shapes.shape[1], use_confidence=scores is not None).config
    changes = {} if args.rank is None else {"gaussian": {"rank": args.rank}}
    return ShapeRefiner(update(base, {"scheme": scheme, **changes})).fit(shapes, points, scores)


def _measured(
    args: argparse.Namespace, scheme: str | None, shapes: "Tensor", points: "Tensor", scores: "Tensor | None"
) -> str:
    """Errors before and after, on objects that a second refiner is not fitted to."""
    import torch

    from lgcn.checks import InputError
    from lgcn.models import refine
    from lgcn.typing import KeyPoints

    held = torch.arange(len(shapes)) % HELD_OUT == 0
    try:
        refiner = _fit(args, scheme, shapes[~held], points[~held], None if scores is None else scores[~held])
    except InputError:
        return "too few objects to measure the gain on some that are held out"
    refined = refine(KeyPoints(points[held], None if scores is None else scores[held]), refiner)
    truth = shapes[held]
    centred = truth - truth.nanmean(dim=1, keepdim=True)
    size = centred.square().sum(-1).nanmean(dim=1, keepdim=True).sqrt()
    before, after = ((pos - truth).norm(dim=-1) / size for pos in (points[held], refined.pos))
    both = before.isfinite() & after.isfinite()
    before, after = 100 * before[both].mean(), 100 * after[both].mean()
    gain = f" ({100 * (after / before - 1):+.1f} %)" if before > 0 else ": nothing to gain, predictions are the truth"
    return f"held-out fifth: mean error {before:.3f} % -> {after:.3f} % of the radius of the shape{gain}"


def _read_truth(args: argparse.Namespace) -> "tuple[list[str], Tensor, str | None]":
    """Images, true landmarks (NaN where missing), and the scheme if it has a name."""
    import torch

    from lgcn.checks import InputError
    from lgcn.datasets import DATASETS
    from lgcn.predict.keypoint_files import read_keypoints

    if (args.truth is None) == (args.dataset is None):
        raise InputError("Expected the true landmarks as either '--truth FILE' or '--dataset NAME' (got both or none).")
    if args.truth is not None:
        if args.scheme is not None or args.dataset_option:
            raise InputError("Expected '--scheme' and '--dataset-option' with '--dataset' (got '--truth').")
        file = read_keypoints(args.truth)
        return file.images, file.keypoints.pos, None
    if args.root is None or args.split is None:
        raise InputError(f"Expected '--root' and '--split' of the dataset '{args.dataset}' (got none).")
    create = DATASETS[args.dataset]
    options = parse_dataset_options(args.dataset_option, create, args.scheme)
    dataset = create(args.root, split=args.split, **options)
    pos = dataset.pos.double().masked_fill((dataset.visibility == 0).unsqueeze(-1), torch.nan)
    return list(dataset.image_ids), pos, dataset.scheme.name

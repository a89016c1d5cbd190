"""``lgcn calibrate``: calibrate the expected errors of a detector on faces that it was not trained on."""

import argparse
from pathlib import Path

from lgcn.cli.dataset_options import add_dataset_option, parse_dataset_options

EPILOG = """\
example:
  lgcn calibrate --model runs/gaussian_frozen/version_0/model --dataset ibug300w --root 300w --output my-model
      on the faces that lgcn fit has held out for validation

Covariances and expected errors are scaled to be correct on average, and the
detector learns to recognise covered landmarks and failures. Landmarks do not
change. The detector needs a Gaussian refiner."""

CONDITIONS = ("clean", "patch20", "patch40", "blur2", "blur4", "dark4", "dark10")
FAILURES = ("patch80", "texture40", "texture60", "box40", "box80", "beside100")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options; nothing heavy is imported for ``--help``."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = EPILOG
    parser.add_argument("--model", required=True, help="folder of save_pretrained, .ckpt of lgcn fit, or hub id")
    parser.add_argument("--dataset", required=True, help="name of a dataset, for instance ibug300w or wflw")
    parser.add_argument("--root", required=True, metavar="DIR", help="folder of the dataset")
    parser.add_argument("--split", default="train", help="split that the detector was trained on (default: train)")
    parser.add_argument(
        "--val-fraction",
        type=float,
        default=0.05,
        metavar="F",
        help="data.val_fraction of the training, which held out these faces (default: 0.05)",
    )
    parser.add_argument("--val-split", metavar="SPLIT", help="another split, all of whose faces are used instead")
    add_dataset_option(parser)
    parser.add_argument(
        "--conditions",
        nargs="+",
        default=list(CONDITIONS),
        metavar="NAME",
        help=f"conditions of the faces, as for lgcn evaluate (default: {' '.join(CONDITIONS)})",
    )
    parser.add_argument(
        "--failures",
        nargs="+",
        default=list(FAILURES),
        metavar="NAME",
        help="more conditions, under which landmarks fail; for the score of a face alone "
        f"(default: {' '.join(FAILURES)})",
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed of the conditions (default: 0)")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder to save the model in")
    parser.add_argument(
        "--half", action="store_true", help="store the backbone in half precision, for a file half as large"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace a model in the folder")
    parser.add_argument("--batch-size", type=int, default=32, metavar="N", help="faces in a batch (default: 32)")


def run(args: argparse.Namespace) -> int:
    """Calibrates and saves; the exit status."""
    from torch_geometric.loader import DataLoader

    from lgcn.checks import InputError
    from lgcn.cli.writable import check_not_replaced, check_writable_folder, writing_to
    from lgcn.datasets import DATASETS
    from lgcn.evaluation.conditions import CLEAN, DETECTOR, check_condition, degrade_faces
    from lgcn.models import LandmarkDetector
    from lgcn.models.loading import CONFIG_NAME, WEIGHTS_NAME

    try:
        from lgcn.training import LandmarkDataModule, calibrate_refiner
    except ModuleNotFoundError as error:
        if error.name != "lightning":
            raise
        raise InputError(
            "lgcn calibrate needs 'lightning', which is not installed: pip install 'lgcn[train]'"
        ) from error

    check_not_replaced([args.output / name for name in (CONFIG_NAME, WEIGHTS_NAME)], args.overwrite)
    check_writable_folder("--output", args.output)
    # Clean faces come first: they say what is typical.
    conditions = [check_condition(name) for name in dict.fromkeys([CLEAN, *args.conditions])]
    failures = [check_condition(name) for name in dict.fromkeys(args.failures)]
    if DETECTOR in (*conditions, *failures):
        raise InputError("Expected '--conditions' that degrade the faces (got detector). Leave it out.")
    detector = LandmarkDetector.from_pretrained(args.model)
    if args.half:
        detector.backbone.half().float()  # calibrated with the weights that are stored
    data = LandmarkDataModule(
        args.root,
        args.dataset,
        train_split=args.split,
        val_split=args.val_split,
        val_fraction=args.val_fraction,
        scheme=detector.scheme.name,
        input_size=detector.input_size,
        protocol=detector.protocol.name,
        dataset_options=parse_dataset_options(args.dataset_option, DATASETS[args.dataset], args.scheme),
    )
    data.setup()
    faces = data.val_faces

    def load(names: list[str]) -> list[DataLoader]:
        return [DataLoader(degrade_faces(faces, name, args.seed), args.batch_size) for name in names]  # type: ignore[arg-type]

    calibrate_refiner(detector, load(conditions), failures=load(failures))
    if args.half:
        detector.backbone.half()
    with writing_to(args.output):
        detector.save_pretrained(args.output)
    print(f"Calibrated on {len(faces)} faces under {', '.join((*conditions, *failures))}: {args.output}")
    return 0

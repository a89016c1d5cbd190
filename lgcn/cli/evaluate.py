"""``lgcn evaluate``: NME, FR and AUC of a model on a dataset, as a table and as JSON."""

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options; nothing heavy is imported for ``--help``."""
    parser.add_argument("--model", required=True, help="shipped name, folder of save_pretrained, or .ckpt of lgcn fit")
    parser.add_argument("--dataset", required=True, help="name of a dataset, for instance ibug300w")
    parser.add_argument("--root", required=True, type=Path, metavar="DIR", help="folder of the dataset")
    parser.add_argument(
        "--split", required=True, help="named split (ibug300w: train, common, challenging, full) or folder under DIR"
    )
    parser.add_argument("--protocol", help="crop, pixel origin and normaliser by name; default: the model's own")
    parser.add_argument("--normalizer", help="inter_ocular, inter_pupil or box; default: the protocol's")
    parser.add_argument(
        "--thresholds", type=float, nargs="+", metavar="T", help="of FR and AUC, as fractions; default: the protocol's"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures to FILE")
    parser.add_argument("--batch-size", type=int, default=32, metavar="N", help="faces in a batch (default: 32)")
    parser.add_argument(
        "--num-workers", type=int, default=0, metavar="N", help="processes that read pictures (default: 0, this one)"
    )
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1, mps, ... (default: cpu)")


def run(args: argparse.Namespace) -> int:
    """Evaluates, prints the table, writes the JSON; the exit status."""
    import json

    from lgcn.checks import InputFileError
    from lgcn.datasets import get_dataset
    from lgcn.engine.evaluation import evaluate, evaluation_transform
    from lgcn.engine.tables import format_result, result_to_dict
    from lgcn.files import write_text
    from lgcn.models import LandmarkDetector
    from lgcn.protocols import get_protocol

    if args.json is not None and args.json.is_dir():
        raise InputFileError(f"Expected '--json' to be a file to write (got the folder '{args.json}').")
    create_dataset = get_dataset(args.dataset)
    protocol = None if args.protocol is None else get_protocol(args.protocol)
    detector = LandmarkDetector.from_pretrained(args.model)
    protocol = protocol or detector.protocol
    dataset = create_dataset(
        args.root,
        split=args.split,
        transform=evaluation_transform(detector, protocol),
        protocol=protocol,
        normalizer=args.normalizer,
    )
    result = evaluate(
        detector,
        dataset,
        batch_size=args.batch_size,
        num_workers=args.num_workers,
        device=args.device,
        thresholds=args.thresholds,
        model=args.model,
    )
    print(format_result(result))
    if args.json is not None:
        try:
            write_text(args.json, json.dumps(result_to_dict(result), indent=2, allow_nan=False) + "\n")
        except OSError as error:
            raise InputFileError(f"Expected '--json' to be writable (got '{args.json}': {error.strerror}).") from error
    return 0

"""``lgcn evaluate``: NME, FR and AUC of models on a dataset and its subsets, as tables, files and curves."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, cast

from lgcn.cli.dataset_options import add_dataset_option, parse_dataset_options
from lgcn.cli.predictor_options import add_flip_test_argument

if TYPE_CHECKING:
    from torch import Tensor

    from lgcn.evaluation.box_matching import FindFaces
    from lgcn.models import LandmarkDetector


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options; nothing heavy is imported for ``--help``."""
    parser.add_argument(
        "--model",
        nargs="+",
        action="extend",
        help="shipped name, folder of save_pretrained, .ckpt of lgcn fit or .onnx of lgcn export; several share tables "
        "and curves (default: the shipped model of the dataset's landmarks)",
    )
    parser.add_argument("--dataset", required=True, help="name of a dataset, for instance ibug300w or wflw")
    parser.add_argument("--root", required=True, type=Path, metavar="DIR", help="folder of the dataset")
    parser.add_argument(
        "--split",
        required=True,
        nargs="+",
        action="extend",
        help="named splits (ibug300w: train, common, challenging, full, private; wflw: train, test) or, of ibug300w, "
        "folders under DIR; several share the tables",
    )
    parser.add_argument(
        "--held-out",
        type=float,
        metavar="F",
        help="evaluate only the faces of a training split that lgcn fit held out with --data.val_fraction F (0.05 "
        "unless changed), to choose between models without looking at test faces",
    )
    add_dataset_option(parser)
    parser.add_argument(
        "--protocol",
        help="boxes, crop, pixel origin and normaliser by name (`lgcn protocols` lists them; default: the model's own)",
    )
    parser.add_argument("--normalizer", help="inter_ocular, inter_pupil or box (default: the protocol's)")
    parser.add_argument(
        "--thresholds",
        type=float,
        nargs="+",
        metavar="T",
        help="thresholds of FR and AUC, fractions (default: the protocol's)",
    )
    parser.add_argument(
        "--conditions",
        nargs="+",
        action="extend",
        metavar="NAME",
        help="degrade the faces, in one table over conditions: clean, detector (boxes of the face detector), patchN, "
        "noiseN, colorN, textureN, copyN (N %% of the face covered), blurN (N pixels), darkN (1/N of the light), jpegN "
        "(quality N), rotN (turned by N degrees), boxN (box off by up to N %%), besideN (no face: a box of N %% of "
        "its size beside it), for instance: clean patch20 patch40 blur4 dark4 (default: clean)",
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed of the conditions (default: 0)")
    parser.add_argument(
        "--breakdown",
        action="store_true",
        help="also print errors by size, yaw, roll, mouth opening, sharpness and brightness of the faces, in thirds",
    )
    parser.add_argument(
        "--published", action="store_true", help="also print published results of other systems, marked as such"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the results to FILE")
    parser.add_argument(
        "--output",
        type=Path,
        metavar="DIR",
        help="also write results (JSON, CSV, Markdown), CED curves and a sheet of the worst faces to DIR",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace earlier results in --output")
    parser.add_argument("--batch-size", type=int, default=32, metavar="N", help="faces in a batch (default: 32)")
    parser.add_argument(
        "--num-workers",
        type=int,
        default=0,
        metavar="N",
        help="processes that read images (default: 0, the main process)",
    )
    parser.add_argument(
        "--on-corrupt",
        choices=["stop", "skip"],
        default="stop",
        help="what to do if an image cannot be read: stop, or continue without it and name it in all results "
        "(default: stop)",
    )
    add_flip_test_argument(parser)
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1, mps, ... (default: cpu)")


def run(args: argparse.Namespace) -> int:
    """Evaluate, print the tables and write the files; return the exit status."""
    from inspect import signature

    from lgcn.checks import InputError, InputFileError
    from lgcn.cli.evaluation_folder import EvaluationFolder, to_json
    from lgcn.cli.writable import check_writable_file, check_writable_folder
    from lgcn.datasets import DATASETS
    from lgcn.datasets.held_out import hold_out
    from lgcn.evaluation.breakdown import MARKED_FROM, breakdown_tables
    from lgcn.evaluation.comparison_table import comparison_tables
    from lgcn.evaluation.conditions import CLEAN, DETECTOR, check_condition
    from lgcn.evaluation.conditions_table import conditions_tables
    from lgcn.evaluation.evaluate import check_evaluation, crop_faces, evaluate
    from lgcn.evaluation.face_properties import face_properties
    from lgcn.evaluation.formatting import format_conditions, format_result
    from lgcn.evaluation.literature import published_results, published_results_of_csv
    from lgcn.evaluation.text_tables import PUBLISHED_NOTE
    from lgcn.export import load_detector
    from lgcn.files import printable, write_text
    from lgcn.models.loading import shipped_model
    from lgcn.protocols import get_protocol

    # Everything that can be wrong is checked before the first face.
    if args.json is not None:
        check_writable_file("--json", args.json)
    if args.output is not None:
        check_writable_folder("--output", args.output)
        EvaluationFolder(args.output).check_not_replaced(args.overwrite)
    conditions = [check_condition(name) for name in dict.fromkeys(args.conditions or [CLEAN])]
    create_dataset = DATASETS[args.dataset]
    options = parse_dataset_options(args.dataset_option, create_dataset, args.scheme)
    protocol = None if args.protocol is None else get_protocol(args.protocol)
    models = args.model
    if models is None:
        scheme = create_dataset(args.root, split=args.split[0], protocol=protocol or "zero_based", **options).scheme
        try:
            models = [shipped_model(scheme.name)]
        except InputError as error:
            raise InputError(f"Expected '--model' for the dataset '{args.dataset}'. {error}") from None
    # An OnnxDetector has all that is used here.
    detectors = {
        name: cast("LandmarkDetector", load_detector(name, flip_test=args.flip_test)) for name in dict.fromkeys(models)
    }
    jobs = []
    for split in dict.fromkeys(args.split):
        for name, detector in detectors.items():
            # A dataset of any landmarks is read with the scheme of the model.
            of_model = {"scheme": detector.scheme} if "scheme" in signature(create_dataset).parameters else {}
            chosen = protocol or detector.protocol
            dataset = create_dataset(
                args.root,
                split=split,
                protocol=chosen,
                normalizer=args.normalizer or chosen.normalizer_of(detector.scheme.name),
                **{**of_model, **options},
            )
            if args.held_out is not None:
                dataset = dataset.index_select(hold_out(len(dataset), args.held_out)[1])
            jobs.append((name, dataset))
    for name, dataset in jobs:
        check_evaluation(detectors[name], dataset, args.batch_size, args.num_workers, args.device, args.thresholds)
        if (DETECTOR in conditions or dataset.protocol.box == "detector") and dataset.scheme.subject != "face":
            raise InputError(
                f"Expected landmarks of a face for the boxes of the face detector (got '{dataset.scheme.name}', of a "
                f"{dataset.scheme.subject}). Take other '--conditions', or another '--protocol'."
            )
        missing = dataset.missing_images()
        if missing:
            raise InputFileError(
                f"Expected all images of split '{dataset.split}' under '{args.root}' (missing: {len(missing)}, "
                f"such as '{missing[0]}'). {dataset.layout}".rstrip()
            )
    published = []
    if args.published:
        csv_names = {dataset.csv_name: dataset.split for _, dataset in jobs if args.dataset == "hrnet_csv"}
        published = published_results_of_csv(csv_names) or published_results(args.dataset)
    find_faces = None
    if any(dataset.protocol.box == "detector" for _, dataset in jobs):
        from lgcn.predict import CascadeFaceDetector

        find_faces = CascadeFaceDetector()

    # Those of the faces as they are, for all conditions and models.
    properties = {
        split: face_properties(dataset, num_workers=args.num_workers, on_corrupt=args.on_corrupt)
        for split, dataset in {dataset.split: dataset for _, dataset in jobs if args.breakdown}.items()
    }
    results, datasets = [], []
    for name, dataset in jobs:
        missed_faces = crop_faces(dataset, detectors[name], find_faces, args.on_corrupt)
        for condition in conditions:
            result = evaluate(
                detectors[name],
                dataset,
                batch_size=args.batch_size,
                num_workers=args.num_workers,
                device=args.device,
                thresholds=args.thresholds,
                model=name,
                missed_faces=missed_faces,
                on_corrupt=args.on_corrupt,
                condition=condition,
                seed=args.seed,
                find_faces=_find_faces_as_predict(detectors[name]) if condition == DETECTOR else None,
                properties=properties.get(dataset.split),
            )
            results.append(result)
            datasets.append(dataset)
    tables = comparison_tables(results, published)
    degraded = conditions != [CLEAN]
    print(format_conditions(results) if degraded else "\n\n".join(format_result(result) for result in results))
    has_subsets = any(dataset.subsets for dataset in datasets)
    if published or (has_subsets if degraded else has_subsets or len(results) > 1):
        # FR and AUC of every subset under every condition are in the files.
        shown = tables[:1] if degraded and not published else tables
        print("", "\n\n".join(table.as_text() for table in shown), sep="\n")
    kinds = breakdown_tables(results)
    if kinds:
        print("", *(f"{table.as_text()}\n" for table in kinds), sep="\n", end="")
        print(f"±: standard error; *: differs from the other faces by more than {MARKED_FROM:g} standard errors")
    if args.published:
        print(
            "", PUBLISHED_NOTE if published else f"No published results on '{args.dataset}' are known here.", sep="\n"
        )
    if args.json is not None:
        try:
            write_text(args.json, to_json(results, published))
        except OSError as error:
            raise InputFileError(f"Expected '--json' to be writable (got '{args.json}': {error.strerror}).") from error
    if args.output is not None:
        from lgcn.cli.writable import writing_to

        folder = EvaluationFolder(args.output)
        with writing_to(args.output):
            tables = [*(conditions_tables(results) if degraded else []), *tables, *kinds]
            folder.write(results, datasets, tables, published)
        print("", printable(f"wrote {', '.join(path.name for path in folder.written)} to '{args.output}'"), sep="\n")
    return 0


def _find_faces_as_predict(detector: "LandmarkDetector") -> "FindFaces":
    """The boxes that ``lgcn predict`` crops in its second pass: around the landmarks of the first."""
    import warnings

    import torch

    from lgcn.predict import LandmarkPredictor, NoFaceWarning
    from lgcn.predict.boxes import tight_boxes

    predictor = LandmarkPredictor(detector, passes=1)

    def find_faces(image: "Tensor") -> "Tensor":
        with warnings.catch_warnings():
            # Missed faces are counted.
            warnings.simplefilter("ignore", NoFaceWarning)
            faces = predictor(image)
        if not faces:
            return torch.zeros(0, 4)
        boxes = torch.stack([face.box for face in faces])
        return tight_boxes(torch.stack([face.landmarks for face in faces]), boxes, len(faces) * [image])

    return find_faces

"""How good a detector is on a dataset: NME, FR and AUC of its initial and its refined landmarks."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch_geometric.data import Data
from torch_geometric.loader import DataLoader
from tqdm import tqdm

from lgcn.checks import InputError, check_at_least, check_choice, check_device, check_shape
from lgcn.codecs import truncate_to_image
from lgcn.datasets import DATASETS, LandmarkDataset
from lgcn.datasets.corrupt_images import ReadableFaces
from lgcn.datasets.workers import short_worker_errors
from lgcn.evaluation.box_matching import ON_CORRUPT, FindFaces, match_found_boxes
from lgcn.evaluation.formatting import some_names
from lgcn.evaluation.results import EvaluationResult, EvaluationRow
from lgcn.geometry import invert_affine, transform_points
from lgcn.metrics import check_threshold, landmark_errors
from lgcn.protocols import EvaluationProtocol
from lgcn.schemes import normalizing_distance
from lgcn.transforms import CropToInput

if TYPE_CHECKING:
    # Only a type here: whatever returns a DetectorOutput can be evaluated without loading timm.
    from lgcn.models import LandmarkDetector


def evaluation_transform(
    detector: "LandmarkDetector", protocol: EvaluationProtocol | None = None, *, rectangles: bool = False
) -> CropToInput:
    """The crop that ``protocol`` (None: the detector's own) evaluates faces in, at the detector's input size.

    Args:
        detector: what the crop is for.
        protocol: None takes the detector's own.
        rectangles: whether the boxes are the dataset's own, ``dataset.crops_by_rect``.
    """
    protocol = protocol or detector.protocol
    return CropToInput(detector.input_size, **(protocol.for_rectangles() if rectangles else protocol).crop_options)


def crop_faces(
    dataset: LandmarkDataset,
    detector: "LandmarkDetector",
    find_faces: FindFaces | None = None,
    on_corrupt: str = "stop",
) -> int | None:
    """Makes a dataset crop its faces for a detector as the dataset's protocol says; sets its ``transform``.

    Args:
        dataset: changed in place.
        detector: whose input the crops have the size of.
        find_faces: from a picture, uint8 [3, H, W], to boxes [F, 4]; for a protocol that crops by the boxes of
            a face detector. Each picture is searched once, now.
        on_corrupt: "stop" raises where a picture to be searched cannot be read; "skip" leaves that to :func:`evaluate`.

    Returns:
        The number of faces that were missed, see :attr:`EvaluationResult.missed_faces`.

    Raises:
        InputError: if the protocol needs a face detector and none is given.
        InputFileError: if a picture to be searched cannot be read.
    """
    dataset.transform = evaluation_transform(detector, dataset.protocol, rectangles=dataset.crops_by_rect)
    if dataset.protocol.box != "detector":
        return None
    if find_faces is None:
        raise InputError(
            f"Expected 'find_faces' for the protocol '{dataset.protocol.name}', which crops by the boxes of a face "
            "detector (got none). Give one, for instance lgcn.predict.CascadeFaceDetector()."
        )
    dataset.bbox, missed = match_found_boxes(dataset, find_faces, on_corrupt=on_corrupt)
    return int(missed.sum())


def evaluate(
    detector: "LandmarkDetector",
    dataset: LandmarkDataset,
    *,
    batch_size: int = 32,
    num_workers: int = 0,
    device: str | torch.device | None = None,
    thresholds: Sequence[float] | None = None,
    progress: bool = True,
    model: str | None = None,
    missed_faces: int | None = None,
    on_corrupt: str = "stop",
) -> EvaluationResult:
    """Runs a detector over a dataset and compares landmarks in pixels of the original pictures.

    Where the protocol says so, errors and normalisers are measured in the crop instead.

    Args:
        detector: evaluated in eval mode; each of its modules gets its own mode back.
        dataset: with the detector's scheme; its ``transform`` crops faces to the detector's input
            as :func:`crop_faces` makes it. Its protocol and normaliser are those reported.
        batch_size: faces in a batch.
        num_workers: processes that read and crop; 0 does it in this one.
        device: moves the detector there, where it stays; None leaves it where it is.
        thresholds: of FR and AUC, fractions; the protocol's if None.
        progress: shows a bar on stderr, if that is a terminal.
        model: what the result calls the detector; its class if None.
        missed_faces: what :func:`crop_faces` has returned.
        on_corrupt: what happens when a picture cannot be read. "stop" raises the
            :class:`~lgcn.checks.InputFileError` that names it; "skip" goes on without it and names it in
            :attr:`EvaluationResult.unreadable` and in the warning.

    Raises:
        InputError: if the schemes differ, the dataset is empty or its faces are not cropped to the
            detector's input, no face has a normaliser, or a number or the device cannot be used.
    """
    check_evaluation(detector, dataset, batch_size, num_workers, device, thresholds)
    thresholds = tuple(thresholds or dataset.protocol.thresholds)
    skips = check_choice("on_corrupt", on_corrupt, ON_CORRUPT) == "skip"
    faces: Any = ReadableFaces(dataset) if skips else dataset
    _check_faces(detector, faces)
    if device is not None:
        detector.to(check_device(device))
    judged, reasons = _judge(detector, dataset, faces, batch_size, num_workers, progress)
    rows = {
        name: EvaluationRow.from_errors(errors.nanmean(dim=1), thresholds, errors, landmarks)
        for name, (errors, landmarks) in judged.items()
    }
    image_ids = tuple(dataset.image_ids[index] for index in dataset.indices())
    unreadable = {image_id: reason for image_id, reason in zip(image_ids, reasons, strict=True) if reason}
    num_faces = int((~rows["initial"].errors.isnan()).sum())
    if not num_faces:
        raise InputError(
            f"Expected faces whose normaliser '{dataset.normalizer_name}' can be measured (got none of "
            f"{len(dataset)}). Choose another normaliser."
        )
    found, expected, missing = dataset.completeness()
    if missing is None and len(dataset) != found:
        missing = f"selection: {len(dataset)} of {found} faces"
    if unreadable:
        missing = missing or f"split '{dataset.split}': {len(dataset)} of {len(dataset)} faces"
        missing += f", {sum(map(bool, reasons))} of them left out, whose pictures cannot be read: "
        missing += some_names(list(unreadable))
    return EvaluationResult(
        model=model or type(detector).__name__,
        dataset=next((name for name in DATASETS if DATASETS[name] is type(dataset)), type(dataset).__name__),
        split=dataset.split,
        protocol=dataset.protocol,
        normalizer=dataset.normalizer_name,
        num_faces=num_faces,
        expected_faces=expected,
        warning=missing,
        thresholds=thresholds,
        rows=rows,
        masks=dict(dataset.subsets),
        expected_subset_faces=dict(dataset.published_subset_sizes),
        image_ids=image_ids,
        landmark_names=dataset.scheme.names,
        missed_faces=missed_faces,
        unreadable=unreadable,
    )


def check_evaluation(
    detector: "LandmarkDetector",
    dataset: LandmarkDataset,
    batch_size: int = 1,
    num_workers: int = 0,
    device: str | torch.device | None = None,
    thresholds: Sequence[float] | None = None,
) -> None:
    """Raises what :func:`evaluate` would raise with these arguments, as far as that is known without a picture."""
    if detector.scheme.name != dataset.scheme.name:
        raise InputError(
            f"Expected 'detector' to have the dataset's scheme '{dataset.scheme.name}' (got '{detector.scheme.name}'). "
            "Evaluate a model that was trained for these landmarks, or another dataset."
        )
    for name, number, least in (("batch_size", batch_size, 1), ("num_workers", num_workers, 0)):
        check_at_least(name, number, least)
    if dataset.protocol.frame == "crop" and dataset.normalizer_name not in dataset.scheme.normalizer_names:
        raise InputError(
            f"Expected 'normalizer' to be one of {', '.join(dataset.scheme.normalizer_names)}, which can be measured "
            f"in the crop, as protocol '{dataset.protocol.name}' does (got '{dataset.normalizer_name}', a length in "
            "the image that the annotation gives). Give one of them, or another protocol."
        )
    for threshold in thresholds or ():
        check_threshold(threshold)
    if device is not None:
        check_device(device)


def _judge(
    detector: "LandmarkDetector",
    dataset: LandmarkDataset,
    faces: Any,
    batch_size: int,
    num_workers: int,
    progress: bool,
) -> tuple[dict[str, tuple[Tensor, Tensor]], list[str]]:
    """Name of a row -> errors of landmarks [N, K] and landmarks [N, K, 2] in pixels of the image, on the CPU.

    Second, why each picture cannot be read, "" for those that can. ``faces`` are those of ``dataset``, or of a wrapper.
    """
    K = detector.scheme.num_landmarks
    device = next((tensor.device for tensor in detector.parameters()), torch.device("cpu"))
    kinds = {"initial": "initial"} if detector.refiner is None else {"initial": "initial", "refined": "pos"}
    errors: dict[str, list[Tensor]] = {kind: [] for kind in kinds}
    landmarks: dict[str, list[Tensor]] = {kind: [] for kind in kinds}
    reasons: list[str] = []
    in_crop = dataset.protocol.frame == "crop"
    height, width = detector.input_size
    whole_pixels = getattr(getattr(detector, "codec", None), "decode_name", None) == "hrnet"
    loader = DataLoader(faces, batch_size=batch_size, num_workers=num_workers)
    bar = tqdm(total=len(dataset), desc="evaluate", unit="face", disable=None if progress else True)
    with bar, _eval_mode(detector), torch.inference_mode(), short_worker_errors():
        for batch in loader:
            B = batch.num_graphs
            output = detector(batch.image.to(device))
            to_image = invert_affine(batch.affine.double())
            target = batch.y.double().view(B, K, 2)
            visibility = batch.visibility.view(B, K)
            if in_crop:
                target = target / target.new_tensor([width, height])
                distance = normalizing_distance(target, dataset.scheme, dataset.normalizer_name, visibility)
            else:
                target = transform_points(target, to_image)
                distance = batch.normalizer.double()
            # A face without the eye corners that it is measured by is not judged.
            visibility = visibility * (distance.isfinite() & (distance > 0))[:, None]
            reasons += batch.get("unreadable", B * [""])
            for kind, field_name in kinds.items():
                preds = getattr(output, field_name).cpu().double()
                # The public HRNet code's decode ends in the image, in whole pixels.
                truncates = kind == "initial" and whole_pixels
                in_image = truncate_to_image(preds, batch.affine) if truncates else transform_points(preds, to_image)
                landmarks[kind].append(in_image)
                preds = preds / preds.new_tensor([width, height]) if in_crop else landmarks[kind][-1]
                errors[kind].append(landmark_errors(preds, target, distance, visibility))
            bar.update(B)
    # What stands in for a picture that cannot be read has other landmarks.
    strangers = torch.tensor([bool(reason) for reason in reasons])
    for kind in kinds:
        landmarks[kind] = [torch.cat(landmarks[kind]).masked_fill(strangers[:, None, None], torch.nan)]
    return {kind: (torch.cat(errors[kind]), torch.cat(landmarks[kind])) for kind in kinds}, reasons


def _check_faces(detector: "LandmarkDetector", dataset: Sequence[Data]) -> None:
    """Looks at the first face; pictures that are not cropped would only fail to stack, without a word why."""
    if len(dataset) == 0:
        raise InputError("Expected 'dataset' to hold faces (got an empty one).")
    first = dataset[0]
    if "affine" not in first:
        raise InputError(
            "Expected 'dataset' to crop its faces to the detector's input (got faces without 'affine'). "
            "Call crop_faces(dataset, detector), or set dataset.transform = evaluation_transform(detector)."
        )
    height, width = detector.input_size
    check_shape("dataset[0].image", first.image, "1 3 H W", H=height, W=width)


@contextmanager
def _eval_mode(module: nn.Module) -> Iterator[None]:
    modes = [(each, each.training) for each in module.modules()]
    module.eval()
    try:
        yield
    finally:
        # From the root down: parts that were not in the mode of the whole (a frozen backbone) are set after it.
        for each, training in modes:
            if each.training != training:
                each.train(training)

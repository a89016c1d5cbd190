"""Evaluation of a detector on a dataset: NME, FR and AUC of its initial and refined landmarks."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch_geometric.data import Data
from torch_geometric.loader import DataLoader
from tqdm import tqdm

from lgcn.checks import InputError, check_at_least, check_choice, check_device, check_shape
from lgcn.datasets import DATASETS, LandmarkDataset
from lgcn.datasets.corrupt_images import ReadableFaces, short_worker_errors
from lgcn.evaluation.box_matching import ON_CORRUPT, FindFaces, match_found_boxes
from lgcn.evaluation.conditions import CLEAN, DETECTOR, FOUND, check_condition, degrade_faces
from lgcn.evaluation.formatting import some_names
from lgcn.evaluation.results import EvaluationResult, EvaluationRow
from lgcn.metrics import ProtocolErrors, check_threshold, compute_errors
from lgcn.modes import eval_mode
from lgcn.protocols import EvaluationProtocol
from lgcn.schemes import BOX_NORMALIZER
from lgcn.transforms import CropToInput

if TYPE_CHECKING:
    # Only a type: any module that returns a DetectorOutput can be evaluated without loading timm.
    from lgcn.models import LandmarkDetector


def evaluation_transform(
    detector: "LandmarkDetector", protocol: EvaluationProtocol | None = None, *, rectangles: bool = False
) -> CropToInput:
    """The crop of a protocol at the input size of a detector.

    Args:
        detector: the detector to evaluate.
        protocol: the detector's own if None.
        rectangles: whether the boxes are those of the dataset, ``dataset.crops_by_rect``.
    """
    protocol = protocol or detector.protocol
    return CropToInput(detector.input_size, **(protocol.for_rectangles() if rectangles else protocol).crop_options)


def crop_faces(
    dataset: LandmarkDataset,
    detector: "LandmarkDetector",
    find_faces: FindFaces | None = None,
    on_corrupt: str = "stop",
) -> int | None:
    """Set the ``transform`` of a dataset, so that it crops faces for a detector as its protocol says.

    Args:
        dataset: changed in place.
        detector: defines the size of the crops.
        find_faces: face detector, from an image uint8 [3, H, W] to boxes [F, 4], for a protocol that crops by detected
            boxes. It is run on every image once, now.
        on_corrupt: "stop" raises if an image to be searched cannot be read; "skip" leaves that to :func:`evaluate`.

    Returns:
        The number of faces that were missed, see :attr:`EvaluationResult.missed_faces`.

    Raises:
        InputError: if the protocol needs a face detector and none is given.
        InputFileError: if an image to be searched cannot be read.
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
    condition: str = CLEAN,
    seed: int = 0,
    find_faces: FindFaces | None = None,
    properties: Mapping[str, Tensor] | None = None,
) -> EvaluationResult:
    """Run a detector on a dataset and measure its landmarks as the protocol of the dataset says.

    Args:
        detector: evaluated in eval mode; the modes of its modules are restored afterwards.
        dataset: faces of the detector's scheme, cropped to its input by :func:`crop_faces`. The protocol and the
            normaliser of the dataset are used and reported.
        batch_size: faces in a batch.
        num_workers: processes that read and crop images; 0 does it in this process.
        device: device that the detector is moved to, and stays on; None does not move it.
        thresholds: thresholds of FR and AUC, fractions; those of the protocol if None.
        progress: show a progress bar on stderr if it is a terminal.
        model: name of the model in the result; the class of the detector if None.
        missed_faces: result of :func:`crop_faces`.
        on_corrupt: what to do if an image cannot be read. "stop" raises the :class:`~lgcn.checks.InputFileError` that
            names it; "skip" continues without it, and names it in :attr:`EvaluationResult.unreadable` and the warning.
        condition: degradation of the faces by name, see :data:`lgcn.evaluation.CONDITIONS`; "detector" crops by the
            boxes of ``find_faces`` and adds the subset "found".
        seed: of the degradation, whose draws depend on the seed and the face alone.
        find_faces: face detector for the condition "detector", see :func:`crop_faces`.
        properties: values [N] of the faces, in the order of the dataset, for :func:`lgcn.evaluation.break_down`:
            those of :func:`lgcn.evaluation.face_properties`, or labels of your own.

    Raises:
        InputError: for an unknown condition, if the schemes differ, the dataset is empty or does not crop its faces to
            the detector's input, no face has a normalising distance, or a number or the device cannot be used.
    """
    check_evaluation(detector, dataset, batch_size, num_workers, device, thresholds)
    thresholds = tuple(thresholds or dataset.protocol.thresholds)
    skips = check_choice("on_corrupt", on_corrupt, ON_CORRUPT) == "skip"
    check_condition(condition)
    for name, values in (properties or {}).items():
        check_shape(f"properties['{name}']", values, "N", N=len(dataset))
    if condition == DETECTOR and dataset.protocol.box != "detector":
        dataset, missed_faces = _with_found_boxes(dataset, detector, find_faces, on_corrupt)
    elif condition not in (CLEAN, DETECTOR):
        dataset = degrade_faces(dataset, condition, seed)
    faces: Any = ReadableFaces(dataset) if skips else dataset
    _check_faces(detector, faces)
    if device is not None:
        detector.to(check_device(device))
    measured, covered, called, reasons = _measure(detector, dataset, faces, batch_size, num_workers, progress)
    rows = {
        name: EvaluationRow.from_errors(
            found.errors.nanmean(dim=1),
            thresholds,
            found.errors,
            found.landmarks,
            covered=covered,
            expected_errors=found.expected,
            mahalanobis=found.mahalanobis,
            called_covered=None if name == "initial" else called,
        )
        for name, found in measured.items()
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
        missing += f", {sum(map(bool, reasons))} of them left out because their images cannot be read: "
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
        sigmas=dataset.scheme.sigmas
        if dataset.normalizer_name == dataset.scheme.default_normalizer == BOX_NORMALIZER
        else None,
        condition=condition,
        seed=seed,
        properties=dict(properties or {}),
    )


def check_evaluation(
    detector: "LandmarkDetector",
    dataset: LandmarkDataset,
    batch_size: int = 1,
    num_workers: int = 0,
    device: str | torch.device | None = None,
    thresholds: Sequence[float] | None = None,
) -> None:
    """Raise the errors of :func:`evaluate` that can be known before an image is read."""
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


def _measure(
    detector: "LandmarkDetector",
    dataset: LandmarkDataset,
    faces: Any,
    batch_size: int,
    num_workers: int,
    progress: bool,
) -> tuple[dict[str, ProtocolErrors], Tensor | None, Tensor | None, list[str]]:
    """Errors by row, landmarks covered by the condition and so called [N, K], why an image is unreadable.

    ``faces`` are those of ``dataset``, or of a wrapper around it. The reason is "" for images that can be read.
    """
    K = detector.scheme.num_landmarks
    device = next((tensor.device for tensor in detector.parameters()), torch.device("cpu"))
    kinds = {"initial": "initial"} if detector.refiner is None else {"initial": "initial", "refined": "pos"}
    measured: dict[str, list[ProtocolErrors]] = {kind: [] for kind in kinds}
    covered: list[Tensor] = []
    called: list[Tensor] = []
    reasons: list[str] = []
    # The decode of the public HRNet code ends in whole pixels of the image.
    whole_pixels = getattr(getattr(detector, "codec", None), "decode_name", None) == "hrnet"
    loader = DataLoader(faces, batch_size=batch_size, num_workers=num_workers)
    bar = tqdm(total=len(dataset), desc="evaluate", unit="face", disable=None if progress else True)
    with bar, eval_mode(detector), torch.inference_mode(), short_worker_errors():
        network = _for_inference(detector)
        for batch in loader:
            B = batch.num_graphs
            output = network(batch.image.to(device))
            reasons += batch.get("unreadable", B * [""])
            covered += [batch.covered.view(B, K)] if "covered" in batch else []
            called += [] if output.covered is None else [output.covered.cpu()]
            for kind, name in kinds.items():
                found = compute_errors(
                    getattr(output, name),
                    batch.y.view(B, K, 2),
                    batch.affine,
                    batch.normalizer,
                    batch.visibility.view(B, K),
                    scheme=dataset.scheme,
                    protocol=dataset.protocol,
                    input_size=detector.input_size,
                    normalizer_name=dataset.normalizer_name,
                    whole_pixels=whole_pixels and kind == "initial",
                    covariance=output.covariance if kind == "refined" else None,
                    expected_error=output.expected_error if kind == "refined" else None,
                )
                measured[kind].append(found)
            bar.update(B)
    # The replacement for an unreadable image is another face.
    skipped = torch.tensor([bool(reason) for reason in reasons])
    joined = {kind: _join(batches) for kind, batches in measured.items()}
    return (
        {
            kind: found._replace(landmarks=found.landmarks.masked_fill(skipped[:, None, None], torch.nan))
            for kind, found in joined.items()
        },
        torch.cat(covered) if covered else None,
        torch.cat(called) if called else None,
        reasons,
    )


def _join(batches: list[ProtocolErrors]) -> ProtocolErrors:
    """Concatenates the errors of batches; what they do not have stays None."""
    errors, landmarks, expected, mahalanobis = zip(*batches, strict=True)
    optional = (None if each[0] is None else torch.cat(each) for each in (expected, mahalanobis))
    return ProtocolErrors(torch.cat(errors), torch.cat(landmarks), *optional)


def _with_found_boxes(
    dataset: LandmarkDataset, detector: "LandmarkDetector", find_faces: FindFaces | None, on_corrupt: str
) -> tuple[LandmarkDataset, int]:
    """A copy of the dataset that crops by detected boxes, with the subset "found", and the number of missed faces."""
    if find_faces is None:
        raise InputError(
            f"Expected 'find_faces' for the condition '{DETECTOR}' (got none). Give a face detector, for instance "
            "lgcn.predict.CascadeFaceDetector()."
        )
    boxes, missed = match_found_boxes(dataset, find_faces, on_corrupt=on_corrupt)
    found = dataset.with_subset(FOUND, ~missed)
    found.bbox = boxes
    found.transform = evaluation_transform(detector, dataset.protocol)
    return found, int(missed.sum())


def _for_inference(detector: "LandmarkDetector") -> Any:
    """The fast form of a detector that has one, with the same output; called in eval mode."""
    build = getattr(detector, "for_inference", None)
    return detector if build is None else build()


def _check_faces(detector: "LandmarkDetector", dataset: Sequence[Data]) -> None:
    """Check the first face: images that are not cropped would fail to stack, with an unhelpful error."""
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

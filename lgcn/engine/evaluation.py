"""How good a detector is on a dataset: NME, FR and AUC of its initial and its refined landmarks."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch_geometric.loader import DataLoader
from tqdm import tqdm

from lgcn.checks import InputError, check_at_least, check_device, check_shape
from lgcn.datasets import DATASETS, LandmarkDataset
from lgcn.engine.workers import short_worker_errors
from lgcn.geometry import invert_affine, transform_points
from lgcn.metrics import auc_ced, check_threshold, failure_rate, normalized_mean_error
from lgcn.protocols import Protocol
from lgcn.transforms import CropToInput

if TYPE_CHECKING:
    # Only a type here: whatever returns a DetectorOutput can be evaluated without loading timm.
    from lgcn.models import LandmarkDetector


@dataclass(frozen=True, eq=False)
class EvaluationRow:
    """One set of landmarks of a detector, judged."""

    nme: float
    """Per cent of the normalising distance, mean over faces."""
    fr: dict[float, float]
    """Threshold (fraction) -> per cent of the faces whose NME is above it."""
    auc: dict[float, float]
    """Threshold (fraction) -> area under the cumulative error distribution up to it, in [0, 1]."""
    errors: Tensor
    """[N], NME of each face as a fraction, in the order of the dataset; NaN for a face without landmarks."""

    @classmethod
    def from_errors(cls, errors: Tensor, thresholds: Sequence[float]) -> "EvaluationRow":
        """Figures of per-face errors [N]."""
        return cls(
            nme=100 * errors.nanmean().item(),
            fr={threshold: 100 * failure_rate(errors, threshold).item() for threshold in thresholds},
            auc={threshold: auc_ced(errors, threshold).item() for threshold in thresholds},
            errors=errors,
        )


@dataclass(frozen=True, eq=False)
class EvaluationResult:
    """What was evaluated on what, how, and what came out."""

    model: str
    dataset: str
    split: str
    protocol: Protocol
    normalizer: str
    num_faces: int
    """Faces that were judged."""
    expected_faces: int | None
    """Published number of faces of the split, None where none is published."""
    warning: str | None
    """What is missing of the split; figures on a part cannot be compared with published ones."""
    thresholds: tuple[float, ...]
    rows: dict[str, EvaluationRow]
    """"initial" (decoded from the heatmaps) and, where the detector has a refiner, "refined" (by the graph)."""


def evaluation_transform(detector: "LandmarkDetector", protocol: Protocol | None = None) -> CropToInput:
    """The crop that ``protocol`` (None: the detector's own) evaluates faces in, at the detector's input size."""
    return CropToInput(detector.input_size, (protocol or detector.protocol).enlargement)


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
) -> EvaluationResult:
    """Runs a detector over a dataset and compares landmarks in pixels of the original pictures.

    Args:
        detector: evaluated in eval mode; each of its modules gets its own mode back.
        dataset: with the detector's scheme; its ``transform`` crops faces to the detector's input
            as :func:`evaluation_transform` does. Its protocol and normaliser are those reported.
        batch_size: faces in a batch.
        num_workers: processes that read and crop; 0 does it in this one.
        device: moves the detector there, where it stays; None leaves it where it is.
        thresholds: of FR and AUC, fractions; the protocol's if None.
        progress: shows a bar on stderr, if that is a terminal.
        model: what the result calls the detector; its class if None.

    Raises:
        InputError: if the schemes differ, the dataset is empty or its faces are not cropped to the
            detector's input, or a number or the device cannot be used.
    """
    if detector.scheme.name != dataset.scheme.name:
        raise InputError(
            f"Expected 'detector' to have the dataset's scheme '{dataset.scheme.name}' (got '{detector.scheme.name}'). "
            "Evaluate a model that was trained for these landmarks, or another dataset."
        )
    for name, number, least in (("batch_size", batch_size, 1), ("num_workers", num_workers, 0)):
        check_at_least(name, number, least)
    thresholds = tuple(check_threshold(each) for each in thresholds or dataset.protocol.thresholds)
    _check_faces(detector, dataset)
    if device is not None:
        detector.to(check_device(device))
    errors = _landmark_errors(detector, dataset, batch_size, num_workers, progress)
    rows = {name: EvaluationRow.from_errors(each, thresholds) for name, each in errors.items()}
    found, expected, missing = dataset.completeness()
    if missing is None and len(dataset) != found:
        missing = f"selection: {len(dataset)} of {found} faces"
    return EvaluationResult(
        model=model or type(detector).__name__,
        dataset=next((name for name in DATASETS if DATASETS[name] is type(dataset)), type(dataset).__name__),
        split=getattr(dataset, "split", "all"),
        protocol=dataset.protocol,
        normalizer=dataset.normalizer_name,
        num_faces=int((~rows["initial"].errors.isnan()).sum()),
        expected_faces=expected,
        warning=missing,
        thresholds=thresholds,
        rows=rows,
    )


def _landmark_errors(
    detector: "LandmarkDetector", dataset: LandmarkDataset, batch_size: int, num_workers: int, progress: bool
) -> dict[str, Tensor]:
    """Name of a row -> NME of each face [N], in float64 on the CPU."""
    K = detector.scheme.num_landmarks
    device = next((tensor.device for tensor in detector.parameters()), torch.device("cpu"))
    kinds = {"initial": "initial"} if detector.refiner is None else {"initial": "initial", "refined": "pos"}
    errors: dict[str, list[Tensor]] = {kind: [] for kind in kinds}
    loader = DataLoader(dataset, batch_size=batch_size, num_workers=num_workers)
    bar = tqdm(total=len(dataset), desc="evaluate", unit="face", disable=None if progress else True)
    with bar, _eval_mode(detector), torch.inference_mode(), short_worker_errors():
        for batch in loader:
            B = batch.num_graphs
            output = detector(batch.image.to(device))
            to_image = invert_affine(batch.affine.double())
            target = transform_points(batch.y.double().view(B, K, 2), to_image)
            visibility = batch.visibility.view(B, K)
            for kind, field in kinds.items():
                preds = transform_points(getattr(output, field).cpu().double(), to_image)
                errors[kind].append(normalized_mean_error(preds, target, batch.normalizer.double(), visibility))
            bar.update(B)
    return {kind: torch.cat(batches) for kind, batches in errors.items()}


def _check_faces(detector: "LandmarkDetector", dataset: LandmarkDataset) -> None:
    """Looks at the first face; pictures that are not cropped would only fail to stack, without a word why."""
    if len(dataset) == 0:
        raise InputError("Expected 'dataset' to hold faces (got an empty one).")
    first = dataset[0]
    if "affine" not in first:
        raise InputError(
            "Expected 'dataset' to crop its faces to the detector's input (got faces without 'affine'). "
            "Set dataset.transform = evaluation_transform(detector)."
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

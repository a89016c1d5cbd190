"""Calibration of the covariances that a detector's Gaussian refiner predicts."""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor
from torch_geometric.data import Batch

from lgcn.checks import InputError
from lgcn.graph import sample_features
from lgcn.models import LandmarkDetector
from lgcn.nn import GaussianRefiner, Refiner, RefinerChain
from lgcn.typing import KeyPoints


@torch.no_grad()
def calibrate_refiner(
    detector: LandmarkDetector, conditions: Sequence[Iterable[Batch]], level: float = 0.9
) -> LandmarkDetector:
    """Calibrates the last Gaussian refiner of a detector, see :meth:`lgcn.nn.GaussianRefiner.calibrate`.

    Args:
        detector: whose refiner is calibrated, in place.
        conditions: one iterable of batches for each condition, such as clean and covered: faces that the detector has
            not been trained on, as :class:`lgcn.training.LandmarkDataModule` makes them for validation.
        level: the probability of the regions.

    Returns:
        The detector.

    Raises:
        InputError: if the detector has no Gaussian refiner, or too few landmarks are annotated.
    """
    refiners: list[Refiner] = []
    if detector.refiner is not None:
        chain = isinstance(detector.refiner, RefinerChain)
        refiners = list(detector.refiner.refiners) if chain else [detector.refiner]  # type: ignore[arg-type]
    places = [place for place, each in enumerate(refiners) if isinstance(each, GaussianRefiner)]
    if not places:
        raise InputError("Expected 'detector' with a Gaussian refiner (got none). Use refiner.name: gaussian.")
    *before, refiner = refiners[: places[-1] + 1]
    assert isinstance(refiner, GaussianRefiner)
    was_training = detector.training
    detector.eval()
    found: list[KeyPoints] = []
    targets: list[Tensor] = []
    groups: list[int] = []
    try:
        for group, batches in enumerate(conditions):
            for batch in batches:
                keypoints = detector.propose(batch.image.to(detector.mean.device))
                for each in before:
                    keypoints = each.refine(keypoints)
                found.append(_sampled(refiner, keypoints))
                target = batch.y.view(-1, detector.scheme.num_landmarks, 2)
                hidden = batch.visibility.view(len(target), -1, 1) == 0
                targets.append(target.masked_fill(hidden, torch.nan).to(keypoints.pos.device))
                groups += [group] * len(target)
        if not found:
            raise InputError("Expected 'conditions' with faces to calibrate on (got none).")
        refiner.calibrate(_joined(found), torch.cat(targets), level, torch.tensor(groups))
    finally:
        detector.train(was_training)
    return detector


def _sampled(refiner: GaussianRefiner, keypoints: KeyPoints) -> KeyPoints:
    """Features at the landmarks only: maps of all faces would not fit into memory."""
    features = None
    if refiner.feature_channels and keypoints.features is not None:
        features = sample_features(keypoints.features, keypoints.pos, refiner.input_size, refiner.sampling)
    return KeyPoints(keypoints.pos, keypoints.confidence, features=features)


def _joined(parts: list[KeyPoints]) -> KeyPoints:
    first = parts[0]
    fields = (
        None if value is None else torch.cat([getattr(part, name) for part in parts])
        for name, value in zip(first._fields, first, strict=True)
    )
    return KeyPoints(*fields)  # type: ignore[arg-type]

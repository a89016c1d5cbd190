"""Calibration of what a detector's Gaussian refiner says of its errors."""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor
from torch_geometric.data import Batch

from lgcn.checks import InputError, check_positive
from lgcn.graph import sample_features
from lgcn.models import LandmarkDetector
from lgcn.modes import eval_mode
from lgcn.nn import GaussianRefiner, Refiner, RefinerChain
from lgcn.schemes import normalizing_distance
from lgcn.typing import KeyPoints

FIT_NME = 0.08
"""Largest NME of a face whose landmarks fit, a fraction of the normalising distance."""


@torch.no_grad()
def calibrate_refiner(
    detector: LandmarkDetector,
    conditions: Sequence[Iterable[Batch]],
    level: float = 0.9,
    failures: Sequence[Iterable[Batch]] = (),
    fit_nme: float = FIT_NME,
) -> LandmarkDetector:
    """Calibrates the last Gaussian refiner of a detector, see :meth:`lgcn.nn.GaussianRefiner.calibrate`.

    Args:
        detector: whose refiner is calibrated, in place.
        conditions: one iterable of batches for each condition, the first of clean faces, others of covered ones, for
            instance: faces that the detector has not been trained on, as :class:`lgcn.training.LandmarkDataModule`
            makes them for validation.
        level: the probability of the regions.
        failures: likewise, conditions under which landmarks fail, such as boxes beside the face. They count for the
            score alone; without any failure the score stays unknown.
        fit_nme: largest NME of a face whose landmarks fit, a fraction of the distance by which the detector's protocol
            divides errors (of the scheme's own normaliser, if that is not one between landmarks).

    Returns:
        The detector.

    Raises:
        InputError: if the detector has no Gaussian refiner, or too few landmarks are annotated.
    """
    check_positive("fit_nme", fit_nme)
    before, refiner = _last_gaussian(detector)
    parts: list[KeyPoints] = []
    targets: list[Tensor] = []
    groups: list[int] = []
    with eval_mode(detector):
        for number, batches in enumerate((*conditions, *failures)):
            for batch in batches:
                keypoints = detector.propose(batch.image.to(detector.mean.device))
                for each in before:
                    keypoints = each.refine(keypoints)
                parts.append(_sampled(refiner, keypoints))
                target = batch.y.view(-1, detector.scheme.num_landmarks, 2)
                hidden = batch.visibility.view(len(target), -1, 1) == 0
                targets.append(target.masked_fill(hidden, torch.nan).to(keypoints.pos.device))
                groups += [number] * len(target)
        if not parts:
            raise InputError("Expected 'conditions' with faces to calibrate on (got none).")
        found, target, group = _joined(parts), torch.cat(targets), torch.tensor(groups)
        nme = _nme(detector, refiner.refine(found).pos, target).cpu()
        fits = (nme <= fit_nme).double().masked_fill(nme.isnan(), torch.nan)
        refiner.calibrate(
            found,
            target.masked_fill((group >= len(conditions)).to(target.device)[:, None, None], torch.nan),
            level,
            group,
            clean=group == 0,
            fits=fits if (fits == 0).any() and (fits == 1).any() else None,
        )
    return detector


def _last_gaussian(detector: LandmarkDetector) -> tuple[list[Refiner], GaussianRefiner]:
    """The last Gaussian refiner of a detector, and the refiners before it."""
    refiners: list[Refiner] = []
    if detector.refiner is not None:
        chain = isinstance(detector.refiner, RefinerChain)
        refiners = list(detector.refiner.refiners) if chain else [detector.refiner]  # type: ignore[arg-type]
    places = [place for place, each in enumerate(refiners) if isinstance(each, GaussianRefiner)]
    if not places:
        raise InputError("Expected 'detector' with a Gaussian refiner (got none). Use refiner.name: gaussian.")
    *before, refiner = refiners[: places[-1] + 1]
    assert isinstance(refiner, GaussianRefiner)
    return before, refiner


def _nme(detector: LandmarkDetector, pos: Tensor, target: Tensor) -> Tensor:
    """NME [N] of landmarks [N, K, 2] as a fraction; NaN where it cannot be measured."""
    normalizer = detector.protocol.normalizer_of(detector.scheme.name)
    if normalizer not in detector.scheme.normalizer_names:
        normalizer = None
    distance = normalizing_distance(target, detector.scheme, normalizer, target.isfinite().all(-1))
    return (pos - target).norm(dim=-1).nanmean(dim=1) / distance


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

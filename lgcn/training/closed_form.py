"""The closed-form start of refiners that are fitted to statistics of training faces before they are trained."""

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor
from torch_geometric.data import Batch

from lgcn.checks import InputError
from lgcn.models import LandmarkDetector
from lgcn.modes import eval_mode
from lgcn.nn import GaussianRefiner, Refiner, RefinerChain
from lgcn.typing import KeyPoints


def unfitted_refiners(detector: LandmarkDetector) -> list[GaussianRefiner]:
    """Gaussian refiners of a detector whose prior is still random."""
    parts = () if detector.refiner is None else detector.refiner.modules()
    return [each for each in parts if isinstance(each, GaussianRefiner) and not each.is_fitted]


class _Faces(NamedTuple):
    shapes: Tensor
    predictions: Tensor
    confidences: Tensor


@torch.no_grad()
def fit_refiners(
    detector: LandmarkDetector, batches: Iterable[Batch], max_faces: int = 2048, use_predictions: bool = True
) -> None:
    """Fit the Gaussian refiners of a detector that are not fitted yet, see :meth:`lgcn.nn.GaussianRefiner.fit`.

    Faces on which a landmark is not annotated are left out.

    Args:
        detector: whose refiners are fitted, in place.
        batches: of training faces, as :class:`lgcn.training.LandmarkDataModule` makes them.
        max_faces: faces that are enough.
        use_predictions: whether the noise is fitted to errors of the detector on these faces, which makes sense if
            its backbone is trained; if not, it is a guess.

    Raises:
        InputError: if too few faces have all landmarks.
    """
    unfitted = unfitted_refiners(detector)
    if not unfitted:
        return
    with eval_mode(detector):
        for refiner in unfitted:
            faces = _collect(detector, refiner, batches, max_faces, use_predictions)
            if use_predictions:
                refiner.fit(*faces)
            else:
                refiner.fit(faces.shapes)


def _collect(
    detector: LandmarkDetector, refiner: GaussianRefiner, batches: Iterable[Batch], max_faces: int, with_images: bool
) -> _Faces:
    K = detector.scheme.num_landmarks
    found: list[_Faces] = []
    count = 0
    for batch in batches:
        whole = (batch.visibility.view(-1, K) > 0).all(dim=1)
        shapes = batch.y.view(-1, K, 2)[whole]
        given = KeyPoints(shapes, shapes.new_ones(shapes.shape[:2]))
        if with_images and len(shapes):
            given = _until(detector, refiner, batch.image[whole].to(detector.mean.device))
        assert given.confidence is not None
        found.append(_Faces(shapes, given.pos.to(shapes.device), given.confidence.to(shapes.device)))
        count += len(shapes)
        if count >= max_faces:
            break
    if not count:
        raise InputError("Expected training faces with all landmarks to fit the refiner (got none).")
    return _Faces(*(torch.cat(each)[:max_faces] for each in zip(*found, strict=True)))


def _until(detector: LandmarkDetector, refiner: GaussianRefiner, images: Tensor) -> KeyPoints:
    """What a refiner of the detector is given."""
    keypoints = detector.propose(images)
    before: list[Refiner] = []
    if isinstance(detector.refiner, RefinerChain):
        chain = list(detector.refiner.refiners)
        before = chain[: chain.index(refiner)]  # type: ignore[assignment]
    for each in before:
        keypoints = each.refine(keypoints)
    return keypoints

"""Keypoints of other libraries as :class:`lgcn.typing.KeyPoints`."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from lgcn.checks import InputError, check_number, check_shape
from lgcn.typing import KeyPoints


def from_arrays(pos: Any, confidence: Any = None) -> KeyPoints:
    """Arrays, tensors or nested lists; points that are not finite, or lie exactly at (0, 0), are missing.

    Args:
        pos: [N, K, 2], pixels.
        confidence: [N, K], if the model gives any.

    Raises:
        InputError: for other shapes.
    """
    points = _tensor(pos)
    check_shape("pos", points, "N K 2")
    scores = None
    if confidence is not None:
        scores = _tensor(confidence)
        check_shape("confidence", scores, "N K", N=points.shape[0], K=points.shape[1])
    mask = points.isfinite().all(-1) & points.any(-1)
    return KeyPoints(points, scores, mask=None if mask.all() else mask)


def from_supervision(key_points: Any) -> KeyPoints:
    """``supervision.KeyPoints``, and with its ``from_...`` methods ultralytics, MediaPipe, detectron2 and others.

    Points that are not ``visible``, or lie exactly at (0, 0) as ultralytics writes what it does not find, are missing.
    Models that give no confidences have none here.

    Raises:
        InputError: if it is no ``supervision.KeyPoints``.
    """
    if not hasattr(key_points, "xy"):
        raise InputError(
            f"Expected 'key_points' to be a supervision.KeyPoints ({type(key_points).__name__} has no 'xy'). "
            "Use its from_ultralytics, from_mediapipe, ..."
        )
    scores = getattr(key_points, "keypoint_confidence", None)
    found = from_arrays(key_points.xy, scores)
    visible = getattr(key_points, "visible", None)
    if visible is None:
        return found
    seen = torch.as_tensor(visible).bool()
    return found._replace(mask=seen if found.mask is None else found.mask & seen)


def from_vitpose(results: Sequence[Sequence[Mapping[str, Tensor]]]) -> list[KeyPoints]:
    """Output of ``post_process_pose_estimation`` of a ViTPose processor of transformers, without ``threshold``.

    Args:
        results: of each image, of each person ``keypoints`` and ``scores``.

    Returns:
        The persons of each image; those of images without persons have N = 0 and K = 0.

    Raises:
        InputError: for anything else, or persons with different numbers of landmarks.
    """
    found = []
    for people in results:
        if isinstance(people, Mapping) or not all(isinstance(person, Mapping) for person in people):
            raise InputError(
                "Expected 'results' to be a list of images, each a list of persons with 'keypoints' and 'scores' (got "
                f"{type(people).__name__} for an image). Pass those of one image as [persons]."
            )
        if not people:
            found.append(KeyPoints(torch.zeros(0, 0, 2), torch.zeros(0, 0)))
            continue
        sizes = {len(person["keypoints"]) for person in people}
        if len(sizes) > 1:
            raise InputError(
                f"Expected persons with all landmarks in 'results' (got {sorted(sizes)}). Leave out 'threshold'."
            )
        points = torch.stack([person["keypoints"] for person in people])
        found.append(from_arrays(points, torch.stack([person["scores"].flatten() for person in people])))
    return found


def combine_runs(pos: Tensor, keep: float = 0.5, mask: Tensor | None = None) -> KeyPoints:
    r"""One prediction from several runs of a model, and confidences for a model that gives none.

    Run it on the mirrored image and on slightly shifted and scaled boxes, and map the points back. Each landmark is the
    mean of the ``keep`` runs that are nearest to their median; the confidence falls with the spread about the median,
    :math:`\exp(-s_i / (0.03 r))`, with the radius r of the shape.

    Args:
        pos: [R, N, K, 2], landmarks of N objects in R runs, pixels of the image; NaN where a run found none. A
            landmark that no run found is missing, with a confidence of 0.
        keep: share of the runs, of those that found the landmark.
        mask: [N, K], False where a landmark is missing.

    Raises:
        InputError: for another shape, or a share outside (0, 1].
    """
    check_shape("pos", pos, "R N K 2")
    check_number("keep", keep, 1e-6, 1.0)
    found = pos.isfinite().all(-1)
    seen = found.any(0) if mask is None else found.any(0) & mask
    pos = pos.where(found.unsqueeze(-1), torch.nan)
    distance = (pos - pos.nanmedian(dim=0).values).norm(dim=-1)
    # argsort puts NaN last: runs that did not find a landmark are not among its nearest.
    order = distance.argsort(dim=0)
    kept = torch.arange(len(pos)).to(order)[:, None, None] < (keep * found.sum(0)).round().clamp_min(1)
    nearest = pos.gather(0, order.unsqueeze(-1).expand(*order.shape, 2))
    mean = nearest.where(kept.unsqueeze(-1), torch.nan).nanmean(0)
    spread = distance.nanmedian(dim=0).values
    shape = mean.where(seen.unsqueeze(-1), torch.nan)
    radius = (shape - shape.nanmean(1, keepdim=True)).square().sum(-1).nanmean(-1, keepdim=True).sqrt()
    confidence = torch.exp(-spread / (0.03 * radius).clamp_min(1e-12)).masked_fill(~seen, 0.0)
    return KeyPoints(mean, confidence, mask=mask if seen.all() else seen)


def _tensor(values: Any) -> Tensor:
    try:
        tensor = torch.as_tensor(values)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"Expected numbers (got {type(values).__name__}: {error}).") from None
    return tensor if tensor.is_floating_point() else tensor.to(torch.get_default_dtype())

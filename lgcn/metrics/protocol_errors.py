"""Landmark errors as an evaluation protocol defines them."""

from typing import NamedTuple

import torch
from torch import Tensor

from lgcn.checks import check_flag, check_shape, check_size, check_values
from lgcn.codecs import truncate_to_image
from lgcn.covariance import expected_error as mean_error
from lgcn.covariance import squared_mahalanobis
from lgcn.geometry import invert_affine, transform_points
from lgcn.metrics.functional import landmark_errors
from lgcn.protocols import EvaluationProtocol, get_protocol
from lgcn.schemes import LandmarkScheme, get_scheme, normalizing_distance
from lgcn.typing import Size


class ProtocolErrors(NamedTuple):
    """Output of :func:`compute_errors`, float64 on the CPU."""

    errors: Tensor
    """[B, K], fractions of the normalising distance; NaN where a landmark is not annotated or a face not measurable."""
    landmarks: Tensor
    """[B, K, 2], the predictions in pixels of the image."""
    expected: Tensor | None = None
    """[B, K], the errors that the covariances predict, fractions like ``errors``; None without covariances."""
    mahalanobis: Tensor | None = None
    """[B, K], :func:`~lgcn.covariance.squared_mahalanobis` of the errors; None without covariances."""


def compute_errors(
    preds: Tensor,
    target: Tensor,
    affine: Tensor,
    normalizer: Tensor,
    visibility: Tensor,
    *,
    scheme: str | LandmarkScheme,
    protocol: str | EvaluationProtocol,
    input_size: Size,
    normalizer_name: str | None = None,
    whole_pixels: bool = False,
    covariance: Tensor | None = None,
    expected_error: Tensor | None = None,
) -> ProtocolErrors:
    r"""Errors of predicted landmarks in the frame of a protocol, :math:`\lVert \hat v_k - v_k \rVert_2 / d`.

    The frame is the original image, or the crop with its width and height taken as 1, as ``protocol.frame`` says. A
    face whose normalising distance is missing or not positive has no errors. The tensors may be on any device: they
    are moved to the CPU before they are converted to float64, which some accelerators do not support.

    Args:
        preds: [B, K, 2], pixels of the network's input.
        target: [B, K, 2], pixels of the network's input; may be NaN where ``visibility`` is 0.
        affine: [B, 2, 3], from pixels of the image to pixels of the input.
        normalizer: [B], the normalising distance in pixels of the image; not used where the frame is the crop.
        visibility: [B, K], 0 where a landmark is not annotated.
        scheme: landmark scheme, a name or an object.
        protocol: evaluation protocol, a name or an object.
        input_size: (H, W) of the network's input.
        normalizer_name: normaliser that is measured in the crop; the scheme's own if None.
        whole_pixels: round predictions to whole pixels of the image, as the public HRNet code does.
        covariance: [B, K, 2, 2], predicted for the errors of ``preds``, square pixels of the input.
        expected_error: [B, K], predicted length of the errors, pixels of the input; None takes that of normal errors
            with these covariances.

    Raises:
        InputError: if shapes do not fit each other, or a visible ``target`` is not finite.
    """
    check_shape("preds", preds, "B K 2")
    B, K, _ = preds.shape
    check_shape("target", target, "B K 2", B=B, K=K)
    check_shape("affine", affine, "B 2 3", B=B)
    check_shape("normalizer", normalizer, "B", B=B)
    check_shape("visibility", visibility, "B K", B=B, K=K)
    check_values(preds=preds, target=target, affine=affine, normalizer=normalizer, visibility=visibility)
    if covariance is not None:
        check_shape("covariance", covariance, "B K 2 2", B=B, K=K)
        check_values(covariance=covariance)
    height, width = check_size("input_size", input_size)
    check_flag("whole_pixels", whole_pixels)
    scheme, protocol = get_scheme(scheme), get_protocol(protocol)
    preds, target, affine, distance, visibility = (
        each.detach().cpu().double() for each in (preds, target, affine, normalizer, visibility)
    )
    to_image = invert_affine(affine)
    landmarks = truncate_to_image(preds, affine) if whole_pixels else transform_points(preds, to_image)
    if protocol.frame == "crop":
        side = torch.tensor([width, height], dtype=torch.float64)
        found, target, linear = preds / side, target / side, torch.diag(1 / side).expand(B, 2, 2)
        distance = normalizing_distance(target, scheme, normalizer_name, visibility)
    else:
        linear = to_image[:, :, :2]
        found, target = landmarks, transform_points(target, to_image)
    measurable = distance.isfinite() & (distance > 0)
    errors = landmark_errors(found, target, distance, visibility * measurable[:, None])
    if covariance is None:
        return ProtocolErrors(errors, landmarks)
    in_frame = linear[:, None] @ covariance.detach().cpu().double() @ linear[:, None].transpose(-1, -2)
    missing = errors.isnan()
    if expected_error is None:
        expected = mean_error(in_frame)
    else:
        check_shape("expected_error", expected_error, "B K", B=B, K=K)
        expected = expected_error.detach().cpu().double() * linear.det().abs().sqrt()[:, None]
    return ProtocolErrors(
        errors,
        landmarks,
        (expected / distance[:, None]).masked_fill(missing, torch.nan),
        squared_mahalanobis(found - target, in_frame).masked_fill(missing, torch.nan),
    )

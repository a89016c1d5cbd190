"""Inputs of the Gaussian refiner: checks, the prior with its pose factors, and weights of the alignment."""

import torch
from torch import Tensor

from lgcn.checks import InputError, check_finite, check_floating, check_mask, check_shape
from lgcn.nn.conv.factor_analysis_prior import FactorAnalysisPrior

POSE_FACTORS = 4
"""Translation along x and y, scale, rotation."""
_POSE_DEVIATION = 0.3  # radii of the mean shape, and radians: so large that larger values make no difference


def pose_modes(mean: Tensor) -> Tensor:
    """Derivatives [..., K, 2, 4] of shapes [..., K, 2]: translation along x and y, scale, rotation."""
    x, y = mean.unbind(-1)
    one, zero = torch.ones_like(x), torch.zeros_like(x)
    return torch.stack([torch.stack([one, zero, x, -y], dim=-1), torch.stack([zero, one, y, x], dim=-1)], dim=-2)


def fit_prior(prior: FactorAnalysisPrior, rank: int, shapes: Tensor) -> None:
    """Set ``rank`` factors of the shape from aligned shapes [N, K, 2], and those of the pose from their mean."""
    shape = FactorAnalysisPrior(prior.num_landmarks, rank, prior.num_components).to(prior.mean).fit(shapes)
    fitted = shape.state_dict()
    fitted["loadings"] = torch.cat([shape.loadings, _POSE_DEVIATION * pose_modes(shape.mean)], dim=-1)
    prior.load_state_dict(fitted)


def alignment_weight(prior: FactorAnalysisPrior, rank: int, variance: Tensor, mask: Tensor | None) -> Tensor:
    """Precisions [B, K] of observed landmarks about the mean shape.

    Args:
        prior: with the factors of the pose after ``rank`` factors of the shape.
        rank: number of these.
        variance: of the noise, [B, K], [B, K, 2] or [B, K, 2, 2].
        mask: [B, K], False where a landmark is missing.
    """
    axes = variance.dim() - 2
    diagonal = variance.diagonal(dim1=-2, dim2=-1) if axes == 2 else variance
    noise = diagonal.mean(-1) if axes else diagonal
    weight = (noise + prior.variance(rank).mean(-1)).reciprocal()
    return weight if mask is None else weight.masked_fill(~mask, 0.0)


def check_examples(
    num_landmarks: int, shapes: Tensor, predictions: Tensor | None, confidences: Tensor | None, use_confidence: bool
) -> None:
    """Check the arguments of :meth:`lgcn.nn.GaussianRefiner.fit`."""
    for name, tensor in (("shapes", shapes), ("predictions", predictions)):
        if tensor is not None:
            check_shape(name, tensor, "N K 2", N=len(shapes), K=num_landmarks)
            check_floating(name, tensor)
            check_finite(name, tensor)
            radius = (tensor - tensor.mean(dim=1, keepdim=True)).norm(dim=-1).amax(1)
            if not (radius > 1e-4 * tensor.abs().amax((1, 2))).all():
                raise InputError(
                    f"Expected '{name}' whose landmarks lie apart (got all in one place in number "
                    f"{int(radius.argmin())}). Leave it out."
                )
    if confidences is not None:
        check_shape("confidences", confidences, "N K", N=len(shapes), K=num_landmarks)
        check_finite("confidences", confidences)
    elif predictions is not None and use_confidence:
        raise InputError(
            "Expected 'confidences' [N, K] of the predictions (got None). Or build it with use_confidence=False."
        )


def check_inputs(
    num_landmarks: int,
    feature_channels: int,
    use_confidence: bool,
    features: Tensor | None,
    pos: Tensor,
    confidence: Tensor | None,
    mask: Tensor | None,
) -> tuple[Tensor | None, Tensor, Tensor | None]:
    """Check the arguments of :meth:`lgcn.nn.GaussianRefiner.forward` and fill what is missing."""
    K, C = num_landmarks, feature_channels
    check_shape("pos", pos, "B K 2", K=K)
    B = pos.shape[0]
    if mask is not None:
        check_mask("mask", mask, "B K", B=B, K=K)
        pos = pos.masked_fill(~mask.unsqueeze(-1), 0.0)
    check_finite("pos", pos)
    if use_confidence:
        if confidence is None:
            raise InputError("Expected 'confidence' [B, K] (got None). Or build it with use_confidence=False.")
        check_shape("confidence", confidence, "B K", B=B, K=K)
        confidence = confidence if mask is None else confidence.masked_fill(~mask, 0.0)
        check_finite("confidence", confidence)
    if C == 0:
        return None, pos, confidence
    if features is None:
        raise InputError(f"Expected 'features' with {C} channels (got None). Or build it with feature_channels=0.")
    if features.dim() == 3:
        check_shape("features", features, "B K C", B=B, K=K, C=C)
        features = features if mask is None else features.masked_fill(~mask.unsqueeze(-1), 0.0)
    else:
        check_shape("features", features, "B C h w", B=B, C=C)
    return features, pos, confidence

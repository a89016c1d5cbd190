r"""Alignment of shapes by similarities: rotation, scale and translation, without reflection.

In the plane a similarity is the complex multiplication :math:`z \mapsto a (z - c) + c'`, which has a closed form and
gradients everywhere; no singular value decomposition is needed.
"""

from typing import NamedTuple

import torch
from torch import Tensor


class Similarity(NamedTuple):
    """Similarities of the plane, one an image: ``target = (source - source_centre) @ matrix.T + target_centre``."""

    matrix: Tensor
    """[..., 2, 2], rotation times scale."""
    source_centre: Tensor
    """[..., 1, 2]."""
    target_centre: Tensor
    """[..., 1, 2]."""

    def apply(self, pos: Tensor) -> Tensor:
        """Points [..., K, 2] of the source in the frame of the target."""
        return (pos - self.source_centre) @ self.matrix.mT + self.target_centre

    def invert(self, pos: Tensor) -> Tensor:
        """Points [..., K, 2] of the target in the frame of the source."""
        return (pos - self.target_centre) @ self.inverse_matrix().mT + self.source_centre

    def apply_covariance(self, covariance: Tensor) -> Tensor:
        """Covariances [..., K, 2, 2] in the source, in the frame of the target."""
        matrix = self.matrix.unsqueeze(-3)
        return matrix @ covariance @ matrix.mT

    def invert_covariance(self, covariance: Tensor) -> Tensor:
        """Covariances [..., K, 2, 2] in the target, in the frame of the source."""
        matrix = self.inverse_matrix().unsqueeze(-3)
        return matrix @ covariance @ matrix.mT

    def squared_scale(self) -> Tensor:
        """[..., 1], areas in the target over areas in the source."""
        return self.matrix[..., 0, :].square().sum(-1, keepdim=True)

    def inverse_matrix(self) -> Tensor:
        """[..., 2, 2]."""
        return self.matrix.mT / self.squared_scale().unsqueeze(-1)

    def detach(self) -> "Similarity":
        """The same without gradients."""
        return Similarity(*(each.detach() for each in self))


def fit_similarity(source: Tensor, target: Tensor, weight: Tensor | None = None) -> Similarity:
    r"""The similarities that bring points nearest to those of a target, in the weighted least-squares sense.

    .. math::
        \min_{a, c, c'} \sum_k w_k \lvert a (z_k - c) + c' - f_k \rvert^2, \qquad
        a = \frac{\sum_k w_k \overline{(z_k - c)} (f_k - c')}{\sum_k w_k \lvert z_k - c \rvert^2}

    with the weighted centroids :math:`c` of the source and :math:`c'` of the target. Where rotation and scale are not
    determined (a single point, points that coincide, or that no similarity brings nearer to the target), :math:`a = 1`;
    without any point :math:`c = c' = 0` too, the identity.

    Args:
        source: [..., K, 2], finite.
        target: [..., K, 2], finite; [K, 2] serves all images.
        weight: [..., K], 0 or more, finite, all 1 if None. Points of weight 0 have no influence, but must be finite.
    """
    if weight is None:
        weight = source.new_ones(source.shape[:-1])
    weight = weight.unsqueeze(-1)
    total = weight.sum(-2, keepdim=True)
    weight = weight / total.masked_fill(total == 0, 1.0)
    source_centre, target_centre = ((weight * points).sum(-2, keepdim=True) for points in (source, target))
    z, f = source - source_centre, target - target_centre
    real = (weight * z * f).sum((-2, -1))
    imaginary = (weight.squeeze(-1) * (z[..., 0] * f[..., 1] - z[..., 1] * f[..., 0])).sum(-1)
    extent, target_extent = ((weight * points.square()).sum((-2, -1)) for points in (z, f))
    # Rounding of the centroids, squared, is all the extent that coinciding points have.
    rounding = (100 * torch.finfo(source.dtype).eps) ** 2 * (weight * source.square()).sum((-2, -1))
    correlated = real.square() + imaginary.square() > 1e-6 * extent * target_extent
    determined = (extent > rounding) & correlated
    extent = torch.where(determined, extent, 1.0)
    real, imaginary = torch.where(determined, real, 1.0) / extent, torch.where(determined, imaginary, 0.0) / extent
    matrix = torch.stack([real, -imaginary, imaginary, real], dim=-1).unflatten(-1, (2, 2))
    return Similarity(matrix, source_centre, target_centre)


def mean_shape(shapes: Tensor, iterations: int = 5) -> Tensor:
    """The generalised Procrustes mean [K, 2] of shapes [N, K, 2]: centred, of root-mean-square radius 1.

    It is upright as the plain mean of the shapes is; each iteration aligns all shapes to the mean of the last.
    """
    mean = normalized(shapes.mean(dim=0))
    for _ in range(iterations):
        mean = normalized(fit_similarity(shapes, mean).apply(shapes).mean(dim=0))
    return mean


def normalized(shape: Tensor) -> Tensor:
    """Shapes [..., K, 2] centred and divided by their root-mean-square radius, which must not be 0."""
    shape = shape - shape.mean(dim=-2, keepdim=True)
    return shape / shape.square().sum(-1).mean(-1)[..., None, None].sqrt()

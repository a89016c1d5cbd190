r"""A Gaussian model of the face's shape, as a reference for what confidences can contribute.

Landmarks :math:`p = y + \varepsilon`, in the frame of the mean shape, with :math:`y \sim N(\mu, \Sigma)` and
independent errors :math:`\varepsilon_k \sim N(0, r_k I)`; the estimate of :math:`y` is the posterior mean
:math:`\mu + \Sigma (\Sigma + R)^{-1} (p - \mu)`. Nothing is trained: mean, covariance and error variances are estimated
from the crops that refiners are trained on. The rows differ in :math:`r_k` only: one for each landmark type, which is
all that is known without confidences; that times a factor for each tenth of the confidences; or the true error.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from benchmarks.ablation.outputs import Outputs

NOISE = {
    "type": "shape model, error by type",
    "confidence": "shape model, error by type and confidence",
    "oracle": "shape model, true error",
}
BINS = 10


@dataclass
class ShapeModel:
    """Estimates from the crops of a regime and one start.

    Args:
        outputs: of the training crops.
        start: decode whose landmarks are refined.
    """

    outputs: Outputs
    start: str

    def __post_init__(self) -> None:
        pos, target = (each.double() for each in (self.outputs.pos[self.start], self.outputs.target))
        self.frame = mean_shape(target)
        scale, _ = _similarity(pos, self.frame)
        aligned = align(target, pos, self.frame).flatten(1)
        self.mean = aligned.mean(dim=0)
        self.covariance = aligned.T.cov() + 1e-9 * torch.eye(aligned.shape[1], dtype=torch.double)
        squared = _squared(scale, pos, target)
        self.of_type = squared.mean(dim=0)
        confidence = self.outputs.confidence.double()
        self.edges = confidence.flatten().quantile(torch.linspace(0, 1, BINS + 1, dtype=torch.double)[1:-1])
        place = torch.bucketize(confidence, self.edges)
        relative = squared / self.of_type
        self.of_confidence = torch.stack([relative[place == n].mean() for n in range(BINS)])

    def refine(self, outputs: Outputs, noise: str) -> Tensor:
        """Landmarks [N, K, 2] of crops, in single precision; ``noise`` is one of :data:`NOISE`."""
        pos = outputs.pos[self.start].double()
        scale, rotation = _similarity(pos, self.frame)
        variance = self.of_type.expand(pos.shape[:2])
        if noise == "confidence":
            variance = variance * self.of_confidence[torch.bucketize(outputs.confidence.double(), self.edges)]
        elif noise == "oracle":
            variance = _squared(scale, pos, outputs.target.double()).clamp_min(1e-9)
        observed = align(pos, pos, self.frame).flatten(1)
        both = self.covariance + torch.diag_embed(variance.repeat_interleave(2, dim=1))
        moved = torch.linalg.solve(both, observed - self.mean) @ self.covariance + self.mean
        # Back by the inverse similarity.
        shape = moved.unflatten(1, pos.shape[1:]) @ rotation.transpose(1, 2) / scale.view(-1, 1, 1)
        return (shape + pos.mean(dim=1, keepdim=True)).float()


def mean_shape(pos: Tensor) -> Tensor:
    """[K, 2] of shapes [N, K, 2]: their mean after alignment to their plain mean, centred, of norm 1."""
    frame = pos.mean(dim=0)
    for _ in range(3):
        frame = frame - frame.mean(dim=0)
        frame = align(pos, pos, frame / frame.norm()).mean(dim=0)
    return frame / frame.norm()


def align(pos: Tensor, by: Tensor, frame: Tensor) -> Tensor:
    """Landmarks [N, K, 2] under the similarities that bring others, ``by`` [N, K, 2], nearest to a frame [K, 2]."""
    scale, rotation = _similarity(by, frame)
    return (pos - by.mean(dim=1, keepdim=True)) @ rotation * scale.view(-1, 1, 1)


def _similarity(pos: Tensor, frame: Tensor) -> tuple[Tensor, Tensor]:
    """Scales [N] and rotations [N, 2, 2] that bring centred landmarks nearest to a centred frame (Procrustes)."""
    centred = pos - pos.mean(dim=1, keepdim=True)
    u, s, vh = torch.linalg.svd(centred.transpose(1, 2) @ frame)
    # A rotation, no mirroring.
    sign = torch.stack([torch.ones_like(s[:, 0]), torch.det(u @ vh).sign()], dim=1)
    rotation = (u * sign.unsqueeze(1)) @ vh
    return (s * sign).sum(dim=1) / centred.square().sum(dim=(1, 2)), rotation


def _squared(scale: Tensor, pos: Tensor, target: Tensor) -> Tensor:
    """Squared errors [N, K] of a coordinate, in the frame."""
    return (pos - target).square().mean(dim=2) * scale.square().unsqueeze(1)

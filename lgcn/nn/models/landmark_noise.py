"""The noise of observed landmarks, from their types and confidences."""

import torch
from torch import Tensor, nn

from lgcn.checks import check_choice

NOISE_FORMS = ("isotropic", "diagonal", "full")
_NUM_PARAMETERS = {"isotropic": 1, "diagonal": 2, "full": 3}
_LIMIT = 30.0  # of a logarithm: single precision holds its exponential, squared too


class LandmarkNoise(nn.Module):
    r"""Variances of landmarks: :math:`\mathbf{R}_i = \exp(\rho_{l_i} + g(c_i) + \delta_i)`.

    :math:`\rho` is a parameter of the type, g a piecewise linear function of the confidence, constant beyond its first
    and last knot, and :math:`\delta_i` what a network adds. ``"full"`` has two logarithms of variances and a
    correlation, whose hyperbolic arc tangent takes the place of a third; g acts on the two alone.

    Args:
        num_landmarks: K.
        form: ``"isotropic"``, ``"diagonal"`` or ``"full"``.
        use_confidence: whether there is a g.
        num_knots: of g.
    """

    knots: Tensor

    def __init__(self, num_landmarks: int, form: str = "isotropic", use_confidence: bool = True, num_knots: int = 10):
        super().__init__()
        self.form = check_choice("form", form, NOISE_FORMS)
        self.num_parameters = _NUM_PARAMETERS[form]
        self.use_confidence = use_confidence
        self.log_variance = nn.Parameter(torch.empty(num_landmarks, self.num_parameters))
        self.register_buffer("knots", torch.linspace(0, 1, num_knots))
        self.curve: nn.Parameter | None = nn.Parameter(torch.empty(num_knots)) if use_confidence else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Variances of 1, whatever the confidence."""
        for parameter in self.parameters():
            nn.init.zeros_(parameter)

    def no_weight_decay(self) -> set[str]:
        """Names of parameters that training should not pull towards 0: all are statistics."""
        return {name for name, _ in self.named_parameters()}

    @torch.no_grad()
    def fill(self, variance: Tensor) -> None:
        """One variance for all types and confidences."""
        self.reset_parameters()
        self.log_variance.copy_(variance.log() * (torch.arange(self.num_parameters, device=variance.device) < 2))

    @torch.no_grad()
    def fit(self, errors: Tensor, confidences: Tensor | None) -> None:
        """Set variances by type from errors [N, K, 2], then g by quantiles of their confidences [N, K]."""
        errors = errors.cpu().double()
        covariance = torch.einsum("nka,nkb->kab", errors, errors) / len(errors)
        variance = covariance.diagonal(dim1=1, dim2=2).clamp_min(1e-12)
        if self.form == "isotropic":
            self.log_variance.copy_(variance.mean(1, keepdim=True).log())
        else:
            correlation = covariance[:, 0, 1] / variance.prod(1).sqrt()
            parameters = torch.cat([variance.log(), correlation.clamp(-0.99, 0.99).atanh().unsqueeze(1)], dim=1)
            self.log_variance.copy_(parameters[:, : self.num_parameters])
        if self.curve is None or confidences is None:
            return
        confidences = confidences.cpu().double()
        relative = (errors.square() / variance).mean(-1)
        parts = torch.linspace(0, 1, len(self.curve) + 1, dtype=torch.double)
        edges = confidences.flatten().quantile(parts)
        place = torch.bucketize(confidences, edges[1:-1]).flatten()
        count = place.bincount(minlength=len(self.curve))
        mean = torch.zeros(len(self.curve), dtype=torch.double).index_add(0, place, relative.flatten()) / count
        self.curve.copy_(torch.where(count > 0, mean, 1.0).clamp_min(1e-6).log())
        knots = confidences.flatten().quantile((parts[1:] + parts[:-1]) / 2)
        # Equal confidences would give knots with no distance, and those of any unit must differ in single precision.
        steps = knots.diff().clamp_min(1e-4 * max(1.0, knots.abs().max().item()))
        self.knots.copy_(torch.cat([knots[:1], knots[:1] + steps.cumsum(0)]))

    def forward(self, shape: torch.Size, confidence: Tensor | None = None, correction: Tensor | None = None) -> Tensor:
        """Variances [B, K], [B, K, 2] or [B, K, 2, 2], by form.

        Args:
            shape: [B, K].
            confidence: [B, K]; needed if there is a g.
            correction: [B, K, num_parameters], what is added to the logarithms.
        """
        logarithm = self.log_variance.expand(*shape, -1)
        if correction is not None:
            logarithm = logarithm + correction
        scale = logarithm[..., :2]
        if self.curve is not None and confidence is not None:
            scale = scale + self.curve_at(confidence.to(logarithm.dtype)).unsqueeze(-1)
        variance = scale.clamp(-_LIMIT, _LIMIT).exp()
        if self.form == "isotropic":
            return variance.squeeze(-1)
        if self.form == "diagonal":
            return variance
        shared = 0.999 * logarithm[..., 2].tanh() * variance.prod(-1).sqrt()
        return torch.stack([variance[..., 0], shared, shared, variance[..., 1]], dim=-1).unflatten(-1, (2, 2))

    def curve_at(self, confidence: Tensor) -> Tensor:
        """The function g at confidences of any shape."""
        assert self.curve is not None
        steps = self.knots.diff()
        passed = (confidence.unsqueeze(-1) - self.knots[:-1]).clamp_min(0.0).minimum(steps)
        return self.curve[0] + passed @ (self.curve.diff() / steps)

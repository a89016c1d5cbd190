"""Calibration of predicted covariances on images that a model has not been trained on."""

import math
from typing import Any

import torch
from torch import Tensor, nn

from lgcn.checks import InputError, check_number
from lgcn.covariance import expected_error

_LEAST = 1e-30  # of a variance: single precision holds it, and its logarithm is finite
_SMOOTHNESS = 0.1  # of the quantile loss about its kink, in units of a logarithm
_FEWEST = 100  # landmarks


class CovarianceCalibration(nn.Module):
    r"""Scales covariances so that regions of a given probability contain that share of the true landmarks.

    .. math::
        \mathbf{V}'_i = e^{a} \, v_i^{\,b} \, \bar v^{\,c} \, \mathbf{V}_i, \qquad
        v_i = \sqrt{\det \mathbf{V}_i}, \qquad \ln \bar v = \operatorname{mean}_j \ln v_j

    with :math:`v_i` in units of the mean shape. b corrects the spread of the predictions within an image. c corrects
    their spread over images: the model assumes independent noise, but on a bad image, dark or blurred, errors of all
    landmarks grow together. The factor stays within the range that occurred in calibration.

    :meth:`fit` is a quantile regression (Koenker and Bassett, 1978) of the squared Mahalanobis distances of errors.
    It guarantees the coverage on average over the images of the calibration; on others as far as they are like these.
    With groups of images, such as clean, blurred and dark ones, each group counts the same, and b and c are used as far
    as they bring the coverage of the worst group nearer to its target.
    The regions are right at this one level only: errors have heavier tails than Gaussians. The mean error is therefore
    calibrated by a factor of its own, see :meth:`expected_error`. Without :meth:`fit` nothing changes.
    """

    weight: Tensor
    limits: Tensor
    error_factor: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("weight", torch.empty(3))
        self.register_buffer("limits", torch.empty(2))
        self.register_buffer("error_factor", torch.empty(()))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Remove the calibration."""
        for buffer in (self.weight, self.limits, self.error_factor):
            buffer.zero_()
        self.error_factor.add_(1.0)

    def forward(self, covariance: Tensor, spread: Tensor, mask: Tensor | None = None) -> Tensor:
        """Calibrated covariances.

        Args:
            covariance: [B, K, 2, 2], in any unit.
            spread: [B, K], :func:`log_spread` of the covariances in units of the mean shape.
            mask: [B, K], False where a landmark is missing; the mean over an image is one over the others.
        """
        logarithm = (_terms(spread, mask) @ self.weight.to(spread)).clamp(*self.limits.to(spread))
        return covariance * logarithm.exp().to(covariance)[..., None, None]

    def expected_error(self, covariance: Tensor) -> Tensor:
        """The mean length [..., K] of errors with calibrated covariances [..., K, 2, 2], in their unit of length."""
        return self.error_factor * expected_error(covariance)

    @torch.no_grad()
    def fit(
        self,
        errors: Tensor,
        covariance: Tensor,
        spread: Tensor,
        mask: Tensor | None = None,
        level: float = 0.9,
        groups: Tensor | None = None,
    ) -> "CovarianceCalibration":
        """Set the calibration from errors.

        Args:
            errors: [N, K, 2], prediction minus truth; NaN where the truth is not known.
            covariance: [N, K, 2, 2], predicted for them, in the squared unit of ``errors``.
            spread: as in :meth:`forward`.
            mask: as in :meth:`forward`.
            level: the probability of the regions.
            groups: [N], integers, the group of each image.

        Returns:
            The module itself.

        Raises:
            InputError: for a level that is not between 0 and 1, and less than 100 landmarks whose error is known.
        """
        check_number("level", level, 0.01, 0.999)
        # On the CPU, since not every accelerator has double precision.
        errors, covariance, spread = (each.cpu().double() for each in (errors, covariance, spread))
        known = errors.isfinite().all(dim=-1)
        if known.sum() < _FEWEST:
            raise InputError(
                f"Expected errors of {_FEWEST} landmarks or more to calibrate on (got {int(known.sum())}). Give more "
                "images."
            )
        terms = _terms(spread, None if mask is None else mask.cpu())[known]
        factor = torch.linalg.cholesky_ex(covariance[known] + _LEAST * torch.eye(2, dtype=torch.double)).L
        white = torch.linalg.solve_triangular(factor, errors[known].unsqueeze(-1), upper=False)
        distance = (white.square().sum((-2, -1)) / (-2 * math.log1p(-level))).clamp_min(_LEAST).log()
        group = (spread.new_zeros(len(spread)) if groups is None else groups.cpu()).unsqueeze(1).expand_as(known)[known]
        weight = _quantile_regression(terms, distance, level, group)
        logarithm = terms @ weight
        self.weight.copy_(weight)
        self.limits.copy_(torch.stack([logarithm.min(), logarithm.max()]))
        calibrated = self(covariance, spread, mask)
        mean = expected_error(calibrated)[known].mean()
        self.error_factor.copy_(errors[known].norm(dim=-1).mean() / mean if mean > 0 else mean.new_ones(()))
        return self

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        # Refiners saved before they could be calibrated.
        for name, buffer in self.named_buffers():
            state_dict.setdefault(prefix + name, buffer)
        super()._load_from_state_dict(state_dict, prefix, *args)


def log_spread(covariance: Tensor) -> Tensor:
    """Logarithms [...] of the square roots of the determinants of covariances [..., 2, 2]; not below -69."""
    a, b, c, d = covariance.flatten(-2).unbind(-1)
    return (a * d - b * c).clamp_min(_LEAST).log() / 2


def _terms(spread: Tensor, mask: Tensor | None) -> Tensor:
    """Regressors [B, K, 3]: 1, the own spread and that of the image."""
    if mask is None:
        mean = spread.mean(dim=1, keepdim=True)
    else:
        here = mask.to(spread.dtype)
        here = torch.where(mask.any(dim=1, keepdim=True), here, 1.0)
        mean = (spread * here).sum(dim=1, keepdim=True) / here.sum(dim=1, keepdim=True)
    return torch.stack([torch.ones_like(spread), spread, mean.expand_as(spread)], dim=-1)


def _quantile_regression(terms: Tensor, values: Tensor, level: float, group: Tensor) -> Tensor:
    """Coefficients [C] of the linear function of terms [N, C], the first of them 1, with a share of values below it.

    Groups, integers [N], have equal weights. If there are several, some or all slopes are shrunk towards 0, such that
    the share of the worst group is nearest to the level.
    """
    _, place = group.unique(return_inverse=True)
    count = place.bincount()
    share = (1 / (count * len(count)).double())[place]
    both = (1, 2)
    candidates = []
    for chosen in [both] if len(count) == 1 else [(1,), (2,), both]:
        slopes = _slopes(terms, values, level, share, chosen)
        for shrinkage in (1.0,) if len(count) == 1 else torch.linspace(0, 1, 11).tolist():
            rest = values - terms[:, 1:] @ (shrinkage * slopes)
            order = rest.argsort()
            last = int((share[order].cumsum(0) < level - 1e-9).sum().clamp_max(len(rest) - 1))
            offset = rest[order[last]]
            covered = torch.zeros_like(count, dtype=torch.double).index_add(0, place, (rest <= offset).double()) / count
            weight = torch.cat([offset.view(1), shrinkage * slopes])
            candidates.append(((covered - level).abs().max().item(), weight))
    return min(candidates, key=lambda candidate: candidate[0])[1]


def _slopes(terms: Tensor, values: Tensor, level: float, share: Tensor, chosen: tuple[int, ...]) -> Tensor:
    """Slopes [C - 1] of a quantile regression; those of terms that are not chosen are 0."""
    centre, size = terms.mean(0), terms.std(0)
    used = torch.zeros_like(size, dtype=torch.bool).index_fill(0, torch.tensor(chosen), True) & (size > 1e-6)
    size = torch.where(used, size, torch.inf)  # what does not vary explains nothing
    inputs = torch.cat([terms[:, :1], ((terms - centre) / size)[:, 1:]], dim=1)
    with torch.inference_mode(False), torch.enable_grad():
        # Clones are ordinary tensors, which autograd takes.
        inputs, values, share = inputs.clone(), values.clone(), share.clone()
        weight = torch.zeros(inputs.shape[1], dtype=inputs.dtype)
        weight[0] = values.median()
        weight.requires_grad_()
        optimizer = torch.optim.LBFGS([weight], max_iter=100, line_search_fn="strong_wolfe")

        def loss() -> Tensor:
            optimizer.zero_grad()
            rest = values - inputs @ weight
            smooth = _SMOOTHNESS * nn.functional.softplus(-rest / _SMOOTHNESS)
            total = (share * (level * rest + smooth)).sum() + 1e-6 * weight[1:].square().sum()
            total.backward()
            return total

        optimizer.step(loss)
    return (weight.detach() / size)[1:]

"""What the noise and the residuals of an image say of it: which landmarks are covered, and whether they fit at all."""

from typing import Any

import torch
from torch import Tensor, nn

from lgcn.checks import InputError, check_number, check_shape
from lgcn.covariance import squared_mahalanobis
from lgcn.nn.functional.gaussian import GaussianPosterior, as_covariance
from lgcn.nn.models.covariance_calibration import log_spread

COVERED_SHARE = 0.05
"""Share of the landmarks of clean images that may be called covered."""

_FEWEST = 100  # landmarks
_LEAST_LIMIT = 1.01  # rounding is no cover, where the noise depends on the type alone
_PENALTY = 1e-3  # on squared weights: fits and failures that do not overlap would make them infinite


class Reliability(nn.Module):
    r"""Tells covered landmarks from visible ones, and images that the landmarks fit from failures.

    .. math::
        d_i = \frac{\sqrt[4]{\det \mathbf{R}_i}}{\tau_{l_i}}, \qquad \text{covered}_i = [d_i > \delta], \qquad
        p = \sigma\bigl(w_0 + w_1 \operatorname{mean}_i \ln d_i
        + w_2 \operatorname{mean}_i \ln(1 + \mathbf{e}_i^\top \mathrm{Cov}(\mathbf{e}_i)^{-1} \mathbf{e}_i)\bigr)

    :math:`\mathbf{R}_i` is the noise that the refiner expects of a landmark, in the frame of the mean shape, so that
    the size of the face does not matter: how little the network has seen of the landmark itself, whatever its
    neighbours say of it. :math:`\mathbf{e}_i` is its leave-one-out residual: confident landmarks can contradict each
    other.

    :meth:`fit` sets the typical noise :math:`\tau_l` of every landmark type to its median over clean images,
    :math:`\delta` to the value that a given share of their landmarks exceeds, and w by logistic regression on images of
    which some fit and some do not, both classes with equal weight. Before, nothing is known.

    Args:
        num_landmarks: K.
    """

    typical_noise: Tensor
    limit: Tensor
    weight: Tensor

    def __init__(self, num_landmarks: int) -> None:
        super().__init__()
        self.register_buffer("typical_noise", torch.empty(num_landmarks))
        self.register_buffer("limit", torch.empty(()))
        self.register_buffer("weight", torch.empty(3))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Remove the calibration."""
        for buffer in (self.typical_noise, self.limit, self.weight):
            buffer.zero_()
        # Not read from the tensors in forward, which is compiled and exported.
        self.tells_covered = self.tells_fits = False

    def forward(
        self, variance: Tensor, posterior: GaussianPosterior | None = None, mask: Tensor | None = None
    ) -> tuple[Tensor | None, Tensor | None]:
        """Judge landmarks and images.

        Args:
            variance: of the noise in the frame of the mean shape, [B, K], [B, K, 2] or [B, K, 2, 2].
            posterior: with the residuals, in any frame; without, images are not judged.
            mask: [B, K], False where a landmark is missing.

        Returns:
            Which landmarks are covered, bool [B, K]; missing ones are. The probability [B] that the landmarks fit, 0
            where all are missing. None for what is not known.
        """
        if not self.tells_covered:
            return None, None
        doubt = self.doubt(variance)
        covered = doubt > self.limit.to(doubt).log()
        score = None
        if self.tells_fits and posterior is not None:
            score = torch.sigmoid(_terms(doubt, posterior, mask) @ self.weight.to(doubt))
        if mask is not None:
            covered = covered | ~mask
            score = None if score is None else score * mask.any(dim=1)
        return covered, score

    @torch.no_grad()
    def fit(
        self,
        variance: Tensor,
        clean: Tensor,
        posterior: GaussianPosterior | None = None,
        fits: Tensor | None = None,
        mask: Tensor | None = None,
        share: float = COVERED_SHARE,
    ) -> "Reliability":
        """Set the calibration from N images that the refiner has not been trained on.

        Args:
            variance: as in :meth:`forward`.
            clean: bool [N], images of which nothing is covered.
            posterior: as in :meth:`forward`, needed with ``fits``.
            fits: [N], 1 for an image whose landmarks fit, 0 for others, NaN where that is not known; without, the
                probability stays unknown.
            mask: as in :meth:`forward`.
            share: of the landmarks of clean images that may be called covered.

        Returns:
            The module itself.

        Raises:
            InputError: for a share that is not between 0 and 1/2, less than 100 landmarks in clean images, or a type
                that none of them has, and if all images fit or none does.
        """
        check_number("share", share, 0.0001, 0.5)
        check_shape("clean", clean, "N", N=len(variance))
        # On the CPU, since not every accelerator has double precision.
        noise = _log_deviation(variance.cpu().double())
        here = clean.cpu().unsqueeze(1).expand_as(noise) if mask is None else clean.cpu().unsqueeze(1) & mask.cpu()
        if here.sum() < _FEWEST or not here.any(dim=0).all():
            raise InputError(
                f"Expected each landmark in clean images, and {_FEWEST} landmarks or more (got {int(here.sum())}). "
                "Give more images."
            )
        self.typical_noise.copy_(noise.masked_fill(~here, torch.nan).nanmedian(dim=0).values.exp())
        doubt = self.doubt(variance.cpu().double())
        self.limit.copy_(doubt[here].quantile(1 - share).exp().clamp_min(_LEAST_LIMIT))
        self.tells_covered, self.tells_fits = True, False
        if fits is not None and posterior is not None:
            check_shape("fits", fits, "N", N=len(variance))
            known = ~fits.cpu().isnan()
            posterior = GaussianPosterior(*(each.cpu().double() for each in posterior))
            terms = _terms(doubt, posterior, None if mask is None else mask.cpu())
            self.weight.copy_(_logistic_regression(terms[known], fits.cpu()[known] > 0))
            self.tells_fits = True
        return self

    def doubt(self, variance: Tensor) -> Tensor:
        """Logarithms [B, K] of the noise over what is typical of the landmark type."""
        return _log_deviation(variance) - self.typical_noise.to(variance).log()

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        # Refiners saved before they could be calibrated.
        for name, buffer in self.named_buffers():
            state_dict.setdefault(prefix + name, torch.zeros_like(buffer))
        super()._load_from_state_dict(state_dict, prefix, *args)
        self.tells_covered = bool(state_dict[prefix + "limit"] > 0)
        self.tells_fits = bool(state_dict[prefix + "weight"].any())


def _log_deviation(variance: Tensor) -> Tensor:
    """Logarithms [B, K] of deviations, the geometric mean over directions."""
    return log_spread(as_covariance(variance, 3)) / 2


def _terms(doubt: Tensor, posterior: GaussianPosterior, mask: Tensor | None) -> Tensor:
    """Regressors [B, 3] of the fit: 1, and means of two logarithms over the landmarks that are not missing."""
    # A landmark that the others exclude is not infinitely bad.
    distance = squared_mahalanobis(posterior.residual, posterior.residual_covariance).clamp_max(1e9)
    values = torch.stack([torch.ones_like(doubt), doubt, distance.to(doubt).log1p()], dim=-1)
    if mask is None:
        return values.mean(dim=1)
    here = mask.unsqueeze(-1).to(values.dtype)
    return (values * here).sum(dim=1) / here.sum(dim=1).clamp_min(1)


def _logistic_regression(terms: Tensor, positive: Tensor) -> Tensor:
    """Weights [C] of terms [N, C]; positives and negatives count the same together, however many there are."""
    count = int(positive.sum())
    if not 0 < count < len(positive):
        raise InputError(
            f"Expected images of which some fit and some do not (got {count} of {len(positive)} that fit). Add "
            "conditions under which landmarks fail."
        )
    share = torch.where(positive, 0.5 / count, 0.5 / (len(positive) - count)).to(terms.dtype)
    with torch.inference_mode(False), torch.enable_grad():
        # Clones are ordinary tensors, which autograd takes.
        terms, share, target = terms.clone(), share.clone(), positive.to(terms.dtype)
        weight = torch.zeros(terms.shape[1], dtype=terms.dtype, requires_grad=True)
        optimizer = torch.optim.LBFGS([weight], max_iter=100, line_search_fn="strong_wolfe")

        def loss() -> Tensor:
            optimizer.zero_grad()
            fit = nn.functional.binary_cross_entropy_with_logits(terms @ weight, target, share, reduction="sum")
            total = fit + _PENALTY * weight[1:].square().sum()
            total.backward()
            return total

        optimizer.step(loss)
    return weight.detach()

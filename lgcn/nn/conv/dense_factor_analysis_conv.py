"""Exact Gaussian message passing among all landmarks of a batch of images."""

import torch
from torch import Tensor, nn

from lgcn.checks import check_shape
from lgcn.nn.conv.factor_analysis_prior import FactorAnalysisPrior, edge_positions
from lgcn.nn.functional.autocast import autocast_disabled
from lgcn.nn.functional.gaussian import (
    GaussianPosterior,
    Observation,
    check_observations,
    factor_terms,
    observe,
    posterior,
    posterior_mean,
    solve_factors,
)
from lgcn.nn.functional.mixture import expectation, landmark_evidence, log_evidence, mixed


class DenseFactorAnalysisConv(nn.Module):
    r"""The dense form of :class:`~lgcn.nn.conv.FactorAnalysisConv`, for graphs of all K landmark types.

    Has the same prior, a single Gaussian or a mixture, and gives the same results on [B, K, ...], without indices;
    ``FactorAnalysisConv(dense.prior)`` is the way back.

    Args:
        prior (FactorAnalysisPrior): The parameters; one prior can serve several layers.

    Shapes:
        - **input:** positions :math:`(B, K, 2)`, variances :math:`(B, K)`, :math:`(B, K, 2)` or :math:`(B, K, 2, 2)`,
          mask :math:`(B, K)`
        - **output:** positions :math:`(B, K, 2)`
    """

    def __init__(self, prior: FactorAnalysisPrior) -> None:
        super().__init__()
        self.prior = prior

    def reset_parameters(self) -> None:
        self.prior.reset_parameters()

    def forward(self, pos: Tensor, variance: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return the posterior means, [B, K, 2].

        Computed, and returned, in the precision of the parameters or a higher one of ``pos``, also under autocast.

        Args:
            pos: [B, K, 2], observed positions, in the frame of the prior.
            variance: of their noise, in the squared unit of ``pos``: [B, K] equal in all directions, [B, K, 2] by axis,
                or [B, K, 2, 2] covariances. 0 is an exact observation, infinity none.
            mask: [B, K], False where a landmark is missing: it is predicted from the rest. Its position and variance
                are not read and may be NaN.

        Raises:
            InputError: for shapes, types or values that do not fit (values are checked on the CPU only, and not
                while compiling).
        """
        with autocast_disabled(pos.device.type):
            mean, loadings, _, observation = self._observe(pos, variance, mask)
            t, share = self._infer(loadings, observation, with_covariance=False)
            prediction = (loadings.flatten(-3, -2) @ t).view_as(observation.deviation)
            return expectation(posterior_mean(mean, observation, prediction), share)

    def posterior(self, pos: Tensor, variance: Tensor, mask: Tensor | None = None) -> GaussianPosterior:
        """Return means, covariances and leave-one-out residuals; arguments and errors as for :meth:`forward`."""
        with autocast_disabled(pos.device.type):
            mean, loadings, uniqueness, observation = self._observe(pos, variance, mask)
            factors, share = self._infer(loadings, observation)
            prediction = (loadings.flatten(-3, -2) @ factors).unflatten(-2, (-1, 2))
            return mixed(posterior(mean, uniqueness, loadings, observation, prediction), observation, share)

    def responsibilities(self, pos: Tensor, variance: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return the probability of each component of a mixture, [B, M]; arguments as for :meth:`forward`."""
        with autocast_disabled(pos.device.type):
            _, loadings, _, observation = self._observe(pos, variance, mask)
            share = self._infer(loadings, observation, with_covariance=False)[1]
            return pos.new_ones(len(pos), 1) if share is None else share.squeeze(-1).exp()

    def edge_weight(self, variance: Tensor, mask: Tensor | None = None, pos: Tensor | None = None) -> Tensor:
        r"""Return the edges :math:`\mathbf{E} = \mathbf{S} (\mathbf{S} + \mathbf{R})^{-1}`, [B, K, K, 2, 2].

        Row i holds the response of landmark i to a deviation of each landmark j, itself included. Edges of a single
        Gaussian do not depend on positions; those of a mixture are the mean over its components. Arguments and errors
        as for :meth:`forward`.
        """
        pos = edge_positions(self.prior, variance, pos, variance.shape[:2])
        with autocast_disabled(pos.device.type):
            _, loadings, _, observation = self._observe(pos, variance, mask)
            factors, share = self._infer(loadings, observation)
            listening = observation.noise_share @ (loadings @ factors[..., 1:].unsqueeze(-3))
            heard = observation.precision @ loadings
            weight = expectation(torch.einsum("...iar,...jcr->...ijac", listening, heard), share)
            identity = torch.eye(2, dtype=weight.dtype, device=weight.device)
            own = expectation(identity - observation.noise_share, share)
            return weight + torch.diag_embed(own.permute(0, 2, 3, 1)).permute(0, 3, 4, 1, 2)

    def _observe(
        self, pos: Tensor, variance: Tensor, mask: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor, Observation]:
        """Check the arguments; the prior's mean, loadings and uniqueness, and the landmarks, [B, (M,) K, ...]."""
        check_shape("pos", pos, "B K 2", K=self.prior.num_landmarks)
        missing = check_observations(pos, variance, mask)
        if self.prior.num_components > 1:
            pos, variance, missing = (each.unsqueeze(1) for each in (pos, variance, missing))
        mean, loadings, uniqueness, pos, variance = self.prior.parameters_for(pos, variance)
        return mean, loadings, uniqueness, observe(pos, variance, mean, uniqueness, missing)

    def _infer(
        self, loadings: Tensor, observation: Observation, with_covariance: bool = True
    ) -> tuple[Tensor, Tensor | None]:
        """The posterior of the factors, [B, (M,) r, 1 + r] or [B, (M,) r, 1].

        And, for a mixture, the probability of its components, logarithms [B, M, 1].
        """
        weighted, known = factor_terms(loadings, observation)
        total = weighted.flatten(-3, -2).mT @ known.flatten(-3, -2)
        factors, pivots = solve_factors(total, with_covariance)
        prior_share = self.prior.log_share
        if prior_share is None:
            return factors, None
        evidence = log_evidence(landmark_evidence(observation).sum(-1), total, factors, pivots)
        return factors, (prior_share + evidence.unsqueeze(-1)).log_softmax(-2)

    def __repr__(self) -> str:
        return f"{self.__class__.__name__}({self.prior})"

"""Exact Gaussian message passing among all landmarks of a batch of images."""

import torch
from torch import Tensor, nn

from lgcn.checks import check_shape
from lgcn.nn.conv.factor_analysis_prior import FactorAnalysisPrior
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


class DenseFactorAnalysisConv(nn.Module):
    r"""The dense form of :class:`~lgcn.nn.conv.FactorAnalysisConv`, for graphs of all K landmark types.

    Has the same prior and gives the same results on [B, K, ...], without indices; ``FactorAnalysisConv(dense.prior)``
    is the way back.

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
            t = self._infer(loadings, observation, with_covariance=False)
            prediction = (loadings.flatten(0, 1) @ t).view_as(observation.deviation)
            return posterior_mean(mean, observation, prediction)

    def posterior(self, pos: Tensor, variance: Tensor, mask: Tensor | None = None) -> GaussianPosterior:
        """Return means, covariances and leave-one-out residuals; arguments and errors as for :meth:`forward`."""
        with autocast_disabled(pos.device.type):
            mean, loadings, uniqueness, observation = self._observe(pos, variance, mask)
            factors = self._infer(loadings, observation)
            prediction = (loadings.flatten(0, 1) @ factors).unflatten(-2, (-1, 2))
            return posterior(mean, uniqueness, loadings, observation, prediction)

    def edge_weight(self, variance: Tensor, mask: Tensor | None = None) -> Tensor:
        r"""Return the edges :math:`\mathbf{E} = \mathbf{S} (\mathbf{S} + \mathbf{R})^{-1}`, [B, K, K, 2, 2].

        Row i holds the response of landmark i to a deviation of each landmark j, itself included. Edges do not depend
        on positions. Arguments and errors as for :meth:`forward`.
        """
        pos = variance.new_zeros(*variance.shape[:2], 2)
        with autocast_disabled(pos.device.type):
            _, loadings, _, observation = self._observe(pos, variance, mask)
            spread = self._infer(loadings, observation)[..., 1:].unsqueeze(-3)
            listening = observation.noise_share @ (loadings @ spread)
            heard = observation.precision @ loadings
            weight = torch.einsum("biar,bjcr->bijac", listening, heard)
            identity = torch.eye(2, dtype=weight.dtype, device=weight.device)
            own = torch.diag_embed((identity - observation.noise_share).permute(0, 2, 3, 1))
            return weight + own.permute(0, 3, 4, 1, 2)

    def _observe(
        self, pos: Tensor, variance: Tensor, mask: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor, Observation]:
        """Check the arguments; the prior's mean, loadings and uniqueness, and the landmarks."""
        check_shape("pos", pos, "B K 2", K=self.prior.num_landmarks)
        missing = check_observations(pos, variance, mask)
        mean, loadings, uniqueness, pos, variance = self.prior.parameters_for(pos, variance)
        return mean, loadings, uniqueness, observe(pos, variance, mean, uniqueness, missing)

    def _infer(self, loadings: Tensor, observation: Observation, with_covariance: bool = True) -> Tensor:
        """The posterior of the factors, [B, r, 1 + r] or [B, r, 1]."""
        weighted, known = factor_terms(loadings, observation)
        return solve_factors(weighted.flatten(1, 2).mT @ known.flatten(1, 2), with_covariance)

    def __repr__(self) -> str:
        return f"{self.__class__.__name__}({self.prior})"

"""Exact Gaussian message passing on batches of landmark graphs."""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch_geometric.nn import MessagePassing

from lgcn.checks import InputError, check_edges, check_ids, check_shape
from lgcn.nn.conv.dense_factor_analysis_conv import DenseFactorAnalysisConv
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


class FactorAnalysisConv(MessagePassing):
    r"""Precision-weighted message passing: the exact posterior of landmarks under a factor-analysis prior.

    .. math::
        \mathbf{y}'_i = \boldsymbol\mu_i + \sum_j \mathbf{E}_{ij} (\mathbf{m}_j - \boldsymbol\mu_j), \qquad
        \mathbf{E} = \mathbf{S} (\mathbf{S} + \mathbf{R})^{-1}, \qquad
        \mathbf{S} = \mathbf{U}\mathbf{U}^\top + \mathrm{diag}(\boldsymbol\psi)

    where :math:`\mathbf{m}_j` are observed positions with noise :math:`\mathbf{R}_j` (``variance``), and the prior
    :math:`\mathcal{N}(\boldsymbol\mu, \mathbf{S})` gives each landmark type two rows of :math:`\mathbf{U}`. The edges
    :math:`\mathbf{E}_{ij}` are 2 x 2 blocks between all pairs of a graph: they depend on types through
    :math:`\mathbf{S}` and on the noise of this graph through :math:`\mathbf{R}`. A landmark with little noise
    stays in place and moves the others, one with much noise follows them, and a missing one is predicted from the rest,
    exactly as with infinite noise.

    Pairs are never formed. With :math:`\mathbf{D}_i = (\mathbf{R}_i + \boldsymbol\Psi_i)^{-1}` and
    :math:`\mathbf{b}_i = \mathbf{m}_i - \boldsymbol\mu_i`, landmarks send
    :math:`\mathbf{U}_i^\top \mathbf{D}_i [\mathbf{U}_i, \mathbf{b}_i]` to the r factors of their graph, and the
    factors' posterior mean :math:`\mathbf{t} = (\mathbf{I} + \sum_i \mathbf{U}_i^\top \mathbf{D}_i
    \mathbf{U}_i)^{-1} \sum_i \mathbf{U}_i^\top \mathbf{D}_i \mathbf{b}_i` comes back to each landmark (Woodbury's
    identity, :math:`O(K r^2 + r^3)` a graph):

    .. math::
        \mathbf{y}'_i = \mathbf{m}_i + \mathbf{R}_i \mathbf{D}_i (\mathbf{U}_i \mathbf{t} - \mathbf{b}_i)

    A graph may hold any subset of the types, in any order. Nodes of one type in one graph share its loadings, but not
    its uniqueness. A graph in which nothing was observed gets the mean of the prior.

    If the prior is a mixture, the results are its mean and covariance: of the posteriors of all components, weighted by
    the exact evidence of the observations of this graph, which the same sums give.

    Args:
        prior (FactorAnalysisPrior): The parameters; one prior can serve several layers.
        **kwargs (optional): Additional arguments of :class:`torch_geometric.nn.MessagePassing`; the aggregation is a
            sum.

    Shapes:
        - **input:** positions :math:`(N, 2)`, variances :math:`(N)`, :math:`(N, 2)` or :math:`(N, 2, 2)`, landmark ids
          :math:`(N)`, graph of each node :math:`(N)`
        - **output:** positions :math:`(N, 2)`

    Images that share one graph can have a leading axis: positions :math:`(B, N, 2)`, and all variances and masks with
    it.
    """

    def __init__(self, prior: FactorAnalysisPrior, **kwargs: Any) -> None:
        if kwargs.setdefault("aggr", "add") not in ("add", "sum"):
            raise InputError(f"Expected 'aggr' to be 'add', since evidence adds up (got {kwargs['aggr']!r}).")
        super().__init__(node_dim=-2, **kwargs)
        self.prior = prior

    def reset_parameters(self) -> None:
        super().reset_parameters()
        self.prior.reset_parameters()

    def forward(
        self,
        pos: Tensor,
        variance: Tensor,
        landmark_id: Tensor,
        batch: Tensor | None = None,
        mask: Tensor | None = None,
        batch_size: int | None = None,
    ) -> Tensor:
        """Return the posterior means, [N, 2].

        Computed, and returned, in the precision of the parameters or a higher one of ``pos``, also under autocast.

        Args:
            pos: [N, 2], observed positions, in the frame of the prior.
            variance: of their noise, in the squared unit of ``pos``: [N] equal in all directions, [N, 2] by axis, or
                [N, 2, 2] covariances. 0 is an exact observation, infinity none.
            landmark_id: [N], types in 0 ... K - 1.
            batch: [N], the graph of each node, in any order; one graph if None.
            mask: [N], False where a landmark is missing: it is predicted from the rest. Its position and variance are
                not read and may be NaN.
            batch_size: number of graphs; taken from ``batch`` if None, which compiled code cannot do.

        Raises:
            InputError: for shapes, types or values that do not fit (values are checked on the CPU only, and not
                while compiling).
        """
        nodes = self._observe(pos, variance, landmark_id, batch, mask, batch_size)
        with autocast_disabled(pos.device.type):
            t, share = self._infer(nodes, with_covariance=False)
            prediction = (nodes.loadings @ t).squeeze(-1)
            return expectation(posterior_mean(nodes.mean, nodes.observation, prediction), share)

    def posterior(
        self,
        pos: Tensor,
        variance: Tensor,
        landmark_id: Tensor,
        batch: Tensor | None = None,
        mask: Tensor | None = None,
        batch_size: int | None = None,
    ) -> GaussianPosterior:
        """Return means, covariances and leave-one-out residuals; arguments and errors as for :meth:`forward`."""
        nodes = self._observe(pos, variance, landmark_id, batch, mask, batch_size)
        with autocast_disabled(pos.device.type):
            factors, share = self._infer(nodes)
            prediction = nodes.loadings @ factors
            found = posterior(nodes.mean, nodes.uniqueness, nodes.loadings, nodes.observation, prediction)
            return mixed(found, nodes.observation, share)

    def edge_weight(
        self,
        edge_index: Tensor,
        variance: Tensor,
        landmark_id: Tensor,
        batch: Tensor | None = None,
        mask: Tensor | None = None,
        batch_size: int | None = None,
        pos: Tensor | None = None,
    ) -> Tensor:
        r"""Return the edges :math:`\mathbf{E}_{ij}`, [E, 2, 2], of pairs of nodes.

        ``edge_index`` [2, E] has neighbours j in row 0 and receiving nodes i in row 1; a pair of two graphs gets 0.
        Edges of a single Gaussian do not depend on positions; those of a mixture are the mean over its components. The
        other arguments and the errors are those of :meth:`forward`.
        """
        pos = edge_positions(self.prior, variance, pos, landmark_id.shape)
        check_edges("edge_index", edge_index, len(landmark_id))
        nodes = self._observe(pos, variance, landmark_id, batch, mask, batch_size)
        with autocast_disabled(variance.device.type):
            factors, share = self._infer(nodes)
            follows = nodes.observation.noise_share
            listening = follows @ nodes.loadings @ factors[..., 1:]
            heard = nodes.observation.precision @ nodes.loadings
            j, i = edge_index
            own = torch.eye(2, dtype=follows.dtype, device=follows.device) - follows
            own = torch.where((i == j)[:, None, None], own[..., i, :, :], 0.0)
            weight = listening[..., i, :, :] @ heard[..., j, :, :].mT + own
            weight = expectation(weight, None if share is None else share[..., i])
            return weight if batch is None else weight * (batch[i] == batch[j])[:, None, None]

    def to_dense(self) -> DenseFactorAnalysisConv:
        """Return the same layer for complete graphs [B, K, ...], with a shared prior."""
        return DenseFactorAnalysisConv(self.prior)

    def message(self, x_j: Tensor) -> Tensor:
        return x_j

    def _observe(
        self,
        pos: Tensor,
        variance: Tensor,
        landmark_id: Tensor,
        batch: Tensor | None,
        mask: Tensor | None,
        batch_size: int | None,
    ) -> "_Nodes":
        """Check the arguments and look up the prior of each node."""
        check_shape("pos", pos, "... N 2")
        N = pos.shape[-2]
        check_shape("landmark_id", landmark_id, "N", N=N)
        check_ids("landmark_id", landmark_id, self.prior.num_landmarks)
        if batch is None:
            batch, batch_size = landmark_id.new_zeros(N), 1
        else:
            check_shape("batch", batch, "N", N=N)
            if batch_size is None:
                batch_size = int(batch.max()) + 1 if N else 0
            check_ids("batch", batch, batch_size)
        missing = check_observations(pos, variance, mask)
        with autocast_disabled(pos.device.type):
            mean, loadings, uniqueness, pos, variance = self.prior.parameters_for(pos, variance)
            if self.prior.num_components > 1:  # its components are a leading axis [..., M, N, ...]
                axis = pos.dim() - 2
                pos, variance, missing = (each.unsqueeze(axis) for each in (pos, variance, missing))
                mean, loadings, uniqueness = (each[:, landmark_id] for each in (mean, loadings, uniqueness))
            else:
                mean, loadings, uniqueness = (each[landmark_id] for each in (mean, loadings, uniqueness))
            observation = observe(pos, variance, mean, uniqueness, missing)
        edge_index = torch.stack([torch.arange(N, device=batch.device), batch])
        return _Nodes(mean, loadings, uniqueness, observation, edge_index, (N, batch_size))

    def _infer(self, nodes: "_Nodes", with_covariance: bool = True) -> tuple[Tensor, Tensor | None]:
        """Messages from the factors to each node, [..., N, r, 1 + r] or [..., N, r, 1].

        And, for a mixture, the probability of its components, logarithms [..., M, N].
        """
        weighted, known = factor_terms(nodes.loadings, nodes.observation)
        sent = (weighted.mT @ known).flatten(-2)
        # propagate_type: (x: Tensor)
        total = self.propagate(nodes.edge_index, x=sent, size=nodes.size)
        total = total.unflatten(-1, (self.prior.rank, -1))
        factors, pivots = solve_factors(total, with_covariance)
        # propagate_type: (x: Tensor)
        received = self.propagate(nodes.edge_index.flip(0), x=factors.flatten(-2), size=nodes.size[::-1])
        received = received.unflatten(-1, (self.prior.rank, -1))
        prior_share = self.prior.log_share
        if prior_share is None:
            return received, None
        own = landmark_evidence(nodes.observation).unsqueeze(-1)
        # propagate_type: (x: Tensor)
        own = self.propagate(nodes.edge_index, x=own, size=nodes.size).squeeze(-1)
        share = (prior_share + log_evidence(own, total, factors, pivots)).log_softmax(-2)
        return received, share[..., nodes.edge_index[1]]

    def __repr__(self) -> str:
        return f"{self.__class__.__name__}({self.prior})"


class _Nodes(NamedTuple):
    """All nodes of a batch and the prior of each."""

    mean: Tensor
    loadings: Tensor
    uniqueness: Tensor
    observation: Observation
    edge_index: Tensor
    """[2, N]: nodes, and the factors of their graphs."""
    size: tuple[int, int]
    """N and the number of graphs."""

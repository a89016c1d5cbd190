"""A mixture of Gaussian priors: the layer against full covariances, limits and fitting."""

import pytest
import torch
from torch import Tensor
from torch.distributions import MultivariateNormal

from lgcn.checks import InputError
from lgcn.graph import complete_edge_index
from lgcn.nn.conv.factor_analysis_conv import FactorAnalysisConv
from lgcn.nn.conv.factor_analysis_prior import FactorAnalysisPrior, k_means
from tests.nn.conv.gaussian_reference import (
    RANK,
    K,
    Scene,
    assert_close,
    random_prior,
    random_scene,
    reference_edges,
    reference_posterior,
)

M, MODES = 3, 2


def component(prior: FactorAnalysisPrior, m: int) -> FactorAnalysisPrior:
    single = FactorAnalysisPrior(K, RANK).to(prior.mean)
    single.load_state_dict({name: getattr(prior, name)[m] for name in ("mean", "loadings", "log_uniqueness")})
    return single


def reference_share(
    prior: FactorAnalysisPrior, pos: Tensor, variance: Tensor, landmark_id: Tensor, mask: Tensor
) -> Tensor:
    """The probability of each component [M] by the density of all observations under its full covariance."""
    observed, noise = mask.repeat_interleave(2), torch.block_diag(*variance[mask])
    log = prior.log_weight.log_softmax(0).detach().clone()
    for m in range(M if mask.any() else 0):
        loadings = prior.loadings[m, landmark_id].flatten(0, 1)[observed]
        total = loadings @ loadings.mT + torch.diag(prior.uniqueness[m, landmark_id].flatten()[observed]) + noise
        mean = prior.mean[m, landmark_id].flatten()[observed]
        log[m] += MultivariateNormal(mean, total).log_prob(pos.flatten()[observed])
    return log.softmax(0)


def moments(mean: Tensor, covariance: Tensor, share: Tensor) -> tuple[Tensor, Tensor]:
    """Of a mixture with means [M, 2] and covariances [M, 2, 2]."""
    centre = share @ mean
    off = (mean - centre).unsqueeze(-1)
    return centre, torch.einsum("m,mab->ab", share, covariance + off @ off.mT)


def assert_is_the_mixture(result: tuple[Tensor, ...], prior: FactorAnalysisPrior, graph: tuple[Tensor, ...]) -> None:
    pos, variance, landmark_id, mask = graph
    for n in range(len(pos)):
        for left_out in (False, True):
            used = mask.clone()
            used[n] &= not left_out
            share = reference_share(prior, pos, variance, landmark_id, used)
            parts = [reference_posterior(component(prior, m), pos, variance, landmark_id, used) for m in range(M)]
            mean, covariance = moments(
                torch.stack([part.mean[n] for part in parts]),
                torch.stack([part.covariance[n] for part in parts]),
                share,
            )
            if not left_out:
                assert_close(result[0][n], mean)
                assert_close(result[1][n], covariance)
            else:
                assert_close(result[2][n], (pos[n] - mean) * mask[n])
                assert_close(result[3][n], covariance + variance[n] * mask[n])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_both_forms_equal_the_full_covariances(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    prior, scene = random_prior(dtype, M), random_scene(2, "full", dtype)
    with torch.no_grad():
        conv = FactorAnalysisConv(prior)
        dense = conv.to_dense()
        pos, variance, mask = scene.dense()
        result = dense.posterior(pos, variance, mask)
        for b in range(2):
            graph = (pos[b], variance[b], torch.arange(K), mask[b])
            assert_is_the_mixture(tuple(each[b] for each in result), prior, graph)
            assert_close(dense.responsibilities(pos, variance, mask)[b], reference_share(prior, *graph))
        for one, other in zip(conv.posterior(*scene), result, strict=True):
            assert_close(one, other.flatten(0, 1))
        assert_close(dense(pos, variance, mask), result.mean)
        assert_close(conv(*scene), result.mean.flatten(0, 1))
        shared = conv.posterior(pos, variance, torch.arange(K), mask=mask)
        for one, other in zip(shared, result, strict=True):
            assert_close(one, other)


def test_graphs_of_any_subset_in_any_order() -> None:
    torch.manual_seed(1)
    prior = random_prior(num_components=M)
    count = 9
    scene = random_scene(2)
    scene = Scene(*(each[:count] for each in scene))._replace(
        landmark_id=torch.randint(K, (count,)), batch=torch.tensor([2, 0, 2, 2, 0, 2, 0, 2, 2])
    )
    result = FactorAnalysisConv(prior).posterior(*scene, batch_size=4)
    for graph in (0, 2):
        chosen = scene.batch == graph
        given = tuple(each[chosen] for each in (scene.pos, scene.variance, scene.landmark_id, scene.mask))
        assert_is_the_mixture(tuple(each[chosen] for each in result), prior, given)


def test_edges_are_the_mean_over_components() -> None:
    torch.manual_seed(0)
    prior, scene = random_prior(num_components=M), random_scene(2)
    conv = FactorAnalysisConv(prior)
    pos, variance, mask = scene.dense()
    edges = conv.to_dense().edge_weight(variance, mask, pos)
    share = conv.to_dense().responsibilities(pos, variance, mask)
    for b in range(2):
        each = [reference_edges(component(prior, m), variance[b], torch.arange(K), mask[b]) for m in range(M)]
        expected = torch.einsum("m,mij->ij", share[b], torch.stack(each))
        assert_close(edges[b].transpose(1, 2).reshape(2 * K, 2 * K), expected)
    pairs = complete_edge_index(2 * K, self_loops=True)
    weight = conv.edge_weight(pairs, *scene[1:], pos=scene.pos)
    neighbour, receiver = pairs
    same = scene.batch[neighbour] == scene.batch[receiver]
    assert_close(weight[same], edges[scene.batch[receiver[same]], receiver[same] % K, neighbour[same] % K])
    assert (weight[~same] == 0).all()
    for incomplete in (lambda: conv.edge_weight(pairs, *scene[1:]), lambda: conv.to_dense().edge_weight(variance)):
        with pytest.raises(InputError, match="'pos' .got None.* depend on positions"):
            incomplete()


def test_equal_components_are_one_gaussian() -> None:
    prior, scene = random_prior(num_components=M), random_scene(2)
    single = component(prior, 1)
    with torch.no_grad():
        for name, parameter in single.named_parameters():
            getattr(prior, name).copy_(parameter.expand(M, *parameter.shape))
    given = scene.dense()
    expected = FactorAnalysisConv(single).to_dense().posterior(*given)
    for one, other in zip(FactorAnalysisConv(prior).to_dense().posterior(*given), expected, strict=True):
        assert_close(one, other)
    assert_close(prior.expectation(), single.mean)
    assert_close(prior.variance(), single.variance())


def test_missing_landmarks_are_not_read_and_nothing_observed_leaves_the_prior() -> None:
    prior, scene = random_prior(num_components=M), random_scene(3)
    conv = FactorAnalysisConv(prior)
    hidden = ~scene.mask
    pos = scene.pos.masked_fill(hidden.unsqueeze(-1), torch.nan).requires_grad_()
    variance = scene.variance.masked_fill(hidden.view(-1, 1, 1), torch.nan).requires_grad_()
    result = conv.posterior(pos, variance, *scene[2:])
    infinite = scene.variance.clone()
    infinite[hidden] = torch.inf
    expected = conv.posterior(scene.pos, infinite, scene.landmark_id, scene.batch)
    for one, other in zip(result, expected, strict=True):
        assert_close(one, other)
    sum(each.square().sum() for each in result).backward()
    for tensor in (pos, variance, *prior.parameters()):
        assert tensor.grad is not None and tensor.grad.isfinite().all() and tensor.grad.abs().max() > 0
    nothing = conv.to_dense().posterior(*scene.dense()[:2], torch.zeros(3, K, dtype=torch.bool))
    assert_close(nothing.mean, prior.expectation().expand(3, -1, -1))
    assert_close(nothing.covariance.diagonal(dim1=-2, dim2=-1), prior.variance().expand(3, -1, -1))
    assert (nothing.residual == 0).all()


def draw_two_kinds(count: int) -> tuple[Tensor, Tensor]:
    """Shapes [N, K, 2] of two far Gaussians with modes of their own, and the kind of each."""
    generator = torch.Generator().manual_seed(0)  # of the family
    means = 2 * torch.randn(2, K, 2, dtype=torch.double, generator=generator)
    modes = torch.randn(2, K, 2, MODES, dtype=torch.double, generator=generator)
    kind = (torch.rand(count) < 0.3).long()
    factors = torch.randn(count, MODES, dtype=torch.double)
    shapes = means[kind] + torch.einsum("nkcr,nr->nkc", modes[kind], factors)
    return shapes + 0.1 * torch.randn(count, K, 2, dtype=torch.double), kind


def test_fit_finds_two_kinds_of_shapes() -> None:
    torch.manual_seed(0)
    shapes, kind = draw_two_kinds(2000)
    prior = FactorAnalysisPrior(K, MODES, 2).double()
    assert prior.fit(shapes) is prior
    assert str(prior) == f"FactorAnalysisPrior({K}, rank={MODES}, num_components=2)"
    found = prior.log_share.exp().squeeze(-1).sort().values
    assert_close(found, torch.stack([kind.double().mean(), 1 - kind.double().mean()]))
    order = prior.log_share.squeeze(-1).argsort(descending=True)
    for m in range(2):
        own = shapes[kind == m]
        torch.testing.assert_close(prior.mean[order[m]], own.mean(0), rtol=0, atol=1e-6)
        difference = prior.covariance()[order[m]] - own.flatten(1).mT.cov()
        assert difference.abs().max() < 0.05
    fresh, _ = draw_two_kinds(300)
    seen = torch.rand(300, K) < 0.5
    seen[:, 0] = True
    noise = torch.full((300, K), 1e-2, dtype=torch.double)

    def error(prior: FactorAnalysisPrior) -> float:
        predicted = FactorAnalysisConv(prior).to_dense()(fresh, noise, seen)
        return (predicted - fresh)[~seen].norm(dim=-1).mean().item()

    assert error(prior) < 0.7 * error(FactorAnalysisPrior(K, MODES).double().fit(shapes))


def test_groups_need_no_random_numbers() -> None:
    shapes, _ = draw_two_kinds(200)
    torch.manual_seed(0)
    first = k_means(shapes.flatten(1), 3)
    torch.manual_seed(1)
    assert first.equal(k_means(shapes.flatten(1), 3))
    assert first.unique().tolist() == [0, 1, 2]


def test_bad_input() -> None:
    shapes, _ = draw_two_kinds(30)
    with pytest.raises(InputError, match="'num_components' to be 1 or more"):
        FactorAnalysisPrior(K, MODES, 0)
    for few in (shapes[:5], shapes[:1], shapes[:0], shapes[:1].expand(30, -1, -1)):
        with pytest.raises(InputError, match="'shapes' to vary in 2 directions"):
            FactorAnalysisPrior(K, MODES, 3).fit(few)

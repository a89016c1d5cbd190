import copy
import pickle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from lgcn.checks import InputError
from lgcn.graph import complete_edge_index
from lgcn.nn.conv.dense_factor_analysis_conv import DenseFactorAnalysisConv
from lgcn.nn.conv.factor_analysis_conv import FactorAnalysisConv
from lgcn.nn.conv.factor_analysis_prior import FactorAnalysisPrior
from lgcn.nn.functional.gaussian import as_covariance
from tests.nn.conv.gaussian_reference import (
    COMPONENTS,
    FORMS,
    RANK,
    K,
    Scene,
    Wrapped,
    assert_close,
    random_prior,
    random_scene,
    random_variance,
    reference_edges,
    reference_posterior,
)


def test_size_and_repr() -> None:
    prior, scene = FactorAnalysisPrior(K, RANK), random_scene(dtype=torch.float32)
    conv = FactorAnalysisConv(prior)
    assert str(conv) == f"FactorAnalysisConv(FactorAnalysisPrior({K}, rank={RANK}))"
    assert str(conv.to_dense()) == f"DenseFactorAnalysisConv(FactorAnalysisPrior({K}, rank={RANK}))"
    assert conv.to_dense().prior is prior
    assert type(conv).propagate.__module__.startswith("lgcn.nn.conv.factor_analysis_conv")  # the template is generated
    assert conv(*scene).shape == (3 * K, 2)
    assert [tuple(each.shape) for each in conv.posterior(*scene)] == [(18, 2), (18, 2, 2), (18, 2), (18, 2, 2)]
    assert {name: tuple(parameter.shape) for name, parameter in conv.named_parameters()} == {
        "prior.mean": (K, 2),
        "prior.loadings": (K, 2, RANK),
        "prior.log_uniqueness": (K, 2),
    }


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("form", FORMS)
def test_both_forms_equal_the_full_covariance(form: str, dtype: torch.dtype) -> None:
    prior, scene = random_prior(dtype), random_scene(4, form, dtype)
    conv = FactorAnalysisConv(prior)
    dense = conv.to_dense()
    pos, variance, mask = scene.dense()
    expected = [reference_posterior(prior, pos[b], variance[b], torch.arange(K), mask[b]) for b in range(len(pos))]
    for quantity, (sparse_result, dense_result, *references) in enumerate(
        zip(conv.posterior(*scene), dense.posterior(pos, variance, mask), *expected, strict=True)
    ):
        assert_close(dense_result, torch.stack(references))
        assert_close(sparse_result, torch.cat(references))
        if quantity == 0:
            assert_close(conv(*scene), torch.cat(references))
            assert_close(dense(pos, variance, mask), torch.stack(references))


@pytest.mark.parametrize("form", FORMS)
def test_edges_equal_the_full_covariance(form: str) -> None:
    prior, scene = random_prior(), random_scene(2, form)
    conv = FactorAnalysisConv(prior)
    pos, variance, mask = scene.dense()
    edges = conv.to_dense().edge_weight(variance, mask)
    for b in range(2):
        expected = reference_edges(prior, variance[b], torch.arange(K), mask[b])
        assert_close(edges[b].transpose(1, 2).reshape(2 * K, 2 * K), expected)
    # The posterior mean is what the edges make of the deviations.
    deviation = torch.where(mask.unsqueeze(-1), pos - prior.mean, 0.0)
    assert_close(prior.mean + torch.einsum("bijcd,bjd->bic", edges, deviation), conv.to_dense()(pos, variance, mask))

    pairs = complete_edge_index(2 * K, self_loops=True)
    weight = conv.edge_weight(pairs, *scene[1:])
    neighbour, receiver = pairs
    same = scene.batch[neighbour] == scene.batch[receiver]
    assert_close(weight[same], edges[scene.batch[receiver[same]], receiver[same] % K, neighbour[same] % K])
    assert (weight[~same] == 0).all()


@settings(max_examples=30, deadline=None)
@given(
    nodes=st.lists(st.tuples(st.integers(0, K - 1), st.integers(0, 2), st.booleans()), max_size=9),
    form=st.sampled_from(FORMS),
)
def test_any_batch_of_graphs(nodes: list[tuple[int, int, bool]], form: str) -> None:
    """Types may repeat or be absent, graphs may be empty or unobserved, nodes stand in any order."""
    torch.manual_seed(0)  # an example that fails must fail again
    prior = random_prior()
    landmark_id, batch = (torch.tensor([node[axis] for node in nodes], dtype=torch.long) for axis in range(2))
    mask = torch.tensor([node[2] for node in nodes], dtype=torch.bool)
    count = len(nodes)
    scene = Scene(torch.randn(count, 2).double(), random_variance(count, form, torch.float64), landmark_id, batch, mask)
    result = FactorAnalysisConv(prior).posterior(*scene, batch_size=3)
    for graph in range(3):
        chosen = batch == graph
        if chosen.any():
            expected = reference_posterior(
                prior, scene.pos[chosen], scene.variance[chosen], landmark_id[chosen], mask[chosen]
            )
            for each, other in zip(result, expected, strict=True):
                assert_close(each[chosen], other)
    order = torch.randperm(count)
    for each, other in zip(
        FactorAnalysisConv(prior).posterior(*scene.permuted(order), batch_size=3), result, strict=True
    ):
        assert_close(each, other[order])


def test_one_graph_without_batch_and_many_that_share_one() -> None:
    prior, scene = random_prior(), random_scene(4)
    conv = FactorAnalysisConv(prior)
    pos, variance, mask = scene.dense()
    expected = conv(*scene).unflatten(0, (4, K))
    assert_close(conv(pos[0], variance[0], torch.arange(K), mask=mask[0]), expected[0])
    assert_close(conv(pos, variance, torch.arange(K), mask=mask), expected)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("sparse", [True, False])
def test_missing_is_infinite_noise(form: str, sparse: bool) -> None:
    """Masked, infinitely noisy and left out are one thing, and what stands there is not read."""
    prior, scene = random_prior(), random_scene(3, form)
    conv = FactorAnalysisConv(prior)
    run = (lambda s: conv.posterior(*s)) if sparse else (lambda s: conv.to_dense().posterior(*s.dense()))
    expected = run(scene)
    missing = ~scene.mask
    unread = scene._replace(
        pos=scene.pos.masked_fill(missing.unsqueeze(-1), torch.nan),
        variance=scene.variance.masked_fill(missing.view(-1, *[1] * (scene.variance.dim() - 1)), torch.nan),
    )
    infinite = scene.variance.clone()
    infinite[missing] = torch.inf
    everywhere = torch.ones_like(scene.mask)
    huge = as_covariance(scene.variance, 2).clone()
    huge[missing] = 1e14 * torch.eye(2, dtype=torch.double)
    for same in (unread, scene._replace(variance=infinite, mask=everywhere)):
        for one, other in zip(run(same), expected, strict=True):
            assert_close(
                one.flatten(0, one.dim() - expected[0].dim()), other.flatten(0, other.dim() - expected[0].dim())
            )
    nearly = run(scene._replace(variance=huge, mask=everywhere))
    torch.testing.assert_close(nearly.mean, expected.mean, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(nearly.covariance, expected.covariance, rtol=1e-6, atol=1e-6)
    if sparse:
        observed = Scene(*(each[scene.mask] for each in scene))
        assert_close(conv(*observed, batch_size=3), expected.mean[scene.mask])


def test_limits_of_the_noise() -> None:
    """An exact observation stays, and nothing observed leaves the prior."""
    prior = random_prior()
    dense = DenseFactorAnalysisConv(prior)
    pos = torch.randn(2, K, 2, dtype=torch.double)
    exact = dense.posterior(pos, torch.zeros(2, K, dtype=torch.double))
    assert_close(exact.mean, pos)
    assert_close(exact.covariance, torch.zeros(2, K, 2, 2, dtype=torch.double))
    nothing = dense.posterior(pos, torch.full((2, K), torch.inf, dtype=torch.double))
    assert_close(nothing.mean, prior.mean.expand(2, -1, -1))
    blocks = prior.covariance().view(K, 2, K, 2).diagonal(dim1=0, dim2=2).permute(2, 0, 1)
    assert_close(nothing.covariance, blocks.expand(2, -1, -1, -1))
    assert_close(blocks.diagonal(dim1=1, dim2=2), prior.variance())
    assert (nothing.residual == 0).all()


@pytest.mark.parametrize("num_components", COMPONENTS)
@pytest.mark.parametrize("size", [1e-12, 1e-4, 1e4, 1e12])
def test_any_unit_of_length(size: float, num_components: int) -> None:
    """In single precision too, where the determinant of a variance would overflow or vanish."""
    torch.manual_seed(0)
    prior, scene = random_prior(torch.float32, num_components), random_scene(dtype=torch.float32)
    scaled = copy.deepcopy(prior)
    with torch.no_grad():
        scaled.mean.mul_(size)
        scaled.loadings.mul_(size)
        scaled.log_uniqueness.add_(2 * torch.tensor(size).log())
    expected = FactorAnalysisConv(prior).posterior(*scene)
    result = FactorAnalysisConv(scaled).posterior(size * scene.pos, size**2 * scene.variance, *scene[2:])
    for one, other, power in zip(result, expected, (1, 2, 1, 2), strict=True):
        torch.testing.assert_close(one / size**power, other, rtol=1e-2 if num_components > 1 else 1e-3, atol=1e-3)


@pytest.mark.parametrize(("form", "num_components"), [*((form, 1) for form in FORMS), ("full", 3)])
@pytest.mark.parametrize("sparse", [True, False])
def test_gradients(form: str, num_components: int, sparse: bool) -> None:
    torch.manual_seed(0)
    prior, scene = random_prior(num_components=num_components), random_scene(2, form)
    conv = FactorAnalysisConv(prior) if sparse else DenseFactorAnalysisConv(prior)
    names = [name for name, _ in prior.named_parameters()]
    pos, variance, mask = (scene.pos, scene.variance, scene.mask) if sparse else scene.dense()
    ids = (scene.landmark_id, scene.batch) if sparse else ()

    def run(pos: Tensor, variance: Tensor, *values: Tensor) -> tuple[Tensor, ...]:
        state = {f"conv.prior.{name}": value for name, value in zip(names, values, strict=True)}
        if form == "full":  # a symmetric change of a covariance
            variance = (variance + variance.mT) / 2
        return tuple(torch.func.functional_call(Wrapped(conv), state, (pos, variance, *ids, mask)))

    inputs = [each.detach().clone().requires_grad_() for each in (pos, variance, *prior.parameters())]
    assert torch.autograd.gradcheck(run, inputs)


def test_no_gradient_is_nan_where_landmarks_are_missing() -> None:
    prior, scene = random_prior(), random_scene(3)
    pos = scene.pos.masked_fill(~scene.mask.unsqueeze(-1), torch.nan).requires_grad_()
    variance = scene.variance.masked_fill(~scene.mask.view(-1, 1, 1), torch.nan).requires_grad_()
    sum(each.square().sum() for each in FactorAnalysisConv(prior).posterior(pos, variance, *scene[2:])).backward()
    for tensor in (pos, variance, *prior.parameters()):
        assert tensor.grad is not None and tensor.grad.isfinite().all()
        assert tensor.grad.abs().max() > 0
    assert (pos.grad[~scene.mask] == 0).all() and (variance.grad[~scene.mask] == 0).all()


def test_single_precision_at_least() -> None:
    prior, scene = random_prior(torch.float32), random_scene(dtype=torch.float32)
    conv = FactorAnalysisConv(prior)
    expected = conv(*scene)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert_close(conv(*scene), expected)
        assert_close(conv.to_dense()(*scene.dense()).flatten(0, 1), expected)
        edges = conv.edge_weight(complete_edge_index(len(scene.pos)), *scene[1:])
    assert edges.dtype == torch.float32
    half = conv(scene.pos.bfloat16(), *scene[1:])
    assert half.dtype == torch.float32
    assert conv(scene.pos.double(), *scene[1:]).dtype == torch.float64


def test_state_copies_and_reset() -> None:
    scene = random_scene(dtype=torch.float32)
    conv = FactorAnalysisConv(random_prior(torch.float32))
    expected = conv(*scene)
    for other in (copy.deepcopy(conv), pickle.loads(pickle.dumps(conv))):
        assert_close(other(*scene), expected)
    other = FactorAnalysisConv(FactorAnalysisPrior(K, RANK))
    other.load_state_dict(conv.state_dict())
    assert_close(other(*scene), expected)
    torch.manual_seed(5)
    conv.reset_parameters()
    first = conv(*scene)
    torch.manual_seed(5)
    conv.reset_parameters()
    assert torch.equal(conv(*scene), first) and not torch.allclose(first, expected)


def test_bad_input() -> None:
    prior, scene = random_prior(), random_scene(2, "isotropic")
    conv, dense = FactorAnalysisConv(prior), DenseFactorAnalysisConv(prior)
    pos, variance, landmark_id, batch, mask = scene
    with pytest.raises(InputError, match=r"'pos' to have shape \[..., N, 2\] \(got \[12, 3\]\)"):
        conv(torch.rand(12, 3), variance, landmark_id)
    with pytest.raises(InputError, match=r"'variance' to have shape \[12\], .*\(got \[11\]\)"):
        conv(pos, variance[:11], landmark_id)
    with pytest.raises(InputError, match="'variance' to hold floating-point numbers"):
        conv(pos, variance.long(), landmark_id)
    with pytest.raises(InputError, match=r"'landmark_id' to have shape \[N\] with N=12"):
        conv(pos, variance, landmark_id[:3])
    with pytest.raises(InputError, match=r"'landmark_id' in 0 ... 5 \(got 6\)"):
        conv(pos, variance, landmark_id + 1)
    with pytest.raises(InputError, match=r"'batch' in 0 ... 1 \(got -1\)"):
        conv(pos, variance, landmark_id, batch - 1, batch_size=2)
    with pytest.raises(InputError, match=r"'batch' in 0 ... 0 \(got 1\)"):
        conv(pos, variance, landmark_id, batch, batch_size=1)
    with pytest.raises(InputError, match="'mask' to hold booleans"):
        conv(pos, variance, landmark_id, batch, mask.float())
    with pytest.raises(InputError, match=r"'mask' to have shape \[12\]"):
        conv(pos, variance, landmark_id, batch, mask[:5])
    with pytest.raises(InputError, match="'pos' to be finite .*got nan at .3, 1"):
        conv(pos.index_put((torch.tensor(3), torch.tensor(1)), torch.tensor(torch.nan).double()), variance, landmark_id)
    for wrong in (-1.0, torch.nan):
        with pytest.raises(InputError, match="'variance' of 0 or more.*got -?(1.0|nan).*Mask"):
            conv(pos, variance.index_fill(0, torch.tensor(2), wrong), landmark_id)
    for wrong in ([[1.0, 2.0], [2.0, 1.0]], [[1.0, 0.5], [0.0, 1.0]], [[-1.0, 0.0], [0.0, -1.0]]):
        with pytest.raises(InputError, match="positive semidefinite"):
            conv(pos, torch.tensor(wrong, dtype=torch.double).expand(12, 2, 2), landmark_id)
    with pytest.raises(InputError, match=r"'pos' to have shape \[B, K, 2\] with K=6 \(got \[2, 5, 2\]\)"):
        dense(pos.view(2, K, 2)[:, :5], variance.view(2, K)[:, :5])
    with pytest.raises(InputError, match=r"'edge_index'"):
        conv.edge_weight(torch.tensor([[0], [12]]), variance, landmark_id)
    with pytest.raises(InputError, match="'aggr' to be 'add'"):
        FactorAnalysisConv(prior, aggr="mean")


def test_rank_one_semidefinite_noise_is_taken() -> None:
    """Noise along one direction only, as along a contour."""
    prior, scene = random_prior(), random_scene(1)
    direction = torch.tensor([[0.6], [0.8]], dtype=torch.double)
    flat = scene._replace(variance=(direction @ direction.mT).expand(K, 2, 2), mask=torch.ones(K, dtype=torch.bool))
    result = FactorAnalysisConv(prior).posterior(*flat)
    expected = reference_posterior(prior, flat.pos, flat.variance, flat.landmark_id, flat.mask)
    for one, other in zip(result, expected, strict=True):
        assert_close(one, other)
    # Nothing moves across the direction of the noise.
    assert_close((result.mean - flat.pos) @ torch.tensor([-0.8, 0.6], dtype=torch.double), torch.zeros(K).double())


@pytest.mark.parametrize("form", [(), (2,), (2, 2)])
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_what_a_mask_hides_enters_neither_results_nor_gradients(form: tuple[int, ...], value: float) -> None:
    torch.manual_seed(0)
    prior = FactorAnalysisPrior(6, 2)
    conv, dense = FactorAnalysisConv(prior), FactorAnalysisConv(prior).to_dense()
    mask = torch.rand(3, 6) < 0.5
    variance = torch.rand(3, 6, *form)
    if len(form) == 2:
        variance = variance @ variance.mT + 0.1 * torch.eye(2)
    pos = torch.randn(3, 6, 2).masked_fill(~mask[..., None], value).requires_grad_()
    variance = variance.masked_fill(~mask.view(3, 6, *[1] * len(form)), value).requires_grad_()
    ids, batch = torch.arange(6).repeat(3), torch.arange(3).repeat_interleave(6)
    nodes = [each.flatten(0, 1) for each in (pos, variance)]
    pairs = torch.stack([torch.arange(18), torch.arange(18).flip(0)])
    results = [dense(pos, variance, mask), *dense.posterior(pos, variance, mask), dense.edge_weight(variance, mask)]
    results += [conv(*nodes, ids, batch, mask.flatten()), *conv.posterior(*nodes, ids, batch, mask.flatten())]
    results.append(conv.edge_weight(pairs, nodes[1], ids, batch, mask.flatten()))
    assert all(each.isfinite().all() for each in results)
    torch.stack([each.square().sum() for each in results]).sum().backward()
    for tensor in (pos, variance):
        assert tensor.grad.isfinite().all() and (tensor.grad[~mask] == 0).all()
    assert all(each.grad.isfinite().all() for each in prior.parameters())

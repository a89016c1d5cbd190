import math

import pytest
import torch
from torch import Tensor

from lgcn.nn.functional.similarity import Similarity, fit_similarity, mean_shape, normalized


def random_similarity(count: int) -> Similarity:
    angle, scale = 2 * math.pi * torch.rand(count, dtype=torch.double), 0.1 + torch.rand(count, dtype=torch.double)
    cos, sin = scale * angle.cos(), scale * angle.sin()
    matrix = torch.stack([cos, -sin, sin, cos], dim=-1).view(count, 2, 2)
    return Similarity(matrix, *torch.randn(2, count, 1, 2, dtype=torch.double))


def test_recovers_similarities() -> None:
    frame, true = torch.randn(9, 2, dtype=torch.double), random_similarity(5)
    shapes = true.invert(frame.expand(5, -1, -1))
    found = fit_similarity(shapes, frame, torch.rand(5, 9, dtype=torch.double))
    torch.testing.assert_close(found.matrix, true.matrix)
    torch.testing.assert_close(found.apply(shapes), frame.expand(5, -1, -1))
    torch.testing.assert_close(found.squared_scale().squeeze(-1), true.matrix.det())


def test_there_and_back() -> None:
    similarity, pos = random_similarity(4), torch.randn(4, 7, 2, dtype=torch.double)
    torch.testing.assert_close(similarity.invert(similarity.apply(pos)), pos)
    factor = torch.randn(4, 7, 2, 2, dtype=torch.double)
    covariance = factor @ factor.mT
    torch.testing.assert_close(similarity.invert_covariance(similarity.apply_covariance(covariance)), covariance)


def test_covariances_are_those_of_mapped_points() -> None:
    similarity, factor = random_similarity(1), torch.randn(2, 2, dtype=torch.double)
    pos = torch.randn(1, 20000, 2, dtype=torch.double) @ factor.mT
    mapped = similarity.apply_covariance((factor @ factor.mT).expand(1, 1, 2, 2))
    torch.testing.assert_close(similarity.apply(pos)[0].mT.cov(), mapped[0, 0], rtol=0.05, atol=0.01)


def weighted_error(similarity: Similarity, source: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    return (weight * (similarity.apply(source) - target).square().sum(-1)).sum(-1)


def test_is_the_minimum_and_no_reflection() -> None:
    """The gradient of the weighted error vanishes, also where a reflection would be nearer."""
    target, weight = torch.randn(6, 2, dtype=torch.double), torch.rand(3, 6, dtype=torch.double)
    noise = 0.5 * torch.randn(3, 6, 2, dtype=torch.double)
    for source in (target + noise, (target + noise) * torch.tensor([-1.0, 1.0])):
        found = Similarity(*(each.clone().requires_grad_() for each in fit_similarity(source, target, weight)))
        error = weighted_error(found, source, target, weight).sum()
        error.backward()
        rotation, scaling = (
            torch.tensor([[0.0, -1.0], [1.0, 0.0]]).double() @ found.matrix.detach(),
            found.matrix.detach(),
        )
        for direction in (rotation, scaling):
            assert (found.matrix.grad * direction).sum((-2, -1)).abs().max() < 1e-9
        assert found.source_centre.grad.abs().max() < 1e-9
        assert (found.matrix.det() > 0).all()


def test_weights() -> None:
    """A point of weight 0 has no influence, integer weights count points, and their unit is free."""
    source, target = torch.randn(2, 5, 2, dtype=torch.double)
    weight = torch.tensor([1.0, 2.0, 0.0, 1.0, 1.0]).double()
    found = fit_similarity(source, target, weight)
    chosen = torch.tensor([0, 1, 1, 3, 4])
    for same in (fit_similarity(source[chosen], target[chosen]), fit_similarity(source, target, 1e9 * weight)):
        for one, other in zip(found, same, strict=True):
            torch.testing.assert_close(one, other)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_what_is_not_determined_is_the_identity(dtype: torch.dtype) -> None:
    target = torch.randn(5, 2, dtype=dtype)
    point = torch.tensor([123.456, -78.9], dtype=dtype).expand(5, 2)
    single = torch.zeros(5, dtype=dtype)
    single[3] = 0.7
    cases = {
        "coinciding": (point.clone(), None),
        "single": (torch.randn(5, 2, dtype=dtype), single),
        "none": (torch.randn(5, 2, dtype=dtype), torch.zeros(5, dtype=dtype)),
    }
    for name, (source, weight) in cases.items():
        source.requires_grad_()
        found = fit_similarity(source, target, weight)
        assert torch.equal(found.matrix, torch.eye(2, dtype=dtype)), name
        found.apply(source).sum().backward()
        assert source.grad.isfinite().all(), name
    assert torch.equal(
        fit_similarity(cases["none"][0], target, torch.zeros(5, dtype=dtype)).source_centre,
        torch.zeros(1, 2, dtype=dtype),
    )
    # The single point comes to lie where it is in the target.
    torch.testing.assert_close(
        fit_similarity(*cases["single"][:1], target, single).apply(cases["single"][0])[3], target[3]
    )


def test_collinear_points_determine_it() -> None:
    line = torch.linspace(-1, 1, 5, dtype=torch.double).unsqueeze(1) * torch.tensor([[0.6, 0.8]]).double()
    true = random_similarity(1)
    found = fit_similarity(true.invert(line.unsqueeze(0)), line)
    torch.testing.assert_close(found.matrix, true.matrix)


def test_gradients() -> None:
    source, target = torch.randn(2, 3, 5, 2, dtype=torch.double)
    weight = torch.rand(3, 5, dtype=torch.double)
    inputs = [each.requires_grad_() for each in (source, target, weight)]
    assert torch.autograd.gradcheck(lambda s, t, w: fit_similarity(s, t, w).apply(s), inputs)
    assert torch.autograd.gradcheck(lambda s, t, w: fit_similarity(s, t, w).invert(t), inputs)
    assert not fit_similarity(source, target).detach().matrix.requires_grad


def test_mean_shape_does_not_depend_on_poses() -> None:
    base = torch.randn(8, 2, dtype=torch.double)
    shapes = base + 0.05 * torch.randn(200, 8, 2, dtype=torch.double)
    upright = mean_shape(shapes)
    assert upright.mean(0).abs().max() < 1e-12
    torch.testing.assert_close(upright.square().sum(-1).mean(), torch.tensor(1.0).double())
    torch.testing.assert_close(upright, normalized(base), rtol=0, atol=0.02)
    turned = mean_shape(random_similarity(200).apply(shapes))
    torch.testing.assert_close(fit_similarity(turned, upright).apply(turned), upright, rtol=0, atol=1e-2)

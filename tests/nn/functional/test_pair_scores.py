import pytest
import torch
from torch import Tensor

from lgcn.nn.functional import pair_scores as module
from lgcn.nn.functional.pair_scores import pair_scores


def inputs(units: int, images: int, landmarks: int) -> tuple[Tensor, ...]:
    shapes = ((units, landmarks, landmarks), (units, images, landmarks), (units, images, landmarks), (units,), (1,))
    return tuple(torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in shapes)


def as_written(table: Tensor, receiving: Tensor, neighbour: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    hidden = torch.zeros(receiving.shape[1], *table.shape[1:], dtype=table.dtype)
    for unit in range(len(weight)):
        for image in range(receiving.shape[1]):
            pre = table[unit] + receiving[unit, image, :, None] + neighbour[unit, image, None, :]
            hidden[image] += weight[unit] * pre.relu()
    return hidden + bias


@pytest.mark.parametrize("grad", [True, False])
@pytest.mark.parametrize("at_once", [0, 1 << 20])
@pytest.mark.parametrize("block", [1, 100, 1 << 20])
@pytest.mark.parametrize("sizes", [(1, 1, 1), (5, 3, 4), (5, 4, 4), (7, 2, 6)])
def test_is_the_sum_over_units_however_many_are_taken_at_a_time(
    monkeypatch: pytest.MonkeyPatch, sizes: tuple[int, int, int], block: int, at_once: int, grad: bool
) -> None:
    monkeypatch.setattr(module, "_BLOCK", block)
    monkeypatch.setattr(module, "AT_ONCE", at_once)
    arguments = inputs(*sizes)
    with torch.set_grad_enabled(grad):
        got, right = pair_scores(*arguments), as_written(*arguments)
    torch.testing.assert_close(got, right, rtol=1e-12, atol=1e-12)
    if grad:
        slope = torch.randn_like(right)
        gradients, expected = (torch.autograd.grad(each, arguments, slope) for each in (got, right))
        torch.testing.assert_close(gradients, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("images", [0, 1, 3, 4])
def test_gradients(images: int) -> None:
    assert torch.autograd.gradcheck(pair_scores, inputs(4, images, 3))


@pytest.mark.parametrize("images", [0, 1, 3])
def test_second_gradients(images: int) -> None:
    assert torch.autograd.gradgradcheck(pair_scores, inputs(2, images, 3))


def test_gradients_that_may_be_differentiated_are_the_same() -> None:
    arguments = inputs(4, 3, 5)
    slope = torch.randn(3, 5, 5, dtype=torch.float64)
    gradients = [torch.autograd.grad(pair_scores(*arguments), arguments, slope, create_graph=c) for c in (True, False)]
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize("argument", range(5))
def test_transforms(argument: int) -> None:
    arguments = tuple(each.detach() for each in inputs(3, 2, 4))
    slope = torch.randn(2, 4, 4, dtype=torch.float64)
    places = tuple(range(5))
    expected = torch.func.jacrev(as_written, argument)(*arguments)
    for jacobian in (torch.func.jacrev, torch.func.jacfwd):
        torch.testing.assert_close(jacobian(pair_scores, argument)(*arguments), expected)
    gradient = torch.func.grad(lambda *each: (pair_scores(*each) * slope).sum(), places)(*arguments)
    torch.testing.assert_close(gradient[argument], torch.einsum("bij,bij...->...", slope, expected))
    several = tuple(torch.stack([each, 2 * each]) for each in arguments)
    right = torch.stack([as_written(*(each[n] for each in several)) for n in range(2)])
    for grad in (True, False):
        with torch.set_grad_enabled(grad):
            torch.testing.assert_close(torch.func.vmap(pair_scores)(*several), right)


def test_batched_gradients() -> None:
    arguments = inputs(3, 2, 4)
    slopes = torch.randn(3, 2, 4, 4, dtype=torch.float64)
    score = pair_scores(*arguments)
    got = torch.autograd.grad(score, arguments, slopes, is_grads_batched=True, retain_graph=True)
    one_by_one = [torch.autograd.grad(score, arguments, slope, retain_graph=True) for slope in slopes]
    torch.testing.assert_close(got, tuple(torch.stack(each) for each in zip(*one_by_one, strict=True)))


def test_gradients_when_compiled() -> None:
    arguments = inputs(3, 4, 5)
    slope = torch.randn(4, 5, 5, dtype=torch.float64)
    compiled = torch.compile(pair_scores, backend="aot_eager", fullgraph=True, dynamic=True)
    expected, got = (torch.autograd.grad((f(*arguments) * slope).sum(), arguments) for f in (as_written, compiled))
    torch.testing.assert_close(got, expected)


def test_the_custom_operator_passes_opcheck() -> None:
    torch.library.opcheck(module._written_down, (torch.randn(4, 5).expand(3, 4, 5),))


def test_gradients_of_a_score_that_is_not_contiguous() -> None:
    arguments = inputs(3, 2, 4)
    expected = torch.autograd.grad(as_written(*arguments).transpose(1, 2)[:, 1:].square().sum(), arguments)
    got = torch.autograd.grad(pair_scores(*arguments).transpose(1, 2)[:, 1:].square().sum(), arguments)
    torch.testing.assert_close(got, expected)


def test_what_is_kept_for_the_backward_pass_does_not_grow_with_pairs_times_units() -> None:
    units, images, landmarks = 16, 4, 20
    # Also where all units are taken at once.
    assert units * images * landmarks**2 < module.AT_ONCE
    kept: list[int] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda each: kept.append(each.numel()) or each, lambda each: each):
        pair_scores(*inputs(units, images, landmarks))
    assert 0 < max(kept) < images * landmarks**2 * units

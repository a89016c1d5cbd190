import pickle
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from lgcn.checks import InputError
from lgcn.codecs import HeatmapCodec
from lgcn.losses import (
    COORDINATE_LOSSES,
    HEATMAP_LOSSES,
    DetectionLoss,
    adaptive_wing_loss,
    focal_heatmap_loss,
    gaussian_nll_loss,
    heatmap_cross_entropy,
    heatmap_mse_loss,
    l1_loss,
    smooth_l1_loss,
    wing_loss,
)
from lgcn.typing import DetectorOutput

SIZE = (32, 64)  # (H, W): a swap of the two is seen


class FakeCodec:
    """Draws a Gaussian of sigma 1 around the nearest cell of a map of stride 4."""

    def __init__(self, activation: str = "sigmoid", target: str = "integer") -> None:
        self.activation, self.target = activation, target

    def encode(self, pos: Tensor, visibility: Tensor | None = None) -> tuple[Tensor, Tensor]:
        x, y = torch.nan_to_num(pos / 4).round().split(1, dim=-1)
        squared = (torch.arange(16) - x[..., None]) ** 2 + (torch.arange(8)[:, None] - y[..., None]) ** 2
        inside = ((x >= 0) & (x < 16) & (y >= 0) & (y < 8)).squeeze(-1).float()
        return (-squared / 2).exp(), inside if visibility is None else inside * visibility


def make_case(B: int = 2, K: int = 3) -> tuple[DetectorOutput, Tensor]:
    generator = torch.Generator().manual_seed(0)
    output = DetectorOutput(
        pos=(30 * torch.rand(B, K, 2, generator=generator)).requires_grad_(),
        initial=(30 * torch.rand(B, K, 2, generator=generator)).requires_grad_(),
        confidence=torch.rand(B, K, generator=generator),
        heatmaps=torch.randn(B, K, 8, 16, generator=generator).requires_grad_(),
    )
    return output, 30 * torch.rand(B, K, 2, generator=generator)


def test_detection_loss_is_eq_9() -> None:
    output, target = make_case()
    codec = FakeCodec()
    terms = DetectionLoss(heatmap_weight=0.5, refined_weight=2.0, initial_weight=0.25)(
        output, target, None, codec, SIZE
    )
    side = torch.tensor([64.0, 32.0])
    heatmaps, weight = codec.encode(target)
    torch.testing.assert_close(terms["heatmap"], focal_heatmap_loss(output.heatmaps, heatmaps, weight))
    torch.testing.assert_close(terms["refined"], l1_loss(output.pos / side, target / side))
    torch.testing.assert_close(terms["initial"], l1_loss(output.initial / side, target / side))
    total = 0.5 * terms["heatmap"] + 2 * terms["refined"] + 0.25 * terms["initial"]
    torch.testing.assert_close(terms["total"], total)


def test_detection_loss_reports_terms_of_weight_zero_without_training_them() -> None:
    output, target = make_case()
    terms = DetectionLoss(heatmap_weight=0.0)(output, target, None, FakeCodec(), SIZE)
    terms["total"].backward()
    assert set(terms) == {"total", "heatmap", "refined", "initial"}
    assert terms["heatmap"] > 0 and terms["initial"] > 0
    assert output.pos.grad is not None and output.heatmaps.grad is None and output.initial.grad is None


def test_likelihood_trains_covariances_alone() -> None:
    output, target = make_case()
    covariance = torch.diag_embed(4 + torch.rand(2, 3, 2)).requires_grad_()
    output = output._replace(covariance=covariance)
    terms = DetectionLoss(heatmap_weight=0, refined_weight=0, likelihood_weight=0.5)(
        output, target, None, FakeCodec(), SIZE
    )
    torch.testing.assert_close(terms["total"], 0.5 * gaussian_nll_loss(output.pos, target, covariance))
    terms["total"].backward()
    assert output.pos.grad is None and covariance.grad is not None and (covariance.grad != 0).any()
    without = DetectionLoss()(output, target, None, FakeCodec(), SIZE)
    assert "likelihood" in without and not without["likelihood"].requires_grad
    with pytest.raises(InputError, match="covariances for 'likelihood_weight' .*refiner.name: gaussian"):
        DetectionLoss(likelihood_weight=1)(output._replace(covariance=None), target, None, FakeCodec(), SIZE)


def test_detection_loss_masks_missing_landmarks_and_those_outside_the_crop() -> None:
    output, target = make_case(B=1)
    target[0, 1] = torch.nan  # missing
    target[0, 2] = torch.tensor([500.0, 10.0])  # annotated, but outside the crop
    visibility = torch.tensor([[1.0, 0.0, 1.0]])
    terms = DetectionLoss(initial_weight=1.0)(output, target, visibility, FakeCodec(), SIZE)
    terms["total"].backward()

    def moved(tensor: Tensor) -> list[list[bool]]:
        return (tensor.grad.flatten(2).abs().sum(-1) > 0).tolist()

    assert all(term.isfinite() for term in terms.values())
    assert moved(output.heatmaps) == [[True, False, False]]
    assert moved(output.pos) == moved(output.initial) == [[True, False, True]]


def test_detection_loss_of_missing_landmarks_only_is_zero() -> None:
    output, target = make_case()
    terms = DetectionLoss()(output, target, torch.zeros(2, 3), FakeCodec(), SIZE)
    terms["total"].backward()
    assert terms["total"].item() == 0
    assert output.heatmaps.grad.abs().max() == 0 and output.pos.grad.abs().max() == 0


def test_detection_loss_takes_values_from_a_clamping_codec() -> None:
    output, target = make_case()
    codec = FakeCodec(activation="clamp")
    terms = DetectionLoss()(output, target, None, codec, SIZE)
    heatmaps, weight = codec.encode(target)
    expected = focal_heatmap_loss(output.heatmaps, heatmaps, weight, from_logits=False)
    torch.testing.assert_close(terms["heatmap"], expected)


def test_detection_loss_with_cross_entropy_takes_subpixel_targets() -> None:
    output, target = make_case()
    codec = FakeCodec(activation="softmax", target="subpixel")
    terms = DetectionLoss(heatmap="cross_entropy")(output, target, None, codec, SIZE)
    torch.testing.assert_close(terms["heatmap"], heatmap_cross_entropy(output.heatmaps, *codec.encode(target)))


def test_focal_refuses_subpixel_targets() -> None:
    output, target = make_case()
    with pytest.raises(InputError, match="'codec.target' to be 'integer'.*cross_entropy"):
        DetectionLoss()(output, target, None, FakeCodec(target="subpixel"), SIZE)


def test_detection_loss_refuses_unknown_names_and_negative_weights() -> None:
    with pytest.raises(InputError, match=r"adaptive_wing, cross_entropy, focal, mse.*Did you mean 'focal'"):
        DetectionLoss(heatmap="focall")
    with pytest.raises(InputError, match=r"'coordinate loss' to be one of l1, smooth_l1, wing .got 'l2'"):
        DetectionLoss(coordinate="l2")
    with pytest.raises(InputError, match="'refined_weight'.*-1"):
        DetectionLoss(refined_weight=-1)
    with pytest.raises(InputError, match="'initial_weight'.*nan"):
        DetectionLoss(initial_weight=float("nan"))


def test_detection_loss_says_which_shape_is_wrong() -> None:
    output, target = make_case()
    with pytest.raises(InputError, match="'target_pos'.*B=2, K=3"):
        DetectionLoss()(output, target[:, :2], None, FakeCodec(), SIZE)


def test_detection_loss_repr_names_its_weights() -> None:
    expected = "DetectionLoss(heatmap='focal', coordinate='l1', heatmap_weight=1, refined_weight=1, initial_weight=0)"
    assert repr(DetectionLoss()) == expected


@pytest.mark.parametrize(
    ("coordinate", "function", "options"),
    [
        ("l1", l1_loss, {}),
        ("smooth_l1", smooth_l1_loss, {}),
        ("smooth_l1", smooth_l1_loss, {"beta": 3.0}),
        ("wing", wing_loss, {}),
        ("wing", wing_loss, {"width": 5.0, "epsilon": 0.5}),
    ],
)
def test_coordinate_losses_see_pixels_of_the_input_and_give_fractions_of_its_side(
    coordinate: str, function: Callable[..., Tensor], options: dict[str, float]
) -> None:
    output, target = make_case()
    visibility = torch.tensor([[1.0, 0.0, 1.0], [1.0, 1.0, 1.0]])
    loss = DetectionLoss(coordinate=coordinate, coordinate_options=options, initial_weight=1.0)
    terms = loss(output, target, visibility, FakeCodec(), (64, 64))
    torch.testing.assert_close(terms["refined"], function(output.pos, target, visibility, **options) / 64)
    torch.testing.assert_close(terms["initial"], function(output.initial, target, visibility, **options) / 64)
    # Where the sides differ, each axis is divided by its own.
    terms = loss(output, target, visibility, FakeCodec(), SIZE)
    along_x = target.clone()
    along_x[..., 1] = output.pos[..., 1].detach()
    along_y = target.clone()
    along_y[..., 0] = output.pos[..., 0].detach()
    expected = [function(output.pos, only, visibility, **options) for only in (along_x, along_y)]
    torch.testing.assert_close(terms["refined"], expected[0] / 64 + expected[1] / 32)


@pytest.mark.parametrize("activation", ["sigmoid", "clamp", "linear"])
@pytest.mark.parametrize(
    ("heatmap", "function", "options"),
    [
        ("focal", focal_heatmap_loss, {"alpha": 1.0, "beta": 2.0}),
        ("mse", heatmap_mse_loss, {}),
        ("adaptive_wing", adaptive_wing_loss, {}),
        ("adaptive_wing", adaptive_wing_loss, {"alpha": 2.5, "omega": 7.0, "epsilon": 0.5, "theta": 0.25}),
        ("adaptive_wing", adaptive_wing_loss, {"foreground_weight": 0.0}),
    ],
)
def test_heatmap_losses_take_options_and_the_activation_of_the_codec(
    heatmap: str, function: Callable[..., Tensor], options: dict[str, float], activation: str
) -> None:
    output, target = make_case()
    codec = FakeCodec(activation)
    terms = DetectionLoss(heatmap=heatmap, heatmap_options=options)(output, target, None, codec, SIZE)
    drawn = codec.encode(target)
    expected = function(output.heatmaps, *drawn, **options, from_logits=activation == "sigmoid")
    torch.testing.assert_close(terms["heatmap"], expected)


@pytest.mark.parametrize("heatmap", ["mse", "adaptive_wing"])
def test_losses_of_values_refuse_a_distribution(heatmap: str) -> None:
    output, target = make_case()
    with pytest.raises(
        InputError, match=rf"'sigmoid', 'clamp' or 'linear' for the heatmap loss '{heatmap}' .*cross_entropy"
    ):
        DetectionLoss(heatmap=heatmap)(output, target, None, FakeCodec(activation="softmax"), SIZE)


def test_options_are_checked_when_the_loss_is_built() -> None:
    with pytest.raises(InputError, match=r"'coordinate option' to be one of width, epsilon .got 'epsilom'.*'epsilon'"):
        DetectionLoss(coordinate="wing", coordinate_options={"epsilom": 1.0})
    with pytest.raises(InputError, match=r"'heatmap option' to be one of alpha, beta .got 'theta'"):
        DetectionLoss(heatmap_options={"theta": 1.0})
    with pytest.raises(InputError, match=r"no 'coordinate_options' for the coordinate loss 'l1' .got beta"):
        DetectionLoss(coordinate_options={"beta": 1.0})
    with pytest.raises(InputError, match=r"no 'heatmap_options' for the heatmap loss 'mse' .got alpha"):
        DetectionLoss(heatmap="mse", heatmap_options={"alpha": 1.0})
    with pytest.raises(InputError, match=r"'beta' to be a positive number .got 0"):
        DetectionLoss(coordinate="smooth_l1", coordinate_options={"beta": 0})


def test_custom_losses_by_name() -> None:
    HEATMAP_LOSSES.register("mine", lambda heatmaps, target, weight, codec, power=1: (heatmaps**power).mean())
    COORDINATE_LOSSES.register("mine", lambda difference: difference.square())
    try:
        loss = DetectionLoss(heatmap="mine", coordinate="mine", heatmap_options={"power": 2})
        output, target = make_case()
        terms = loss(output, target, None, FakeCodec(), SIZE)
    finally:
        del HEATMAP_LOSSES._things["mine"], COORDINATE_LOSSES._things["mine"]
    torch.testing.assert_close(terms["heatmap"], output.heatmaps.square().mean())
    expected = ((output.pos - target).square() / torch.tensor([64.0, 32.0])).sum(-1).mean()
    torch.testing.assert_close(terms["refined"], expected)


def test_a_loss_can_be_copied_and_sent_to_another_process() -> None:
    loss = DetectionLoss(heatmap="adaptive_wing", coordinate="wing", coordinate_options={"width": 5.0})
    output, target = make_case()
    codec = FakeCodec()
    copied = pickle.loads(pickle.dumps(loss))
    torch.testing.assert_close(
        copied(output, target, None, codec, SIZE), loss(output, target, None, codec, SIZE), rtol=0, atol=0
    )


@pytest.mark.parametrize(
    ("heatmap", "activation", "target"),
    [
        ("focal", "sigmoid", "integer"),
        ("focal", "clamp", "integer"),
        ("cross_entropy", "softmax", "subpixel"),
        ("mse", "sigmoid", "subpixel"),
        ("mse", "clamp", "integer"),
        ("adaptive_wing", "sigmoid", "integer"),
        ("adaptive_wing", "clamp", "subpixel"),
    ],
)
def test_detection_loss_falls_on_the_way_to_the_target(heatmap: str, activation: str, target: str) -> None:
    """With the package's own codec: descending the heatmap term alone leads to heatmaps that decode to the target."""
    codec = HeatmapCodec(SIZE, (8, 16), sigma=1.0, activation=activation, target=target)
    output, truth = make_case()
    truth[..., 1] *= 0.9
    truth[0, 0] = torch.nan
    visibility = torch.ones(2, 3)
    visibility[0, 0] = 0
    loss = DetectionLoss(heatmap=heatmap, refined_weight=0.0)
    heatmaps = torch.full((2, 3, 8, 16), 0.1, requires_grad=True)
    optimizer = torch.optim.Adam([heatmaps], lr=0.1)
    for _ in range(30):
        optimizer.zero_grad()
        terms = loss(output._replace(heatmaps=heatmaps), truth, visibility, codec, SIZE)
        terms["total"].backward()
        optimizer.step()
    error = (codec.decode(heatmaps.detach()).pos - truth).norm(dim=-1)[visibility > 0]
    assert error.max() < codec.stride
    assert torch.equal(heatmaps[0, 0], torch.full((8, 16), 0.1))


@pytest.mark.parametrize(
    ("heatmap", "activation", "nothing", "one_cell", "four_cells"),
    [
        ("focal", "sigmoid", 705, 0.57, 17),
        ("cross_entropy", "softmax", 8.3, 3.87, 7.2),
        ("mse", "sigmoid", 0.25, 0.00036, 0.0029),
        ("mse", "clamp", 0.0017, 0.00036, 0.0029),
        ("adaptive_wing", "sigmoid", 3.1, 0.087, 0.27),
        ("adaptive_wing", "clamp", 0.26, 0.087, 0.27),
    ],
)
def test_heatmap_losses_are_as_large_as_the_docs_say(
    heatmap: str, activation: str, nothing: float, one_cell: float, four_cells: float
) -> None:
    inverse = {"clamp": lambda v: v, "sigmoid": lambda v: v.clamp(1e-4, 1 - 1e-4).logit(), "softmax": torch.log}
    target = "subpixel" if activation == "softmax" else "integer"
    codec = HeatmapCodec((256, 256), (64, 64), activation=activation, target=target)
    pos = torch.full((1, 68, 2), 129.5)

    def cost(heatmaps: Tensor) -> float:
        output = DetectorOutput(pos, pos, torch.ones(1, 68), heatmaps)
        return DetectionLoss(heatmap=heatmap)(output, pos, None, codec, (256, 256))["heatmap"].item()

    def moved(cells: int) -> Tensor:
        return inverse[activation](codec.encode(pos + torch.tensor([4.0 * cells, 0.0]))[0].clamp_min(1e-12))

    found = cost(torch.zeros(1, 68, 64, 64)), cost(moved(1)), cost(moved(4))
    assert found == pytest.approx((nothing, one_cell, four_cells), rel=0.05)


@pytest.mark.parametrize(("coordinate", "cost"), [("l1", 0.0078), ("smooth_l1", 0.0059), ("wing", 0.027)])
def test_coordinate_losses_are_as_large_as_the_docs_say(coordinate: str, cost: float) -> None:
    output, _ = make_case()
    target = output.pos.detach() + torch.tensor([2.0, 0.0])
    terms = DetectionLoss(coordinate=coordinate)(output, target, None, FakeCodec(), (256, 256))
    assert terms["refined"].item() == pytest.approx(cost, rel=0.03)

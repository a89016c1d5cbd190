import math

import pytest
import torch
from torch import Tensor

from lgcn.checks import InputError
from lgcn.codecs import ACTIVATIONS, DECODERS, HeatmapCodec

SIZES = {"input_size": (128, 96), "heatmap_size": (32, 24)}


def as_output(values: Tensor, activation: str) -> Tensor:
    """What a network would have to return for its activation to give ``values`` (up to scale for softmax)."""
    if activation in ("clamp", "linear"):
        return values
    return values.double().clamp_min(1e-15).log() if activation == "softmax" else values.double().logit(1e-9)


# Largest distance in cells, on each axis, of what is decoded from what was encoded, well inside the map.
SUBPIXEL_ERROR = {"argmax": 0.5, "quarter": 0.25, "dark": 0.003, "hrnet": 0.25, "softargmax": 0.003}


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("target", ["integer", "subpixel"])
@pytest.mark.parametrize("decode", DECODERS)
def test_decoding_inverts_encoding(decode: str, target: str, activation: str) -> None:
    codec = HeatmapCodec(**SIZES, decode=decode, target=target, activation=activation)
    pos = torch.rand(4, 40, 2, dtype=torch.float64) * torch.tensor([48.0, 80.0]) + 24
    heatmaps, weight = codec.encode(pos)
    assert (weight == 1).all()
    assert heatmaps.shape == (4, 40, 32, 24)
    decoded = codec.decode(as_output(heatmaps, activation)).pos
    if target == "integer":
        # What was encoded is the nearest cell, and that comes back.
        expected, tolerance = ((pos + 0.5) / 4 - 0.5).round() * 4 + 1.5, 0.003
    else:
        expected, tolerance = pos, SUBPIXEL_ERROR[decode]
    assert (decoded - expected).abs().max() <= 4 * tolerance + 1e-6


@pytest.mark.parametrize("decode", ["argmax", "quarter", "dark"])
def test_landmarks_at_the_border_are_decoded_to_half_a_cell(decode: str) -> None:
    codec = HeatmapCodec(**SIZES, decode=decode, target="subpixel", activation="clamp")
    along = torch.linspace(-0.45, 15, 40)
    low = torch.cartesian_prod(along, along)
    pos = torch.stack([low, torch.tensor([95.0, 127.0]) - low])
    decoded = codec.decode(codec.encode(pos)[0]).pos
    assert (decoded - pos).abs().max() <= 2 + 1e-4
    # Mirrored maps decode to mirrored positions.
    torch.testing.assert_close(decoded[0] + decoded[1], torch.tensor([95.0, 127.0]).expand_as(low), atol=1e-3, rtol=0)


def test_soft_argmax_at_the_border_is_biased_inwards_by_the_truncated_mass() -> None:
    codec = HeatmapCodec(**SIZES, sigma=1.0, decode="softargmax", target="subpixel", activation="clamp")
    pos = torch.tensor([[[1.5, 60.0]]])
    decoded = codec.decode(codec.encode(pos)[0]).pos[0, 0]
    # The mean of the right half of a Gaussian of one cell, on cells.
    half = torch.exp(-(torch.arange(24.0) ** 2) / 2)
    assert decoded[0].item() == pytest.approx(
        1.5 + 4 * (half * torch.arange(24)).sum().item() / half.sum().item(), abs=1e-3
    )
    assert decoded[1].item() == pytest.approx(60.0, abs=1e-3)


def test_alignment_at_the_centre_or_the_corner_of_cells() -> None:
    outputs = torch.zeros(1, 1, 32, 24)
    outputs[..., 7, 5] = 1.0
    for align, (x, y) in {"center": (21.5, 29.5), "corner": (20.0, 28.0)}.items():
        codec = HeatmapCodec(**SIZES, decode="argmax", activation="clamp", target="subpixel", align=align)
        assert codec.decode(outputs).pos.tolist() == [[[x, y]]]
        heatmaps, weight = codec.encode(torch.tensor([[[x, y], [-0.6, 1.0], [-2.1, 1.0]]]))
        assert heatmaps[0, 0, 7, 5] == 1
        assert weight.tolist() == [[1, float(align == "corner"), 0]]


@pytest.mark.parametrize("align", ["center", "corner"])
def test_decoding_inverts_encoding_for_every_alignment(align: str) -> None:
    codec = HeatmapCodec(**SIZES, decode="dark", activation="clamp", target="subpixel", align=align)
    pos = torch.rand(2, 40, 2) * torch.tensor([48.0, 80.0]) + 24
    torch.testing.assert_close(codec.decode(codec.encode(pos)[0]).pos, pos, atol=0.02, rtol=0)


def test_integer_targets_are_exactly_1_at_the_nearest_cell() -> None:
    codec = HeatmapCodec(**SIZES, target="integer")
    pos = torch.rand(3, 20, 2) * torch.tensor([96.0, 128.0]) - 0.5
    heatmaps, weight = codec.encode(pos)
    assert (weight == 1).all()
    assert ((heatmaps == 1).sum(dim=(2, 3)) == 1).all()
    cells = (heatmaps == 1).flatten(2).int().argmax(dim=-1)
    centres = torch.stack([cells % 24, cells // 24], dim=-1) * 4 + 1.5
    assert (centres - pos).abs().max() <= 2 + 1e-4


def test_subpixel_targets_stay_below_1() -> None:
    heatmaps, _ = HeatmapCodec(**SIZES, target="subpixel").encode(torch.tensor([[[40.0, 50.0]]]))
    assert 0.9 < heatmaps.max() < 1


@pytest.mark.parametrize("target", ["integer", "subpixel"])
def test_landmarks_that_are_missing_or_outside_have_no_weight(target: str) -> None:
    codec = HeatmapCodec(**SIZES, target=target)
    nan = math.nan
    cases = [
        ((40.0, 50.0), 1, 1),
        ((-0.4, -0.4), 1, 1),
        ((95.4, 127.4), 1, 1),
        ((-0.6, 50.0), 1, 0),
        ((40.0, 127.6), 1, 0),
        ((1000.0, -1000.0), 1, 0),
        ((40.0, 50.0), 0, 0),
        ((nan, nan), 0, 0),
        ((nan, nan), 1, 0),
        ((40.0, nan), 1, 0),
        ((math.inf, 50.0), 1, 0),
    ]
    pos = torch.tensor([[case[0] for case in cases]])
    heatmaps, weight = codec.encode(pos, torch.tensor([[case[1] for case in cases]]))
    assert weight.tolist() == [[case[2] for case in cases]]
    assert heatmaps.isfinite().all()
    assert (heatmaps[0, 6:] == 0).all()  # nothing is drawn for a landmark that is not there
    assert heatmaps[0, 3].max() > 0.5  # but one just outside still shows its flank


def test_nan_needs_no_visibility() -> None:
    heatmaps, weight = HeatmapCodec(**SIZES).encode(torch.full((1, 2, 2), math.nan))
    assert weight.tolist() == [[0, 0]]
    assert (heatmaps == 0).all()


@pytest.mark.parametrize("decode", DECODERS)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_confidences_lie_between_0_and_1_for_any_output(activation: str, decode: str) -> None:
    codec = HeatmapCodec((32, 48), (8, 12), activation=activation, decode=decode)
    outputs = torch.cat([torch.randn(2, 5, 8, 12) * scale for scale in (0.0, 1e-3, 1.0, 1e3)])
    pos, confidence = codec.decode(outputs)
    assert pos.shape == (8, 5, 2)
    assert confidence.shape == (8, 5)
    if activation == "linear":
        assert torch.equal(confidence, outputs.flatten(2).amax(dim=-1))
    else:
        assert ((confidence >= 0) & (confidence <= 1)).all()
    assert ((pos >= -2.5) & (pos <= torch.tensor([49.5, 33.5]))).all()


@pytest.mark.parametrize("decode", ["argmax", "quarter", "dark", "hrnet"])
def test_linear_outputs_that_overshoot_1_are_read_at_their_top(decode: str) -> None:
    codec = HeatmapCodec(**SIZES, decode=decode, activation="clamp", target="subpixel")
    pos = torch.rand(1, 30, 2) * torch.tensor([48.0, 80.0]) + 24
    heatmaps, _ = codec.encode(pos)
    overshooting = codec.decode(3 * heatmaps)
    torch.testing.assert_close(overshooting.pos, codec.decode(heatmaps / 2).pos, atol=1e-3, rtol=0)
    assert (overshooting.confidence == 1).all()


def test_a_saturated_sigmoid_is_read_at_its_top() -> None:
    outputs = torch.full((1, 1, 8, 8), -30.0)
    outputs[..., 3, 2:6] = torch.tensor([40.0, 60.0, 90.0, 50.0])  # a sigmoid of 1 in all of them
    decoded = HeatmapCodec((32, 32), (8, 8), decode="argmax").decode(outputs)
    assert decoded.pos.tolist() == [[[17.5, 13.5]]]
    assert decoded.confidence.item() == 1


def test_the_confidence_is_the_value_at_the_peak() -> None:
    outputs = torch.randn(2, 5, 8, 8)
    values = HeatmapCodec((32, 32), (8, 8), activation="sigmoid").decode(outputs).confidence
    torch.testing.assert_close(values, outputs.flatten(2).amax(-1).sigmoid())
    values = HeatmapCodec((32, 32), (8, 8), activation="clamp").decode(outputs / 2).confidence
    torch.testing.assert_close(values, (outputs / 2).flatten(2).amax(-1).clamp(0, 1))


def test_the_confidence_of_a_distribution_is_the_mass_around_its_peak() -> None:
    codec = HeatmapCodec((32, 32), (8, 8), sigma=1.5, activation="softmax")
    sharp = torch.zeros(1, 2, 8, 8)
    sharp[0, 0, 4, 4] = sharp[0, 1, 0, 0] = 50.0
    assert codec.decode(sharp).confidence.tolist() == [[pytest.approx(1.0), pytest.approx(1.0)]]
    # Of a flat map 5 x 5 cells are near, of which 9 lie in the map where the peak is a corner.
    flat = codec.decode(torch.zeros(1, 1, 8, 8))
    assert flat.pos.tolist() == [[[1.5, 1.5]]] or codec.decode_name != "argmax"
    assert flat.confidence.item() == pytest.approx(9 / 64)
    flat_but_one = torch.zeros(1, 1, 8, 8)
    flat_but_one[..., 4, 4] = 1e-4
    assert codec.decode(flat_but_one).confidence.item() == pytest.approx(25 / 64, rel=1e-3)


@pytest.mark.parametrize("activation", ["sigmoid", "softmax"])
def test_gradients_of_soft_argmax_and_confidence(activation: str) -> None:
    codec = HeatmapCodec((16, 24), (4, 6), sigma=1.0, decode="softargmax", activation=activation)
    outputs = torch.randn(2, 3, 4, 6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(codec.decode, (outputs,))


@pytest.mark.parametrize("decode", ["argmax", "quarter", "dark", "hrnet"])
def test_other_decodes_have_a_gradient_of_the_confidence_alone(decode: str) -> None:
    outputs = torch.randn(2, 3, 8, 8, requires_grad=True)
    pos, confidence = HeatmapCodec((32, 32), (8, 8), decode=decode).decode(outputs)
    assert not pos.requires_grad
    confidence.sum().backward()
    assert (outputs.grad != 0).sum() == 6


@pytest.mark.parametrize("decode", DECODERS)
def test_autocast_costs_no_precision(decode: str) -> None:
    codec = HeatmapCodec((256, 256), (64, 64), decode=decode, target="subpixel", activation="clamp")
    heatmaps, _ = codec.encode(torch.rand(1, 30, 2) * 200 + 30)
    with torch.autocast("cpu", torch.bfloat16):
        inside = codec.decode(heatmaps)
    torch.testing.assert_close(inside, codec.decode(heatmaps), atol=1e-4, rtol=0)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_read_in_single_precision(dtype: torch.dtype) -> None:
    codec = HeatmapCodec((256, 256), (64, 64), decode="softargmax", activation="softmax")
    outputs = torch.randn(1, 4, 64, 64).to(dtype)
    decoded = codec.decode(outputs)
    assert decoded.pos.dtype == decoded.confidence.dtype == torch.float32
    torch.testing.assert_close(decoded, codec.decode(outputs.float()))


@pytest.mark.parametrize("decode", DECODERS)
def test_decoding_compiles_without_a_break(decode: str) -> None:
    codec = HeatmapCodec((32, 48), (8, 12), decode=decode)
    outputs = torch.randn(2, 3, 8, 12)
    compiled = torch.compile(codec.decode, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(outputs), codec.decode(outputs))


@pytest.mark.parametrize("sigma", [0.0, -1.0, math.nan])
def test_sigma_must_be_positive(sigma: float) -> None:
    with pytest.raises(InputError, match="'sigma' to be a positive number"):
        HeatmapCodec(**SIZES, sigma=sigma)


def test_heatmaps_have_the_proportions_of_the_input() -> None:
    with pytest.raises(
        InputError, match=r"'heatmap_size' in the proportions of 'input_size' \(128, 96\) \(got \(32, 32\)"
    ):
        HeatmapCodec((128, 96), (32, 32))


@pytest.mark.parametrize(
    ("option", "choices"),
    [
        ("decode", DECODERS.names()),
        ("activation", list(ACTIVATIONS)),
        ("target", ["integer", "subpixel"]),
        ("align", ["center", "corner"]),
    ],
)
def test_unknown_options_list_the_choices(option: str, choices: list[str]) -> None:
    with pytest.raises(InputError, match=f"'{option}' to be one of {', '.join(choices)} .got 'none'"):
        HeatmapCodec(**SIZES, **{option: "none"})


def test_shapes_are_checked() -> None:
    codec = HeatmapCodec(**SIZES)
    with pytest.raises(InputError, match=r"'pos' to have shape \[B, K, 2\]"):
        codec.encode(torch.zeros(68, 2))
    with pytest.raises(InputError, match=r"'visibility' to have shape \[B, K\]"):
        codec.encode(torch.zeros(2, 68, 2), torch.ones(68))
    with pytest.raises(
        InputError, match=r"'heatmaps' to have shape \[B, K, h, w\] with h=32, w=24 \(got \[2, 68, 24, 32\]"
    ):
        codec.decode(torch.zeros(2, 68, 24, 32))


def test_repr_shows_the_options() -> None:
    codec = HeatmapCodec((128, 96), (32, 24), sigma=2.0, decode="quarter")
    assert repr(codec) == (
        "HeatmapCodec((128, 96) -> (32, 24), sigma=2.0, decode=quarter, activation=sigmoid, target=integer, "
        "align=center)"
    )

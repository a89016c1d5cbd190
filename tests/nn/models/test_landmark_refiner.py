import copy
import pickle
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lgcn.checks import InputError
from lgcn.graph import sample_features
from lgcn.nn import AdjacencyConnectivity, LandmarkRefiner, LearnableConnectivity, for_inference
from tests.nn.inputs import CONNECTIVITIES, assert_close, build_connectivity, randomize

K, C = 5, 3
SIZE = (32, 48)


def build(**options: Any) -> LandmarkRefiner:
    if isinstance(options.get("connectivity"), str):
        options["connectivity"] = build_connectivity(options["connectivity"], K)
    return LandmarkRefiner(K, C, SIZE, **{"visual_channels": (6, 4), "hidden_channels": (8, 4), **options})


def inputs(images: int = 2, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor, Tensor]:
    """Features of stride 4, positions inside the input, confidences."""
    features = torch.randn(images, C, 8, 12, dtype=dtype)
    pos = torch.rand(images, K, 2, dtype=dtype) * torch.tensor([47, 31])
    return features, pos, torch.rand(images, K, dtype=dtype)


def linear_stack(refiner: LandmarkRefiner) -> nn.Linear:
    """Silences all of a refiner of one layer but W_1, which it returns, full of zeros."""
    (conv,) = refiner.lgcn.convs
    for parameter in conv.parameters():
        nn.init.zeros_(parameter)
    return conv.lin_self


def test_sizes() -> None:
    refiner = LandmarkRefiner(68, 270, (256, 256))
    assert refiner.visual_mlp.channel_list == [270, 128, 64]
    assert [tuple(conv.lin_self.weight.shape) for conv in refiner.lgcn.convs] == [(64, 66), (16, 64), (2, 16)]
    assert "LearnableConnectivity(68)" in str(refiner)
    refiner = build(landmark_channels=7, confidence_feature=True, connectivity="adjacency")
    assert refiner.lgcn.convs[0].in_channels == 2 + 4 + 7 + 1
    features, pos, confidence = inputs(3)
    assert refiner(features, pos, confidence).shape == (3, K, 2)


def test_bad_input() -> None:
    for option, match in (
        ({"output": "relative"}, r"'output' to be one of absolute, offset \(got 'relative'\)"),
        ({"sampling": "cubic"}, r"'sampling' to be one of bilinear, nearest \(got 'cubic'\)"),
        ({"connectivity": 3}, "'connectivity' to be a Connectivity .got 3"),
        ({"connectivity": AdjacencyConnectivity(K + 1)}, "'connectivity' of 5 landmarks .got 6"),
        ({"shape_features": [True]}, "'shape_features' to hold one flag for each of 3 layers .got 1"),
        ({"coordinates": "metres"}, r"'coordinates' to be one of pixel, cell \(got 'metres'\)"),
        ({"visual_channels": ()}, "'visual_channels' to hold the width of at least one layer"),
        ({"visual_norm": "layer_norm"}, "'visual_norm' to be one of batch_norm .got 'layer_norm'"),
        ({"norm": "graph_norm"}, "'norm' to be batch_norm, layer_norm, a module .* .got 'graph_norm'"),
        ({"dropout": 1.0}, r"'dropout' in \[0, 1\) .got 1.0"),
        ({"num_steps": 0}, "'num_steps' to be 1 or more .got 0"),
    ):
        with pytest.raises(InputError, match=match):
            build(**option)
    features, pos, confidence = inputs()
    refiner = build()
    with pytest.raises(InputError, match=r"'pos' to have shape \[B, K, 2\] with K=5 \(got \[2, 4, 2\]\)"):
        refiner(features, pos[:, :4], confidence)
    with pytest.raises(InputError, match=r"'confidence' to have shape \[B, K\] with B=2, K=5 \(got \[2, 4\]\)"):
        refiner(features, pos, confidence[:, :4])
    with pytest.raises(InputError, match=r"'features' .* with B=2, C=3 \(got \[2, 2, 8, 12\]\)"):
        refiner(features[:, :2], pos, confidence)
    with pytest.raises(InputError, match=r"'features' .* with B=2, C=3 \(got \[1, 3, 8, 12\]\)"):
        refiner(features[:1], pos, confidence)
    for name, given in (("features", (None, pos, confidence)), ("pos", (features, pos.numpy(), confidence))):
        with pytest.raises(InputError, match=f"'{name}' to be a tensor .got (NoneType|ndarray)"):
            refiner(*given)
    with pytest.raises(InputError, match="'mask' to hold booleans .*mask > 0"):
        refiner(features, pos, confidence, torch.ones(2, K))


def test_positions_that_are_missing_are_masked() -> None:
    features, pos, confidence = inputs()
    pos[0, 1] = torch.nan
    with pytest.raises(InputError, match="'pos' to be finite .*Mask or drop what is missing"):
        build()(features, pos, confidence)
    mask = torch.ones(2, K, dtype=torch.bool)
    mask[0, 1] = False
    assert build()(features, pos, confidence, mask)[mask].isfinite().all()


def test_node_features_are_equation_2() -> None:
    features, pos, confidence = inputs()
    refiner = build(landmark_channels=2, confidence_feature=True)
    x, p = refiner.node_features(features, pos, confidence)
    assert_close(p, (pos + 0.5) / torch.tensor([48.0, 32.0]))
    assert_close(x[..., :2], p)
    assert_close(x[..., 2:6], refiner.visual_mlp(sample_features(features, pos, SIZE)))
    assert_close(x[1, :, 6:8], refiner.landmark_embedding.weight)
    assert_close(x[..., 8], confidence)


def test_absolute_output_is_in_pixels_of_the_input() -> None:
    features, pos, confidence = inputs()
    refiner = build(hidden_channels=(), shape_features=False)
    layer = linear_stack(refiner)
    with torch.no_grad():
        layer.bias.copy_(torch.tensor([0.25, 0.5]))
    assert_close(refiner(features, pos, confidence), torch.tensor([11.5, 15.5]).expand(2, K, 2))
    with torch.no_grad():
        layer.bias.zero_()
        layer.weight[0, 0] = layer.weight[1, 1] = 1  # h' = p
    assert_close(refiner(features, pos, confidence), pos)


def test_offset_is_a_fraction_of_the_input() -> None:
    features, pos, confidence = inputs()
    refiner = build(hidden_channels=(), output="offset")
    with torch.no_grad():
        linear_stack(refiner).bias.copy_(torch.tensor([0.25, -0.5]))
    assert_close(refiner(features, pos, confidence), pos + torch.tensor([12.0, -16.0]))


@pytest.mark.parametrize("connectivity", CONNECTIVITIES)
def test_offset_starts_as_identity_and_learns(connectivity: str) -> None:
    features, pos, confidence = inputs()
    refiner = build(output="offset", connectivity=connectivity)
    assert torch.equal(refiner(features, pos, confidence), pos)
    optimizer = torch.optim.SGD(refiner.parameters(), lr=1e-5)
    losses = []
    for _ in range(6):
        loss = (refiner(features, pos, confidence) - pos - 3).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    for name, parameter in refiner.named_parameters():
        assert name.endswith("edge_mlp.lins.1.bias") or parameter.grad.abs().max() > 0, name


def test_gradients_reach_all_inputs_and_the_connectivity() -> None:
    tensors = [tensor.requires_grad_() for tensor in inputs(dtype=torch.float64)]
    refiner = randomize(build()).double()
    refiner(*tensors).square().sum().backward()
    assert all(tensor.grad.abs().max() > 0 for tensor in tensors)
    assert all(parameter.grad.abs().max() > 0 for parameter in refiner.lgcn.connectivity.class_mlp.parameters())


def test_gradcheck() -> None:
    features, pos, confidence = (tensor.requires_grad_() for tensor in inputs(1, dtype=torch.float64))
    refiner = randomize(build()).double()
    assert torch.autograd.gradcheck(refiner, (features, pos, confidence), fast_mode=True)


@pytest.mark.parametrize("connectivity", CONNECTIVITIES)
def test_connectivity_is_returned(connectivity: str) -> None:
    features, pos, confidence = inputs()
    refiner = randomize(build(connectivity=connectivity))
    refined, weight = refiner(features, pos, confidence, return_connectivity=True)
    assert torch.equal(refined, refiner(features, pos, confidence))
    assert weight.shape == (2, K, K)
    assert_close(weight.sum(dim=-1), torch.ones(2, K))
    assert weight.diagonal(dim1=1, dim2=2).eq(0).all()


def test_the_given_connectivity_is_not_reset_and_further_steps_have_reset_copies() -> None:
    trained = randomize(LearnableConnectivity(K, edge_hidden_channels=4))
    state = copy.deepcopy(trained.state_dict())
    refiner = build(connectivity=trained, num_steps=3, share_steps=False)
    assert refiner.lgcn.connectivity is trained
    assert all(torch.equal(value, state[key]) for key, value in trained.state_dict().items())
    later = [lgcn.connectivity.state_dict() for lgcn in refiner.later_lgcns]
    for key, value in state.items():
        assert later[0][key].shape == value.shape
        assert not torch.equal(later[0][key], value) and not torch.equal(later[0][key], later[1][key])
    assert isinstance(build().lgcn.connectivity, LearnableConnectivity)


@pytest.mark.parametrize("output", ["absolute", "offset"])
def test_batch_equals_loop(output: str) -> None:
    tensors = inputs(3, torch.float64)
    refiner = randomize(build(output=output, landmark_channels=2)).double()
    loop = [refiner(*(tensor[image : image + 1] for tensor in tensors)) for image in range(3)]
    assert_close(refiner(*tensors), torch.cat(loop))


def test_node_features_contain_the_type_only_through_the_embedding() -> None:
    """Two landmarks that see the same and weigh the same differ by nothing else: DESIGN section 7."""
    features, pos, confidence = inputs(1)
    features, pos = torch.ones_like(features), torch.ones_like(pos)
    same = randomize(build(connectivity="uniform"))(features, pos, confidence)[0]
    assert_close(same, same[:1].expand(K, 2))
    told = randomize(build(connectivity="uniform", landmark_channels=2))(features, pos, confidence)[0]
    assert (told[0] - told[1]).abs().max() > 1e-3


def test_reset_parameters_is_reproducible() -> None:
    refiner = build(output="offset", landmark_channels=2)
    states = []
    for seed in (3, 3, 4):
        randomize(refiner)
        torch.manual_seed(seed)
        refiner.reset_parameters()
        states.append(copy.deepcopy(refiner.state_dict()))
    for key, value in states[0].items():
        assert torch.equal(value, states[1][key])
        if key.startswith("lgcn.convs.2."):
            assert value.eq(0).all()
        else:
            assert not torch.equal(value, states[2][key])


def test_features_of_half_precision_are_read_at_exact_positions() -> None:
    _, pos, _ = inputs()
    ramp = torch.arange(12.0).expand(2, C, 8, 12)
    sampled = sample_features(ramp.bfloat16(), pos, SIZE)
    assert sampled.dtype == torch.bfloat16
    exact = sample_features(ramp, pos, SIZE)
    assert torch.equal(sampled, exact.bfloat16())


@pytest.mark.parametrize("connectivity", CONNECTIVITIES)
def test_autocast_does_not_round_positions(connectivity: str) -> None:
    features, pos, confidence = inputs()
    refiner = build(hidden_channels=(), connectivity=connectivity)
    layer = linear_stack(refiner)
    with torch.no_grad():
        layer.weight[0, 0] = layer.weight[1, 1] = 1  # h' = p
    with torch.autocast("cpu", dtype=torch.bfloat16):
        refined, weight = refiner(features.bfloat16(), pos, confidence.bfloat16(), return_connectivity=True)
    assert refined.dtype == weight.dtype == torch.float32
    assert_close(refined, pos)


def test_steps_start_where_the_one_before_ended() -> None:
    features, pos, confidence = inputs(dtype=torch.float64)
    one = randomize(build(output="offset")).double()
    two = build(output="offset", num_steps=2).double()
    two.load_state_dict(one.state_dict())
    first = one(features, pos, confidence)
    expected = one(features, first, confidence)
    assert (first - pos).abs().max() > 0.01
    refined, weight = two(features, pos, confidence, return_connectivity=True)
    assert_close(refined, expected)
    steps = two.steps(features, pos, confidence)
    assert_close(steps[0][0], first)
    assert_close(weight, two.lgcn.connectivity.dense(confidence))


@pytest.mark.parametrize("output", ["offset", "absolute"])
def test_steps_with_separate_parameters(output: str) -> None:
    features, pos, confidence = inputs()
    refiner = build(output=output, num_steps=3, share_steps=False)
    if output == "offset":
        assert torch.equal(refiner(features, pos, confidence), pos)
    randomize(refiner)
    before = [step[0] for step in refiner.steps(features, pos, confidence)]
    torch.nn.init.zeros_(refiner.later_lgcns[1].convs[-1].lin_self.bias)
    after = [step[0] for step in refiner.steps(features, pos, confidence)]
    assert [torch.equal(a, b) for a, b in zip(before, after, strict=True)] == [True, True, False]
    refiner(features, pos, confidence).square().sum().backward()
    assert all(
        parameter.grad is not None and parameter.grad.abs().max() > 0
        for name, parameter in refiner.named_parameters()
        if not name.endswith("edge_mlp.lins.1.bias")
    )
    states = []
    for _ in range(2):
        torch.manual_seed(0)
        refiner.reset_parameters()
        states.append(copy.deepcopy(refiner.state_dict()))
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


@pytest.mark.parametrize("steps", [1, 2])
def test_missing_landmarks_are_not_read_and_stay(steps: int) -> None:
    features, pos, confidence = inputs(dtype=torch.float64)
    refiner = randomize(build(output="offset", num_steps=steps, confidence_feature=True)).double()
    mask = torch.tensor([[True, True, False, True, True], [False, True, True, True, True]])
    expected = refiner(features, pos, confidence, mask)
    assert torch.equal(expected[~mask], pos[~mask])
    assert (expected - pos)[mask].abs().min() > 0
    hole = ~mask.unsqueeze(-1)
    refined = refiner(
        features, pos.masked_fill(hole, torch.nan), confidence.masked_fill(~mask, torch.nan).requires_grad_(), mask
    )
    assert_close(refined[mask], expected[mask])
    refined[mask].sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in refiner.parameters())


@pytest.mark.parametrize("connectivity", CONNECTIVITIES)
def test_statistics_in_training_are_of_the_landmarks_that_are_there(connectivity: str) -> None:
    features, pos, confidence = inputs(3, torch.float64)
    refiner = randomize(build(visual_norm="batch_norm", norm="batch_norm", connectivity=connectivity)).double().train()
    refiner.visual_mlp.norms[0].module.momentum = 1.0
    mask = torch.rand(3, K) < 0.6
    mask[0] = torch.arange(K) != 1
    elsewhere = torch.where(mask.unsqueeze(-1), pos, torch.tensor([30.0, 20.0]))
    for start in (pos, elsewhere, torch.where(mask.unsqueeze(-1), pos, torch.nan)):
        out = refiner(features, start, confidence, mask)
        if start is pos:
            expected = out
        assert_close(out[mask], expected[mask])
    # What the norm sees: hidden units of the landmarks that are there, and of no other.
    (hidden, _), (norm,) = refiner.visual_mlp.lins, refiner.visual_mlp.norms
    seen = hidden(sample_features(features, pos, SIZE)[mask]).relu()
    assert_close(norm.module.running_mean, seen.mean(dim=0))
    assert_close(norm.module.running_var, seen.var(dim=0))
    refiner(features, pos, confidence)
    assert_close(norm.module.running_mean, hidden(sample_features(features, pos, SIZE)).relu().mean(dim=(0, 1)))


def test_coordinates_of_cells() -> None:
    features, _, confidence = inputs()
    cells = torch.tensor([[[0, 0], [11, 7], [3, 2], [5, 5], [1, 6]]]).expand(2, -1, -1)
    refiner = build(coordinates="cell")
    _, p = refiner.node_features(features, cells * 4 + 1.5, confidence)
    assert_close(p, cells / torch.tensor([12, 8]))
    refiner = build(coordinates="cell", hidden_channels=())
    layer = linear_stack(refiner)
    with torch.no_grad():
        layer.weight[:, :2] = torch.eye(2)
    assert_close(refiner(features, cells * 4 + 1.5, confidence), cells * 4.0)


@pytest.mark.parametrize("options", [{}, {"num_steps": 2, "share_steps": False, "norm": "batch_norm", "dropout": 0.5}])
def test_the_copy_for_inference(options: dict[str, Any]) -> None:
    tensors = inputs()
    refiner = randomize(build(landmark_channels=2, **options)).eval()
    expected, weight = refiner(*tensors, return_connectivity=True)
    inference = for_inference(refiner)
    randomize(refiner)
    for each in (inference, copy.deepcopy(inference), pickle.loads(pickle.dumps(inference))):
        out, edges = each(*tensors, return_connectivity=True)
        assert_close(out, expected)
        assert_close(edges, weight)
        assert not any(parameter.requires_grad for parameter in each.parameters())

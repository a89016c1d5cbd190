import copy
import pickle
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import lgcn
from lgcn.backbones import ModuleBackbone
from lgcn.checks import InputError
from lgcn.models import PRESETS, DetectorConfig, LandmarkDetector, create_detector
from lgcn.typing import HeatmapOutput

Build = Callable[..., LandmarkDetector]
K = 19


@pytest.mark.parametrize("preset", PRESETS.names())
@pytest.mark.parametrize("refiner", ["lgcn", "none"])
def test_shapes_and_ranges(detector: Build, images: Tensor, preset: str, refiner: str) -> None:
    output = detector(preset=preset, refiner={"name": refiner})(images)
    assert output.pos.shape == output.initial.shape == (2, K, 2)
    assert output.heatmaps.shape == (2, K, 8, 12)
    assert output.confidence.shape == (2, K)
    assert preset == "official" or ((output.confidence >= 0) & (output.confidence <= 1)).all()
    assert ((output.initial >= -0.5) & (output.initial <= torch.tensor([47.5, 31.5]))).all()
    assert output.pos.isfinite().all()
    assert output.connectivity is None


def test_initial_landmarks_are_those_of_the_codec(detector: Build, images: Tensor) -> None:
    model = detector()
    output = model(images)
    decoded = model.codec.decode(output.heatmaps)
    assert torch.equal(output.initial, decoded.pos)
    assert torch.equal(output.confidence, decoded.confidence)


def test_without_a_refiner_landmarks_are_the_initial_ones(detector: Build, images: Tensor) -> None:
    output = detector(refiner={"name": "none"})(images, return_connectivity=True)
    assert torch.equal(output.pos, output.initial)
    assert output.connectivity is None


def test_an_offset_starts_at_zero(backbone: Callable[..., ModuleBackbone], images: Tensor) -> None:
    config = replace(PRESETS["default"], scheme="aflw19", input_size=(32, 48))
    output = LandmarkDetector(config, backbone()).eval()(images)
    assert torch.equal(output.pos, output.initial)


def test_connectivity_on_request(detector: Build, images: Tensor) -> None:
    model = detector()
    plain, output = model(images), model(images, return_connectivity=True)
    weights = output.connectivity
    assert weights.shape == (2, K, K)
    torch.testing.assert_close(weights.sum(dim=-1), torch.ones(2, K))
    assert (weights.diagonal(dim1=1, dim2=2) == 0).all()
    assert ((weights > 0) | torch.eye(K, dtype=torch.bool)).all()
    assert torch.equal(plain.pos, output.pos)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.int64])
def test_all_image_types_give_the_same_output(detector: Build, images: Tensor, dtype: torch.dtype) -> None:
    model = detector()
    same = images.to(dtype) / 255 if dtype.is_floating_point else images.to(dtype)
    torch.testing.assert_close(model(same).pos, model(images).pos)
    torch.testing.assert_close(model(same).heatmaps, model(images).heatmaps)


def test_the_backbone_sees_normalised_images(images: Tensor) -> None:
    class Spy(nn.Module):
        def forward(self, given: Tensor) -> Tensor:
            self.given = given
            return given.new_zeros(len(given), K, 8, 12)

    spy = Spy()
    own = ModuleBackbone(spy, K, K, 4, mean=(0.1, 0.2, 0.3), std=(0.5, 1.0, 2.0))
    LandmarkDetector(DetectorConfig(scheme="aflw19", input_size=(32, 48)), own)(images)
    for channel, (mean, std) in enumerate([(0.1, 0.5), (0.2, 1.0), (0.3, 2.0)]):
        torch.testing.assert_close(spy.given[:, channel], (images[:, channel] / 255 - mean) / std)


def test_images_of_a_batch_do_not_mix(detector: Build, images: Tensor) -> None:
    model = detector(preset="default")
    torch.testing.assert_close(model(images).pos[1:], model(images[1:]).pos, atol=1e-4, rtol=1e-4)
    assert model(images[:0]).pos.shape == (0, K, 2)


@pytest.mark.parametrize("preset", PRESETS.names())
def test_gradients_of_refined_positions_reach_the_backbone(detector: Build, images: Tensor, preset: str) -> None:
    model = detector(preset=preset).train()
    model(images).pos.square().mean().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
    # Through the sampled features and, by confidence (and soft-argmax), through the heatmaps.
    assert model.backbone.module.stem[0].weight.grad.abs().max() > 0
    assert model.backbone.module.head.weight.grad.abs().max() > 0


def test_a_hard_decode_has_a_gradient_through_features_and_confidence(detector: Build, images: Tensor) -> None:
    model = detector(preset="paper")
    output = model(images)
    assert not output.initial.requires_grad
    assert output.pos.requires_grad
    assert output.confidence.requires_grad


def test_autocast_leaves_the_graph_in_full_precision(images: Tensor) -> None:
    class Fixed(nn.Module):
        heatmaps, features = torch.randn(2, K, 64, 64), torch.randn(2, 6, 64, 64)

        def forward(self, given: Tensor) -> HeatmapOutput:
            return HeatmapOutput(self.heatmaps, self.features)

    config = DetectorConfig(scheme="aflw19", input_size=(256, 256))
    model = LandmarkDetector(config, ModuleBackbone(Fixed(), K, 6, 4)).eval()
    images = torch.zeros(2, 3, 256, 256)
    expected = model(images).pos
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(model(images).pos, expected)


@pytest.mark.parametrize("preset", PRESETS.names())
def test_it_compiles_without_a_break(detector: Build, images: Tensor, preset: str) -> None:
    model = detector(preset=preset)
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(images).pos, model(images).pos)


def test_copies_and_pickles_are_the_same(detector: Build, images: Tensor) -> None:
    model = detector()
    expected = model(images).pos
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert torch.equal(twin(images).pos, expected)


def test_a_seed_decides_all_parameters() -> None:
    def build() -> dict[str, Tensor]:
        torch.manual_seed(5)
        return create_detector(scheme="aflw19", backbone="test_resnet", input_size=(32, 32)).state_dict()

    first, second = build(), build()
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_a_timm_network_end_to_end() -> None:
    model = create_detector("default", scheme="aflw19", backbone="test_resnet", input_size=(64, 96)).eval()
    assert model(torch.zeros(1, 3, 64, 96, dtype=torch.uint8)).pos.shape == (1, K, 2)
    assert model.codec.heatmap_size == (16, 24)


def test_the_parts_are_those_of_the_config() -> None:
    model = lgcn.create_detector(
        lgcn.DetectorConfig(scheme="aflw19", backbone="test_resnet", input_size=(64, 64)),
        protocol="hrnet",
        codec={"sigma": 2.5},
        refiner={"hidden_channels": [8]},
        backbone_options={"width": 12},
    )
    assert model.scheme.name == "aflw19"
    assert model.protocol.name == "hrnet"
    assert model.codec.sigma == 2.5
    assert model.codec.decode_name == PRESETS["paper"].codec.decode
    assert model.backbone.feature_channels == 12
    assert [conv.out_channels for conv in model.refiner.lgcn.convs] == [8, 2]


def test_wrong_sizes_of_images(detector: Build) -> None:
    with pytest.raises(
        InputError, match=r"'images' to have shape \[B, 3, H, W\] with H=32, W=48 \(got \[1, 3, 48, 32\]"
    ):
        detector()(torch.zeros(1, 3, 48, 32))


TIMM = {"scheme": "aflw19", "backbone": "test_resnet", "input_size": (64, 64)}


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"scheme": "ibug"}, "'scheme' to be one of aflw19, .* ibug68, .*Did you mean 'ibug68'"),
        ({"backbone": "resnet19"}, "'backbone' to be one of hourglass, hrnet_w18, .*resnet18"),
        ({"config": "papers"}, "'preset' to be one of default, official, paper"),
        ({"protocol": "hrnet2"}, "'protocol' to be one of adnet, .* hrnet, .* zero_based"),
        ({"backbon": "resnet18"}, "'option name' to be one of scheme, backbone, .*Did you mean 'backbone'"),
        ({"codec": {"sigm": 1}}, "'codec.key' to be one of sigma, decode, activation, target, align .got 'sigm'"),
        ({"codec": {"input_size": (4, 4)}}, "'codec.key' to be one of sigma, decode, activation, target, align "),
        ({"codec": {"decode": "max"}}, "'decode' to be one of argmax, dark, hrnet, quarter, softargmax"),
        ({"codec": {"sigma": "1"}}, r"'codec.sigma' to be a valid number \(got '1'\)"),
        (
            {"refiner": {"heads": 4}},
            "'refiner.key' to be one of name, visual_channels, visual_norm, .* hidden_channels, connectivity, ",
        ),
        (
            {"refiner": {"connectivity": {"name": "all"}}},
            "'connectivity' to be one of adjacency, learnable, topology, uniform",
        ),
        ({"refiner": {"output": "delta"}}, "'refiner.output' to be 'absolute' or 'offset'"),
        ({"refiner": {"act": "step"}}, "'act' to be an activation of PyTorch's by name, .* .got 'step'"),
        ({"refiner": {"visual_channels": []}}, r"'refiner.visual_channels' to have at least 1 item \(got \[\]\)"),
        (
            {"refiner": {"connectivity": {"learnable": {"hidden": 3}}}},
            "'refiner.connectivity.learnable.key' to be one of class_hidden_channels, .* use_confidence .got 'hidden'",
        ),
        ({"refiner": {"hidden_channels": 4}}, "'refiner.hidden_channels' to be a list "),
        (
            {"backbone_options": {"heads": 4}},
            "'backbone option' to be one of head, pretrained, weights, max_stride, width",
        ),
        ({"input_size": (64, 72)}, r"'input_size' in multiples of 32 \(got \(64, 72\); near: \(64, 64\)\)"),
        ({"input_size": (200, 200)}, r"'input_size' in multiples of 32 \(got \(200, 200\); near: \(192, 192\)\)"),
        ({"input_size": (8, 8)}, r"'input_size' in multiples of 32 \(got \(8, 8\); near: \(32, 32\)\)"),
    ],
)
def test_unknown_names_and_options_list_the_choices(config: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        create_detector(**{**TIMM, **config})


def test_input_sizes_that_the_stride_does_not_divide(backbone: Callable[..., ModuleBackbone]) -> None:
    config = DetectorConfig(scheme="aflw19", input_size=(32, 46))
    with pytest.raises(InputError, match=r"multiples of 4 \(got \(32, 46\); near: \(32, 48\)\)"):
        LandmarkDetector(config, backbone())
    with pytest.raises(InputError, match=r"multiples of 12 \(got \(32, 46\); near: \(36, 48\)\)"):
        LandmarkDetector(config, backbone(size_multiple=6))


def test_a_backbone_of_another_scheme_is_refused(backbone: Callable[..., ModuleBackbone]) -> None:
    with pytest.raises(InputError, match=r"each of the 19 landmarks of 'aflw19' \(got 17\)"):
        LandmarkDetector(DetectorConfig(scheme="aflw19", input_size=(32, 32)), backbone(17))


def test_a_module_without_the_backbone_interface_is_refused() -> None:
    with pytest.raises(InputError, match=r"lgcn\.backbones\.Backbone \(Conv2d has no num_landmarks.*ModuleBackbone"):
        LandmarkDetector(DetectorConfig(), nn.Conv2d(3, 68, 4, 4))


def test_a_backbone_is_not_part_of_a_config(backbone: Callable[..., ModuleBackbone]) -> None:
    with pytest.raises(InputError, match=r"'backbone' to be a name .*LandmarkDetector\(config, backbone=\.\.\.\)"):
        create_detector(backbone=backbone())


def test_landmarks_known_to_be_missing_are_left_out_of_the_graph(detector: Build, images: Tensor) -> None:
    model = detector()
    mask = torch.ones(2, K, dtype=torch.bool)
    mask[0, 3] = False
    output, whole = model(images, mask, return_connectivity=True), model(images)
    assert torch.equal(output.pos[0, 3], output.initial[0, 3])
    assert output.connectivity[0, :, 3].eq(0).all()
    assert torch.allclose(output.pos[1], whole.pos[1], atol=1e-4)
    assert (output.pos[0] - whole.pos[0]).abs().max() > 0


@pytest.mark.parametrize("preset", PRESETS.names())
def test_a_copy_for_inference_gives_the_same_landmarks(detector: Build, images: Tensor, preset: str) -> None:
    model = detector(preset=preset).train()
    copied = model.for_inference()
    assert model.training and not copied.training
    assert all(parameter.requires_grad for parameter in model.parameters())
    mask = torch.rand(2, K) > 0.3
    for arguments in ((images,), (images, mask), (images[:1],)):
        expected = model.eval()(*arguments, return_connectivity=True)
        output = copied(*arguments, return_connectivity=True)
        assert not output.pos.requires_grad
        for name in ("pos", "initial", "confidence", "connectivity"):
            torch.testing.assert_close(getattr(output, name), getattr(expected, name), atol=1e-5, rtol=1e-5)


def test_a_copy_for_inference_without_a_refiner(detector: Build, images: Tensor) -> None:
    model = detector(refiner={"name": "none"})
    assert torch.equal(model.for_inference()(images).pos, model(images).pos)

from dataclasses import asdict, fields
from functools import partial
from inspect import signature
from typing import Any

import pytest
import torch

from lgcn.checks import InputError
from lgcn.losses import COORDINATE_LOSSES, HEATMAP_LOSSES, DetectionLoss
from lgcn.protocols import get_protocol
from lgcn.schemes import get_scheme
from lgcn.training import AugmentationConfig, LossConfig
from lgcn.training.config import LOSS_SECTIONS
from lgcn.transforms import FacePatch, RandomAffineCrop

SECTIONS = {each.name: each.default for each in fields(LossConfig) if isinstance(each.default, LOSS_SECTIONS)}


def options_of(function: Any) -> dict[str, Any]:
    parameters = signature(function).parameters.values()
    return {each.name: each.default for each in parameters if each.default is not each.empty}


@pytest.mark.parametrize("registry", [HEATMAP_LOSSES, COORDINATE_LOSSES], ids=lambda registry: registry.kind)
def test_every_loss_with_options_has_a_section_with_its_names_and_defaults(registry: Any) -> None:
    for name in registry.names():
        options = options_of(registry[name])
        assert (asdict(SECTIONS[name]) if name in SECTIONS else {}) == options, name
    assert set(SECTIONS) <= {*HEATMAP_LOSSES.names(), *COORDINATE_LOSSES.names()}


def test_fields_of_the_loss_are_the_arguments_of_the_module() -> None:
    arguments = options_of(DetectionLoss)
    own = {each.name: each.default for each in fields(LossConfig) if each.name not in SECTIONS}
    assert own == {name: arguments[name] for name in own}
    assert set(arguments) - set(own) == {"heatmap_options", "coordinate_options"}


def test_options_reach_the_loss() -> None:
    plain = LossConfig(coordinate="wing").build()
    config = LossConfig("cross_entropy", coordinate="wing", wing=type(SECTIONS["wing"])(width=5.0, epsilon=1.0))
    difference = torch.tensor([[7.0, 0.5]])
    found = config.build().penalty(difference)
    assert not torch.allclose(found, plain.penalty(difference))
    straight = 7.0 - (5.0 - 5.0 * torch.tensor(6.0).log())
    torch.testing.assert_close(found, torch.stack([straight, 5.0 * torch.tensor(1.5).log()])[None])


def test_options_of_a_loss_that_is_not_chosen_are_refused() -> None:
    with pytest.raises(InputError, match="options of 'wing' only with coordinate='wing' .got coordinate='l1'."):
        LossConfig(wing=type(SECTIONS["wing"])(width=5.0))
    with pytest.raises(InputError, match="options of 'focal' only with heatmap='focal' .got heatmap='mse'."):
        LossConfig("mse", focal=type(SECTIONS["focal"])(alpha=3.0))


def test_unknown_losses_list_the_choices() -> None:
    with pytest.raises(InputError, match="'heatmap loss' to be one of adaptive_wing, cross_entropy, focal, mse"):
        LossConfig("none")
    with pytest.raises(InputError, match="'coordinate loss' to be one of l1, smooth_l1, wing"):
        LossConfig(coordinate="l2")


def test_an_option_out_of_its_range_is_refused_when_the_loss_is_built() -> None:
    with pytest.raises(InputError, match="'width'"):
        LossConfig(coordinate="wing", wing=type(SECTIONS["wing"])(width=-1.0)).build()


def test_augmentation_has_the_names_and_defaults_of_its_transforms() -> None:
    arguments = options_of(RandomAffineCrop)
    for name in ("rotation", "scale", "translation", "flip"):
        assert getattr(AugmentationConfig(), name) == arguments[name]
    arguments = options_of(FacePatch)
    assert AugmentationConfig().occlusion_kinds == arguments["kinds"]
    assert AugmentationConfig().occlusion_shapes == arguments["shapes"]


def test_the_defaults_are_those_of_the_paper() -> None:
    steps = AugmentationConfig().build(get_scheme("ibug68"), (64, 64), get_protocol("zero_based")).transforms
    assert [type(step).__name__ for step in steps] == ["RandomAffineCrop", "ColorJitter"]


def test_degradations_come_in_the_order_in_which_a_camera_degrades() -> None:
    config = AugmentationConfig(
        occlusion=0.6,
        occlusion_kinds=("noise", "texture"),
        occlusion_shapes=("ellipse",),
        blur=0.1,
        darkness=0.2,
        darkness_light=(0.2, 0.3),
        jpeg=0.3,
    )
    texture = torch.zeros(3, 8, 8, dtype=torch.uint8)
    build = partial(config.build, get_scheme("ibug68"), (64, 64), get_protocol("zero_based"))
    patch, *rest = build(textures=[texture]).transforms[2:]
    assert (patch.probability, patch.low, patch.high) == (0.6, 0.0, 0.5)
    assert (patch.kinds, patch.shapes, patch.textures) == (("noise", "texture"), ("ellipse",), [texture])
    assert [str(step) for step in rest] == [
        "GaussianBlur(0, 4, probability=0.1)",
        "Darkness(0.2, 0.3, probability=0.2)",
        "JPEGCompression(10, 50, probability=0.3)",
    ]
    with pytest.raises(InputError, match="'textures'"):
        build()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"occlusion_kinds": ("hand",)}, "occlusion_kinds.0' to be 'noise', 'color', 'texture' or 'copy'"),
        ({"occlusion_shapes": ()}, "occlusion_shapes' to "),
        ({"jpeg_quality": (0, 50)}, "jpeg_quality.0' to be greater than or equal to 1"),
    ],
)
def test_bad_augmentation(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        AugmentationConfig(**options)


@pytest.mark.parametrize("config", [LossConfig, AugmentationConfig, *map(type, SECTIONS.values())])
def test_every_field_has_a_line_of_help(config: type) -> None:
    """``lgcn fit --help`` takes it from the docstring."""
    lines = [line.strip() for line in (config.__doc__ or "").splitlines()]
    for each in fields(config):
        assert any(line.startswith(f"{each.name}: ") for line in lines), each.name

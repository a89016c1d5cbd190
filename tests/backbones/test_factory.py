from collections.abc import Iterator

import pytest
from torch import nn

from lgcn.backbones import BACKBONES, ModuleBackbone, TimmBackbone, create_backbone
from lgcn.checks import InputError


@pytest.fixture
def mine() -> Iterator[str]:
    @BACKBONES.register("mine")
    def build(num_landmarks: int, depth: int = 1) -> ModuleBackbone:
        layers = [nn.Conv2d(3, 3, 3, padding=1) for _ in range(depth)]
        return ModuleBackbone(
            nn.Sequential(*layers, nn.Conv2d(3, num_landmarks, 4, 4)), num_landmarks, num_landmarks, 4
        )

    yield "mine"
    del BACKBONES._things["mine"]


def test_any_timm_network_by_its_name() -> None:
    assert "test_resnet" not in BACKBONES
    backbone = create_backbone("test_resnet", 7, head="pyramid", width=16)
    assert isinstance(backbone, TimmBackbone)
    assert (backbone.num_landmarks, backbone.feature_channels) == (7, 16)


def test_a_custom_backbone_can_be_registered(mine: str) -> None:
    backbone = create_backbone(mine, 7, depth=2)
    assert backbone.num_landmarks == 7
    assert len(backbone.module) == 3


def test_the_networks_of_the_paper_and_of_small_machines_are_registered() -> None:
    assert {"hrnet_w18", "tf_efficientnet_lite0", "resnet18"} <= set(BACKBONES.names())


def test_unknown_names_list_the_choices_and_the_nearest() -> None:
    with pytest.raises(InputError) as error:
        create_backbone("hrnet_w19", 7)
    for word in (
        "'backbone'",
        *BACKBONES.names(),
        "or any timm network",
        "(got 'hrnet_w19')",
        "Did you mean hrnet_w18",
    ):
        assert word in str(error.value)


def test_names_without_a_near_match() -> None:
    with pytest.raises(InputError, match=r"resnet18.*\(got 'zzzzzzzzzzzzz'\)\. If it is your own, "):
        create_backbone("zzzzzzzzzzzzz", 7)


def test_unknown_options_list_the_choices(mine: str) -> None:
    with pytest.raises(InputError, match="'backbone option' to be one of depth .got 'dept'.*Did you mean 'depth'"):
        create_backbone(mine, 7, dept=2)
    with pytest.raises(
        InputError, match="'backbone option' to be one of head, pretrained, weights, max_stride, width .got 'wide'"
    ):
        create_backbone("test_resnet", 7, wide=2)


def test_values_that_do_not_suit(mine: str) -> None:
    with pytest.raises(InputError, match="options of backbone 'mine' .got {'depth': 'two'}"):
        create_backbone(mine, 7, depth="two")


def test_a_module_is_refused_as_a_name() -> None:
    with pytest.raises(InputError, match=r"'backbone' to be a name \(got Conv2d\).*LandmarkDetector\(config, backbone"):
        create_backbone(nn.Conv2d(3, 3, 1), 7)

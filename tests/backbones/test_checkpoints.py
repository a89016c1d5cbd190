import copy
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from lgcn.backbones import (
    TimmBackbone,
    convert_hrnet_state_dict,
    create_backbone,
    load_hrnet_checkpoint,
    read_weights,
)
from lgcn.checks import InputError, InputFileError
from lgcn.models import create_detector
from lgcn.testing.backbones import calibrate
from tests.backbones.public_hrnet import PublicHRNet

State = dict[str, Tensor]


@pytest.fixture(scope="module")
def public() -> PublicHRNet:
    """A public facial network for WFLW with values of a trained one's size."""
    torch.manual_seed(0)
    network = PublicHRNet(98)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.0)
            nn.init.normal_(module.bias, std=0.2)
    return calibrate(network, torch.randn(2, 3, 64, 64))


@pytest.fixture(scope="module")
def state(public: PublicHRNet) -> State:
    return public.state_dict()


@pytest.fixture(scope="module")
def backbone() -> TimmBackbone:
    return TimmBackbone("hrnet_w18", 98).eval()


def assert_same_outputs(backbone: TimmBackbone, public: PublicHRNet) -> None:
    images = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        for ours, theirs in zip(backbone.eval()(images), public(images), strict=True):
            assert theirs.std() > 0.1
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def prefixed(state: State, prefix: str) -> State:
    return {prefix + name: value for name, value in state.items()}


def as_mmpose_0(state: State) -> State:
    return {
        name.replace("head.", "keypoint_head.final_layer.", 1)
        if name.startswith("head.")
        else f"backbone.{name}": value
        for name, value in state.items()
    }


def as_mmpose_1(state: State) -> State:
    def rename(name: str) -> str:
        if name.startswith("head.3."):
            return name.replace("head.3.", "head.final_layer.")
        return name.replace("head.", "head.conv_layers.") if name.startswith("head.") else f"backbone.{name}"

    return {rename(name): value for name, value in state.items()}


def as_released(state: State) -> State:
    graph = {"gcn_model.edges.0.weight": torch.zeros(4, 3), "gcn_model.gcn_layers.0.w1": torch.zeros(10, 64)}
    return {**prefixed(state, "hm_model."), **graph}


def of_head(state: State, num_landmarks: int) -> State:
    """The head of ``state`` for the first of its landmarks."""
    head = {name: each for name, each in state.items() if name.startswith("head.")}
    return {name: each[:num_landmarks].clone() if name.startswith("head.3.") else each for name, each in head.items()}


SCHEMES = {98: "wflw98", 68: "ibug68", 29: "cofw29", 19: "aflw19"}
"""Landmarks of the public facial networks -> their scheme."""

LAYOUTS: dict[str, Callable[[State], State]] = {
    "public": dict,
    "data_parallel": lambda state: prefixed(state, "module."),
    "mmpose_0": as_mmpose_0,
    "mmpose_1": as_mmpose_1,
    "released": as_released,
    "released_data_parallel": lambda state: prefixed(as_released(state), "module."),
    "released_inner_data_parallel": lambda state: as_released(prefixed(state, "module.")),
    "own": convert_hrnet_state_dict,
}


def test_the_public_network_has_the_entries_of_ours(public: PublicHRNet, state: State, backbone: TimmBackbone) -> None:
    assert len(state) == 1839
    assert sum(parameter.numel() for parameter in public.parameters()) == 9_662_528
    converted, own = convert_hrnet_state_dict(state), backbone.state_dict()
    assert converted.keys() == own.keys()
    assert all(converted[name].shape == own[name].shape for name in own)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_gives_the_outputs_of_the_public_network(
    layout: str, public: PublicHRNet, state: State, backbone: TimmBackbone
) -> None:
    theirs = LAYOUTS[layout](state)
    nn.init.zeros_(backbone.head.head[3].weight)
    backbone.load_state_dict(convert_hrnet_state_dict(theirs))
    assert_same_outputs(backbone, public)


def test_fused_branches_are_upsampled_as_in_the_public_network(public: PublicHRNet, state: State) -> None:
    nearest = TimmBackbone("hrnet_w18", 98, weights=state, upsampling="nearest").eval()
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert (nearest(images).heatmaps - public(images)[0]).abs().max() > 0.1
    with pytest.raises(InputError, match="'upsampling' to be one of bilinear, nearest .got 'cubic'"):
        TimmBackbone("hrnet_w18", 98, upsampling="cubic")


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("num_landmarks", SCHEMES)
def test_every_file_is_read(num_landmarks: int, layout: str, nested: bool, state: State, tmp_path: Path) -> None:
    # All names of each layout are held to the network above; a few tell the files apart.
    part = {name: each for name, each in state.items() if name.startswith(("conv1.", "bn1.", "stage2.0.branches.0.0."))}
    part |= of_head(state, num_landmarks)
    theirs = LAYOUTS[layout](part)
    torch.save({"state_dict": theirs, "epoch": 60} if nested else theirs, path := tmp_path / "HR18.pth")
    loaded, expected = load_hrnet_checkpoint(path, num_landmarks), convert_hrnet_state_dict(part)
    assert loaded.keys() == expected.keys()
    assert all(torch.equal(loaded[name], value) for name, value in expected.items())
    assert loaded["head.head.3.weight"].shape[0] == num_landmarks
    with pytest.raises(InputFileError, match=f"network of {num_landmarks + 1} landmarks"):
        load_hrnet_checkpoint(path, num_landmarks + 1)


@pytest.mark.parametrize(
    ("num_landmarks", "layout", "nested"),
    [
        (98, "public", False),
        (98, "public", True),
        (68, "data_parallel", True),
        (29, "mmpose_1", True),
        (19, "mmpose_0", False),
    ],
)
def test_a_detector_starts_from_a_file(
    num_landmarks: int, layout: str, nested: bool, public: PublicHRNet, state: State, tmp_path: Path
) -> None:
    other = copy.deepcopy(public)
    other.head[3] = nn.Conv2d(public.head[3].in_channels, num_landmarks, 1)
    other.load_state_dict({**state, **of_head(state, num_landmarks)})
    theirs = LAYOUTS[layout](other.state_dict())
    torch.save({"state_dict": theirs, "epoch": 60} if nested else theirs, path := tmp_path / "HR18.pth")
    detector = create_detector(
        scheme=SCHEMES[num_landmarks], backbone="hrnet_w18", input_size=(64, 64), backbone_weights=str(path)
    )
    assert_same_outputs(detector.backbone, other)


def test_a_converted_file_is_a_safetensors_file_in_the_native_layout(
    public: PublicHRNet, state: State, tmp_path: Path
) -> None:
    torch.save(as_mmpose_0(state), path := tmp_path / "theirs.pth")
    save_file(load_hrnet_checkpoint(path, 98), ours := tmp_path / "ours.safetensors")
    assert_same_outputs(create_backbone("hrnet_w18", 98, weights=ours), public)


def test_without_a_head_only_the_branches_are_loaded(state: State) -> None:
    branches = {name: value for name, value in state.items() if not name.startswith("head.")}
    assert len(branches) == 1830
    imagenet = {
        **branches,
        "incre_modules.0.0.conv1.weight": torch.zeros(1),
        "downsamp_modules.0.0.weight": torch.zeros(1),
        "final_layer.0.weight": torch.zeros(1),
        "classifier.weight": torch.zeros(1),
    }
    torch.manual_seed(0)
    loaded = TimmBackbone("hrnet_w18", 5, weights=imagenet)
    assert torch.equal(
        loaded.net.state_dict()["stage4.2.fuse_layers.3.2.0.0.weight"], state["stage4.2.fuse_layers.3.2.0.0.weight"]
    )
    assert loaded.head.head[3].weight.shape[0] == 5


def test_batches_need_not_be_counted(state: State) -> None:
    old = {name: value for name, value in state.items() if not name.endswith("num_batches_tracked")}
    assert len(old) < 1839
    loaded = TimmBackbone("hrnet_w18", 98, weights=old).state_dict()
    assert all(torch.equal(loaded[name], value) for name, value in convert_hrnet_state_dict(old).items())


def test_another_number_of_landmarks_is_refused(state: State, tmp_path: Path) -> None:
    message = "network of 68 landmarks in .* .got 98.. Choose the scheme"
    with pytest.raises(InputFileError, match=message):
        TimmBackbone("hrnet_w18", 68, weights=as_mmpose_1(state))
    torch.save(state, path := tmp_path / "HR18-WFLW.pth")
    with pytest.raises(InputFileError, match=r"landmarks in .*HR18-WFLW\.pth"):
        load_hrnet_checkpoint(path, 68)
    assert load_hrnet_checkpoint(path, 98).keys() == load_hrnet_checkpoint(path).keys()


def test_missing_unknown_and_misshapen_entries_are_listed_briefly(state: State) -> None:
    wrong = {name: value for name, value in state.items() if "stage3.1.branches" not in name}
    wrong["stage3.9.surprise"] = torch.zeros(1)
    wrong["conv1.weight"] = torch.zeros(64, 1, 3, 3)
    expected = (
        r"timm's 'hrnet_w18' \(120 missing, such as 'net\.stage3\.1\.branches\.0\.0\.conv1\.weight'; "
        r"1 unknown, such as 'net\.stage3\.9\.surprise'; 1 of another shape, such as 'net\.conv1\.weight'\)"
    )
    with pytest.raises(InputFileError, match=expected) as raised:
        TimmBackbone("hrnet_w18", 98, weights=wrong)
    assert "\n" not in str(raised.value)


def test_a_network_of_another_width_is_refused(state: State) -> None:
    with pytest.raises(InputFileError, match=r"weights of timm's 'hrnet_w32' .*of another shape"):
        TimmBackbone("hrnet_w32", 98, weights=state)


@pytest.mark.parametrize(
    "head",
    [
        {"head.final_layer.weight": torch.zeros(98, 18, 1, 1), "head.final_layer.bias": torch.zeros(98)},
        {"keypoint_head.final_layer.weight": torch.zeros(98, 18, 1, 1)},
        {"head.deconv_layers.0.weight": torch.zeros(1), "head.final_layer.weight": torch.zeros(1)},
    ],
    ids=["mmpose_1", "mmpose_0", "deconvolutions"],
)
def test_heads_of_other_kinds_are_refused(head: State, state: State) -> None:
    branches = {f"backbone.{name}": value for name, value in state.items() if not name.startswith("head.")}
    with pytest.raises(InputError, match=f"two convolutions with BatchNorm .*got {next(iter(head))}.*branches alone"):
        convert_hrnet_state_dict({**branches, **head})
    assert len(convert_hrnet_state_dict(branches)) == 1830


@pytest.mark.parametrize("held", [{"layer1.0.conv1.weight": torch.zeros(1)}, {}])
def test_other_networks_are_refused(held: State, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="state of an HRNet, with entries of its 'stage2'"):
        convert_hrnet_state_dict(held)
    torch.save(held or {"other": torch.zeros(1)}, path := tmp_path / "resnet.pth")
    for load in (load_hrnet_checkpoint, lambda file: TimmBackbone("hrnet_w18", 98, weights=file)):
        with pytest.raises(InputFileError, match=r"resnet\.pth: .*state of an HRNet.*1 entries, such as"):
            load(path)


@pytest.mark.parametrize("nested", [False, True])
def test_a_pickled_network_is_read_only_on_request(
    nested: bool, public: PublicHRNet, state: State, tmp_path: Path
) -> None:
    whole = nn.DataParallel(public)
    torch.save({"state_dict": whole, "epoch": 60} if nested else whole, path := tmp_path / "model_best.pth")
    with pytest.raises(InputFileError, match=r"model_best\.pth cannot be read, or holds more.*weights_only=False"):
        TimmBackbone("hrnet_w18", 98, weights=path)
    loaded = load_hrnet_checkpoint(path, 98, weights_only=False)
    expected = convert_hrnet_state_dict(state)
    assert loaded.keys() == expected.keys()
    assert all(torch.equal(loaded[name], value) for name, value in expected.items())


def test_a_pickled_network_whose_code_is_gone_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "their_code.py").write_text("from torch import nn\nclass Net(nn.Linear): pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    import their_code

    torch.save(their_code.Net(2, 2), path := tmp_path / "model_best.pth")
    (tmp_path / "their_code.py").unlink()
    monkeypatch.delitem(sys.modules, "their_code")
    with pytest.raises(InputFileError, match=r"classes of the modules pickled in .*their_code.*can be imported"):
        read_weights(path, weights_only=False)


@pytest.mark.parametrize(
    "held", [{}, [1, 2], torch.zeros(3), {"state_dict": {"a": 1}}, {"state_dict": None}, {"epoch": 3}]
)
def test_files_without_a_state_dict_are_refused(held: object, tmp_path: Path) -> None:
    torch.save(held, path := tmp_path / "other.pth")
    with pytest.raises(InputFileError, match=r"other\.pth to hold a state dict"):
        read_weights(path)


@pytest.mark.parametrize("content", [b"", b"not at all", b"PK\x03\x04 and so on", b"\x80\x02}q\x00."])
@pytest.mark.parametrize("weights_only", [True, False])
def test_invalid_files_are_refused(content: bytes, weights_only: bool, tmp_path: Path) -> None:
    (path := tmp_path / "broken.pth").write_bytes(content)
    with pytest.raises(InputFileError, match=r"broken\.pth") as raised:
        read_weights(path, weights_only)
    assert "\n" not in str(raised.value)
    assert ("weights_only=False" in str(raised.value)) == weights_only

from functools import partial
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from lgcn.backbones import Backbone, TimmBackbone
from lgcn.backbones.timm import ConcatHead, DeconvolutionHead, PyramidHead
from lgcn.checks import InputError, InputFileError
from lgcn.testing import BackboneTester
from lgcn.testing.backbones import calibrate

TINY = "test_resnet"


class TestHRNetW18(BackboneTester):
    """The paper's network."""

    num_landmarks = 68

    def build(self) -> Backbone:
        return TimmBackbone("hrnet_w18", 68)

    @pytest.mark.slow
    def test_compile(self) -> None:
        super().test_compile()

    @pytest.mark.slow
    def test_export(self) -> None:
        super().test_export()

    def test_it_is_the_network_of_the_paper(self) -> None:
        backbone = self.backbone
        assert sum(parameter.numel() for parameter in backbone.parameters()) == 9_654_398
        assert isinstance(backbone.head, ConcatHead)
        with torch.inference_mode():
            heatmaps, features = backbone(torch.randn(1, 3, 256, 256))
        assert heatmaps.shape == (1, 68, 64, 64)
        assert features.shape == (1, 270, 64, 64)

    def test_its_features_start_with_the_finest_branch(self) -> None:
        backbone = self.backbone
        images = self.images(1)
        with torch.inference_mode():
            branches = [branch for branch in backbone.net(images) if branch.shape[1] != 64]
            assert [branch.shape[1] for branch in branches] == [18, 36, 72, 144]
            assert torch.equal(backbone(images).features[:, :18], branches[0])


class TestEfficientNetLite0(BackboneTester):
    def build(self) -> Backbone:
        return TimmBackbone("tf_efficientnet_lite0", 5)

    def test_its_own_normalisation(self) -> None:
        backbone = self.backbone
        assert backbone.mean == backbone.std == (0.5, 0.5, 0.5)


class TestEfficientNetLite0UpToStride16(BackboneTester):
    def build(self) -> Backbone:
        return TimmBackbone("tf_efficientnet_lite0", 5, max_stride=16)

    @pytest.mark.slow
    def test_compile(self) -> None:
        super().test_compile()

    def test_it_is_the_first_part_of_the_network(self) -> None:
        whole = TimmBackbone("tf_efficientnet_lite0", 5).eval()
        images = torch.randn(1, 3, 64, 64)
        part = self.backbone.eval()
        of_net = {name.removeprefix("net."): value for name, value in whole.state_dict().items() if name[:4] == "net."}
        part.net.load_state_dict({name: of_net[name] for name in part.net.state_dict()})
        with torch.inference_mode():
            maps, expected = part.net(images), whole.net(images)
        assert [len(maps), part.size_multiple] == [4, 16]  # the first has stride 2
        assert all(torch.equal(*pair) for pair in zip(maps, expected[:4], strict=True))
        num_parameters = [sum(parameter.numel() for parameter in each.net.parameters()) for each in (part, whole)]
        assert num_parameters[0] < num_parameters[1] / 3


class TestResNet18(BackboneTester):
    def build(self) -> Backbone:
        return TimmBackbone("resnet18", 5, width=32)


class TestConcatOnAnyNetwork(BackboneTester):
    def build(self) -> Backbone:
        return TimmBackbone(TINY, 5, head="concat")


@pytest.mark.skipif(not timm.is_model("test_mambaout"), reason="this timm has no small network with channels last")
class TestChannelsLast(BackboneTester):
    """timm hands on the maps of some networks as [B, h, w, C]."""

    def build(self) -> Backbone:
        return TimmBackbone("test_mambaout", 5, width=16)


def test_heads_by_default() -> None:
    assert isinstance(TimmBackbone(TINY, 5).head, PyramidHead)
    assert isinstance(TimmBackbone(TINY, 5, head="concat").head, ConcatHead)


def test_a_coarse_map_lies_over_the_fine_one() -> None:
    """Both heads read a ramp, given as four maps of strides 4 to 32, at the same places in all of them."""

    def ramp(stride: int) -> torch.Tensor:
        centres = (torch.arange(64 / stride) + 0.5) * stride - 0.5
        return centres.expand(1, 1, len(centres), -1)

    features = ConcatHead([1, 1, 1, 1], 5)([ramp(stride) for stride in (4, 8, 16, 32)]).features[0]
    inner = slice(4, 12)  # beyond the outermost centres a map can only repeat itself
    for upsampled in features[1:]:
        torch.testing.assert_close(upsampled[:, inner], features[0][:, inner])


@pytest.mark.parametrize("name", [TINY, "test_mambaout"])
def test_maps_lie_over_the_whole_input(name: str) -> None:
    if not timm.is_model(name):
        pytest.skip(f"this timm has no '{name}'")
    backbone = calibrate(TimmBackbone(name, 5), torch.randn(2, 3, 192, 192))
    images = torch.randn(1, 3, 192, 192).repeat(5, 1, 1, 1)
    for quarter in range(4):
        row, column = divmod(quarter, 2)
        images[quarter, :, row * 96 : row * 96 + 96, column * 96 : column * 96 + 96] = torch.randn(3, 96, 96)
    with torch.inference_mode():
        for maps in backbone(images):
            # What changes in a quarter of the image is seen in that quarter of the maps.
            difference = (maps[:4] - maps[4:]).abs().sum(dim=1)
            seen = nn.functional.adaptive_avg_pool2d(difference, 2).flatten(1)
            assert seen.argmax(dim=1).tolist() == [0, 1, 2, 3]


def test_unknown_heads_list_the_choices() -> None:
    with pytest.raises(InputError, match="'head' to be one of concat, deconvolution, pyramid .got 'hourglass'"):
        TimmBackbone(TINY, 5, head="hourglass")


@pytest.mark.parametrize(("head", "choices"), [("concat", "max_stride"), ("pyramid", "max_stride, width")])
def test_unknown_options_list_the_choices(head: str, choices: str) -> None:
    with pytest.raises(
        InputError, match=f"'backbone option' to be one of head, pretrained, weights, {choices} .got 'depth'"
    ):
        TimmBackbone(TINY, 5, head=head, depth=3)


@pytest.mark.parametrize("upsampling", ["bilinear", "nearest"])
def test_upsampling_is_an_option_of_hrnets_alone(upsampling: str) -> None:
    with pytest.raises(
        InputError, match="'backbone option' to be one of head, pretrained, weights, max_stride, width .got 'upsam"
    ):
        TimmBackbone(TINY, 5, upsampling=upsampling)


class TestVisionTransformer(BackboneTester):
    """One map of stride 16, and the head of ViTPose."""

    def build(self) -> Backbone:
        return TimmBackbone("test_vit", 5, width=16)

    def test_its_head(self) -> None:
        assert isinstance(self.backbone.head, DeconvolutionHead)
        assert (self.backbone.size_multiple, self.backbone.feature_channels) == (16, 16)


class TestDeconvolutionOnAConvolutionalNetwork(BackboneTester):
    def build(self) -> Backbone:
        return TimmBackbone(TINY, 5, head="deconvolution", width=16)


def test_networks_that_do_not_fit_are_refused() -> None:
    with pytest.raises(InputError, match=r"maps of strides 4, 8, 16, 32 for the head 'pyramid' \(got \[16, 16, 16\]\)"):
        TimmBackbone("test_vit", 5, head="pyramid")
    with torch.device("meta"):
        with pytest.raises(InputError, match=r"coarsest map of stride 8, 16 or 32 \(got 14\)"):
            TimmBackbone("vit_small_patch14_dinov2", 5)
        with pytest.raises(InputError, match="'beit_base_patch16_224' to take images of any size"):
            TimmBackbone("beit_base_patch16_224", 5)


class TestWeights:
    build = staticmethod(partial(TimmBackbone, TINY, 5))

    @pytest.fixture
    def state(self) -> dict[str, torch.Tensor]:
        return self.build().net.state_dict()

    def test_they_are_loaded_and_a_classifier_is_left_out(self, state: dict[str, torch.Tensor], tmp_path: Path) -> None:
        save_file({**state, "fc.weight": torch.zeros(10, 3)}, path := tmp_path / "weights.safetensors")
        for source in (path, str(path)):
            loaded = self.build(weights=source).net.state_dict()
            assert all(torch.equal(loaded[key], value) for key, value in state.items())

    def test_a_file_of_the_imagenet_layout_fits(self, shared: Path) -> None:
        path = shared / "weights" / "tf_efficientnet_lite0_imagenet.safetensors"
        loaded = TimmBackbone("tf_efficientnet_lite0", 5, weights=path).net.state_dict()
        on_disk = load_file(path)
        common = loaded.keys() & on_disk.keys()
        assert len(common) > 200
        assert all(torch.equal(loaded[key], on_disk[key]) for key in common)

    def test_weights_of_another_network_are_refused(self, state: dict[str, torch.Tensor], tmp_path: Path) -> None:
        path = tmp_path / "weights.safetensors"
        key = next(iter(state))
        lacking = {name: value for name, value in state.items() if name != key}
        for wrong, how in (
            (lacking, f"1 missing, such as 'net.{key}'"),
            ({**state, key: state[key][1:].contiguous()}, f"1 of another shape, such as 'net.{key}'"),
            ({"other": torch.zeros(1)}, rf"\d+ missing, such as 'net.{key}'"),
        ):
            save_file(wrong, path)
            with pytest.raises(
                InputFileError, match=rf"weights\.safetensors to hold weights of timm's '{TINY}' \({how}\)"
            ):
                self.build(weights=path)

    def test_invalid_files_are_refused(self, tmp_path: Path) -> None:
        (path := tmp_path / "weights.safetensors").write_bytes(b"not at all")
        with pytest.raises(InputFileError, match=r"to be a \.safetensors file .*weights\.safetensors"):
            self.build(weights=path)
        with pytest.raises(InputFileError, match=r"'weights' to be a file of weights.* \(no file .*nothing"):
            self.build(weights=tmp_path / "nothing")

    def test_pretrained_weights_without_a_network_are_an_error(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def offline(*args: object, **options: object) -> None:
            raise OSError("no connection")

        monkeypatch.setattr(timm, "create_model", offline)
        with pytest.raises(InputFileError, match="ImageNet weights .*no connection.*give a file of them as 'weights'"):
            self.build(pretrained=True)

import pickle
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lgcn.adapters import HookedBackbone, load_network
from lgcn.checks import InputError, InputFileError
from lgcn.models import LandmarkDetector
from lgcn.models.presets import PRESETS

K = 19


class Network(nn.Module):
    """Returns logits in a dict, as many do; its features are inside."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 5, 4, stride=4), nn.BatchNorm2d(5), nn.ReLU())
        self.head = nn.Conv2d(5, K, 1)
        self.unused = nn.Conv2d(5, 2, 1)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        return {"heatmaps": self.head(self.body(images))}


def test_layers_are_read_by_name_and_measured() -> None:
    network = Network()
    backbone = HookedBackbone(network, K, (32, 64), features="body.2")
    assert (backbone.stride, backbone.feature_channels) == (4, 5)
    images = torch.rand(2, 3, 32, 64)
    network.eval()
    heatmaps, features = backbone(images)
    assert torch.equal(heatmaps, network.head(network.body(images)))
    assert torch.equal(features, network.body(images))
    assert torch.equal(HookedBackbone(network, K, (32, 64), heatmaps="head")(images).heatmaps, heatmaps)


def test_a_detector_around_it_is_trained_or_frozen() -> None:
    config = PRESETS["default"].with_options(scheme="aflw19", input_size=(32, 64))
    for frozen in (False, True):
        network = Network().train()
        backbone = HookedBackbone(network, K, (32, 64), features="body", frozen=frozen)
        assert network.body.training is not frozen
        detector = LandmarkDetector(config, backbone).train()
        before = network.body[1].running_mean.clone()
        detector(torch.rand(2, 3, 32, 64)).pos.sum().backward()
        assert (network.head.weight.grad is None) is frozen
        assert torch.equal(before, network.body[1].running_mean) is frozen


def test_copies_listen_to_their_own_layers() -> None:
    """Inference, exports and averaged weights run a deep copy."""
    backbone = HookedBackbone(Network(), K, (32, 64), features="body", heatmaps="head").eval()
    images = torch.rand(1, 3, 32, 64)
    before = backbone(images)
    for copied in (deepcopy(backbone), pickle.loads(pickle.dumps(backbone))):
        nn.init.zeros_(copied.network.head.weight)
        assert torch.equal(copied(images).features, before.features)
        assert not torch.equal(copied(images).heatmaps, before.heatmaps)
        assert torch.equal(backbone(images).heatmaps, before.heatmaps)
    detector = LandmarkDetector(PRESETS["default"].with_options(scheme="aflw19", input_size=(32, 64)), backbone).eval()
    torch.testing.assert_close(detector.for_inference()(images).pos, detector(images).pos)


class Maps(nn.Module):
    """Returns its heatmaps under a name of its own."""

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"maps": images}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"features": "bodyy"}, "'features' to name a layer of Network .it has no 'bodyy'.* body"),
        ({"features": "unused"}, "layer of 'features' to run in the forward pass"),
        ({"num_landmarks": 68}, r"'heatmaps' to have shape \[B, K, h, w\] with B=1, K=68 \(got \[1, 19, 8, 16\]\)"),
        ({"input_size": (2, 2)}, r"'network' to take images \[1, 3, 2, 2\]"),
        ({"network": nn.Flatten()}, r"'heatmaps' to have shape \[B, C, h, w\] \(got \[1, 6144\]\)"),
        ({"network": Maps()}, r"\(got a dict of maps\). Name the layer that returns them as 'heatmaps'"),
        ({"network": "net"}, "'network' to be a torch.nn.Module"),
    ],
)
def test_what_breaks_the_contract_fails_at_construction(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        HookedBackbone(**{"network": Network(), "num_landmarks": K, "input_size": (32, 64), **options})


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
def test_networks_from_files(tmp_path: Path) -> None:
    network = nn.Sequential(nn.Conv2d(3, K, 4, stride=4)).eval()
    images = torch.rand(2, 3, 32, 32)
    torch.jit.trace(network, images).save(tmp_path / "net.pt")
    torch.export.save(torch.export.export(network, (images,)), tmp_path / "net.pt2")
    for name in ("net.pt", "net.pt2"):
        loaded = load_network(tmp_path / name)
        torch.testing.assert_close(loaded(images), network(images))
    backbone = HookedBackbone(load_network(tmp_path / "net.pt"), K, (32, 32), frozen=True)
    assert backbone.stride == 4
    for name in ("net.pt", "net.pt2"):
        with pytest.raises(InputError, match=r"no layer for 'features' of a network from a file.*\(got '0'\)"):
            HookedBackbone(load_network(tmp_path / name), K, (32, 32), features="0")
    torch.save(network.state_dict(), tmp_path / "weights.pt")
    with pytest.raises(InputFileError, match=r"got what torch.save writes.* build the network itself"):
        load_network(tmp_path / "weights.pt")
    (tmp_path / "text.pt").write_text("no network")
    for name, message in (("text.pt", "TorchScript or torch.export file at"), ("none.pt", "there is none")):
        with pytest.raises(InputFileError, match=message):
            load_network(tmp_path / name)

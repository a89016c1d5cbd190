"""What every backbone must do; the test of a new one sets attributes of :class:`BaseBackboneTester`."""

import copy

import pytest
import torch
from torch import Tensor, nn

from lgcn.backbones import Backbone


def calibrate(backbone: Backbone, images: Tensor) -> Backbone:
    """Takes running statistics from ``images``: where they are still 0 and 1, deep networks blow values up."""
    norms = [module for module in backbone.modules() if isinstance(module, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 1.0
    with torch.no_grad():
        backbone.train()(images)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    return backbone.eval()


class BaseBackboneTester:
    """Subclasses are named ``Test...``, say what is expected and build the network.

    The network is built once for each class.
    """

    num_landmarks = 5
    input_size = (64, 96)
    stride = 4
    feature_channels: int
    built: Backbone

    def build(self) -> Backbone:
        raise NotImplementedError

    @pytest.fixture
    def backbone(self) -> Backbone:
        cls = type(self)
        if "built" not in cls.__dict__:
            cls.built = calibrate(self.build(), self.images(4))
        return cls.built.eval()

    def images(self, count: int = 2) -> Tensor:
        return torch.randn(count, 3, *self.input_size)

    def test_attributes(self, backbone: Backbone) -> None:
        assert isinstance(backbone, Backbone)
        assert backbone.num_landmarks == self.num_landmarks
        assert backbone.feature_channels == self.feature_channels
        assert backbone.stride == self.stride
        assert len(backbone.mean) == len(backbone.std) == 3
        assert all(side % backbone.size_multiple == 0 for side in self.input_size)

    def test_outputs(self, backbone: Backbone) -> None:
        with torch.no_grad():
            output = backbone(self.images(1))
        size = tuple(side // self.stride for side in self.input_size)
        assert output.heatmaps.shape == (1, self.num_landmarks, *size)
        assert output.features.shape[:2] == (1, self.feature_channels)
        assert output.heatmaps.isfinite().all()
        assert output.features.isfinite().all()

    def test_images_of_a_batch_do_not_mix(self, backbone: Backbone) -> None:
        images = self.images()
        with torch.no_grad():
            together, alone = backbone(images), backbone(images[1:])
        for batched, single in zip(together, alone, strict=True):
            torch.testing.assert_close(batched[1:], single, atol=1e-3, rtol=1e-3)

    def test_gradients_reach_every_parameter(self, backbone: Backbone) -> None:
        backbone.train().zero_grad()
        output = backbone(self.images())
        (output.heatmaps.square().mean() + output.features.square().mean()).backward()
        for name, parameter in backbone.named_parameters():
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name

    def test_state_and_copies(self, backbone: Backbone) -> None:
        images = self.images(1)
        twin = copy.deepcopy(backbone)
        with torch.no_grad():
            for parameter in twin.parameters():
                parameter.zero_()
            twin.load_state_dict(backbone.state_dict())
            for ours, theirs in zip(backbone(images), twin(images), strict=True):
                assert torch.equal(ours, theirs)

"""The tester of backbones passes a right one, and fails one that is wrong in each respect."""

import re
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lgcn.backbones import Backbone
from lgcn.checks import InputError
from lgcn.testing import BackboneTester
from lgcn.typing import HeatmapOutput

TESTS = [name for name in dir(BackboneTester) if name.startswith("test_")]


class Right(Backbone):
    """Two convolutions at stride 4."""

    def __init__(self) -> None:
        super().__init__()
        self.num_landmarks, self.feature_channels, self.stride, self.size_multiple = 5, 8, 4, 8
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 4, stride=4), nn.BatchNorm2d(8), nn.ReLU())
        self.head = nn.Conv2d(8, 5, 1)

    def forward(self, images: Tensor) -> HeatmapOutput:
        features = self.stem(images)
        return HeatmapOutput(self.head(features), features)


class TestRight(BackboneTester):
    def build(self) -> Backbone:
        return Right()


class WrongStride(Right):
    def __init__(self) -> None:
        super().__init__()
        self.stride = 8


class WrongChannels(Right):
    def __init__(self) -> None:
        super().__init__()
        self.feature_channels = 7


class NoStride(Right):
    def __init__(self) -> None:
        super().__init__()
        del self.stride


class WrongMean(Right):
    mean = (0.5,)  # type: ignore[assignment]


class OnlySquares(Right):
    def forward(self, images: Tensor) -> HeatmapOutput:
        if images.shape[-1] != images.shape[-2]:
            raise RuntimeError("squares only")
        return super().forward(images)


class NotFinite(Right):
    def forward(self, images: Tensor) -> HeatmapOutput:
        output = super().forward(images)
        return HeatmapOutput(output.heatmaps / 0, output.features)


class Mixes(Right):
    def forward(self, images: Tensor) -> HeatmapOutput:
        return super().forward(images - images.mean())


class NoGradient(Right):
    def forward(self, images: Tensor) -> HeatmapOutput:
        output = super().forward(images)
        return HeatmapOutput(output.heatmaps, output.features.detach())


class Unused(Right):
    def __init__(self) -> None:
        super().__init__()
        self.unused = nn.Linear(2, 2)


class AlwaysDropout(Right):
    def forward(self, images: Tensor) -> HeatmapOutput:
        return super().forward(nn.functional.dropout(images, 0.5, training=True))


class ChangesInEval(Right):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, images: Tensor) -> HeatmapOutput:
        self.calls += 1
        return super().forward(images)


class Graphbreak(Right):
    def forward(self, images: Tensor) -> HeatmapOutput:
        output = super().forward(images)
        return output if float(output.heatmaps.sum()) < 1e9 else HeatmapOutput(*output)


class HiddenWeights(Right):
    def __init__(self) -> None:
        super().__init__()
        self.hidden = [torch.randn(1, 8, 1, 1)]

    def forward(self, images: Tensor) -> HeatmapOutput:
        features = self.stem(images) + self.hidden[0]
        return HeatmapOutput(self.head(features), features)


class ReadsMemory(Right):
    """Depends on the memory format of its input."""

    def forward(self, images: Tensor) -> HeatmapOutput:
        sign = 1.0 if images.is_contiguous() else -1.0
        return super().forward(images * sign)


class OnlyFloat(Right):
    def forward(self, images: Tensor) -> HeatmapOutput:
        features = self.stem(images)
        return HeatmapOutput(self.head(features) + torch.ones(1), features)


class NeedsMore(Right):
    """Does not say that it needs multiples of 8."""

    def __init__(self) -> None:
        super().__init__()
        self.size_multiple = 4

    def forward(self, images: Tensor) -> HeatmapOutput:
        output = super().forward(images)
        coarse = nn.functional.max_pool2d(output.features, 2)
        return HeatmapOutput(output.heatmaps, output.features + nn.functional.interpolate(coarse, scale_factor=2.0))


class Tuple(Right):
    """Returns a list, which a detector unpacks in the wrong order."""

    def forward(self, images: Tensor) -> Any:
        output = super().forward(images)
        return type("Swapped", (tuple,), {"heatmaps": output.heatmaps, "features": output.features})(output[::-1])


WRONG = [
    ("test_attributes", NoStride, "NoStride has no attribute 'stride'"),
    ("test_attributes", WrongMean, "'mean' has not one number for each of R, G and B"),
    ("test_shapes", WrongStride, "heatmaps .* expected .* by 'stride' = 8"),
    ("test_shapes", WrongChannels, r"features \(1, 8, .*, expected \(1, 7\)"),
    ("test_shapes", NotFinite, "heatmaps are not finite"),
    ("test_shapes", OnlySquares, ""),
    ("test_images_of_a_batch_do_not_mix", Mixes, "an image alone and in a batch"),
    ("test_gradients", NoGradient, "no gradient through features"),
    ("test_gradients", Unused, "parameters that neither output depends on: unused.weight"),
    ("test_train_and_eval", AlwaysDropout, "the same images twice in eval mode"),
    ("test_train_and_eval", ChangesInEval, "eval mode changes the state: calls"),
    ("test_compile", Graphbreak, "(?i)data-dependent|tensor.item|branch"),
    ("test_export", Graphbreak, "(?i)data-dependent|item|branch"),
    ("test_state_dict", HiddenWeights, "a new network with the same state dict"),
    ("test_channels_last", ReadsMemory, "channels last and not"),
    ("test_half_precision", OnlyFloat, "heatmaps of a bfloat16 network are torch.float32"),
    ("test_impossible_sizes", NeedsMore, "must match the size"),
    ("test_in_a_detector", Tuple, "landmarks|shape|channels"),
]


def test_every_respect_has_a_wrong_network() -> None:
    assert sorted({test for test, _, _ in WRONG}) == sorted(TESTS)


@pytest.mark.parametrize(("test", "network", "message"), WRONG)
def test_a_wrong_network_fails(test: str, network: type[Backbone], message: str) -> None:
    tester = type("Tester", (BackboneTester,), {"build": lambda self: network()})()
    with pytest.raises((AssertionError, RuntimeError, InputError)) as failure:
        getattr(tester, test)()
    assert re.search(message, str(failure.value))

"""What every backbone must do, as tests that a subclass in a few lines inherits."""

import copy
import math
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from lgcn.backbones import Backbone
from lgcn.checks import InputError
from lgcn.models import PRESETS, LandmarkDetector
from lgcn.schemes import SCHEMES, LandmarkScheme, define_scheme
from lgcn.typing import HeatmapOutput


class BackboneTester:
    """Tests of the contract of :class:`lgcn.backbones.Backbone`, run by pytest or unittest.

    >>> class TestMine(BackboneTester):
    ...     def build(self):
    ...         return MyBackbone(num_landmarks=5)

    The network is built once for each class; choose a small variant. Failures say what is wrong.
    """

    num_landmarks: ClassVar[int] = 5
    """K of the network that :meth:`build` returns."""
    tolerance: ClassVar[float] = 1e-3
    """Of outputs that must agree, relative to the largest value."""
    half_tolerance: ClassVar[float] = 0.6
    """Of outputs in bfloat16, relative to their norm; deep networks with random weights enlarge rounding errors."""
    _built: Backbone

    def build(self) -> Backbone:
        """Return a new network with ``num_landmarks`` heatmaps; override it."""
        raise NotImplementedError(f"Define {type(self).__name__}.build().")

    @property
    def backbone(self) -> Backbone:
        """The network in eval mode, with running statistics of noise."""
        cls = type(self)
        if "_built" not in cls.__dict__:
            torch.manual_seed(0)
            cls._built = calibrate(self.build(), self.images(4))
        return cls._built.eval()

    @property
    def multiple(self) -> int:
        """H and W must be multiples of it."""
        return math.lcm(self.backbone_attribute("stride"), self.backbone_attribute("size_multiple"))

    @property
    def sizes(self) -> list[tuple[int, int]]:
        """Sizes (H, W) of at least 32 pixels that the network must take: square, wide, tall."""
        m = self.multiple * max(1, math.ceil(32 / self.multiple))
        return [(m, m), (m, m + self.multiple), (2 * m, m)]

    def backbone_attribute(self, name: str) -> int:
        """A positive integer among the attributes of the contract."""
        cls = type(self)
        network = cls._built if "_built" in cls.__dict__ else self.build()
        assert hasattr(network, name), f"{type(network).__name__} has no attribute '{name}'"
        value: Any = getattr(network, name)
        assert isinstance(value, int), f"'{name}' is no integer: {value!r}"
        assert value >= 1, f"'{name}' is not positive: {value}"
        return value

    def images(self, count: int = 2, size: tuple[int, int] | None = None) -> Tensor:
        """Noise as normalised images."""
        return torch.randn(count, 3, *(size or self.sizes[-1]), generator=torch.Generator().manual_seed(0))

    def check(self, output: Any, count: int, size: tuple[int, int]) -> None:
        """Check shapes and values."""
        assert hasattr(output, "heatmaps"), f"forward returns no HeatmapOutput: {type(output).__name__}"
        stride, channels = (self.backbone_attribute(name) for name in ("stride", "feature_channels"))
        expected = (count, self.num_landmarks, size[0] // stride, size[1] // stride)
        found = tuple(output.heatmaps.shape)
        assert found == expected, f"heatmaps {found} of images {size}, expected {expected} by 'stride' = {stride}"
        features = tuple(output.features.shape)
        assert len(features) == 4, f"features {features} are no map [B, C, h, w]"
        assert features[:2] == (count, channels), f"features {features}, expected {(count, channels)} + (h, w)"
        for name in ("heatmaps", "features"):
            assert getattr(output, name).isfinite().all(), f"{name} are not finite"

    def compare(self, found: HeatmapOutput, expected: HeatmapOutput, what: str) -> None:
        """Check that two outputs agree."""
        for name, one, other in zip(("heatmaps", "features"), found, expected, strict=False):
            difference = (one - other).abs().max() / other.abs().max().clamp(min=1e-6)
            assert difference <= self.tolerance, f"{name} differ by {difference:.1e} of the largest: {what}"

    def test_attributes(self) -> None:
        for name in ("num_landmarks", "feature_channels", "stride", "size_multiple"):
            self.backbone_attribute(name)
        assert self.backbone.num_landmarks == self.num_landmarks, "'num_landmarks' is not that of the tester"
        for name in ("mean", "std"):
            value = getattr(self.backbone, name, None)
            assert value is not None, f"no attribute '{name}'"
            assert len(value) == 3, f"'{name}' has not one number for each of R, G and B: {value}"
        assert all(each > 0 for each in self.backbone.std), "'std' is not positive"

    def test_shapes(self) -> None:
        with torch.no_grad():
            for size in self.sizes:
                self.check(self.backbone(self.images(1, size)), 1, size)

    def test_images_of_a_batch_do_not_mix(self) -> None:
        # As unlike as a dark, an ordinary and a bright image.
        images = self.images(3) + torch.tensor([-2.0, 0.0, 3.0]).view(3, 1, 1, 1)
        with torch.no_grad():
            together = self.backbone(images)
            alone = self.backbone(images[1:2])
        part = HeatmapOutput(together.heatmaps[1:2], together.features[1:2])
        self.compare(part, alone, "an image alone and in a batch")

    def test_gradients(self) -> None:
        network = self.backbone.train()
        for names in (("heatmaps",), ("features",), ("heatmaps", "features")):
            network.zero_grad()
            output = network(self.images().requires_grad_())
            values = [getattr(output, name) for name in names]
            assert all(value.requires_grad for value in values), f"no gradient through {' and '.join(names)}"
            sum(value.square().mean() for value in values).backward()
            grads = {name: each.grad for name, each in network.named_parameters() if each.requires_grad}
            reached = [each for each in grads.values() if each is not None and each.any()]
            assert reached, f"{' and '.join(names)} give no parameter a gradient"
            assert all(each.isfinite().all() for each in reached), f"gradients of {' and '.join(names)} are not finite"
        without = [name for name, each in grads.items() if each is None]
        assert not without, f"parameters that neither output depends on: {', '.join(without[:5])}"
        network.zero_grad()

    def test_train_and_eval(self) -> None:
        network, images = self.backbone, self.images()
        before = copy.deepcopy(network.state_dict())
        with torch.no_grad():
            first, second = network(images), network(images)
            self.compare(second, first, "the same images twice in eval mode")
            changed = [name for name, value in network.state_dict().items() if not torch.equal(value, before[name])]
            assert not changed, f"eval mode changes the state: {', '.join(changed[:5])}"
            copied = copy.deepcopy(network).train()
            assert all(module.training for module in copied.modules()), "train() does not reach all modules"
            self.check(copied(images), len(images), self.sizes[-1])

    def test_compile(self) -> None:
        torch._dynamo.reset()
        compiled = torch.compile(self.backbone, backend="eager", fullgraph=True)
        with torch.no_grad():
            self.compare(compiled(self.images()), self.backbone(self.images()), "compiled and not")

    def test_export(self) -> None:
        with torch.no_grad():
            exported = torch.export.export(self.backbone, (self.images(),)).module()
            self.compare(exported(self.images()), self.backbone(self.images()), "exported and not")

    def test_state_dict(self) -> None:
        state, other = self.backbone.state_dict(), self.build().eval()
        other.load_state_dict(state)
        with torch.no_grad():
            self.compare(other(self.images()), self.backbone(self.images()), "a new network with the same state dict")

    def test_channels_last(self) -> None:
        network = copy.deepcopy(self.backbone).to(memory_format=torch.channels_last)
        with torch.no_grad():
            output = network(self.images().to(memory_format=torch.channels_last))
            self.compare(output, self.backbone(self.images()), "channels last and not")

    def test_half_precision(self) -> None:
        # Four times the least size: on CPUs with AMX, oneDNN's bfloat16 convolutions of maps of 2 x 1 cells can be NaN.
        height, width = self.sizes[0]
        images = self.images(size=(4 * height, 4 * width))
        with torch.no_grad():
            expected = self.backbone(images)
            with torch.autocast("cpu", torch.bfloat16):
                mixed = self.backbone(images)
            half = copy.deepcopy(self.backbone).bfloat16()(images.bfloat16())
        assert half.heatmaps.dtype == torch.bfloat16, f"heatmaps of a bfloat16 network are {half.heatmaps.dtype}"
        for what, output in (("autocast", mixed), ("bfloat16", half)):
            error = (output.heatmaps.float() - expected.heatmaps).norm() / expected.heatmaps.norm().clamp(min=1e-6)
            assert error <= self.half_tolerance, f"heatmaps in {what} are {error:.0%} off"

    def test_impossible_sizes(self) -> None:
        """A size is either refused when a detector is built, with the multiple that it needs, or works."""
        least = self.multiple * math.ceil(32 / self.multiple)
        message = ""
        if self.multiple > 1:
            try:
                self.detector((least + 1, least + 1))
            except InputError as error:
                message = str(error)
            expected = f"multiples of {self.multiple}"
            assert expected in message, f"images of {least + 1} pixels are not refused with '{expected}': {message}"
        odd = least + self.multiple if (least // self.multiple) % 2 == 0 else least
        with torch.no_grad():
            output = self.backbone(self.images(1, (odd, odd)))
        self.check(output, 1, (odd, odd))

    def test_in_a_detector(self) -> None:
        size = self.sizes[-1]
        detector = self.detector(size).eval()
        output = detector(torch.zeros(2, 3, *size, dtype=torch.uint8))
        assert output.pos.shape == (2, self.num_landmarks, 2), f"landmarks {tuple(output.pos.shape)}"
        detector.for_inference()

    def detector(self, size: tuple[int, int]) -> LandmarkDetector:
        """A detector around a copy of the network."""
        # A scheme is defined only if none has this number: annotations of a known number find theirs by it.
        names = [name for name in SCHEMES if SCHEMES[name].num_landmarks == self.num_landmarks]
        if not names:
            scheme = LandmarkScheme(f"backbone_tester_{self.num_landmarks}", _names(self.num_landmarks))
            names = [define_scheme(scheme).name]
        config = PRESETS["default"].with_options(scheme=names[0], input_size=size)
        return LandmarkDetector(config, copy.deepcopy(self.backbone))


def _names(count: int) -> tuple[str, ...]:
    return tuple(f"landmark_{k}" for k in range(count))


def calibrate(backbone: Backbone, images: Tensor) -> Backbone:
    """Take running statistics from ``images``: where they are still 0 and 1, deep networks blow values up."""
    norms = [module for module in backbone.modules() if isinstance(module, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 1.0
    with torch.no_grad():
        backbone.train()(images)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    return backbone.eval()

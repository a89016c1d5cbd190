"""Options of training as frozen dataclasses: loss, augmentation, learning-rate schedule."""

import math
from collections.abc import Sequence
from dataclasses import asdict, fields
from typing import Annotated, Any, Literal

from pydantic.dataclasses import dataclass
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, MultiStepLR, OneCycleLR
from torch_geometric.transforms import BaseTransform, Compose

from lgcn.checks import InputError, check_choice
from lgcn.losses import COORDINATE_LOSSES, HEATMAP_LOSSES, DetectionLoss
from lgcn.options import STRICT_KEYS, Bounds, Length, input_errors
from lgcn.protocols import EvaluationProtocol
from lgcn.schemes import LandmarkScheme
from lgcn.transforms import ColorJitter, Darkness, FacePatch, GaussianBlur, JPEGCompression, RandomAffineCrop
from lgcn.typing import Size

Positive = Annotated[float, Bounds(1e-6, 1e6)]
NotNegative = Annotated[float, Bounds(0, 1e6)]
Fraction = Annotated[float, Bounds(0, 1)]
Sigma = Annotated[float, Bounds(0, 100)]
Quality = Annotated[float, Bounds(1, 100)]
PatchKind = Literal["noise", "color", "texture", "copy"]
PatchShape = Literal["rectangle", "ellipse"]


@input_errors
@dataclass(frozen=True, config=STRICT_KEYS)
class FocalConfig:
    """Options of :func:`lgcn.losses.focal_heatmap_loss`.

    Args:
        alpha: exponent that reduces the loss of cells that are predicted well.
        beta: exponent that reduces the loss of background cells near a landmark.
    """

    alpha: NotNegative = 2.0
    beta: NotNegative = 4.0


@input_errors
@dataclass(frozen=True, config=STRICT_KEYS)
class AdaptiveWingConfig:
    """Options of :func:`lgcn.losses.adaptive_wing_loss`.

    Args:
        alpha: exponent of the background; slightly more than 2.
        omega: height of the logarithm.
        epsilon: curvature of the logarithm, in heatmap values.
        theta: error from which the loss is linear, in heatmap values.
        foreground_weight: additional weight of cells near a landmark.
    """

    alpha: NotNegative = 2.1
    omega: Positive = 14.0
    epsilon: Positive = 1.0
    theta: Positive = 0.5
    foreground_weight: NotNegative = 10.0


@input_errors
@dataclass(frozen=True, config=STRICT_KEYS)
class SmoothL1Config:
    """Options of :func:`lgcn.losses.smooth_l1_loss`.

    Args:
        beta: error in pixels of the input below which the loss is quadratic.
    """

    beta: NotNegative = 1.0


@input_errors
@dataclass(frozen=True, config=STRICT_KEYS)
class WingConfig:
    """Options of :func:`lgcn.losses.wing_loss`.

    Args:
        width: error in pixels of the input up to which the loss is logarithmic.
        epsilon: curvature of the logarithm, in pixels of the input.
    """

    width: Positive = 10.0
    epsilon: Positive = 2.0


LOSS_SECTIONS = (FocalConfig, AdaptiveWingConfig, SmoothL1Config, WingConfig)


@input_errors
@dataclass(frozen=True, config=STRICT_KEYS)
class LossConfig:
    """Options of :class:`lgcn.losses.DetectionLoss`; the defaults are eq. 9 of the paper.

    A section is named after the loss whose options it holds. Losses without a section have no options; register your
    own loss with its options bound (``functools.partial``).

    Args:
        heatmap: name of the heatmap loss: focal, cross_entropy, mse, adaptive_wing, or one that you registered.
        coordinate: name of the coordinate loss: l1, smooth_l1, wing, or one that you registered.
        heatmap_weight: weight of the heatmap loss.
        refined_weight: weight of the coordinate loss of the refined landmarks.
        initial_weight: weight of the coordinate loss of the initial landmarks.
        likelihood_weight: weight of the negative log-likelihood of the refined landmarks, which trains the covariances
            of a Gaussian refiner.
        focal: options of the heatmap loss focal.
        adaptive_wing: options of the heatmap loss adaptive_wing.
        smooth_l1: options of the coordinate loss smooth_l1.
        wing: options of the coordinate loss wing.

    Raises:
        InputError: for an unknown loss (lists the choices), or changed options of a loss that is not chosen.
    """

    heatmap: str = "focal"
    coordinate: str = "l1"
    heatmap_weight: NotNegative = 1.0
    refined_weight: NotNegative = 1.0
    initial_weight: NotNegative = 0.0
    likelihood_weight: NotNegative = 0.0
    focal: FocalConfig = FocalConfig()
    adaptive_wing: AdaptiveWingConfig = AdaptiveWingConfig()
    smooth_l1: SmoothL1Config = SmoothL1Config()
    wing: WingConfig = WingConfig()

    def __post_init__(self) -> None:
        check_choice("heatmap loss", self.heatmap, HEATMAP_LOSSES.names())
        check_choice("coordinate loss", self.coordinate, COORDINATE_LOSSES.names())
        for section in fields(self):
            value = getattr(self, section.name)
            chosen = section.name in (self.heatmap, self.coordinate)
            if isinstance(section.default, LOSS_SECTIONS) and not chosen and value != section.default:
                kind = "heatmap" if section.name in HEATMAP_LOSSES else "coordinate"
                raise InputError(
                    f"Expected options of '{section.name}' only with {kind}='{section.name}' (got {kind}="
                    f"'{getattr(self, kind)}'). Choose that loss, or remove its options."
                )

    def build(self) -> DetectionLoss:
        """The loss module.

        Raises:
            InputError: for an option out of its range.
        """
        return DetectionLoss(
            heatmap=self.heatmap,
            coordinate=self.coordinate,
            heatmap_weight=self.heatmap_weight,
            refined_weight=self.refined_weight,
            initial_weight=self.initial_weight,
            likelihood_weight=self.likelihood_weight,
            heatmap_options=self._options_of(self.heatmap),
            coordinate_options=self._options_of(self.coordinate),
        )

    def _options_of(self, name: str) -> dict[str, Any]:
        section = getattr(self, name, None)
        return asdict(section) if isinstance(section, LOSS_SECTIONS) else {}


@input_errors
@dataclass(frozen=True, config=STRICT_KEYS)
class AugmentationConfig:
    """Augmentation of training faces; the defaults are section IV-B of the paper.

    Args:
        rotation: largest rotation in degrees, either way.
        scale: smallest and largest scale factor.
        translation: largest shift as a fraction of the side of the crop, either way.
        flip: probability of a mirror image, in which left and right landmarks are swapped.
        color_jitter: whether to change brightness, contrast, saturation and hue.
        occlusion: probability that a patch covers a part of the face; 0 in the paper.
        occlusion_area: smallest and largest fraction of the face, the box of its landmarks, that is covered.
        occlusion_kinds: what patches show, each as often: noise; color; texture, a part of another training image;
            copy, another part of the same crop.
        occlusion_shapes: outlines of patches, each as often: rectangle, ellipse.
        blur: probability of a Gaussian blur; 0 in the paper.
        blur_sigma: its smallest and largest standard deviation in pixels of the input.
        darkness: probability of a dark and noisy image; 0 in the paper.
        darkness_light: smallest and largest fraction of the light that remains.
        jpeg: probability of JPEG compression; 0 in the paper.
        jpeg_quality: its smallest and largest quality.
    """

    rotation: Annotated[float, Bounds(0, 180)] = 30.0
    scale: tuple[Positive, Positive] = (0.8, 1.2)
    translation: NotNegative = 0.1
    flip: Fraction = 0.5
    color_jitter: bool = True
    occlusion: Fraction = 0.0
    occlusion_area: tuple[Fraction, Fraction] = (0.0, 0.5)
    occlusion_kinds: Annotated[tuple[PatchKind, ...], Length(1, 4)] = ("noise", "color")
    occlusion_shapes: Annotated[tuple[PatchShape, ...], Length(1, 2)] = ("rectangle",)
    blur: Fraction = 0.0
    blur_sigma: tuple[Sigma, Sigma] = (0.0, 4.0)
    darkness: Fraction = 0.0
    darkness_light: tuple[Fraction, Fraction] = (0.1, 0.5)
    jpeg: Fraction = 0.0
    jpeg_quality: tuple[Quality, Quality] = (10.0, 50.0)

    @property
    def needs_textures(self) -> bool:
        """Whether :meth:`build` needs textures."""
        return self.occlusion > 0 and "texture" in self.occlusion_kinds

    def build(
        self,
        scheme: LandmarkScheme,
        input_size: Size,
        protocol: EvaluationProtocol,
        textures: Sequence[Tensor] = (),
    ) -> BaseTransform:
        """The transform from a face in its image to an augmented network input, cropped as ``protocol`` says.

        Args:
            scheme: of the landmarks.
            input_size: (H, W).
            protocol: defines the crop.
            textures: images uint8 [3, h, w] for patches, see :attr:`needs_textures`.

        Raises:
            InputError: for a range or probability that cannot be drawn from.
        """
        crop = RandomAffineCrop(
            scheme,
            input_size,
            rotation=self.rotation,
            scale=self.scale,
            translation=self.translation,
            flip=self.flip,
            **protocol.crop_options,
        )
        steps: list[BaseTransform] = [crop]
        if self.color_jitter:
            steps.append(ColorJitter())
        if self.occlusion > 0:
            patch = FacePatch(
                *self.occlusion_area,
                kinds=self.occlusion_kinds,
                shapes=self.occlusion_shapes,
                textures=textures if self.needs_textures else (),
                probability=self.occlusion,
            )
            steps.append(patch)
        # In the order in which a camera degrades: lens, sensor, file.
        if self.blur > 0:
            steps.append(GaussianBlur(*self.blur_sigma, probability=self.blur))
        if self.darkness > 0:
            steps.append(Darkness(*self.darkness_light, probability=self.darkness))
        if self.jpeg > 0:
            steps.append(JPEGCompression(*self.jpeg_quality, probability=self.jpeg))
        return Compose(steps)


@input_errors
@dataclass(frozen=True, config=STRICT_KEYS)
class ScheduleConfig:
    """Schedule of the learning rates; one factor applies to all parameter groups.

    Args:
        name: constant; one_cycle, a rise to the given rates and a fall to almost 0 (Smith 2018); multistep, a
            multiplication by factor at each milestone.
        warmup: fraction of the run in which one_cycle rises.
        initial_division: one_cycle starts at the given rates divided by this number.
        milestones: epochs at whose start multistep multiplies.
        factor: factor of multistep.
    """

    name: Literal["constant", "one_cycle", "multistep"] = "constant"
    warmup: Fraction = 0.3
    initial_division: Positive = 25.0
    milestones: tuple[Annotated[int, Bounds(0, 1_000_000)], ...] = ()
    factor: Fraction = 0.1

    def build(self, optimizer: Optimizer, num_steps: float, steps_per_epoch: float) -> LRScheduler | None:
        """A scheduler that is stepped after every optimiser step; None for "constant".

        Milestones are converted to steps, so that every schedule counts the same way.

        Args:
            optimizer: with the given learning rates.
            num_steps: of the run, infinite if it has no end.
            steps_per_epoch: rounded up; infinite if the number of batches is not known.

        Raises:
            InputError: for one_cycle without an end, and multistep without a length of epochs.
        """
        length = {"one_cycle": ("a run", num_steps), "multistep": ("epochs", steps_per_epoch)}.get(self.name)
        if length is not None and math.isinf(length[1]):
            raise InputError(
                f"Expected {length[0]} of a known length for 'schedule.name' {self.name} (got no limit). Give "
                "'trainer.max_epochs' or 'trainer.max_steps', or a schedule that is constant."
            )
        if self.name == "one_cycle":
            rates = [group["lr"] for group in optimizer.param_groups]
            return OneCycleLR(
                optimizer, rates, total_steps=int(num_steps), pct_start=self.warmup, div_factor=self.initial_division
            )
        if self.name == "multistep":
            milestones = [epoch * math.ceil(steps_per_epoch) for epoch in self.milestones]
            return MultiStepLR(optimizer, milestones, gamma=self.factor)
        return None

"""From pictures to refined landmarks: backbone, codec and refiner in a row."""

import json
import math
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import PyTorchModelHubMixin
from safetensors.torch import save_file
from torch import Tensor, nn

from lgcn.backbones import Backbone, create_backbone
from lgcn.checks import InputError, check_choice, check_options, check_shape
from lgcn.codecs import HeatmapCodec
from lgcn.files import replace_when_done, write_text
from lgcn.models.config import DetectorConfig
from lgcn.models.loading import CONFIG_NAME, WEIGHTS_NAME, check_weights, load_pretrained
from lgcn.models.presets import PRESETS
from lgcn.nn import LandmarkRefiner
from lgcn.nn.functional.autocast import autocast_disabled
from lgcn.protocols import get_protocol
from lgcn.schemes import get_scheme
from lgcn.typing import DetectorOutput


class LandmarkDetector(nn.Module, PyTorchModelHubMixin):
    """A heatmap network proposes landmarks, the landmark graph moves them to where they must be.

    Args:
        config: what to build.
        backbone: a network of your own under the contract of :class:`lgcn.backbones.Backbone` (see
            :class:`lgcn.backbones.ModuleBackbone`), used instead of the one that ``config`` names; then
            pass it to :meth:`from_pretrained` too.

    Raises:
        InputError: for names or options that are not known, a backbone that breaks the contract, or an input
            size that is not a multiple of the backbone's stride (of 32 for timm's networks).
    """

    mean: Tensor
    std: Tensor

    def __init__(self, config: DetectorConfig, backbone: Backbone | None = None) -> None:
        super().__init__()
        self.config = config
        self.scheme = get_scheme(config.scheme)
        self.protocol = get_protocol(config.protocol)
        self.input_size = config.input_size
        landmarks = self.scheme.num_landmarks
        self.backbone = backbone if backbone is not None else _build_backbone(config, landmarks)
        lacking = [name for name in Backbone.__annotations__ if not hasattr(self.backbone, name)]
        if lacking:
            raise InputError(
                f"Expected 'backbone' to be an lgcn.backbones.Backbone ({type(backbone).__name__} has no "
                f"{', '.join(lacking)}). Wrap your own network in ModuleBackbone."
            )
        if self.backbone.num_landmarks != landmarks:
            raise InputError(
                f"Expected a backbone with one heatmap for each of the {landmarks} landmarks of '{config.scheme}' "
                f"(got {self.backbone.num_landmarks})."
            )
        height, width = config.input_size
        stride = self.backbone.stride
        multiple = math.lcm(stride, self.backbone.size_multiple)
        if height % multiple or width % multiple:
            near = tuple(max(1, round(side / multiple)) * multiple for side in config.input_size)
            raise InputError(
                f"Expected 'input_size' in multiples of {multiple} (got {config.input_size}; near: {near})."
            )
        preset = PRESETS[config.preset]
        sizes = {"input_size": config.input_size, "heatmap_size": (height // stride, width // stride)}
        self.codec: HeatmapCodec = _with_options("codec", HeatmapCodec, sizes, preset.codec, config.codec)
        self.refiner: LandmarkRefiner | None = None
        if config.use_refiner:
            fixed = {
                "num_landmarks": landmarks,
                "feature_channels": self.backbone.feature_channels,
                "input_size": config.input_size,
            }
            self.refiner = _with_options("refiner", LandmarkRefiner, fixed, config.refiner_options())
        self.register_buffer("mean", torch.tensor(self.backbone.mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(self.backbone.std).view(3, 1, 1), persistent=False)

    def forward(self, images: Tensor, mask: Tensor | None = None, return_connectivity: bool = False) -> DetectorOutput:
        """Detects landmarks in crops of faces.

        Args:
            images: [B, 3, H, W] RGB, uint8 or floating point in [0, 1]; normalised here.
            mask: [B, K], False for landmarks that are known to be missing: the graph leaves them out, and their
                ``pos`` is the initial one.
            return_connectivity: return the edge weights [B, K, K] too.
        """
        height, width = self.input_size
        check_shape("images", images, "B 3 H W", H=height, W=width)
        scaled = images.to(self.mean.dtype)
        if not images.is_floating_point():
            scaled = scaled / 255
        heatmaps, features = self.backbone((scaled - self.mean) / self.std)
        initial, confidence = self.codec.decode(heatmaps)
        if self.refiner is None:
            return DetectorOutput(initial, initial, confidence, heatmaps)
        with autocast_disabled(features.device.type):
            pos, connectivity = self.refiner(
                features.to(initial.dtype), initial, confidence, mask, return_connectivity=True
            )
        return DetectorOutput(pos, initial, confidence, heatmaps, connectivity if return_connectivity else None)

    @classmethod
    def from_pretrained(  # type: ignore[override]
        cls, source: str | Path, backbone: Backbone | None = None, **download: Any
    ) -> "LandmarkDetector":
        """Loads a trained detector, in eval mode.

        Args:
            source: a model shipped with the package (``"lgcn-68"``), a folder of :meth:`save_pretrained`, a
                ``.ckpt`` file of ``lgcn fit``, or the id ``owner/name`` of a model on the hub.
            backbone: for detectors that were built with a network of their own.
            **download: arguments of :func:`huggingface_hub.hf_hub_download`.

        Raises:
            InputFileError: if there is no such model, or its weights do not fit its config.
        """
        config, weights = load_pretrained(source, **download)
        detector = cls(config, backbone)
        check_weights(source, detector.state_dict(), weights)
        detector.load_state_dict(weights)
        return detector.eval()

    def _save_pretrained(self, save_directory: Path) -> None:
        write_text(save_directory / CONFIG_NAME, json.dumps(self.config.saved(), indent=2) + "\n")
        with replace_when_done(save_directory / WEIGHTS_NAME) as beside:
            save_file({key: value.contiguous() for key, value in self.state_dict().items()}, beside)


def create_detector(config: DetectorConfig | None = None, **options: Any) -> LandmarkDetector:
    """Builds an untrained detector from a config, or from fields of one by keyword.

    >>> detector = create_detector(scheme="ibug68", backbone="hrnet_w18", preset="paper")
    """
    for name in options:
        check_choice("config key", name, [known.name for known in fields(DetectorConfig)])
    return LandmarkDetector(DetectorConfig(**options) if config is None else replace(config, **options))


def _build_backbone(config: DetectorConfig, num_landmarks: int) -> Backbone:
    options = dict(config.backbone_options)
    if config.backbone_weights is not None:
        options["weights"] = config.backbone_weights
    return create_backbone(config.backbone, num_landmarks, **options)


def _with_options(what: str, build: Any, fixed: dict[str, Any], *layers: dict[str, Any]) -> Any:
    options = {key: value for layer in layers for key, value in layer.items()}
    check_options(f"{what} option", options, build, given=fixed)
    try:
        return build(**fixed, **options)
    except InputError:
        raise
    except (TypeError, ValueError) as error:
        raise InputError(f"Expected options that suit the {what} (got {options}: {error}).") from error

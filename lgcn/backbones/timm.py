"""timm's networks as backbones: their feature maps, and one of three heads on them."""

from collections.abc import Mapping
from inspect import signature
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lgcn.backbones.base import Backbone
from lgcn.backbones.checkpoints import check_landmarks, convert_hrnet_state_dict, read_weights
from lgcn.checks import InputError, InputFileError, check_choice
from lgcn.registry import Registry
from lgcn.typing import HeatmapOutput

STRIDES = [4, 8, 16, 32]
UPSAMPLING = ("bilinear", "nearest")


class ConcatHead(nn.Module):
    """The head of HRNetV2: all maps upsampled to the finest and concatenated, then two 1x1 convolutions.

    The feature map is the concatenation (270 channels for HRNet-W18, as in the paper).
    """

    def __init__(self, channels: list[int], num_landmarks: int) -> None:
        super().__init__()
        self.feature_channels = sum(channels)
        self.head = nn.Sequential(
            nn.Conv2d(self.feature_channels, self.feature_channels, 1),
            nn.BatchNorm2d(self.feature_channels),
            nn.ReLU(inplace=True),
            nn.Conv2d(self.feature_channels, num_landmarks, 1),
        )

    def forward(self, maps: list[Tensor]) -> HeatmapOutput:
        size = maps[0].shape[-2:]
        features = torch.cat([maps[0], *(F.interpolate(m, size, mode="bilinear") for m in maps[1:])], dim=1)
        return HeatmapOutput(self.head(features), features)


class PyramidHead(nn.Module):
    """A light feature pyramid: 1x1 laterals summed from coarse to fine, depthwise-separable blocks, a 1x1 head."""

    def __init__(self, channels: list[int], num_landmarks: int, width: int = 128) -> None:
        super().__init__()
        self.feature_channels = _check_width(width)
        self.laterals = nn.ModuleList(nn.Conv2d(c, width, 1) for c in channels)
        self.smooth = nn.ModuleList(self._block(width) for _ in channels)
        self.head = nn.Conv2d(width, num_landmarks, 1)

    @staticmethod
    def _block(width: int) -> nn.Sequential:
        return nn.Sequential(
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, width, 3, padding=1, groups=width, bias=False),
            nn.Conv2d(width, width, 1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
        )

    def forward(self, maps: list[Tensor]) -> HeatmapOutput:
        features: Tensor | None = None
        for level, lateral, smooth in reversed(list(zip(maps, self.laterals, self.smooth, strict=True))):
            summed = lateral(level)
            if features is not None:
                summed = summed + F.interpolate(features, summed.shape[-2:], mode="bilinear")
            features = smooth(summed)
        assert features is not None
        return HeatmapOutput(self.head(features), features)


class DeconvolutionHead(nn.Module):
    """Transposed convolutions from the coarsest map to stride 4: the head of SimpleBaseline and ViTPose.

    Args:
        channels: of the maps, of which the last is used.
        num_landmarks: K.
        width: channels of the feature map.
        num_layers: number of transposed convolutions, each of which doubles the size.
    """

    def __init__(self, channels: list[int], num_landmarks: int, width: int = 256, num_layers: int = 2) -> None:
        super().__init__()
        self.feature_channels = _check_width(width)
        widths = [channels[-1], *num_layers * [width]]
        layers: list[nn.Module] = []
        for below, above in pairwise(widths):
            layers += [nn.ConvTranspose2d(below, above, 4, stride=2, padding=1, bias=False)]
            layers += [nn.BatchNorm2d(above), nn.ReLU(inplace=True)]
        self.layers = nn.Sequential(*layers)
        self.head = nn.Conv2d(width, num_landmarks, 1)

    def forward(self, maps: list[Tensor]) -> HeatmapOutput:
        features = self.layers(maps[-1])
        return HeatmapOutput(self.head(features), features)


def _check_width(width: int) -> int:
    if isinstance(width, bool) or not isinstance(width, int) or not 1 <= width <= 4096:
        raise InputError(f"Expected 'width' to be an integer in 1 to 4096 (got {width!r}).")
    return width


HEADS: Registry[type[ConcatHead | PyramidHead | DeconvolutionHead]] = Registry("head")
HEADS.register("concat", ConcatHead)
HEADS.register("deconvolution", DeconvolutionHead)
HEADS.register("pyramid", PyramidHead)


class TimmBackbone(Backbone):
    """A timm network with feature maps, and a head for heatmaps of stride 4.

    Args:
        name: any timm model with maps of strides 4 to 32, or with one of stride 8, 16 or 32, such as vision
            transformers that take images of any size. HRNets give their four raw branches, so that ``hrnet_w18`` is the
            paper's network (270 concatenated channels).
        num_landmarks: K.
        head: ``"concat"`` (HRNetV2), ``"pyramid"`` or ``"deconvolution"`` (SimpleBaseline, ViTPose), which uses the
            coarsest map alone; None takes concat for HRNets, pyramid for other networks with maps of strides 4 to 32,
            deconvolution for the rest.
        pretrained: download timm's ImageNet weights.
        weights: weights to start from: a file, ``.safetensors`` or of :func:`torch.save`, or a state dict. Either
            those of the timm network (ImageNet), or for HRNets any that
            :func:`lgcn.backbones.convert_hrnet_state_dict` understands, whose head, if they have one, is loaded too.
        max_stride: stride of the coarsest map that the heads ``"concat"`` and ``"pyramid"`` use, 8, 16 or 32. Later
            layers are left out: two thirds of the parameters of an EfficientNet-lite0 with 16. Not for HRNets.
        upsampling: interpolation between the branches of HRNets, and of no other network.
            ``"bilinear"`` (the default) as in the public facial networks, mmpose's and the paper's released code;
            ``"nearest"`` as in ImageNet networks, timm's among them. The weights do not show the difference.
        **options: to the head, such as ``width`` of the pyramid.

    Raises:
        InputError: where the network has no maps of these strides, or for an unknown option (lists the choices).
        InputFileError: where ``weights`` are missing or belong to another network or number of landmarks, or no
            weights can be fetched.
    """

    stride = STRIDES[0]
    # With other sizes coarser maps are rounded up and do not align with the finest one.
    size_multiple = STRIDES[-1]

    def __init__(
        self,
        name: str,
        num_landmarks: int,
        head: str | None = None,
        pretrained: bool = False,
        weights: str | Path | Mapping[str, Tensor] | None = None,
        max_stride: int = STRIDES[-1],
        upsampling: str | None = None,
        **options: int,
    ) -> None:
        super().__init__()
        self._is_hrnet = is_hrnet = name.startswith("hrnet")
        if head is not None:
            HEADS[head]  # an unknown head is an error before the network is built
        self.net = _create_net(name, pretrained, {"feature_location": ""} if is_hrnet else {})
        strides = _strides(self.net)
        if head is None:
            has_pyramid = [each for each in strides if each in STRIDES] == STRIDES
            head = "concat" if is_hrnet else "pyramid" if has_pyramid else "deconvolution"
        build_head = HEADS[head]
        given = ("channels", "num_landmarks", "num_layers")
        of_head = [option for option in signature(build_head).parameters if option not in given]
        has_depth = head != "deconvolution" and not is_hrnet
        of_network = (["upsampling"] if is_hrnet else []) + (["max_stride"] if has_depth else [])
        known = ["head", "pretrained", "weights", *of_network, *of_head]
        given_here = {"upsampling": upsampling is not None, "max_stride": max_stride != STRIDES[-1]}
        for option in [*options, *(name for name, is_given in given_here.items() if is_given)]:
            check_choice("backbone option", option, known)
        if max_stride not in STRIDES[1:]:
            raise InputError(f"Expected 'max_stride' to be one of 8, 16, 32 (got {max_stride!r}).")
        wanted = STRIDES[: STRIDES.index(max_stride) + 1]
        if is_hrnet:
            _set_upsampling(self.net, check_choice("upsampling", upsampling or UPSAMPLING[0], UPSAMPLING))
        if head == "deconvolution":
            self.net, options["num_layers"] = _any_size(name, self.net, pretrained), _num_doublings(name, strides[-1])
            self._levels, self.size_multiple = [len(strides) - 1], strides[-1]
        else:
            self._levels = [i for i, stride in enumerate(strides) if stride in wanted]
            found = [strides[i] for i in self._levels]
            if found != wanted:
                raise InputError(
                    f"Expected timm network '{name}' to have maps of strides {', '.join(map(str, wanted))} for the "
                    f"head '{head}' (got {found}). Use the head 'deconvolution'."
                )
            if max_stride != STRIDES[-1]:
                self.net, self.size_multiple = _up_to(name, self._levels[-1], pretrained), max_stride
        info: Any = self.net.feature_info
        self._channels_last = getattr(self.net, "output_fmt", "NCHW") == "NHWC"
        self.head = build_head([info.channels()[i] for i in self._levels], num_landmarks, **options)
        self.num_landmarks = num_landmarks
        self.feature_channels = self.head.feature_channels
        cfg: Any = timm.get_pretrained_cfg(name)
        if cfg is not None:
            self.mean, self.std = cfg.mean, cfg.std
        if weights is not None:
            self._load(weights, name)

    def _load(self, weights: str | Path | Mapping[str, Tensor], name: str) -> None:
        if isinstance(weights, Mapping):
            source, state = "'weights'", dict(weights)
        else:
            source, state = str(weights), read_weights(weights)
        own = self.state_dict()
        if self._is_hrnet:
            try:
                state = convert_hrnet_state_dict(state)
            except InputError as error:
                raise InputFileError(f"{source}: {error}") from error
            check_landmarks(source, state, self.num_landmarks)
        else:
            # Skip the layers after the last map, such as the classifier.
            state = {f"net.{key}": value for key, value in state.items() if f"net.{key}" in own}
        parts = ("net.", "head.") if any(key.startswith("head.") for key in state) else ("net.",)
        # PyTorch before 0.4.1 did not count batches.
        wanted = [key for key in own if key.startswith(parts) and not key.endswith("num_batches_tracked")]
        wrong = {
            "missing": [key for key in wanted if key not in state],
            "unknown": [key for key in state if key not in own],
            "of another shape": [key for key in state if key in own and state[key].shape != own[key].shape],
        }
        found = [f"{len(keys)} {how}, such as '{keys[0]}'" for how, keys in wrong.items() if keys]
        if found:
            raise InputFileError(f"Expected {source} to hold weights of timm's '{name}' ({'; '.join(found)}).")
        self.load_state_dict(state, strict=False)

    def forward(self, images: Tensor) -> HeatmapOutput:
        maps = self.net(images)
        maps = [maps[i] for i in self._levels]
        return self.head([m.permute(0, 3, 1, 2) for m in maps] if self._channels_last else maps)


def _strides(net: nn.Module) -> list[int]:
    info: Any = net.feature_info
    return list(info.reduction())


def _up_to(name: str, level: int, pretrained: bool) -> nn.Module:
    """The network without the layers after one of its maps."""
    net = _create_net(name, pretrained, {"out_indices": tuple(range(level + 1))})
    info: Any = net.feature_info
    # timm itself drops these layers, but for networks with mobile blocks.
    if "stage" in info.get_dicts()[-1]:
        net.blocks = cast(nn.Sequential, net.blocks)[: info.get_dicts()[-1]["stage"]]
    return net


def _num_doublings(name: str, stride: int) -> int:
    """How many layers that double the size lead from a map of this stride to stride 4."""
    if stride not in STRIDES[1:]:
        raise InputError(
            f"Expected timm network '{name}' to have a coarsest map of stride 8, 16 or 32 (got {stride}). Choose a "
            "variant with patches of 8, 16 or 32 pixels."
        )
    return STRIDES.index(stride)


def _any_size(name: str, net: nn.Module, pretrained: bool) -> nn.Module:
    """The network, made to take images of any size where timm can do that."""
    if not hasattr(getattr(net, "model", None), "patch_embed"):
        return net
    try:
        return _create_net(name, pretrained, {"dynamic_img_size": True})
    except InputError as error:
        raise InputError(
            f"Expected timm network '{name}' to take images of any size (it does not: {error}). Choose one that does, "
            "such as vit_tiny_patch16_224."
        ) from error


def _set_upsampling(net: nn.Module, mode: str) -> None:
    for module in net.modules():
        if isinstance(module, nn.Upsample):
            module.mode = mode
            module.align_corners = False if mode == "bilinear" else None


def _create_net(name: str, pretrained: bool, options: dict[str, Any]) -> nn.Module:
    try:
        return timm.create_model(name, features_only=True, pretrained=pretrained, **options)
    except Exception as error:
        if not pretrained:
            raise InputError(f"Expected timm network '{name}' to give feature maps ({error}).") from error
        raise InputFileError(
            f"Expected timm to have or fetch ImageNet weights of '{name}' ({error}). "
            "Without a network, give a file of them as 'weights'."
        ) from error

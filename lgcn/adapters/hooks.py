"""Any network as a backbone: hooks read heatmaps and features from its layers by name; networks from files."""

from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile

import torch
from torch import Tensor, nn

from lgcn.backbones import Backbone
from lgcn.backbones.base import IMAGENET_MEAN, IMAGENET_STD
from lgcn.checks import InputError, InputFileError, check_at_least, check_flag, check_shape, check_size
from lgcn.modes import eval_mode
from lgcn.typing import HeatmapOutput, Size

EXPORTED = {"archive_format", "serialized_exported_program.json"}
"""One of them is in every file of ``torch.export.save``; the second, before PyTorch 2.7."""


class HookedBackbone(Backbone):
    """A network of yours as a backbone, unchanged: its heatmaps and features are read from named layers.

    It is tried with one black image here, so that what does not fit shows at once; strides and channels are measured.

    >>> HookedBackbone(network, num_landmarks=17, input_size=(256, 192), features="backbone.stage4")  # doctest: +SKIP

    Args:
        network: called with normalised images [B, 3, H, W].
        num_landmarks: K.
        input_size: (H, W) of the image to try.
        features: name of the layer, as in ``network.named_modules()``, whose output [B, C, h, w] are the features; the
            heatmaps are if it is None.
        heatmaps: name of the layer whose output [B, K, h, w] are the heatmaps; what the network returns if it is None.
        frozen: keep the network in eval mode and its parameters without gradients.
        mean: mean that is subtracted from RGB in [0, 1].
        std: standard deviation by which it is divided.
        size_multiple: H and W of the input must be multiples of it, and of the stride.

    Raises:
        InputError: for a layer that does not exist (with similar names), a shape that does not fit (expected and got),
            or a network that fails with an image of this size.
    """

    def __init__(
        self,
        network: nn.Module,
        num_landmarks: int,
        input_size: Size,
        features: str | None = None,
        heatmaps: str | None = None,
        frozen: bool = False,
        mean: tuple[float, float, float] = IMAGENET_MEAN,
        std: tuple[float, float, float] = IMAGENET_STD,
        size_multiple: int = 1,
    ) -> None:
        super().__init__()
        if not isinstance(network, nn.Module):
            raise InputError(f"Expected 'network' to be a torch.nn.Module (got {type(network).__name__}).")
        self.network = network
        self.num_landmarks = check_at_least("num_landmarks", num_landmarks, 1)
        self.size_multiple = check_at_least("size_multiple", size_multiple, 1)
        self.mean, self.std = mean, std
        self.frozen = check_flag("frozen", frozen)
        self._seen: dict[str, Any] = {}
        for kind, layer in (("heatmaps", heatmaps), ("features", features)):
            if layer is not None:
                self._listen(kind, layer)
        self._has = {"heatmaps": heatmaps is not None, "features": features is not None}
        if frozen:
            for parameter in network.parameters():  # TorchScript has no requires_grad_
                parameter.requires_grad_(False)
            network.eval()
        self._measure(check_size("input_size", input_size))

    def train(self, mode: bool = True) -> "HookedBackbone":
        """Set the mode; a frozen network stays in eval mode."""
        super().train(mode)
        if self.frozen:
            self.network.eval()
        return self

    def forward(self, images: Tensor) -> HeatmapOutput:
        output = self._run(images)
        batch, _, height, width = images.shape
        size = {"h": height // self.stride, "w": width // self.stride}
        check_shape("heatmaps", output.heatmaps, "B K h w", B=batch, K=self.num_landmarks, **size)
        check_shape("features", output.features, "B C h w", B=batch, C=self.feature_channels)
        return output

    def _listen(self, kind: str, layer: str) -> None:
        if isinstance(self.network, torch.jit.ScriptModule | _Exported):
            raise InputError(
                f"Expected no layer for '{kind}' of a network from a file, whose layers cannot be read (got "
                f"'{layer}'). Export a network that returns heatmaps, or pass the module itself."
            )
        layers = dict(self.network.named_modules())
        if not layer or layer not in layers:
            near = get_close_matches(layer, layers, n=3) or list(layers)[1:4]
            raise InputError(
                f"Expected '{kind}' to name a layer of {type(self.network).__name__} (it has no '{layer}'). Similar or "
                f"first ones: {', '.join(near) or 'none'}."
            )
        # A bound method follows deepcopy and pickle to the copy; a closure would write into the original.
        layers[layer].register_forward_hook(partial(self._keep, kind))

    def _keep(self, kind: str, module: nn.Module, inputs: Any, output: Any) -> None:
        self._seen[kind] = output

    def _run(self, images: Tensor) -> HeatmapOutput:
        self._seen.clear()
        returned = self.network(images)
        seen = dict(self._seen)
        self._seen.clear()
        for kind, expected in self._has.items():
            if expected and kind not in seen:
                raise InputError(f"Expected the layer of '{kind}' to run in the forward pass (it did not).")
        heatmaps = _map_of("heatmaps", seen.get("heatmaps", returned))
        return HeatmapOutput(heatmaps, _map_of("features", seen["features"]) if "features" in seen else heatmaps)

    def _measure(self, input_size: Size) -> None:
        height, width = input_size
        parameter = next(self.network.parameters(), torch.zeros(()))
        try:
            with torch.no_grad(), eval_mode(self.network):
                output = self._run(parameter.new_zeros(1, 3, height, width))
        except InputError:
            raise
        except Exception as error:
            reason = " ".join(str(error).split())[:200]
            raise InputError(
                f"Expected 'network' to take images [1, 3, {height}, {width}] ({type(error).__name__}: {reason})."
            ) from error
        check_shape("heatmaps", output.heatmaps, "B K h w", B=1, K=self.num_landmarks)
        check_shape("features", output.features, "B C h w", B=1)
        self.feature_channels = output.features.shape[1]
        self.stride = height // max(1, output.heatmaps.shape[2])
        size = {"h": height // max(1, self.stride), "w": width // max(1, self.stride)}
        check_shape("heatmaps", output.heatmaps, "B K h w", B=1, K=self.num_landmarks, **size)


def load_network(path: str | Path) -> nn.Module:
    """The network in a TorchScript file, or in a file of ``torch.export.save`` (``.pt2``), for a backbone.

    Hooks see the layers of neither: heatmaps come from what it returns. An exported network cannot be trained.

    Raises:
        InputFileError: if the file is missing or holds neither.
    """
    path = Path(path)
    if not path.is_file():
        raise InputFileError(f"Expected a TorchScript or torch.export file at '{path}' (there is none).")
    names = _archive_names(path)
    # PyTorch logs a traceback if it is asked for a format that the file does not have.
    for markers, read in (({"constants.pkl"}, _read_script), (EXPORTED, _read_exported)):
        if markers & names:
            try:
                return read(path)
            except Exception as error:  # of many kinds, by format and version
                reason = " ".join(str(error).split())[:160]
                raise InputFileError(
                    f"Expected a TorchScript or torch.export file that this PyTorch can read at '{path}' ({reason})."
                ) from error
    got = "what torch.save writes" if "data.pkl" in names else "another format"
    raise InputFileError(
        f"Expected a TorchScript or torch.export file at '{path}' (got {got}). Of what torch.save wrote, build the "
        "network itself, and load its weights."
    )


def _archive_names(path: Path) -> set[str]:
    """Names in a zip file, with and without the folder that PyTorch puts around them; none if it is no zip file."""
    try:
        with ZipFile(path) as archive:
            return {part for name in archive.namelist() for part in (name, name.partition("/")[2])}
    except (OSError, BadZipFile):
        return set()


def _read_script(path: Path) -> nn.Module:
    network: nn.Module = torch.jit.load(path, map_location="cpu")
    return network


def _read_exported(path: Path) -> nn.Module:
    return _Exported(torch.export.load(path).module())


class _Exported(nn.Module):
    """An exported network, which has no modes: ``train`` and ``eval`` raise on it."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        object.__setattr__(self, "_network", network)

    def forward(self, images: Tensor) -> Any:
        return self._network(images)  # type: ignore[operator]


def _map_of(kind: str, output: Any) -> Tensor:
    """The tensor [B, C, h, w] in what a layer returned: it, its attribute of that name, or the last of a list."""
    if isinstance(output, dict) and kind in output:
        output = output[kind]
    elif not isinstance(output, Tensor) and hasattr(output, kind):
        output = getattr(output, kind)
    if isinstance(output, (tuple, list)) and output:
        output = output[0] if kind == "heatmaps" else output[-1]
    if not isinstance(output, Tensor) or output.dim() != 4:
        got = list(output.shape) if isinstance(output, Tensor) else type(output).__name__
        if isinstance(output, dict):
            got = f"a dict of {', '.join(map(str, output))}"
        raise InputError(
            f"Expected '{kind}' to have shape [B, C, h, w] (got {got}). Name the layer that returns them as '{kind}'."
        )
    return output

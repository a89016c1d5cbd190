"""Heatmap codec: encoding of landmarks into target heatmaps, and decoding, with the same options."""

import math

import torch
from torch import Tensor

from lgcn.checks import InputError, check_choice, check_devices, check_positive, check_shape, check_size
from lgcn.codecs.decoding import DECODERS, find_peaks, gather_window
from lgcn.codecs.rendering import render_gaussians
from lgcn.geometry import heatmap_to_input, input_to_heatmap
from lgcn.typing import DecodedLandmarks, Size

ACTIVATIONS = ("sigmoid", "clamp", "linear", "softmax")
TARGETS = ("integer", "subpixel")
ALIGNMENTS = ("center", "corner")


class HeatmapCodec:
    """Encode landmarks in pixels of the network input as Gaussian heatmaps, and decode heatmaps to landmarks.

    Args:
        input_size: (H, W) of the network's input.
        heatmap_size: (h, w), the input over one whole stride.
        sigma: standard deviation of the Gaussian, in cells.
        decode: ``"argmax"`` (integer cells), ``"quarter"`` (a quarter cell towards the larger
            neighbour), ``"dark"`` (Newton step on the log map), ``"softargmax"`` (mean position) or
            ``"hrnet"`` (as the public HRNet facial code does; see :func:`lgcn.codecs.truncate_to_image`).
        activation: turns the network's output into values: ``"sigmoid"`` and ``"softmax"`` (over the cells of each map)
            for logits, ``"clamp"`` (to [0, 1]) and ``"linear"`` (unchanged, the paper's released code) for values.
        target: ``"integer"`` puts the peak on the nearest cell, where it is exactly 1 (the focal loss
            needs that); ``"subpixel"`` puts it where the landmark is.
        align: position in the input of cell c: ``"center"`` of the pixels that it covers, (c + 0.5) * stride - 0.5, or
            ``"corner"``, the first of them, c * stride, for networks that were trained so, such as mmpose's. The wrong
            choice shifts all landmarks by half a stride.

    The confidence is the activated value at the peak. For ``softmax`` it is the probability within ceil(sigma) cells of
    the peak. Confidences are in [0, 1], except with ``linear``, which does not limit the output.

    Raises:
        InputError: for an unknown choice, a ``sigma`` that is not positive, or sizes of different proportions.
    """

    def __init__(
        self,
        input_size: Size,
        heatmap_size: Size,
        sigma: float = 1.5,
        decode: str = "dark",
        activation: str = "sigmoid",
        target: str = "integer",
        align: str = "center",
    ) -> None:
        input_size, heatmap_size = check_size("input_size", input_size), check_size("heatmap_size", heatmap_size)
        check_positive("sigma", sigma)
        stride = input_size[0] / heatmap_size[0]
        if input_size[1] / heatmap_size[1] != stride:
            raise InputError(
                f"Expected 'heatmap_size' in the proportions of 'input_size' {tuple(input_size)} "
                f"(got {tuple(heatmap_size)}). Use an input that the backbone's stride divides."
            )
        self.input_size, self.heatmap_size = input_size, heatmap_size
        self.stride = stride
        self.sigma = sigma
        self.decode_name, self._read_positions = decode, DECODERS[decode]
        self.activation = check_choice("activation", activation, ACTIVATIONS)
        self.target = check_choice("target", target, TARGETS)
        self.align = check_choice("align", align, ALIGNMENTS)
        self._shift = (stride - 1) / 2 if align == "corner" else 0.0

    def encode(self, pos: Tensor, visibility: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Draw target heatmaps [B, K, h, w] in [0, 1], and return weights [B, K] of their landmarks.

        Args:
            pos: [B, K, 2], pixels of the input; NaN counts as not annotated.
            visibility: [B, K]; 0 where a landmark is not annotated.

        Returns:
            Maps, which are zero if a landmark is not annotated, and weights: 1 if it is annotated and lies in the map,
            else 0.
        """
        check_shape("pos", pos, "B K 2")
        pos = pos if pos.is_floating_point() else pos.to(torch.get_default_dtype())
        missing = ~pos.isfinite().all(dim=-1)
        if visibility is not None:
            check_shape("visibility", visibility, "B K", B=pos.shape[0], K=pos.shape[1])
            check_devices(pos.device, "'pos'", visibility=visibility)
            missing = missing | (visibility == 0)
        # A Gaussian at infinity gives an empty map.
        centres = input_to_heatmap(pos.masked_fill(missing.unsqueeze(-1), math.inf) + self._shift, self.stride)
        cells = centres.round()
        height, width = self.heatmap_size
        inside = ((cells >= 0) & (cells < cells.new_tensor([width, height]))).all(dim=-1)
        heatmaps = render_gaussians(cells if self.target == "integer" else centres, self.heatmap_size, self.sigma)
        return heatmaps, inside.to(pos.dtype)

    def activate(self, heatmaps: Tensor) -> Tensor:
        """Turn the network's output [B, K, h, w] into values, in float32 or float64."""
        check_shape("heatmaps", heatmaps, "B K h w")
        heatmaps = heatmaps if heatmaps.dtype == torch.float64 else heatmaps.float()
        if self.activation == "sigmoid":
            return heatmaps.sigmoid()
        if self.activation == "clamp":
            return heatmaps.clamp(0, 1)
        if self.activation == "linear":
            return heatmaps
        return heatmaps.flatten(2).softmax(dim=-1).view_as(heatmaps)

    def decode(self, heatmaps: Tensor) -> DecodedLandmarks:
        """Read positions and confidences from heatmaps [B, K, h, w] as the network returned them."""
        height, width = self.heatmap_size
        check_shape("heatmaps", heatmaps, "B K h w", h=height, w=width)
        outputs = heatmaps if heatmaps.dtype == torch.float64 else heatmaps.float()
        values = self.activate(outputs)
        # Peaks are those of the output: saturated activations have ties.
        peak, _ = find_peaks(outputs)
        if self.activation == "softmax":
            confidence = gather_window(values, peak, math.ceil(self.sigma)).sum(dim=(-2, -1)).clamp_max(1.0)
        else:
            confidence = gather_window(values, peak, 0).flatten(1)
        cells = self._read_positions(self._readable(outputs, values), peak, self.sigma)
        return DecodedLandmarks(heatmap_to_input(cells, self.stride) - self._shift, confidence)

    def _readable(self, outputs: Tensor, values: Tensor) -> Tensor:
        """Return the values to read positions from; linear outputs above 1 are not clipped, to keep their peaks."""
        if self.activation not in ("clamp", "linear"):
            return values
        return outputs if self.decode_name == "hrnet" else outputs.clamp_min(0)

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({self.input_size} -> {self.heatmap_size}, sigma={self.sigma}, "
            f"decode={self.decode_name}, activation={self.activation}, target={self.target}, "
            f"align={self.align})"
        )

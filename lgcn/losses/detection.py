"""The loss a detector is trained with: eq. 9 of the paper, generalised."""

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor, nn

from lgcn.checks import InputError, check_shape
from lgcn.losses.coordinate import l1_loss
from lgcn.losses.distribution import heatmap_cross_entropy
from lgcn.losses.focal import focal_heatmap_loss
from lgcn.registry import Registry
from lgcn.typing import DetectorOutput, Size


class HeatmapEncoder(Protocol):
    """What a loss needs of a codec: :class:`lgcn.codecs.HeatmapCodec` is one."""

    @property
    def activation(self) -> str:
        """What turns a heatmap into values: "sigmoid", "clamp" (it holds values already) or "softmax"."""
        ...

    @property
    def target(self) -> str:
        """Where Gaussians are centred: "integer" (on a cell, where they are 1) or "subpixel"."""
        ...

    def encode(self, pos: Tensor, visibility: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """``pos`` [B, K, 2] in input pixels -> targets [B, K, h, w] and weight [B, K], 0 where none could be drawn."""
        ...


HeatmapLoss = Callable[[Tensor, Tensor, Tensor, HeatmapEncoder], Tensor]
"""(heatmaps, target [B, K, h, w], weight [B, K], codec) -> scalar."""

HEATMAP_LOSSES: Registry[HeatmapLoss] = Registry("heatmap loss")
"""What :class:`DetectionLoss` knows by name; ``HEATMAP_LOSSES.add`` one of your own."""


@HEATMAP_LOSSES.register("focal")
def _focal(heatmaps: Tensor, target: Tensor, weight: Tensor, codec: HeatmapEncoder) -> Tensor:
    if codec.target != "integer":
        raise InputError(
            f"Expected 'codec.target' to be 'integer' for the focal heatmap loss (got '{codec.target}'), "
            "whose positive cells are those where the target is exactly 1. Use heatmap='cross_entropy' instead."
        )
    return focal_heatmap_loss(heatmaps, target, weight, from_logits=codec.activation != "clamp")


@HEATMAP_LOSSES.register("cross_entropy")
def _cross_entropy(heatmaps: Tensor, target: Tensor, weight: Tensor, codec: HeatmapEncoder) -> Tensor:
    return heatmap_cross_entropy(heatmaps, target, weight)


class DetectionLoss(nn.Module):
    r"""Eq. 9, :math:`L = \lambda_1 L_1 + \lambda_2 L_2`, with a third term for trainable decodes.

    ``total = heatmap_weight * heatmap + refined_weight * refined + initial_weight * initial``

    ``heatmap`` is eq. 8 (or another of :data:`HEATMAP_LOSSES`), ``refined`` and ``initial`` are
    eq. 7 on the graph's and on the decoded landmarks. Coordinates are divided by the (W, H) of
    the input before eq. 7, as the paper's are. Landmarks outside the crop have no heatmap, so
    only the coordinate terms see them; landmarks of visibility 0 are seen by none.

    Args:
        heatmap: name of the heatmap loss.
        heatmap_weight: the paper's :math:`\lambda_2`.
        refined_weight: the paper's :math:`\lambda_1`.
        initial_weight: weight of the decoded landmarks; of use where the decode has a gradient
            (soft-argmax). 0 in the paper.

    A term of weight 0 is reported but has no gradient.

    Raises:
        InputError: if ``heatmap`` is unknown (lists the choices) or a weight is negative.
    """

    def __init__(
        self,
        heatmap: str = "focal",
        heatmap_weight: float = 1.0,
        refined_weight: float = 1.0,
        initial_weight: float = 0.0,
    ) -> None:
        super().__init__()
        self.heatmap = heatmap
        self.heatmap_loss = HEATMAP_LOSSES[heatmap]
        self.weights = {"heatmap": heatmap_weight, "refined": refined_weight, "initial": initial_weight}
        for name, weight in self.weights.items():
            if not weight >= 0:
                raise InputError(f"Expected '{name}_weight' to be 0 or more (got {weight}).")

    def forward(
        self,
        output: DetectorOutput,
        target_pos: Tensor,
        visibility: Tensor | None,
        codec: HeatmapEncoder,
        input_size: Size,
    ) -> dict[str, Tensor]:
        """Terms and their weighted sum.

        Args:
            output: what the detector returned.
            target_pos: [B, K, 2], input pixels; may be NaN where ``visibility`` is 0.
            visibility: [B, K], 0 where a landmark is missing. None: all are there.
            codec: the detector's codec, which draws the target heatmaps.
            input_size: (H, W) of the network input.

        Returns:
            Scalars "total", "heatmap", "refined" and "initial", the last three before weighting.
        """
        B, K, _ = output.pos.shape
        check_shape("target_pos", target_pos, "B K 2", B=B, K=K)
        height, width = input_size
        side = target_pos.new_tensor([width, height])

        def coordinates(pos: Tensor) -> Tensor:
            return l1_loss(pos / side, target_pos / side, visibility)

        def heatmaps() -> Tensor:
            target, weight = codec.encode(target_pos, visibility)
            return self.heatmap_loss(output.heatmaps, target, weight, codec)

        compute: dict[str, Callable[[], Tensor]] = {
            "heatmap": heatmaps,
            "refined": lambda: coordinates(output.pos),
            "initial": lambda: coordinates(output.initial),
        }
        terms = {}
        total = torch.zeros((), device=output.pos.device)
        for name, term in compute.items():
            with torch.set_grad_enabled(torch.is_grad_enabled() and self.weights[name] > 0):
                terms[name] = term()
            if self.weights[name] > 0:
                total = total + self.weights[name] * terms[name]
        return {"total": total, **terms}

    def extra_repr(self) -> str:
        return ", ".join([f"heatmap={self.heatmap!r}", *(f"{name}_weight={w:g}" for name, w in self.weights.items())])

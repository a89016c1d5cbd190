"""Training loss of a detector: eq. 9 of the paper, generalised."""

from collections.abc import Callable, Mapping
from functools import partial
from inspect import signature
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from lgcn.checks import (
    InputError,
    check_devices,
    check_number,
    check_options,
    check_shape,
    check_size,
    check_values,
    shown,
)
from lgcn.losses.coordinate import COORDINATE_LOSSES, coordinate_loss
from lgcn.losses.cross_entropy import heatmap_cross_entropy
from lgcn.losses.focal import focal_heatmap_loss
from lgcn.losses.likelihood import gaussian_nll_loss
from lgcn.losses.regression import adaptive_wing_loss, heatmap_mse_loss
from lgcn.registry import Registry
from lgcn.typing import DetectorOutput, Size


class HeatmapEncoder(Protocol):
    """The part of a codec that a loss uses; :class:`lgcn.codecs.HeatmapCodec` has it."""

    @property
    def activation(self) -> str:
        """The function from heatmaps to values: "sigmoid", "softmax", or "clamp" and "linear" for values."""
        ...

    @property
    def target(self) -> str:
        """Centres of the Gaussians: "integer" (on a cell, where they are 1) or "subpixel"."""
        ...

    def encode(self, pos: Tensor, visibility: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """``pos`` [B, K, 2] in input pixels -> targets [B, K, h, w] and weight [B, K], 0 where none could be drawn."""
        ...


HeatmapLoss = Callable[..., Tensor]
"""(heatmaps, target [B, K, h, w], weight [B, K], codec, **options) -> scalar."""

HEATMAP_LOSSES: Registry[HeatmapLoss] = Registry("heatmap loss")
"""The heatmap losses of :class:`DetectionLoss`; register your own with ``HEATMAP_LOSSES.register``."""


@HEATMAP_LOSSES.register("focal")
def _focal(
    heatmaps: Tensor, target: Tensor, weight: Tensor, codec: HeatmapEncoder, alpha: float = 2.0, beta: float = 4.0
) -> Tensor:
    if codec.target != "integer":
        raise InputError(
            f"Expected 'codec.target' to be 'integer' for the focal heatmap loss (got '{codec.target}'), "
            "whose positive cells are those where the target is exactly 1. Use heatmap='cross_entropy' instead."
        )
    from_logits = codec.activation not in ("clamp", "linear")
    return focal_heatmap_loss(heatmaps, target, weight, alpha, beta, from_logits=from_logits)


@HEATMAP_LOSSES.register("cross_entropy")
def _cross_entropy(heatmaps: Tensor, target: Tensor, weight: Tensor, codec: HeatmapEncoder) -> Tensor:
    return heatmap_cross_entropy(heatmaps, target, weight)


@HEATMAP_LOSSES.register("mse")
def _mse(heatmaps: Tensor, target: Tensor, weight: Tensor, codec: HeatmapEncoder) -> Tensor:
    return heatmap_mse_loss(heatmaps, target, weight, from_logits=_are_logits(codec, "mse"))


@HEATMAP_LOSSES.register("adaptive_wing")
def _adaptive_wing(
    heatmaps: Tensor,
    target: Tensor,
    weight: Tensor,
    codec: HeatmapEncoder,
    alpha: float = 2.1,
    omega: float = 14.0,
    epsilon: float = 1.0,
    theta: float = 0.5,
    foreground_weight: float = 10.0,
) -> Tensor:
    from_logits = _are_logits(codec, "adaptive_wing")
    options = (alpha, omega, epsilon, theta, foreground_weight)
    return adaptive_wing_loss(heatmaps, target, weight, *options, from_logits=from_logits)


def _are_logits(codec: HeatmapEncoder, name: str) -> bool:
    if codec.activation == "softmax":
        raise InputError(
            f"Expected 'codec.activation' to be 'sigmoid', 'clamp' or 'linear' for the heatmap loss '{name}' (got "
            "'softmax', whose values sum to 1 and are nowhere near the target's). Use heatmap='cross_entropy' instead."
        )
    return codec.activation == "sigmoid"


class DetectionLoss(nn.Module):
    r"""Eq. 9, :math:`L = \lambda_1 L_1 + \lambda_2 L_2`, with terms for trainable decodes and for covariances.

    ``total = heatmap_weight * heatmap + refined_weight * refined + initial_weight * initial
    + likelihood_weight * likelihood``

    ``heatmap`` is eq. 8 (or another of :data:`HEATMAP_LOSSES`), ``refined`` and ``initial`` are
    eq. 7 (or another of :data:`COORDINATE_LOSSES`) on the graph's and on the decoded landmarks.
    Errors and options of a coordinate loss are in pixels of the input. Its result is divided by the input's (W, H), so
    that eq. 7 is in the paper's unit, the side of the crop, and a weight means about the same for every coordinate
    loss. Landmarks outside the crop have no heatmap and enter the coordinate terms only. Landmarks of visibility 0
    enter no term. Of a backbone with intermediate supervision, ``heatmap`` is the sum over all stages.
    ``likelihood`` is :func:`gaussian_nll_loss` of the covariances that a Gaussian refiner predicts, in
    pixels of the input. Its gradient reaches covariances only: positions are trained by the other terms.

    Args:
        heatmap: name of the heatmap loss.
        heatmap_weight: the paper's :math:`\lambda_2`.
        refined_weight: the paper's :math:`\lambda_1`.
        initial_weight: weight of the decoded landmarks; useful if the decoder has a gradient (soft-argmax). 0 in the
            paper.
        coordinate: name of the loss of both coordinate terms.
        heatmap_options: arguments of the heatmap loss, such as ``alpha``.
        coordinate_options: arguments of the coordinate loss, such as ``epsilon``.
        likelihood_weight: weight of the negative log-likelihood; needs a refiner that predicts covariances.

    A term of weight 0 is returned but has no gradient; ``likelihood`` is returned if there are covariances.

    Raises:
        InputError: if a name or option is unknown (lists the choices), a weight is negative, or an option of the
            coordinate loss is out of its range; in :meth:`forward`, if the heatmap loss does not suit the codec.
    """

    def __init__(
        self,
        heatmap: str = "focal",
        heatmap_weight: float = 1.0,
        refined_weight: float = 1.0,
        initial_weight: float = 0.0,
        coordinate: str = "l1",
        heatmap_options: Mapping[str, Any] | None = None,
        coordinate_options: Mapping[str, Any] | None = None,
        likelihood_weight: float = 0.0,
    ) -> None:
        super().__init__()
        self.heatmap = heatmap
        self.coordinate = coordinate
        self.heatmap_loss = _with_options("heatmap", HEATMAP_LOSSES, heatmap, heatmap_options, num_given=4)
        self.penalty = _with_options("coordinate", COORDINATE_LOSSES, coordinate, coordinate_options, num_given=1)
        self.penalty(torch.zeros(1, 2))  # an option out of its range is refused now
        self.weights = {
            "heatmap": heatmap_weight,
            "refined": refined_weight,
            "initial": initial_weight,
            "likelihood": likelihood_weight,
        }
        for name, weight in self.weights.items():
            check_number(f"{name}_weight", weight, 0)

    def forward(
        self,
        output: DetectorOutput,
        target_pos: Tensor,
        visibility: Tensor | None,
        codec: HeatmapEncoder,
        input_size: Size,
    ) -> dict[str, Tensor]:
        """Compute the terms and their weighted sum.

        Args:
            output: output of the detector.
            target_pos: [B, K, 2], input pixels; may be NaN where ``visibility`` is 0.
            visibility: [B, K], 0 where a landmark is missing. None: none is missing.
            codec: the detector's codec, which draws the target heatmaps.
            input_size: (H, W) of the network input.

        Returns:
            Scalars "total", and before weighting "heatmap", "refined", "initial" and, if the output has covariances,
            "likelihood".
        """
        if not isinstance(output, DetectorOutput):
            raise InputError(f"Expected 'output' to be a DetectorOutput (got {type(output).__name__}).")
        for each in (output.pos, output.initial):
            check_shape("output", each, "B K 2")
        B, K, _ = output.pos.shape
        check_shape("output.heatmaps", output.heatmaps, "B K h w", B=B, K=K)
        check_shape("target_pos", target_pos, "B K 2", B=B, K=K)
        if visibility is not None:
            check_shape("visibility", visibility, "B K", B=B, K=K)
        check_devices(target_pos.device, "'target_pos'", visibility=visibility)
        check_values(output.pos, target_pos=target_pos)
        if isinstance(codec, str) or not callable(getattr(codec, "encode", None)):
            raise InputError(f"Expected 'codec' to encode landmarks as heatmaps (got {type(codec).__name__}).")
        height, width = check_size("input_size", input_size)
        side = target_pos.new_tensor([width, height])

        def coordinates(pos: Tensor) -> Tensor:
            return coordinate_loss(self.penalty, pos, target_pos, visibility, side)

        def heatmaps() -> Tensor:
            target, weight = codec.encode(target_pos, visibility)
            stages = (output.heatmaps, *(output.intermediate or ()))
            return torch.stack([self.heatmap_loss(each, target, weight, codec) for each in stages]).sum()

        compute: dict[str, Callable[[], Tensor]] = {
            "heatmap": heatmaps,
            "refined": lambda: coordinates(output.pos),
            "initial": lambda: coordinates(output.initial),
        }
        covariance = output.covariance
        if covariance is not None:
            compute["likelihood"] = lambda: gaussian_nll_loss(output.pos.detach(), target_pos, covariance, visibility)
        elif self.weights["likelihood"] > 0:
            raise InputError(
                "Expected 'output' with covariances for 'likelihood_weight' (got none). Use a refiner that predicts "
                "them, such as refiner.name: gaussian, or set likelihood_weight to 0."
            )
        terms = {}
        total = torch.zeros((), device=output.pos.device)
        for name, term in compute.items():
            with torch.set_grad_enabled(torch.is_grad_enabled() and self.weights[name] > 0):
                terms[name] = term()
            if self.weights[name] > 0:
                total = total + self.weights[name] * terms[name]
        return {"total": total, **terms}

    def extra_repr(self) -> str:
        shown = {name: weight for name, weight in self.weights.items() if name != "likelihood" or weight > 0}
        weights = ", ".join(f"{name}_weight={weight:g}" for name, weight in shown.items())
        return f"heatmap={self.heatmap!r}, coordinate={self.coordinate!r}, {weights}"


def _with_options(
    term: str, losses: Registry[Callable[..., Tensor]], name: str, options: Mapping[str, Any] | None, num_given: int
) -> Callable[..., Tensor]:
    loss = losses[name]
    if options is not None and not isinstance(options, Mapping):
        raise InputError(f"Expected '{term}_options' to map names to values (got {shown(options)}).")
    given = list(signature(loss).parameters)
    if options and len(given) == num_given:
        raise InputError(f"Expected no '{term}_options' for the {losses.kind} '{name}' (got {', '.join(options)}).")
    check_options(f"{term} option", options or {}, loss, given=given[:num_given])
    return partial(loss, **options or {})

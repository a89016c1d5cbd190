"""From initial landmarks, confidences and a feature map to refined landmarks: the paper's section III.C-D."""

import copy
from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch_geometric.nn import MLP, BatchNorm

from lgcn.checks import InputError, check_at_least, check_choice, check_mask, check_shape
from lgcn.graph import SAMPLING_MODES, sample_features
from lgcn.nn.connectivity import Connectivity, LearnableConnectivity
from lgcn.nn.functional.autocast import autocast_disabled
from lgcn.nn.functional.masked_batch_norm import batch_norm_of
from lgcn.nn.models.lgcn import LGCN
from lgcn.typing import Size

OUTPUTS = ("absolute", "offset")
COORDINATES = ("pixel", "cell")


class LandmarkRefiner(nn.Module):
    r"""Moves every landmark to where what it sees and all the others say it must be.

    .. math::
        \mathbf{h}^0_i = \mathbf{p}_i \oplus \mathrm{MLP}_{visual}(\mathrm{features}(\mathbf{p}_i))
        \;[\oplus\, \mathbf{t}_{l_i}] \;[\oplus\, c_i], \qquad \hat{\mathbf{p}} = \mathrm{LGCN}(\mathbf{h}^0)
        \;\text{ or }\; \mathbf{p} + \mathrm{LGCN}(\mathbf{h}^0)

    Eq. 2, then eq. 3-6 in the layers; the terms in brackets are options beyond the paper, without which a
    node does not know which landmark it is. Inside, positions are fractions of the input.

    Several steps are the cascade of `"Structured Landmark Detection via Topology-Adapting Deep Graph Learning"
    <https://arxiv.org/abs/2004.08190>`_: each starts where the one before has moved the landmarks to, and reads the
    features there.

    Args:
        num_landmarks: K.
        feature_channels: C of the feature map (270 for HRNet-W18).
        input_size: (H, W) of the network's input, to whose pixels positions refer.
        visual_channels: widths of the visual MLP's layers; the last is the width of :math:`f_i`.
        visual_norm: ``"batch_norm"`` after the activation of the visual MLP's hidden layers, or None.
        visual_act_last: an activation after the visual MLP's last layer too.
        hidden_channels: widths of the graph layers before the last, which has 2.
        connectivity: where edge weights come from; None: ``LearnableConnectivity(num_landmarks)`` (the paper). Further
            steps that share no parameters have copies of it.
        output: ``"absolute"`` positions (the paper) or an ``"offset"`` from where the step starts, 0 at first.
        coordinates: fractions count from the border of the input, ``"pixel"``: ``(pos + 0.5) / (W, H)``, or as the
            paper's released code has it from the centre of the heatmap's first cell, ``"cell"``:
            ``(x, y) / (w, h)`` in cells going in, and ``pos / (W, H)`` coming out.
        act: activation between the graph layers, or None.
        shape_features: whether :math:`q_{ij}` enters a layer; one flag for all, or one a layer.
        bias: whether the graph layers have a bias.
        norm: between the graph layers, ``"batch_norm"``, ``"layer_norm"`` or None.
        dropout: probability between the graph layers.
        sampling: ``"bilinear"`` or ``"nearest"``.
        landmark_channels: width of a learned embedding :math:`t` of the landmark's type; 0 leaves it out.
        confidence_feature: whether a node sees its own confidence.
        num_steps: refinement steps.
        share_steps: whether all steps have the same parameters.

    Raises:
        InputError: for names, options or numbers that cannot be used.
    """

    def __init__(
        self,
        num_landmarks: int,
        feature_channels: int,
        input_size: Size,
        visual_channels: Sequence[int] = (128, 64),
        visual_norm: str | None = None,
        visual_act_last: bool = False,
        hidden_channels: Sequence[int] = (64, 16),
        connectivity: Connectivity | None = None,
        output: str = "absolute",
        coordinates: str = "pixel",
        act: str | None = "relu",
        shape_features: bool | Sequence[bool] = True,
        bias: bool = True,
        norm: str | None = None,
        dropout: float = 0.0,
        sampling: str = "bilinear",
        landmark_channels: int = 0,
        confidence_feature: bool = False,
        num_steps: int = 1,
        share_steps: bool = True,
    ) -> None:
        super().__init__()
        if not visual_channels:
            raise InputError("Expected 'visual_channels' to hold the width of one layer at least (got none).")
        if visual_norm is not None:
            check_choice("visual_norm", visual_norm, ("batch_norm",))
        self.num_landmarks = num_landmarks
        self.input_size = (input_size[0], input_size[1])
        self.output = check_choice("output", output, OUTPUTS)
        self.coordinates = check_choice("coordinates", coordinates, COORDINATES)
        self.sampling = check_choice("sampling", sampling, SAMPLING_MODES)
        self.confidence_feature = confidence_feature
        self.visual_act_last = visual_act_last
        self.num_steps = check_at_least("num_steps", num_steps, 1)
        self.share_steps = share_steps
        self.landmark_embedding = nn.Embedding(num_landmarks, landmark_channels) if landmark_channels else None
        connectivity = LearnableConnectivity(num_landmarks) if connectivity is None else connectivity

        def visual_mlp() -> MLP:
            return MLP([feature_channels, *visual_channels], norm=visual_norm, act_first=True)

        def lgcn(connectivity: Connectivity) -> LGCN:
            return LGCN(
                2 + visual_channels[-1] + landmark_channels + confidence_feature,
                (*hidden_channels, 2),
                connectivity,
                act=act,
                shape_features=shape_features,
                bias=bias,
                norm=norm,
                dropout=dropout,
                dense=True,
            )

        self.visual_mlp, self.lgcn = visual_mlp(), lgcn(connectivity)
        later = range(0 if share_steps else num_steps - 1)
        self.later_visual_mlps = nn.ModuleList(visual_mlp() for _ in later)
        self.later_lgcns = nn.ModuleList(lgcn(copy.deepcopy(connectivity)) for _ in later)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draws all parameters anew; with ``output="offset"`` the last layer of each step starts at zero."""
        if self.landmark_embedding is not None:
            self.landmark_embedding.reset_parameters()
        for visual_mlp, lgcn in zip(
            [self.visual_mlp, *self.later_visual_mlps], [self.lgcn, *self.later_lgcns], strict=True
        ):
            visual_mlp.reset_parameters()
            lgcn.reset_parameters()
            if self.output == "offset":
                for parameter in lgcn.convs[-1].parameters():
                    nn.init.zeros_(parameter)

    def for_inference(self) -> "LandmarkRefiner":
        """A copy for inference, see :meth:`Connectivity.frozen`: what to compile and to export."""
        frozen = copy.deepcopy(self).eval().requires_grad_(False)
        frozen.lgcn = self.lgcn.frozen()
        for step, lgcn in enumerate(self.later_lgcns):
            assert isinstance(lgcn, LGCN)
            frozen.later_lgcns[step] = lgcn.frozen()
        return frozen

    def node_features(
        self, features: Tensor, pos: Tensor, confidence: Tensor, step: int = 0, mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """h^0 of eq. 2, [B, K, C'], and the positions p as fractions of the input, [B, K, 2]."""
        height, width = self.input_size
        p = (pos + 0.5) / pos.new_tensor([width, height])
        if self.coordinates == "cell":
            p = p - 0.5 / pos.new_tensor([features.shape[-1], features.shape[-2]])
        visual_mlp, _ = self._parts(step)
        sampled = sample_features(features, pos, self.input_size, self.sampling)
        visual = _see(visual_mlp, sampled, mask)
        if self.visual_act_last:
            visual = visual_mlp.act(visual)
        parts = [p, visual]
        if self.landmark_embedding is not None:
            parts.append(self.landmark_embedding.weight.expand(pos.shape[0], -1, -1))
        if self.confidence_feature:
            parts.append(confidence.unsqueeze(-1))
        return torch.cat(parts, dim=-1), p

    def forward(
        self,
        features: Tensor,
        pos: Tensor,
        confidence: Tensor,
        mask: Tensor | None = None,
        return_connectivity: bool = False,
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Refines landmarks.

        Args:
            features: [B, C, h, w], the backbone's.
            pos: [B, K, 2], initial landmarks, pixels of the input.
            confidence: [B, K], finite, in [0, 1] as a rule.
            mask: [B, K], False where a landmark is missing: the others are refined as if it were not there, and its
                position stays as it came.
            return_connectivity: return ``(refined, e)`` with e [B, K, K], of the last step.

        Returns:
            Refined landmarks [B, K, 2], pixels of the input.
        """
        refined, weight = self.steps(features, pos, confidence, mask)[-1]
        return (refined, weight) if return_connectivity else refined

    def steps(
        self, features: Tensor, pos: Tensor, confidence: Tensor, mask: Tensor | None = None
    ) -> list[tuple[Tensor, Tensor]]:
        """Landmarks [B, K, 2] and edge weights [B, K, K] of each step, for a loss on all; else as :meth:`forward`."""
        check_shape("pos", pos, "B K 2", K=self.num_landmarks)
        check_shape("features", features, "B C h w", B=pos.shape[0], C=self.visual_mlp.in_channels)
        check_shape("confidence", confidence, "B K", B=pos.shape[0], K=self.num_landmarks)
        given = pos
        if mask is not None:
            check_mask("mask", mask, "B K", B=pos.shape[0], K=self.num_landmarks)
            pos = pos.masked_fill(~mask.unsqueeze(-1), 0.0)
            confidence = confidence.masked_fill(~mask, 0.0)
        height, width = self.input_size
        scale = pos.new_tensor([width, height])
        origin = 0.5 if self.coordinates == "pixel" else 0.0
        steps: list[tuple[Tensor, Tensor]] = []
        for step in range(self.num_steps):
            x, p = self.node_features(features, pos, confidence, step, mask)
            _, lgcn = self._parts(step)
            # Autocast would round positions, here and in every layer: in bfloat16 by half a pixel of a 256-pixel input.
            with autocast_disabled(pos.device.type):
                known = steps[0][1] if steps and self.share_steps else None
                out, weight = lgcn(
                    x.to(p.dtype), p, confidence.to(p.dtype), mask=mask, edge_weight=known, return_connectivity=True
                )
            pos = out * scale - origin if self.output == "absolute" else pos + out * scale
            pos = pos if mask is None else torch.where(mask.unsqueeze(-1), pos, 0.0)
            steps.append((pos if mask is None else torch.where(mask.unsqueeze(-1), pos, given), weight))
        return steps

    def _parts(self, step: int) -> tuple[MLP, LGCN]:
        """What a step works with."""
        if step == 0 or self.share_steps:
            return self.visual_mlp, self.lgcn
        return self.later_visual_mlps[step - 1], cast(LGCN, self.later_lgcns[step - 1])


def _see(visual_mlp: MLP, sampled: Tensor, mask: Tensor | None) -> Tensor:
    """What the visual MLP makes of features [B, K, C]; batch statistics are of the landmarks that are there."""
    norms = [norm.module for norm in visual_mlp.norms if isinstance(norm, BatchNorm) and norm.module.training]
    if mask is None or not norms:
        # Its batch normalisation takes rows.
        return visual_mlp(sampled.flatten(0, 1)).unflatten(0, sampled.shape[:2])
    x = sampled
    for lin, norm in zip(visual_mlp.lins[:-1], norms, strict=True):
        x = batch_norm_of(norm, visual_mlp.act(lin(x)), mask.unsqueeze(-1))
    return visual_mlp.lins[-1](x)

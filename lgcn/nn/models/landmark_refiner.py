"""Refinement of landmarks from a feature map, initial landmarks and confidences: section III.C-D of the paper."""

import copy
from collections.abc import Sequence
from typing import Any, Literal, cast, overload

import torch
from torch import Tensor, nn
from torch_geometric.nn import MLP

from lgcn.checks import (
    InputError,
    check_at_least,
    check_choice,
    check_devices,
    check_finite,
    check_flag,
    check_mask,
    check_shape,
    check_size,
)
from lgcn.graph import SAMPLING_MODES, sample_features
from lgcn.nn.connectivity import Connectivity, LearnableConnectivity
from lgcn.nn.conv.base import check_connectivity, check_like, first_parameter, mask_rows
from lgcn.nn.functional.autocast import autocast_disabled
from lgcn.nn.functional.mlp import NORMS, as_widths, build_mlp, run_mlp
from lgcn.nn.models.lgcn import Activation, DenseLGCN, Norm
from lgcn.nn.models.refiner import Refiner
from lgcn.typing import KeyPoints, Size

OUTPUTS = ("absolute", "offset")
COORDINATES = ("pixel", "cell")


class LandmarkRefiner(Refiner):
    r"""Moves every landmark by its visual features and by the other landmarks.

    .. math::
        \mathbf{h}^0_i = \mathbf{p}_i \oplus \mathrm{MLP}_{visual}(\mathrm{features}(\mathbf{p}_i))
        \;[\oplus\, \mathbf{t}_{l_i}] \;[\oplus\, c_i], \qquad \hat{\mathbf{p}} = \mathrm{LGCN}(\mathbf{h}^0)
        \;\text{ or }\; \mathbf{p} + \mathrm{LGCN}(\mathbf{h}^0)

    Eq. 2, then eq. 3-6 in the layers, of "Facial Landmark Detection with Learnable Connectivity Graph Convolutional
    Network" (L. Q. Nguyen et al., 2022). The terms in brackets are options beyond the paper; without them, node
    features do not contain the landmark type. Internally, positions are fractions of the input.

    Several steps are the cascade of `"Structured Landmark Detection via Topology-Adapting Deep Graph Learning"
    <https://arxiv.org/abs/2004.08190>`_: each starts from the landmarks of the step before and samples features there.

    Args:
        num_landmarks: K.
        feature_channels: C of the feature map (270 for HRNet-W18).
        input_size: (H, W) of the network's input in pixels, the unit of positions.
        connectivity: computes the edge weights; None is ``LearnableConnectivity(num_landmarks)``, the paper's. Further
            unshared steps get reset copies.
        visual_channels: widths of the visual MLP's layers; the last is the width of the visual features.
        visual_norm: ``"batch_norm"`` after the activation of the visual MLP's hidden layers, or None.
        visual_act_last: an activation after the visual MLP's last layer too.
        hidden_channels: widths of the graph layers before the last, which has 2.
        output: ``"absolute"`` positions (the paper), or an ``"offset"`` from where the step starts, initially 0.
        coordinates: origin of the fractions: the border of the input, ``"pixel"``, ``(pos + 0.5) / (W, H)``; or as in
            the paper's released code the centre of the heatmap's first cell, ``"cell"``, ``(x, y) / (w, h)`` in cells
            as input, and ``pos / (W, H)`` as output.
        act, norm, dropout, shape_features, bias: of the graph layers, see :class:`LGCN`.
        sampling: ``"bilinear"`` or ``"nearest"``.
        landmark_channels: width of a learned embedding :math:`t` of the landmark type; 0 leaves it out.
        confidence_feature: whether a node's features contain its confidence.
        num_steps: number of refinement steps.
        share_steps: whether all steps share their parameters.

    Raises:
        InputError: for names, options or numbers that cannot be used.
    """

    needs = ("confidence", "features")

    def __init__(
        self,
        num_landmarks: int,
        feature_channels: int,
        input_size: Size,
        *,
        connectivity: Connectivity | None = None,
        visual_channels: Sequence[int] = (128, 64),
        visual_norm: str | None = None,
        visual_act_last: bool = False,
        hidden_channels: Sequence[int] = (64, 16),
        output: str = "absolute",
        coordinates: str = "pixel",
        act: Activation = "relu",
        norm: Norm = None,
        dropout: float = 0.0,
        shape_features: bool | Sequence[bool] = True,
        bias: bool = True,
        sampling: str = "bilinear",
        landmark_channels: int = 0,
        confidence_feature: bool = False,
        num_steps: int = 1,
        share_steps: bool = True,
    ) -> None:
        super().__init__()
        self.num_landmarks = check_at_least("num_landmarks", num_landmarks, 1)
        connectivity = LearnableConnectivity(num_landmarks) if connectivity is None else connectivity
        check_connectivity(connectivity)
        if connectivity.num_landmarks != num_landmarks:
            raise InputError(
                f"Expected 'connectivity' of {num_landmarks} landmarks (got {connectivity.num_landmarks})."
            )
        visual_channels = as_widths("visual_channels", visual_channels)
        if not visual_channels:
            raise InputError("Expected 'visual_channels' to hold the width of at least one layer (got none).")
        hidden_channels = as_widths("hidden_channels", hidden_channels)
        if visual_norm is not None:
            check_choice("visual_norm", visual_norm, NORMS)
        self.feature_channels = check_at_least("feature_channels", feature_channels, 1)
        self.input_size = check_size("input_size", input_size)
        self.output = check_choice("output", output, OUTPUTS)
        self.coordinates = check_choice("coordinates", coordinates, COORDINATES)
        self.sampling = check_choice("sampling", sampling, SAMPLING_MODES)
        self.confidence_feature = check_flag("confidence_feature", confidence_feature)
        self.visual_act_last = check_flag("visual_act_last", visual_act_last)
        self.num_steps = check_at_least("num_steps", num_steps, 1)
        self.share_steps = check_flag("share_steps", share_steps)
        check_at_least("landmark_channels", landmark_channels, 0)
        self.landmark_embedding = nn.Embedding(num_landmarks, landmark_channels) if landmark_channels else None
        visual_widths = [feature_channels, *visual_channels]
        in_channels = 2 + visual_widths[-1] + landmark_channels + confidence_feature
        further = range(0 if share_steps else num_steps - 1)
        options: Any = {"act": act, "norm": norm, "dropout": dropout, "shape_features": shape_features, "bias": bias}

        def lgcn(connectivity: Connectivity) -> DenseLGCN:
            return DenseLGCN(in_channels, (*hidden_channels, 2), connectivity, **options)

        self.visual_mlp = build_mlp(visual_widths, visual_norm)
        self.lgcn = lgcn(connectivity)
        self.later_visual_mlps = nn.ModuleList(build_mlp(visual_widths, visual_norm) for _ in further)
        self.later_lgcns = nn.ModuleList(lgcn(copy.deepcopy(connectivity)) for _ in further)
        # The given connectivity may be trained and is not reset; its copies are.
        for _, later in self._all_steps[1:]:
            later.reset_parameters()
        self._clear_last_layers()

    def reset_parameters(self) -> None:
        """Reset all parameters; with ``output="offset"`` the last layer of each step starts at zero."""
        if self.landmark_embedding is not None:
            self.landmark_embedding.reset_parameters()
        for visual_mlp, lgcn in self._all_steps:
            visual_mlp.reset_parameters()
            lgcn.reset_parameters()
        self._clear_last_layers()

    def _clear_last_layers(self) -> None:
        if self.output == "offset":
            for _, lgcn in self._all_steps:
                for parameter in lgcn.convs[-1].parameters():
                    nn.init.zeros_(parameter)

    def node_features(
        self, features: Tensor, pos: Tensor, confidence: Tensor, step: int = 0, mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """h^0 of eq. 2, [B, K, C'], and the positions p as fractions of the input, [B, K, 2]."""
        p = (pos + 0.5) / pos.new_tensor(self.input_size[::-1])
        if self.coordinates == "cell":
            p = p - 0.5 / pos.new_tensor([features.shape[-1], features.shape[-2]])
        parts = [p, self.embed_visual(features, pos, step, mask)]
        if self.landmark_embedding is not None:
            parts.append(self.landmark_embedding.weight.expand(pos.shape[0], -1, -1))
        if self.confidence_feature:
            parts.append(confidence.unsqueeze(-1))
        return torch.cat(parts, dim=-1), p

    def embed_visual(self, features: Tensor, pos: Tensor, step: int = 0, mask: Tensor | None = None) -> Tensor:
        """Features at the landmarks after the visual MLP, [B, K, C']; batch statistics are of landmarks present."""
        visual_mlp, _ = self._all_steps[0 if self.share_steps else step]
        visual = run_mlp(visual_mlp, sample_features(features, pos, self.input_size, self.sampling), mask)
        return visual_mlp.act(visual) if self.visual_act_last else visual

    @overload
    def forward(
        self, features: Tensor, *args: Any, return_connectivity: Literal[False] = ..., **kwargs: Any
    ) -> Tensor: ...

    @overload
    def forward(
        self, features: Tensor, *args: Any, return_connectivity: Literal[True], **kwargs: Any
    ) -> tuple[Tensor, Tensor]: ...

    def forward(  # type: ignore[misc]
        self,
        features: Tensor,
        pos: Tensor,
        confidence: Tensor,
        mask: Tensor | None = None,
        return_connectivity: bool = False,
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Refine landmarks.

        Args:
            features: [B, C, h, w], feature map of the backbone.
            pos: [B, K, 2], initial landmarks in pixels of the input.
            confidence: [B, K], finite, normally in [0, 1].
            mask: [B, K], False where a landmark is missing: the others are refined as if it did not exist, and its
                position stays as given.
            return_connectivity: return ``(refined, e)`` with e [B, K, K], of the last step.

        Returns:
            Refined landmarks [B, K, 2] in pixels of the input.

        Raises:
            InputError: for shapes, types or values that do not fit.
        """
        refined, weight = self.steps(features, pos, confidence, mask)[-1]
        return (refined, weight) if return_connectivity else refined

    def refine(self, keypoints: KeyPoints, return_connectivity: bool = False) -> KeyPoints:
        self.check_needs(keypoints)
        features, confidence = cast(Tensor, keypoints.features), cast(Tensor, keypoints.confidence)
        pos, weight = self.steps(features, keypoints.pos, confidence, keypoints.mask)[-1]
        return keypoints._replace(pos=pos, connectivity=weight if return_connectivity else None)

    def steps(
        self, features: Tensor, pos: Tensor, confidence: Tensor, mask: Tensor | None = None
    ) -> list[tuple[Tensor, Tensor]]:
        """Landmarks [B, K, 2] and edge weights [B, K, K] of each step, for a loss on all; else as :meth:`forward`."""
        check_shape("pos", pos, "B K 2", K=self.num_landmarks)
        check_shape("features", features, "B C h w", B=pos.shape[0], C=self.feature_channels)
        check_shape("confidence", confidence, "B K", B=pos.shape[0], K=self.num_landmarks)
        parameter = first_parameter(self)
        check_like(parameter, features=features)
        check_like(parameter, dtype=False, pos=pos, confidence=confidence)
        given = pos
        if mask is not None:
            check_mask("mask", mask, "B K", B=pos.shape[0], K=self.num_landmarks)
            check_devices(parameter.device, "the parameters", mask=mask)
            pos, confidence = mask_rows(pos, mask), confidence.masked_fill(~mask, 0.0)
        # In a complete graph, one NaN would spread to all landmarks.
        check_finite("pos", pos.detach())
        scale = pos.new_tensor(self.input_size[::-1])
        origin = 0.5 if self.coordinates == "pixel" else 0.0
        steps: list[tuple[Tensor, Tensor]] = []
        for step in range(self.num_steps):
            x, p = self.node_features(features, pos, confidence, step, mask)
            _, lgcn = self._all_steps[0 if self.share_steps else step]
            # In bfloat16 positions would be rounded by up to half a pixel of a 256-pixel input.
            with autocast_disabled(pos.device.type):
                known = steps[0][1] if steps and self.share_steps else None
                out, weight = lgcn(x.to(parameter), p, confidence.to(parameter), known, mask, return_connectivity=True)
            pos = mask_rows(out * scale - origin if self.output == "absolute" else pos + out * scale, mask)
            steps.append((pos if mask is None else torch.where(mask.unsqueeze(-1), pos, given), weight))
        return steps

    @property
    def _all_steps(self) -> list[tuple[MLP, DenseLGCN]]:
        """The visual MLP and the graph layers of each step with parameters of its own."""
        return [(self.visual_mlp, self.lgcn), *zip(self.later_visual_mlps, self.later_lgcns, strict=True)]  # type: ignore[list-item]

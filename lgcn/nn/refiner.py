"""From initial landmarks, confidences and a feature map to refined landmarks: the paper's section III.C-D."""

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch_geometric.nn import MLP

from lgcn.checks import check_choice, check_shape
from lgcn.graph import SAMPLING_MODES, sample_features
from lgcn.nn.connectivity import CONNECTIVITIES
from lgcn.nn.lgcn import LGCN
from lgcn.typing import Size

OUTPUTS = ("absolute", "offset")


class LandmarkRefiner(nn.Module):
    r"""Moves every landmark to where what it sees and all the others say it must be.

    .. math::
        \mathbf{h}^0_i = \mathbf{p}_i \oplus \mathrm{MLP}_{visual}(\mathrm{features}(\mathbf{p}_i))
        \;[\oplus\, \mathbf{t}_{l_i}] \;[\oplus\, c_i], \qquad \hat{\mathbf{p}} = \mathrm{LGCN}(\mathbf{h}^0)
        \;\text{ or }\; \mathbf{p} + \mathrm{LGCN}(\mathbf{h}^0)

    Eq. 2, then eq. 3-6 in the layers; the terms in brackets are options beyond the paper, without which a
    node does not know which landmark it is. Inside, positions are fractions of the input,
    ``(pos + 0.5) / (W, H)``.

    Args:
        num_landmarks: K.
        feature_channels: C of the feature map (270 for HRNet-W18).
        input_size: (H, W) of the network's input, to whose pixels positions refer.
        visual_channels: widths of the visual MLP's layers; the last is the width of :math:`f_i`.
        hidden_channels: widths of the graph layers before the last, which has 2.
        connectivity: ``"learnable"`` (the paper), ``"adjacency"``, ``"uniform"``.
        connectivity_options: arguments of that connectivity.
        output: ``"absolute"`` positions (the paper) or an ``"offset"`` from the initial ones, which starts at 0.
        act: activation between the graph layers, or None.
        shape_features: whether :math:`q_{ij}` enters a layer; one flag for all, or one a layer.
        bias: whether the graph layers have a bias.
        sampling: ``"bilinear"`` or ``"nearest"``.
        landmark_channels: width of a learned embedding :math:`t` of the landmark's type; 0 leaves it out.
        confidence_feature: whether a node sees its own confidence.
    """

    def __init__(
        self,
        num_landmarks: int,
        feature_channels: int,
        input_size: Size,
        visual_channels: Sequence[int] = (128, 64),
        hidden_channels: Sequence[int] = (64, 16),
        connectivity: str = "learnable",
        connectivity_options: dict[str, Any] | None = None,
        output: str = "absolute",
        act: str | None = "relu",
        shape_features: bool | Sequence[bool] = True,
        bias: bool = True,
        sampling: str = "bilinear",
        landmark_channels: int = 0,
        confidence_feature: bool = False,
    ) -> None:
        super().__init__()
        self.num_landmarks = num_landmarks
        self.input_size = (input_size[0], input_size[1])
        self.output = check_choice("output", output, OUTPUTS)
        self.sampling = check_choice("sampling", sampling, SAMPLING_MODES)
        self.confidence_feature = confidence_feature
        self.visual_mlp = MLP([feature_channels, *visual_channels], norm=None)
        self.landmark_embedding = nn.Embedding(num_landmarks, landmark_channels) if landmark_channels else None
        self.lgcn = LGCN(
            2 + visual_channels[-1] + landmark_channels + confidence_feature,
            (*hidden_channels, 2),
            CONNECTIVITIES[connectivity](num_landmarks, **(connectivity_options or {})),
            act=act,
            shape_features=shape_features,
            bias=bias,
            dense=True,
        )
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draws all parameters anew; with ``output="offset"`` the last layer starts at zero."""
        self.visual_mlp.reset_parameters()
        self.lgcn.reset_parameters()
        if self.landmark_embedding is not None:
            self.landmark_embedding.reset_parameters()
        if self.output == "offset":
            for parameter in self.lgcn.convs[-1].parameters():
                nn.init.zeros_(parameter)

    def node_features(self, features: Tensor, pos: Tensor, confidence: Tensor) -> tuple[Tensor, Tensor]:
        """h^0 of eq. 2, [B, K, C'], and the positions p as fractions of the input, [B, K, 2]."""
        height, width = self.input_size
        p = (pos + 0.5) / pos.new_tensor([width, height])
        parts = [p, self.visual_mlp(sample_features(features, pos, self.input_size, self.sampling))]
        if self.landmark_embedding is not None:
            parts.append(self.landmark_embedding.weight.expand(pos.shape[0], -1, -1))
        if self.confidence_feature:
            parts.append(confidence.unsqueeze(-1))
        return torch.cat(parts, dim=-1), p

    def forward(
        self, features: Tensor, pos: Tensor, confidence: Tensor, return_connectivity: bool = False
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Refines landmarks.

        Args:
            features: [B, C, h, w], the backbone's.
            pos: [B, K, 2], initial landmarks, pixels of the input.
            confidence: [B, K], in [0, 1].
            return_connectivity: return ``(refined, e)`` with e [B, K, K].

        Returns:
            Refined landmarks [B, K, 2], pixels of the input.
        """
        check_shape("pos", pos, "B K 2", K=self.num_landmarks)
        check_shape("features", features, "B C h w", B=pos.shape[0], C=self.visual_mlp.in_channels)
        check_shape("confidence", confidence, "B K", B=pos.shape[0], K=self.num_landmarks)
        x, p = self.node_features(features, pos, confidence)
        # Autocast would round positions, here and in every layer: in bfloat16 by half a pixel of a 256-pixel input.
        device = pos.device.type
        with torch.autocast(device, enabled=False) if torch.is_autocast_enabled(device) else nullcontext():
            out, weight = self.lgcn(x.to(p.dtype), p, confidence.to(p.dtype), return_connectivity=True)
        height, width = self.input_size
        scale = pos.new_tensor([width, height])
        refined = out * scale - 0.5 if self.output == "absolute" else pos + out * scale
        return (refined, weight) if return_connectivity else refined

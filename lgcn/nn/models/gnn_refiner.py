"""Any PyG model as the refiner of landmarks."""

from collections.abc import Callable, Sequence
from inspect import Parameter, signature
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch_geometric.nn import MLP

from lgcn.checks import (
    InputError,
    check_at_least,
    check_choice,
    check_finite,
    check_flag,
    check_mask,
    check_shape,
    check_size,
)
from lgcn.graph import SAMPLING_MODES, complete_edge_index, sample_features
from lgcn.modes import eval_mode
from lgcn.nn.connectivity import Connectivity
from lgcn.nn.conv.base import check_connectivity, mask_rows
from lgcn.nn.functional.autocast import autocast_disabled
from lgcn.nn.functional.mlp import as_widths
from lgcn.nn.models.conv_stack import graph_arguments, run_on_graph
from lgcn.nn.models.refiner import Refiner
from lgcn.typing import KeyPoints, Size

OUTPUTS = ("absolute", "offset")


class GNNRefiner(Refiner):
    r"""Moves landmarks by what any PyG model says of them: a complete graph in, one vector a node out.

    .. math::
        \mathbf{x}_i = \mathbf{p}_i \oplus \mathrm{MLP}_{visual}(\mathrm{features}(\mathbf{p}_i))
        \;[\oplus\, \mathbf{t}_{l_i}] \;[\oplus\, c_i], \qquad
        \hat{\mathbf{p}} = \mathbf{p} + s\,\mathrm{GNN}(\mathbf{x}) \;\text{ or }\; \mathrm{GNN}(\mathbf{x})

    Node features are those of eq. 2 with the landmark type and the confidence, since most layers know neither.
    Positions are fractions of the input. The learned scale s starts at 0: an untrained refiner moves nothing.

    Args:
        num_landmarks: K.
        feature_channels: C of the feature map; 0 if there is none.
        input_size: (H, W) of the network's input in pixels, the unit of positions.
        model: a PyG model, or ``build(in_channels, out_channels)`` that makes one. Its ``forward`` takes
            ``(x, edge_index)`` and returns [N, 2]. It also gets ``edge_weight`` (if there is a connectivity),
            ``edge_attr`` [E, 2], ``pos`` (fractions), ``landmark_id``, ``confidence`` and ``batch`` where it has
            arguments of these names, ``edge_attr`` only if it must be given or the model's ``edge_dim`` is set.
        connectivity: computes edge weights for a model that takes them.
        visual_channels: widths of the visual MLP's layers; empty leaves the feature map out.
        landmark_channels: width of a learned embedding of the landmark type; 0 leaves it out.
        confidence_feature: whether a node's features contain its confidence.
        output: ``"offset"`` or ``"absolute"`` positions.
        sampling: of the feature map, ``"bilinear"`` or ``"nearest"``.

    Raises:
        InputError: for names or numbers that cannot be used, or a model that does not map such graphs to [N, 2]: it is
            tried once when the refiner is built.
    """

    edge_index: Tensor
    landmark_id: Tensor

    def __init__(
        self,
        num_landmarks: int,
        feature_channels: int,
        input_size: Size,
        *,
        model: nn.Module | Callable[[int, int], nn.Module],
        connectivity: Connectivity | None = None,
        visual_channels: Sequence[int] = (128, 64),
        landmark_channels: int = 32,
        confidence_feature: bool = True,
        output: str = "offset",
        sampling: str = "bilinear",
    ) -> None:
        super().__init__()
        self.num_landmarks = check_at_least("num_landmarks", num_landmarks, 1)
        self.feature_channels = check_at_least("feature_channels", feature_channels, 0)
        self.input_size = check_size("input_size", input_size)
        self.confidence_feature = check_flag("confidence_feature", confidence_feature)
        self.output = check_choice("output", output, OUTPUTS)
        self.sampling = check_choice("sampling", sampling, SAMPLING_MODES)
        if connectivity is not None:
            check_connectivity(connectivity)
        self.connectivity = connectivity
        widths = as_widths("visual_channels", visual_channels) if feature_channels else ()
        self.visual_mlp = MLP([feature_channels, *widths], norm=None) if widths else None
        check_at_least("landmark_channels", landmark_channels, 0)
        self.landmark_embedding = nn.Embedding(num_landmarks, landmark_channels) if landmark_channels else None
        self.in_channels = 2 + (widths[-1] if widths else 0) + landmark_channels + confidence_feature
        self.scale = nn.Parameter(torch.zeros(2)) if output == "offset" else None
        self_loops = connectivity is not None and connectivity.self_loops != "none"
        self.register_buffer("edge_index", complete_edge_index(num_landmarks, self_loops), persistent=False)
        self.register_buffer("landmark_id", torch.arange(num_landmarks), persistent=False)
        self.model = model if isinstance(model, nn.Module) else model(self.in_channels, 2)
        if not isinstance(self.model, nn.Module):
            raise InputError(f"Expected 'model' to be a torch.nn.Module (got {type(self.model).__name__}).")
        self._arguments = graph_arguments(self.model)
        weight = signature(self.model.forward).parameters.get("edge_weight")
        self._needs_weight = weight is not None and weight.default is Parameter.empty
        self._check_model()

    @property
    def needs(self) -> tuple[str, ...]:  # type: ignore[override]
        """``confidence`` and ``features``, as the refiner was built."""
        by_confidence = self.confidence_feature or self.connectivity is not None
        return ("confidence",) * by_confidence + ("features",) * (self.visual_mlp is not None)

    def _check_model(self) -> None:
        """Try the model on two small graphs."""
        name = type(self.model).__name__
        reference = next(self.model.parameters(), torch.zeros(()))
        pos, confidence = torch.zeros(2, self.num_landmarks, 2), torch.ones(2, self.num_landmarks)
        x = torch.zeros(2, self.num_landmarks, self.in_channels)
        pos, confidence, x = (each.to(reference.device) for each in (pos, confidence, x))
        try:
            with torch.no_grad(), eval_mode(self.model):
                out = self._run(x, pos, confidence, torch.zeros_like(x[..., :1] @ x[:, :, :1].mT), None)
        except Exception as error:
            raise InputError(
                f"Expected 'model' to take {self._described()} (got {name}, which raised {type(error).__name__}: "
                f"{' '.join(str(error).split())[:300]}). Give it {self.in_channels} in_channels, or a function "
                "build(in_channels, out_channels); edge_attr is given to models whose 'edge_dim' is set, edge_weight "
                "if there is a connectivity (use_connectivity in a configuration)."
            ) from error
        expected = (2 * self.num_landmarks, 2)
        if not isinstance(out, Tensor) or out.shape != expected:
            got = list(out.shape) if isinstance(out, Tensor) else type(out).__name__
            raise InputError(
                f"Expected 'model' to return [N, 2], a vector for each node (got {got} of {name} for N = "
                f"{expected[0]}). Give it 2 out_channels."
            )

    def _described(self) -> str:
        """The arguments that the model is called with."""
        names = ["edge_weight"] if self.connectivity is not None or self._needs_weight else []
        names = [name for name in self._arguments if name not in ("edge_index", "edge_weight") or name in names]
        given = [f"x [N, {self.in_channels}]", "edge_index [2, E]", *names]
        return f"{', '.join(given[:-1])} and {given[-1]}"

    def reset_parameters(self) -> None:
        """Draw new parameters; with ``output="offset"`` the scale starts at 0."""
        for module in (self.connectivity, self.visual_mlp, self.landmark_embedding, self.model):
            if module is not None and hasattr(module, "reset_parameters"):
                cast(Any, module).reset_parameters()
        if self.scale is not None:
            nn.init.zeros_(self.scale)

    def node_features(self, keypoints: KeyPoints) -> Tensor:
        """The node features x of the model, [B, K, C']."""
        pos = keypoints.pos
        parts = [self._fractions(pos)]
        if self.visual_mlp is not None:
            features = cast(Tensor, keypoints.features)
            if features.dim() == 4:
                features = sample_features(features, pos, self.input_size, self.sampling)
            parts.append(self.visual_mlp(features))
        if self.landmark_embedding is not None:
            parts.append(self.landmark_embedding.weight.expand(pos.shape[0], -1, -1))
        if self.confidence_feature:
            parts.append(cast(Tensor, keypoints.confidence).unsqueeze(-1))
        return torch.cat(parts, dim=-1)

    def refine(self, keypoints: KeyPoints, return_connectivity: bool = False) -> KeyPoints:
        self.check_needs(keypoints)
        pos, mask = keypoints.pos, keypoints.mask
        B, K, C = len(pos), self.num_landmarks, self.feature_channels
        check_shape("pos", pos, "B K 2", K=K)
        if keypoints.confidence is not None:
            check_shape("confidence", keypoints.confidence, "B K", B=B, K=K)
        if self.visual_mlp is not None and keypoints.features is not None:
            per_node = keypoints.features.dim() == 3
            check_shape("features", keypoints.features, "B K C" if per_node else "B C h w", B=B, C=C)
        given = keypoints
        if mask is not None:
            check_mask("mask", mask, "B K", B=B, K=K)
            confidence, features = given.confidence, given.features
            if self.visual_mlp is not None and features is not None and features.dim() == 3:
                features = mask_rows(features, mask)
            given = given._replace(
                pos=mask_rows(pos, mask),
                confidence=None if confidence is None else confidence.masked_fill(~mask, 0.0),
                features=features,
            )
        # In a complete graph, one NaN would spread to all landmarks.
        check_finite("pos", given.pos.detach())
        if given.confidence is not None:
            check_finite("confidence", given.confidence.detach())
        with autocast_disabled(pos.device.type):
            x, weight = self.node_features(given), None
            if self.connectivity is not None:
                weight = self.connectivity.dense(cast(Tensor, given.confidence), mask)
            out = self._run(x, self._fractions(given.pos), given.confidence, weight, mask).view(B, K, 2)
            height, width = self.input_size
            size = pos.new_tensor([width, height])
            refined = out * size - 0.5 if self.scale is None else given.pos + self.scale * out * size
        if mask is not None:
            refined = torch.where(mask.unsqueeze(-1), refined, pos)
        return keypoints._replace(pos=refined, connectivity=weight if return_connectivity else None)

    def forward(
        self, features: Tensor | None, pos: Tensor, confidence: Tensor | None, mask: Tensor | None = None
    ) -> Tensor:
        """Refine landmarks.

        Args:
            features: [B, C, h, w], or [B, K, C] at the landmarks; None if the refiner was built without.
            pos: [B, K, 2], initial landmarks in pixels of the input.
            confidence: [B, K]; None if the refiner uses none.
            mask: [B, K], False where a landmark is missing: it has no edges, and its position stays as given. Its
                values are not read.

        Returns:
            Refined landmarks [B, K, 2] in pixels of the input.
        """
        return self.refine(KeyPoints(pos, confidence, features=features, mask=mask)).pos

    def _fractions(self, pos: Tensor) -> Tensor:
        height, width = self.input_size
        return (pos + 0.5) / pos.new_tensor([width, height])

    def _run(
        self, x: Tensor, p: Tensor, confidence: Tensor | None, weight: Tensor | None, mask: Tensor | None
    ) -> Tensor:
        """The model on the complete graphs of B images, [B*K, 2]."""
        B, K = x.shape[:2]
        neighbor, receiver = self.edge_index
        first = K * torch.arange(B, device=self.edge_index.device)
        edge_index = (self.edge_index.unsqueeze(1) + first.unsqueeze(-1)).flatten(1)
        edge_weight = None
        if self.connectivity is not None and weight is not None:
            edge_weight = weight[:, receiver, neighbor].flatten()
        elif self._needs_weight:
            edge_weight = x.new_full((edge_index.shape[1],), 1 / max(1, K - 1))
        if mask is not None:
            present = (mask[:, receiver] & mask[:, neighbor]).flatten()
            edge_index = edge_index[:, present]
            edge_weight = None if edge_weight is None else edge_weight[present]
        nodes, (j, i) = p.flatten(0, 1), edge_index
        graph = {
            "edge_weight": edge_weight,
            "edge_attr": nodes[i] - nodes[j],
            "pos": nodes,
            "landmark_id": self.landmark_id.repeat(B),
            "confidence": None if confidence is None else confidence.flatten(),
            "batch": torch.arange(B, device=edge_index.device).repeat_interleave(K),
        }
        return run_on_graph(self.model, self._arguments, x.flatten(0, 1), edge_index, graph)

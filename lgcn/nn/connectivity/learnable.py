"""The paper's connectivity: weights from landmark types and heatmap confidences, computed for each image."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch_geometric.nn import MLP

from lgcn.checks import InputError, check_at_least, check_flag
from lgcn.nn.connectivity.table import EdgeTable, TableConnectivity
from lgcn.nn.functional.autocast import autocast_disabled
from lgcn.nn.functional.mlp import as_widths, build_mlp, run_hidden_layers


class LearnableConnectivity(TableConnectivity):
    r"""Edge weights from pairs of landmark types and of confidences, eq. 5 and 6.

    .. math::
        l_{ij} = \mathrm{MLP}_{class}(g(l_i) \oplus g(l_j)), \qquad
        s_{ij} = \mathrm{MLP}_{edge}([c_i, c_j] \oplus l_{ij}), \qquad
        e_{ij} = \operatorname{softmax}_{j \in \mathcal{N}(i)} s_{ij}

    with one-hot types :math:`g` and confidences :math:`c`, from "Facial Landmark Detection with Learnable Connectivity
    Graph Convolutional Network" (L. Q. Nguyen et al., 2022).

    Computed without one-hot vectors: a linear layer on :math:`g(l_i) \oplus g(l_j)` is the sum of two columns of its
    weight, so the class MLP and its share of the edge MLP's first layer are a table :math:`\mathbf{T}` [K, K, H] of the
    parameters alone. An image adds :math:`\mathbf{a} c_i + \mathbf{b} c_j`, see
    :mod:`lgcn.nn.functional.pair_scores`. Batch statistics in training are those of the edges, or of the pairs of
    different landmarks, that are present; types that images share count once a batch.

    Args:
        num_landmarks: K.
        class_hidden_channels: width of the class MLP's hidden layer, or of several.
        class_channels: width of :math:`l_{ij}`.
        edge_hidden_channels: H, width of the edge MLP's hidden layer, or of several.
        norm: ``"batch_norm"`` after the activation of each hidden layer, or None.
        act_last: an activation after the last layers too, and after the edge MLP's also the norm (the paper's
            released code).
        use_class_embedding: if False, scores do not depend on types (an ablation).
        use_confidence: if False, scores do not depend on confidences and are the same for all images (an ablation).
        normalization, self_loops, symmetric: see :class:`Connectivity`.

    Raises:
        InputError: for names or numbers that cannot be used.
    """

    def __init__(
        self,
        num_landmarks: int,
        class_hidden_channels: int | Sequence[int] = 32,
        class_channels: int = 32,
        edge_hidden_channels: int | Sequence[int] = 32,
        norm: str | None = None,
        act_last: bool = False,
        use_class_embedding: bool = True,
        use_confidence: bool = True,
        normalization: str = "softmax",
        self_loops: str = "none",
        symmetric: bool = False,
    ) -> None:
        super().__init__(num_landmarks, normalization, self_loops, symmetric)
        self.use_class_embedding = check_flag("use_class_embedding", use_class_embedding)
        self.use_confidence = check_flag("use_confidence", use_confidence)
        if not use_class_embedding and not use_confidence:
            raise InputError(
                "Expected 'use_class_embedding' or 'use_confidence' (got neither). Use UniformConnectivity instead."
            )
        self.class_hidden_channels = class_hidden_channels
        self.class_channels = check_at_least("class_channels", class_channels, 1)
        self.edge_hidden_channels = edge_hidden_channels
        self.norm = norm
        self.act_last = check_flag("act_last", act_last)
        self.class_mlp: MLP | None = None
        if use_class_embedding:
            widths = as_widths("class_hidden_channels", class_hidden_channels)
            self.class_mlp = build_mlp([2 * num_landmarks, *widths, class_channels], norm)
        inputs = 2 * use_confidence + class_channels * use_class_embedding
        widths = as_widths("edge_hidden_channels", edge_hidden_channels)
        self.edge_mlp = build_mlp([inputs, *widths, 1], norm, plain_last=not act_last)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Reset the parameters of both MLPs."""
        if self.class_mlp is not None:
            self.class_mlp.reset_parameters()
        self.edge_mlp.reset_parameters()

    def class_embedding(self) -> Tensor:
        """l_ij of eq. 5 for all pairs of types, [K, K, class_channels].

        Raises:
            InputError: if the connectivity has no class embedding.
        """
        if self.class_mlp is None:
            raise InputError("Expected a connectivity with a class embedding (got use_class_embedding=False).")
        return self._embed_all()

    def edge_table(self) -> EdgeTable:
        with autocast_disabled(self.attn_bias.device.type):
            K, first = self.num_landmarks, self.edge_mlp.lins[0]
            none = first.weight.new_empty(0)
            of_receiver, of_neighbor = first.weight[:, :2].unbind(1) if self.use_confidence else (none, none)
            if self.class_mlp is None:
                table = first.bias.view(-1, 1, 1).expand(-1, K, K).contiguous()
            else:
                weight, bias, last = first.weight[:, 2 * self.use_confidence :], first.bias, self.class_mlp.lins[-1]
                if not self.act_last:
                    # Two linear layers in sequence are one, of K^2 rows: the table takes 1.2 to 1.5 times less time.
                    weight, bias = weight @ last.weight, torch.addmv(bias, weight, last.bias)
                inputs = self._embed_all(with_last=self.act_last).flatten(0, 1)
                table = torch.addmm(bias.unsqueeze(-1), weight, inputs.t()).unflatten(1, (K, K))
            if len(self.edge_mlp.lins) != 2:
                return EdgeTable(table, of_receiver, of_neighbor, none, none)
            last = self.edge_mlp.lins[1]
            if self.norm is None:
                return EdgeTable(table, of_receiver, of_neighbor, last.weight[0], last.bias)
            norm = self.edge_mlp.norms[0].module
            scale = norm.weight * (norm.running_var + norm.eps).rsqrt()
            shift = norm.bias - norm.running_mean * scale
            return EdgeTable(table, of_receiver, of_neighbor, last.weight[0] * scale, last.bias + last.weight @ shift)

    def edge_scores(
        self, id_i: Tensor, id_j: Tensor, confidence_i: Tensor, confidence_j: Tensor, keep: Tensor | None = None
    ) -> Tensor:
        if not self._uses_batch_statistics:
            return super().edge_scores(id_i, id_j, confidence_i, confidence_j)
        keep_type = keep
        if keep is not None and keep.dim() > 1:
            # The share of images that have the edge: without a mask, too, types count once a batch.
            keep_type = keep.to(confidence_i.dtype).flatten(0, -2).mean(dim=0)
        first = self.edge_mlp.lins[0]
        if self.class_mlp is None:
            hidden = first.bias.expand(len(id_i), -1)
        else:
            embedding = self._embed(id_i, id_j, keep_type)
            hidden = torch.addmm(first.bias, embedding, first.weight[:, 2 * self.use_confidence :].t())
        if not self.use_confidence:
            return run_hidden_layers(self.edge_mlp, hidden, keep_type).squeeze(-1)
        confidence = torch.stack([confidence_i, confidence_j], dim=-1).to(hidden.dtype)
        hidden = hidden + confidence @ first.weight[:, :2].t()
        return run_hidden_layers(self.edge_mlp, hidden, keep).squeeze(-1)

    def pair_scores(self, confidence: Tensor, mask: Tensor | None = None) -> Tensor:
        if not self._uses_batch_statistics:
            return super().pair_scores(confidence)
        # Pairs of a landmark with itself enter the statistics only if they are scored.
        K = self.num_landmarks
        steps = torch.arange(int(self.self_loops != "scored"), K, device=confidence.device)
        i = torch.arange(K, device=confidence.device).repeat_interleave(len(steps))
        j = (i + steps.repeat(K)) % K
        keep = None if mask is None else mask[:, i] & mask[:, j]
        score = self.edge_scores(i, j, confidence[:, i], confidence[:, j], keep)
        pairs = score.new_zeros(confidence.shape[0], K, K)
        pairs[:, i, j] = score
        return pairs

    @property
    def _uses_batch_statistics(self) -> bool:
        """Whether scores depend on each other, so that no table of all pairs of types exists."""
        return self.norm is not None and self.training

    def _embed_all(self, with_last: bool = True) -> Tensor:
        """:meth:`_embed` for all pairs of types, [K, K, C]."""
        types = torch.arange(self.num_landmarks, device=self.attn_bias.device)
        return self._embed(types.unsqueeze(1), types, with_last=with_last)

    def _embed(self, id_i: Tensor, id_j: Tensor, keep: Tensor | None = None, with_last: bool = True) -> Tensor:
        """l_ij [..., class_channels] of types that broadcast, or what enters the class MLP's last layer."""
        assert self.class_mlp is not None
        first = self.class_mlp.lins[0]
        of_receiver, of_neighbor = first.weight.t().split(self.num_landmarks)
        hidden = of_receiver[id_i] + (of_neighbor + first.bias)[id_j]
        embedding = run_hidden_layers(self.class_mlp, hidden, keep, with_last)
        return self.class_mlp.act(embedding) if self.act_last else embedding

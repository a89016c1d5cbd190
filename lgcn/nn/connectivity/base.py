"""Base class of connectivities: scores of pairs of landmarks, and edge weights over each node's neighbours."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from inspect import signature

import torch
from torch import Tensor, nn
from torch_geometric.utils import softmax

from lgcn.checks import (
    check_at_least,
    check_choice,
    check_devices,
    check_edges,
    check_finite,
    check_flag,
    check_floating,
    check_ids,
    check_images,
    check_mask,
    check_shape,
)
from lgcn.nn.functional.autocast import autocast_disabled

NORMALIZATIONS = ("softmax", "sigmoid", "raw")
SELF_LOOPS = ("none", "scored", "zero")


class Connectivity(nn.Module, ABC):
    r"""Edge weights :math:`e_{ij} = \operatorname{softmax}_{j \in \mathcal{N}(i)} s_{ij}`.

    A subclass defines the scores :math:`s_{ij}`, for the edges of a list (:meth:`edge_scores`) and for all pairs of K
    landmarks (:meth:`pair_scores`); both must agree.

    Args:
        num_landmarks: K, the number of landmark types.
        normalization: turns scores into weights: ``"softmax"`` over the neighbours (the paper), ``"sigmoid"`` of each
            score, or ``"raw"``, the scores themselves.
        self_loops: whether a node of the complete graph of :meth:`dense` is its own neighbour: ``"none"`` (the
            paper), ``"scored"`` like any other pair, or with a score of ``"zero"`` (the paper's released code). An
            edge list contains the self loops that it contains; there ``"zero"`` sets their scores.
        symmetric: average the scores of both directions, :math:`(s_{ij} + s_{ji}) / 2`. The weights are symmetric
            then too, except under a softmax, which divides each row by its own sum.

    Raises:
        InputError: for names or numbers that cannot be used.
    """

    attn_bias: Tensor
    forbidden_pairs: Tensor | None

    def __init__(
        self,
        num_landmarks: int,
        normalization: str = "softmax",
        self_loops: str = "none",
        symmetric: bool = False,
    ) -> None:
        super().__init__()
        self.num_landmarks = check_at_least("num_landmarks", num_landmarks, 1)
        self.normalization = check_choice("normalization", normalization, NORMALIZATIONS)
        self.self_loops = check_choice("self_loops", self_loops, SELF_LOOPS)
        self.symmetric = check_flag("symmetric", symmetric)
        self.set_forbidden(None)

    @property
    def sums_to_one(self) -> bool:
        """Whether each row of weights on a complete graph sums to 1 if no landmark is missing."""
        return self.normalization == "softmax" and self._all_have_neighbors

    def reset_parameters(self) -> None:
        """Reset all parameters; there are none here."""

    @abstractmethod
    def edge_scores(
        self, id_i: Tensor, id_j: Tensor, confidence_i: Tensor, confidence_j: Tensor, keep: Tensor | None = None
    ) -> Tensor:
        """Scores of edges, broadcastable to [..., E].

        Args:
            id_i: [E], types of the receiving nodes.
            id_j: [E], types of their neighbours.
            confidence_i: [..., E].
            confidence_j: [..., E].
            keep: [..., E], False for edges whose scores are not used, or how often each edge counts; it matters only
                to scores that depend on each other, as with batch statistics.
        """

    @abstractmethod
    def pair_scores(self, confidence: Tensor, mask: Tensor | None = None) -> Tensor:
        """Scores of all pairs of landmarks, row i receiving, broadcastable to [B, K, K].

        Args:
            confidence: [B, K].
            mask: [B, K], False where a landmark is missing; it matters only to scores that depend on each other.
        """

    def forward(
        self, landmark_id: Tensor, confidence: Tensor, edge_index: Tensor, mask: Tensor | None = None
    ) -> Tensor:
        """Weights [E] on an edge list, or [B, E] for B images that share one.

        Args:
            landmark_id: [N], type of each node, in 0 ... K - 1, int64 or int32.
            confidence: [N] or [B, N], floating point and finite, normally in [0, 1].
            edge_index: [2, E], neighbours j in row 0, receiving nodes i in row 1.
            mask: [N] or [B, N], False where a node is missing: its edges have weight 0, and the others are as if the
                node did not exist. Values at a missing node are not read.

        Raises:
            InputError: for shapes, types or values that do not fit (values are checked on the CPU only).
        """
        check_shape("landmark_id", landmark_id, "N")
        check_devices(self.attn_bias.device, "the connectivity", landmark_id=landmark_id, edge_index=edge_index)
        confidence = self._check_nodes(confidence, mask, "... N", N=landmark_id.shape[0])
        check_ids("landmark_id", landmark_id, self.num_landmarks)
        check_edges("edge_index", edge_index, landmark_id.shape[0])

        j, i = edge_index[0], edge_index[1]
        keep = None if mask is None else mask[..., i] & mask[..., j]
        # bfloat16 distorts the softmax.
        with autocast_disabled(confidence.device.type):
            score = self._score_edges(
                landmark_id[i], landmark_id[j], confidence[..., i], confidence[..., j], i == j, keep
            )
        if self.forbidden_pairs is not None:
            allowed = self.attn_bias[landmark_id[i], landmark_id[j]] == 0
            keep = allowed if keep is None else keep & allowed
        if keep is not None and keep.dim() > score.dim():
            score = score.expand_as(keep)
        if self.normalization == "softmax":
            # A finite minimum avoids NaN at nodes that lose all neighbours.
            score = score if keep is None else score.masked_fill(~keep, torch.finfo(score.dtype).min)
            weight = softmax(score, i, num_nodes=landmark_id.shape[0], dim=-1)
        else:
            weight = score.sigmoid() if self.normalization == "sigmoid" else score
        weight = weight if keep is None else weight.masked_fill(~keep, 0.0)
        return weight.expand(*confidence.shape[:-1], -1)

    def dense(self, confidence: Tensor, mask: Tensor | None = None) -> Tensor:
        """Weights [B, K, K] on complete graphs whose node k has type k.

        Args:
            confidence: [B, K], floating point and finite, normally in [0, 1].
            mask: [B, K], False where a landmark is missing: it is nobody's neighbour and has no neighbours. Values at
                a missing landmark are not read.

        Returns:
            Row i holds the weights of i's neighbours; the row of a node without neighbours is zero.

        Raises:
            InputError: for shapes, types or values that do not fit (values are checked on the CPU only).
        """
        confidence = self._check_nodes(confidence, mask, "B K", K=self.num_landmarks)
        with autocast_disabled(confidence.device.type):
            score = self.pair_scores(confidence, mask)
        if self.symmetric:
            score = (score + score.transpose(-1, -2)) / 2
        if self.self_loops == "zero":
            itself = torch.eye(self.num_landmarks, dtype=torch.bool, device=score.device)
            score = score.masked_fill(itself, 0.0)
        return self._normalize(score, mask).expand(confidence.shape[0], -1, -1)

    def _check_nodes(self, confidence: Tensor, mask: Tensor | None, shape: str, **sizes: int) -> Tensor:
        """Check what nodes have; their confidences, 0 where a node is missing."""
        check_shape("confidence", confidence, shape, **sizes)
        check_floating("confidence", confidence)
        check_devices(self.attn_bias.device, "the connectivity", confidence=confidence, mask=mask)
        if mask is not None:
            check_mask("mask", mask, shape, **({"B": confidence.shape[0], **sizes} if shape == "B K" else sizes))
            if confidence.dim() > 1:
                check_images(confidence.shape[:-1], "confidence", mask=(mask, 1))
            confidence = confidence.masked_fill(~mask, 0.0)
        check_finite("confidence", confidence)
        return confidence

    def set_forbidden(self, pairs: Tensor | None) -> None:
        """Set the pairs of types that can never be neighbours, [K, K] booleans on the CPU; None forbids none."""
        # Kept as an attribute: the meta device has no values, and the buffer is computed anew when one leaves it.
        self.forbidden_pairs = pairs
        itself = torch.eye(self.num_landmarks, dtype=torch.bool, device="cpu")
        forbidden = itself if self.self_loops == "none" else torch.zeros_like(itself)
        forbidden = forbidden if pairs is None else forbidden | pairs
        self._all_have_neighbors = not bool(forbidden.all(dim=-1).any())
        # The lowest number that every floating-point type holds, since averages of infinities are NaN; and no
        # booleans, since PyTorch and Lightning average buffers along with weights.
        lowest = torch.tensor(torch.finfo(torch.bfloat16).min, dtype=torch.float32, device="cpu")
        bias = torch.where(forbidden, lowest, 0.0)
        self.register_buffer("attn_bias", bias.to(torch.get_default_device(), torch.get_default_dtype()), False)

    def _score_edges(
        self, id_i: Tensor, id_j: Tensor, confidence_i: Tensor, confidence_j: Tensor, loop: Tensor, keep: Tensor | None
    ) -> Tensor:
        """:meth:`edge_scores` with the options ``symmetric`` and ``self_loops``."""
        if self.self_loops == "zero":
            keep = ~loop if keep is None else keep & ~loop
        if self.symmetric:
            # Each direction counts half, so that batch statistics are those of the dense form.
            half = confidence_i.new_full(id_i.shape, 0.5) if keep is None else keep * 0.5
            ends = ((id_i, id_j), (id_j, id_i), (confidence_i, confidence_j), (confidence_j, confidence_i))
            both = self.edge_scores(*(torch.cat(way, dim=-1) for way in (*ends, (half, half))))
            score = (both[..., : len(id_i)] + both[..., len(id_i) :]) / 2
        else:
            score = self.edge_scores(id_i, id_j, confidence_i, confidence_j, keep)
        return score.masked_fill(loop, 0.0) if self.self_loops == "zero" else score

    def _normalize(self, score: Tensor, mask: Tensor | None) -> Tensor:
        """Weights from the scores of all pairs, broadcastable to [B, K, K]."""
        if mask is None and self.sums_to_one:
            # Adding is several times faster than filling, and its backward pass is free.
            return (score + self.attn_bias).softmax(dim=-1)
        forbidden = self.attn_bias < 0
        if mask is not None:
            forbidden = forbidden | ~(mask.unsqueeze(-1) & mask.unsqueeze(-2))
        if self.normalization == "softmax":
            # A finite minimum avoids NaN in rows without neighbours; the second fill clears them.
            score = score.masked_fill(forbidden, torch.finfo(score.dtype).min).softmax(dim=-1)
        elif self.normalization == "sigmoid":
            score = score.sigmoid()
        return score.masked_fill(forbidden, 0.0)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "Connectivity":
        was_meta = self.attn_bias.is_meta
        super()._apply(fn, recurse)
        if was_meta and not self.attn_bias.is_meta:
            # No state dict restores this buffer.
            empty = self.attn_bias
            self.set_forbidden(self.forbidden_pairs)
            self.attn_bias = self.attn_bias.to(empty)
        return self

    def __repr__(self) -> str:
        """Show the arguments, kept as attributes of the same name, that differ from their defaults."""
        arguments = list(signature(type(self)).parameters.values())[1:]
        values = {each.name: (getattr(self, each.name, each.default), each.default) for each in arguments}
        options = "".join(f", {name}={value!r}" for name, (value, default) in values.items() if value != default)
        return f"{type(self).__name__}({self.num_landmarks}{options})"

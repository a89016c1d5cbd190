"""Base class of connectivities: scores of pairs of landmarks, and edge weights over each node's neighbours."""

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch_geometric.utils import softmax

from lgcn.checks import (
    InputError,
    check_choice,
    check_edges,
    check_finite,
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
            paper), ``"scored"`` like any other pair, or with a score of ``"zero"`` (the paper's released code). Edge
            lists keep their self loops; ``"zero"`` sets the scores of these.
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
        if num_landmarks < 1:
            raise InputError(f"Expected 'num_landmarks' to be at least 1 (got {num_landmarks}).")
        self.num_landmarks = num_landmarks
        self.normalization = check_choice("normalization", normalization, NORMALIZATIONS)
        self.self_loops = check_choice("self_loops", self_loops, SELF_LOOPS)
        self.symmetric = symmetric
        self.set_forbidden(None)

    @property
    def sums_to_one(self) -> bool:
        """Whether each row of weights on a complete graph sums to 1 if no landmark is missing."""
        return self.normalization == "softmax" and self._all_have_neighbors

    def reset_parameters(self) -> None:
        """Resets all parameters; there are none here."""

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
        landmark_id, confidence = self.check_nodes(landmark_id, confidence, mask)
        check_edges("edge_index", edge_index, landmark_id.shape[0])
        neighbor, receiver = edge_index[0], edge_index[1]
        weight = self.edge_weights(
            landmark_id[receiver],
            landmark_id[neighbor],
            confidence[..., receiver],
            confidence[..., neighbor],
            receiver,
            landmark_id.shape[0],
            loop=neighbor == receiver if self.self_loops == "zero" else None,
            keep=None if mask is None else mask[..., receiver] & mask[..., neighbor],
        )
        return weight.expand(*confidence.shape[:-1], -1)

    def dense(self, confidence: Tensor, mask: Tensor | None = None) -> Tensor:
        """Weights [B, K, K] on complete graphs whose node k has type k.

        Args:
            confidence: [B, K], floating point and finite, normally in [0, 1].
            mask: [B, K], False where a landmark is missing: it is no node's neighbour and has none. Values at
                a missing landmark are not read.

        Returns:
            Row i holds the weights of i's neighbours; the row of a node without neighbours is zero.

        Raises:
            InputError: for shapes, types or values that do not fit (values are checked on the CPU only).
        """
        check_shape("confidence", confidence, "B K", K=self.num_landmarks)
        check_floating("confidence", confidence)
        if mask is not None:
            check_mask("mask", mask, "B K", B=confidence.shape[0], K=self.num_landmarks)
            confidence = confidence.masked_fill(~mask, 0.0)
        check_finite("confidence", confidence)
        return self.pair_weights(confidence, mask)

    def for_inference(self) -> "Connectivity":
        """A copy for inference: eval mode, no gradients, independent of later changes of this module's parameters."""
        return copy.deepcopy(self).eval().requires_grad_(False)

    def check_nodes(self, landmark_id: Tensor, confidence: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        """Checks types and confidences as :meth:`forward` takes them, and clears those of missing nodes.

        Raises:
            InputError: as :meth:`forward` says.
        """
        check_shape("landmark_id", landmark_id, "N")
        check_shape("confidence", confidence, "... N", N=landmark_id.shape[0])
        check_floating("confidence", confidence)
        if mask is not None:
            check_mask("mask", mask, "... N", N=landmark_id.shape[0])
            if confidence.dim() > 1:
                check_images(confidence.shape[:-1], "confidence", mask=(mask, 1))
            confidence = confidence.masked_fill(~mask, 0.0)
        check_ids("landmark_id", landmark_id, self.num_landmarks)
        check_finite("confidence", confidence)
        return landmark_id, confidence

    def edge_weights(
        self,
        id_i: Tensor,
        id_j: Tensor,
        confidence_i: Tensor,
        confidence_j: Tensor,
        receiver: Tensor,
        num_nodes: int,
        loop: Tensor | None = None,
        keep: Tensor | None = None,
    ) -> Tensor:
        """:meth:`forward` without checks, from the types and confidences at both ends of each edge.

        Args:
            id_i: [E], types of the receiving nodes.
            id_j: [E], types of their neighbours.
            confidence_i: [..., E].
            confidence_j: [..., E].
            receiver: [E], the receiving nodes.
            num_nodes: N.
            loop: [E], True for self loops; used with ``self_loops="zero"`` only.
            keep: [..., E], False for edges to be left out.
        """
        scored = keep
        if loop is not None:
            scored = ~loop if keep is None else keep & ~loop
        # bfloat16 distorts the softmax.
        with autocast_disabled(confidence_i.device.type):
            if self.symmetric:
                # Each direction counts half, so that batch statistics are those of the dense form.
                half = confidence_i.new_full(id_i.shape, 0.5) if scored is None else scored * 0.5
                ends = ((id_i, id_j), (id_j, id_i), (confidence_i, confidence_j), (confidence_j, confidence_i))
                both = self.edge_scores(*(torch.cat(way, dim=-1) for way in (*ends, (half, half))))
                score = (both[..., : len(id_i)] + both[..., len(id_i) :]) / 2
            else:
                score = self.edge_scores(id_i, id_j, confidence_i, confidence_j, scored)
        if loop is not None:
            score = score.masked_fill(loop, 0.0)
        if self.forbidden_pairs is not None:
            allowed = self.attn_bias[id_i, id_j] == 0
            keep = allowed if keep is None else keep & allowed
        if keep is not None and keep.dim() > score.dim():
            score = score.expand_as(keep)
        if self.normalization == "softmax":
            # A finite minimum avoids NaN at nodes that lose all neighbours.
            score = score if keep is None else score.masked_fill(~keep, torch.finfo(score.dtype).min)
            weight = softmax(score, receiver, num_nodes=num_nodes, dim=-1)
        else:
            weight = score.sigmoid() if self.normalization == "sigmoid" else score
        return weight if keep is None else weight.masked_fill(~keep, 0.0)

    def pair_weights(self, confidence: Tensor, mask: Tensor | None = None) -> Tensor:
        """:meth:`dense` without checks."""
        with autocast_disabled(confidence.device.type):
            score = self.pair_scores(confidence, mask)
        if self.symmetric:
            score = (score + score.transpose(-1, -2)) / 2
        if self.self_loops == "zero":
            itself = torch.eye(self.num_landmarks, dtype=torch.bool, device=score.device)
            score = score.masked_fill(itself, 0.0)
        return self._normalize(score, mask).expand(confidence.shape[0], -1, -1)

    def set_forbidden(
        self, pairs: Tensor | None, device: torch.device | None = None, dtype: torch.dtype | None = None
    ) -> None:
        """Sets the pairs of types that can never be neighbours.

        Args:
            pairs: [K, K] booleans on the CPU, row i receiving; None forbids none.
            device: of the buffer that follows from them.
            dtype: of that buffer.
        """
        # Kept as an attribute: the meta device has no values, and the buffer is recomputed when the module leaves it.
        self.forbidden_pairs = pairs
        itself = torch.eye(self.num_landmarks, dtype=torch.bool, device="cpu")
        forbidden = itself if self.self_loops == "none" else torch.zeros_like(itself)
        forbidden = forbidden if pairs is None else forbidden | pairs
        self._all_have_neighbors = not bool(forbidden.all(dim=-1).any())
        # The lowest number of every floating-point type, since averages of infinities are NaN; not
        # booleans, since PyTorch and Lightning average buffers along with weights.
        lowest = torch.tensor(torch.finfo(torch.bfloat16).min, dtype=torch.float32, device="cpu")
        bias = torch.where(forbidden, lowest, 0.0)
        device, dtype = device or torch.get_default_device(), dtype or torch.get_default_dtype()
        self.register_buffer("attn_bias", bias.to(device, dtype), persistent=False)

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
            self.set_forbidden(self.forbidden_pairs, self.attn_bias.device, self.attn_bias.dtype)
        return self

    def options(self) -> dict[str, Any]:
        """Options for ``repr``: those that differ from the paper."""
        given = {"normalization": self.normalization, "self_loops": self.self_loops, "symmetric": self.symmetric}
        return {name: value for name, value in given.items() if value not in ("softmax", "none", False)}

    def __repr__(self) -> str:
        options = "".join(f", {name}={value!r}" for name, value in self.options().items())
        return f"{type(self).__name__}({self.num_landmarks}{options})"

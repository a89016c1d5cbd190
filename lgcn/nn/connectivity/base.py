"""What every connectivity offers: scores of pairs of landmarks, and weights over each node's neighbours."""

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

    A subclass says what :math:`s_{ij}` is, once for pairs of nodes on an edge list (:meth:`edge_score`)
    and once for all pairs of K landmarks at a time (:meth:`pair_score`); both must agree.

    Args:
        num_landmarks: K, the number of landmark types.
        normalization: what makes weights of scores: ``"softmax"`` over the neighbours (the paper),
            ``"sigmoid"`` of each score alone, or ``"raw"``, the scores as they are.
        self_loops: whether a node is its own neighbour on the complete graph of :meth:`dense`:
            ``"none"`` (the paper), ``"scored"`` like any other pair, or with a score of ``"zero"`` (the
            paper's released code). An edge list decides that itself by the self loops that it holds;
            there ``"zero"`` sets their scores.
        symmetric: scores both ways are averaged, :math:`(s_{ij} + s_{ji}) / 2`. Weights are symmetric then
            too, but for a softmax, which divides each row by another sum.
    """

    _barrier: Tensor
    _apart: Tensor | None

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
        self._restrict(None)

    @property
    def sums_to_one(self) -> bool:
        """Whether the weights over each landmark's neighbours do, on complete graphs without missing landmarks."""
        return self.normalization == "softmax" and self._all_have_neighbours

    def reset_parameters(self) -> None:
        """Draws all parameters anew."""

    @abstractmethod
    def edge_score(self, id_i: Tensor, id_j: Tensor, confidence_i: Tensor, confidence_j: Tensor) -> Tensor:
        """Scores of edges from types [E] and confidences [..., E] of the receiving node i and its neighbour j.

        Broadcastable to [..., E].
        """

    @abstractmethod
    def pair_score(self, confidence: Tensor) -> Tensor:
        """Scores of all pairs of landmarks, broadcastable to [B, K, K], row i receiving, from confidences [B, K]."""

    def forward(
        self, landmark_id: Tensor, confidence: Tensor, edge_index: Tensor, mask: Tensor | None = None
    ) -> Tensor:
        """Weights [E] on an edge list, or [B, E] for B images that share one.

        Args:
            landmark_id: [N], type of each node, in 0 ... K - 1, of int64 or int32.
            confidence: [N] or [B, N], floating-point and finite, in [0, 1] as a rule.
            edge_index: [2, E], neighbours j in row 0, receiving nodes i in row 1.
            mask: [N] or [B, N], False where a node is missing: its edges weigh 0, and the rest as if it were
                not there. What stands at a missing node is not read.

        Raises:
            InputError: for shapes, types or values that do not fit (values are looked at on the CPU only).
        """
        landmark_id, confidence = self.check_nodes(landmark_id, confidence, mask)
        check_edges("edge_index", edge_index, landmark_id.shape[0])
        neighbour, receiver = edge_index[0], edge_index[1]
        weight = self.edge_weight(
            landmark_id[receiver],
            landmark_id[neighbour],
            confidence[..., receiver],
            confidence[..., neighbour],
            receiver,
            landmark_id.shape[0],
            loop=neighbour == receiver if self.self_loops == "zero" else None,
            keep=None if mask is None else mask[..., receiver] & mask[..., neighbour],
        )
        return weight.expand(*confidence.shape[:-1], -1)

    def frozen(self) -> "Connectivity":
        """A copy for inference: in eval mode, without gradients, its constant part computed for good.

        Later changes of this module's parameters do not reach it. It is what to compile and to export.
        """
        return copy.deepcopy(self).eval().requires_grad_(False)

    def check_nodes(self, landmark_id: Tensor, confidence: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        """Types and confidences as :meth:`forward` takes them, without what stands at missing nodes.

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

    def edge_weight(
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
        """Weights of edges, as :meth:`forward` gives them, from what stands at their two ends.

        Args:
            id_i: [E], types of receiving nodes.
            id_j: [E], types of their neighbours.
            confidence_i: [..., E].
            confidence_j: [..., E].
            receiver: [E], the receiving nodes.
            num_nodes: N.
            loop: [E], True where a node is its own neighbour; read only where ``self_loops="zero"``.
            keep: [..., E], False for edges that are not there.
        """
        # Rounded to bfloat16, scores would blur the softmax, and what is kept between calls with them.
        with autocast_disabled(confidence_i.device.type):
            score = self._score_edges(id_i, id_j, confidence_i, confidence_j, loop, keep)
        if self.self_loops == "zero" and loop is not None:
            score = score.masked_fill(loop, 0.0)
        if self._apart is not None:
            near = self._barrier[id_i, id_j] == 0
            keep = near if keep is None else keep & near
        if keep is not None and keep.dim() > score.dim():
            score = score.expand_as(keep)
        if self.normalization == "softmax":
            # A finite floor keeps nodes that lose all neighbours free of NaN.
            score = score if keep is None else score.masked_fill(~keep, torch.finfo(score.dtype).min)
            weight = softmax(score, receiver, num_nodes=num_nodes, dim=-1)
        else:
            weight = score.sigmoid() if self.normalization == "sigmoid" else score
        return weight if keep is None else weight.masked_fill(~keep, 0.0)

    def dense(self, confidence: Tensor, mask: Tensor | None = None) -> Tensor:
        """Weights [B, K, K] on complete graphs whose node k is of type k.

        Args:
            confidence: [B, K], floating-point and finite, in [0, 1] as a rule.
            mask: [B, K], False where a landmark is missing: nobody's neighbour, and without neighbours. What
                stands there is not read.

        Returns:
            Row i holds the weights of i's neighbours; a node without neighbours has a row of zeros.

        Raises:
            InputError: for shapes, types or values that do not fit (values are looked at on the CPU only).
        """
        check_shape("confidence", confidence, "B K", K=self.num_landmarks)
        check_floating("confidence", confidence)
        if mask is not None:
            check_mask("mask", mask, "B K", B=confidence.shape[0], K=self.num_landmarks)
            confidence = confidence.masked_fill(~mask, 0.0)
        check_finite("confidence", confidence)
        with autocast_disabled(confidence.device.type):
            score = self._score_pairs(confidence, mask)
        if self.symmetric:
            score = (score + score.transpose(-1, -2)) / 2
        if self.self_loops == "zero":
            itself = torch.eye(self.num_landmarks, dtype=torch.bool, device=score.device)
            score = score.masked_fill(itself, 0.0)
        return self._normalize(score, mask).expand(confidence.shape[0], -1, -1)

    def _score_edges(
        self,
        id_i: Tensor,
        id_j: Tensor,
        confidence_i: Tensor,
        confidence_j: Tensor,
        loop: Tensor | None,
        keep: Tensor | None,
    ) -> Tensor:
        """Scores of edges, averaged both ways where symmetric; arguments as :meth:`edge_weight` has them.

        Loops and edges that are not there are scored as well, and weighed afterwards. A subclass in which one edge's
        score depends on the others leaves them out here.
        """
        score = self.edge_score(id_i, id_j, confidence_i, confidence_j)
        if self.symmetric:
            score = (score + self.edge_score(id_j, id_i, confidence_j, confidence_i)) / 2
        return score

    def _score_pairs(self, confidence: Tensor, mask: Tensor | None) -> Tensor:
        """Scores of all pairs, one way; :meth:`_score_edges` for the arguments of :meth:`dense`."""
        return self.pair_score(confidence)

    def _normalize(self, score: Tensor, mask: Tensor | None) -> Tensor:
        """Scores of all pairs, broadcastable to [B, K, K], -> weights."""
        if mask is None and self.normalization == "softmax" and self._all_have_neighbours:
            # A sum is several times quicker than filling, and nothing is to be done on the way back.
            return (score + self._barrier).softmax(dim=-1)
        stranger = self._barrier < 0
        if mask is not None:
            stranger = stranger | ~(mask.unsqueeze(-1) & mask.unsqueeze(-2))
        if self.normalization == "sigmoid":
            return score.sigmoid().masked_fill(stranger, 0.0)
        if self.normalization == "raw":
            return score.masked_fill(stranger, 0.0)
        # A finite floor keeps rows without neighbours free of NaN; clearing the strangers empties them.
        floored = score.masked_fill(stranger, torch.finfo(score.dtype).min)
        return floored.softmax(dim=-1).masked_fill(stranger, 0.0)

    def _restrict(
        self, apart: Tensor | None, device: torch.device | None = None, dtype: torch.dtype | None = None
    ) -> None:
        """Says which pairs of types [K, K] can never be neighbours, on the CPU; None: all can."""
        # What is decided here can be neither read from a meta device nor lost there.
        self._apart = apart
        itself = torch.eye(self.num_landmarks, dtype=torch.bool, device="cpu")
        stranger = itself if self.self_loops == "none" else torch.zeros_like(itself)
        stranger = stranger if apart is None else stranger | apart
        self._all_have_neighbours = not bool(stranger.all(dim=-1).any())
        # As low as any type of floating-point numbers goes, but no infinity: averages of that would be NaN. And no
        # booleans, of which PyTorch and Lightning, which average buffers beside weights, take no average.
        lowest = torch.tensor(torch.finfo(torch.bfloat16).min, dtype=torch.float32, device="cpu")
        barrier = torch.where(stranger, lowest, 0.0)
        device, dtype = device or torch.get_default_device(), dtype or torch.get_default_dtype()
        self.register_buffer("_barrier", barrier.to(device, dtype), persistent=False)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "Connectivity":
        started_on_meta = self._barrier.is_meta
        super()._apply(fn, recurse)
        if started_on_meta and not self._barrier.is_meta:
            # No state brings it, as it brings the parameters.
            self._restrict(self._apart, self._barrier.device, self._barrier.dtype)
        return self

    def _options(self) -> dict[str, Any]:
        """What ``repr`` shows beside K: the options that are not as the paper has them."""
        given = {"normalization": self.normalization, "self_loops": self.self_loops, "symmetric": self.symmetric}
        return {name: value for name, value in given.items() if value not in ("softmax", "none", False)}

    def __repr__(self) -> str:
        options = "".join(f", {name}={value!r}" for name, value in self._options().items())
        return f"{type(self).__name__}({self.num_landmarks}{options})"

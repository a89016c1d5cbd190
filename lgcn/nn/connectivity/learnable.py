"""The paper's connectivity: from landmark types and heatmap confidences, for each image anew."""

import math
from collections.abc import Callable, Sequence
from functools import partial
from operator import itemgetter
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.checkpoint import checkpoint
from torch_geometric.nn import MLP

from lgcn.checks import InputError, check_choice, is_plain_inference, is_transformed
from lgcn.nn.connectivity.base import Connectivity
from lgcn.nn.functional.autocast import autocast_disabled
from lgcn.nn.functional.mlp import after_first, widths
from lgcn.nn.functional.pair_scores import AT_ONCE, pair_scores, pair_scores_by_rows

NORMS = ("batch_norm",)

# So many numbers of edges times hidden units stay in the caches.
_CACHED = 1 << 18


class Constants(NamedTuple):
    """What the parameters alone decide."""

    table: Tensor
    """T [H, K, K]: what the first layer of the edge MLP makes of l_ij, its bias included."""
    of_receiver: Tensor
    """a [H, 1, 1]: what it makes of c_i; empty where confidences are not used."""
    of_neighbour: Tensor
    """b [H, 1, 1], what it makes of c_j, likewise."""
    weight: Tensor
    """v [H]: of the last layer of an edge MLP of two, with the normalisation before it folded in; else empty."""
    bias: Tensor
    """[1], likewise."""


_FROZEN = tuple(f"_frozen_{name}" for name in Constants._fields)
# Straight from the dictionary of buffers: attributes of modules are looked up in Python, which adds up for an image.
_get_frozen = itemgetter(*_FROZEN)


class LearnableConnectivity(Connectivity):
    r"""Edge weights from pairs of landmark types and of confidences, eq. 5 and 6.

    .. math::
        l_{ij} = \mathrm{MLP}_{class}(g(l_i) \oplus g(l_j)), \qquad
        s_{ij} = \mathrm{MLP}_{edge}([c_i, c_j] \oplus l_{ij}), \qquad
        e_{ij} = \operatorname{softmax}_{j \in \mathcal{N}(i)} s_{ij}

    with one-hot types :math:`g` and confidences :math:`c`; from `"Facial Landmark Detection with Learnable
    Connectivity Graph Convolutional Network"`.

    Computed without one-hot vectors: a linear layer on :math:`g(l_i) \oplus g(l_j)` is the sum of two rows of
    its weight, so all of the class MLP, and what the edge MLP's first layer makes of it, is a table
    :math:`T` [K, K, H] of the parameters alone, kept as long as they do not change. An image adds only
    :math:`\mathrm{ReLU}(T_{l_i l_j} + a c_i + b c_j)`, see :mod:`lgcn.nn.functional.pair_scores`. Batch
    normalisation is an affine map once training is over, and is folded into the layer after it; in training its
    statistics are those of the edges, or of the pairs of different landmarks, whose two ends are there; types that
    images share are embedded once a batch.

    Args:
        num_landmarks: K.
        class_hidden_channels: width of the class MLP's hidden layer, or of several.
        class_channels: width of :math:`l_{ij}`.
        edge_hidden_channels: H, width of the edge MLP's hidden layer, or of several.
        norm: ``"batch_norm"`` after the activation of each hidden layer, or None.
        act_last: an activation after the last layers too, and after the edge MLP's the norm as well (the paper's
            released code).
        use_class_embedding: without it scores know nothing of types: an ablation.
        use_confidence: without it scores know nothing of confidences, and are the same for all images: an ablation.
        normalization: ``"softmax"``, ``"sigmoid"`` or ``"raw"``.
        self_loops: as :class:`Connectivity` has it.
        symmetric: as :class:`Connectivity` has it.
    """

    # Of a frozen one; None where it is not.
    _frozen_table: Tensor
    _frozen_of_receiver: Tensor
    _frozen_of_neighbour: Tensor
    _frozen_weight: Tensor
    _frozen_bias: Tensor

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
        if not use_class_embedding and not use_confidence:
            raise InputError("Expected 'use_class_embedding' or 'use_confidence' (got neither). Use 'uniform' instead.")
        if norm is not None:
            check_choice("norm", norm, NORMS)
        self.norm = norm
        self.act_last = act_last
        self.use_confidence = use_confidence
        self._kept: tuple[list[Tensor], Constants] | None = None
        self._rows_may_shift = False
        for name in _FROZEN:
            self.register_buffer(name, None, persistent=False)
        options = {"act_first": True, "norm": norm}
        self.class_mlp: MLP | None = None
        if use_class_embedding:
            hidden = widths("class_hidden_channels", class_hidden_channels)
            self.class_mlp = MLP([2 * num_landmarks, *hidden, *widths("class_channels", class_channels)], **options)
        hidden = widths("edge_hidden_channels", edge_hidden_channels)
        inputs = 2 * use_confidence + class_channels * use_class_embedding
        self.edge_mlp = MLP([inputs, *hidden, 1], **options, plain_last=not act_last)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        if self.class_mlp is not None:
            self.class_mlp.reset_parameters()
        self.edge_mlp.reset_parameters()

    def class_embedding(self) -> Tensor:
        """l_ij of eq. 5 for all pairs of types, [K, K, class_channels]."""
        types = torch.arange(self.num_landmarks, device=self._device)
        embedding = self._embed(types.unsqueeze(1), types)
        if embedding is None:
            raise InputError("Expected a connectivity with a class embedding (got use_class_embedding=False).")
        return embedding

    def constants(self) -> Constants:
        """What the parameters alone decide, the table T [H, K, K] first of all.

        On the CPU and without gradients it is computed once and kept until a parameter has another value, or until
        training goes on. Elsewhere, where comparing values would have to be waited for, it is computed each time; what
        never computes it again is :meth:`frozen`.
        """
        if self._is_frozen:
            return Constants(*(getattr(self, name) for name in _FROZEN))
        if torch.compiler.is_compiling() or self._device.type != "cpu" or is_transformed():
            return self._compute_constants()
        if torch.is_grad_enabled():
            # Not everybody who goes on training after a validation calls ``train``.
            if self.training and self._kept is not None:
                self._kept = None
            return self._compute_constants()
        # Values are compared, not version counters, which edits through ``.data`` pass by; they are few.
        sources = self._sources()
        kept = self._kept
        if kept is None or not all(map(_same, kept[0], sources)):
            # Copies: parameters that something else looks into cannot be swapped for others.
            computed = Constants(*(constant.clone() for constant in self._compute_constants()))
            self._kept = kept = ([source.detach().clone() for source in sources], computed)
        return kept[1]

    def table(self) -> Tensor:
        """T [H, K, K] of :meth:`constants`."""
        return self.constants().table

    def frozen(self) -> "LearnableConnectivity":
        frozen = super().frozen()
        assert isinstance(frozen, LearnableConnectivity)
        with torch.no_grad():
            for name, constant in zip(_FROZEN, frozen._compute_constants(), strict=True):
                # A copy: a buffer that is a parameter as well cannot be exported.
                frozen.register_buffer(name, constant.clone(), persistent=False)
        # Then scores need to be known but for what is added to all of a receiving landmark's: no weight sees it.
        frozen._rows_may_shift = (
            self.normalization == "softmax"
            and self.use_confidence
            and not (self.symmetric or self.act_last or self.self_loops == "zero")
            and self._all_have_neighbours
            and len(self.edge_mlp.lins) == 2
        )
        return frozen

    def dense(self, confidence: Tensor, mask: Tensor | None = None) -> Tensor:
        weight = self._dense_at_once(confidence) if mask is None and self._rows_may_shift else None
        return super().dense(confidence, mask) if weight is None else weight

    def _dense_at_once(self, confidence: Tensor) -> Tensor | None:
        """:meth:`dense` of a frozen one for a few images at inference, None where it has to look closer.

        To call functions that each look at what they get would take as long as a pass over all pairs.
        """
        if not is_plain_inference(confidence):
            return None
        table, of_receiver, of_neighbour, weight, _ = _get_frozen(self._buffers)
        if (
            confidence.dim() != 2
            or confidence.shape[1] != self.num_landmarks
            or confidence.shape[0] * table.numel() > AT_ONCE
            or confidence.dtype != table.dtype
            or not table.is_cpu
            or not math.isfinite(confidence.sum().item())
        ):
            return None
        score = pair_scores_by_rows(table, of_receiver, of_neighbour, confidence, weight)
        return (score + self._barrier).softmax(dim=-1)

    def train(self, mode: bool = True) -> "LearnableConnectivity":
        if mode:
            self._kept = None
        return super().train(mode)

    def edge_score(self, id_i: Tensor, id_j: Tensor, confidence_i: Tensor, confidence_j: Tensor) -> Tensor:
        if self._in_pieces:
            return self._score_in_pieces(id_i, id_j, confidence_i, confidence_j, None)
        # Rows of an embedding, whose backward is parallel; that of indexing is not. But indexing, here without a
        # gradient, refuses each of the two ids where it is out of range; their combination might not be.
        table = self.constants().table
        row = torch.arange(table[0].numel(), device=table.device).view_as(table[0])[id_i, id_j]
        rows = table.flatten(1).t()
        images = math.prod(confidence_i.shape[:-1])
        edges = max(1, _CACHED // max(1, images * rows.shape[1]))
        if torch.compiler.is_compiling() or len(row) <= edges:
            return self._score_rows(rows, row, confidence_i, confidence_j)
        # E x H numbers would go through memory again and again; a few thousand edges at a time stay in the caches, and
        # what is in between is computed anew on the way back instead of being kept.
        rows = rows.contiguous()
        parts = zip(*(each.split(edges, dim=-1) for each in (row, confidence_i, confidence_j)), strict=True)
        score: Callable[..., Tensor] = self._score_rows
        if torch.is_grad_enabled() and not is_transformed():
            score = partial(checkpoint, self._score_rows, use_reentrant=False, preserve_rng_state=False)
        return torch.cat([score(rows, *part) for part in parts], dim=-1)

    def pair_score(self, confidence: Tensor) -> Tensor:
        if self._in_pieces:
            return self._pair_score_of_edges(confidence, None)
        table, of_receiver, of_neighbour, weight, bias = self.constants()
        if confidence.dtype != table.dtype:
            confidence = confidence.to(table.dtype)
        if not self.use_confidence:
            return after_first(self.edge_mlp, table.permute(1, 2, 0)).squeeze(-1).unsqueeze(0)
        if len(self.edge_mlp.lins) != 2:
            pair = torch.stack(torch.broadcast_tensors(confidence.unsqueeze(-1), confidence.unsqueeze(-2)), dim=-1)
            hidden = table.permute(1, 2, 0) + pair @ torch.stack([of_receiver, of_neighbour]).flatten(1)
            return after_first(self.edge_mlp, hidden).squeeze(-1)
        score = pair_scores(table, of_receiver * confidence, of_neighbour * confidence, weight, bias)
        if self.act_last:
            # Its own batch normalisation sees columns.
            score = self.edge_mlp.norms[-1](self.edge_mlp.act(score).view(-1, 1)).view_as(score)
        return score

    @property
    def _device(self) -> torch.device:
        return self.edge_mlp.lins[0].weight.device

    @property
    def _in_pieces(self) -> bool:
        """Whether statistics of the pairs that are there are wanted, which the table of all pairs would not give."""
        return self.norm is not None and self.training and not self._is_frozen

    @property
    def _is_frozen(self) -> bool:
        return self._frozen_table is not None

    def _score_rows(self, rows: Tensor, row: Tensor, confidence_i: Tensor, confidence_j: Tensor) -> Tensor:
        """Scores [..., E] of edges whose types are rows [E] of the table [K * K, H]."""
        return self._finish_edges(functional.embedding(row, rows), confidence_i, confidence_j)

    def _score_edges(
        self,
        id_i: Tensor,
        id_j: Tensor,
        confidence_i: Tensor,
        confidence_j: Tensor,
        loop: Tensor | None,
        keep: Tensor | None,
    ) -> Tensor:
        if not self._in_pieces:
            return super()._score_edges(id_i, id_j, confidence_i, confidence_j, loop, keep)
        counts = keep
        if loop is not None and self.self_loops == "zero":
            counts = ~loop if keep is None else keep & ~loop
        if not self.symmetric:
            return self._score_in_pieces(id_i, id_j, confidence_i, confidence_j, counts)
        # Both ways at once, so that running statistics move once; each counts half, so that an edge counts once.
        counts = confidence_i.new_full(id_i.shape, 0.5) if counts is None else counts * 0.5
        ends = ((id_i, id_j), (id_j, id_i), (confidence_i, confidence_j), (confidence_j, confidence_i))
        both = self._score_in_pieces(*(torch.cat(way, dim=-1) for way in (*ends, (counts, counts))))
        return (both[..., : len(id_i)] + both[..., len(id_i) :]) / 2

    def _score_pairs(self, confidence: Tensor, mask: Tensor | None) -> Tensor:
        return self._pair_score_of_edges(confidence, mask) if self._in_pieces else self.pair_score(confidence)

    def _score_in_pieces(
        self, id_i: Tensor, id_j: Tensor, confidence_i: Tensor, confidence_j: Tensor, counts: Tensor | None
    ) -> Tensor:
        """Scores [..., E] by the statistics of these edges, each as often as ``counts`` [..., E] says (None: once)."""
        counts_of_types = counts
        if counts is not None and counts.dim() > 1:
            # In how many of the images that share them, as a fraction: as without a mask, types come once a batch.
            counts_of_types = counts.to(confidence_i.dtype).flatten(0, -2).mean(dim=0)
        types = self._first_edge_layer(self._embed(id_i, id_j, counts_of_types), len(id_i))
        counts = counts if self.use_confidence else counts_of_types
        return self._finish_edges(types, confidence_i, confidence_j, counts)

    def _finish_edges(
        self, types: Tensor, confidence_i: Tensor, confidence_j: Tensor, counts: Tensor | None = None
    ) -> Tensor:
        """Scores [..., E] from what the edge MLP's first layer makes of types [E, H]."""
        if self.use_confidence:
            # One product of E x 2 with 2 x H instead of two outer products, each E x H, and their sum.
            confidence = torch.stack([confidence_i, confidence_j], dim=-1).to(types.dtype)
            types = types + confidence @ self.edge_mlp.lins[0].weight[:, :2].t()
        return after_first(self.edge_mlp, types, counts=counts).squeeze(-1)

    def _pair_score_of_edges(self, confidence: Tensor, mask: Tensor | None) -> Tensor:
        """Scores of all pairs but those of a landmark with itself, if these are not scored: no statistic sees them."""
        K = self.num_landmarks
        steps = torch.arange(int(self.self_loops != "scored"), K, device=confidence.device)
        i = torch.arange(K, device=confidence.device).repeat_interleave(len(steps))
        j = (i + steps.repeat(K)) % K
        counts = None if mask is None else mask[:, i] & mask[:, j]
        score = self._score_in_pieces(i, j, confidence[:, i], confidence[:, j], counts)
        pairs = score.new_zeros(confidence.shape[0], K, K)
        pairs[:, i, j] = score
        return pairs

    def _embed(self, id_i: Tensor, id_j: Tensor, counts: Tensor | None = None) -> Tensor | None:
        """l_ij [..., class_channels] of types that broadcast, None without a class embedding."""
        if self.class_mlp is None:
            return None
        first = self.class_mlp.lins[0]
        receiving, neighbour = first.weight.t().split(self.num_landmarks)
        return after_first(self.class_mlp, receiving[id_i] + (neighbour + first.bias)[id_j], self.act_last, counts)

    def _first_edge_layer(self, embedding: Tensor | None, edges: int) -> Tensor:
        """What the edge MLP's first layer makes of l_ij, [E, H]."""
        first = self.edge_mlp.lins[0]
        if embedding is None:
            return first.bias.expand(edges, -1)
        return torch.addmm(first.bias, embedding, first.weight[:, 2 * self.use_confidence :].t())

    def _compute_constants(self) -> Constants:
        # Rounded to bfloat16 they would be kept, and scores blur the softmax.
        with autocast_disabled(self._device.type):
            return self._constants_as_they_are()

    def _constants_as_they_are(self) -> Constants:
        K, first = self.num_landmarks, self.edge_mlp.lins[0]
        used, none = 2 * self.use_confidence, first.weight.new_empty(0)
        of_receiver, of_neighbour = (first.weight[:, c].view(-1, 1, 1) for c in range(2)) if used else (none, none)
        if self.class_mlp is None:
            table = first.bias.view(-1, 1, 1).expand(-1, K, K).contiguous()
        else:
            embedding = self.class_embedding().flatten(0, 1)
            table = (first.weight[:, used:] @ embedding.t() + first.bias.unsqueeze(-1)).unflatten(1, (K, K))
        if len(self.edge_mlp.lins) != 2:
            return Constants(table, of_receiver, of_neighbour, none, none)
        last = self.edge_mlp.lins[1]
        if self.norm is None:
            return Constants(table, of_receiver, of_neighbour, last.weight[0], last.bias)
        norm = self.edge_mlp.norms[0].module
        scale = norm.weight * (norm.running_var + norm.eps).rsqrt()
        shift = norm.bias - norm.running_mean * scale
        return Constants(table, of_receiver, of_neighbour, last.weight[0] * scale, last.bias + last.weight @ shift)

    def _sources(self) -> list[Tensor]:
        """All that the constants are made of."""
        mlps = [self.edge_mlp] if self.class_mlp is None else [self.class_mlp, self.edge_mlp]
        sources: list[Tensor] = []
        for mlp in mlps:
            for lin in mlp.lins:
                sources += (lin.weight, lin.bias)
            if self.norm is not None:
                for norm in mlp.norms:
                    sources += (*norm.parameters(), *norm.buffers())
        return sources

    def _options(self) -> dict[str, Any]:
        given = {"norm": self.norm, "act_last": self.act_last}
        without = {"use_class_embedding": self.class_mlp is not None, "use_confidence": self.use_confidence}
        options = {name: value for name, value in given.items() if value}
        return {**options, **{name: value for name, value in without.items() if not value}, **super()._options()}

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "LearnableConnectivity":
        self._kept = None
        super()._apply(fn, recurse)
        return self

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        if self._is_frozen and any(key.startswith(prefix) for key in state_dict):
            raise InputError(
                "Expected to load a state into a connectivity that is not frozen (got one whose table is computed for "
                "good). Load it into the module that was frozen, and call frozen() again."
            )
        super()._load_from_state_dict(state_dict, prefix, *args)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_kept": None}


def _same(one: Tensor, other: Tensor) -> bool:
    return one.dtype == other.dtype and torch.equal(one, other)

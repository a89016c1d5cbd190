"""A hand-made graph: along contours, between nearest landmarks, or edge by edge."""

from collections.abc import Iterable, Sequence
from operator import index
from typing import Any

import torch
from torch import Tensor

from lgcn.checks import InputError, check_at_least, check_finite, check_ids, check_shape, shown
from lgcn.nn.connectivity.uniform import UniformConnectivity


class TopologyConnectivity(UniformConnectivity):
    r"""Uniform weights over hand-picked neighbours: :math:`e_{ij} = 1 / |\mathcal{N}(i)|` for those, 0 for all others.

    A baseline for learned connectivities. Pairs from all sources are combined, and each counts in both directions.

    Args:
        num_landmarks: K.
        edges: pairs of landmark types.
        contours: sequences of landmark types, each a neighbour of the next; see ``closed``.
        closed: for each contour, whether its last landmark is a neighbour of its first; all open if None.
        mean_shape: K points (x, y) in any unit, for ``num_nearest``.
        num_nearest: connects each landmark to this many nearest landmarks of the mean shape.
        normalization: ``"softmax"`` is the mean over the neighbours, ``"raw"`` their sum.
        self_loops: see :class:`Connectivity`.
        symmetric: see :class:`Connectivity`; these scores are symmetric anyway.

    Raises:
        InputError: if no pair is given, or a landmark is not in 0 ... K - 1.
    """

    def __init__(
        self,
        num_landmarks: int,
        edges: Iterable[Sequence[int]] | None = None,
        contours: Iterable[Sequence[int]] | None = None,
        closed: Sequence[bool] | None = None,
        mean_shape: Sequence[Sequence[float]] | Tensor | None = None,
        num_nearest: int = 0,
        normalization: str = "softmax",
        self_loops: str = "none",
        symmetric: bool = False,
    ) -> None:
        super().__init__(num_landmarks, normalization, self_loops, symmetric)
        pairs = _sequences("edges", edges)
        if wrong := [pair for pair in pairs if len(pair) != 2]:
            raise InputError(f"Expected 'edges' to hold pairs of landmarks (got {shown(wrong[0])}).")
        lines = _sequences("contours", contours)
        if closed is not None and (not isinstance(closed, Sequence) or len(closed) != len(lines)):
            raise InputError(
                f"Expected 'closed' to hold one flag for each of {len(lines)} contours (got {shown(closed)})."
            )
        for line, loop in zip(lines, closed or [False] * len(lines), strict=True):
            pairs += map(list, zip(line, line[1:] + line[:1] * (loop and len(line) > 2), strict=False))
        near = torch.zeros(num_landmarks, num_landmarks, dtype=torch.bool, device="cpu")
        if pairs:
            ends = torch.tensor(pairs, device="cpu")
            check_ids("edges and contours", ends, num_landmarks)
            near[ends[:, 0], ends[:, 1]] = True
        if check_at_least("num_nearest", num_nearest, 0):
            near |= self._nearest(mean_shape, num_nearest)
        elif mean_shape is not None:
            raise InputError("Expected 'num_nearest' of 1 or more with 'mean_shape' (got 0).")
        near |= near.t().clone()
        near.fill_diagonal_(False)
        if not near.any() and num_landmarks > 1:
            raise InputError("Expected 'edges', 'contours' or 'num_nearest' with 'mean_shape' to give neighbours.")
        self.num_pairs = int(near.sum()) // 2
        if self_loops != "none":
            near.fill_diagonal_(True)
        self.set_forbidden(~near)

    def _nearest(self, mean_shape: Sequence[Sequence[float]] | Tensor | None, count: int) -> Tensor:
        """[K, K], True where landmark j is one of the ``count`` nearest to i."""
        if mean_shape is None:
            raise InputError("Expected 'mean_shape', K points (x, y), with 'num_nearest' (got None).")
        if not 0 < count < self.num_landmarks:
            raise InputError(f"Expected 'num_nearest' in 1 ... {self.num_landmarks - 1} (got {count}).")
        try:
            points = torch.as_tensor(mean_shape, dtype=torch.float64, device="cpu")
        except (TypeError, ValueError, RuntimeError):
            raise InputError(f"Expected 'mean_shape' as K points (x, y) (got {shown(mean_shape)}).") from None
        check_shape("mean_shape", points, "K 2", K=self.num_landmarks)
        check_finite("mean_shape", points)
        distance = torch.cdist(points, points).fill_diagonal_(torch.inf)
        return torch.zeros_like(distance, dtype=torch.bool).scatter_(
            1, distance.topk(count, largest=False).indices, True
        )

    def __repr__(self) -> str:
        return f"{super().__repr__()[:-1]}, num_pairs={self.num_pairs})"


def _sequences(name: str, given: Any) -> list[list[int]]:
    """Sequences of landmark types, none for None; whether the types exist is checked for all together."""
    try:
        if isinstance(given, str):
            raise TypeError
        return [[index(each) for each in sequence] for sequence in (() if given is None else given)]
    except TypeError:
        raise InputError(f"Expected '{name}' to hold sequences of landmark types (got {shown(given)}).") from None

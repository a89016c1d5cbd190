"""Operations and bytes of the dense path, counted by hand for each step, forward and backward.

B images with K landmarks have N = B K nodes, P = B K^2 pairs and T = K^2 pairs of landmark types. A multiplication,
addition, comparison or exponential is one operation, so that a product of [m, n] with [n, o] has 2 m n o.
**Bytes** count the least possible traffic: every operand is read once, every result is written once. Both are lower
bounds, and so is the time that :mod:`benchmarks.roofline` derives from them.

==============  =========================================================  ====================================
forward         operations                                                 numbers read and written
==============  =========================================================  ====================================
table           2 T C1 H + 2 C1 C2 H + T (2 C1 + H)                        parameters, H T (training: T C1 too)
pair scores     4 P H (add, max, multiply, add) + 4 N H                    H T, N, P
softmax         5 P (max, subtract, exp, sum, divide)                      2 P
displacement    8 P (6 in the product, 2 in the mass) + 12 N               P, 4 N
layer I -> O    4 N I O + 2 P O + 7 N O; N O for the activation            P, N (I + O + 2), 2 I O + 3 O
==============  =========================================================  ====================================

The backward pass of a product is two products of the same size; that of the softmax is 4 P; that of the pair scores
6 P H (two additions to recompute a unit, one selection, three sums). Gradients that several layers contribute to one
operand are summed. All layers have shape features, as in the benchmarks.
"""

from collections.abc import Sequence
from typing import NamedTuple

BYTES = 4  # of a number


class Network(NamedTuple):
    """Sizes of a network; the defaults are those of ``layer_runtime.py``."""

    landmarks: int
    images: int
    in_channels: int = 66
    channels: Sequence[int] = (64, 16, 2)
    class_hidden: int = 32
    class_channels: int = 32
    edge_hidden: int = 32

    @property
    def nodes(self) -> int:
        """N = B K."""
        return self.images * self.landmarks

    @property
    def pairs(self) -> int:
        """P = B K^2."""
        return self.nodes * self.landmarks

    @property
    def layers(self) -> list[tuple[int, int]]:
        """Channels in and out of each layer."""
        return list(zip([self.in_channels, *self.channels], self.channels, strict=False))


class Step(NamedTuple):
    """Lower bounds for one step."""

    name: str
    products: int
    """Operations in matrix products."""
    others: int
    """All other operations."""
    numbers: int
    """Numbers read and written."""

    @property
    def operations(self) -> int:
        """Operations of both kinds."""
        return self.products + self.others

    @property
    def bytes(self) -> int:
        """Traffic in single precision."""
        return BYTES * self.numbers


def forward(net: Network, table: bool, training: bool = False) -> list[Step]:
    """Steps of one forward pass.

    Args:
        net: sizes.
        table: whether the table of landmark pairs is computed in this pass.
        training: whether the activations of the table are kept for the backward pass.
    """
    n, p, h = net.nodes, net.pairs, net.edge_hidden
    steps = [_table(net, training)] if table else []
    steps += [
        Step("pair scores", 2 * n * h, 4 * p * h + 2 * n * h, h * net.landmarks**2 + n + p),
        Step("softmax", 0, 5 * p, 2 * p),
        Step("displacement", 6 * p, 2 * p + 12 * n, p + 4 * n),
    ]
    for place, (before, after) in enumerate(net.layers, start=1):
        products, others = _layer_products(net, before, after), 3 * n * after
        activation = n * after if place < len(net.channels) else 0
        numbers = p + n * (before + after + 2) + _layer_parameters(before, after)
        steps.append(Step(f"layer {place}", products, others + activation, numbers))
    return steps


def backward(net: Network) -> list[Step]:
    """Steps of one backward pass to features and parameters, last layer first."""
    n, p, h, types = net.nodes, net.pairs, net.edge_hidden, net.landmarks**2
    steps = []
    for place, (before, after) in reversed(list(enumerate(net.layers, start=1))):
        activation = n * after if place < len(net.channels) else 0
        # Bias, the two contributions to the features and, after the last layer, the edges and displacements.
        others = n * after + n * before + (0 if place == len(net.channels) else p + 2 * n)
        numbers = 2 * p + n * (2 * before + after + 4) + 2 * _layer_parameters(before, after)
        steps.append(Step(f"layer {place}", 2 * _layer_products(net, before, after), others + activation, numbers))
    parameters = _table_parameters(net)
    products = 4 * net.class_hidden * h * (types + net.class_channels)
    sums = types * (3 * net.class_hidden + h)
    kept = types * net.class_hidden
    return [
        *steps,
        Step("displacement", 6 * p, p, 2 * p + 4 * n),
        Step("softmax", 0, 4 * p, 3 * p),
        Step("pair scores", 0, 6 * p * h + 4 * n * h, 2 * h * types + n + p + 2 * h),
        Step("table", products, sums, h * types + kept + 2 * parameters),
    ]


def _table(net: Network, training: bool) -> Step:
    types, c1, c2, h = net.landmarks**2, net.class_hidden, net.class_channels, net.edge_hidden
    kept = types * c1 if training else 0
    # The last layer of the class MLP and the first of the edge MLP are one product.
    products = 2 * c1 * h * (types + c2)
    return Step("table", products, types * (2 * c1 + h), _table_parameters(net) + h * types + kept)


def _table_parameters(net: Network) -> int:
    c1, c2, h = net.class_hidden, net.class_channels, net.edge_hidden
    return (2 * net.landmarks + 1) * c1 + (c1 + 1) * c2 + (c2 + 1) * h


def _layer_products(net: Network, before: int, after: int) -> int:
    return 4 * net.nodes * before * after + 2 * net.pairs * after + 4 * net.nodes * after


def _layer_parameters(before: int, after: int) -> int:
    return (2 * before + 3) * after

"""Helpers for PyG's MLP: masked batch normalisation, and evaluation from the first hidden layer on."""

from collections.abc import Iterable, Sequence

from torch import Tensor
from torch_geometric.nn import MLP, BatchNorm

from lgcn.checks import check_at_least, check_choice
from lgcn.nn.functional.masked_batch_norm import MaskedBatchNorm

NORMS = ("batch_norm",)


def build_mlp(channels: Sequence[int], norm: str | None = None, plain_last: bool = True) -> MLP:
    """An MLP with a norm after the activation of each hidden layer, and of the last too unless ``plain_last``.

    ``norm`` is None or ``"batch_norm"``, a :class:`MaskedBatchNorm`.
    """
    if norm is not None:
        check_choice("norm", norm, NORMS)
    mlp = MLP(list(channels), norm=norm, act_first=True, plain_last=plain_last)
    for each in mlp.norms:
        if isinstance(each, BatchNorm):
            each.module = MaskedBatchNorm(each.in_channels)
    return mlp


def run_mlp(mlp: MLP, x: Tensor, weight: Tensor | None = None) -> Tensor:
    """Apply an MLP to [..., C]; batch statistics count each row as often as ``weight`` [...] says."""
    return run_hidden_layers(mlp, mlp.lins[0](x), weight)


def run_hidden_layers(mlp: MLP, hidden: Tensor, weight: Tensor | None = None, with_last: bool = True) -> Tensor:
    """Do what an MLP does after its first linear layer, from its output [..., H], up to the last layer or with it."""
    for layer, norm in enumerate(mlp.norms, start=1):
        hidden = mlp.act(hidden)
        hidden = norm.module(hidden, weight) if isinstance(norm, BatchNorm) else norm(hidden)
        if layer < len(mlp.lins) - (not with_last):
            hidden = mlp.lins[layer](hidden)
    return hidden


def as_widths(name: str, given: int | Sequence[int]) -> list[int]:
    """One width or several, as a list of integers of 1 or more."""
    if isinstance(given, Iterable) and not isinstance(given, str):
        return [check_at_least(name, width, 1) for width in given]
    return [check_at_least(name, given, 1)]

"""What is asked of PyG's MLPs here: their widths, and all that follows their first layer."""

from collections.abc import Sequence

from torch import Tensor
from torch_geometric.nn import MLP

from lgcn.checks import InputError
from lgcn.nn.functional.masked_batch_norm import batch_norm_of


def after_first(mlp: MLP, hidden: Tensor, act_last: bool = False, counts: Tensor | None = None) -> Tensor:
    """What an MLP does after its first linear layer, to [..., H]; with ``act_last`` an activation follows its last.

    In training ``counts`` says how often each of the [...] counts in the statistics of batch normalisation.
    """
    out = hidden.flatten(0, -2)
    counts = None if counts is None else counts.expand(hidden.shape[:-1]).reshape(-1, 1)
    for place, norm in enumerate(mlp.norms, start=1):
        out = mlp.act(out)
        out = norm(out) if counts is None or not norm.training else batch_norm_of(norm.module, out, counts)
        if place < len(mlp.lins):
            out = mlp.lins[place](out)
    if act_last:
        out = mlp.act(out)
    return out.unflatten(0, hidden.shape[:-1])


def widths(name: str, given: int | Sequence[int]) -> list[int]:
    """One width or several, as a list.

    Raises:
        InputError: naming the argument, if any is not a whole number of 1 or more.
    """
    several = [given] if isinstance(given, int) else list(given)
    if not all(isinstance(width, int) and width > 0 for width in several):
        raise InputError(f"Expected '{name}' of 1 or more (got {given}).")
    return several

"""Shape features on complete graphs."""

import torch
from torch import Tensor

from lgcn.nn.functional.autocast import autocast_disabled


def mean_displacement(pos: Tensor, edge_weight: Tensor) -> Tensor:
    r"""The shape features that each landmark receives, :math:`\sum_j e_{ij} (\mathbf{p}_i - \mathbf{p}_j)`.

    Computed as :math:`\mathbf{p}_i \sum_j e_{ij} - \sum_j e_{ij} \mathbf{p}_j` with positions relative to a centre of
    the image, so that the result is as exact far from the origin as near it. The centre cancels out, hence no gradient
    flows through it. Landmarks count in it by the weight of their outgoing edges: positions that no edge reads cause
    no loss of precision. Autocast does not apply.

    Args:
        pos: [B, K, 2].
        edge_weight: [B, K, K], row i holds the weights of i's neighbours.

    Returns:
        [B, K, 2], of the type of the weights.
    """
    given = edge_weight.dtype
    with autocast_disabled(pos.device.type):
        dtype = torch.promote_types(pos.dtype, edge_weight.dtype)
        pos, edge_weight = pos.to(dtype), edge_weight.to(dtype)
        mass = edge_weight.detach().abs().sum(dim=-2).unsqueeze(-1)
        share = mass / mass.sum(dim=-2, keepdim=True).clamp_min(torch.finfo(dtype).tiny)
        pos = pos - (pos.detach() * share).sum(dim=-2, keepdim=True)
        received = torch.bmm(edge_weight, torch.cat([pos, torch.ones_like(mass)], dim=-1))
        return torch.addcmul(-received[..., :2], pos, received[..., 2:]).to(given)

"""Normalising distances of landmark errors."""

import torch
from torch import Tensor

from lgcn.checks import check_choice, check_devices, check_images, check_shape
from lgcn.schemes.registry import get_scheme
from lgcn.schemes.scheme import BOX_NORMALIZER, LandmarkScheme


def normalizing_distance(
    pos: Tensor,
    scheme: str | LandmarkScheme,
    normalizer: str | None = None,
    visibility: Tensor | None = None,
) -> Tensor:
    """Distance between the means of the normaliser's two landmark groups, or the size of the box.

    ``"box"`` is sqrt(width * height) of the tight box around the landmarks.

    Args:
        pos: [..., K, 2], true positions.
        scheme: whose landmarks these are.
        normalizer: one of ``scheme.normalizer_names``; the scheme's default if None.
        visibility: [..., K], 0 where a landmark is missing; those are left out.

    Returns:
        [...], in the unit of ``pos``; NaN where a whole group is missing.

    Raises:
        InputError: for an unknown normaliser or a wrong number of landmarks.
    """
    scheme = get_scheme(scheme)
    check_shape("pos", pos, "... K 2", K=scheme.num_landmarks)
    name = check_choice(
        "normalizer", scheme.default_normalizer if normalizer is None else normalizer, scheme.normalizer_names
    )
    pos = pos if pos.is_floating_point() else pos.to(torch.get_default_dtype())
    if visibility is not None:
        check_shape("visibility", visibility, "... K", K=scheme.num_landmarks)
        check_images(pos.shape[:-2], "pos", visibility=(visibility, 1))
        check_devices(pos.device, "'pos'", visibility=visibility)
        pos = pos.masked_fill(visibility.unsqueeze(-1) <= 0, torch.nan)
    if name == BOX_NORMALIZER:
        low = pos.nan_to_num(nan=torch.inf).amin(-2)
        high = pos.nan_to_num(nan=-torch.inf).amax(-2)
        size = (high - low).prod(-1).sqrt()
        return size.masked_fill(size.isinf(), torch.nan)
    first, second = (pos[..., list(group), :].nanmean(-2) for group in scheme.normalizers[name])
    return torch.linalg.vector_norm(first - second, dim=-1)

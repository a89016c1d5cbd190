"""Mapping of predictions to the image as in the public HRNet facial code, to reproduce its published results.

Its predictions are whole pixels of the image, which adds an error of about half a pixel. https://github.com/HRNet/HRNet-Facial-Landmark-Detection
"""

import torch
from torch import Tensor

from lgcn.checks import InputError, check_devices, check_shape, check_size, check_tensor, check_values
from lgcn.geometry import invert_affine, transform_points
from lgcn.typing import Size


def hrnet_affine(center: Tensor, scale: Tensor, input_size: Size) -> Tensor:
    r"""Return the affine of that code's crop, a square of side 200 * ``scale`` around ``center``, in float64.

    .. math:: u = \frac{(W, H)}{200\, \mathrm{scale}} (p - \mathrm{center}) + \frac{(W, H) - 1}{2}

    The same as :func:`lgcn.geometry.crop_affine` of the tight box in single precision.

    Args:
        center: [..., 2], pixels of the image, as in its csv files.
        scale: [...], that of its csv files times 1.25.
        input_size: (H, W) of the network's input.

    Returns:
        [..., 2, 3], pixels of the image -> pixels of the input; on the CPU, as not every accelerator has float64.

    Raises:
        InputError: if the shapes don't fit each other.
    """
    check_shape("center", center, "... 2")
    check_tensor("scale", scale)
    check_devices(center.device, "'center'", scale=scale)
    check_values(center=center)
    height, width = check_size("input_size", input_size)
    if scale.shape != center.shape[:-1]:
        raise InputError(
            f"Expected 'scale' to have the shape of 'center' without its last axis (got {list(scale.shape)} and "
            f"{list(center.shape)})."
        )
    # On the CPU: not every accelerator has float64.
    center, scale = center.cpu().double(), scale.cpu().double()
    size = center.new_tensor([width, height])
    zoom = size / (200 * scale.unsqueeze(-1))
    offset = (size - 1) / 2 - zoom * center
    return torch.cat([torch.diag_embed(zoom), offset.unsqueeze(-1)], dim=-1)


def truncate_to_image(pos: Tensor, affine: Tensor) -> Tensor:
    r"""Apply the last step of that code, which gives whole pixels of the image, :math:`\mathrm{trunc}(A^{-1} u) + 1`.

    With ``decode="hrnet"`` and the affine of the crop the result equals that code's predictions. Compare them with the
    annotations of its csv files (counted from 1 for 300-W). For positions within rounding error of a whole pixel
    (about 1e-4 pixels with an affine in float32) the result may differ by one.

    Args:
        pos: [..., K, 2], pixels of the network's input.
        affine: [..., 2, 3], pixels of the image -> pixels of the input; float64 where it matters.

    Returns:
        [..., K, 2], whole numbers in the type of ``pos``.

    Raises:
        InputError: if the shapes don't fit each other.
    """
    check_shape("pos", pos, "... K 2")
    check_shape("affine", affine, "... 2 3")
    check_values(pos=pos, affine=affine)
    # On the CPU: not every accelerator has float64.
    in_image = transform_points(pos.cpu().double(), invert_affine(affine.cpu().double()))
    return (in_image.trunc() + 1).to(pos.dtype).to(pos.device)

"""Boxes, crop affines and the three coordinate frames: image, network input, heatmap.

Everywhere in this package a point is (x, y) and pixel centres lie at integers, so a picture of
width W covers [-0.5, W - 0.5]. This file is the only one that knows what follows from that: the
half-pixel rule ``u = (x + 0.5) / stride - 0.5`` between input and heatmap, and crops that map the
edges of a square in the image to the edges of the network's input.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from lgcn.checks import InputError, check_shape
from lgcn.typing import Size


def landmark_box(pos: Tensor, visibility: Tensor | None = None) -> Tensor:
    """The tight box [..., 4] = (x0, y0, x1, y1) around landmarks [..., K, 2].

    Args:
        pos: landmarks, in any frame.
        visibility: [..., K]; landmarks with 0 are left out.
    """
    check_shape("pos", pos, "... K 2")
    low = high = pos
    if visibility is not None:
        missing = (visibility == 0).unsqueeze(-1)
        low, high = pos.masked_fill(missing, math.inf), pos.masked_fill(missing, -math.inf)
    return torch.cat([low.amin(dim=-2), high.amax(dim=-2)], dim=-1)


def crop_affine(
    box: Tensor,
    input_size: Size,
    enlargement: float = 1.25,
    *,
    rotation: float = 0.0,
    scale: float = 1.0,
    translation: tuple[float, float] = (0.0, 0.0),
    flip: bool = False,
) -> Tensor:
    r"""The one affine [2, 3] that takes pixels of the image to pixels of the network's input.

    The square of side ``enlargement * max(w, h)`` around the centre of ``box`` fills the input
    (its shorter side, where the input is not square); augmentation is composed into the same map,

    .. math:: u = F\,\bigl(\tfrac{\mathrm{scale}\cdot\min(H, W)}{\mathrm{side}} R\,(p - c)
              + t \cdot \min(H, W) + \tfrac{(W, H) - 1}{2}\bigr)

    Args:
        box: [4] or [B, 4], pixels of the image.
        input_size: (H, W) of the input.
        enlargement: side of the crop over the longer side of the box.
        rotation: degrees, clockwise as the picture is seen.
        scale: above 1 the face gets larger in the crop.
        translation: shift of the face in the crop, in fractions of the crop's side.
        flip: mirror left and right, after everything else.

    Raises:
        InputError: for a box that is not finite, is turned inside out or has no extent.
    """
    check_shape("box", box, "... 4")
    box = box.double()
    size = box[..., 2:] - box[..., :2]
    if not (torch.isfinite(box).all() and (size >= 0).all() and (size.amax(dim=-1) > 0).all()):
        raise InputError(
            f"Expected 'box' as finite (x0, y0, x1, y1), x1 >= x0 and y1 >= y0 and not both equal (got {box.tolist()})."
        )
    height, width = input_size
    short = min(height, width)
    zoom = scale * short / (enlargement * size.amax(dim=-1))[..., None, None]
    cos, sin = math.cos(math.radians(rotation)), math.sin(math.radians(rotation))
    linear = zoom * box.new_tensor([[cos, -sin], [sin, cos]])
    centre = (box[..., :2] + box[..., 2:])[..., None] / 2
    target = box.new_tensor([(width - 1) / 2 + translation[0] * short, (height - 1) / 2 + translation[1] * short])
    affine = torch.cat([linear, target[:, None] - linear @ centre], dim=-1)
    if flip:
        affine[..., 0, :] *= -1
        affine[..., 0, 2] += width - 1
    return affine.float()


def transform_points(pos: Tensor, affine: Tensor) -> Tensor:
    """Applies affines [..., 2, 3] to points [..., K, 2]; whole-numbered points become floating point."""
    if pos.is_floating_point():
        affine = affine.to(pos.dtype)
    else:
        pos = pos.to(affine.dtype)
    return pos @ affine[..., :2].transpose(-1, -2) + affine[..., None, :, 2]


def invert_affine(affine: Tensor) -> Tensor:
    """The inverse of affines [..., 2, 3], computed in float64."""
    check_shape("affine", affine, "... 2 3")
    exact = affine.double()
    linear = torch.linalg.inv(exact[..., :2])
    return torch.cat([linear, -linear @ exact[..., 2:]], dim=-1).to(affine.dtype)


def input_to_heatmap(pos: Tensor, stride: float) -> Tensor:
    """Pixels of the input -> cells of a heatmap ``stride`` times smaller (half-pixel rule)."""
    return (pos + 0.5) / stride - 0.5


def heatmap_to_input(pos: Tensor, stride: float) -> Tensor:
    """Cells of a heatmap -> pixels of the input; inverse of :func:`input_to_heatmap`."""
    return (pos + 0.5) * stride - 0.5


def warp_image(image: Tensor, affine: Tensor, output_size: Size, fill: int = 0) -> Tensor:
    """Resamples a picture through an affine, bilinear, anti-aliased when it shrinks.

    A shrinking warp first reduces the part of the picture that the output sees with an
    anti-aliased resize by the whole shrink factor, so that the warp itself keeps the scale.

    Args:
        image: uint8 [C, H, W], on the CPU.
        affine: [2, 3], pixels of ``image`` -> pixels of the output.
        output_size: (h, w).
        fill: value outside the picture.

    Returns:
        uint8 [C, h, w].

    Raises:
        InputError: for pictures of another type, whose values nobody could tell the range of.
    """
    check_shape("image", image, "C H W")
    check_shape("affine", affine, "2 3")
    if image.dtype != torch.uint8:
        raise InputError(f"Expected 'image' to be uint8 (got {image.dtype}). Scale to 0 ... 255 and convert it.")
    height, width = output_size
    back = invert_affine(affine.double())
    corners = back.new_tensor([[-0.5, -0.5], [width - 0.5, -0.5], [-0.5, height - 0.5], [width - 0.5, height - 0.5]])
    x0, y0, x1, y1 = landmark_box(transform_points(corners, back)).tolist()
    shrink = max(1.0, float(torch.linalg.det(back[:, :2]).abs().sqrt()))
    margin = 2 * shrink
    left, top = max(0, math.floor(x0 - margin)), max(0, math.floor(y0 - margin))
    right, bottom = min(image.shape[2], math.ceil(x1 + margin) + 1), min(image.shape[1], math.ceil(y1 + margin) + 1)
    if left >= right or top >= bottom:
        return torch.full((image.shape[0], height, width), fill, dtype=torch.uint8)
    source = image[None, :, top:bottom, left:right]
    part_size = back.new_tensor([right - left, bottom - top])
    if shrink > 1.0:
        small = (max(1, round((bottom - top) / shrink)), max(1, round((right - left) / shrink)))
        source = F.interpolate(source, small, mode="bilinear", antialias=True)

    # Pixels of the output -> [-1, 1] over the part kept, the frame of grid_sample.
    normalise = 2 / part_size
    theta = normalise[:, None] * back
    theta[:, 2] += normalise * (0.5 - back.new_tensor([left, top])) - 1
    ys, xs = torch.meshgrid(
        torch.arange(height, dtype=torch.float32), torch.arange(width, dtype=torch.float32), indexing="ij"
    )
    grid = transform_points(torch.stack([xs, ys], dim=-1).reshape(-1, 2), theta.float()).reshape(1, height, width, 2)
    warped = F.grid_sample(source.float() - fill, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    return (warped[0] + fill).round_().clamp_(0, 255).to(torch.uint8)

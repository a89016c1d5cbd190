"""Boxes, crop affines and the three coordinate frames: image, network input, heatmap.

Everywhere in this package a point is (x, y) and pixel centres lie at integers, so an image of
width W covers [-0.5, W - 0.5]. Only this file implements the consequences: the
half-pixel rule ``u = (x + 0.5) / stride - 0.5`` between input and heatmap, and crops that map the
edges of a square in the image to the edges of the network's input.
"""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from lgcn.checks import (
    InputError,
    check_choice,
    check_devices,
    check_flag,
    check_images,
    check_number,
    check_pair,
    check_shape,
    check_size,
    check_values,
)
from lgcn.typing import Size

ASPECTS = ("square", "letterbox", "stretch")
"""How a crop gets the aspect of the network's input; see :func:`crop_region`."""
SIDES = ("longer", "shorter")


class BoxError(InputError):
    """A box that does not define a crop."""


def landmark_box(pos: Tensor, visibility: Tensor | None = None) -> Tensor:
    """The tight box [..., 4] = (x0, y0, x1, y1) around landmarks [..., K, 2].

    Args:
        pos: landmarks, in any frame.
        visibility: [..., K]; landmarks with 0 are left out.
    """
    check_shape("pos", pos, "... K 2")
    if not pos.shape[-2]:
        raise InputError(f"Expected 'pos' [..., K, 2] with landmarks (got {list(pos.shape)}).")
    low = high = pos
    if visibility is not None:
        check_shape("visibility", visibility, "... K", K=pos.shape[-2])
        check_images(pos.shape[:-2], "pos", visibility=(visibility, 1))
        check_devices(pos.device, "'pos'", visibility=visibility)
        if not pos.is_floating_point():  # integers have no infinity
            pos = pos.to(torch.get_default_dtype())
        missing = (visibility == 0).unsqueeze(-1)
        low, high = pos.masked_fill(missing, math.inf), pos.masked_fill(missing, -math.inf)
    return torch.cat([low.amin(dim=-2), high.amax(dim=-2)], dim=-1)


def crop_region(
    box: Tensor,
    enlargement: float = 1.25,
    *,
    aspect: str = "square",
    side: str = "longer",
    clip_to: Size | None = None,
) -> Tensor:
    """The part of the image that a crop shows, as edges [..., 4] = (x0, y0, x1, y1) in pixels; float64, on the CPU.

    Args:
        box: [..., 4], pixels of the image.
        enlargement: ``"square"``: side of the square over a side of the box; else each side over the box's own.
        aspect: ``"square"`` around the centre of the box, or ``"letterbox"`` or ``"stretch"``: the box itself.
        side: ``"longer"`` or ``"shorter"``, the side of the box that a square is measured by.
        clip_to: (H, W) of the image. The region is then clipped to it and to whole pixels, as an array
            is sliced, ``image[y0:y1, x0:x1]`` with corners in 0 ... W - 1 and 0 ... H - 1, as public code does.

    Raises:
        BoxError: for a box that is not finite, is inverted, has no extent, or has no part in the image.
        InputError: for an unknown ``aspect`` or ``side``.
    """
    check_shape("box", box, "... 4")
    check_values(box=box)
    check_number("enlargement", enlargement)
    check_choice("aspect", aspect, ASPECTS)
    check_choice("side", side, SIDES)
    # Not every accelerator has float64.
    box = box.cpu().double()
    size = box[..., 2:] - box[..., :2]
    if not (torch.isfinite(box).all() and (size >= 0).all() and (size.amax(dim=-1) > 0).all()):
        raise BoxError(
            f"Expected 'box' as finite (x0, y0, x1, y1), x1 >= x0 and y1 >= y0 and not both equal (got {box.tolist()})."
        )
    if aspect == "square":
        length = size.amax(dim=-1, keepdim=True) if side == "longer" else size.amin(dim=-1, keepdim=True)
        size = length.expand_as(size)
    centre, half = (box[..., :2] + box[..., 2:]) / 2, enlargement * size / 2
    region = torch.cat([centre - half, centre + half], dim=-1)
    if clip_to is not None:
        height, width = check_size("clip_to", clip_to)
        # 50 - 1.1 * 100 / 2 is a little below -5 in floating point.
        corners = (region + 1e-6).floor().clamp(min=0).minimum(region.new_tensor([width - 1, height - 1] * 2))
        # The slice x0:x1 covers the pixels x0 ... x1 - 1, each half a pixel to either side of its centre.
        region = corners - 0.5
    if not (region[..., 2:] > region[..., :2]).all():
        where = "" if clip_to is None else f" in the image of {clip_to[1]} x {clip_to[0]} pixels"
        raise BoxError(
            f"Expected 'box' to have a width and a height{where} (got {box.tolist()}). "
            "Correct the box, or use a protocol with a square crop that is not clipped."
        )
    return region


def crop_affine(
    box: Tensor,
    input_size: Size,
    enlargement: float = 1.25,
    *,
    aspect: str = "square",
    side: str = "longer",
    clip_to: Size | None = None,
    rotation: float = 0.0,
    scale: float = 1.0,
    translation: tuple[float, float] = (0.0, 0.0),
    flip: bool = False,
) -> Tensor:
    r"""The affine [2, 3] that maps pixels of the image to pixels of the network's input.

    The region of :func:`crop_region`, of size (w, h) and centre c, is scaled by :math:`z` and centred in the input;
    augmentation is composed into the same map,

    .. math:: u = F\,\bigl(\mathrm{scale} \cdot R\,\mathrm{diag}(z)\,(p - c)
              + t \cdot \min(H, W) + \tfrac{(W, H) - 1}{2}\bigr)

    with :math:`z = \min(H, W) / w` for ``aspect="square"`` (the square fills the shorter side of the input),
    :math:`z = \min(W / w, H / h)` for ``"letterbox"`` and for a square that is clipped (the whole region, its aspect
    kept) and :math:`z = (W / w, H / h)` for ``"stretch"`` (the region fills the input, its aspect is lost).

    Args:
        box: [4] or [B, 4], pixels of the image.
        input_size: (H, W) of the input.
        enlargement: size of the region over that of the box.
        aspect: as above; this and the next two are explained by :func:`crop_region`.
        side: of the box, ``"longer"`` or ``"shorter"``, that a square is measured by.
        clip_to: (H, W) of the image that the region is clipped to; None does not clip.
        rotation: degrees, clockwise in the displayed image.
        scale: above 1 the face gets larger in the crop.
        translation: shift of the face in the crop, in fractions of the crop's side.
        flip: mirror left and right, after everything else.

    Raises:
        BoxError: as :func:`crop_region` does, like the :class:`InputError`.
    """
    region = crop_region(box, enlargement, aspect=aspect, side=side, clip_to=clip_to)
    height, width = check_size("input_size", input_size)
    check_number("rotation", rotation)
    check_number("scale", scale)
    check_pair("translation", translation)
    check_flag("flip", flip)
    short = min(height, width)
    size = region[..., 2:] - region[..., :2]
    if aspect == "square" and clip_to is None:
        zoom = scale * short / size
    else:
        zoom = scale * size.new_tensor([width, height]) / size
        if aspect != "stretch":
            zoom = zoom.amin(dim=-1, keepdim=True).expand_as(zoom)
    cos, sin = math.cos(math.radians(rotation)), math.sin(math.radians(rotation))
    linear = region.new_tensor([[cos, -sin], [sin, cos]]) * zoom[..., None, :]
    centre = (region[..., :2] + region[..., 2:])[..., None] / 2
    target = region.new_tensor([(width - 1) / 2 + translation[0] * short, (height - 1) / 2 + translation[1] * short])
    affine = torch.cat([linear, target[:, None] - linear @ centre], dim=-1)
    if flip:
        affine[..., 0, :] *= -1
        affine[..., 0, 2] += width - 1
    return affine.float().to(box.device)


def crop_image(
    image: Tensor,
    box: Tensor,
    input_size: Size,
    enlargement: float = 1.25,
    *,
    aspect: str = "square",
    side: str = "longer",
    clip: bool = False,
    fill: int = 0,
    **augmentation: Any,
) -> tuple[Tensor, Tensor]:
    """Crop an image around a box to the network's input.

    ``crop_image(image, box, input_size, **protocol.crop_options)`` is the crop of a protocol.

    Args:
        image: uint8 [3, H, W], on the CPU.
        box: [4], pixels of the image.
        input_size: (h, w) of the input.
        enlargement: as in :func:`crop_affine`, like ``aspect`` and ``side``.
        aspect: as above.
        side: as above.
        clip: whether the crop is clipped to the image and to whole pixels before it is resized.
        fill: value outside the image and, unless the crop is a square that is not clipped, outside the crop.
        **augmentation: further options of :func:`crop_affine`, such as ``rotation``.

    Returns:
        The crop, uint8 [3, h, w], and the affine [2, 3] from image to input.

    Raises:
        BoxError: as :func:`crop_region` does, like the :class:`InputError`.
    """
    rule: dict[str, Any] = {"aspect": aspect, "side": side}
    if clip:
        rule["clip_to"] = (image.shape[1], image.shape[2])
    affine = crop_affine(box, input_size, enlargement, **rule, **augmentation)
    region = crop_region(box, enlargement, **rule) if clip or aspect != "square" else None
    return warp_image(image, affine, input_size, fill, region), affine


def transform_points(pos: Tensor, affine: Tensor) -> Tensor:
    """Apply affines [..., 2, 3] to points [..., K, 2]; integer points become floating point."""
    check_shape("pos", pos, "... K 2")
    check_shape("affine", affine, "... 2 3")
    check_devices(pos.device, "'pos'", affine=affine)
    if not {affine.shape[:-2], pos.shape[:-2]} <= {pos.shape[:-2], torch.Size()} and not torch.compiler.is_compiling():
        try:
            torch.broadcast_shapes(pos.shape[:-2], affine.shape[:-2])
        except RuntimeError:
            raise InputError(
                f"Expected 'affine' with axes that fit 'pos' {list(pos.shape)} (got {list(affine.shape)})."
            ) from None
    if pos.is_floating_point():
        affine = affine.to(pos.dtype)
    else:
        pos = pos.to(affine.dtype)
    return pos @ affine[..., :2].transpose(-1, -2) + affine[..., None, :, 2]


def invert_affine(affine: Tensor) -> Tensor:
    """The inverse of affines [..., 2, 3], computed in float64, on the CPU; same device and type as ``affine``."""
    check_shape("affine", affine, "... 2 3")
    check_values(affine=affine)
    # Not every accelerator has float64.
    exact = affine.cpu().double()
    linear = torch.linalg.inv(exact[..., :2])
    return torch.cat([linear, -linear @ exact[..., 2:]], dim=-1).to(affine.dtype).to(affine.device)


def input_to_heatmap(pos: Tensor, stride: float) -> Tensor:
    """Pixels of the input -> cells of a heatmap ``stride`` times smaller (half-pixel rule)."""
    return (pos + 0.5) / stride - 0.5


def heatmap_to_input(pos: Tensor, stride: float) -> Tensor:
    """Cells of a heatmap -> pixels of the input; inverse of :func:`input_to_heatmap`."""
    return (pos + 0.5) * stride - 0.5


def warp_image(image: Tensor, affine: Tensor, output_size: Size, fill: int = 0, region: Tensor | None = None) -> Tensor:
    """Resamples an image through an affine, bilinear, anti-aliased when it shrinks.

    A shrinking warp first resizes the visible part of the image, with anti-aliasing, by the
    whole shrink factor, so the warp itself keeps the scale.

    Args:
        image: uint8 [C, H, W], on the CPU.
        affine: [2, 3], pixels of ``image`` -> pixels of the output.
        output_size: (h, w).
        fill: value outside the image.
        region: [4], edges in pixels of ``image``. Outside it the output is ``fill``, and no colour from
            outside is mixed in at its border, as if the region had been cut out first.

    Returns:
        uint8 [C, h, w].

    Raises:
        InputError: for images of another type, whose value range is unknown.
    """
    check_shape("image", image, "C H W")
    check_shape("affine", affine, "2 3")
    if image.dtype != torch.uint8:
        raise InputError(f"Expected 'image' to be uint8 (got {image.dtype}). Scale to 0 ... 255 and convert it.")
    height, width = check_size("output_size", output_size)
    check_number("fill", fill, 0, 255)
    check_values(image=image, affine=affine, region=region)
    affine = affine.cpu()
    back = invert_affine(affine.double())
    corners = back.new_tensor([[-0.5, -0.5], [width - 0.5, -0.5], [-0.5, height - 0.5], [width - 0.5, height - 0.5]])
    x0, y0, x1, y1 = landmark_box(transform_points(corners, back)).tolist()
    # Along x and y of the image; they differ where a crop is stretched.
    shrink_x, shrink_y = (max(1.0, 1 / length) for length in affine[:, :2].double().norm(dim=0).tolist())
    margin = 2 * max(shrink_x, shrink_y)
    first, beyond = (0, 0), (image.shape[2], image.shape[1])
    if region is not None:
        # The pixels whose centres lie in the region.
        check_shape("region", region, "4")
        edges = region.tolist()
        first = (max(0, math.ceil(edges[0])), max(0, math.ceil(edges[1])))
        beyond = (min(beyond[0], math.floor(edges[2]) + 1), min(beyond[1], math.floor(edges[3]) + 1))
    left, top = max(first[0], math.floor(x0 - margin)), max(first[1], math.floor(y0 - margin))
    right, bottom = min(beyond[0], math.ceil(x1 + margin) + 1), min(beyond[1], math.ceil(y1 + margin) + 1)
    if left >= right or top >= bottom:
        return torch.full((image.shape[0], height, width), fill, dtype=torch.uint8)
    source = image[None, :, top:bottom, left:right]
    part_size = back.new_tensor([right - left, bottom - top])
    if max(shrink_x, shrink_y) > 1.0:
        small = (max(1, round((bottom - top) / shrink_y)), max(1, round((right - left) / shrink_x)))
        source = F.interpolate(source, small, mode="bilinear", antialias=True)

    # Pixels of the output -> [-1, 1] over the part kept, the frame of grid_sample.
    normalise = 2 / part_size
    theta = normalise[:, None] * back
    theta[:, 2] += normalise * (0.5 - back.new_tensor([left, top])) - 1
    ys, xs = torch.meshgrid(
        torch.arange(height, dtype=torch.float32), torch.arange(width, dtype=torch.float32), indexing="ij"
    )
    grid = transform_points(torch.stack([xs, ys], dim=-1).reshape(-1, 2), theta.float()).reshape(1, height, width, 2)
    padding = "zeros" if region is None else "border"
    warped = F.grid_sample(source.float() - fill, grid, mode="bilinear", padding_mode=padding, align_corners=False)
    if region is not None:
        warped = warped * (grid.abs() <= 1).all(dim=-1)
    return (warped[0] + fill).round_().clamp_(0, 255).to(torch.uint8)

"""Patches over a face: noise, one colour, textures, or another part of the same crop."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch_geometric.data import Data
from torchvision.transforms import v2

from lgcn.checks import InputError, check_choice, check_shape, shown
from lgcn.geometry import landmark_box
from lgcn.transforms.degradations import Degradation
from lgcn.transforms.fields import check_field, check_image

PATCH_KINDS = ("noise", "color", "texture", "copy")
"""What a patch shows."""
PATCH_SHAPES = ("rectangle", "ellipse")
"""The outline of a patch."""


class FacePatch(Degradation):
    r"""Covers a patch within the tight box of the landmarks of a crop, ``image`` uint8 [1, 3, h, w].

    The strength is the covered fraction of the box. Height and width, as fractions of the box's, are at most a factor
    of two apart. ``y`` and ``visibility`` are unchanged: a covered landmark is still annotated and has to be predicted.
    Sets ``covered`` bool [K], true for landmarks under the patch.

    Args:
        low: smallest covered fraction of the box, 0 ... 1.
        high: largest. An ellipse covers at most :math:`\pi / 4`.
        kinds: what patches show, each with the same probability. ``"noise"``; ``"color"``, a single colour;
            ``"texture"``, a part of one of ``textures``; ``"copy"``, another part of the same crop. The last two are
            turned upside down, so that they show no upright parts of a face.
        shapes: ``"rectangle"``, ``"ellipse"`` or both, with the same probability.
        textures: images uint8 [3, H, W] for ``"texture"``, such as :class:`lgcn.datasets.FaceTextures`.
        probability: see :class:`Degradation`.
        seed: see :class:`Degradation`.

    Raises:
        InputError: for an unknown kind or shape, and for textures without their kind or the kind without textures.
    """

    limits = (0.0, 1.0)

    def __init__(
        self,
        low: float,
        high: float | None = None,
        *,
        kinds: Sequence[str] = ("noise", "color"),
        shapes: Sequence[str] = ("rectangle",),
        textures: Sequence[Tensor] = (),
        probability: float = 1.0,
        seed: int | None = None,
    ) -> None:
        super().__init__(low, high, probability=probability, seed=seed)
        self.kinds = _check_choices("kinds", kinds, PATCH_KINDS)
        self.shapes = _check_choices("shapes", shapes, PATCH_SHAPES)
        if isinstance(textures, str) or not isinstance(textures, Sequence):
            raise InputError(f"Expected 'textures' to be a sequence of images (got {shown(textures)}).")
        if bool(len(textures)) != ("texture" in self.kinds):
            raise InputError(
                f"Expected 'textures' if, and only if, 'kinds' has 'texture' (got {len(textures)} textures, kinds "
                f"{self.kinds})."
            )
        self.textures = textures

    def forward(self, data: Data) -> Data:
        check_image(data)
        check_field(data, "y", "K 2")
        for name in ("visibility", "covered"):
            if data.get(name) is not None:
                check_field(data, name, "K", K=len(data.y))
        if data.get("covered") is None:
            data.covered = torch.zeros(len(data.y), dtype=torch.bool)
        return super().forward(data)

    def degrade(self, data: Data, strength: float, generator: torch.Generator | None) -> Data:
        form, down, right, fill = torch.rand(4, generator=generator).tolist()
        x0, y0, x1, y1 = landmark_box(data.y, data.get("visibility")).tolist()
        if not all(map(math.isfinite, (x0, y0, x1, y1))):
            return data
        shape = self.shapes[0] if len(self.shapes) == 1 else self.shapes[_draw(len(self.shapes), generator)]
        share = min(1.0, strength * 4 / math.pi) if shape == "ellipse" else strength
        tall = min(1.0, max(share, math.sqrt(share) * 2 ** (form - 0.5)))
        height, width = tall * (y1 - y0), share / max(tall, 1e-6) * (x1 - x0)
        top, left = y0 + down * (y1 - y0 - height), x0 + right * (x1 - x0 - width)
        full_height, full_width = data.image.shape[-2:]
        rows = [min(full_height, max(0, round(edge))) for edge in (top, top + height)]
        columns = [min(full_width, max(0, round(edge))) for edge in (left, left + width)]
        if rows[0] == rows[1] or columns[0] == columns[1]:
            return data
        mask = torch.zeros(full_height, full_width, dtype=torch.bool)
        if shape == "ellipse":
            mask[slice(*rows), slice(*columns)] = _ellipse(rows, columns, (top, left), (height, width))
        else:
            mask[slice(*rows), slice(*columns)] = True
        kind = self.kinds[int(fill * len(self.kinds))]
        patch = self._patch(kind, data.image[0], rows[1] - rows[0], columns[1] - columns[0], generator)
        image = data.image.clone()
        part = image[..., slice(*rows), slice(*columns)]
        part.copy_(torch.where(mask[slice(*rows), slice(*columns)], patch, part))
        data.image, data.covered = image, data.covered | _lookup(mask, data.y)
        return data

    def _patch(self, kind: str, crop: Tensor, height: int, width: int, generator: torch.Generator | None) -> Tensor:
        if kind in ("noise", "color"):
            size = (height, width) if kind == "noise" else (1, 1)
            return torch.randint(0, 256, (3, *size), dtype=torch.uint8, generator=generator)
        image = crop if kind == "copy" else self.textures[_draw(len(self.textures), generator)]
        check_shape("textures", image, "3 H W")
        sides = [min(side, full) for side, full in zip((height, width), image.shape[-2:], strict=True)]
        top, left = (_draw(full - side + 1, generator) for side, full in zip(sides, image.shape[-2:], strict=True))
        part = image[:, top : top + sides[0], left : left + sides[1]].flip(1)
        return part if sides == [height, width] else v2.functional.resize(part, [height, width])


def _check_choices(name: str, given: Sequence[str], choices: Sequence[str]) -> tuple[str, ...]:
    if isinstance(given, str) or not isinstance(given, Sequence) or not given:
        raise InputError(f"Expected '{name}' to be a list of {', '.join(choices)} (got {shown(given)}).")
    return tuple(check_choice(name, each, choices) for each in given)


def _draw(count: int, generator: torch.Generator | None) -> int:
    return int(torch.randint(count, (), generator=generator))


def _ellipse(rows: list[int], columns: list[int], start: tuple[float, float], size: tuple[float, float]) -> Tensor:
    """Mask [rows, columns] of the pixels in the ellipse that fills a rectangle with that upper left corner and size."""
    y, x = (
        2 * (torch.arange(*span) + 0.5 - first) / length - 1
        for span, first, length in zip((rows, columns), start, size, strict=True)
    )
    return y[:, None].square() + x.square() <= 1


def _lookup(mask: Tensor, pos: Tensor) -> Tensor:
    """Values [K] of a mask [h, w] at landmarks [K, 2]; false outside it and for missing landmarks."""
    height, width = mask.shape
    x, y = pos.nan_to_num(-1.0).round().long().unbind(dim=-1)
    inside = (x >= 0) & (y >= 0) & (x < width) & (y < height)
    return inside & mask[y.clamp(0, height - 1), x.clamp(0, width - 1)]

"""Degradations of face images, with draws that depend only on the seed and the face."""

import hashlib
import io
import math
from collections.abc import Sequence

import torch
from PIL import Image
from torch import Tensor
from torch_geometric.data import Data
from torch_geometric.transforms import BaseTransform
from torchvision.transforms import v2

from lgcn.checks import InputError, check_number, check_shape, shown
from lgcn.geometry import landmark_box
from lgcn.transforms.fields import check_field, check_image


class Degradation(BaseTransform):
    """Base class of the degradations; a subclass implements :meth:`degrade`.

    Args:
        low: smallest strength, in the unit of the subclass.
        high: largest strength; each face draws its own, uniformly. Default: ``low``.
        seed: of the draws, which then depend only on the seed, ``image_id`` and ``bbox`` of the face, not on the
            order or the process. Default: draws from torch's global generator.

    Raises:
        InputError: unless ``limits[0] <= low <= high <= limits[1]``.
    """

    limits: tuple[float, float] = (0.0, math.inf)
    field = "image"

    def __init__(self, low: float, high: float | None = None, *, seed: int | None = None) -> None:
        high = low if high is None else high
        check_number("low", low)
        check_number("high", high)
        if seed is not None and (isinstance(seed, bool) or not isinstance(seed, int)):
            raise InputError(f"Expected 'seed' to be an integer or None (got {shown(seed)}).")
        least, most = self.limits
        if not least <= low <= high <= most:
            raise InputError(
                f"Expected the strength of {type(self).__name__} as a range within [{least:g}, {most:g}] "
                f"(got [{low:g}, {high:g}])."
            )
        self.low, self.high, self.seed = low, high, seed

    def forward(self, data: Data) -> Data:
        if self.field == "image":
            check_image(data)
        else:
            check_field(data, self.field, "1 4")
        generator = self._generator(data)
        strength = self.low + (self.high - self.low) * torch.rand((), generator=generator).item()
        return self.degrade(data, strength, generator)

    def degrade(self, data: Data, strength: float, generator: torch.Generator | None) -> Data:
        """Degrades one face with the drawn strength; further draws are from ``generator``."""
        raise NotImplementedError

    def _generator(self, data: Data) -> torch.Generator | None:
        if self.seed is None:
            return None
        box = data.bbox.flatten().tolist() if data.get("bbox") is not None else None
        face = f"{type(self).__name__} {self.seed} {data.get('image_id')!a} {box}"
        digest = hashlib.blake2b(face.encode(), digest_size=7).digest()
        return torch.Generator().manual_seed(int.from_bytes(digest, "big"))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.low:g}, {self.high:g}, seed={self.seed})"


class FacePatch(Degradation):
    """Covers a rectangle within the tight box of the landmarks of a crop, ``image`` uint8 [1, 3, h, w].

    In contrast to :class:`RandomOcclusion`, which covers a fraction of the crop, the strength is the covered fraction
    of the face. The height is a fraction of the box between 1 / sqrt(2) and sqrt(2) times the width's. Landmarks
    and ``visibility`` are unchanged.

    Args:
        low: smallest covered fraction of the box, 0 ... 1.
        high: largest.
        textures: images uint8 [3, H, W] that patches are cut from, for instance others of the dataset. Default: noise
            or one colour, each with probability 1/2.
        seed: see :class:`Degradation`.
    """

    limits = (0.0, 1.0)

    def __init__(
        self, low: float, high: float | None = None, *, textures: Sequence[Tensor] = (), seed: int | None = None
    ) -> None:
        super().__init__(low, high, seed=seed)
        if isinstance(textures, str) or not isinstance(textures, Sequence):
            raise InputError(f"Expected 'textures' to be a sequence of images (got {shown(textures)}).")
        for texture in textures:
            check_shape("textures", texture, "3 H W")
        self.textures = textures

    def degrade(self, data: Data, strength: float, generator: torch.Generator | None) -> Data:
        check_field(data, "y", "K 2")
        if data.get("visibility") is not None:
            check_field(data, "visibility", "K", K=len(data.y))
        shape, down, right, fill = torch.rand(4, generator=generator).tolist()
        x0, y0, x1, y1 = landmark_box(data.y, data.get("visibility")).tolist()
        if not all(map(math.isfinite, (x0, y0, x1, y1))):
            return data
        tall = min(1.0, max(strength, math.sqrt(strength) * 2 ** (shape - 0.5)))
        height, width = tall * (y1 - y0), strength / max(tall, 1e-6) * (x1 - x0)
        top, left = y0 + down * (y1 - y0 - height), x0 + right * (x1 - x0 - width)
        full_height, full_width = data.image.shape[-2:]
        top, bottom = (min(full_height, max(0, round(edge))) for edge in (top, top + height))
        left, right = (min(full_width, max(0, round(edge))) for edge in (left, left + width))
        if bottom > top and right > left:
            patch = self._patch(bottom - top, right - left, fill, generator)
            data.image = v2.functional.erase(data.image, top, left, bottom - top, right - left, patch)
        return data

    def _patch(self, height: int, width: int, fill: float, generator: torch.Generator | None) -> Tensor:
        if not self.textures:
            size = (height, width) if fill < 0.5 else (1, 1)
            return torch.randint(0, 256, (3, *size), dtype=torch.uint8, generator=generator)
        image = self.textures[int(torch.randint(len(self.textures), (), generator=generator))]
        cut = [min(size, side) for size, side in zip((height, width), image.shape[-2:], strict=True)]
        top, left = (
            int(torch.randint(side - size + 1, (), generator=generator))
            for size, side in zip(cut, image.shape[-2:], strict=True)
        )
        return v2.functional.resize(image[:, top : top + cut[0], left : left + cut[1]], [height, width])


class GaussianBlur(Degradation):
    """Blurs ``image`` uint8 [1, 3, h, w]; the strength is the standard deviation in pixels."""

    def degrade(self, data: Data, strength: float, generator: torch.Generator | None) -> Data:
        if strength > 0:
            data.image = v2.functional.gaussian_blur(data.image, 2 * math.ceil(3 * strength) + 1, strength)
        return data


class Darkness(Degradation):
    """Darkens ``image`` uint8 [1, 3, h, w] to ``strength * image + noise``, rounded and clipped to 0 ... 255.

    Args:
        low: smallest fraction of the light that remains, 0 ... 1.
        high: largest.
        noise: standard deviation of the sensor's noise in grey levels.
        seed: see :class:`Degradation`.
    """

    limits = (0.0, 1.0)

    def __init__(self, low: float, high: float | None = None, *, noise: float = 5.0, seed: int | None = None) -> None:
        super().__init__(low, high, seed=seed)
        self.noise = check_number("noise", noise, 0)

    def degrade(self, data: Data, strength: float, generator: torch.Generator | None) -> Data:
        noise = self.noise * torch.randn(data.image.shape, generator=generator)
        data.image = (strength * data.image.float() + noise).round().clamp(0, 255).to(torch.uint8)
        return data


class JPEGCompression(Degradation):
    """Compresses ``image`` uint8 [1, 3, h, w] as JPEG; the strength is the quality, 1 (worst) ... 100."""

    limits = (1.0, 100.0)

    def degrade(self, data: Data, strength: float, generator: torch.Generator | None) -> Data:
        buffer = io.BytesIO()
        v2.functional.to_pil_image(data.image[0]).save(buffer, "JPEG", quality=round(strength))
        data.image = v2.functional.pil_to_tensor(Image.open(buffer)).unsqueeze(0)
        return data


class BoxJitter(Degradation):
    """Moves and resizes ``bbox`` [1, 4], as an imprecise face detector would; apply it before the crop.

    The centre moves along x and y by up to the strength times the sides of the box, and the sides are scaled by one
    factor from [1 - strength, 1 + strength].
    """

    limits = (0.0, 0.9)
    field = "bbox"

    def degrade(self, data: Data, strength: float, generator: torch.Generator | None) -> Data:
        dx, dy, scale = (2 * torch.rand(3, generator=generator) - 1).mul(strength).tolist()
        box = data.bbox if data.bbox.is_floating_point() else data.bbox.float()
        low, high = box[:, :2], box[:, 2:]
        side = high - low
        centre = (low + high) / 2 + side * side.new_tensor([dx, dy])
        data.bbox = torch.cat([centre - side * (1 + scale) / 2, centre + side * (1 + scale) / 2], dim=1)
        return data

"""Degradations of face images, with draws that depend only on the seed and the face."""

import hashlib
import io
import math

import torch
from PIL import Image
from torch_geometric.data import Data
from torch_geometric.transforms import BaseTransform
from torchvision.transforms import v2

from lgcn.checks import InputError, check_number, shown
from lgcn.geometry import landmark_box
from lgcn.transforms.fields import check_field, check_image, check_probability


class Degradation(BaseTransform):
    """Base class of the degradations; a subclass implements :meth:`degrade`.

    Args:
        low: smallest strength, in the unit of the subclass.
        high: largest strength; each face draws its own, uniformly. Default: ``low``.
        probability: probability that a face is degraded.
        seed: of the draws, which then depend only on the seed, ``image_id`` and ``bbox`` of the face, not on the
            order or the process. Default: draws from torch's global generator.

    Raises:
        InputError: unless ``limits[0] <= low <= high <= limits[1]``, and for an invalid probability.
    """

    limits: tuple[float, float] = (0.0, math.inf)
    field = "image"
    """What changes: ``"image"``, after the crop, or ``"bbox"``, before it."""

    def __init__(
        self, low: float, high: float | None = None, *, probability: float = 1.0, seed: int | None = None
    ) -> None:
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
        self.probability = check_probability("probability", probability)

    def forward(self, data: Data) -> Data:
        if self.field == "image":
            check_image(data)
        else:
            check_field(data, self.field, "1 4")
        generator = self._generator(data)
        if self.probability < 1 and torch.rand((), generator=generator).item() >= self.probability:
            return data
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
        options = {"probability": 1.0, "seed": None}
        given = [f"{name}={getattr(self, name)}" for name, usual in options.items() if getattr(self, name) != usual]
        return f"{type(self).__name__}({', '.join([f'{self.low:g}', f'{self.high:g}', *given])})"


class GaussianBlur(Degradation):
    """Blurs ``image`` uint8 [1, 3, h, w]; the strength is the standard deviation in pixels."""

    def degrade(self, data: Data, strength: float, generator: torch.Generator | None) -> Data:
        if strength > 0:
            image = data.image.float()
            # Along x and then along y: several times faster than the square kernel of a single call.
            for axis in (0, 1):
                radius = min(math.ceil(3 * strength), image.shape[-1 - axis] - 1)
                size = [2 * radius + 1, 1] if axis == 0 else [1, 2 * radius + 1]
                image = v2.functional.gaussian_blur(image, size, strength)
            data.image = image.round().to(torch.uint8)
        return data


class Darkness(Degradation):
    """Darkens ``image`` uint8 [1, 3, h, w] to ``strength * image + noise``, rounded and clipped to 0 ... 255.

    Args:
        low: smallest fraction of the light that remains, 0 ... 1.
        high: largest.
        noise: standard deviation of the sensor's noise in grey levels.
        probability: see :class:`Degradation`.
        seed: see :class:`Degradation`.
    """

    limits = (0.0, 1.0)

    def __init__(
        self,
        low: float,
        high: float | None = None,
        *,
        noise: float = 5.0,
        probability: float = 1.0,
        seed: int | None = None,
    ) -> None:
        super().__init__(low, high, probability=probability, seed=seed)
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


class BoxBeside(Degradation):
    """Puts ``bbox`` [1, 4] beside the face, where there is none; apply it before the crop.

    The strength is the side of the new box, a square, over the longer side of the old one. It lies in the widest of the
    four margins of ``image`` [1, 3, H, W] around the old box, at a place that is drawn, and is smaller if the margin
    has no room for it and an eighth of it all around. Other faces of the image are not avoided.
    """

    limits = (0.01, 10.0)
    field = "bbox"
    _ROOM = 1.25
    _LEAST = 4.0  # pixels, of a box beside a face that fills its image

    def degrade(self, data: Data, strength: float, generator: torch.Generator | None) -> Data:
        check_image(data)
        height, width = data.image.shape[-2:]
        x0, y0, x1, y1 = data.bbox.flatten().tolist()
        regions = [(0, 0, x0, height), (x1, 0, width, height), (0, 0, width, y0), (0, y1, width, height)]
        margins = [x0, width - x1, y0, height - y1]
        left, top, right, bottom = regions[margins.index(max(margins))]
        room = min(right - left, bottom - top) / self._ROOM
        side = max(self._LEAST, min(strength * max(x1 - x0, y1 - y0), room))
        across, along = torch.rand(2, generator=generator).tolist()
        half = side * self._ROOM / 2
        x = left + half + across * max(0.0, right - left - 2 * half)
        y = top + half + along * max(0.0, bottom - top - 2 * half)
        # Pixel centres are integers: an image begins half a pixel before the first.
        corner = data.bbox.new_tensor([x - side / 2 - 0.5, y - side / 2 - 0.5], dtype=torch.float32)
        data.bbox = torch.cat([corner, corner + side])[None]
        return data


class Rotation(Degradation):
    """Turns the face in the image plane, as if the whole photo were turned; apply it before the crop, which does it.

    The strength is the angle in degrees, to either side with probability 1/2. Sets ``crop_rotation`` [1], degrees,
    clockwise in the displayed image. ``bbox`` [1, 4] becomes the box that the turned photo would have: tight around the
    turned landmarks ``y``. If there are none, or the box is the annotation's own ``rect``, its centre and sides stay.
    """

    limits = (0.0, 180.0)
    field = "bbox"

    def degrade(self, data: Data, strength: float, generator: torch.Generator | None) -> Data:
        angle = strength if torch.rand((), generator=generator).item() < 0.5 else -strength
        box = data.bbox if data.bbox.is_floating_point() else data.bbox.float()
        rect = data.get("rect")
        if data.get("y") is not None and (rect is None or not torch.equal(rect, data.bbox)):
            check_field(data, "y", "K 2")
            cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
            turn = box.new_tensor([[cos, -sin], [sin, cos]])
            centre = (box[0, :2] + box[0, 2:]) / 2
            turned = landmark_box((data.y.to(box.dtype) - centre) @ turn.T, data.get("visibility"))
            if turned.isfinite().all():
                middle, half = (turned[:2] + turned[2:]) / 2 @ turn + centre, (turned[2:] - turned[:2]) / 2
                box = torch.cat([middle - half, middle + half])[None]
        data.bbox, data.crop_rotation = box, box.new_tensor([angle])
        return data

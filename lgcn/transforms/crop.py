"""Crops: image and landmarks to the network's input by a single affine map."""

from typing import Any

import torch
from torch_geometric.data import Data
from torch_geometric.transforms import BaseTransform

from lgcn.checks import InputError, check_choice, check_flag, check_number, check_pair, check_positive, check_size
from lgcn.geometry import ASPECTS, SIDES, crop_image, transform_points
from lgcn.schemes import LandmarkScheme, get_scheme
from lgcn.transforms.fields import check_field, check_image, check_probability
from lgcn.typing import Size


class CropToInput(BaseTransform):
    """Crops ``image`` around ``bbox``: the deterministic crop of evaluation.

    Reads ``image`` uint8 [1, 3, H, W], ``bbox`` [1, 4] and, if present, ``y`` [K, 2], both in pixels
    of the image, and ``crop_rotation`` [1], degrees by which the crop is turned clockwise about the centre of the box.
    Sets ``image`` to uint8 [1, 3, h, w], ``y`` to pixels of the input, and ``affine`` [1, 2, 3] to the map from image
    to input.

    ``CropToInput(input_size, **protocol.crop_options)`` is the crop of a protocol.

    Args:
        input_size: (h, w) of the network's input.
        enlargement: ratio of the size of the crop to that of the box.
        aspect: ``"square"``, ``"letterbox"`` or ``"stretch"``, see :func:`lgcn.geometry.crop_region`.
        side: side of the box, ``"longer"`` or ``"shorter"``, that sets the size of a square.
        clip: whether the crop is clipped to the image and to whole pixels before it is resized.
        fill: value of pixels outside the image and, unless the crop is a square that is not clipped,
            of all pixels outside the crop, 0 ... 255.

    Raises:
        InputError: for an unknown ``aspect`` or ``side``, and (:class:`lgcn.geometry.BoxError`) for a box that
            cannot be cropped. Datasets with this transform name image and face.
    """

    def __init__(
        self,
        input_size: Size,
        enlargement: float = 1.25,
        *,
        aspect: str = "square",
        side: str = "longer",
        clip: bool = False,
        fill: int = 0,
    ) -> None:
        self.input_size = check_size("input_size", input_size)
        check_positive("enlargement", enlargement)
        self.enlargement = enlargement
        self.aspect = check_choice("aspect", aspect, ASPECTS)
        self.side = check_choice("side", side, SIDES)
        self.clip = check_flag("clip", clip)
        check_number("fill", fill, 0, 255)
        self.fill = fill

    def forward(self, data: Data) -> Data:
        return self._crop(data)

    def _crop(self, data: Data, **augmentation: Any) -> Data:
        check_image(data)
        check_field(data, "bbox", "1 4")
        if data.get("y") is not None:
            check_field(data, "y", "K 2")
        if data.get("crop_rotation") is not None:
            check_field(data, "crop_rotation", "1")
            augmentation["rotation"] = augmentation.get("rotation", 0.0) + data.crop_rotation.item()
        rule: dict[str, Any] = {"aspect": self.aspect, "side": self.side, "clip": self.clip, "fill": self.fill}
        image, affine = crop_image(
            data.image[0], data.bbox[0], self.input_size, self.enlargement, **rule, **augmentation
        )
        data.image = image.unsqueeze(0)
        if data.get("y") is not None:
            data.y = transform_points(data.y, affine)
        data.affine = affine.unsqueeze(0)
        return data

    def _options(self) -> str:
        """The options of the crop for ``__repr__``; all but the enlargement only if they differ from the default."""
        options = {"aspect": "square", "side": "longer", "clip": False, "fill": 0}
        given = {name: getattr(self, name) for name, usual in options.items() if getattr(self, name) != usual}
        return ", ".join(f"{name}={value}" for name, value in {"enlargement": self.enlargement, **given}.items())

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.input_size}, {self._options()})"


class RandomAffineCrop(CropToInput):
    """:class:`CropToInput` with random rotation, scale, translation and flip in the same affine map.

    A flip also swaps the partners of ``scheme.flip_pairs`` in ``y``, ``visibility`` and ``occlusion``. Draws
    from torch's global generator.

    Args:
        scheme: landmark scheme or its name.
        input_size: (h, w) of the network's input.
        enlargement: ratio of the size of the crop, before rotation and scale, to that of the box.
        rotation: largest angle in degrees; drawn from [-rotation, rotation].
        scale: range of the ratio of the face's size in the crop to its size without augmentation.
        translation: largest shift along x and y as a fraction of the crop's side; each drawn from
            [-translation, translation].
        flip: probability of a mirrored crop.
        probability: probability of rotation, of scale and of translation, each drawn independently.
        aspect: as in :class:`CropToInput`.
        side: as in :class:`CropToInput`.
        clip: as in :class:`CropToInput`.
        fill: as in :class:`CropToInput`.

    Raises:
        InputError: for an invalid range or probability.
    """

    def __init__(
        self,
        scheme: str | LandmarkScheme,
        input_size: Size,
        enlargement: float = 1.25,
        rotation: float = 30.0,
        scale: tuple[float, float] = (0.8, 1.2),
        translation: float = 0.1,
        flip: float = 0.5,
        probability: float = 1.0,
        *,
        aspect: str = "square",
        side: str = "longer",
        clip: bool = False,
        fill: int = 0,
    ) -> None:
        super().__init__(input_size, enlargement, aspect=aspect, side=side, clip=clip, fill=fill)
        low, high = check_pair("scale", scale)
        if not 0 < low <= high:
            raise InputError(f"Expected 'scale' to be a positive range (low, high) (got {scale}).")
        for name, chance in (("flip", flip), ("probability", probability)):
            check_probability(name, chance)
        check_number("rotation", rotation)
        check_number("translation", translation)
        self.scheme = get_scheme(scheme)
        self.rotation = rotation
        self.scale = (low, high)
        self.translation = translation
        self.flip = flip
        self.probability = probability
        self._partners = torch.tensor(self.scheme.flip_permutation)

    def forward(self, data: Data) -> Data:
        # A fixed number of draws, so that later random numbers do not depend on the options.
        draws = torch.rand(8).tolist()
        rotates, scales, moves = (draw < self.probability for draw in draws[:3])
        flips = draws[3] < self.flip
        for name, shape in (("y", "K 2"), ("visibility", "K"), ("occlusion", "K")):
            if isinstance(data, Data) and data.get(name) is not None:
                check_field(data, name, shape, K=self.scheme.num_landmarks)
        low, high = self.scale
        data = self._crop(
            data,
            rotation=self.rotation * (2 * draws[4] - 1) if rotates else 0.0,
            scale=low + (high - low) * draws[5] if scales else 1.0,
            translation=(self.translation * (2 * draws[6] - 1), self.translation * (2 * draws[7] - 1))
            if moves
            else (0.0, 0.0),
            flip=flips,
        )
        if flips:
            for key in ("y", "visibility", "occlusion"):
                if data.get(key) is not None:
                    data[key] = data[key][self._partners]
        return data

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({self.scheme.name}, {self.input_size}, {self._options()}, "
            f"rotation={self.rotation}, scale={self.scale}, translation={self.translation}, flip={self.flip})"
        )

"""Image and landmarks to the network's input, through one affine."""

import torch
from torch import Tensor
from torch_geometric.data import Data
from torch_geometric.transforms import BaseTransform

from lgcn.checks import InputError
from lgcn.geometry import crop_affine, transform_points, warp_image
from lgcn.schemes import LandmarkScheme, get_scheme
from lgcn.typing import Size


class CropToInput(BaseTransform):
    """Cuts the square around ``bbox`` out of ``image``: the crop of evaluation.

    Reads ``image`` uint8 [1, 3, H, W], ``bbox`` [1, 4] and, where there is one, ``y`` [K, 2] in
    pixels of the image. Sets ``image`` to uint8 [1, 3, h, w], ``y`` to pixels of the input and
    ``affine`` [1, 2, 3] to the map from image to input.

    Args:
        input_size: (h, w) of the network's input.
        enlargement: side of the square over the longer side of the box, as the protocol says.
    """

    def __init__(self, input_size: Size, enlargement: float = 1.25) -> None:
        self.input_size = input_size
        self.enlargement = enlargement

    def forward(self, data: Data) -> Data:
        return _crop(data, crop_affine(data.bbox[0], self.input_size, self.enlargement), self.input_size)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.input_size}, enlargement={self.enlargement})"


class RandomAffineCrop(BaseTransform):
    """:class:`CropToInput` with rotation, scale, translation and flip composed into its one affine.

    A flip also swaps the partners of ``scheme.flip_pairs`` in ``y`` and ``visibility``. Draws from
    torch's global generator.

    Args:
        scheme: name of a landmark scheme, or one.
        input_size: (h, w) of the network's input.
        enlargement: side of the unrotated square over the longer side of the box.
        rotation: degrees, drawn from [-rotation, rotation].
        scale: size of the face in the crop over its size without augmentation, drawn from this range.
        translation: shift along x and y in fractions of the crop's side, each drawn from
            [-translation, translation].
        flip: probability of a mirrored crop.
        probability: with which rotation, scale and translation are drawn, each by itself; left out otherwise.

    Raises:
        InputError: for a range or probability that cannot be drawn from.
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
    ) -> None:
        if not (len(scale) == 2 and 0 < scale[0] <= scale[1]):
            raise InputError(f"Expected 'scale' to be a positive range (low, high) (got {scale}).")
        for name, chance in (("flip", flip), ("probability", probability)):
            if not 0 <= chance <= 1:
                raise InputError(f"Expected '{name}' to be a probability in [0, 1] (got {chance}).")
        self.scheme = get_scheme(scheme)
        self.input_size = input_size
        self.enlargement = enlargement
        self.rotation = rotation
        self.scale = (scale[0], scale[1])
        self.translation = translation
        self.flip = flip
        self.probability = probability
        self._partners = torch.tensor(self.scheme.flip_permutation)

    def forward(self, data: Data) -> Data:
        # One draw of a fixed number of values: what comes after stays the same when an option changes.
        draws = torch.rand(8).tolist()
        rotates, scales, moves = (draw < self.probability for draw in draws[:3])
        flips = draws[3] < self.flip
        low, high = self.scale
        affine = crop_affine(
            data.bbox[0],
            self.input_size,
            self.enlargement,
            rotation=self.rotation * (2 * draws[4] - 1) if rotates else 0.0,
            scale=low + (high - low) * draws[5] if scales else 1.0,
            translation=(self.translation * (2 * draws[6] - 1), self.translation * (2 * draws[7] - 1))
            if moves
            else (0.0, 0.0),
            flip=flips,
        )
        data = _crop(data, affine, self.input_size)
        if flips:
            for key in ("y", "visibility"):
                if data.get(key) is not None:
                    data[key] = data[key][self._partners]
        return data

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({self.scheme.name}, {self.input_size}, enlargement={self.enlargement}, "
            f"rotation={self.rotation}, scale={self.scale}, translation={self.translation}, flip={self.flip})"
        )


def _crop(data: Data, affine: Tensor, input_size: Size) -> Data:
    data.image = warp_image(data.image[0], affine, input_size).unsqueeze(0)
    if data.get("y") is not None:
        data.y = transform_points(data.y, affine)
    data.affine = affine.unsqueeze(0)
    return data

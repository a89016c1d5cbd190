"""Aligned face crops: upright, centred and of one size."""

import torch
from torch import Tensor

from lgcn.checks import check_at_least
from lgcn.geometry import crop_affine, warp_image
from lgcn.images import ImageLike, as_image_tensor
from lgcn.predict.boxes import landmark_roll, pair_direction, rotated_box
from lgcn.predict.face import Face
from lgcn.schemes import LandmarkScheme, get_scheme

_LEAST_EXTENT = 1e-3
"""Pixels: the box around landmarks in one place can be as large by rounding."""


def align_face(
    image: ImageLike, face: Face, scheme: str | LandmarkScheme, size: int, enlargement: float = 1.25
) -> tuple[Tensor, Tensor]:
    """Cuts out a face, turned upright.

    The crop is a square, ``enlargement`` times the longer side of the box that is tight around the landmarks after they
    are turned by the mean direction from each landmark to its mirror partner, which becomes horizontal. A face upside
    down is turned upright if the names of the landmarks say which are the subject's right and left. Landmarks that all
    coincide, or a single one, have no such box: that of the face is taken as it is.

    Args:
        image: path, bytes of a file, Pillow image, uint8 array [H, W, 3] or uint8 tensor [3, H, W], RGB.
        face: its landmarks in pixels of ``image``.
        scheme: of the landmarks.
        size: side of the crop in pixels.
        enlargement: side of the crop over that of the box.

    Returns:
        The crop, uint8 [3, size, size], black outside the image, and the affine [2, 3] that maps pixels of ``image`` to
        pixels of the crop: ``transform_points(face.landmarks, affine)`` gives the landmarks in the crop.

    Raises:
        InputError: for a size below 8.
    """
    check_at_least("size", size, 8)
    scheme, pos = get_scheme(scheme), face.landmarks[None]
    sides = scheme.right_left_pairs
    rotation = -(pair_direction(pos, sides) if sides else landmark_roll(pos, scheme.flip_pairs))
    box = rotated_box(pos, rotation)[0]
    if (box[2:] - box[:2]).max() < _LEAST_EXTENT:
        box, rotation = face.box, torch.zeros(1)
    affine = crop_affine(box, (size, size), enlargement, rotation=float(rotation))
    return warp_image(as_image_tensor(image).cpu(), affine, (size, size)), affine.to(torch.float32)

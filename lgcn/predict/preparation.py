"""Read an image and find its faces: the part of a prediction that needs no network."""

import math
import os
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from lgcn.checks import InputError, check_at_least
from lgcn.geometry import invert_affine, transform_points, warp_image
from lgcn.images import MAX_PIXELS, ImageLike, as_image_tensor
from lgcn.predict.boxes import BoxesLike, check_boxes
from lgcn.predict.face_detector import CascadeFaceDetector, FaceDetector


class PreparedImage(NamedTuple):
    """An image with the boxes of its faces, ready to be predicted."""

    name: str
    """Name in messages and results."""
    image: Tensor
    """uint8 [3, H, W]."""
    boxes: Tensor
    """[F, 4], float32, each of which overlaps the image."""
    detected: bool = False
    """Whether the boxes come from a face detector, and so may be false positives."""
    rotation: float = 0.0
    """Degrees by which the faces have to be turned clockwise to be upright."""


class ImagePreparer:
    """Reads images and checks their boxes, or detects their faces; can be sent to other processes.

    Args:
        face_detector: detects the faces in images without given boxes; scikit-image's cascade, loaded when it is
            needed, if None.
        max_pixels: image files of more pixels are refused before they are decoded; None reads any.
        subject: what the landmarks are of (:class:`lgcn.schemes.LandmarkScheme`).

    Raises:
        InputError: for a number out of range.
    """

    TURNS = (30.0, -30.0, 90.0, -90.0, 180.0, 60.0, -60.0)
    """Degrees counter-clockwise to turn an image by, in this order, where no upright face is found in it.

    The cascade finds faces that are off by up to about 15.
    """

    def __init__(
        self, face_detector: FaceDetector | None = None, max_pixels: int | None = MAX_PIXELS, subject: str = "face"
    ) -> None:
        if max_pixels is not None:
            check_at_least("max_pixels", max_pixels, 1)
        self._given = face_detector
        self.max_pixels = max_pixels
        self.subject = subject

    def check_finds_boxes(self) -> None:
        """Check that images may be given without boxes.

        Raises:
            InputError: if the landmarks are not of a face, and no ``face_detector`` is given.
        """
        if self._given is None and self.subject != "face":
            raise InputError(
                f"Expected a box for each {self.subject} (got none; only faces are found without). Give 'boxes' "
                f"(--boxes FILE), or 'face_detector': lgcn.predict.WholeImage() (--faces whole_image) takes each image "
                f"for one {self.subject}."
            )

    @cached_property
    def face_detector(self) -> FaceDetector:
        """Detects the faces; a cascade is loaded when it is asked for, in each process."""
        self.check_finds_boxes()
        return CascadeFaceDetector() if self._given is None else self._given

    def __call__(self, image: ImageLike, boxes: BoxesLike | None = None, *, name: str | None = None) -> PreparedImage:
        """Prepare one image.

        Args:
            image: as :func:`lgcn.images.as_image_tensor` takes it.
            boxes: [F, 4] or [4]; None detects the faces.
            name: name of the image; its path or ``image`` if None.

        Raises:
            InputError: for an image that cannot be read, a box that is of no use, or none where the landmarks are not
                of a face.
        """
        name = image_name(image, "image") if name is None else name
        pixels = as_image_tensor(image, max_pixels=self.max_pixels, name=name).cpu()
        if boxes is not None:
            return PreparedImage(name, pixels, check_boxes(boxes, pixels, name))
        return PreparedImage(name, pixels, check_boxes(self.face_detector(pixels), pixels, name), detected=True)

    def finer(self, image: PreparedImage) -> PreparedImage | None:
        """The image with smaller faces too, or None if the search has used all its pixels, or is not the cascade's."""
        detector = self.face_detector
        if not isinstance(detector, CascadeFaceDetector) or max(image.image.shape[1:]) <= detector.max_side:
            return None
        return image._replace(boxes=check_boxes(detector.finer()(image.image), image.image, image.name))

    def turned(self, image: PreparedImage, degrees: float) -> PreparedImage:
        """The image with the faces that are detected once it is turned counter-clockwise.

        The centres and sizes of their boxes are in pixels of the image as it is.
        """
        # Not larger than the search needs it: there are photos of a hundred megapixels.
        longer = max(image.image.shape[1:])
        zoom = min(1.0, getattr(self.face_detector, "max_side", longer) / longer)
        pixels, affine = _turn(image.image, degrees, zoom)
        corners = check_boxes(self.face_detector(pixels), pixels, image.name).view(-1, 2, 2)
        centre = transform_points(corners.mean(1), invert_affine(affine))
        half = (corners[:, 1] - corners[:, 0]) / (2 * zoom)
        # What is seen in the corners that a turned image has around the image is no face.
        height, width = image.image.shape[1:]
        inside = ((centre >= 0) & (centre <= centre.new_tensor([width - 1, height - 1]))).all(1)
        boxes = torch.cat([centre - half, centre + half], dim=1)[inside]
        return image._replace(boxes=boxes, rotation=-degrees)

    def describe_no_face(self, image: PreparedImage, min_confidence: float, best: float | None = None) -> str:
        """The warning of an image none of whose candidates has the least confidence, or fits: ``best`` is its score."""
        count = len(image.boxes)
        dropped = f" ({count} candidate{'s' * (count > 1)} below min_confidence = {min_confidence:g})" if count else ""
        sizes = ""
        if isinstance(self.face_detector, CascadeFaceDetector):
            smallest = self.face_detector.finer().smallest_face(image.image.shape[1:])
            sizes = (
                f" The face detector looks for frontal faces of {smallest} pixels or more here; lower 'min_face' and "
                "raise 'max_side' (--min-face, --max-side) for smaller ones, or take another one (--faces)."
            )
        if best is not None:
            found = f"Probably no {self.subject} in '{image.name}' was found: the best score is {best:.3f}."
            return f"{found}{sizes} Or give boxes."
        return f"No {self.subject} was detected in '{image.name}'{dropped}.{sizes} Or give boxes."


def _turn(image: Tensor, degrees: float, zoom: float) -> tuple[Tensor, Tensor]:
    """The image [3, H, W] turned counter-clockwise and resized, all of it visible, and the affine [2, 3] to it."""
    cos, sin = zoom * math.cos(math.radians(degrees)), zoom * math.sin(math.radians(degrees))
    height, width = image.shape[1:]
    # Few rows may shrink to less than a pixel.
    size = (
        max(1, round(abs(height * cos) + abs(width * sin))),
        max(1, round(abs(width * cos) + abs(height * sin))),
    )
    linear = torch.tensor([[cos, sin], [-sin, cos]])
    before, after = (torch.tensor([w - 1.0, h - 1.0]) / 2 for h, w in ((height, width), size))
    affine = torch.cat([linear, (after - linear @ before)[:, None]], dim=1)
    return warp_image(image, affine, size), affine


def image_name(image: object, otherwise: str) -> str:
    """The path of an image, if it has one."""
    if isinstance(image, str | os.PathLike):
        return os.fsdecode(image)
    return str(getattr(image, "filename", "") or otherwise)

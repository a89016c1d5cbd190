"""Checks for coordinates in wrong units and for placeholders of missing landmarks."""

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from lgcn.datasets.base import LandmarkDataset
from lgcn.datasets.check.annotations import corners, listed, place_of
from lgcn.datasets.check.report import Finding
from lgcn.typing import Size

MAX_FRACTION = 2.0
"""Coordinates of a face that all stay within this can only be fractions of the image: no face has two pixels."""

MIN_FACES, MIN_SIDE = 5, 250
"""Number of faces and shorter side of their images (pixels) from which percentages can be told from pixels."""


def check_units(dataset: LandmarkDataset, split: str, sizes: Mapping[str, Size]) -> Iterator[Finding]:
    """Yield landmarks and boxes that are fractions or percentages of the image instead of pixels.

    Args:
        dataset: the split.
        split: its name.
        sizes: ``image_id`` -> (H, W) of the images that can be read.
    """
    remedy = "multiply x by the width and y by the height of the image"
    pos = _in_file(dataset)
    largest = pos.abs().nan_to_num().amax(dim=(1, 2))
    for index in (largest <= MAX_FRACTION).nonzero().flatten().tolist():
        message = f"points look like fractions of the image, the largest coordinate is {largest[index]:g}: {remedy}"
        yield Finding("not_pixels", split, *place_of(dataset, index), message)
    if dataset.rect is not None:
        size = dataset.rect[:, 2:] - dataset.rect[:, :2]
        small = (dataset.rect.abs() <= MAX_FRACTION).all(dim=1) & (size > 0).all(dim=1)
        for index in small.nonzero().flatten().tolist():
            box = corners(dataset.rect[index].tolist())
            message = f"box of the annotation looks like fractions of the image, [{box}]: {remedy}"
            yield Finding("not_pixels", split, *place_of(dataset, index), message)
    shortest = min((min(sizes[each]) for each in dataset.image_ids if each in sizes), default=0)
    if len(largest) >= MIN_FACES and shortest >= MIN_SIDE and MAX_FRACTION < largest.max() <= 100:
        message = (
            f"points look like percentages of the image: no coordinate exceeds {largest.max():g}, though no image is "
            f"smaller than {shortest} pixels. If so, {remedy}, over 100"
        )
        yield Finding("not_pixels", split, None, None, message)


def check_placeholders(dataset: LandmarkDataset, split: str) -> Iterator[Finding]:
    """Yield placeholders of missing landmarks, such as several at exactly (0, 0) or (-1, -1).

    These are two or more landmarks of a face with the same integer x = y <= 0, or one if it is far from the others;
    and three or more in any other place that is far from the others.
    """
    pos = _in_file(dataset)
    at_corner = (pos[..., 0] == pos[..., 1]) & (pos[..., 0] <= 0) & (pos[..., 0] == pos[..., 0].round())
    ordered = torch.view_as_complex(pos.contiguous()).numpy().copy()
    ordered.sort(axis=1)
    thrice = (ordered[:, 2:] == ordered[:, 1:-1]) & (ordered[:, 1:-1] == ordered[:, :-2])
    candidates = at_corner.any(dim=1) | torch.from_numpy(thrice.any(axis=1))
    for index in candidates.nonzero().flatten().tolist():
        points = pos[index]
        places, group, counts = points.nan_to_num(torch.inf).unique(dim=0, return_inverse=True, return_counts=True)
        for number, (place, count) in enumerate(zip(places, counts.tolist(), strict=True)):
            in_group = group == number
            corner = bool(at_corner[index][in_group].any())
            if not place.isfinite().all() or count < (1 if corner else 3):
                continue
            if (corner and count > 1) or _is_far(place, points[~in_group]):
                which = in_group.nonzero().flatten().tolist()
                x, y = place.tolist()
                message = (
                    f"{count} of {len(points)} points at exactly ({x:g}, {y:g}) ({listed(which)}). "
                    f"If they are missing, {dataset.missing_remedy}"
                )
                yield Finding("placeholder", split, *place_of(dataset, index), message)


def _in_file(dataset: LandmarkDataset) -> Tensor:
    """Landmarks [N, K, 2] with the origin of the annotation file, NaN where they are missing."""
    pos = dataset.pos - dataset.point_offset
    return pos.masked_fill(dataset.visibility[..., None] == 0, torch.nan)


def _is_far(place: Tensor, others: Tensor) -> bool:
    """Whether a place is further from all other points [M, 2] than these are from each other."""
    others = others[others.isfinite().all(dim=1)]
    if len(others) < 2:
        return False
    extent = others.amax(dim=0) - others.amin(dim=0)
    return bool((others - place).norm(dim=1).min() > extent.norm())

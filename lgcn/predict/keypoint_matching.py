"""Match predicted objects to annotated ones, by the names of images and by distance."""

from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import NamedTuple

import torch
from torch import Tensor

from lgcn.checks import InputError, check_shape

FARTHEST = 0.5
"""Largest mean distance of a match, in root-mean-square radii of the true shape."""


class Matches(NamedTuple):
    """Pairs of objects."""

    predicted: Tensor
    """[M], indices of the predicted objects."""
    true: Tensor
    """[M], indices of their true ones."""


def match_keypoints(
    predicted_images: Sequence[str], predicted: Tensor, true_images: Sequence[str], true: Tensor
) -> Matches:
    """Match objects one to one, the nearest first.

    An image has the same name in both, or a path that ends with the other's.

    Args:
        predicted_images: name of the image of each predicted object.
        predicted: [N, K, 2], NaN where missing.
        true_images: name of the image of each annotated object.
        true: [M, K, 2], NaN where missing.

    Raises:
        InputError: for different numbers of landmarks, a name with which the paths of several annotated images end, or
            if nothing matches.
    """
    check_shape("predicted", predicted, "N K 2", K=true.shape[1])
    places: dict[tuple[str, ...], list[int]] = {}
    for index, name in enumerate(true_images):
        places.setdefault(PurePosixPath(name).parts, []).append(index)
    longer: dict[tuple[str, ...], list[tuple[str, ...]]] = {}
    for place in places:
        for ending in _endings(place)[1:]:
            longer.setdefault(ending, []).append(place)
    found: dict[tuple[str, ...], list[int]] = {}
    for index, name in enumerate(predicted_images):
        own = PurePosixPath(name).parts
        known = [ending for ending in _endings(own) if ending in places][:1] or longer.get(own, [])
        if len(known) > 1:
            several = " and ".join(f"'{PurePosixPath(*place)}'" for place in known[:2])
            raise InputError(
                f"Expected one annotated image for the name '{name}' (got {several}). Write its folder too."
            )
        for place in known:
            found.setdefault(place, []).append(index)
    pairs = [pair for place, rows in found.items() for pair in _nearest(rows, places[place], predicted, true)]
    if not pairs and found:
        raise InputError(
            f"Expected predictions near the annotated objects (got {len(found)} images with both, and none where they "
            f"are less than {FARTHEST:g} radii of the shape apart on average). Compare pixels and the order of "
            "landmarks."
        )
    if not pairs:
        raise InputError(
            "Expected predictions of annotated images (got no name in common; images such as "
            f"'{next(iter(predicted_images), None)}' and '{next(iter(true_images), None)}')."
        )
    rows, columns = torch.tensor(pairs).unbind(1)
    return Matches(rows, columns)


def _endings(parts: tuple[str, ...]) -> list[tuple[str, ...]]:
    """A path and what it ends with, without its first folders; the longest first."""
    return [parts[start:] for start in range(len(parts))]


def _nearest(rows: list[int], columns: list[int], predicted: Tensor, true: Tensor) -> list[tuple[int, int]]:
    """Pairs within one image, each object in one at most."""
    centred = true[columns] - true[columns].nanmean(dim=1, keepdim=True)
    radius = centred.square().sum(-1).nanmean(dim=1).sqrt()
    distance = (predicted[rows].unsqueeze(1) - true[columns]).norm(dim=-1).nanmean(dim=-1) / radius
    pairs: list[tuple[int, int]] = []
    # NaN, if the two have no landmark in common, is not smaller than anything.
    for flat in distance.flatten().argsort().tolist():
        i, j = divmod(flat, len(columns))
        if distance[i, j] <= FARTHEST and all(rows[i] != row and columns[j] != column for row, column in pairs):
            pairs.append((rows[i], columns[j]))
    return pairs

"""Checks of images: each is read once, its size compared with the points and its pixels with the other images."""

import hashlib
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.ops import box_iou
from tqdm import tqdm

from lgcn.checks import InputFileError
from lgcn.datasets.base import LandmarkDataset
from lgcn.datasets.check.annotations import corners, listed, place_of
from lgcn.datasets.check.report import Finding
from lgcn.datasets.hrnet_csv import HRNetCSV
from lgcn.datasets.ibug300w import IBUG300W
from lgcn.datasets.pts_folder import PtsFolder
from lgcn.files import printable
from lgcn.geometry import BoxError, crop_region
from lgcn.typing import Size

SAME_FACE = 0.5
"""Intersection over union of two landmark boxes above which they belong to the same face."""


class ImageFacts(NamedTuple):
    """Size and digest of an image, or why it cannot be read."""

    size: Size | None
    """(H, W), None if the image cannot be read."""
    digest: str | None
    """Hash of size and pixels."""
    error: str | None
    """Why the image cannot be read, in one line."""


@dataclass(frozen=True, eq=False)
class CheckedSplit:
    """A split and the facts of its images.

    Args:
        dataset: the split.
        facts: ``image_id`` -> facts, without missing images.
    """

    dataset: LandmarkDataset
    facts: dict[str, ImageFacts]

    @cached_property
    def same_pixels(self) -> dict[str, list[str]]:
        """Digest -> images that have it."""
        groups: dict[str, list[str]] = defaultdict(list)
        for image_id, fact in self.facts.items():
            if fact.digest is not None:
                groups[fact.digest].append(image_id)
        return dict(groups)

    @cached_property
    def faces(self) -> dict[str, list[int]]:
        """Image -> indices of its faces."""
        faces: dict[str, list[int]] = defaultdict(list)
        for index, image_id in enumerate(self.dataset.image_ids):
            faces[image_id].append(index)
        return dict(faces)


def read_images(
    dataset: LandmarkDataset, title: str, *, skip: Collection[str] = (), num_workers: int = 0
) -> dict[str, ImageFacts]:
    """Read each image once, in the order of the faces.

    Args:
        dataset: the split.
        title: title of the progress bar, which is shown on terminals only.
        skip: images to leave out, by ``image_id``.
        num_workers: number of processes that read images; 0 reads in this one.

    Returns:
        ``image_id`` -> facts.
    """
    skipped = set(skip)
    first: dict[str, int] = {}
    for index, image_id in enumerate(dataset.image_ids):
        if image_id not in skipped:
            first.setdefault(image_id, index)
    loader = DataLoader(_Images(dataset, list(first.values())), batch_size=None, num_workers=num_workers)
    facts = tqdm(loader, desc=printable(title), unit="image", total=len(first), disable=None, leave=False)
    return dict(zip(first, facts, strict=True))


def check_images(checked: CheckedSplit, split: str) -> Iterator[Finding]:
    """Yield images that cannot be read, and points outside those that can."""
    dataset, facts = checked.dataset, checked.facts
    for image_id, fact in facts.items():
        if fact.error is not None:
            yield Finding("unreadable_image", split, *place_of(dataset, checked.faces[image_id][0]), fact.error)
    unknown = (torch.nan, torch.nan)
    sizes = [facts[each].size or unknown if each in facts else unknown for each in dataset.image_ids]
    side = torch.tensor(sizes).view(len(sizes), 1, 2).flip(-1)  # (W, H)
    beyond = torch.maximum(-0.5 - dataset.pos, dataset.pos - (side - 0.5)).amax(dim=-1)
    beyond = beyond.masked_fill(dataset.visibility == 0, 0.0).nan_to_num(nan=0.0)
    for index in (beyond > 0).any(dim=1).nonzero().flatten().tolist():
        which = (beyond[index] > 0).nonzero().flatten().tolist()
        width, height = side[index, 0].int().tolist()
        message = (
            f"{len(which)} of {beyond.shape[1]} points outside the image of {width} x {height} pixels, by up to "
            f"{beyond[index].max():.1f} ({listed(which)})"
        )
        yield Finding("outside", split, *place_of(dataset, index), message)


def check_boxes(checked: CheckedSplit, split: str) -> Iterator[Finding]:
    """Yield boxes of the annotation that lie outside the image, or contain less than half of the face's points.

    Protocols that crop by these boxes would fail on the former, and evaluate another part of the image on the latter.
    """
    dataset = checked.dataset
    if dataset.rect is None:
        return
    low, high = dataset.rect[:, None, :2], dataset.rect[:, None, 2:]
    seen = dataset.visibility > 0
    inside = ((dataset.pos >= low) & (dataset.pos <= high)).all(dim=-1) & seen
    # Boxes that are unknown or without extent are reported by check_faces.
    usable = (dataset.rect[:, 2:] > dataset.rect[:, :2]).all(dim=1) & dataset.rect.isfinite().all(dim=1)
    for index in usable.nonzero().flatten().tolist():
        box = dataset.rect[index]
        fact = checked.facts.get(dataset.image_ids[index])
        count, total = int(inside[index].sum()), int(seen[index].sum())
        if fact is not None and fact.size is not None and not _overlaps(box, fact.size):
            height, width = fact.size
            message = f"box [{corners(box.tolist())}] outside the image of {width} x {height} pixels"
        elif 2 * count < total:
            message = f"box [{corners(box.tolist())}] far from the landmarks: {count} of {total} lie in it"
        else:
            continue
        yield Finding("stray_box", split, *place_of(dataset, index), message)


def check_copies(checked: CheckedSplit, split: str, notes: list[str]) -> Iterator[Finding]:
    """Yield images under several names with the same face annotated; count those with other faces in ``notes``."""
    others = 0
    for names in checked.same_pixels.values():
        before = list(checked.faces[names[0]])
        for copy in names[1:]:
            twin = _same_face(checked, before, checked, checked.faces[copy])
            before += checked.faces[copy]
            if twin is None:
                others += 1
                continue
            message = f"same pixels and same face as '{twin}'"
            yield Finding("duplicate_image", split, *place_of(checked.dataset, checked.faces[copy][0]), message)
    if others:
        notes.append(f"{split}: images with the pixels of another one, in which another face is annotated: {others}")


def check_leaks(one: CheckedSplit, other: CheckedSplit, name: str, split: str) -> Iterator[Finding]:
    """Yield images of ``other``, called ``split``, that are in ``one``, called ``name``, too."""
    on_purpose = one.facts.keys() & other.facts.keys() if _share_files(one.dataset, other.dataset) else set()
    for digest, images in other.same_pixels.items():
        twins = [each for each in one.same_pixels.get(digest, ()) if each not in on_purpose]
        there = [face for each in twins for face in one.faces[each]]
        for image_id in images if twins else ():
            if image_id in on_purpose:
                continue
            same = _same_face(one, there, other, other.faces[image_id])
            which = "with the same face" if same else "with another face"
            message = f"split '{name}' has the image too, as '{same or twins[0]}', {which}"
            yield Finding("leak", split, *place_of(other.dataset, other.faces[image_id][0]), message)


class _Images(Dataset[ImageFacts]):
    """Facts of images, computed in the process that reads the image."""

    def __init__(self, dataset: LandmarkDataset, indices: Sequence[int]) -> None:
        self.dataset = dataset
        self.indices = indices

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, place: int) -> ImageFacts:
        try:
            image = self.dataset.read_image(self.indices[place])
        except InputFileError as error:
            return ImageFacts(None, None, " ".join(str(error).split()))
        height, width = image.shape[-2:]
        pixels = hashlib.blake2b(f"{height} x {width}".encode(), digest_size=16)
        pixels.update(image.numpy().tobytes())
        return ImageFacts((height, width), pixels.hexdigest(), None)


def _overlaps(box: Tensor, size: Size) -> bool:
    """Whether a box and an image of ``size`` overlap."""
    try:
        crop_region(box, 1.0, aspect="stretch", clip_to=size)
    except BoxError:
        return False
    return True


def _same_face(one: CheckedSplit, faces: Sequence[int], other: CheckedSplit, others: Sequence[int]) -> str | None:
    """The image of the one of ``faces`` whose box overlaps one of ``others``; None if there is none."""
    overlap = box_iou(one.dataset.bbox[list(faces)], other.dataset.bbox[list(others)]).amax(dim=1).nan_to_num()
    most = int(overlap.argmax())
    return one.dataset.image_ids[faces[most]] if overlap[most] > SAME_FACE else None


def _share_files(one: LandmarkDataset, other: LandmarkDataset) -> bool:
    """Whether two splits select files that may overlap on purpose, such as a set and its subset."""
    if isinstance(one, HRNetCSV) and isinstance(other, HRNetCSV):
        short, long = sorted((Path(each.csv_name).stem for each in (one, other)), key=len)
        return long.startswith(f"{short}_")
    return isinstance(one, IBUG300W | PtsFolder)

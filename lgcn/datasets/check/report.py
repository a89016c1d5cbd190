"""Findings of a dataset check, and its report."""

from dataclasses import dataclass, field
from typing import NamedTuple

from lgcn.files import printable

KINDS = {
    "unreadable_annotation": "splits and annotations that cannot be read",
    "count": "counts that differ from the published ones",
    "alone": "images without points, or points without an image",
    "missing_image": "missing images",
    "unreadable_image": "images that cannot be read",
    "not_pixels": "coordinates that cannot be pixels",
    "placeholder": "missing points written as coordinates",
    "missing_points": "faces with missing points",
    "outside": "faces with points outside the image",
    "stray_box": "boxes outside the image, or far from the landmarks",
    "no_extent": "boxes without extent",
    "no_normalizer": "faces without a normaliser",
    "duplicate_annotation": "faces annotated twice",
    "duplicate_image": "faces whose image occurs twice in a split",
    "leak": "images that are in two splits",
}
"""Kind of a finding -> its heading."""


class Finding(NamedTuple):
    """One fault of a dataset."""

    kind: str
    """A key of :data:`KINDS`."""
    split: str
    file: str | None
    """Path relative to the root; None if the finding is not about a single file."""
    face: int | None
    """Index of the face in the annotation of the split, from 0; the first one of an image with several."""
    message: str

    def __str__(self) -> str:
        """The finding in one line, unprintable characters escaped."""
        face = "" if self.face is None else f", face {self.face}"
        place = "" if self.file is None else f" {self.file}{face}:"
        return printable(f"{self.split}:{place} {self.message}")


class SubsetCounts(NamedTuple):
    """Numbers of faces and images of a subset of a split."""

    faces: int
    published: int | None
    """Published number of faces, None if none is published."""
    images: int


@dataclass
class SplitCounts:
    """Numbers of faces and images of a split.

    Args:
        faces: number of usable faces.
        published: published number of faces, None if none is published.
        images: number of different images of these faces.
        subsets: name -> numbers of a subset.
        left_out: reason -> number of annotated faces, or of files, that are left out.
    """

    faces: int
    published: int | None
    images: int
    subsets: dict[str, SubsetCounts]
    left_out: dict[str, int]


@dataclass
class CheckReport:
    """Result of a dataset check.

    Args:
        dataset: name of the dataset.
        root: folder of the dataset.
        splits: name -> counts, without the splits that could not be read.
        findings: faults, in the order of :data:`KINDS`.
        notes: remarks that are no faults.
    """

    dataset: str
    root: str
    splits: dict[str, SplitCounts] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def by_kind(self) -> dict[str, list[Finding]]:
        """Kind -> its findings, without empty kinds."""
        found = {kind: [each for each in self.findings if each.kind == kind] for kind in KINDS}
        return {kind: each for kind, each in found.items() if each}

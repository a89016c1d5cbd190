"""What a check of a dataset can find, and the report that it leaves."""

from dataclasses import dataclass, field
from typing import NamedTuple

KINDS = {
    "unreadable_annotation": "splits and annotations that cannot be read",
    "count": "counts that are not the published ones",
    "alone": "pictures without points, or points without a picture",
    "missing_image": "missing pictures",
    "unreadable_image": "pictures that cannot be read",
    "missing_points": "faces with missing points",
    "outside": "faces with points outside the picture",
    "stray_box": "boxes outside the picture, or far from the landmarks",
    "no_extent": "boxes without extent",
    "no_normalizer": "faces without a normaliser",
    "duplicate_annotation": "faces annotated twice",
    "duplicate_image": "faces whose picture comes twice in a split",
    "leak": "pictures that are in two splits",
}
"""Kind of a finding -> its heading."""


def printable(text: str) -> str:
    """``text`` in one line that can be printed: names of files may hold line breaks, and bytes that are no letter."""
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)


class Finding(NamedTuple):
    """One thing that is wrong."""

    kind: str
    """A key of :data:`KINDS`."""
    split: str
    file: str | None
    """Relative to the root; None for what is no single file's."""
    face: int | None
    """Place of the face in the annotation of the split, from 0; of several in a picture the first."""
    message: str

    def __str__(self) -> str:
        """One line."""
        face = "" if self.face is None else f", face {self.face}"
        place = "" if self.file is None else f" {self.file}{face}:"
        return printable(f"{self.split}:{place} {self.message}")


class SubsetCounts(NamedTuple):
    """What a subset of a split holds, and the published number of its faces, None where none is published."""

    faces: int
    published: int | None
    pictures: int


@dataclass
class SplitCounts:
    """What a split holds, and what was published.

    Args:
        faces: that can be used.
        published: number of faces, None where none is published.
        pictures: that the faces are in.
        subsets: name -> the same of a subset.
        left_out: reason -> number of annotated faces, or of pictures, that cannot be used.
    """

    faces: int
    published: int | None
    pictures: int
    subsets: dict[str, SubsetCounts]
    left_out: dict[str, int]


@dataclass
class CheckReport:
    """Everything that a check has found.

    Args:
        dataset: its name.
        root: its folder.
        splits: name -> its counts; without those that could not be read.
        findings: what is wrong, in the order of :data:`KINDS`.
        notes: what is worth knowing, and no fault.
    """

    dataset: str
    root: str
    splits: dict[str, SplitCounts] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def by_kind(self) -> dict[str, list[Finding]]:
        """Kind -> its findings, without the kinds that have none."""
        found = {kind: [each for each in self.findings if each.kind == kind] for kind in KINDS}
        return {kind: each for kind, each in found.items() if each}

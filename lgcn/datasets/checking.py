"""Looks through the files of a dataset, and says what is wrong with them."""

from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

from lgcn.checks import InputError, InputFileError
from lgcn.datasets.annotation_checks import (
    count_split,
    damaged_points,
    folders_of,
    lone_files,
    place_of,
    wrong_annotations,
    wrong_counts,
)
from lgcn.datasets.base import LandmarkDataset
from lgcn.datasets.findings import KINDS, CheckReport, Finding
from lgcn.datasets.ibug300w import IBUG300W
from lgcn.datasets.image_checks import (
    CheckedSplit,
    copies_in_split,
    leaks,
    read_images,
    stray_boxes,
    wrong_images,
)
from lgcn.datasets.registry import DATASETS

WHOLE_SPLITS = {"ibug300w": ("train", "full", "private")}
"""Splits that are checked where none is named, if these are not all: those of 300-W left out are parts of ``full``."""


def check_dataset(
    name: str, root: str | Path, splits: Sequence[str] | None = None, *, num_workers: int = 0
) -> tuple[CheckReport, dict[str, CheckedSplit]]:
    """Counts and validates the splits of a dataset; reads every picture once.

    Pixel centres lie at integers: a point is outside its picture if x < -0.5 or x > W - 0.5, and likewise y.
    Pictures are the same if all their pixels are, whatever their names and formats. Splits that are selections of
    files (folders, or a csv file and its subsets) may share files; lists may not.

    Args:
        name: of the dataset.
        root: its folder.
        splits: names; all that the dataset has if None.
        num_workers: processes that read pictures; 0 reads in this one.

    Returns:
        The report, and the splits that could be read.

    Raises:
        InputError: for an unknown dataset or split, or if none is named of a dataset whose splits have no names.
        InputFileError: if there is no folder ``root``, or nothing that a split's name may stand for.
    """
    build, root = DATASETS[name], Path(root).expanduser()
    named = splits or WHOLE_SPLITS.get(name) or tuple(build.splits)
    if not named:
        raise InputError(f"Expected 'split' for '{name}', whose splits are named by its files (got none).")
    if not root.is_dir():
        raise InputFileError(f"Expected the folder of '{name}' at '{root}' (there is none). {build.layout}")
    report = CheckReport(name, str(root))
    checked: dict[str, CheckedSplit] = {}
    for split in dict.fromkeys(named):
        dataset = _load(build, root, split, report)
        if dataset is not None:
            checked[split] = _check_split(dataset, split, num_workers, report)
    for one, other in combinations(checked, 2):
        report.findings += leaks(checked[one], checked[other], one, other)
    if any(each.kind in ("count", "missing_image") for each in report.findings):
        report.notes.append(build.layout)
    order = list(KINDS)
    report.findings.sort(key=lambda each: order.index(each.kind))
    return report, checked


def _load(build: type[Any], root: Path, split: str, report: CheckReport) -> LandmarkDataset | None:
    """The split; None, with the reasons among the findings, where it cannot be read."""
    folders = folders_of(build, root, split)
    try:
        dataset: LandmarkDataset = build(root, split=split)
    except InputFileError as error:
        if str(error).startswith("Expected 'split'") or not (
            split in build.splits or folders or _stands_for_files(root, split)
        ):
            raise  # a wrong argument, not a wrong file
        of_300w = issubclass(build, IBUG300W)
        damaged = list(damaged_points(root, folders, split, 68 if of_300w else None, allow_missing=not of_300w))
        message = "not checked any further until its annotations can be read" if damaged else str(error)
        report.findings += [*lone_files(root, folders, split), *damaged]
        report.findings.append(Finding("unreadable_annotation", split, None, None, message))
        return None
    report.findings += lone_files(root, folders, split)
    return dataset


def _check_split(dataset: LandmarkDataset, split: str, num_workers: int, report: CheckReport) -> CheckedSplit:
    report.splits[split] = count_split(dataset)
    missing = dataset.missing_images()
    facts = read_images(dataset, split, skip=missing, num_workers=num_workers)
    checked = CheckedSplit(dataset, facts)
    report.findings += wrong_counts(dataset, split)
    report.findings += wrong_annotations(dataset, split)
    for image_id in missing:
        place = place_of(dataset, checked.faces[image_id][0])
        report.findings.append(Finding("missing_image", split, *place, "there is no such file"))
    report.findings += wrong_images(checked, split)
    report.findings += stray_boxes(checked, split)
    report.findings += copies_in_split(checked, split, report.notes)
    return checked


def _stands_for_files(root: Path, split: str) -> bool:
    """Whether there is a file or folder that the name of a split may mean."""
    parts = [Path(part.strip()) for part in split.split(",") if part.strip()]
    there = any((root / part).exists() for part in parts if not part.is_absolute())
    return there or any(path.stem.endswith(f"_{split}") for path in root.glob("**/*.csv"))

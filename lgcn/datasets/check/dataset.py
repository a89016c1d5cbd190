"""Check of all splits of a dataset."""

from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

from lgcn.checks import InputError, InputFileError, check_options
from lgcn.datasets.base import LandmarkDataset
from lgcn.datasets.check.annotations import check_counts, check_faces, count_split, place_of
from lgcn.datasets.check.coordinates import check_placeholders, check_units
from lgcn.datasets.check.files import check_partners, check_pts_files, pts_files_of
from lgcn.datasets.check.images import CheckedSplit, check_boxes, check_copies, check_images, check_leaks, read_images
from lgcn.datasets.check.report import KINDS, CheckReport, Finding
from lgcn.datasets.ibug300w import IBUG300W
from lgcn.datasets.parsing import path_below
from lgcn.datasets.registry import DATASETS

DEFAULT_SPLITS = {"ibug300w": ("train", "full", "private")}
"""Splits checked by default, if not all: the other splits of 300-W are parts of ``full``."""


def check_dataset(
    name: str,
    root: str | Path,
    splits: Sequence[str] | None = None,
    *,
    options: Mapping[str, Any] | None = None,
    num_workers: int = 0,
) -> tuple[CheckReport, dict[str, CheckedSplit]]:
    """Count and validate the splits of a dataset; read every image once.

    Pixel centres lie at integers: a point is outside its image if x < -0.5 or x > W - 0.5, and likewise y. Two images
    are the same if all their pixels are, whatever their names and formats. Splits that select files (folders, or a
    csv file and its subsets) may share files; lists may not.

    Args:
        name: name of the dataset.
        root: its folder.
        splits: names of the splits. Default: all that the dataset names.
        options: further arguments of the dataset, such as ``one_based`` of ``pts``.
        num_workers: number of processes that read images; 0 reads in this one.

    Returns:
        The report, and the splits that could be read.

    Raises:
        InputError: for an unknown dataset, split or option, or if no split is given and the dataset names none.
        InputFileError: if there is no folder ``root``, or a split matches neither a name nor a file.
    """
    build, root, options = DATASETS[name], Path(root).expanduser(), dict(options or {})
    check_options("dataset option", options, build, given=("root", "split", "transform"))
    named = splits or DEFAULT_SPLITS.get(name) or tuple(build.splits)
    if not named:
        raise InputError(f"Expected 'split' for '{name}', whose splits are named by its files (got none).")
    if not root.is_dir():
        raise InputFileError(f"Expected the folder of '{name}' at '{root}' (there is none). {build.layout}")
    report = CheckReport(name, str(root))
    checked: dict[str, CheckedSplit] = {}
    for split in dict.fromkeys(named):
        dataset = _load(build, root, split, options, report)
        if dataset is not None:
            checked[split] = _check_split(dataset, split, num_workers, report)
    for one, other in combinations(checked, 2):
        report.findings += check_leaks(checked[one], checked[other], one, other)
    if any(each.kind in ("count", "missing_image") for each in report.findings):
        report.notes.append(build.layout)
    order = list(KINDS)
    report.findings.sort(key=lambda each: order.index(each.kind))
    return report, checked


def _load(
    build: type[LandmarkDataset], root: Path, split: str, options: Mapping[str, Any], report: CheckReport
) -> LandmarkDataset | None:
    """The split; None if it cannot be read, with the reasons among the findings.

    Raises:
        InputError: if the split matches neither a name nor a file.
    """
    files: list[Path] = []
    try:
        files = pts_files_of(build, root, split)
        dataset: LandmarkDataset = build(root, split=split, **options)
    except InputFileError as error:
        if not _stands_for_files(build, root, split):
            raise  # a wrong argument, not a damaged file
        of_300w = issubclass(build, IBUG300W)
        damaged = list(check_pts_files(root, files, split, 68 if of_300w else None, allow_missing=not of_300w))
        message = "not checked any further until its annotations can be read" if damaged else str(error)
        report.findings += [*check_partners(root, files, split), *damaged]
        report.findings.append(Finding("unreadable_annotation", split, None, None, message))
        return None
    report.findings += check_partners(root, files, split)
    return dataset


def _check_split(dataset: LandmarkDataset, split: str, num_workers: int, report: CheckReport) -> CheckedSplit:
    report.splits[split] = count_split(dataset)
    missing = dataset.missing_images()
    facts = read_images(dataset, split, skip=missing, num_workers=num_workers)
    checked = CheckedSplit(dataset, facts)
    sizes = {image_id: fact.size for image_id, fact in facts.items() if fact.size is not None}
    report.findings += check_counts(dataset, split)
    report.findings += check_faces(dataset, split)
    report.findings += check_units(dataset, split, sizes)
    report.findings += check_placeholders(dataset, split)
    for image_id in missing:
        place = place_of(dataset, checked.faces[image_id][0])
        report.findings.append(Finding("missing_image", split, *place, "there is no such file"))
    report.findings += check_images(checked, split)
    report.findings += check_boxes(checked, split)
    report.findings += check_copies(checked, split, report.notes)
    return checked


def _stands_for_files(build: type[LandmarkDataset], root: Path, split: str) -> bool:
    """Whether a split is known, or its name matches files or folders below the root."""
    parts = [part.strip() for part in split.split(",")]
    if all(part in build.splits for part in parts):
        return True
    try:
        paths = [path_below(root, part, "a split") for part in parts if part and not Path(part).is_absolute()]
    except InputFileError:
        return False
    folders = [folder for folder in (root, root / "annotations") if folder.is_dir()]
    csv_files = [path for folder in folders for path in folder.glob("*.csv")]
    is_named = len(paths) == len(parts) and all(
        path.exists() or part in build.splits for path, part in zip(paths, parts, strict=True)
    )
    return is_named or any(path.stem.endswith(f"_{split}") for path in csv_files)

"""What shows without looking at the pictures: counts, missing points, boxes, faces that come twice, lone files."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from lgcn.checks import InputFileError
from lgcn.datasets.base import NO_EXTENT, LandmarkDataset
from lgcn.datasets.coco import COCOKeypoints
from lgcn.datasets.findings import Finding, SplitCounts, SubsetCounts
from lgcn.datasets.ibug300w import IBUG300W, SPLITS, place_under
from lgcn.datasets.pts import is_image, read_pts
from lgcn.datasets.pts_folder import WITHOUT_POINTS, PtsFolder


def count_split(dataset: LandmarkDataset) -> SplitCounts:
    """Faces and pictures of a split and its subsets, beside the published numbers."""
    published = dataset.published_subset_sizes
    subsets = {}
    for name, mask in dataset.subsets.items():
        faces = mask.nonzero().flatten().tolist()
        pictures = {dataset.image_ids[index] for index in faces}
        subsets[name] = SubsetCounts(len(faces), published.get(name), len(pictures))
    return SplitCounts(
        faces=len(dataset.image_ids),
        published=dataset.expected_len,
        pictures=len(set(dataset.image_ids)),
        subsets=subsets,
        left_out=dict(dataset.skipped),
    )


def wrong_counts(dataset: LandmarkDataset, split: str) -> Iterator[Finding]:
    """Numbers of faces other than the published ones, and which parts of the layout are missing."""
    counts = count_split(dataset)
    # What the base class counts, and lone pictures, are told one by one.
    told = LandmarkDataset.gaps(dataset)
    gaps = [gap for gap in dataset.gaps() if gap not in told and not gap.startswith(WITHOUT_POINTS)]
    if gaps or counts.published not in (None, counts.faces):
        of = "" if counts.published is None else f" of {counts.published} published"
        reasons = f" ({'; '.join(gaps)})" if gaps else ""
        yield Finding("count", split, None, None, f"{counts.faces}{of} faces{reasons}")
    for name, (faces, published, _) in counts.subsets.items():
        if published not in (None, faces):
            yield Finding("count", split, None, None, f"subset '{name}' has {faces} of {published} published faces")


def wrong_annotations(dataset: LandmarkDataset, split: str) -> Iterator[Finding]:
    """Missing points, boxes without extent, faces without a normaliser, and rows that come twice."""
    for face, image_id in dataset.left_out:
        yield Finding("no_extent", split, image_id, face, f"{NO_EXTENT}: it has no box and is left out")
    # The form of COCO says which landmarks are annotated and which faces have a box; elsewhere all are meant to.
    partial = isinstance(dataset, COCOKeypoints)
    missing = dataset.visibility == 0
    for index in [] if partial else missing.any(dim=1).nonzero().flatten().tolist():
        which = missing[index].nonzero().flatten().tolist()
        message = f"{len(which)} of {missing.shape[1]} points missing ({listed(which)})"
        yield Finding("missing_points", split, *place_of(dataset, index), message)
    boxes = {"landmarks": dataset.bbox}
    if dataset.rect is not None:
        boxes["annotation"] = dataset.rect
    for source, box in boxes.items():
        empty = ~(box[:, 2:] > box[:, :2]).all(dim=1)
        if partial:
            empty &= ~box.isnan().any(dim=1)
        for index in empty.nonzero().flatten().tolist():
            corners = ", ".join(f"{corner:g}" for corner in box[index].tolist())
            message = f"box of the {source} without extent, [{corners}]"
            yield Finding("no_extent", split, *place_of(dataset, index), message)
    for index in dataset.normalizer.isnan().nonzero().flatten().tolist():
        message = f"no normaliser '{dataset.normalizer_name}': its points are missing or in one place"
        yield Finding("no_normalizer", split, *place_of(dataset, index), message)
    first: dict[tuple[str, bytes], int] = {}
    for index, image_id in enumerate(dataset.image_ids):
        before = first.setdefault((image_id, dataset.pos[index].numpy().tobytes()), index)
        if before != index:
            message = f"same picture and same points as face {int(dataset.kept[before])}"
            yield Finding("duplicate_annotation", split, *place_of(dataset, index), message)


def folders_of(build: type[LandmarkDataset], root: Path, split: str) -> list[Path]:
    """The folders that a split is made of, those that are there; none where a list makes it."""
    parts = [part.strip() for part in split.split(",")]
    parts = [part for part in parts if part and not Path(part).is_absolute()]
    if issubclass(build, IBUG300W):
        named = [folder for part in parts for folder in SPLITS.get(part, (part,))]
        folders = [root / place_under(root, folder) for folder in named]
    elif issubclass(build, PtsFolder):
        tops = [root if part == "all" else root / part for part in parts]
        folders = [Path(folder) for top in tops for folder, _, _ in os.walk(top)]
    else:
        folders = []
    return [folder for folder in dict.fromkeys(folders) if folder.is_dir()]


def lone_files(root: Path, folders: Sequence[Path], split: str) -> Iterator[Finding]:
    """Pictures without a ``.pts`` beside them, and the other way round."""
    for folder in folders:
        files = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
        points = {path.with_suffix("") for path in files if path.suffix.lower() == ".pts"}
        pictures = {path.with_suffix("") for path in files if is_image(path)}
        for path in files:
            stem, name = path.with_suffix(""), path.relative_to(root).as_posix()
            if is_image(path) and stem not in points:
                yield Finding("alone", split, name, None, f"no '{path.stem}.pts' beside the picture")
            if path.suffix.lower() == ".pts" and stem not in pictures:
                yield Finding("alone", split, name, None, f"no picture '{path.stem}' beside the points")


def damaged_points(
    root: Path, folders: Sequence[Path], split: str, num_landmarks: int | None, allow_missing: bool
) -> Iterator[Finding]:
    """``.pts`` files that cannot be read; the reader of the dataset stops at the first."""
    for folder in folders:
        for path in sorted(each for each in folder.iterdir() if each.suffix.lower() == ".pts"):
            try:
                read_pts(path, num_landmarks, allow_missing=allow_missing)
            except InputFileError as error:
                name = path.relative_to(root).as_posix()
                yield Finding("unreadable_annotation", split, name, None, str(error))


def place_of(dataset: LandmarkDataset, index: int) -> tuple[str, int]:
    """Picture of a face, and the face's place in the annotation."""
    return dataset.image_ids[index], int(dataset.kept[index])


def listed(landmarks: Sequence[int]) -> str:
    """The first few of them."""
    shown = ", ".join(map(str, landmarks[:5]))
    return f"landmark{'s' if len(landmarks) > 1 else ''} {shown}{', ...' if len(landmarks) > 5 else ''}"

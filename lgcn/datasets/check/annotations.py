"""Checks of annotations alone: counts, missing points, boxes, and faces that are annotated twice."""

from collections.abc import Iterator, Sequence

from lgcn.datasets.base import NO_EXTENT, LandmarkDataset
from lgcn.datasets.check.report import Finding, SplitCounts, SubsetCounts
from lgcn.datasets.coco import COCOKeypoints
from lgcn.datasets.pts_folder import NO_IMAGE, NO_POINTS

TOLD_BY_FILE = (NO_POINTS, NO_IMAGE)
"""Starts of the gaps that :mod:`lgcn.datasets.check.files` reports file by file."""


def count_split(dataset: LandmarkDataset) -> SplitCounts:
    """Count the faces and images of a split and of its subsets."""
    published = dataset.published_subset_sizes
    subsets = {}
    for name, mask in dataset.subsets.items():
        faces = mask.nonzero().flatten().tolist()
        images = {dataset.image_ids[index] for index in faces}
        subsets[name] = SubsetCounts(len(faces), published.get(name), len(images))
    return SplitCounts(
        faces=len(dataset.image_ids),
        published=dataset.expected_len,
        images=len(set(dataset.image_ids)),
        subsets=subsets,
        left_out=dict(dataset.skipped),
    )


def check_counts(dataset: LandmarkDataset, split: str) -> Iterator[Finding]:
    """Yield numbers of faces that differ from the published ones, and missing parts of the layout."""
    counts = count_split(dataset)
    # The gaps of the base class are reported face by face.
    told = LandmarkDataset.gaps(dataset)
    gaps = [gap for gap in dataset.gaps() if gap not in told and not gap.startswith(TOLD_BY_FILE)]
    if gaps or counts.published not in (None, counts.faces):
        of = "" if counts.published is None else f" of {counts.published} published"
        reasons = f" ({'; '.join(gaps)})" if gaps else ""
        yield Finding("count", split, None, None, f"{counts.faces}{of} faces{reasons}")
    for name, (faces, published, _) in counts.subsets.items():
        if published not in (None, faces):
            yield Finding("count", split, None, None, f"subset '{name}' has {faces} of {published} published faces")


def check_faces(dataset: LandmarkDataset, split: str) -> Iterator[Finding]:
    """Yield missing points, boxes without extent, faces without a normaliser, and faces annotated twice."""
    for face, image_id in dataset.left_out:
        yield Finding("no_extent", split, image_id, face, f"{NO_EXTENT}: it has no box and is left out")
    # COCO marks unlabelled landmarks and lets annotations have no box; the other datasets annotate every landmark.
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
            message = f"box of the {source} without extent, [{corners(box[index].tolist())}]"
            yield Finding("no_extent", split, *place_of(dataset, index), message)
    for index in dataset.normalizer.isnan().nonzero().flatten().tolist():
        message = f"no normaliser '{dataset.normalizer_name}': its points are missing or in one place"
        yield Finding("no_normalizer", split, *place_of(dataset, index), message)
    first: dict[tuple[str, bytes], int] = {}
    for index, image_id in enumerate(dataset.image_ids):
        before = first.setdefault((image_id, dataset.pos[index].numpy().tobytes()), index)
        if before != index:
            message = f"same image and same points as face {int(dataset.kept[before])}"
            yield Finding("duplicate_annotation", split, *place_of(dataset, index), message)


def place_of(dataset: LandmarkDataset, index: int) -> tuple[str, int]:
    """The image of a face, and the index of the face in the annotation."""
    return dataset.image_ids[index], int(dataset.kept[index])


def listed(landmarks: Sequence[int]) -> str:
    """The first few landmarks, in words."""
    shown = ", ".join(map(str, landmarks[:5]))
    return f"landmark{'s' if len(landmarks) > 1 else ''} {shown}{', ...' if len(landmarks) > 5 else ''}"


def corners(box: Sequence[float]) -> str:
    """The corners of a box, in words."""
    return ", ".join(f"{corner:g}" for corner in box)

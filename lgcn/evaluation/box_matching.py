"""Boxes of a face detector, matched to the annotated faces of a dataset."""

from collections.abc import Callable

import torch
from torch import Tensor
from torchvision.ops import box_iou
from tqdm import tqdm

from lgcn.checks import InputFileError, check_choice
from lgcn.datasets import LandmarkDataset

FindFaces = Callable[[Tensor], Tensor]
"""From an image, uint8 [3, H, W], to boxes [F, 4] in its pixels."""

LEAST_OVERLAP = 0.3
"""Smallest intersection over union of a detected and an annotated box of the same face."""

ON_CORRUPT = ("stop", "skip")
"""What to do if an image cannot be read."""


def match_found_boxes(
    dataset: LandmarkDataset, find_faces: FindFaces, progress: bool = True, on_corrupt: str = "stop"
) -> tuple[Tensor, Tensor]:
    """Run a face detector on each image of a dataset once, and match its boxes to the annotated faces.

    A face gets the detected box that overlaps its own most, or keeps its own if no overlap reaches 0.3.

    Args:
        dataset: the faces; their ``bbox`` are the annotated boxes.
        find_faces: the face detector.
        progress: show a progress bar on stderr if it is a terminal.
        on_corrupt: "stop" raises if an image cannot be read; "skip" keeps the annotated boxes of its faces.

    Returns:
        Boxes [N, 4], and which faces were missed [N]. N counts all faces, as ``dataset.bbox`` does; of a selection only
        the selected faces are searched.

    Raises:
        InputFileError: if an image cannot be read; names it.
    """
    check_choice("on_corrupt", on_corrupt, ON_CORRUPT)
    boxes, missed = dataset.bbox.clone(), torch.zeros(len(dataset.bbox), dtype=torch.bool)
    faces_of: dict[str, list[int]] = {}
    for index in dataset.indices():
        faces_of.setdefault(dataset.image_ids[index], []).append(index)
    for faces in tqdm(faces_of.values(), desc="find faces", unit="image", disable=None if progress else True):
        try:
            image = dataset.read_image(faces[0])
        except InputFileError:
            if on_corrupt == "stop":
                raise
            continue
        missed[faces] = True
        detected = find_faces(image).to(boxes).reshape(-1, 4)
        if len(detected):
            overlap, best = box_iou(dataset.bbox[faces], detected).max(dim=1)
            own = torch.tensor(faces)[overlap >= LEAST_OVERLAP]
            boxes[own] = detected[best[overlap >= LEAST_OVERLAP]]
            missed[own] = False
    return boxes, missed

"""Boxes of a face detector, matched to the annotated faces of a dataset."""

from collections.abc import Callable

import torch
from torch import Tensor
from torchvision.ops import box_iou
from tqdm import tqdm

from lgcn.checks import InputFileError, check_choice
from lgcn.datasets import LandmarkDataset

FindFaces = Callable[[Tensor], Tensor]
"""From a picture, uint8 [3, H, W], to boxes [F, 4] in its pixels."""

LEAST_OVERLAP = 0.3
"""Intersection over union of a detected and an annotated box that are of the same face."""


ON_CORRUPT = ("stop", "skip")
"""What may be done about a picture that cannot be read."""


def match_found_boxes(
    dataset: LandmarkDataset, find_faces: FindFaces, progress: bool = True, on_corrupt: str = "stop"
) -> tuple[Tensor, Tensor]:
    """Searches each picture of a dataset once, and gives each face the detected box that overlaps its own best.

    Args:
        dataset: its ``bbox`` are the annotated boxes.
        find_faces: the face detector.
        progress: shows a bar on stderr, if that is a terminal.
        on_corrupt: "stop" raises where a picture cannot be read; "skip" leaves its faces their annotated box.

    Returns:
        Boxes [N, 4] and whether a face was looked for in vain [N]: none overlaps its annotated box, which it keeps, by
        0.3 or more. N counts all faces, as ``dataset.bbox`` does, of which only those of a selection are looked for.

    Raises:
        InputFileError: if a picture cannot be read, which it names.
    """
    check_choice("on_corrupt", on_corrupt, ON_CORRUPT)
    boxes, missed = dataset.bbox.clone(), torch.zeros(len(dataset.bbox), dtype=torch.bool)
    faces_of: dict[str, list[int]] = {}
    for index in dataset.indices():
        faces_of.setdefault(dataset.image_ids[index], []).append(index)
    for faces in tqdm(faces_of.values(), desc="find faces", unit="picture", disable=None if progress else True):
        try:
            picture = dataset.read_image(faces[0])
        except InputFileError:
            if on_corrupt == "stop":
                raise
            continue
        missed[faces] = True
        detected = find_faces(picture).to(boxes).reshape(-1, 4)
        if len(detected):
            overlap, best = box_iou(dataset.bbox[faces], detected).max(dim=1)
            own = torch.tensor(faces)[overlap >= LEAST_OVERLAP]
            boxes[own] = detected[best[overlap >= LEAST_OVERLAP]]
            missed[own] = False
    return boxes, missed

"""Keypoint annotations in COCO's JSON format: persons, or any other objects."""

import math
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch_geometric.data import Data

from lgcn.checks import InputFileError
from lgcn.datasets.base import LandmarkDataset
from lgcn.datasets.coco_json import Annotation, is_crowd, parse_coco
from lgcn.datasets.coco_schemes import check_keypoint_names, keypoint_names, num_keypoints, scheme_with_names
from lgcn.datasets.parsing import (
    image_path,
    is_file,
    likewise,
    path_below,
    scheme_of,
    to_boxes,
    to_numbers,
    to_points,
)
from lgcn.protocols import EvaluationProtocol
from lgcn.schemes import LandmarkScheme, get_scheme


class COCOKeypoints(LandmarkDataset):
    """Keypoints in the JSON format of `COCO <https://cocodataset.org/#format-data>`_, one item for each object.

    ``images`` have ``id`` and ``file_name``; ``annotations`` have ``image_id`` and ``keypoints`` (x, y, v
    for each landmark, flat or nested), and may have ``bbox`` (x, y, width, height) and ``iscrowd``. A
    landmark with v = 0 is missing; one with v = 1 is annotated but occluded, and 1 in ``occlusion``.
    Without v (x, y for each landmark) every landmark is annotated unless it is null. Crowds and
    annotations without keypoints are left out and counted in ``skipped``. Points are 0-based.

    If ``categories`` name the keypoints, the names must be those of the scheme, in the same order.
    Give ``scheme`` to use one whose names are spelt differently.

    ``rect`` is ``bbox``. ``bbox`` of an item is the tight box of its landmarks unless the protocol
    crops by the dataset's own boxes.

    Args:
        root: folder that holds ``annotations/person_keypoints_val2017.json`` and ``val2017``, or any other
            JSON file of this format and its images.
        split: ``"train"`` or ``"val"`` of 2017; or a file ending in .json, relative to ``root``. Its
            images are next to the file, in ``images``, in a folder called as the file, or in ``root``.
        transform: from ``Data`` to ``Data``, applied on access.
        protocol: evaluation protocol or its name.
        normalizer: one of the scheme's. Default: the protocol's, else the scheme's.
        scheme: landmark scheme or its name. Default: the registered one with the file's number and names of landmarks.

    Raises:
        InputFileError: if the file is missing, is no JSON of this format, holds no keypoints or keypoints of another
            scheme, or gives one image id to two images.
    """

    splits = {"train": None, "val": None}
    layout = (
        "COCO 2017 unpacks to annotations/person_keypoints_{train,val}2017.json (annotations_trainval2017.zip) and "
        "train2017/, val2017/ (train2017.zip, val2017.zip); get them from https://cocodataset.org/#download. "
        "Another file is the split itself, for instance split='fish.json' or --split fish.json."
    )
    missing_remedy = "give them v = 0"

    def __init__(
        self,
        root: str | Path,
        split: str = "val",
        transform: Callable[[Data], Data] | None = None,
        protocol: str | EvaluationProtocol = "zero_based",
        normalizer: str | None = None,
        *,
        scheme: str | LandmarkScheme | None = None,
    ) -> None:
        root = Path(root).expanduser()
        file = split if split.endswith(".json") else f"annotations/person_keypoints_{split}2017.json"
        path = path_below(root, file, "a JSON file")
        content = parse_coco(path, self.layout)
        annotations, skipped = _usable(content.annotations, path)
        if not annotations:
            raise InputFileError(
                f"Expected annotations with keypoints in '{path}' (got none; left out: {dict(skipped)}). {self.layout}"
            )

        def where(index: int) -> str:
            return f"annotation {annotations[index].index} of '{path}'"

        names = keypoint_names(content.categories, annotations, path)
        given = None if scheme is None else get_scheme(scheme)
        count = num_keypoints([len(each.keypoints) for each in annotations], names, given, where)
        numbers = f"the {len(annotations[0].keypoints)} numbers 'keypoints' of {where(0)}"
        chosen = scheme_of(given or scheme_with_names(names), count, numbers)
        check_keypoint_names(names, chosen, path, given=given is not None)
        strays = [index for index, each in enumerate(annotations) if each.image_id not in content.images]
        if strays:
            raise InputFileError(
                f"Expected 'image_id' of {where(strays[0])} to be the 'id' of one of the images "
                f"(got {ascii(annotations[strays[0]].image_id)[:40]}). Correct or remove the annotation."
                f"{likewise(strays, where)}"
            )
        pos, visibility, occlusion = _keypoints(annotations, count, where)
        image_names = [content.images[each.image_id] for each in annotations if each.image_id is not None]
        folder = _image_folder(root, path, image_names)
        super().__init__(
            root,
            [
                image_path(name, f"the image of {where(index)}", root=root, folder=folder)
                for index, name in enumerate(image_names)
            ],
            pos,
            chosen,
            visibility=visibility,
            transform=transform,
            protocol=protocol,
            normalizer=normalizer,
            split=split,
            rect=_boxes([each.bbox for each in annotations], where),
            occlusion=occlusion,
        )
        self.skipped = {**skipped, **self.skipped}


def _usable(annotations: list[Annotation], path: Path) -> tuple[list[Annotation], Counter[str]]:
    """Annotations with keypoints, and reason -> number of the others."""
    usable, skipped = [], Counter[str]()
    for each in annotations:
        if is_crowd(each.iscrowd, f"annotation {each.index} of '{path}'"):
            skipped["crowds"] += 1
        elif not each.keypoints or not any(each.keypoints):
            skipped["without keypoints"] += 1
        else:
            usable.append(each)
    return usable, skipped


def _keypoints(
    annotations: list[Annotation], count: int, where: Callable[[int], str]
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Positions [N, K, 2], visibility [N, K], and occlusion [N, K] if there are values v."""
    values = to_numbers([each.keypoints for each in annotations], where)
    values = values.reshape(len(annotations), count, -1)
    if values.shape[-1] == 2:
        return *to_points(values, where), None
    # A null v carries no information: the landmark is annotated if it has coordinates.
    flags = np.where(np.isnan(values[..., 2]), 2.0, values[..., 2])
    unclear = ~np.isin(flags, (0, 1, 2)).all(axis=1)
    if unclear.any():
        rows = np.flatnonzero(unclear).tolist()
        got = ", ".join(f"{value:g}" for value in np.unique(flags[rows[0]])[:6].tolist())
        raise InputFileError(
            f"Expected every v of 'keypoints' of {where(rows[0])} to be 0, 1 or 2 (got {got}). "
            f"Scores of a detector are no annotation.{likewise(rows, where)}"
        )
    if not flags.any() and np.nan_to_num(values).any():
        raise InputFileError(
            f"Expected keypoints with v = 1 or 2 in {where(0)} and others (got v = 0, missing, for all that are in the "
            "file). Write v = 2 for keypoints that are annotated."
        )
    pos, visibility = to_points(np.where(flags[..., None] == 0, np.nan, values[..., :2]), where)
    return pos, visibility, torch.from_numpy((flags == 1).astype(np.float32))


def _boxes(boxes: list[object], where: Callable[[int], str]) -> Tensor | None:
    """``bbox`` of each annotation as (x0, y0, x1, y1), NaN where there is none; None if no annotation has one."""
    if all(box is None for box in boxes):
        return None
    rows = []
    for index, box in enumerate(boxes):
        if box is not None and not (isinstance(box, list) and len(box) in (0, 4)):
            raise InputFileError(
                f"Expected 'bbox' of {where(index)} as [x, y, width, height] (got {ascii(box)[:60]}). Correct it."
            )
        rows.append(box or 4 * [math.nan])
    numbers = to_numbers(rows, where)
    return to_boxes(numbers[:, :2], numbers[:, 2:], where)


def _image_folder(root: Path, path: Path, names: list[str]) -> str:
    """The folder below the root that image names are relative to: the one that holds the most of the first images."""
    stem = path.stem.removeprefix("person_keypoints_")
    here = path.parent.relative_to(root)
    folders = [Path(stem), Path("images", stem), Path("images"), here, here / "images", here / stem, Path()]
    there = [folder.as_posix() for folder in dict.fromkeys(folders) if (root / folder).is_dir()]
    sample = list(dict.fromkeys(names))[:20]

    def num_found(folder: str) -> int:
        try:
            paths = [image_path(name, str(path), root=root, folder=folder) for name in sample]
        except InputFileError:  # relative to this folder, a name leads out of the root
            return -1
        return sum(is_file(root / each) for each in paths)

    return max(there, key=num_found, default="")

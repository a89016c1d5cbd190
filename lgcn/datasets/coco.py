"""Keypoint annotations in COCO's JSON: people, and whatever else is written in the same form."""

import json
import math
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch_geometric.data import Data

from lgcn.checks import InputFileError
from lgcn.datasets.base import LandmarkDataset
from lgcn.datasets.reading import (
    check_image_name,
    is_file,
    likewise,
    read_text,
    scheme_of,
    to_boxes,
    to_numbers,
    to_points,
)
from lgcn.protocols import EvaluationProtocol
from lgcn.schemes import LandmarkScheme


class COCOKeypoints(LandmarkDataset):
    """Keypoints in the JSON of `COCO <https://cocodataset.org/#format-data>`_, one item for each annotated object.

    ``images`` have ``id`` and ``file_name``; ``annotations`` have ``image_id`` and ``keypoints`` (x, y, v
    for each landmark), and may have ``bbox`` (x, y, width, height) and ``iscrowd``. A landmark with
    v = 0 is missing; one with v = 1 is annotated though covered, and 1 in ``occlusion``. Crowds and
    annotations without keypoints are left out and counted in ``skipped``. Points are 0-based.

    ``rect`` is ``bbox``. ``bbox`` of an item stays the tight box of its landmarks unless the protocol
    crops by the dataset's own boxes.

    Args:
        root: folder that holds ``annotations/person_keypoints_val2017.json`` and ``val2017``, or any other
            JSON file of this form and its pictures.
        split: ``"train"`` or ``"val"`` of 2017; or a file ending in .json, relative to ``root``, whose
            pictures lie in ``root``, in ``images`` or in a folder called as the file.
        transform: from ``Data`` to ``Data``, applied on access.
        protocol: name of an evaluation protocol, or one.
        normalizer: one of the scheme's; the protocol's, else the scheme's own, if None.
        scheme: of the landmarks; if None the only known one with as many landmarks (17: COCO's own).

    Raises:
        InputFileError: if the file is missing, is no JSON of this form, or holds no keypoints.
    """

    splits = {"train": None, "val": None}
    layout = (
        "COCO 2017 unpacks to annotations/person_keypoints_{train,val}2017.json (annotations_trainval2017.zip) and "
        "train2017/, val2017/ (train2017.zip, val2017.zip); get them from https://cocodataset.org/#download."
    )

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
        path = root / (split if split.endswith(".json") else f"annotations/person_keypoints_{split}2017.json")
        content = _parse(path, self.layout)
        names = _image_names(content["images"], path)
        annotations, skipped = _with_keypoints(content["annotations"], path)
        if not annotations:
            raise InputFileError(
                f"Expected annotations with keypoints in '{path}' (got none; left out: {dict(skipped)}). {self.layout}"
            )

        def where(index: int) -> str:
            return f"annotation {annotations[index][0]} of '{path}'"

        count = len(annotations[0][1]["keypoints"])
        scheme = scheme_of(
            scheme, count // 3 if count % 3 == 0 else 0, f"the {count} numbers 'keypoints' of {where(0)}"
        )
        counts = [len(annotation["keypoints"]) for _, annotation in annotations]
        uneven = [index for index, count in enumerate(counts) if count != 3 * scheme.num_landmarks]
        if uneven:
            raise InputFileError(
                f"Expected {3 * scheme.num_landmarks} numbers x, y, v as 'keypoints' of {where(uneven[0])} "
                f"(got {counts[uneven[0]]}). Keep annotations of other schemes in files of their own."
                f"{likewise(uneven, where)}"
            )
        keys = [annotation.get("image_id") for _, annotation in annotations]
        strays = [index for index, key in enumerate(keys) if not isinstance(key, int | str) or key not in names]
        if strays:
            raise InputFileError(
                f"Expected 'image_id' of {where(strays[0])} to be the 'id' of one of the images "
                f"(got {ascii(keys[strays[0]])[:40]}). Correct or remove the annotation.{likewise(strays, where)}"
            )
        values = to_numbers([annotation["keypoints"] for _, annotation in annotations], where)
        values = values.reshape(len(annotations), -1, 3)
        flags = values[..., 2]
        unclear = ~np.isin(flags, (0, 1, 2)).all(axis=1)
        if unclear.any():
            rows = np.flatnonzero(unclear).tolist()
            raise InputFileError(
                f"Expected every v of 'keypoints' of {where(rows[0])} to be 0, 1 or 2 "
                f"(got {sorted(set(flags[rows[0]]))[:6]}). Scores of a detector are no annotation."
                f"{likewise(rows, where)}"
            )
        pos, visibility = to_points(np.where(flags[..., None] == 0, np.nan, values[..., :2]), where)
        image_ids = [names[annotation["image_id"]] for _, annotation in annotations]
        folder = _image_folder(root, path, image_ids[0])
        super().__init__(
            root,
            [f"{folder}{name}" for name in image_ids],
            pos,
            scheme,
            visibility=visibility,
            transform=transform,
            protocol=protocol,
            normalizer=normalizer,
            split=split,
            rect=_boxes([annotation.get("bbox") for _, annotation in annotations], where),
            occlusion=torch.from_numpy((flags == 1).astype(np.float32)),
        )
        self.skipped = {**skipped, **self.skipped}


def _parse(path: Path, layout: str) -> dict[str, list[Any]]:
    """The two lists of the file."""
    try:
        content = json.loads(read_text(path, "a JSON file of COCO's form", layout))
    except (ValueError, RecursionError) as error:
        if isinstance(error, InputFileError):
            raise
        reason = " ".join(str(error).split())[:80]
        raise InputFileError(f"Expected JSON in '{path}' ({reason}). Restore the file from its archive.") from None
    if not isinstance(content, dict) or not all(
        isinstance(content.get(key), list) and all(isinstance(each, dict) for each in content[key])
        for key in ("images", "annotations")
    ):
        raise InputFileError(
            f"Expected an object with the lists of objects 'images' and 'annotations' in '{path}' (got "
            f"{', '.join(map(ascii, content))[:60] if isinstance(content, dict) else type(content).__name__}). {layout}"
        )
    return content


def _image_names(images: list[dict[str, Any]], path: Path) -> dict[int | str, str]:
    """``id`` -> ``file_name``."""
    names: dict[int | str, str] = {}
    for index, image in enumerate(images):
        key, name = image.get("id"), image.get("file_name")
        if not isinstance(key, int | str) or not isinstance(name, str):
            raise InputFileError(
                f"Expected 'id' and 'file_name' in image {index} of '{path}' "
                f"(got {ascii(key)[:40]} and {ascii(name)[:40]}). Restore the file from its archive."
            )
        names[key] = check_image_name(name, f"image {index} of '{path}'")
    return names


def _with_keypoints(
    annotations: list[dict[str, Any]], path: Path
) -> tuple[list[tuple[int, dict[str, Any]]], Counter[str]]:
    """Annotations that can be used, each with its place in the list, and why the others can't -> how many."""
    used, skipped = [], Counter[str]()
    for index, annotation in enumerate(annotations):
        keypoints = annotation.get("keypoints")
        if keypoints is not None and not isinstance(keypoints, list):
            raise InputFileError(
                f"Expected a list 'keypoints' in annotation {index} of '{path}' (got {type(keypoints).__name__})."
                " Restore the file from its archive."
            )
        if annotation.get("iscrowd"):
            skipped["crowds"] += 1
        elif not keypoints or not any(keypoints[2::3]):
            skipped["without keypoints"] += 1
        else:
            used.append((index, annotation))
    return used, skipped


def _boxes(boxes: list[object], where: Callable[[int], str]) -> torch.Tensor | None:
    """``bbox`` of each annotation as (x0, y0, x1, y1), NaN where it has none; None if none has."""
    if all(box is None for box in boxes):
        return None
    rows = []
    for index, box in enumerate(boxes):
        if box is not None and not (isinstance(box, list) and len(box) == 4):
            raise InputFileError(
                f"Expected 'bbox' of {where(index)} as [x, y, width, height] (got {ascii(box)[:60]}). Correct it."
            )
        rows.append(4 * [math.nan] if box is None else box)
    numbers = to_numbers(rows, where)
    return to_boxes(numbers[:, :2], numbers[:, 2:], where)


def _image_folder(root: Path, path: Path, first: str) -> str:
    """The folder of the pictures as a prefix of their names: the first that holds the first picture, or is there."""
    stem = path.stem.removeprefix("person_keypoints_")
    folders = [f"{stem}/", f"images/{stem}/", "images/", ""]
    there = [folder for folder in folders if (root / folder).is_dir()]
    return next((folder for folder in there if is_file(root / folder / first)), (there or folders)[0])

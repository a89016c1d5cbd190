"""Writers of small datasets, one for each format of annotations."""

import json
from collections.abc import Callable
from pathlib import Path

from torch import Tensor

from lgcn.datasets import write_pts
from lgcn.datasets.wflw import IMAGE_FOLDER
from tests.datasets.synthetic import wflw_row, write_image, write_list

Write = Callable[[Path, list[Tensor]], tuple[str, str]]
"""From a folder and faces [K, 2] to the name of the dataset and of the split that was written."""


def write_pts_faces(root: Path, faces: list[Tensor]) -> tuple[str, str]:
    for number, pos in enumerate(faces):
        write_image(root / f"{number}.png", number)
        write_pts(root / f"{number}.pts", pos)
    return "pts", "all"


def write_300w(root: Path, faces: list[Tensor]) -> tuple[str, str]:
    write_pts_faces(root / "afw", faces)
    return "ibug300w", "afw"


def write_wflw(root: Path, faces: list[Tensor]) -> tuple[str, str]:
    for number in range(len(faces)):
        write_image(root / IMAGE_FOLDER / f"{number}.png", number)
    rect = [0, 0, 1, 1] if faces[0].max() <= 1 else [1, 1, 40, 40]
    write_list(root, "train", [wflw_row(f"{number}.png", pos, rect) for number, pos in enumerate(faces)])
    return "wflw", "train"


def write_csv(root: Path, faces: list[Tensor]) -> tuple[str, str]:
    header = ["image_name", "scale", "center_w", "center_h", *(f"original_{k}_{a}" for k in range(68) for a in "xy")]
    rows = [",".join(header)]
    for number, pos in enumerate(faces):
        write_image(root / f"{number}.png", number)
        rows.append(",".join([f"{number}.png", "0.2", "30", "30", *map(str, pos.flatten().tolist())]))
    (root / "x_train.csv").write_text("\n".join(rows))
    return "hrnet_csv", "train"


def write_coco(root: Path, faces: list[Tensor]) -> tuple[str, str]:
    for number in range(len(faces)):
        write_image(root / f"{number}.png", number)
    content = {
        "images": [{"id": number, "file_name": f"{number}.png"} for number in range(len(faces))],
        "annotations": [
            {"image_id": number, "keypoints": [[x, y, 2] for x, y in pos.tolist()]} for number, pos in enumerate(faces)
        ],
    }
    (root / "own.json").write_text(json.dumps(content))
    return "coco_keypoints", "own.json"


def write_lapa(root: Path, faces: list[Tensor]) -> tuple[str, str]:
    for number, pos in enumerate(faces):
        write_image(root / "train/images" / f"{number}.png", number)
        path = root / "train/landmarks" / f"{number}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("106\n" + "\n".join(f"{x} {y}" for x, y in pos.tolist()))
    return "lapa", "train"


FORMATS = [
    (write_pts_faces, 68),
    (write_300w, 68),
    (write_wflw, 98),
    (write_csv, 68),
    (write_coco, 68),
    (write_lapa, 106),
]

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor

from lgcn.datasets import write_pts
from lgcn.datasets.check import check_dataset
from lgcn.datasets.wflw import IMAGE_FOLDER
from tests.datasets.synthetic import points, wflw_row, write_image, write_list


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
Write = Callable[[Path, list[Tensor]], tuple[str, str]]


def found(root: Path, name: str, split: str, *kinds: str) -> list[str]:
    report, _ = check_dataset(name, root, [split])
    return [str(each) for each in report.findings if each.kind in kinds]


@pytest.mark.parametrize(("write", "K"), FORMATS)
def test_fractions_of_the_image(tmp_path: Path, write: Write, K: int) -> None:
    pixels, fractions = points(K, 1), torch.rand(K, 2)
    name, split = write(tmp_path, [fractions, pixels])
    lines = found(tmp_path, name, split, "not_pixels", "placeholder")
    assert "0.png, face 0: points look like fractions of the image" in lines[0]
    assert "multiply x by the width and y by the height" in lines[0]
    assert all("0.png" in line or "box" in line for line in lines)


@pytest.mark.parametrize("place", [(0.0, 0.0), (-1.0, -1.0)])
@pytest.mark.parametrize(("write", "K"), FORMATS)
def test_several_points_at_a_placeholder(tmp_path: Path, write: Write, K: int, place: tuple[float, float]) -> None:
    pos = points(K, 1)
    pos[[3, 5, 9]] = torch.tensor(place)
    name, split = write(tmp_path, [points(K, 0), pos])
    (line,) = found(tmp_path, name, split, "not_pixels", "placeholder")
    x, y = place
    assert (
        f"1.png, face 1: 3 of {K} points at exactly ({x:g}, {y:g}) (landmarks 3, 5, 9). If they are missing, " in line
    )


def test_one_point_far_from_the_others(tmp_path: Path) -> None:
    pos = points(68, 1)
    pos[7] = 0.0
    near = pos.clone()
    near[7] = torch.tensor([9.0, 9.0])
    far = points(68, 2)
    far[[1, 2, 3]] = torch.tensor([9999.0, 9999.0])
    write_pts_faces(tmp_path, [pos + 20 * (pos > 0), near, far])
    lines = found(tmp_path, "pts", "all", "placeholder")
    assert [line.partition(":")[2].split(",")[0] for line in lines] == [" 0.png", " 2.png"]


def test_points_that_coincide_on_the_face_are_no_placeholders(tmp_path: Path) -> None:
    pos = points(68, 1)
    pos[[1, 2, 3]] = pos[4].clone()
    write_pts_faces(tmp_path, [pos])
    assert not found(tmp_path, "pts", "all", "placeholder", "not_pixels")


def test_percentages(tmp_path: Path) -> None:
    for number in range(6):
        Image.new("RGB", (400, 300), (number, 0, 0)).save(tmp_path / f"{number}.png")
        write_pts(tmp_path / f"{number}.pts", points(68, number))
    (line,) = found(tmp_path, "pts", "all", "not_pixels")
    assert "points look like percentages of the image" in line and "no image is smaller than 300 pixels" in line

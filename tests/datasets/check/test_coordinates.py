from pathlib import Path

import pytest
import torch
from PIL import Image

from lgcn.datasets import write_pts
from lgcn.datasets.check import check_dataset
from tests.datasets.formats import FORMATS, Write, write_pts_faces
from tests.datasets.synthetic import points


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

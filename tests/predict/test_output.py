import csv
import io
import json
from pathlib import Path

import pytest
import torch

from lgcn.checks import InputFileError
from lgcn.datasets import read_pts
from lgcn.predict import Face, save_csv, save_json, save_pts, to_csv, to_json
from lgcn.predict.output import check_folder, unique_stems


@pytest.fixture
def face() -> Face:
    landmarks = torch.tensor([[0.1, 0.0], [10.12345, -3.5]])
    return Face(
        torch.tensor([1.0, 2.0, 3.25, 4.0]), landmarks, landmarks + 1, torch.tensor([0.123456, 1.0]), torch.eye(2)
    )


def test_json_has_the_layout_of_the_documentation(face: Face) -> None:
    records = json.loads(to_json([("ä.jpg", [face, face]), ("empty.jpg", [])]))
    values = {
        "box": [1.0, 2.0, 3.25, 4.0],
        "landmarks": [[0.1, 0.0], [10.123, -3.5]],
        "initial": [[1.1, 1.0], [11.123, -2.5]],
        "confidence": [0.1235, 1.0],
    }
    assert records == [{"image": "ä.jpg", "faces": [values, values]}, {"image": "empty.jpg", "faces": []}]
    assert json.loads(to_json([])) == []


def test_csv_has_a_row_for_each_face(face: Face) -> None:
    rows = list(csv.DictReader(io.StringIO(to_csv([("a, b.jpg", [face, face]), ("empty.jpg", [])], 2))))
    assert [(row["image"], row["face"]) for row in rows] == [("a, b.jpg", "0"), ("a, b.jpg", "1")]
    row = rows[1]
    assert [float(row[name]) for name in ("x0", "y0", "x1", "y1")] == [1.0, 2.0, 3.25, 4.0]
    assert [float(row[f"landmark_1_{axis}"]) for axis in "xy"] == [10.123, -3.5]
    assert [float(row[f"initial_0_{axis}"]) for axis in "xy"] == [1.1, 1.0]
    assert [float(row[f"confidence_{k}"]) for k in (0, 1)] == [0.1235, 1.0]
    assert len(row) == 6 + 5 * 2


def test_files_hold_the_same(face: Face, tmp_path: Path) -> None:
    results = [("a.jpg", [face])]
    save_json(str(tmp_path / "new" / "a.json"), results)
    save_csv(tmp_path / "a.csv", results, 2)
    assert (tmp_path / "new" / "a.json").read_text() == to_json(results)
    assert (tmp_path / "a.csv").read_text() == to_csv(results, 2)


def test_pts_files_are_one_based(face: Face, tmp_path: Path) -> None:
    save_pts(tmp_path / "a.pts", face.landmarks)
    assert torch.allclose(read_pts(tmp_path / "a.pts", 2), face.landmarks + 1)


def test_stems_are_unique_whatever_the_folder_suffix_or_case() -> None:
    names = ["x/photo.jpg", "y/photo.jpg", "x/Photo.png", "photo-2.jpg", "other.jpg"]
    assert unique_stems([Path(name) for name in names]) == ["photo", "photo-2", "Photo-3", "photo-2-2", "other"]


def test_a_folder_below_a_file_is_refused(tmp_path: Path) -> None:
    assert check_folder(tmp_path / "new" / "folder") == tmp_path / "new" / "folder"
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(InputFileError, match="is a file"):
            check_folder(folder)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]

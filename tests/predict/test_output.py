import csv
import io
import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from lgcn.datasets import read_pts
from lgcn.files import unescape_name
from lgcn.predict import Face, save_coco, save_csv, save_json, save_npz, save_pts, to_csv, to_json
from lgcn.predict.output import csv_rows, json_line, to_record


@pytest.fixture
def face() -> Face:
    landmarks = torch.tensor([[0.1, 0.0], [10.12345, -3.5]])
    return Face(
        torch.tensor([1.0, 2.0, 3.25, 4.0]),
        landmarks,
        landmarks + 1,
        torch.tensor([0.123456, 1.0]),
        torch.eye(2),
        torch.eye(2) * torch.tensor([1.0, 4.0])[:, None, None],
        torch.tensor([1.2533, 2.5066]),
        10.0,
        torch.tensor([True, False]),
        0.75,
    )


def test_json_has_the_layout_of_the_documentation(face: Face) -> None:
    records = json.loads(to_json([("ä.jpg", [face, face]), ("empty.jpg", [])]))
    values = {
        "box": [1.0, 2.0, 3.25, 4.0],
        "score": 0.75,
        "landmarks": [[0.1, 0.0], [10.123, -3.5]],
        "initial": [[1.1, 1.0], [11.123, -2.5]],
        "confidence": [0.1235, 1.0],
        "expected_error": [1.253, 2.507],
        "expected_error_percent": [12.533, 25.066],
        "covariance": [[1.0, 0.0, 1.0], [4.0, 0.0, 4.0]],
        "covered": [True, False],
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
    assert [float(row[f"covariance_1_{axes}"]) for axes in ("xx", "xy", "yy")] == [4.0, 0.0, 4.0]
    assert float(row["expected_error_1"]) == pytest.approx(2.507, abs=1e-3) and float(row["score"]) == 0.75
    assert [row[f"covered_{k}"] for k in (0, 1)] == ["1", "0"]
    assert len(row) == 7 + 11 * 2
    unknown = Face(face.box, face.landmarks, face.initial, face.confidence)
    (row,) = csv.DictReader(io.StringIO(to_csv([("a.jpg", [unknown])], 2)))
    assert len(row) == 7 + 11 * 2
    assert (
        row["covered_0"] == row["covariance_0_xx"] == row["expected_error_percent_1"] == ""
        and row["confidence_1"] == "1.0"
    )


def test_files_hold_the_same(face: Face, tmp_path: Path) -> None:
    results = [("a.jpg", [face])]
    save_json(str(tmp_path / "new" / "a.json"), results)
    save_csv(tmp_path / "a.csv", results, 2)
    assert (tmp_path / "new" / "a.json").read_text() == to_json(results)
    assert (tmp_path / "a.csv").read_text() == to_csv(results, 2)


def test_pts_files_are_one_based(face: Face, tmp_path: Path) -> None:
    save_pts(tmp_path / "a.pts", face.landmarks)
    assert torch.allclose(read_pts(tmp_path / "a.pts", 2), face.landmarks + 1)


def test_any_name_can_be_written_and_read_back(face: Face, tmp_path: Path) -> None:
    names = ["line\nbreak.jpg", os.fsdecode(b"not utf-8 \xff.jpg"), "ä.jpg", r"a\x0ab.jpg"]
    results = [(name, [face]) for name in names]
    save_json(tmp_path / "a.json", results)
    save_csv(tmp_path / "a.csv", results, 2)
    assert [record["image"] for record in json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))] == names
    text = (tmp_path / "a.csv").read_text(encoding="utf-8")
    assert [unescape_name(row["image"]) for row in csv.DictReader(io.StringIO(text))] == names
    for encoding in ("ascii", "cp1252"):
        for name in names:
            record = to_record(name, [face])
            assert json.loads(json_line(record, encoding).encode(encoding))["image"] == name
            # Read as UTF-8, whatever the stream was.
            row = csv_rows(record, encoding).encode(encoding).decode("utf-8").split(",")
            assert unescape_name(row[0]) == name


def test_numpy_arrays(face: Face, tmp_path: Path) -> None:
    unknown = Face(face.box, face.landmarks, face.initial, face.confidence)
    save_npz(tmp_path / "a.npz", [("\u00e4.jpg", [face, unknown]), ("empty.jpg", []), ("b.jpg", [face])], 2)
    arrays = np.load(tmp_path / "a.npz")
    assert arrays["images"].tolist() == ["\u00e4.jpg", "empty.jpg", "b.jpg"]
    assert arrays["image_index"].tolist() == [0, 0, 2]
    assert np.allclose(arrays["landmarks"], face.landmarks.numpy(), atol=1e-3)
    assert np.allclose(arrays["covariance"][[0, 2]], face.covariance.numpy(), atol=1e-3)  # type: ignore[union-attr]
    assert arrays["covered"][[0, 2]].tolist() == [[1, 0], [1, 0]] and np.isnan(arrays["covered"][1]).all()
    assert np.isnan(arrays["covariance"][1]).all() and np.isnan(arrays["expected_error"][1]).all()
    save_npz(tmp_path / "none.npz", [], 2)
    assert np.load(tmp_path / "none.npz")["landmarks"].shape == (0, 2, 2)


def test_coco_results(face: Face, tmp_path: Path) -> None:
    save_coco(tmp_path / "a.json", [("x/000000000139.jpg", [face]), ("empty.jpg", []), ("b.jpg", [face])])
    first, second = json.loads((tmp_path / "a.json").read_text())
    assert first == {
        "image_id": 139,
        "file_name": "x/000000000139.jpg",
        "category_id": 1,
        "keypoints": [0.1, 0.0, 0.1235, 10.123, -3.5, 1.0],
        "bbox": [1.0, 2.0, 2.25, 2.0],
        "score": 0.75,
    }
    assert second["image_id"] == "b"

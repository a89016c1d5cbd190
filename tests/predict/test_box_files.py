import json
from pathlib import Path

import pytest
import torch

from lgcn.checks import InputFileError
from lgcn.predict import Face, read_boxes, save_csv, save_json

FIRST, SECOND = [1.0, 2.0, 30.5, 40.0], [50.0, 60.0, 70.0, 80.0]


def write(path: Path, content: object) -> Path:
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def face(box: list[float]) -> Face:
    pos = torch.zeros(3, 2)
    return Face(torch.tensor(box), pos, pos, torch.ones(3))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("boxes.json", {"a.jpg": [FIRST, SECOND], "b.jpg": []}),
        (
            "boxes.JSON",
            [{"image": "a.jpg", "faces": [{"box": FIRST}, {"box": SECOND}]}, {"image": "b.jpg", "faces": []}],
        ),
        ("boxes.csv", "image,x0,y0,x1,y1\na.jpg,1,2,30.5,40\n\na.jpg,50,60,70,80\n"),
        ("boxes.csv", "\ufeffscore, X0, Y0, X1, Y1, Image\n0.9, 1, 2, 30.5, 40, a.jpg\n0.8, 50, 60, 70, 80, a.jpg\n"),
        ("boxes.txt", "a.jpg,1,2,30.5,40\r\na.jpg,50,60,70,80\r\n"),
    ],
)
def test_all_layouts_say_the_same(tmp_path: Path, name: str, content: object) -> None:
    table = read_boxes(write(tmp_path / name, content))
    assert table.find(tmp_path / "a.jpg").tolist() == [FIRST, SECOND]
    if "json" in name.lower():
        assert table.find(tmp_path / "b.jpg").shape == (0, 4)


@pytest.mark.parametrize("suffix", ["json", "csv"])
def test_what_predict_writes_is_read_back(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"landmarks.{suffix}"
    results = [("folder/one, two.jpg", [face(FIRST), face(SECOND)]), ("b.jpg", [face(SECOND)])]
    save_json(path, results) if suffix == "json" else save_csv(path, results, num_landmarks=3)
    table = read_boxes(path)
    assert table.find("folder/one, two.jpg").tolist() == [FIRST, SECOND]
    assert table.find("b.jpg").tolist() == [SECOND]


def test_a_name_is_a_path_from_here_or_from_the_file_or_an_ending(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "lists").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    absolute = str(tmp_path / "absolute.jpg")
    names = ["photo.jpg", "./local.jpg", "../there/x.jpg", absolute, "deep/y.jpg"]
    table = read_boxes(write(tmp_path / "lists" / "boxes.json", {name: [FIRST] for name in names}))
    assert len(table) == 5
    assert table.name_of("photo.jpg") == "photo.jpg"
    assert table.name_of(tmp_path / "here" / "local.jpg") == "./local.jpg"
    assert table.name_of(tmp_path / "there" / "x.jpg") == "../there/x.jpg"
    assert table.name_of("../absolute.jpg") == absolute
    assert table.name_of("/elsewhere/deep/y.jpg") == "deep/y.jpg"
    assert table.name_of("/elsewhere/y.jpg") is None
    assert table.name_of("/elsewhere/absolute.jpg") is None


def test_the_longest_ending_counts(tmp_path: Path) -> None:
    table = read_boxes(write(tmp_path / "boxes.json", {"x.jpg": [FIRST], "a/x.jpg": [SECOND]}))
    assert table.find("/photos/a/x.jpg").tolist() == [SECOND]
    assert table.find("/photos/b/x.jpg").tolist() == [FIRST]


def test_a_image_that_is_not_named_is_an_error(tmp_path: Path) -> None:
    table = read_boxes(write(tmp_path / "boxes.json", {"a.jpg": [FIRST]}))
    with pytest.raises(InputFileError, match=r"'c\.jpg' in '.*boxes\.json'.*1 pictures"):
        table.find("c.jpg")


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("b.json", '{"a.jpg": [[1, 2,\n 3, 4]', r"b\.json' \(line 2, column"),
        ("b.json", {"a.jpg": [FIRST, [1, 2, 3]]}, r"box 1 of 'a\.jpg' in '.*b\.json' \(got '\[1, 2, 3\]'"),
        ("b.json", {"a.jpg": FIRST}, "box 0 of"),
        ("b.json", {"a.jpg": None}, r"list of boxes for 'a\.jpg'.*'null'"),
        ("b.json", '{"a.jpg": [[NaN, 0, 1, 1]]}', "box 0 of"),
        ("b.json", [{"picture": "a.jpg"}], "known layout.*CSV with the columns"),
        ("b.json", "3", "known layout"),
        ("b.csv", "image,x0,y0,x1,y1\na.jpg,1,2,3,4\na.jpg,1,2,x,4\n", r"line 3 of '.*b\.csv' \(got"),
        ("b.csv", "a.jpg,1,2,3,4\na.jpg,1,2,3\n", r"x0, y0, x1, y1 in line 2 of"),
        ("b.csv", "file,left,top,right,bottom\n", r"line 1 of"),
        ("b.csv", "image,x0,y0,x1,y1\na.jpg,1,2,inf,4\n", "line 2 of"),
    ],
)
def test_anything_else_is_named_with_file_and_place(tmp_path: Path, name: str, content: object, reason: str) -> None:
    with pytest.raises(InputFileError, match=reason):
        read_boxes(write(tmp_path / name, content))


def test_missing_and_binary_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputFileError, match=r"nowhere\.csv"):
        read_boxes(tmp_path / "nowhere.csv")
    with pytest.raises(InputFileError, match="file of boxes"):
        read_boxes(tmp_path)
    (tmp_path / "photo.jpg").write_bytes(bytes(range(256)))
    with pytest.raises(InputFileError, match=r"photo\.jpg.*binary"):
        read_boxes(tmp_path / "photo.jpg")

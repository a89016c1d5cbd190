import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lgcn.checks import InputFileError
from lgcn.predict import Face, read_boxes, save_csv, save_json
from tests.datasets.fuzz import damaged, thousand

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
        (
            "boxes.jsonl",
            json.dumps({"image": "a.jpg", "faces": [{"box": FIRST}, {"box": SECOND}]})
            + '\n{"image": "b.jpg", "faces": []}\n{"image": "c.jp',
        ),
        ("boxes.csv", "image,x0,y0,x1,y1\na.jpg,1,2,30.5,40\n\na.jpg,50,60,70,80\n"),
        ("boxes.csv", "\ufeffscore, X0, Y0, X1, Y1, Image\n0.9, 1, 2, 30.5, 40, a.jpg\n0.8, 50, 60, 70, 80, a.jpg\n"),
        ("boxes.txt", "a.jpg,1,2,30.5,40\r\na.jpg,50,60,70,80\r\n"),
    ],
)
def test_all_layouts_give_the_same_boxes(tmp_path: Path, name: str, content: object) -> None:
    table = read_boxes(write(tmp_path / name, content))
    assert table.find(tmp_path / "a.jpg").tolist() == [FIRST, SECOND]
    if "json" in name.lower():
        assert table.find(tmp_path / "b.jpg").shape == (0, 4)


@pytest.mark.parametrize("suffix", ["json", "csv"])
def test_output_of_predict_is_read_back(tmp_path: Path, suffix: str) -> None:
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


def test_an_image_that_is_not_named_is_an_error(tmp_path: Path) -> None:
    table = read_boxes(write(tmp_path / "boxes.json", {"a.jpg": [FIRST]}))
    with pytest.raises(InputFileError, match=r"'c\.jpg' in '.*boxes\.json'.*not among the 1"):
        table.find("c.jpg")


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("b.json", '{"a.jpg": [[1, 2,\n 3, 4]', r"b\.json' \(line 2, column"),
        ("b.json", {"a.jpg": [FIRST, [1, 2, 3]]}, r"box 1 of 'a\.jpg' in '.*b\.json' \(got '\[1, 2, 3\]'"),
        ("b.json", {"a.jpg": FIRST}, "box 0 of"),
        ("b.json", {"a.jpg": None}, r"list of boxes for 'a\.jpg'.*'null'"),
        ("b.json", '{"a.jpg": [[NaN, 0, 1, 1]]}', "box 0 of"),
        ("b.json", [{"image": "a.jpg"}], "known layout.*CSV with the columns"),
        ("b.json", "3", "known layout"),
        ("b.csv", "image,x0,y0,x1,y1\na.jpg,1,2,3,4\na.jpg,1,2,x,4\n", r"line 3 of '.*b\.csv' \(got"),
        ("b.csv", "a.jpg,1,2,3,4\na.jpg,1,2,3\n", r"x0, y0, x1, y1 in line 2 of"),
        ("b.json", '{"a\\u0000.jpg": []}', "holds NUL"),
        ("b.json", f'{{"a.jpg": [[{5000 * "9"}, 0, 1, 1]]}}', "a number is too long"),
        ("b.json", '{"a.jpg": [[1e999, 0, 1, 1]]}', "box 0 of"),
        ("b.json", '{"a.jpg": [[true, 0, 1, 1]]}', "box 0 of"),
        ("b.json", 100_000 * "[", "nested too deeply"),
        ("b.jsonl", '{"image": "a.jpg", "faces": []}\n{"image"\n', r"line 2, column"),
        ("b.csv", "a.jpg,1,2,3,4\nb\0.jpg,1,2,3,4\n", "binary data: NUL in line 2"),
        ("b.csv", f'"{200_000 * "x"}",1,2,3,4\n', "line 1 of.*field larger"),
        ("b.csv", "file,left,top,right,bottom\n", r"line 1 of"),
        ("b.csv", "image,x0,y0,x1,y1\na.jpg,1,2,inf,4\n", "line 2 of"),
    ],
)
def test_other_content_is_reported_with_file_and_place(tmp_path: Path, name: str, content: object, reason: str) -> None:
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


ODD_NAMES = ["line\nbreak.jpg", os.fsdecode(b"not utf-8 \xff.jpg"), " spaces .jpg ", r"a\x0ab.jpg", 'ä,"quoted".jpg']


@pytest.mark.parametrize("suffix", ["json", "csv"])
def test_names_with_special_characters_are_read_back(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"landmarks.{suffix}"
    boxes = {name: [float(k), 0.0, 20.0, 30.0] for k, name in enumerate([*ODD_NAMES, "a\nb.jpg"])}
    results = [(str(tmp_path / name), [face(box)]) for name, box in boxes.items()]
    save_json(path, results) if suffix == "json" else save_csv(path, results, num_landmarks=3)
    assert suffix == "json" or len(path.read_text(encoding="utf-8").splitlines()) == 1 + len(boxes)
    table = read_boxes(path)
    for name, box in boxes.items():
        assert table.find(tmp_path / name).tolist() == [box]


def test_unescaped_names_of_other_programs_are_found(tmp_path: Path) -> None:
    (tmp_path / "boxes.csv").write_bytes(
        b'"line\nbreak.jpg",1,2,30.5,40\nx\xff.jpg,1,2,30.5,40\na\\x0ab.jpg,50,60,70,80\n'
    )
    table = read_boxes(tmp_path / "boxes.csv")
    assert table.find(tmp_path / "line\nbreak.jpg").tolist() == [FIRST]
    assert table.find(tmp_path / os.fsdecode(b"x\xff.jpg")).tolist() == [FIRST]
    assert table.find(tmp_path / r"a\x0ab.jpg").tolist() == [SECOND]


def test_two_names_of_a_file_may_not_have_different_boxes(tmp_path: Path) -> None:
    table = read_boxes(write(tmp_path / "boxes.json", {"a.jpg": [FIRST], "./a.jpg": [FIRST]}))
    assert table.find(tmp_path / "a.jpg").tolist() == [FIRST]
    (tmp_path / "link").symlink_to(tmp_path)
    for name in ("./a.jpg", "link/a.jpg", str(tmp_path / "a.jpg")):
        path = write(tmp_path / "boxes.csv", f"a.jpg,1,2,30.5,40\n{name},50,60,70,80\n")
        with pytest.raises(InputFileError, match=r"boxes\.csv' \('a\.jpg' and '.*a\.jpg', with different boxes"):
            read_boxes(path)


@thousand
@given(data=st.data(), suffix=st.sampled_from(["json", "jsonl", "csv"]))
def test_damaged_files_give_boxes_or_an_input_error(
    data: st.DataObject, suffix: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / f"damaged.{suffix}"
    whole = {
        "json": json.dumps({"a.jpg": [FIRST, SECOND], "b.jpg": []}),
        "jsonl": json.dumps({"image": "a.jpg", "faces": [{"box": FIRST}]}) + "\n",
        "csv": 'image,x0,y0,x1,y1\na.jpg,1,2,30.5,40\n"b.jpg",50,60,70,80\n',
    }[suffix]
    path.write_bytes(data.draw(damaged(whole.encode())))
    try:
        table = read_boxes(path)
    except InputFileError:
        return
    for name, boxes in table.boxes.items():
        assert boxes.shape[1:] == (4,) and boxes.dtype == torch.float32
        assert table.name_of(path.parent / name) is not None or not name


def test_half_of_a_surrogate_pair_is_the_name_of_no_file(tmp_path: Path) -> None:
    path = tmp_path / "boxes.json"
    path.write_text(r'{"\ud800.png": [[0, 0, 9, 9]], "a.png": [[1, 2, 3, 4]]}')
    assert read_boxes(path).find(tmp_path / "a.png").tolist() == [[1, 2, 3, 4]]


def test_names_are_found_where_the_file_system_has_another_encoding(tmp_path: Path) -> None:
    path = tmp_path / "boxes.json"
    path.write_text(json.dumps({"ü.png": [[1, 2, 3, 4]], "\udcc3\udca4.png": [[5, 6, 7, 8]]}), encoding="utf-8")
    code = (
        "import os, sys; from lgcn.predict import read_boxes; table = read_boxes(sys.argv[1]); "
        "print([table.find(os.fsdecode(name)).tolist() for name in (b'\\xc3\\xbc.png', b'\\xc3\\xa4.png')])"
    )
    for encoding in (
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        {"PYTHONUTF8": "1"},
    ):
        done = subprocess.run(
            [sys.executable, "-c", code, str(path)], env={**os.environ, **encoding}, capture_output=True, text=True
        )
        assert done.stdout == "[[[1.0, 2.0, 3.0, 4.0]], [[5.0, 6.0, 7.0, 8.0]]]\n", done.stderr

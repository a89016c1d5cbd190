import io
import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lgcn.cli.main import main
from lgcn.datasets import read_pts, write_pts
from tests.datasets.synthetic import pts_tree, write_image


def check(*words: str | Path) -> int:
    return main(["dataset", "check", *map(str, words), "--num-workers", "0"])


def test_a_whole_folder_ends_with_status_0(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pts_tree(tmp_path / "in", "faces", 3)
    assert check("pts", "--root", tmp_path / "in") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"pts in '{tmp_path / 'in'}'"
    assert lines[2].split() == ["split", "faces", "published", "images", "left", "out"]
    assert lines[3].split() == ["all", "3", "-", "3", "0"]
    assert lines[-2] == "3 faces checked: no findings."
    assert "--output DIR to write report.json and a sheet" in lines[-1]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in"]


def test_findings_end_with_status_1_and_are_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pts_tree(tmp_path, "faces", 4)
    for number in range(3):
        (tmp_path / "faces" / f"{number}.png").write_bytes(b"nothing")
    assert check("pts", "--root", tmp_path, "--limit", "2") == 1
    out = capsys.readouterr().out
    assert "\nimages that cannot be read: 3\n  all: faces/0.png, face 0: Expected an image in '" in out
    assert out.count("Expected an image in") == 2
    assert "  and 1 more (" in out
    assert out.splitlines()[-2] == "4 faces checked: 3 findings."
    assert check("pts", "--root", tmp_path, "--limit", "0") == 1
    assert capsys.readouterr().out.count("Expected an image in") == 3


def test_report_and_sheet(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root, out = tmp_path / "300w", tmp_path / "new" / "out"
    pts_tree(root, "afw", 5)
    pts_tree(root, "ibug", 2, first=7)
    (root / "afw" / "3.png").write_bytes(b"nothing")
    words = ("ibug300w", "--root", root, "--split", "train", "afw,ibug", "--sample", "3")
    assert check(*words, "--output", out) == 1
    assert "wrote report.json, sheet_train.png, sheet_1_afw-ibug.png to" in capsys.readouterr().out
    assert {path.name for path in out.iterdir()} == {"report.json", "sheet_train.png", "sheet_1_afw-ibug.png"}
    report = json.loads((out / "report.json").read_text())
    assert report["splits"]["train"]["faces"] == 5
    assert report["splits"]["train"]["published"] == 3148
    assert report["splits"]["afw,ibug"]["subsets"] == {}
    assert report["num_findings"] == {"count": 2, "unreadable_image": 2}
    assert [each["file"] for each in report["findings"]] == [None, None, "afw/3.png", "afw/3.png"]
    assert report["notes"][-1].startswith("300-W unpacks to")

    orange = np.abs(np.asarray(Image.open(out / "sheet_train.png").convert("RGB")).astype(int) - (255, 140, 26))
    assert (orange.max(axis=-1) < 30).sum() > 3 * 68, "landmarks are drawn"
    green = np.abs(np.asarray(Image.open(out / "sheet_train.png").convert("RGB")).astype(int) - (31, 224, 168))
    assert (green.max(axis=-1) < 30).sum() > 3 * 68, "those of the other side in another colour"
    first = (out / "sheet_train.png").read_bytes()
    words = (*words[:4], "train", *words[6:])
    assert check(*words, "--output", tmp_path / "again") == 1
    assert (tmp_path / "again" / "sheet_train.png").read_bytes() == first
    assert check(*words, "--output", tmp_path / "other", "--seed", "1") == 1
    assert (tmp_path / "other" / "sheet_train.png").read_bytes() != first


def test_a_report_without_a_readable_face(tmp_path: Path) -> None:
    pts_tree(tmp_path / "in", "faces", 1)
    (tmp_path / "in/faces/0.png").write_bytes(b"")
    assert check("pts", "--root", tmp_path / "in", "--output", tmp_path / "out") == 1
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["report.json"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["pts", "--root", "NONE"], "Expected the folder of 'pts' at"),
        (["ibug300w", "--root", "NONE"], "helen/trainset, helen/testset"),
        (["ibug300", "--root", "ROOT"], "ibug300w"),
        (["ibug300w", "--root", "ROOT", "--split", "tset"], "'split' to be one of train, common"),
        (["pts", "--root", "ROOT", "--sample", "0"], "'--sample' to be 1 or more (got 0)"),
        (["pts", "--root", "ROOT", "--limit", "-1"], "'--limit' to be 0 or more (got -1)"),
        (["pts", "--root", "ROOT", "--output", "FILE"], "'--output'"),
    ],
)
def test_bad_arguments_are_one_line_and_status_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    pts_tree(tmp_path / "in", "faces", 1)
    places = {"NONE": tmp_path / "none", "ROOT": tmp_path / "in", "FILE": tmp_path / "in/faces/0.png"}
    assert check(*(places.get(word, word) for word in words)) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("lgcn: error: ") and captured.err.count("\n") == 1
    assert message in captured.err and not captured.out


def test_an_action_is_needed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["dataset"])
    assert stop.value.code == 2
    assert "ACTION" in capsys.readouterr().err


def test_the_real_trees(shared: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check("wflw", "--root", shared / "data/wflw_standin", "--split", "test") == 1
    out = capsys.readouterr().out
    assert "test: 56 of 2500 published faces" in out
    assert ["blur", "2", "773", "2"] in [line.split() for line in out.splitlines()]
    assert "test: subset 'blur' has 2 of 773 published faces" in out
    assert "images that cannot be read" not in out
    assert check("ibug300w", "--root", shared / "data/300w", "--split", "lfpw/testset") == 0
    assert capsys.readouterr().out.splitlines()[-2] == "224 faces checked: no findings."


def test_dataset_options(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pts_tree(tmp_path, "faces", 1)
    pos = read_pts(tmp_path / "faces/0.pts")
    pos[0] = 0.0  # a pixel of a zero-based file, outside the image in a one-based one
    write_pts(tmp_path / "faces/0.pts", pos)
    assert check("pts", "--root", tmp_path) == 1
    assert "1 of 68 points outside the image" in capsys.readouterr().out
    check("pts", "--root", tmp_path, "--dataset-option", "one_based=false")
    assert "outside" not in capsys.readouterr().out
    assert check("pts", "--root", tmp_path, "--dataset-option", "one_base=false") == 2
    assert "Did you mean 'one_based'" in capsys.readouterr().err


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8"])
def test_names_on_terminals_of_other_encodings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encoding: str) -> None:
    root = tmp_path / "名前"
    pts_tree(root, "faces", 1)
    name = os.fsdecode("\N{SNOWMAN}\n".encode() + b"\xe9.png")
    write_image(tmp_path / "x.png", 7)
    try:
        (tmp_path / "x.png").rename(root / name)
    except OSError:
        pytest.skip("the file system takes no such name")
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    monkeypatch.setattr(sys, "stdout", stream)
    assert check("pts", "--root", root, "--output", tmp_path / "out") == 1
    stream.flush()
    text = stream.buffer.getvalue().decode(encoding)
    assert f"{'☃' if encoding == 'utf-8' else chr(92) + 'u2603'}\\x0a\\udce9.png" in text
    report = json.loads((tmp_path / "out" / "report.json").read_text("utf-8"))
    assert (root / report["findings"][0]["file"]).is_file()

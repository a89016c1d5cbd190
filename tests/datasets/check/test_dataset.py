import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from lgcn.checks import InputError, InputFileError
from lgcn.datasets import WFLW, write_pts
from lgcn.datasets.check import check_dataset
from lgcn.datasets.check.report import KINDS
from lgcn.datasets.wflw import IMAGE_FOLDER
from tests.datasets.synthetic import points, pts_tree, wflw_row, wflw_tree, write_image, write_list

FILE = f"{IMAGE_FOLDER}/a"


@pytest.fixture(autouse=True)
def _small_wflw(monkeypatch: pytest.MonkeyPatch) -> None:
    """A WFLW that is whole with three training and two test faces."""
    monkeypatch.setattr(WFLW, "splits", {"train": 3, "test": 2})
    monkeypatch.setattr(WFLW, "published_subset_sizes", {})


def findings(name: str, root: Path, *splits: str) -> list[tuple[str, str]]:
    """Kind and line of each finding."""
    report, _ = check_dataset(name, root, splits or None)
    lines = [str(each) for each in report.findings]
    assert all("\n" not in line for line in lines)
    assert {each.kind for each in report.findings} <= set(KINDS)
    return [(each.kind, line) for each, line in zip(report.findings, lines, strict=True)]


def test_a_whole_dataset_has_no_findings(tmp_path: Path) -> None:
    wflw_tree(tmp_path)
    report, checked = check_dataset("wflw", tmp_path)
    assert not report.findings and not report.notes and not report.by_kind()
    assert list(report.splits) == list(checked) == ["train", "test"]
    train = report.splits["train"]
    assert (train.faces, train.published, train.images, train.left_out) == (3, 3, 3, {})
    assert train.subsets["make-up"] == (0, None, 0)


def replace_point(rows: list[str], landmark: int, x: str, y: str) -> None:
    """Changes a point of the second row."""
    fields = rows[1].split()
    fields[2 * landmark : 2 * landmark + 2] = [x, y]
    rows[1] = " ".join(fields)


def with_missing_point(root: Path, rows: list[str]) -> None:
    replace_point(rows, 17, "nan", "nan")


def with_point_outside(root: Path, rows: list[str]) -> None:
    replace_point(rows, 4, "62.5", "20")


def with_point_above(root: Path, rows: list[str]) -> None:
    replace_point(rows, 4, "20", "-0.75")


def with_the_row_twice(root: Path, rows: list[str]) -> None:
    rows[2] = rows[1]


def with_the_image_twice(root: Path, rows: list[str]) -> None:
    write_image(root / IMAGE_FOLDER / "a" / "2.bmp", 1)
    rows[2] = rows[1].replace("1.png", "2.bmp")


def with_a_truncated_image(root: Path, rows: list[str]) -> None:
    path = root / IMAGE_FOLDER / "a" / "1.png"
    path.write_bytes(path.read_bytes()[:900])


def with_a_text_for_a_image(root: Path, rows: list[str]) -> None:
    (root / IMAGE_FOLDER / "a" / "1.png").write_text("<html>not found</html>")


def without_a_image(root: Path, rows: list[str]) -> None:
    (root / IMAGE_FOLDER / "a" / "1.png").unlink()


def with_an_empty_box(root: Path, rows: list[str]) -> None:
    rows[1] = wflw_row("a/1.png", points(98, 1), rect=(5, 5, 5, 40))


def with_a_box_outside(root: Path, rows: list[str]) -> None:
    rows[1] = wflw_row("a/1.png", points(98, 1), rect=(-500, -500, -400, -400))


def with_a_box_of_another_face(root: Path, rows: list[str]) -> None:
    rows[1] = wflw_row("a/1.png", points(98, 1), rect=(40, 5, 59, 40))


def on_a_line(root: Path, rows: list[str]) -> None:
    rows[1] = wflw_row("a/1.png", points(98, 1) * torch.tensor([1.0, 0.0]) + torch.tensor([0.0, 7.0]))


def in_one_point(root: Path, rows: list[str]) -> None:
    rows[1] = wflw_row("a/1.png", torch.full((98, 2), 20.0))


def without_eyes(root: Path, rows: list[str]) -> None:
    pos = points(98, 1)
    pos[72] = pos[60]
    rows[1] = wflw_row("a/1.png", pos)


@pytest.mark.parametrize(
    ("break_it", "kind", "line"),
    [
        (with_missing_point, "missing_points", f"train: {FILE}/1.png, face 1: 1 of 98 points missing (landmark 17)"),
        (
            with_point_outside,
            "outside",
            f"train: {FILE}/1.png, face 1: 1 of 98 points outside the image of 60 x 50 pixels, by up to 3.0 "
            "(landmark 4)",
        ),
        (
            with_point_above,
            "outside",
            f"train: {FILE}/1.png, face 1: 1 of 98 points outside the image of 60 x 50 pixels, by up to 0.2 "
            "(landmark 4)",
        ),
        (
            with_the_row_twice,
            "duplicate_annotation",
            f"train: {FILE}/1.png, face 2: same image and same points as face 1",
        ),
        (
            with_the_image_twice,
            "duplicate_image",
            f"train: {FILE}/2.bmp, face 2: same pixels and same face as '{FILE}/1.png'",
        ),
        (with_a_truncated_image, "unreadable_image", f"train: {FILE}/1.png, face 1: Expected a whole image in '"),
        (with_a_text_for_a_image, "unreadable_image", f"train: {FILE}/1.png, face 1: Expected an image in '"),
        (without_a_image, "missing_image", f"train: {FILE}/1.png, face 1: there is no such file"),
        (
            with_an_empty_box,
            "no_extent",
            f"train: {FILE}/1.png, face 1: box of the annotation without extent, [5, 5, 5, 40]",
        ),
        (
            with_a_box_outside,
            "stray_box",
            f"train: {FILE}/1.png, face 1: box [-500, -500, -400, -400] outside the image of 60 x 50 pixels",
        ),
        (
            with_a_box_of_another_face,
            "stray_box",
            f"train: {FILE}/1.png, face 1: box [40, 5, 59, 40] far from the landmarks: 0 of 98 lie in it",
        ),
        (on_a_line, "no_extent", f"train: {FILE}/1.png, face 1: box of the landmarks without extent, ["),
        (
            without_eyes,
            "no_normalizer",
            f"train: {FILE}/1.png, face 1: no normaliser 'inter_ocular': its points are missing or in one place",
        ),
    ],
)
def test_each_fault_is_one_line_that_names_file_and_face(
    tmp_path: Path, break_it: Callable[[Path, list[str]], None], kind: str, line: str
) -> None:
    rows = wflw_tree(tmp_path)["train"]
    break_it(tmp_path, rows)
    write_list(tmp_path, "train", rows)
    ((found, said),) = findings("wflw", tmp_path)
    assert found == kind
    assert said.startswith(line)


def test_a_face_that_is_left_out_is_named_and_counted(tmp_path: Path) -> None:
    rows = wflw_tree(tmp_path)["train"]
    in_one_point(tmp_path, rows)
    write_list(tmp_path, "train", rows)
    assert findings("wflw", tmp_path) == [
        ("count", "train: 2 of 3 published faces"),
        ("no_extent", f"train: {FILE}/1.png, face 1: fewer than two landmarks apart: it has no box and is left out"),
    ]
    report, _ = check_dataset("wflw", tmp_path, ["train"])
    assert report.splits["train"].left_out == {"fewer than two landmarks apart": 1}
    assert "WFLW_images.tar.gz" in report.notes[0]
    # Faces behind it keep their place in the annotation.
    replace_point(rows, 0, "nan", "nan")
    rows[1], rows[2] = rows[0], rows[2]
    rows[0] = wflw_row("a/1.png", torch.full((98, 2), 20.0))
    replace_point(rows, 3, "nan", "0")
    write_list(tmp_path, "train", rows)
    assert any(line.startswith(f"train: {FILE}/0.png, face 1: 1 of 98") for _, line in findings("wflw", tmp_path))


def test_points_on_the_border_are_inside(tmp_path: Path) -> None:
    rows = wflw_tree(tmp_path)["train"]
    replace_point(rows, 0, "-0.5", "49.5")
    replace_point(rows, 1, "59.5", "-0.5")
    write_list(tmp_path, "train", rows)
    assert not findings("wflw", tmp_path)


def test_a_test_image_among_the_training_images_is_a_leak(tmp_path: Path) -> None:
    rows = wflw_tree(tmp_path)
    write_image(tmp_path / IMAGE_FOLDER / "b" / "copy.bmp", 4)
    rows["train"][2] = rows["test"][1].replace("a/4.png", "b/copy.bmp")
    write_list(tmp_path, "train", rows["train"])
    assert findings("wflw", tmp_path) == [
        (
            "leak",
            f"test: {FILE}/4.png, face 1: split 'train' has the image too, as '{IMAGE_FOLDER}/b/copy.bmp', with the "
            "same face",
        )
    ]
    # The same file in both lists, another face of it.
    rows["train"][2] = wflw_row("a/4.png", points(98, 9) * 0.2, rect=(0, 0, 9, 9))
    write_list(tmp_path, "train", rows["train"])
    ((kind, line),) = findings("wflw", tmp_path)
    assert kind == "leak" and line.endswith(f"as '{FILE}/4.png', with another face")


def test_other_faces_of_an_image_are_no_duplicates(tmp_path: Path) -> None:
    rows = wflw_tree(tmp_path)["train"]
    write_image(tmp_path / IMAGE_FOLDER / "a" / "2.png", 1)
    rows[2] = wflw_row("a/2.png", points(98, 9) * 0.2, rect=(0, 0, 9, 9))
    rows[0] = wflw_row("a/1.png", points(98, 8) * 0.2 + 40, rect=(40, 40, 49, 49))
    write_list(tmp_path, "train", rows)
    report, _ = check_dataset("wflw", tmp_path, ["train"])
    assert not report.findings
    assert report.notes == ["train: images with the pixels of another one, in which another face is annotated: 1"]
    assert report.splits["train"].images == 2


def test_wrong_numbers_of_faces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(WFLW, "published_subset_sizes", {"blur": 7, "pose": 0})
    wflw_tree(tmp_path, train=2, test=2)
    assert findings("wflw", tmp_path) == [
        ("count", "train: 2 of 3 published faces"),
        ("count", "train: subset 'blur' has 0 of 7 published faces"),
        ("count", "test: subset 'blur' has 0 of 7 published faces"),
    ]


def test_a_damaged_list_affects_only_its_split(tmp_path: Path) -> None:
    rows = wflw_tree(tmp_path)["test"]
    write_list(tmp_path, "test", [rows[0], rows[1].replace("a/4.png", "")])
    assert list(check_dataset("wflw", tmp_path)[1]) == ["train"]
    ((kind, line),) = findings("wflw", tmp_path)
    assert kind == "unreadable_annotation"
    assert line.startswith("test: Expected 207 fields in line 2 of '")


def test_300w_names_every_lone_and_damaged_file(tmp_path: Path) -> None:
    pts_tree(tmp_path, "afw", 4)
    (tmp_path / "afw" / "0.pts").unlink()
    (tmp_path / "afw" / "1.png").unlink()
    (tmp_path / "afw" / "2.pts").write_text("1 2\n")
    write_pts(tmp_path / "afw" / "3.pts", torch.full((68, 2), torch.nan))
    found = findings("ibug300w", tmp_path, "train")
    assert [kind for kind, _ in found] == 3 * ["unreadable_annotation"] + 2 * ["alone"]
    lines = [line for _, line in found]
    assert lines[0].startswith("train: afw/2.pts: Expected 68 points in '")
    assert lines[1].startswith("train: afw/3.pts: Expected finite coordinates in '")
    assert lines[2] == "train: not checked any further until its annotations can be read"
    assert lines[3:] == [
        "train: afw/0.png: no '0.pts' next to the image",
        "train: afw/1.pts: no image '1' next to the points",
    ]


def test_300w_says_which_folders_are_missing_and_finds_its_leaks(tmp_path: Path) -> None:
    pts_tree(tmp_path, "afw", 2)
    pts_tree(tmp_path, "lfpw/testset", 2, first=5)
    pts_tree(tmp_path, "ibug", 1, first=1)
    report, _ = check_dataset("ibug300w", tmp_path)
    assert list(report.splits) == ["train", "full"]
    lines = {kind: [str(each) for each in found] for kind, found in report.by_kind().items()}
    assert lines["count"][0] == (
        "train: 2 of 3148 published faces (missing folders: helen/trainset, lfpw/trainset; incomplete folders: afw 2 "
        "of 337)"
    )
    assert lines["count"][-1] == "full: subset 'challenging' has 1 of 135 published faces"
    assert lines["leak"] == [
        "full: ibug/1.png, face 2: split 'train' has the image too, as 'afw/1.png', with the same face"
    ]
    (private,) = lines["unreadable_annotation"]
    assert private.startswith("private: Expected images of split 'private' in '300W/01_Indoor', '300W/02_Outdoor'")
    assert "300w" in private.lower() and "helen/trainset, helen/testset" in private


def test_splits_that_share_folders_are_no_leak(tmp_path: Path) -> None:
    pts_tree(tmp_path, "lfpw/testset", 2)
    pts_tree(tmp_path, "ibug", 1, first=3)
    kinds = [kind for kind, _ in findings("ibug300w", tmp_path, "full", "common", "challenging", "ibug")]
    assert kinds and set(kinds) == {"count"}


def test_a_custom_folder(tmp_path: Path) -> None:
    pts_tree(tmp_path, "one/two", 2)
    assert not findings("pts", tmp_path)
    write_pts(tmp_path / "one/two/1.pts", points(68, 1).index_fill(0, torch.tensor([3, 4]), torch.nan))
    write_image(tmp_path / "one/alone.png", 7)
    assert findings("pts", tmp_path) == [
        ("alone", "all: one/alone.png: no 'alone.pts' next to the image"),
        ("missing_points", "all: one/two/1.png, face 1: 2 of 68 points missing (landmarks 3, 4)"),
    ]


def test_a_csv_file_and_its_subset_may_share_images(tmp_path: Path) -> None:
    pos = [points(19, number).flatten().tolist() for number in range(2)]
    header = ",".join(["image_name", "scale", "center_w", "center_h", *(f"p{i}" for i in range(38))])
    rows = [",".join([f"{number}.png", "0.2", "30", "30", *map(str, pos[number])]) for number in range(2)]
    for number in range(2):
        write_image(tmp_path / f"{number}.png", number)
    for name, lines in (("valid", rows), ("valid_common", rows[:1]), ("train", rows[1:])):
        (tmp_path / f"x_{name}.csv").write_text("\n".join([header, *lines]))
    assert not findings("hrnet_csv", tmp_path, "valid", "valid_common")
    assert [kind for kind, _ in findings("hrnet_csv", tmp_path, "train", "valid")] == ["leak"]
    with pytest.raises(InputError, match="'split' for 'hrnet_csv', whose splits are named by its files"):
        check_dataset("hrnet_csv", tmp_path)
    (tmp_path / "x_valid.csv").write_text("\n".join([header, rows[0].replace("30", "thirty")]))
    ((kind, line),) = findings("hrnet_csv", tmp_path, "valid")
    assert kind == "unreadable_annotation" and "'thirty'" in line


def test_unlabelled_coco_landmarks_are_not_findings(tmp_path: Path) -> None:
    write_image(tmp_path / "0.png", 0)
    pos = points(17, 0)
    keypoints = [value for k, (x, y) in enumerate(pos.tolist()) for value in ((x, y, 2) if k > 3 else (0, 0, 0))]
    content = {
        "images": [{"id": 1, "file_name": "0.png"}],
        "annotations": [{"id": 1, "image_id": 1, "keypoints": keypoints}],
    }
    (tmp_path / "own.json").write_text(json.dumps(content))
    assert not [kind for kind, _ in findings("coco_keypoints", tmp_path, "own.json") if kind != "no_normalizer"]


def test_wrong_arguments_are_errors(tmp_path: Path) -> None:
    wflw_tree(tmp_path)
    with pytest.raises(InputFileError, match=r"the folder of 'wflw' at '.*gone' \(there is none\)\. WFLW unpacks to"):
        check_dataset("wflw", tmp_path / "gone")
    with pytest.raises(InputError, match="'split' to be one of train, test .got 'tset'"):
        check_dataset("wflw", tmp_path, ["tset"])
    with pytest.raises(InputError, match="wflw"):
        check_dataset("wlfw", tmp_path)
    pts_tree(tmp_path, "afw", 1)
    with pytest.raises(InputError, match="'split' to be one of train, common"):
        check_dataset("ibug300w", tmp_path, ["helen"])
    for split in (str(tmp_path / "afw"), " ", "afw,helen"):
        with pytest.raises(InputError, match="'split' to be one of train, common"):
            check_dataset("ibug300w", tmp_path, [split])
    with pytest.raises(InputError, match=r"nothing\.json"):
        check_dataset("coco_keypoints", tmp_path, ["nothing.json"])


def test_a_split_of_which_no_face_can_be_used(tmp_path: Path) -> None:
    wflw_tree(tmp_path)
    write_list(tmp_path, "test", 2 * [wflw_row("a/0.png", torch.full((98, 2), 20.0))])
    assert [kind for kind, _ in findings("wflw", tmp_path, "test")] == ["count", "no_extent", "no_extent"]


def test_special_characters_in_file_names_are_escaped(tmp_path: Path) -> None:
    pts_tree(tmp_path, "faces", 1)
    name = "a\n\udce9.png"
    write_image(tmp_path / "x.png", 1)
    try:
        (tmp_path / "x.png").rename(tmp_path / name)
    except OSError:
        pytest.skip("the file system takes no such name")
    assert findings("pts", tmp_path) == [("alone", "all: a\\x0a\\udce9.png: no 'a\\x0a\\udce9.pts' next to the image")]


def test_the_number_of_workers_does_not_change_the_report(tmp_path: Path) -> None:
    rows = wflw_tree(tmp_path)["train"]
    with_a_truncated_image(tmp_path, rows)
    alone, together = (check_dataset("wflw", tmp_path, num_workers=count)[0] for count in (0, 2))
    assert alone == together
    assert len(alone.findings) == 1


def test_faces_and_images_of_subsets(tmp_path: Path) -> None:
    rows = wflw_tree(tmp_path)["train"]
    rows[2] = wflw_row("a/1.png", points(98, 9) * 0.2, rect=(0, 0, 9, 9))
    rows[1:] = [row.replace(" 0 0 0 0 0 0 ", " 1 0 0 0 0 0 ") for row in rows[1:]]
    write_list(tmp_path, "train", rows)
    (train,) = check_dataset("wflw", tmp_path, ["train"])[0].splits.values()
    assert (train.faces, train.images) == (3, 2)
    assert train.subsets["pose"]._asdict() == {"faces": 2, "published": None, "images": 1}
    assert train.subsets["blur"].images == 0

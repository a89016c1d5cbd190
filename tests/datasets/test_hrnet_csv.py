import csv
import io
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from lgcn.checks import InputFileError
from lgcn.datasets import AFLW19, HRNetCSV
from lgcn.protocols import EvaluationProtocol
from lgcn.schemes import get_scheme
from tests.datasets.fuzz import assert_sound_or_refused, damaged, nearly, thousand


def header(num_landmarks: int, box_size: bool = False) -> list[str]:
    names = [f"original_{k}_{axis}" for k in range(num_landmarks) for axis in "xy"]
    return ["image_name", "scale", *(["box_size"] if box_size else []), "center_w", "center_h", *names]


def row(num_landmarks: int, start: float = 4.0, box_size: float | None = None) -> list[str]:
    points = [value for k in range(num_landmarks) for value in (start + k % 7, start + k // 7)]
    own = [] if box_size is None else [str(box_size)]
    return ["a b,c.jpg", "0.1", *own, "14", "12.5", *map(str, points)]


def text(rows: list[list[str]]) -> str:
    stream = io.StringIO()
    csv.writer(stream).writerows(rows)
    return stream.getvalue()


def make_root(root: Path, name: str, rows: list[list[str]]) -> Path:
    (root / "images").mkdir(exist_ok=True)
    Image.new("RGB", (30, 20)).save(root / "images" / "a b,c.jpg")
    (root / name).write_text(text(rows))
    return root


def test_points_of_300w_keep_the_origin_of_their_pts_files(tmp_path: Path) -> None:
    root = make_root(tmp_path, "face_landmarks_300w_valid.csv", [header(68), row(68), row(68, 5)])
    dataset = HRNetCSV(root, "valid")
    assert dataset.scheme.name == "ibug68"
    assert dataset.image_ids == 2 * ["images/a b,c.jpg"]
    assert dataset[0].y[0].tolist() == [3, 3]
    assert HRNetCSV(root, "valid", protocol="hrnet")[0].y[0].tolist() == [4, 4]
    assert HRNetCSV(root, "valid", one_based=False)[0].y[0].tolist() == [4, 4]
    assert dataset[1].image.shape == (1, 3, 20, 30)
    assert dataset.rect is None
    assert dataset.completeness().message == "split 'valid': 2 of 689 faces"
    assert dataset.published_subset_sizes == {"common": 554, "challenging": 135}


def test_points_of_wflw_are_zero_based(tmp_path: Path) -> None:
    root = make_root(tmp_path, "face_landmarks_wflw_test.csv", [header(98), row(98)])
    assert HRNetCSV(root, "test").pos[0, 0].tolist() == [4, 4]
    assert HRNetCSV(root, "face_landmarks_wflw_test.csv").expected_len == 2500
    with pytest.raises(InputFileError, match=r"Expected 68 landmarks in the 200 columns .*got 98"):
        HRNetCSV(root, "test", scheme="ibug68")


def test_files_next_to_it_are_its_subsets(tmp_path: Path) -> None:
    rows = [row(98, start) for start in (4, 5, 6)]
    root = make_root(tmp_path, "face_landmarks_wflw_test.csv", [header(98), *rows])
    (root / "face_landmarks_wflw_test_makeup.csv").write_text(text([header(98), rows[1]]))
    (root / "face_landmarks_wflw_test_largepose.csv").write_text(text([header(98), rows[2], rows[0]]))
    dataset = HRNetCSV(root, "face_landmarks_wflw_test.csv")
    assert {name: mask.tolist() for name, mask in dataset.subsets.items()} == {
        "pose": [True, False, True],
        "make-up": [False, True, False],
    }
    assert list(dataset.subsets) == ["pose", "make-up"]
    assert dataset.published_subset_sizes["make-up"] == 206
    assert "subset" not in str(dataset.completeness().message)
    (root / "face_landmarks_wflw_test_makeup.csv").write_text(text([header(98), rows[1], row(98, 7)]))
    dataset = HRNetCSV(root, "face_landmarks_wflw_test.csv")
    assert "(rows of subset 'make-up' that are not in the split: 1)" in str(dataset.completeness().message)


def test_aflw_divides_by_the_size_of_its_box(tmp_path: Path) -> None:
    rows = [header(19, box_size=True), row(19, 4, 250.5), row(19, 5, 0.0)]
    root = make_root(tmp_path, "face_landmarks_aflw_test.csv", rows)
    dataset = AFLW19(root, "test")
    assert dataset.normalizer_name == "box_size"
    assert dataset[0].normalizer.item() == 250.5 and dataset[1].normalizer.isnan()
    assert dataset[0].rect.tolist() == [[4, 2.5, 24, 22.5]]
    assert dataset[0].bbox.tolist() == [[4, 4, 10, 6]]
    own = EvaluationProtocol("own", "the dataset's own boxes", box="dataset", normalizer="box")
    dataset = AFLW19(root, "test", protocol=own)
    assert dataset[0].bbox.tolist() == [[4, 2.5, 24, 22.5]]
    assert dataset.normalizer_name == "box"
    assert dataset.completeness() == (2, 4386, "split 'test': 2 of 4386 faces")
    assert AFLW19(root, "test", normalizer="inter_ocular").normalizer_name == "inter_ocular"


def test_an_empty_cell_is_a_missing_landmark(tmp_path: Path) -> None:
    face = row(68)
    face[4] = ""
    dataset = HRNetCSV(make_root(tmp_path, "x_train.csv", [header(68), face]))
    assert dataset.visibility[0, 0] == 0 and dataset.visibility.sum() == 67
    assert dataset.expected_len is None
    torch.testing.assert_close(dataset.pos[0, 1], torch.tensor([4.0, 3.0]))


def test_which_file_is_meant(tmp_path: Path) -> None:
    root = make_root(tmp_path, "face_landmarks_wflw_train.csv", [header(98), row(98)])
    with pytest.raises(InputFileError, match=r"split 'test'.*got none; there are: face_landmarks_wflw_train\.csv"):
        HRNetCSV(root, "test")
    (root / "annotations").mkdir()
    (root / "annotations" / "face_landmarks_300w_train.csv").write_text(text([header(68), row(68)]))
    with pytest.raises(InputFileError, match=r"got 2; .*Name the file itself as the split"):
        HRNetCSV(root, "train")
    assert HRNetCSV(root, "annotations/face_landmarks_300w_train.csv").scheme.name == "ibug68"
    with pytest.raises(InputFileError, match=r"face_landmarks_aflw_train\.csv.*images/flickr"):
        AFLW19(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "got 0 rows"),
        ([header(68)], "got 1 rows"),
        ([row(68), row(68)], "first row of names"),
        ([header(68), row(68)[:-1]], r"Expected 140 columns in line 2 of .*got 139"),
        ([header(68), row(68), *2 * [row(68)[:-1]]], r"Expected 140 columns in line 3 of .* Likewise: line 4\.$"),
        ([["a", "b", "c"], ["a", "b", "c"]], "Expected 6 columns in line 1"),
        ([header(68), row(68), [*row(68)[:-1], "x"]], r"numbers in line 3 of .*got 'x'"),
        ([header(68), ["", *row(68)[1:]]], "name of an image in line 2"),
        ([header(67), row(67)], r"as many landmarks in the 138 columns of .*got 67"),
    ],
)
def test_a_damaged_file_is_named(tmp_path: Path, rows: list[list[str]], message: str) -> None:
    with pytest.raises(InputFileError, match=message) as caught:
        HRNetCSV(make_root(tmp_path, "x_test.csv", rows), "test")
    assert "x_test.csv" in str(caught.value)


GOOD = row(19, box_size=30.0)
SCHEME = get_scheme("aflw19")


@pytest.fixture(scope="module")
def fuzz_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_root(tmp_path_factory.mktemp("csv"), "x_test.csv", [])


@thousand
@given(
    content=st.one_of(
        nearly(GOOD).map(lambda face: text([header(19, box_size=True), face, GOOD]).encode("utf-8", "surrogatepass")),
        nearly(GOOD).map(
            lambda face: ",".join(header(19, True)).encode() + b"\n" + ",".join(face).encode("utf-8", "surrogatepass")
        ),
        damaged(text([header(19, box_size=True), GOOD]).encode()),
    )
)
def test_any_file_gives_faces_or_an_input_error(fuzz_root: Path, content: bytes) -> None:
    (fuzz_root / "x_test.csv").write_bytes(content)
    assert_sound_or_refused(lambda: HRNetCSV(fuzz_root, "test", scheme=SCHEME))


def test_columns_in_another_order(tmp_path: Path) -> None:
    names = header(68)
    swapped = [*names[:1], names[2], names[1], *names[3:]]
    with pytest.raises(InputFileError, match=r"column 1 of .* to be 'scale' \(got 'center_w'\)"):
        HRNetCSV(make_root(tmp_path, "x_train.csv", [swapped, row(68)]))
    by_axis = [*names[:4], *names[4::2], *names[5::2]]
    with pytest.raises(InputFileError, match=r"order x, y of the first, .*got 'original_1_x' as column 5"):
        HRNetCSV(make_root(tmp_path, "x_train.csv", [by_axis, row(68)]))
    own = [*names[:4], *(f"p{index}" for index in range(136))]
    assert len(HRNetCSV(make_root(tmp_path, "x_train.csv", [own, row(68)]))) == 1


def test_names_that_lead_out_of_the_root(tmp_path: Path) -> None:
    root = make_root(tmp_path, "x_train.csv", [header(68), ["../../a.jpg", *row(68)[1:]]])
    with pytest.raises(InputFileError, match="path of an image below the root in line 2"):
        HRNetCSV(root)

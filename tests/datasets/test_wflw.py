from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch_geometric.loader import DataLoader

from lgcn.checks import InputError, InputFileError
from lgcn.datasets import DATASETS, WFLW
from lgcn.transforms import CropToInput
from tests.datasets.fuzz import assert_sound_or_refused, damaged, nearly, thousand

LIST = "WFLW_annotations/list_98pt_rect_attr_train_test/list_98pt_rect_attr_{}.txt"


def row(name: str, flags: str = "0 0 0 0 0 0", start: float = 3.0) -> list[str]:
    points = [f"{start + 5 * (k % 10):.6f} {start + 4 * (k // 10):.6f}" for k in range(98)]
    return [*" ".join(points).split(), "2", "3", "40", "41", *flags.split(), name]


def make_root(root: Path, rows: list[list[str]], split: str = "test") -> Path:
    (root / "WFLW_images" / "0--Parade").mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (60, 50)).save(root / "WFLW_images" / "0--Parade" / "a.jpg")
    path = root / LIST.format(split)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(" ".join(each) + "\n" for each in rows))
    return root


def test_rows_become_faces_with_subsets_and_rectangles(tmp_path: Path) -> None:
    flags = ["1 0 0 0 0 0", "0 0 0 1 1 0", "0 0 0 0 0 1"]
    make_root(tmp_path, [row("0--Parade/a.jpg", each, 3.0 + i) for i, each in enumerate(flags)])
    dataset = WFLW(tmp_path, "test")
    assert dataset.image_ids == 3 * ["WFLW_images/0--Parade/a.jpg"]
    assert list(dataset.subsets) == ["pose", "expression", "illumination", "make-up", "occlusion", "blur"]
    assert [mask.nonzero().flatten().tolist() for mask in dataset.subsets.values()] == [[0], [], [], [1], [1], [2]]
    assert list(dataset.published_subset_sizes) == list(dataset.subsets)
    assert list(dataset.published_subset_sizes.values()) == [326, 314, 698, 206, 736, 773]
    data = dataset[1]
    assert data.y[:2].tolist() == [[4.0, 4.0], [9.0, 4.0]]
    assert data.y[97].tolist() == [4.0 + 35, 4.0 + 36]
    assert data.rect.tolist() == [[2, 3, 40, 41]]
    assert data.bbox.tolist() == [[4, 4, 49, 40]]
    assert dataset.completeness() == (3, 2500, "split 'test': 3 of 2500 faces")


def test_the_protocol_moves_no_point(tmp_path: Path) -> None:
    make_root(tmp_path, [row("0--Parade/a.jpg")])
    assert torch.equal(WFLW(tmp_path, "test").pos, WFLW(tmp_path, "test", protocol="hrnet").pos)


def test_subsets_follow_a_selection_and_batches_hold_the_rectangles(tmp_path: Path) -> None:
    make_root(tmp_path, [row("0--Parade/a.jpg", f"{i % 2} 0 0 0 0 0", 3.0 + i) for i in range(4)])
    dataset = WFLW(tmp_path, "test", transform=CropToInput((16, 16)))
    chosen = dataset.index_select([3, 0])
    assert chosen.subsets["pose"].tolist() == [True, False]
    assert next(iter(DataLoader(chosen, batch_size=2))).rect.shape == (2, 4)


def test_missing_landmarks_and_faces_without_extent(tmp_path: Path) -> None:
    rows = [row("0--Parade/a.jpg", f"0 0 0 0 0 {i % 2}") for i in range(3)]
    rows[0][2 * 60] = "nan"
    rows[1][:196] = 196 * ["nan"]
    make_root(tmp_path, rows)
    dataset = WFLW(tmp_path, "test")
    assert len(dataset) == 2
    assert dataset.subsets["blur"].tolist() == [False, False]
    assert dataset.skipped == {"fewer than two landmarks apart": 1}
    assert "left out with fewer than two landmarks apart: 1" in str(dataset.completeness().message)
    assert dataset.visibility[0].sum() == 97 and dataset.visibility[0, 60] == 0
    assert dataset[0].normalizer.isnan() and dataset[1].normalizer > 0


def test_images_that_are_missing(tmp_path: Path) -> None:
    make_root(tmp_path, [row("0--Parade/a.jpg"), row("1--Handshaking/b.jpg")])
    dataset = WFLW(tmp_path, "test")
    assert dataset.missing_images() == ["WFLW_images/1--Handshaking/b.jpg"]
    assert "missing images: 1, such as 'WFLW_images/1--" in str(dataset.completeness().message)
    with pytest.raises(InputFileError, match=r"1--Handshaking/b\.jpg.*WFLW_images\.tar\.gz"):
        dataset[1]


def test_an_incomplete_root_describes_the_layout(tmp_path: Path) -> None:
    with pytest.raises(InputFileError, match=r"list_98pt_rect_attr_test\.txt.*WFLW_annotations\.tar\.gz"):
        WFLW(tmp_path, "test")
    make_root(tmp_path, [row("a.jpg")], "train")
    with pytest.raises(InputFileError, match=r"split 'test' at"):
        WFLW(tmp_path, "test")
    (tmp_path / "WFLW_images").rename(tmp_path / "elsewhere")
    with pytest.raises(InputFileError, match=r"WFLW_images' \(no folder\).*WFLW_images\.tar\.gz"):
        WFLW(tmp_path, "train")
    with pytest.raises(InputError, match="train, test"):
        WFLW(tmp_path, "val")


@pytest.mark.parametrize(
    ("index", "text", "message"),
    [
        (5, "x", "numbers in line 2 of .*got 'x'"),
        (5, "inf", r"within 1e\+06 pixels in line 2 of .*inf.* for landmark 2"),
        (197, "1e9", r"line 2"),
        (201, "2", r"0 or 1 in line 2 of"),
        (206, "a b.jpg", r"207 fields in line 2 .*got 208"),
    ],
)
def test_a_damaged_row_is_named(tmp_path: Path, index: int, text: str, message: str) -> None:
    bad = row("0--Parade/a.jpg")
    bad[index] = text
    make_root(tmp_path, [row("0--Parade/a.jpg"), bad])
    with pytest.raises(InputFileError, match=message):
        WFLW(tmp_path, "test")


@pytest.mark.parametrize(
    ("index", "text", "message"),
    [
        (5, "x", "numbers in line 2 of .*got 'x'"),
        (5, "inf", "line 2 of"),
        (201, "2", "0 or 1 in line 2"),
        (206, "a b", ""),
    ],
)
def test_other_rows_of_the_same_fault_are_named_too(tmp_path: Path, index: int, text: str, message: str) -> None:
    bad = row("0--Parade/a.jpg")
    bad[index] = text
    rows = [row("0--Parade/a.jpg"), bad, row("0--Parade/a.jpg"), bad, bad]
    with pytest.raises(InputFileError, match=rf"{message}.* Likewise: line 4, line 5\.$"):
        WFLW(make_root(tmp_path, rows), "test")
    with pytest.raises(InputFileError, match=r" line 12, line 13 and 4 more\.$"):
        WFLW(make_root(tmp_path, [*rows[:2], row("0--Parade/a.jpg"), *14 * [bad]]), "test")


GOOD = row("0--Parade/a.jpg", "0 1 0 1 0 1")


@pytest.fixture(scope="module")
def fuzz_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_root(tmp_path_factory.mktemp("wflw"), [GOOD])


@thousand
@given(
    content=st.one_of(
        nearly(GOOD).map(lambda fields: " ".join(fields).encode("utf-8", "surrogatepass")),
        damaged(" ".join(GOOD).encode()),
        st.binary(max_size=60),
    )
)
def test_any_row_gives_a_face_or_an_input_error(fuzz_root: Path, content: bytes) -> None:
    (fuzz_root / LIST.format("test")).write_bytes(content)
    assert_sound_or_refused(lambda: WFLW(fuzz_root, "test"))


def test_the_wflw_stand_in(shared: Path) -> None:
    root = shared / "data" / "wflw_standin"
    train, test = DATASETS["wflw"](root, "train"), WFLW(root, "test")
    assert (len(train), len(test)) == (253, 56)
    assert test.completeness().message == "split 'test': 56 of 2500 faces"
    assert test.visibility.all() and test.normalizer.isfinite().all()
    # Outer eye corners and chin are where the scheme says.
    assert (test.pos[:, 60, 0] < test.pos[:, 72, 0]).all()
    assert (test.pos[:, 16, 1] > test.pos[:, 60, 1]).all()
    assert test[0].image.shape[0] == 1

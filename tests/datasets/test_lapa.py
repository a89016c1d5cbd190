from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from lgcn.checks import InputError, InputFileError
from lgcn.datasets import LaPa
from tests.datasets.fuzz import assert_sound_or_refused, damaged, nearly, thousand

POINTS = [f"{3 + k % 11:.6f} {2 + k // 11:.6f}" for k in range(106)]
CONTENT = "\n".join(["106", *POINTS]) + "\n"


def make_root(root: Path, names: tuple[str, ...] = ("a", "b"), split: str = "val") -> Path:
    for part in ("images", "landmarks"):
        (root / "LaPa" / split / part).mkdir(parents=True, exist_ok=True)
    for name in names:
        Image.new("RGB", (30, 20)).save(root / "LaPa" / split / "images" / f"{name}.jpg")
        (root / "LaPa" / split / "landmarks" / f"{name}.txt").write_text(CONTENT)
    return root


def test_faces_in_the_order_of_their_names(tmp_path: Path) -> None:
    root = make_root(tmp_path)
    dataset = LaPa(root, "val")
    assert dataset.image_ids == ["LaPa/val/images/a.jpg", "LaPa/val/images/b.jpg"]
    assert dataset[0].y[:2].tolist() == [[3, 2], [4, 2]]
    assert dataset[1].image.shape == (1, 3, 20, 30)
    assert dataset.scheme.name == "lapa106"
    assert dataset.completeness() == (2, 2000, "split 'val': 2 of 2000 faces")
    assert LaPa(root / "LaPa", "val").image_ids == ["val/images/a.jpg", "val/images/b.jpg"]


def test_an_image_or_a_folder_that_is_missing(tmp_path: Path) -> None:
    root = make_root(tmp_path)
    (root / "LaPa/val/images/b.jpg").unlink()
    assert LaPa(root, "val").missing_images() == ["LaPa/val/images/b.jpg"]
    with pytest.raises(InputFileError, match=r"LaPa/test/landmarks' \(there is none\).*LaPa\.tar\.gz"):
        LaPa(root, "test")
    with pytest.raises(InputError, match="train, val, test"):
        LaPa(root, "valid")
    for path in (root / "LaPa/val/landmarks").iterdir():
        path.unlink()
    with pytest.raises(InputFileError, match="files of points.*got none"):
        LaPa(root, "val")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "'106' and then 106 lines .*got 0"),
        ("105\n" + "\n".join(POINTS), "got 106 after '105'"),
        ("106\n" + "\n".join(POINTS[:-1]), "got 105 after '106'"),
        ("106\n" + "\n".join([*POINTS[:-1], "1 2 3"]), "got '1 2 3'"),
        ("106\n" + "\n".join([*POINTS[:-1], "1 x"]), "numbers in point 105 of .*got 'x'"),
    ],
)
def test_a_damaged_file_is_named(tmp_path: Path, content: str, message: str) -> None:
    root = make_root(tmp_path)
    (root / "LaPa/val/landmarks/b.txt").write_text(content)
    with pytest.raises(InputFileError, match=message) as caught:
        LaPa(root, "val")
    assert "b.txt" in str(caught.value)


@pytest.fixture(scope="module")
def fuzz_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_root(tmp_path_factory.mktemp("lapa"), ("a",))


@thousand
@given(
    content=st.one_of(
        nearly(CONTENT.split("\n")).map(lambda rows: "\n".join(rows).encode("utf-8", "surrogatepass")),
        damaged(CONTENT.encode()),
        st.binary(max_size=40),
    )
)
def test_any_file_gives_a_face_or_an_input_error(fuzz_root: Path, content: bytes) -> None:
    (fuzz_root / "LaPa/val/landmarks/a.txt").write_bytes(content)
    assert_sound_or_refused(lambda: LaPa(fuzz_root, "val"))

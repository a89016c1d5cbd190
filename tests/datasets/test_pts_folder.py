from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from lgcn.checks import InputFileError
from lgcn.datasets import PtsFolder, read_pts
from lgcn.schemes import LandmarkScheme
from tests.datasets.fuzz import assert_sound_or_refused, damaged, nearly, thousand

THREE = LandmarkScheme("three", ("a", "b", "c"), normalizers={"ab": ((0,), (1,))}, default_normalizer="ab")
CONTENT = "version: 1\nn_points: 3\n{\n2 3\n5 7\n9.5 4\n}\n"


def add(root: Path, name: str, content: str = CONTENT) -> Path:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (30, 20)).save(path)
    path.with_suffix(".pts").write_text(content)
    return root


def test_images_of_a_folder_and_those_below_it(tmp_path: Path) -> None:
    for name in ("b.png", "deep/er/a.tif", "deep/c.JPG"):
        add(tmp_path, name)
    dataset = PtsFolder(tmp_path, scheme=THREE)
    assert dataset.image_ids == ["b.png", "deep/c.JPG", "deep/er/a.tif"]
    assert dataset[0].y.tolist() == [[1, 2], [4, 6], [8.5, 3]]
    assert dataset[1].normalizer.item() == 5
    assert PtsFolder(tmp_path, "deep/er,deep", scheme=THREE).image_ids == ["deep/er/a.tif", "deep/c.JPG"]
    assert PtsFolder(tmp_path, "deep", scheme=THREE, protocol="hrnet")[0].y[0].tolist() == [2, 3]
    assert PtsFolder(tmp_path, "deep", scheme=THREE, one_based=False)[0].y[0].tolist() == [2, 3]


def test_a_landmark_that_was_not_annotated(tmp_path: Path) -> None:
    add(tmp_path, "a.png", "nan nan\n5 7\n9.5 4\n")
    data = PtsFolder(tmp_path, scheme=THREE)[0]
    assert data.visibility.tolist() == [0, 1, 1]
    assert data.y[0].isnan().all() and data.y[1].tolist() == [4, 6]
    assert data.bbox.tolist() == [[4, 3, 9, 6]]
    assert data.normalizer.isnan()


def test_the_scheme_follows_from_the_number_of_points(tmp_path: Path) -> None:
    points = "\n".join(f"{k} {k % 7}" for k in range(29))
    add(tmp_path, "a.png", points)
    assert PtsFolder(tmp_path).scheme.name == "cofw29"
    with pytest.raises(InputFileError, match=r"Expected 68 landmarks in .*a\.pts.*'ibug68' has \(got 29\)"):
        PtsFolder(tmp_path, scheme="ibug68")
    add(tmp_path, "a.png")
    with pytest.raises(InputFileError, match=r"one known scheme has: .*wflw98 98 \(got 3\).*SCHEMES\.register"):
        PtsFolder(tmp_path)
    add(tmp_path, "b.png", points)
    with pytest.raises(InputFileError, match=r"Expected 3 points in .*b\.pts"):
        PtsFolder(tmp_path, scheme=THREE)


def test_images_without_points_are_counted(tmp_path: Path) -> None:
    add(tmp_path, "a.png")
    Image.new("RGB", (3, 2)).save(tmp_path / "b.png")
    (tmp_path / ".hidden.png").touch()
    dataset = PtsFolder(tmp_path, scheme=THREE)
    assert len(dataset) == 1
    assert dataset.skipped == {"images without .pts": 1}
    assert dataset.completeness().message == "split 'all': 1 faces (images without .pts: 1, such as 'b.png')"
    (tmp_path / "a.pts").unlink()
    with pytest.raises(InputFileError, match=r"annotated images.*got 2 images and 0 .pts files.*NAME\.pts next to it"):
        PtsFolder(tmp_path, scheme=THREE)


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    add(tmp_path, "a.png")
    for split in ("b", "", "all,b", str(tmp_path)):
        with pytest.raises(InputFileError, match=r"folder of images.*there is none"):
            PtsFolder(tmp_path, split, scheme=THREE)


@pytest.fixture(scope="module")
def fuzz_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return add(tmp_path_factory.mktemp("pts"), "a.png")


@thousand
@given(
    content=st.one_of(
        nearly(CONTENT.split()).map(lambda words: " \n".join(words).encode("utf-8", "surrogatepass")),
        nearly(["1 2", "nan 3", "5 6"]).map(lambda rows: "\n".join(rows).encode("utf-8", "surrogatepass")),
        damaged(CONTENT.encode()),
    )
)
def test_any_file_gives_a_face_or_an_input_error(fuzz_root: Path, content: bytes) -> None:
    (fuzz_root / "a.pts").write_bytes(content)
    assert_sound_or_refused(lambda: PtsFolder(fuzz_root, scheme=THREE))


def test_the_real_faces(shared: Path) -> None:
    root = shared / "data" / "300w"
    dataset = PtsFolder(root, "lfpw/testset")
    assert (len(dataset), dataset.scheme.name) == (224, "ibug68")
    points = read_pts(root / dataset.image_ids[7].replace(".jpg", ".pts"))
    torch.testing.assert_close(dataset.pos[7], points - 1)

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from lgcn.checks import InputFileError
from lgcn.datasets import PtsFolder, read_pts
from lgcn.datasets.check import check_dataset
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
    with pytest.raises(
        InputFileError, match=r"known scheme has: .*wflw98 98 \(got 3\).*Give 'scheme', .*a \.yaml file"
    ):
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


def test_any_format_that_pillow_opens(tmp_path: Path) -> None:
    for name in ("a.gif", "b.jp2", "c.ppm", "d.TGA"):
        add(tmp_path, name)
    Image.new("RGB", (30, 20)).save(tmp_path / "e.photo", format="PNG")
    (tmp_path / "e.pts").write_text(CONTENT)
    (tmp_path / "f.xyz").write_bytes(b"no image that Pillow knows")
    (tmp_path / "f.pts").write_text(CONTENT)
    dataset = PtsFolder(tmp_path, scheme=THREE)
    assert dataset.image_ids == ["a.gif", "b.jp2", "c.ppm", "d.TGA", "e.photo"]
    assert dataset[4].image.shape == (1, 3, 20, 30)
    assert dataset.skipped == {".pts without image": 1}
    assert ".pts without image: 1, such as 'f.pts'" in str(dataset.completeness().message)


def test_links_are_followed_and_cycles_end(tmp_path: Path) -> None:
    root, elsewhere = tmp_path / "root", tmp_path / "elsewhere"
    add(root, "own/a.png")
    add(elsewhere, "deep/b.png")
    (root / "linked").symlink_to(elsewhere)
    (root / "own" / "up").symlink_to(root)
    assert PtsFolder(root, scheme=THREE).image_ids == ["linked/deep/b.png", "own/a.png"]


def test_a_folder_that_may_not_be_listed_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add(tmp_path, "a.png")
    add(tmp_path, "closed/b.png")
    listed = Path.iterdir

    def refuse(folder: Path) -> object:
        if folder.name == "closed":
            raise PermissionError(13, "Permission denied")
        return listed(folder)

    monkeypatch.setattr(Path, "iterdir", refuse)
    with pytest.raises(InputFileError, match=r"list the folder '.*closed' .*Permission denied"):
        PtsFolder(tmp_path, scheme=THREE)
    report, checked = check_dataset("pts", tmp_path, options={"scheme": THREE})
    assert not checked
    assert "Permission denied" in str(report.findings[0])


@pytest.mark.parametrize("names", [("a.jpg", "a.png"), ("a.png", "a.PNG")])
def test_two_images_with_one_annotation(tmp_path: Path, names: tuple[str, str]) -> None:
    for name in names:
        add(tmp_path, name)
    with pytest.raises(InputFileError, match=r"one image for a \.pts file .*a\.\w+' and 'a\.\w+'.*Remove or rename"):
        PtsFolder(tmp_path, scheme=THREE)


def test_a_split_outside_the_root(tmp_path: Path) -> None:
    add(tmp_path, "in/a.png")
    add(tmp_path, "out/b.png")
    with pytest.raises(InputFileError, match=r"a folder of images below '.*in' \(got '\.\./out'\)"):
        PtsFolder(tmp_path / "in", "../out", scheme=THREE)

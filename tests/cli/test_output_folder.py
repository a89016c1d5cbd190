from pathlib import Path

import pytest

from lgcn.checks import InputFileError
from lgcn.cli.output_folder import OutputFolder
from lgcn.cli.result_names import unique_stems
from lgcn.cli.writable import check_not_replaced, writing_to


def test_stems_are_unique_across_folders_suffixes_and_case() -> None:
    names = ["x/photo.jpg", "y/photo.jpg", "x/Photo.png", "photo-2.jpg", "other.jpg"]
    assert unique_stems([Path(name) for name in names]) == ["photo", "photo-2", "Photo-3", "photo-2-2", "other"]


def test_stems_that_differ_in_the_encoding_of_accents_are_one_name() -> None:
    names = ["a/caf\u00e9.jpg", "b/cafe\u0301.jpg", "c/CAFE\u0301.jpg"]
    assert unique_stems([Path(name) for name in names]) == ["caf\u00e9", "cafe\u0301-2", "CAFE\u0301-3"]


def test_long_names_are_shortened_until_the_results_fit() -> None:
    stems = unique_stems([Path(f"{number}/{125 * 'ä'}.jpg") for number in range(2)])
    assert stems[1] == f"{stems[0]}-2"
    assert all(len(f"{stem}_overlay.png".encode()) <= 255 for stem in stems)


def test_a_folder_below_a_file_is_refused(tmp_path: Path) -> None:
    OutputFolder(tmp_path / "new" / "folder", [], {}, file_format="json")
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(InputFileError, match="is a file"):
            OutputFolder(folder, [], {}, file_format="json")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("landmarks.json", {"file_format": "json"}),
        ("landmarks.csv", {"file_format": "csv"}),
        ("landmarks.jsonl", {"file_format": "json"}),
        ("landmarks.jsonl", {"file_format": "pts"}),
        ("a_overlay.png", {"file_format": "csv", "overlay": True}),
        ("a.pts", {"file_format": "pts"}),
        ("a_12.pts", {"file_format": "pts"}),
        ("a_1_face.pts", {"file_format": "pts"}),
    ],
)
def test_earlier_results_are_not_replaced(name: str, options: dict[str, object], tmp_path: Path) -> None:
    image = tmp_path / "a.png"
    folder = tmp_path / "out"
    folder.mkdir()
    for other in ("landmarks.txt", "ab.pts", "a_x.pts", "b_overlay.png"):
        (folder / other).touch()
    OutputFolder(folder, [image], {}, **options)  # type: ignore[arg-type]
    (folder / name).write_text("earlier")
    with pytest.raises(InputFileError, match=rf"got '.*{name}'.*'--overwrite'"):
        OutputFolder(folder, [image], {}, **options)  # type: ignore[arg-type]
    OutputFolder(folder, [image], {}, overwrite=True, **options)  # type: ignore[arg-type]
    assert (folder / name).read_text() == "earlier"


def test_a_folder_with_the_name_of_a_result_is_refused(tmp_path: Path) -> None:
    (tmp_path / "landmarks.json").mkdir()
    with pytest.raises(InputFileError, match="it is a folder"):
        check_not_replaced([tmp_path / "landmarks.json"], overwrite=True)


def test_a_full_disk_is_an_error_of_the_output_folder() -> None:
    with pytest.raises(InputFileError, match=r"'out' \(No space left on device\).*'--output'"), writing_to(Path("out")):
        raise OSError(28, "No space left on device")

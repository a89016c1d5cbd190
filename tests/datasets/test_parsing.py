from pathlib import Path

import pytest

from lgcn.checks import InputFileError
from lgcn.datasets.parsing import image_path, path_below, read_text


@pytest.mark.parametrize(
    ("name", "folder", "path"),
    [
        ("a.jpg", "", "a.jpg"),
        ("a.jpg", "images", "images/a.jpg"),
        ("/a.jpg", "images", "images/a.jpg"),
        ("//a.jpg", ".", "a.jpg"),
        (r"sub\a.jpg", "images", "images/sub/a.jpg"),
        (r"\\server\a.jpg", "", "server/a.jpg"),
        ("./sub/../a.jpg", "", "a.jpg"),
        ("../images/a.jpg", "annotations", "images/a.jpg"),
        ("/data/set/images/a.jpg", "images", "images/a.jpg"),
    ],
)
def test_image_paths_are_relative_to_the_root(name: str, folder: str, path: str) -> None:
    assert image_path(name, "row 1", root="/data/set", folder=folder) == path


@pytest.mark.parametrize(
    "name",
    ["../a.jpg", "../../etc/passwd", r"..\..\a.jpg", "/../a.jpg", "a/../../b.jpg", "C:/a.jpg", r"c:\a.jpg", ".."],
)
def test_an_image_path_never_leads_out_of_the_root(name: str) -> None:
    with pytest.raises(InputFileError, match="below the root in row 1"):
        image_path(name, "row 1", root="/data/set")


@pytest.mark.parametrize("name", ["", ".", "/", "a\0b", "\ud800"])
def test_names_that_no_file_has(name: str) -> None:
    with pytest.raises(InputFileError, match="name of an image in row 1"):
        image_path(name, "row 1", root="/data/set", folder="images")


def test_a_split_is_below_the_root(tmp_path: Path) -> None:
    assert path_below(tmp_path, "a/../b.json", "a file") == tmp_path / "b.json"
    assert path_below(tmp_path, str(tmp_path / "b.json"), "a file") == tmp_path / "b.json"
    for name in ("../b.json", "/b.json", "a/../../b.json"):
        with pytest.raises(InputFileError, match="Expected a file below"):
            path_below(tmp_path, name, "a file")


def test_text_in_other_encodings(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    for content, text in (
        ("é 1".encode("utf-8-sig"), "é 1"),
        ("é 1".encode("utf-16"), "é 1"),
        ("é 1".encode("latin-1"), "\udce9 1"),
    ):
        path.write_bytes(content)
        assert read_text(path, "a file") == text
    with pytest.raises(InputFileError, match="Expected a file at"):
        read_text(tmp_path / "no\0ne", "a file")


def test_messages_escape_quoted_text(tmp_path: Path) -> None:
    with pytest.raises(InputFileError) as caught:
        read_text(tmp_path / "a\x1b[31m\n.txt", "a file")
    assert "a\\x1b[31m\\x0a.txt" in str(caught.value)

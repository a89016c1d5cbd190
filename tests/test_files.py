import json
import os
from pathlib import Path

import pytest

from lgcn.files import (
    escape_name,
    escape_surrogates,
    printable,
    replace_when_done,
    unescape_name,
    write_from_memory,
    write_text,
)


def test_write_text_makes_the_folders_and_replaces_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "table.json"
    write_text(path, "first")
    write_text(path, "naïve ±")
    assert path.read_text(encoding="utf-8") == "naïve ±"
    assert [one.name for one in path.parent.iterdir()] == ["table.json"]


def test_the_temporary_file_keeps_the_suffix_and_the_folder(tmp_path: Path) -> None:
    path = tmp_path / "overlay.png"
    with replace_when_done(str(path)) as temporary:
        assert (temporary.parent, temporary.suffix) == (tmp_path, ".png")
        assert temporary != path
        temporary.write_bytes(b"png")
        assert not path.exists()
    assert path.read_bytes() == b"png"


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "table.json"
    write_text(path, "old")

    def fail_half_way() -> None:
        with replace_when_done(path) as temporary:
            temporary.write_text("half")
            raise RuntimeError("disk full")

    with pytest.raises(RuntimeError, match="disk full"):
        fail_half_way()
    assert path.read_text() == "old"
    assert [one.name for one in tmp_path.iterdir()] == ["table.json"]


def test_names_as_long_as_the_file_system_allows(tmp_path: Path) -> None:
    path = tmp_path / f"{'n' * 250}.json"
    write_text(path, "text")
    assert path.read_text() == "text"


def test_a_link_is_followed_and_kept(tmp_path: Path) -> None:
    write_text(tmp_path / "target.txt", "old")
    (tmp_path / "link.txt").symlink_to("target.txt")
    write_text(tmp_path / "link.txt", "new")
    assert (tmp_path / "link.txt").is_symlink()
    assert (tmp_path / "target.txt").read_text() == "new"


def test_a_device_is_written_to_and_not_replaced() -> None:
    write_text("/dev/null", "text")
    assert Path("/dev/null").is_char_device()


def test_a_full_disk_leaves_no_truncated_file(small_disk: Path) -> None:
    from PIL import Image

    noise = Image.effect_noise((400, 400), 100)
    with pytest.raises(OSError, match="No space left"), write_from_memory(small_disk / "noise.png") as buffer:
        noise.save(buffer, format="png")
    with pytest.raises(OSError, match="No space left"):
        write_text(small_disk / "text.txt", 100_000 * "x")
    assert list(small_disk.iterdir()) == []
    write_text(small_disk / "text.txt", "there is room again")


NAMES = [
    "plain.jpg",
    "ä 中 😀.jpg",
    "line\nbreak\r.jpg",
    os.fsdecode(b"not utf-8 \xff\x80.jpg"),
    "C:\\users\\photo.jpg",
    r"a\x0ab.jpg",
    r"\x5cx0a\udcff\\u0041",
    "  spaces ",
    "\x1b[31m\u2028\u202e\0",
]


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "cp1252"])
@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_escaped_names_are_one_line_and_give_the_name_back(name: str, encoding: str) -> None:
    escaped = escape_name(name, encoding)
    assert escaped.isprintable()
    assert escaped.encode(encoding).decode(encoding) == escaped
    assert unescape_name(escaped) == name


def test_names_without_special_characters_do_not_change() -> None:
    for name in (NAMES[0], NAMES[1], NAMES[4]):
        assert escape_name(name) == printable(name) == name
    assert escape_name(NAMES[1], "ascii") == r"\xe4 \u4e2d \U0001f600.jpg"
    assert len({escape_name(name) for name in NAMES}) == len(NAMES)


def test_printable_text_is_not_escaped_twice() -> None:
    for name in NAMES:
        assert printable(printable(name)) == printable(name)


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_json_with_any_name_is_utf_8_and_gives_the_name_back(name: str) -> None:
    text = escape_surrogates(json.dumps([name], ensure_ascii=False))
    assert json.loads(text.encode("utf-8")) == [name]

from pathlib import Path

import pytest

from lgcn.files import replace_when_done, write_text


def test_write_text_makes_the_folders_and_replaces_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "table.json"
    write_text(path, "first")
    write_text(path, "naïve ±")
    assert path.read_text(encoding="utf-8") == "naïve ±"
    assert [one.name for one in path.parent.iterdir()] == ["table.json"]


def test_the_temporary_file_keeps_the_suffix_and_lies_beside(tmp_path: Path) -> None:
    path = tmp_path / "overlay.png"
    with replace_when_done(str(path)) as beside:
        assert (beside.parent, beside.suffix) == (tmp_path, ".png")
        assert beside != path
        beside.write_bytes(b"png")
        assert not path.exists()
    assert path.read_bytes() == b"png"


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "table.json"
    write_text(path, "old")

    def fail_half_way() -> None:
        with replace_when_done(path) as beside:
            beside.write_text("half")
            raise RuntimeError("disk full")

    with pytest.raises(RuntimeError, match="disk full"):
        fail_half_way()
    assert path.read_text() == "old"
    assert [one.name for one in tmp_path.iterdir()] == ["table.json"]

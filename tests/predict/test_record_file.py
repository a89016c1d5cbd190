import csv
import io
import json
import os
from pathlib import Path
from typing import BinaryIO

import pytest
import torch

from lgcn.checks import InputFileError
from lgcn.predict import Face, to_csv, to_json
from lgcn.predict.exports import EXPORTS
from lgcn.predict.output import to_record
from lgcn.predict.record_file import RecordFile

LANDMARKS = torch.tensor([[0.1, 0.0], [10.12345, -3.5]])
FACE = Face(torch.tensor([1.0, 2.0, 3.25, 4.0]), LANDMARKS, LANDMARKS + 1, torch.tensor([0.123456, 1.0]))
RESULTS = [("a.jpg", [FACE, FACE]), ("\u00e4\n.jpg", []), (os.fsdecode(b"\xff.jpg"), [FACE])]
RECORDS = [to_record(*each) for each in RESULTS]


def test_records_are_on_the_disk_as_they_are_made(tmp_path: Path) -> None:
    file = RecordFile(tmp_path / "new" / "landmarks.jsonl")
    assert list(file.records()) == []
    for number, record in enumerate(RECORDS, start=1):
        file.append(record)
        lines = file.path.read_text(encoding="utf-8").splitlines()
        assert [json.loads(line) for line in lines] == RECORDS[:number] == list(file.records())
    assert (file.num_images, file.num_faces) == (3, 3)


def test_exports_are_what_the_functions_return(tmp_path: Path) -> None:
    for suffix, expected in (("json", to_json(RESULTS)), ("csv", to_csv(RESULTS, 2))):
        name, write = EXPORTS[suffix]
        write(tmp_path / name, iter(RECORDS), 2)
        assert (tmp_path / name).read_text(encoding="utf-8") == expected
        write(tmp_path / name, [], 2)
        assert (tmp_path / name).read_text() == {"json": to_json([]), "csv": to_csv([], 2)}[suffix]


def test_a_second_run_takes_nothing_from_the_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("fcntl", reason="needs locks")
    monkeypatch.setattr("lgcn.predict.record_file._PATIENCE", 0.0)
    first, second = (RecordFile(tmp_path / "landmarks.jsonl") for _ in range(2))
    first.begin()
    first.append(RECORDS[0])
    for write in (second.begin, lambda: second.append(RECORDS[1])):
        with pytest.raises(InputFileError, match="another process is writing"):
            write()
    first.append(RECORDS[1])
    first.close()
    with pytest.raises(InputFileError, match="which another run has written meanwhile"):
        second.begin(replace=False)
    assert list(first.records()) == RECORDS[:2]
    second.begin()
    assert first.path.read_bytes() == b""


def test_an_empty_record_is_resumed(tmp_path: Path) -> None:
    (tmp_path / "landmarks.jsonl").touch()
    file = RecordFile(tmp_path / "landmarks.jsonl")
    assert file.resume() == {}
    file.begin(replace=False)
    file.append(RECORDS[0])
    assert list(file.records()) == RECORDS[:1]


@pytest.mark.parametrize("cut", range(0, 400, 23))
def test_a_file_cut_off_anywhere_is_continued_without_loss(cut: int, tmp_path: Path) -> None:
    first = RecordFile(tmp_path / "landmarks.jsonl")
    for record in RECORDS:
        first.append(record)
    first.close()
    whole = first.path.read_bytes()
    first.path.write_bytes(whole[: len(whole) - cut])
    second = RecordFile(first.path)
    done = second.resume()
    kept = whole[: len(whole) - cut].count(b"\n")
    assert list(done) == [record["image"] for record in RECORDS[:kept]]
    assert second.num_images == kept
    for record in RECORDS:
        if record["image"] not in done:
            second.append(record)
    assert first.path.read_bytes() == whole


def test_what_is_known_of_an_image_but_its_faces_comes_back(tmp_path: Path) -> None:
    file = RecordFile(tmp_path / "landmarks.jsonl")
    assert file.resume() == {}
    file.append({"image": "a.jpg", "files": "a-2", "faces": []})
    file.close()
    assert RecordFile(file.path).resume() == {"a.jpg": {"image": "a.jpg", "files": "a-2"}}


@pytest.mark.skipif(os.name != "posix", reason="locks of POSIX")
def test_a_file_that_another_run_writes_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lgcn.predict.record_file._PATIENCE", 0.0)
    first, second = RecordFile(tmp_path / "landmarks.jsonl"), RecordFile(tmp_path / "landmarks.jsonl")
    first.append(RECORDS[0])
    with pytest.raises(InputFileError, match=r"landmarks\.jsonl.*another process is writing"):
        second.resume()
    first.close()
    assert list(second.resume()) == ["a.jpg"]


@pytest.mark.parametrize("line", ["not json", "[]", '{"image": "b.jpg"}', '{"image": 5, "faces": []}'])
def test_a_damaged_line_is_named(line: str, tmp_path: Path) -> None:
    path = tmp_path / "landmarks.jsonl"
    path.write_text(f"{json.dumps(RECORDS[0])}\n{line}\n{json.dumps(RECORDS[0])}\n")
    with pytest.raises(InputFileError, match=r"line 2 of '.*landmarks\.jsonl'"):
        RecordFile(path).resume()


def test_a_line_that_does_not_fit_on_the_disk_is_not_left_in_part(tmp_path: Path) -> None:
    file = RecordFile(tmp_path / "landmarks.jsonl")
    file.append(RECORDS[0])
    whole = file.path.read_bytes()

    class AlmostFull:
        def __init__(self, file: BinaryIO) -> None:
            self.file = file

        def write(self, content: bytes) -> int:
            if self.file.tell() > len(whole):
                raise OSError(28, "No space left on device")
            return self.file.write(content[:10])

        def __getattr__(self, name: str) -> object:
            return getattr(self.file, name)

    assert file._file is not None
    file._file = AlmostFull(file._file)  # type: ignore[assignment]
    with pytest.raises(OSError, match="No space left"):
        file.append(RECORDS[2])
    assert file.path.read_bytes() == whole
    assert [record["image"] for record in file.records()] == ["a.jpg"]


def test_records_can_be_read_as_csv_after_json(tmp_path: Path) -> None:
    file = RecordFile(tmp_path / "landmarks.jsonl")
    for record in RECORDS:
        file.append(record)
    EXPORTS["csv"][1](tmp_path / "landmarks.csv", file.records(), 2)
    rows = list(csv.DictReader(io.StringIO((tmp_path / "landmarks.csv").read_text(encoding="utf-8"))))
    assert [row["face"] for row in rows] == ["0", "1", "0"]

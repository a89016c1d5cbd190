import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lgcn.predict import Face
from lgcn.predict.output import to_record
from lgcn.schemes import LandmarkScheme
from lgcn.visualization import save_html_report

SCHEME = LandmarkScheme(name="three", names=("one", "two", "three"))
POS = torch.tensor([[100.0, 90.0], [180.0, 95.0], [150.0, 160.0]])


def record(name: str, *confidences: float, covariance: float | None = None) -> dict[str, object]:
    certain = None if covariance is None else covariance * torch.eye(2).expand(3, 2, 2)
    error = None if covariance is None else torch.full((3,), 1.25 * covariance**0.5)
    faces = [
        Face(torch.tensor([90.0, 80.0, 200.0, 170.0]), POS, POS, torch.full((3,), each), None, certain, error, 50.0)
        for each in confidences
    ]
    return to_record(name, faces)


def test_the_worst_faces_come_first_with_their_thumbnails(tmp_path: Path) -> None:
    photo = tmp_path / "<b>.jpg"
    Image.effect_noise((700, 500), 60).convert("RGB").save(photo)
    records = [record(str(photo), 0.9, 0.2), record("gone.jpg", 0.5), record("empty&.jpg")]
    path = tmp_path / "report.html"
    save_html_report(path, iter(records), SCHEME, unreadable={"bad.jpg": "cut off"})
    page = path.read_text(encoding="utf-8")
    assert re.findall(r"score (0\.\d\d)", page) == ["0.20", "0.50", "0.90"]
    assert page.count("data:image/jpeg;base64,") == 2 and page.count("cannot be read any more") == 1
    assert "&lt;b&gt;.jpg" in page and "<b>.jpg" not in page
    assert "empty&amp;.jpg" in page and "bad.jpg<td class=muted>cut off" in page
    assert not re.search(r"(src|href)='?https?:", page), "it needs no other file"
    save_html_report(path, records, SCHEME, max_faces=1)
    assert re.findall(r"score (0\.\d\d)", path.read_text()) == ["0.20"]
    assert "1 of 3 faces" in path.read_text()


def test_a_thumbnail_repeats_no_warning(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    photo = tmp_path / "12 bits.png"
    Image.fromarray((np.arange(300 * 400).reshape(300, 400) % 4096).astype(np.uint16)).save(photo)
    save_html_report(tmp_path / "report.html", [record(str(photo), 0.9)], SCHEME)
    assert not recwarn.list


def test_faces_that_do_not_fit_rank_first(tmp_path: Path) -> None:
    records = [record("a.jpg", 0.1, covariance=0.01), record("b.jpg", 0.9, covariance=4.0)]
    for each in records:
        each["faces"][0]["covered"] = 3 * [True]
    save_html_report(tmp_path / "report.html", records, SCHEME)
    page = (tmp_path / "report.html").read_text()
    assert page.index("a.jpg") < page.index("b.jpg")
    assert "3 of 3 landmarks covered" in page


def test_expected_errors_rank_before_scores(tmp_path: Path) -> None:
    records = [record("a.jpg", 0.1, covariance=0.01), record("b.jpg", 0.9, covariance=4.0)]
    save_html_report(tmp_path / "report.html", records, SCHEME)
    page = (tmp_path / "report.html").read_text()
    assert page.index("b.jpg") < page.index("a.jpg")
    assert "expected error 5.0 % of" in page


def test_two_landmarks_are_enough(tmp_path: Path) -> None:
    face = Face(torch.tensor([90.0, 80.0, 200.0, 170.0]), POS[:2], POS[:2], torch.tensor([0.9, 0.4]))
    save_html_report(tmp_path / "report.html", [to_record("a.jpg", [face])], LandmarkScheme("two", ("one", "two")))
    assert "least sure: two, one" in (tmp_path / "report.html").read_text()

import csv
import io
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from lgcn.cli.main import main
from lgcn.datasets import read_pts
from lgcn.models import create_detector

ROOT = Path(__file__).resolve().parents[2]
ASTRONAUT = ROOT / "examples" / "astronaut.jpg"
FACE = [180.0, 87.0, 272.0, 179.0]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """An untrained network, the smallest that there is."""
    folder = tmp_path_factory.mktemp("model")
    torch.manual_seed(0)
    create_detector(scheme="ibug68", backbone="test_efficientnet", input_size=(64, 64)).save_pretrained(folder)
    return str(folder)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder of two images, a hidden file, a text file, a folder with an image, and boxes for the images."""
    folder = tmp_path / "photos"
    (folder / "deeper").mkdir(parents=True)
    noise = np.random.default_rng(0).integers(0, 256, (90, 120, 3), dtype=np.uint8)
    for name in ("a.png", "b.JPG", "deeper/c.png", ".hidden.png", "a_overlay.png"):
        Image.fromarray(noise).save(folder / name)
    (folder / "notes.txt").write_text("not an image")
    boxes = {"a.png": [[10, 10, 60, 60], [60, 20, 110, 70]], "b.JPG": [[20, 20, 70, 70]], "c.png": []}
    (tmp_path / "boxes.json").write_text(json.dumps(boxes))
    return folder


@pytest.fixture
def predict(model: str):  # type: ignore[no-untyped-def]
    return lambda *words: main(["predict", "--model", model, *map(str, words)])


def names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_json_is_printed_without_output(predict, photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = names(photos.parent)
    assert predict(photos, "--boxes", photos.parent / "boxes.json") == 0
    printed = capsys.readouterr()
    records = json.loads(printed.out)
    assert [record["image"] for record in records] == [str(photos / "a.png"), str(photos / "b.JPG")]
    assert [len(record["faces"]) for record in records] == [2, 1]
    face = records[0]["faces"][1]
    assert list(face)[:5] == ["box", "score", "landmarks", "initial", "confidence"]
    assert face["box"] == [60, 20, 110, 70]
    assert np.shape(face["landmarks"]) == np.shape(face["initial"]) == (68, 2)
    assert np.shape(face["confidence"]) == (68,)
    assert names(photos.parent) == before


def test_csv_is_printed_and_can_be_given_as_boxes(
    predict, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert predict(photos / "a.png", "--boxes", tmp_path / "boxes.json", "--format", "csv") == 0
    text = capsys.readouterr().out
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [row["image"] for row in rows] == [str(photos / "a.png")] * 2
    assert len(rows[0]) == 7 + 11 * 68
    (tmp_path / "again.csv").write_text(text)
    assert predict(photos / "a.png", "--boxes", tmp_path / "again.csv", "--format", "csv") == 0
    assert capsys.readouterr().out == text


def test_output_holds_the_landmarks_and_the_overlays(
    predict, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "new" / "out"
    options = ["--boxes", tmp_path / "boxes.json", "--output", out, "--overlay", "--edges", "20"]
    assert predict(photos, photos / "deeper" / "c.png", *options) == 0
    # c has no face, so there is nothing to draw.
    assert names(out) == ["a_overlay.png", "b_overlay.jpg", "landmarks.json", "landmarks.jsonl", "settings.json"]
    assert [len(record["faces"]) for record in json.loads((out / "landmarks.json").read_text())] == [2, 1, 0]
    assert Image.open(out / "a_overlay.png").size[0] % 120 == 0
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "3 faces in 3 images" in printed.err and "landmarks.json" in printed.err


def test_pts_is_one_file_a_face_and_one_based(predict, photos: Path, tmp_path: Path) -> None:
    options = ["--boxes", tmp_path / "boxes.json", "--output", tmp_path / "out"]
    assert predict(photos, *options, "--format", "pts") == 0
    assert names(tmp_path / "out") == ["a.pts", "a_1.pts", "b.pts", "landmarks.jsonl", "settings.json"]
    assert predict(photos, *options, "--resume") == 0
    records = json.loads((tmp_path / "out" / "landmarks.json").read_text())
    for name, face in zip(("a", "a_1", "b"), [*records[0]["faces"], *records[1]["faces"]], strict=True):
        points = read_pts(tmp_path / "out" / f"{name}.pts", 68)
        assert torch.allclose(points - 1, torch.tensor(face["landmarks"]), atol=1e-3)


def test_images_of_the_same_name_do_not_replace_each_other(
    predict, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a.png", "a_1.png"):
        shutil.copy(photos / "a.png", photos / "deeper" / name)
    (tmp_path / "boxes.csv").write_text(
        "photos/a.png,0,0,50,50\nphotos/a.png,50,0,99,50\ndeeper/a.png,0,0,50,50\ndeeper/a_1.png,0,0,50,50\n"
    )
    inputs = [photos / "a.png", photos / "deeper" / "a.png", photos / "deeper" / "a_1.png", photos / "a.png"]
    options = ["--boxes", tmp_path / "boxes.csv", "--output", tmp_path / "out", "--overlay", "--format", "pts"]
    assert predict(*inputs, *options) == 0
    overlays = ["a-2_overlay.png", "a_1_overlay.png", "a_overlay.png"]
    points = ["a.pts", "a_1_face.pts", "a-2.pts", "a_1.pts"]
    assert names(tmp_path / "out") == sorted([*overlays, *points, "landmarks.jsonl", "settings.json"])
    assert f"'{photos / 'deeper' / 'a.png'}' are named 'a-2'" in capsys.readouterr().err


def test_an_ambiguous_name_of_boxes_is_refused(
    predict, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(photos / "a.png", photos / "deeper")
    inputs = [photos / "a.png", photos / "deeper" / "a.png"]
    assert predict(*inputs, "--boxes", tmp_path / "boxes.json") == 2
    assert "one image for the name 'a.png'" in capsys.readouterr().err


def test_bad_images_do_not_affect_the_results_of_others(
    predict, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (photos / "text.jpg").write_text("not an image at all")
    (photos / "cut.jpg").write_bytes(ASTRONAUT.read_bytes()[:20000])
    (tmp_path / "empty").mkdir()
    inputs = [photos, "nowhere.jpg", tmp_path / "empty", photos / "deeper" / "c.png", photos / "unlisted.png"]
    shutil.copy(photos / "a.png", photos / "unlisted.png")
    boxes = json.loads((tmp_path / "boxes.json").read_text())
    boxes |= {"text.jpg": [], "cut.jpg": [], "c.png": [[500, 500, 600, 600]]}
    (tmp_path / "boxes.json").write_text(json.dumps(boxes))
    assert predict(*inputs, "--boxes", tmp_path / "boxes.json", "--output", tmp_path / "out", "--overlay") == 2

    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("lgcn: error: ")]
    for name in ("text.jpg", "cut.jpg", "nowhere.jpg", "/empty", "c.png", "unlisted.png"):
        assert sum(name in line for line in errors) == 1, name
    assert "6 inputs could not be used; results for 2 images." in errors[-1]
    files = ["a_overlay.png", "b_overlay.jpg", "landmarks.json", "landmarks.jsonl", "settings.json", "unreadable.csv"]
    assert names(tmp_path / "out") == files
    unreadable = list(csv.DictReader(io.StringIO((tmp_path / "out" / "unreadable.csv").read_text())))
    assert [Path(row["image"]).name for row in unreadable] == ["unlisted.png", "cut.jpg", "text.jpg", "c.png"]
    assert "cannot decode" in unreadable[1]["reason"]
    assert len(json.loads((tmp_path / "out" / "landmarks.json").read_text())) == 2


def test_only_bad_images_write_nothing(predict, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert predict("nowhere.jpg", "nowhere.png", "--output", tmp_path / "out") == 2
    printed = capsys.readouterr()
    assert printed.out == "" and printed.err.count("lgcn: error:") == 3
    assert not (tmp_path / "out").exists()


def test_a_long_list_is_processed_in_small_groups(
    predict, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from lgcn.predict import LandmarkPredictor

    groups: list[int] = []
    original = LandmarkPredictor.predict

    def watched(self, images, **options):  # type: ignore[no-untyped-def]
        groups.append(len(images))
        return original(self, images, **options)

    monkeypatch.setattr(LandmarkPredictor, "predict", watched)
    many = [shutil.copy(photos / "b.JPG", tmp_path / f"{number}.jpg") for number in range(7)]
    (tmp_path / "boxes.csv").write_text("".join(f"{number}.jpg,20,20,70,70\n" for number in range(7)))
    assert predict(*many, "--boxes", tmp_path / "boxes.csv", "--batch-size", 3) == 0
    assert groups == [3, 3, 1]
    records = json.loads(capsys.readouterr().out)
    landmarks = np.array([record["faces"][0]["landmarks"] for record in records])
    assert landmarks.shape == (7, 68, 2)
    # The kernels for a batch of one round otherwise, and the boxes of a random network's second pass amplify that.
    assert np.allclose(landmarks[:6], landmarks[:1], atol=0.01)


@pytest.mark.parametrize("kind", ["grey", "alpha", "palette", "cmyk", "16 bit"])
def test_images_of_every_kind_are_read(kind: str, predict, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image = Image.open(ASTRONAUT)
    path = tmp_path / ("photo.jpg" if kind == "cmyk" else "photo.png")
    if kind == "16 bit":
        Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257).save(path)
    else:
        mode = {"grey": "L", "alpha": "RGBA", "palette": "P", "cmyk": "CMYK"}[kind]
        image.convert(mode).save(path)
    (tmp_path / "boxes.json").write_text(json.dumps({"photo.png": [FACE], "photo.jpg": [FACE]}))
    assert predict(path, "--boxes", tmp_path / "boxes.json") == 0
    printed = capsys.readouterr()
    assert len(json.loads(printed.out)[0]["faces"]) == 1
    assert printed.err == ""


def test_no_face_is_an_empty_list_and_a_warning(predict, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, size in {"pixel.png": (1, 1), "wall.png": (200, 150)}.items():
        Image.new("RGB", size, "grey").save(tmp_path / name)
        assert predict(tmp_path / name) == 0
        printed = capsys.readouterr()
        assert json.loads(printed.out) == [{"image": str(tmp_path / name), "faces": []}]
        assert printed.err.startswith(f"lgcn: warning: No face was detected in '{tmp_path / name}'")
        assert printed.err.count("\n") == 1


def test_faces_are_detected_in_a_photo(predict, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert predict(ASTRONAUT, "--output", tmp_path, "--overlay") == 0
    boxes = torch.tensor([face["box"] for face in json.loads((tmp_path / "landmarks.json").read_text())[0]["faces"]])
    assert ((boxes - torch.tensor(FACE)).abs().amax(dim=1) < 20).any()
    assert Image.open(tmp_path / "astronaut_overlay.jpg").size[0] % 512 == 0
    # An untrained network is not sure of anything.
    assert predict(ASTRONAUT, "--min-confidence", "1") == 0
    assert "candidates below min_confidence = 1" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["nowhere.jpg"], "nowhere.jpg"),
        (["empty"], "folder 'empty'"),
        (["text.jpg"], "text.jpg"),
        (["cut.jpg"], "cut.jpg"),
        (["cut.jpg", "--output", "out", "--overlay"], "cut.jpg"),
        (["a.png", "--boxes", "outside.csv"], "outside the image"),
        (["a.png", "--boxes", "outside.csv", "--output", "out"], "outside the image"),
        (["a.png", "--boxes", "nan.csv"], "line 1 of 'nan.csv'"),
        (["a.png", "--boxes", "flat.csv"], "no area"),
        (["a.png", "--boxes", "other.csv"], "'other.csv'"),
        (["a.png", "--boxes", "nowhere.csv"], "nowhere.csv"),
        (["a.png", "--model", "lgcn-86"], "lgcn-86"),
        (["a.png", "--device", "gpu"], "gpu"),
        (["a.png", "--batch-size", "0"], "batch_size"),
        (["a.png", "--min-confidence", "2"], "min_confidence"),
        (["a.png", "--overlay"], "--output"),
        (["a.png", "--format", "pts"], "--output"),
        (["a.png", "--edges", "5", "--output", "out"], "--overlay"),
        (["a.png", "--draw", "indices", "--output", "out"], "--overlay"),
        (["a.png", "--aligned", "0", "--output", "out"], "--aligned"),
        (["a.png", "--report"], "--output"),
        (["a.png", "--resume"], "--output"),
        (["a.png", "--aligned", "50000", "--output", "out"], "--aligned"),
        (["a.png", "--smoothing", "2"], "video"),
        (["a.png", "--faces", "yunet"], "--face-weights"),
        (["a.png", "--faces", "whole_image", "--min-face", "0.1"], "no 'option of the face detector whole_image'"),
        (["a.png", "--boxes", "outside.csv", "--min-face", "0.1"], "'--boxes' and '--min-face'"),
        (["a.png", "--boxes", "outside.csv", "--faces", "whole_image"], "'--boxes' and '--faces whole_image'"),
        (["https://example.org/a.jpg"], "'https://example.org/a.jpg' (URLs are not read"),
        (["*.gif"], "matches nothing"),
        (["a.png", "--edges", "-5", "--output", "out", "--overlay"], "--edges"),
        (["a.png", "--output", "text.jpg"], "is a file"),
        (["a.png", "--output", ".", "--format", "pts"], "a.pts"),
        (["a.png", "a_overlay.png", "--output", ".", "--overlay"], "a_overlay.png"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_input_is_one_line_and_status_2(
    words: list[str],
    expected: str,
    predict,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()
    Path("text.jpg").write_text("not an image at all")
    Path("cut.jpg").write_bytes(ASTRONAUT.read_bytes()[:20000])
    for name in ("a.png", "a_overlay.png"):
        Image.new("RGB", (60, 50), "grey").save(name)
    Path("a.pts").write_text("an annotation that must not be lost")
    boxes = {"outside": "a.png,70,0,90,20", "nan": "a.png,nan,0,1,1", "flat": "a.png,5,5,5,9", "other": "b.png,1,1,9,9"}
    for name, line in boxes.items():
        Path(f"{name}.csv").write_text(line + "\n")
    before = {path: Path(path).read_bytes() for path in names(tmp_path)}
    assert predict(*words) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("lgcn: error: ") and printed.err.count("\n") == 1
    assert expected in printed.err
    assert {path: Path(path).read_bytes() for path in names(tmp_path)} == before


def test_an_empty_standard_input_is_named(
    predict, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO()))
    assert predict("-") == 2
    assert "the bytes given as '-'" in capsys.readouterr().err


def test_other_things_than_faces_are_not_searched_for(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    detector = create_detector(scheme="hand21", backbone="test_efficientnet", input_size=(64, 64))
    detector.save_pretrained(tmp_path / "model")
    words = ["predict", str(photos / "a.png"), str(photos / "b.JPG"), "--model", str(tmp_path / "model")]
    assert main(words) == 2
    printed = capsys.readouterr()
    assert "a box for each hand" in printed.err and printed.err.count("\n") == 1, "not once for each image"
    assert main([*words, "--faces", "whole_image", "--min-confidence", "0"]) == 0
    assert [len(record["faces"]) for record in json.loads(capsys.readouterr().out)] == [1, 1]


def test_edges_need_a_model_with_a_graph(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    detector = create_detector(
        scheme="ibug68", backbone="test_efficientnet", input_size=(64, 64), refiner={"name": "none"}
    )
    detector.save_pretrained(tmp_path / "model")
    words = ["--model", tmp_path / "model", "--output", tmp_path / "out", "--overlay", "--edges", "5"]
    assert main(["predict", *map(str, [photos / "a.png", *words])]) == 2
    assert "graph for '--edges'" in capsys.readouterr().err


def test_patterns_links_and_standard_input(
    predict, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (photos / "link.png").symlink_to("a.png")
    for circle in ("one", "two"):  # followed, they would be 2 ** 40 folders
        (photos / "deeper" / circle).symlink_to("..")
    boxes = {name: [[10, 10, 60, 60]] for name in ("a.png", "b.JPG", "c.png", "link.png", "-")}
    (tmp_path / "boxes.json").write_text(json.dumps(boxes))
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO((photos / "a.png").read_bytes())))
    inputs = [photos / "**" / "[!z]*.png", photos / "a.png", "-"]
    assert predict(*inputs, "--boxes", tmp_path / "boxes.json", "--format", "jsonl") == 0
    printed = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    found = {record["image"]: record["faces"] for record in printed}
    files = [photos / name for name in ("a.png", "a_overlay.png", "deeper/c.png", "link.png")]
    assert list(found) == [str(path) for path in files if path.name != "a_overlay.png"] + ["-"]
    assert found[str(photos / "link.png")] == found[str(photos / "a.png")] == found["-"]
    assert predict(photos / "**.png", "--boxes", tmp_path / "boxes.json", "--format", "jsonl") == 0
    printed = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [Path(record["image"]).name for record in printed] == ["a.png", "link.png"]
    assert predict(photos / "*.txt") == 2
    assert "pattern matches 1 file, none of them an image" in capsys.readouterr().err


def test_links_in_a_circle_and_strips_of_pixels_cost_nothing_but_themselves(
    predict, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (photos / "circle.png").symlink_to("circle.png")
    Image.new("RGB", (3000, 2)).save(photos / "strip.png")
    assert predict(photos, "--output", tmp_path / "out", "--overlay", "--workers", "0") == 2
    records = [json.loads(line) for line in (tmp_path / "out" / "landmarks.jsonl").read_text().splitlines()]
    assert [Path(record["image"]).name for record in records] == ["a.png", "b.JPG", "strip.png"]
    told = capsys.readouterr().err
    assert "circle.png' (got: Too many levels of symbolic links)" in told
    assert re.search(r"No face was detected in '.*strip.png'", told)


@pytest.mark.parametrize("option", [None, "--model", "--boxes", "--output"])
def test_a_path_that_cannot_be_is_one_line(
    option: str | None, predict, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [5000 * "a"] if option is None else [photos / "a.png", option, 5000 * "a"]
    assert predict(*words) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "File name too long" in error


def test_aligned_crops_and_the_report(predict, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = [photos, "--boxes", tmp_path / "boxes.json", "--output", out]
    assert predict(*words, "--aligned", "32", "--report", "--format", "npz") == 0
    assert names(out) == [
        *("a_1_aligned.png", "a_aligned.png", "b_aligned.png"),
        *("landmarks.jsonl", "landmarks.npz", "report.html", "settings.json"),
    ]
    assert Image.open(out / "a_1_aligned.png").size == (32, 32)
    face = json.loads((out / "landmarks.jsonl").read_text().splitlines()[0])["faces"][1]
    points = np.array(face["landmarks"]) @ np.array(face["aligned"])[:, :2].T + np.array(face["aligned"])[:, 2]
    assert np.abs((points.min(axis=0) + points.max(axis=0)) / 2 - 15.5).max() < 0.1
    assert np.load(out / "landmarks.npz")["landmarks"].shape == (3, 68, 2)


def test_an_empty_path_is_not_the_current_folder(predict, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        predict("")
    assert stop.value.code == 2 and "expected a path" in capsys.readouterr().err


def test_help_does_not_load_torch() -> None:
    code = "import sys; from lgcn.cli.main import main\ntry: main(['predict', '--help'])\nfinally: print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "--overlay" in done.stdout
    assert "torch" not in done.stdout.split()


def test_the_shipped_model_finds_the_astronaut(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", str(ASTRONAUT)]) == 0
    (record,) = json.loads(capsys.readouterr().out)
    (face,) = record["faces"]
    landmarks = torch.tensor(face["landmarks"])
    assert (torch.tensor(FACE) - torch.cat([landmarks.amin(dim=0), landmarks.amax(dim=0)])).abs().max() < 6
    # The tip of the nose and the outer corners of eyes and mouth, by eye.
    by_eye = torch.tensor([[224.0, 127.0], [195.0, 102.0], [254.0, 104.0], [202.0, 139.0], [244.0, 141.0]])
    assert (landmarks[[30, 36, 45, 48, 54]] - by_eye).abs().max() < 6

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lgcn.cli.main import main
from lgcn.models import create_detector

ROOT = Path(__file__).resolve().parents[2]
ASTRONAUT = ROOT / "examples" / "astronaut.jpg"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """An untrained network, the smallest that there is."""
    folder = tmp_path_factory.mktemp("model")
    torch.manual_seed(0)
    create_detector(scheme="ibug68", backbone="test_efficientnet", input_size=(64, 64)).save_pretrained(folder)
    return str(folder)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder of two images, with two faces and one, and their boxes beside it."""
    folder = tmp_path / "photos"
    folder.mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (2, 90, 120, 3), dtype=np.uint8)
    for name, pixels in zip(("a.png", "b.JPG"), noise, strict=True):
        Image.fromarray(pixels).save(folder / name)
    boxes = {"a.png": [[10, 10, 60, 60], [60, 20, 110, 70]], "b.JPG": [[20, 20, 70, 70]]}
    (tmp_path / "boxes.json").write_text(json.dumps(boxes))
    return folder


@pytest.fixture
def connectivity(model: str, tmp_path: Path):  # type: ignore[no-untyped-def]
    """Runs the command with the boxes of ``photos``."""
    boxes = ["--boxes", str(tmp_path / "boxes.json")]
    return lambda *words: main(["connectivity", "--model", model, *map(str, words), *boxes])


def names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_both_plots_are_written_and_the_weights_are_printed(
    connectivity, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "new" / "out"
    words = ["--output", out, "--strongest", 3, "--dpi", 60, "--landmarks", "chin", 45]
    assert connectivity(photos, *words) == 0
    assert names(out) == ["connectivity_edges.png", "connectivity_heat_map.png"]
    edges, heat_map = (Image.open(out / name).size for name in names(out))
    assert heat_map[0] == pytest.approx(7.3 * 60, abs=10)
    # Three rows of panels, three heat maps in a row.
    assert edges[1] > edges[0] * 1.2 and heat_map[0] > 2 * heat_map[1]
    printed = capsys.readouterr()
    lines = printed.out.splitlines()
    heads = [line for line in lines if not line.startswith(" ")]
    assert [head.partition(":")[0] for head in heads] == ["a.png, face 0", "a.png, face 1", "b.JPG"]
    for head in heads:
        least, largest, median, neighbours = map(
            float, re.findall(r"from (\S+) to (\S+) times.*1/67 .median (.+)., equivalent to (\S+) equal", head)[0]
        )
        assert 0 < least < median < largest and 1 < neighbours <= 67
    assert sum(" into chin: " in line for line in lines) == sum(" into left_eye_outer: " in line for line in lines) == 3
    for line in (line for line in lines if " into " in line):
        weights = list(map(float, re.findall(r"[a-z_0-9]+ (0\.\d{3})(?:,|$)", line)))
        assert len(weights) == 3 and weights == sorted(weights, reverse=True)
    assert sum("of the weight lies on other edges than in a.png, face 0" in line for line in lines) == 2
    assert printed.err.startswith("lgcn: note: written: ") and printed.err.count("\n") == 1


def test_a_graph_of_negative_weights_is_drawn_and_described(
    connectivity, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    refiner = {"connectivity": {"name": "adjacency", "normalization": "raw"}}
    detector = create_detector(scheme="ibug68", backbone="test_efficientnet", input_size=(64, 64), refiner=refiner)
    torch.manual_seed(0)
    torch.nn.init.normal_(detector.refiner.lgcn.connectivity.weight)
    detector.save_pretrained(tmp_path / "signed")
    out = tmp_path / "out"
    words = ["--output", out, "--dpi", 60, "--landmarks", "chin", "--model", tmp_path / "signed"]
    assert connectivity(photos / "a.png", *words) == 0
    assert names(out) == ["connectivity_edges.png", "connectivity_heat_map.png"]
    first, chin, _, change, *_ = capsys.readouterr().out.splitlines()
    least, most, share = map(float, re.findall(r"from (\S+) to (\S+) .median .*, (\S+)% negative", first)[0])
    assert least < 0 < most and 40 < share < 60
    weights = list(map(float, re.findall(r" (-?\d\.\d{3})(?:,|$)", chin)))
    assert len(weights) == 5 and min(weights) < 0
    assert sorted(map(abs, weights), reverse=True) == list(map(abs, weights))
    assert "changed by 0.0% of the size of a.png, face 0's weights" in change, "one matrix for all faces"


def test_weights_of_a_gaussian_refiner_are_not_compared_with_uniform_ones(
    connectivity, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    refiner = {"name": "gaussian", "gaussian": {"rank": 4}}
    detector = create_detector(scheme="ibug68", backbone="test_efficientnet", input_size=(64, 64), refiner=refiner)
    detector.refiner.fit(64 * torch.rand(80, 68, 2))
    detector.save_pretrained(tmp_path / "gaussian")
    words = ["--output", tmp_path / "out", "--dpi", 60, "--model", tmp_path / "gaussian"]
    assert connectivity(photos / "a.png", *words) == 0
    first, _, change = capsys.readouterr().out.splitlines()
    pattern = r"from (\S+) to (\S+) .median .+., own weights from (\S+) to (\S+) .median"
    least, most, least_own, most_own = map(float, re.findall(pattern, first)[0])
    assert 0 < least < most < most_own and least_own < most_own <= 1
    assert "changed by" in change and "uniform" not in first + change


@pytest.mark.parametrize(("ending", "start"), [("png", b"\x89PNG"), ("pdf", b"%PDF"), ("svg", b"<?xml")])
def test_without_landmarks_only_the_heat_map_is_drawn(
    ending: str, start: bytes, connectivity, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert connectivity(photos / "b.JPG", "--output", tmp_path / "out", "--format", ending) == 0
    assert names(tmp_path / "out") == [f"connectivity_heat_map.{ending}"]
    assert (tmp_path / "out" / f"connectivity_heat_map.{ending}").read_bytes().startswith(start)
    assert capsys.readouterr().out.count("\n") == 1


def test_images_with_the_same_name_get_distinct_titles(
    connectivity, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "other").mkdir()
    shutil.copy(photos / "b.JPG", tmp_path / "other")
    boxes = {"photos/b.JPG": [[20, 20, 70, 70]], "other/b.JPG": [[20, 20, 70, 70]]}
    (tmp_path / "boxes.json").write_text(json.dumps(boxes))
    assert connectivity(photos / "b.JPG", tmp_path / "other" / "b.JPG", "--output", tmp_path / "out") == 0
    first, second, moved = capsys.readouterr().out.splitlines()
    assert first.startswith(f"{photos / 'b.JPG'}: ") and second.startswith(f"{tmp_path / 'other' / 'b.JPG'}: ")
    assert "0.0% of the weight" in moved, "it is the same image"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["nowhere.jpg"], "nowhere.jpg"),
        (["a.png", "empty"], "folder 'empty'"),
        (["a.png", "text.jpg"], "text.jpg"),
        (["a.png", "b.png"], "'b.png'"),
        (["none.png"], "Expected a face"),
        (["many.png"], "at most 16 faces"),
        (["many"], "at most 16 images"),
        (["a.png", "--landmarks", "left_eye"], "Near: left_eye_inner"),
        (["a.png", "--landmarks", "68"], "0 to 67"),
        (["a.png", "--strongest", "0"], "'--strongest' to be 1 or more"),
        (["a.png", "--dpi", "0"], "'--dpi' to be 1 or more"),
        (["a.png", "--model", "lgcn-86"], "lgcn-86"),
        (["a.png", "--device", "gpu"], "gpu"),
        (["a.png", "--batch-size", "0"], "batch_size"),
        (["a.png", "--output", "text.jpg"], "is a file"),
        (["connectivity_heat_map.png", "--output", "."], "replace an input"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_input_is_one_line_and_status_2(
    words: list[str],
    expected: str,
    connectivity,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()
    Path("many").mkdir()
    Path("text.jpg").write_text("not an image at all")
    for name in ["a", "b", "none", "many", "connectivity_heat_map", *(f"many/{number}" for number in range(17))]:
        Image.new("RGB", (60, 50), "grey").save(f"{name}.png")
    box = [5, 5, 40, 40]
    boxes = {"a.png": [box], "none.png": [], "many.png": [box] * 17, "text.jpg": [box]}
    Path("boxes.json").write_text(json.dumps(boxes))
    before = {path: Path(path).read_bytes() for path in names(tmp_path)}
    assert connectivity(*words, *([] if "--output" in words else ["--output", "out"])) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("lgcn: error: ") and printed.err.count("\n") == 1
    assert expected in printed.err
    assert {path: Path(path).read_bytes() for path in names(tmp_path)} == before


def test_a_model_without_a_graph_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    detector = create_detector(
        scheme="ibug68", backbone="test_efficientnet", input_size=(64, 64), refiner={"name": "none"}
    )
    detector.save_pretrained(tmp_path / "model")
    words = [ASTRONAUT, "--model", tmp_path / "model", "--output", tmp_path / "out"]
    assert main(["connectivity", *map(str, words)]) == 2
    assert "a model with a graph" in capsys.readouterr().err


def test_help_does_not_load_torch() -> None:
    code = "import sys; from lgcn.cli.main import main\ntry: main(['connectivity', '--help'])\n"
    code += "finally: print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "--strongest" in done.stdout
    assert {"torch", "matplotlib"}.isdisjoint(done.stdout.split())


def test_the_example_covers_the_face_and_its_files_can_be_drawn(model: str, tmp_path: Path) -> None:
    example = [sys.executable, str(ROOT / "examples" / "draw_connectivity.py"), "--output", "covered"]
    done = subprocess.run(example, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rows = {line.split()[0]: line.split()[1:] for line in done.stdout.splitlines()[1:4]}
    for name, (landmarks, before, _, after, *_, moved) in rows.items():
        assert names(tmp_path / "covered").count(f"{name}.png") == 1
        assert 0 < int(landmarks) < 68
        assert float(after) < float(before), "what cannot be seen is not sure"
        assert 0 < float(moved.rstrip("%")) < 100
    words = [ASTRONAUT, tmp_path / "covered" / "mouth.png", "--boxes", tmp_path / "covered" / "boxes.csv"]
    assert main(["connectivity", *map(str, [*words, "--model", model, "--output", tmp_path / "out"])]) == 0
    assert names(tmp_path / "out") == ["connectivity_heat_map.png"]

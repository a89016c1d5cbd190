import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import lgcn
from lgcn.cli.main import main
from lgcn.datasets import write_pts
from lgcn.models import LandmarkDetector, create_detector

NUM_FACES = 3


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """An untrained network, the smallest that there is."""
    folder = tmp_path_factory.mktemp("model")
    torch.manual_seed(0)
    create_detector(scheme="ibug68", backbone="test_efficientnet", input_size=(64, 64)).save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tree in the layout of 300-W, with three faces in one of the two folders of "common"."""
    root = tmp_path_factory.mktemp("300w")
    folder = root / "lfpw" / "testset"
    folder.mkdir(parents=True)
    generator = np.random.default_rng(0)
    for number in range(NUM_FACES):
        picture = generator.integers(0, 255, size=(90, 110, 3), dtype=np.uint8)
        Image.fromarray(picture).save(folder / f"image_{number}.png")
        write_pts(folder / f"image_{number}.pts", torch.from_numpy(generator.uniform(20, 80, size=(68, 2))))
    return root


def evaluate(model: str, root: Path, *options: str, split: str = "common") -> int:
    return main(
        ["evaluate", "--model", model, "--dataset", "ibug300w", "--root", str(root), "--split", split, *options]
    )


def test_evaluate_prints_a_table_and_writes_the_same_as_json(
    model: str, root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "new" / "figures.json"
    assert evaluate(model, root, "--json", str(file), "--batch-size", "2") == 0
    printed = capsys.readouterr().out
    figures = json.loads(file.read_text())

    assert figures["num_faces"] == NUM_FACES
    assert figures["expected_faces"] == 554
    assert figures["protocol"] == "zero_based"
    assert figures["versions"]["lgcn"] == lgcn.__version__
    assert figures["versions"]["torch"] == torch.__version__
    assert "3 of 554" in figures["warning"]
    assert set(figures["results"]) == {"initial", "refined"}

    assert "WARNING: INCOMPLETE split 'common': 3 of 554 faces (missing folders: helen/testset" in printed
    assert "the distance between the outer eye corners" in printed
    for title, name in {"initial (heatmap)": "initial", "refined (graph)": "refined"}.items():
        row = next(line for line in printed.splitlines() if line.startswith(title))
        nme, fr, auc = (float(cell) for cell in row.removeprefix(title).split())
        assert nme == pytest.approx(figures["results"][name]["nme"], abs=1e-3)
        assert fr == pytest.approx(figures["results"][name]["fr@0.10"], abs=1e-2)
        assert auc == pytest.approx(figures["results"][name]["auc@0.10"], abs=1e-4)


def test_evaluate_takes_protocol_normalizer_and_thresholds(
    model: str, root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "figures.json"
    options = ["--protocol", "hrnet", "--normalizer", "box", "--thresholds", "0.08", "0.1", "--json", str(file)]
    assert evaluate(model, root, *options, split="lfpw/testset") == 0
    figures = json.loads(file.read_text())
    assert (figures["protocol"], figures["normalizer"], figures["split"]) == ("hrnet", "box", "lfpw/testset")
    assert set(figures["results"]["refined"]) == {"nme", "fr@0.08", "auc@0.08", "fr@0.10", "auc@0.10"}


def test_evaluate_of_a_network_alone_has_no_refined_row(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    detector = create_detector(scheme="ibug68", backbone="test_efficientnet", input_size=(64, 64), use_refiner=False)
    detector.save_pretrained(tmp_path)
    assert evaluate(str(tmp_path), root) == 0
    printed = capsys.readouterr().out
    assert "initial (heatmap)" in printed
    assert "refined" not in printed


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"--model": "lgcn-86"}, "lgcn-86"),
        ({"--dataset": "ibug"}, "ibug300w"),
        ({"--split": "tset"}, "common"),
        ({"--root": "nowhere"}, "nowhere"),
        ({"--protocol": "zero"}, "zero_based"),
        ({"--normalizer": "pupil"}, "inter_pupil"),
        ({"--thresholds": "10"}, "fraction"),
        ({"--device": "gpu"}, "gpu"),
        ({"--batch-size": "0"}, "batch_size"),
        ({"--json": "."}, "--json"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_bad_input_is_one_line_and_status_2(
    model: str, root: Path, tmp_path: Path, changes: dict[str, str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "figures.json"
    options = {
        "--model": model,
        "--dataset": "ibug300w",
        "--root": str(root),
        "--split": "common",
        "--json": str(file),
        **changes,
    }
    assert main(["evaluate", *(word for option in options.items() for word in option)]) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith("lgcn: error: ")
    assert expected in printed.err
    assert printed.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_model_of_another_scheme_is_refused(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    create_detector(scheme="wflw98", backbone="test_efficientnet", input_size=(64, 64)).save_pretrained(tmp_path)
    assert evaluate(str(tmp_path), root) == 2
    assert "'ibug68' (got 'wflw98')" in capsys.readouterr().err


def test_a_broken_picture_leaves_no_json(
    model: str, root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "ibug"
    folder.mkdir()
    for name in ("a", "b"):
        for suffix, source in {".png": "image_0.png", ".pts": "image_0.pts"}.items():
            (folder / f"{name}{suffix}").write_bytes((root / "lfpw" / "testset" / source).read_bytes())
    (folder / "b.png").write_bytes((folder / "b.png").read_bytes()[:200])
    file = tmp_path / "figures.json"
    assert evaluate(model, tmp_path, "--json", str(file), split="challenging") == 2
    assert "b.png" in capsys.readouterr().err
    assert not file.exists()


def test_evaluate_on_real_faces(model: str, shared: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert LandmarkDetector.from_pretrained(model).scheme.name == "ibug68"
    assert evaluate(model, shared / "data" / "300w", split="lfpw/testset") == 0
    printed = capsys.readouterr().out
    assert "224" in printed
    assert "WARNING" not in printed

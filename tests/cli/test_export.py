"""``lgcn export`` as a user runs it, on a tiny detector."""

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from lgcn.cli.main import main
from lgcn.models import create_detector
from lgcn.predict import CascadeFaceDetector

pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    torch.manual_seed(0)
    detector = create_detector("default", backbone="test_efficientnet", input_size=(64, 64), scheme="aflw19")
    # Peaks that do not depend on rounding.
    nn.init.normal_(detector.backbone.head.head.weight, std=1.0)
    detector.save_pretrained(folder)
    return folder


def test_an_exported_file_is_compared_and_then_predicts(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output, report = tmp_path / "tiny.onnx", tmp_path / "report.json"
    assert main(["export", str(model), "--output", str(output), "--int8", "--report", str(report)]) == 0
    told = capsys.readouterr()
    assert f"{output}: " in told.out and "compared on 16 crops" in told.out and "few faces" in told.err
    written = json.loads(report.read_text())
    assert written["file"]["agrees"] and written["file"]["bytes"] == output.stat().st_size
    assert written["int8"]["path"] == str(tmp_path / "tiny.int8.onnx") and written["int8"]["num_crops"] == 8

    photo = str(EXAMPLES / "astronaut.jpg")
    faces = []
    for source in (model, output):
        command = ["predict", photo, "--model", str(source), "--min-confidence", "0"]
        assert main(command) == 0
        faces.append(json.loads(capsys.readouterr().out)[0]["faces"])
    assert len(faces[0]) == len(faces[1]) > 0
    for face, same in zip(*faces, strict=True):
        assert torch.allclose(torch.tensor(face["landmarks"]), torch.tensor(same["landmarks"]), atol=2e-3)

    assert main(["export", str(model), "--output", str(output)]) == 2
    assert "--overwrite" in capsys.readouterr().err


def test_only_faces_that_fit_are_compared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # The face, and the space suit.
    boxes = torch.tensor([[181.0, 90.0, 261.0, 168.0], [170.0, 300.0, 270.0, 400.0]])
    monkeypatch.setattr(CascadeFaceDetector, "__call__", lambda self, image: boxes)
    command = ["export", "lgcn-68-fast", "--output", str(tmp_path / "fast.onnx"), "--images", str(EXAMPLES)]
    assert main([*command, "--max-faces", "5"]) == 0
    assert "compared on 1 crops" in capsys.readouterr().out


def test_other_things_than_faces_are_compared_on_whole_images(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    create_detector(
        scheme="hand21", backbone="test_efficientnet", input_size=(64, 64), refiner={"name": "none"}, min_confidence=0.0
    ).save_pretrained(tmp_path / "model")
    command = ["export", str(tmp_path / "model"), "--output", str(tmp_path / "hand.onnx"), "--images", str(EXAMPLES)]
    # Its status is open: an untrained network has flat heatmaps, whose means rounding moves.
    main([*command, "--max-faces", "1"])
    assert "compared on 1 crops" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--format", "aoti", "--int8"], "'--format onnx' for '--int8'"),
        (["--max-faces", "0"], "'--max-faces'"),
        (["--report", "."], "'--report'"),
    ],
)
def test_bad_options_are_refused_before_the_work(
    options: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", "lgcn-68", "--output", str(tmp_path / "out.onnx"), *options]) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_not_the_fault_of_the_model(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for options in (["--output", "/dev/full"], ["--output", str(tmp_path / "tiny.onnx"), "--report", "/dev/full"]):
        assert main(["export", str(model), *options]) == 2
        err = capsys.readouterr().err
        assert "Expected to be able to write to '/dev' (No space left on device)" in err

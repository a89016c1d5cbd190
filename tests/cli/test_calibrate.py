"""``lgcn calibrate`` saves a detector whose covariances are calibrated, and nothing else is changed."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from lgcn.cli.main import main
from lgcn.models import LandmarkDetector, create_detector
from lgcn.nn import GaussianRefiner
from tests.datasets.synthetic import pts_tree


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("faces")
    pts_tree(root, "afw", 8)
    return root


def save_detector(folder: Path, name: str = "gaussian") -> str:
    torch.manual_seed(0)
    detector = create_detector(
        "default",
        backbone="test_efficientnet",
        input_size=(32, 32),
        backbone_options={"head": "pyramid", "width": 8},
        refiner={"name": name, "gaussian": {"rank": 2, "hidden_channels": [8]}, "hidden_channels": [8]},
    )
    if isinstance(detector.refiner, GaussianRefiner):
        detector.refiner.fit(32 * torch.rand(60, 68, 2))
    detector.save_pretrained(folder)
    return str(folder)


def test_only_the_calibration_changes(root: Path, tmp_path: Path) -> None:
    source = save_detector(tmp_path / "source")
    options = ["--model", source, "--dataset", "ibug300w", "--root", str(root), "--val-fraction", "0.5"]
    output = str(tmp_path / "calibrated")
    assert main(["calibrate", *options, "--conditions", "clean", "patch20", "--output", output]) == 0
    before, after = (LandmarkDetector.from_pretrained(each) for each in (source, output))
    changed = [name for name, value in before.state_dict().items() if not torch.equal(value, after.state_dict()[name])]
    assert "refiner.calibration.weight" in changed
    assert "refiner.reliability.limit" in changed
    assert all("calibration" in name or "reliability" in name for name in changed)
    assert main(["calibrate", *options, "--output", output]) == 2, "an earlier model is not replaced"


def test_half_precision_halves_the_backbone_alone(root: Path, tmp_path: Path) -> None:
    source = save_detector(tmp_path / "source")
    options = ["--model", source, "--dataset", "ibug300w", "--root", str(root), "--val-fraction", "0.5", "--half"]
    output = tmp_path / "half"
    assert main(["calibrate", *options, "--conditions", "clean", "--output", str(output)]) == 0
    stored = load_file(output / "model.safetensors")
    of_type = {name: value.dtype for name, value in stored.items() if value.is_floating_point()}
    assert {of_type[name] for name in of_type if name.startswith("backbone.")} == {torch.float16}
    assert {of_type[name] for name in of_type if not name.startswith("backbone.")} == {torch.float32}
    loaded, exact = (LandmarkDetector.from_pretrained(each).state_dict() for each in (output, source))
    for name, value in exact.items():
        if name.startswith("backbone."):
            assert torch.equal(loaded[name], value.half().to(value.dtype))


@pytest.mark.parametrize(
    ("refiner", "more", "message"),
    [
        ("lgcn", [], "'detector' with a Gaussian refiner"),
        ("gaussian", ["--conditions", "fog3"], "Expected a condition"),
        ("gaussian", ["--conditions", "detector"], "got detector"),
    ],
)
def test_what_cannot_be_calibrated(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], refiner: str, more: list[str], message: str
) -> None:
    source = save_detector(tmp_path / "source", refiner)
    options = ["--model", source, "--dataset", "ibug300w", "--root", str(root), "--val-fraction", "0.5"]
    assert main(["calibrate", *options, "--conditions", "clean", *more, "--output", str(tmp_path / "new")]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "new" / "model.safetensors").exists()

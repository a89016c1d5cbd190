"""Export of tiny random detectors to every format, their parity, and ONNX Runtime in place of the network."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lgcn.backbones import Backbone
from lgcn.checks import InputError, InputFileError
from lgcn.export import (
    ExportMetadata,
    OnnxDetector,
    ParityReport,
    compare_file,
    export_detector,
    load_detector,
    quantize,
)
from lgcn.models import PRESETS, LandmarkDetector
from lgcn.predict import LandmarkPredictor
from lgcn.typing import HeatmapOutput

onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

SIZE = (64, 64)
ROOT = Path(__file__).resolve().parents[2]


class TwoLayers(Backbone):
    """Small enough to be exported in a second."""

    def __init__(self, num_landmarks: int) -> None:
        super().__init__()
        self.num_landmarks, self.feature_channels, self.stride, self.size_multiple = num_landmarks, 16, 4, 4
        self.features = nn.Sequential(
            nn.Conv2d(3, 16, 4, stride=4), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 16, 3, padding=1), nn.ReLU()
        )
        self.heatmaps = nn.Conv2d(16, num_landmarks, 1)
        nn.init.normal_(self.heatmaps.weight, std=3.0)
        # A new norm does nothing, so that an export could lose it.
        nn.init.normal_(self.features[1].running_mean, std=0.1)
        nn.init.uniform_(self.features[1].running_var, 0.5, 1.5)

    def forward(self, images: Tensor) -> HeatmapOutput:
        features = self.features(images)
        return HeatmapOutput(self.heatmaps(features), features)


def tiny(refiner: str = "lgcn", decode: str = "softargmax") -> LandmarkDetector:
    torch.manual_seed(0)
    config = PRESETS["default"].with_options(
        scheme="aflw19", input_size=SIZE, refiner={"name": refiner}, codec={"decode": decode}, min_confidence=0.01
    )
    detector = LandmarkDetector(config, TwoLayers(19)).eval()
    # Nor does a new refiner do anything.
    for parameter in detector.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, std=0.01)
    return detector


@pytest.fixture(scope="module")
def detector() -> LandmarkDetector:
    return tiny()


@pytest.fixture(scope="module")
def onnx_file(detector: LandmarkDetector, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("export") / "tiny.onnx"
    export_detector(detector, path)
    return path


@pytest.fixture(scope="module")
def crops() -> Tensor:
    return torch.randint(0, 256, (5, 3, *SIZE), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def test_onnx_agrees_for_any_number_of_crops(detector: LandmarkDetector, onnx_file: Path, crops: Tensor) -> None:
    report = compare_file(detector, onnx_file, "onnx", crops)
    assert report.agrees and report.num_crops == 5
    assert set(report.largest) == {"pos", "initial", "confidence"}
    moved = detector(crops)
    assert (moved.pos - moved.initial).abs().max() > 0.01, "a graph that does nothing would be lost unseen"
    other = compare_file(tiny(refiner="none"), onnx_file, "onnx", crops)
    assert not other.agrees and other.nme_percent > 0


@pytest.mark.parametrize(("refiner", "decode"), [("lgcn+gaussian", "dark"), ("none", "hrnet")])
def test_every_refiner_and_decoder_is_exported(refiner: str, decode: str, tmp_path: Path, crops: Tensor) -> None:
    detector = tiny(refiner, decode)
    export_detector(detector, tmp_path / "model.onnx")
    report = compare_file(detector, tmp_path / "model.onnx", "onnx", crops)
    assert report.agrees, report.to_dict()
    assert ("covariance" in report.largest) == ("gaussian" in refiner)
    output = OnnxDetector(tmp_path / "model.onnx")(crops[:1])
    assert (output.covariance is None) == ("gaussian" not in refiner)


def test_covered_landmarks_and_scores_are_in_the_file_of_a_calibrated_detector(tmp_path: Path, crops: Tensor) -> None:
    detector = tiny("gaussian", "quarter")
    crops = torch.cat([crops, crops.flip(-1), crops.flip(-2)])
    output = detector(crops)
    target = output.pos + torch.randn(output.pos.shape, generator=torch.Generator().manual_seed(0))
    first = torch.arange(15) < 10
    detector.refiner.calibrate(detector.propose(crops), target, clean=first, fits=first.double())
    detector.refiner.reliability.limit.fill_(1.0001)  # the noise of this network hardly varies
    export_detector(detector, tmp_path / "model.onnx")
    report = compare_file(detector, tmp_path / "model.onnx", "onnx", crops)
    assert report.agrees, report.to_dict()
    assert {"covariance", "covered", "score"} <= report.largest.keys()
    expected, found = detector(crops), OnnxDetector(tmp_path / "model.onnx")(crops)
    assert 0 < expected.covered.sum() < expected.covered.numel()
    assert torch.equal(found.covered, expected.covered)
    assert torch.allclose(found.score, expected.score, atol=1e-5)
    image = torch.randint(0, 256, (3, 120, 100), dtype=torch.uint8)
    (face,) = LandmarkPredictor.from_pretrained(tmp_path / "model.onnx", passes=1)(image, [20.0, 30.0, 70.0, 85.0])
    (same,) = LandmarkPredictor(detector, passes=1)(image, [20.0, 30.0, 70.0, 85.0])
    assert torch.equal(face.covered, same.covered)
    assert face.score == pytest.approx(same.fit_probability, abs=1e-4)


def test_floating_point_input(detector: LandmarkDetector, tmp_path: Path, crops: Tensor) -> None:
    path = tmp_path / "float.onnx"
    export_detector(detector, path, dtype="float32")
    assert compare_file(detector, path, "onnx", crops, dtype="float32").agrees
    loaded = OnnxDetector(path)
    assert torch.allclose(loaded(crops).pos, loaded(crops.float() / 255).pos, atol=1e-4)


def test_torch_export(detector: LandmarkDetector, tmp_path: Path, crops: Tensor) -> None:
    path = tmp_path / "tiny.pt2"
    export_detector(detector, path, "torch_export")
    assert compare_file(detector, path, "torch_export", crops).agrees
    files = {f"lgcn.{name}": "" for name in ("scheme", "input_size")}
    torch.export.load(path, extra_files=files)
    assert json.loads(files["lgcn.input_size"]) == list(SIZE)


def test_aoti(detector: LandmarkDetector, tmp_path: Path, crops: Tensor) -> None:
    path = tmp_path / "tiny.pt2"
    try:
        export_detector(detector, path, "aoti")
    except InputError as error:
        if "compiler" in str(error).lower():
            pytest.skip(f"no C++ compiler: {error}")
        raise
    assert compare_file(detector, path, "aoti", crops).agrees


def test_the_file_says_what_it_is(detector: LandmarkDetector, onnx_file: Path) -> None:
    loaded = load_detector(onnx_file)
    assert isinstance(loaded, OnnxDetector)
    assert loaded.scheme is detector.scheme and loaded.protocol is detector.protocol
    assert loaded.input_size == SIZE and loaded.min_confidence == 0.01 and loaded.refiner == "lgcn"
    assert loaded.metadata == ExportMetadata.of(detector, "uint8")
    assert loaded.metadata.crop["enlargement"] == detector.protocol.enlargement
    assert str(loaded) == f"OnnxDetector('{onnx_file}', aflw19, input_size=(64, 64))"


def test_the_predictor_runs_it_like_the_network(detector: LandmarkDetector, onnx_file: Path) -> None:
    image = torch.randint(0, 256, (3, 120, 100), dtype=torch.uint8)
    boxes = [[20.0, 30.0, 70.0, 85.0], [1.0, 2.0, 90.0, 110.0]]
    # A second pass on noise, with its crop by the landmarks of the first, multiplies differences of rounding.
    expected = LandmarkPredictor(detector, passes=1)(image, boxes)
    found = LandmarkPredictor.from_pretrained(onnx_file, passes=1)(image, boxes)
    for face, same in zip(found, expected, strict=True):
        assert (face.landmarks - same.landmarks).abs().max() < 1e-3
        assert (face.initial - same.initial).abs().max() < 1e-3
        # Maps of a random network are steep: a step of rounding in the second crop shows.
        assert (face.confidence - same.confidence).abs().max() < 1e-3
    with pytest.raises(InputError, match=r"'return_connectivity' .*Use the model"):
        LandmarkPredictor.from_pretrained(onnx_file)(image, boxes, return_connectivity=True)


def test_int8_is_smaller_and_keeps_its_metadata(
    detector: LandmarkDetector, onnx_file: Path, tmp_path: Path, crops: Tensor
) -> None:
    path = tmp_path / "tiny.int8.onnx"
    quantize(onnx_file, path, crops)
    assert path.stat().st_size < onnx_file.stat().st_size
    report = compare_file(detector, path, "onnx", crops)
    assert not report.agrees and 0 < report.median_px < 5
    assert OnnxDetector(path).metadata == OnnxDetector(onnx_file).metadata
    with pytest.raises(InputError, match="'crops'"):
        quantize(onnx_file, path, crops[:0])


def test_files_that_are_not_ours_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputFileError, match="there is none"):
        OnnxDetector(tmp_path / "none.onnx")
    (tmp_path / "text.onnx").write_text("text")
    with pytest.raises(InputFileError, match="can load"):
        OnnxDetector(tmp_path / "text.onnx")
    import onnx

    value = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1])
    out = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1])
    graph = onnx.helper.make_graph([onnx.helper.make_node("Neg", ["x"], ["y"])], "foreign", [value], [out])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=9)
    onnx.save(model, str(tmp_path / "foreign.onnx"))
    with pytest.raises(InputFileError, match=r"'lgcn export'.*'lgcn\.scheme'"):
        OnnxDetector(tmp_path / "foreign.onnx")


@pytest.mark.parametrize(("option", "value"), [("format", "tflite"), ("dtype", "int8")])
def test_unknown_options_are_refused(detector: LandmarkDetector, tmp_path: Path, option: str, value: str) -> None:
    with pytest.raises(InputError, match=f"'{option}'"):
        export_detector(detector, tmp_path / "model", **{option: value})
    assert not list(tmp_path.iterdir())


def test_prediction_with_an_onnx_file_loads_no_network_library(onnx_file: Path) -> None:
    code = f"""
import sys, torch
from lgcn.predict import LandmarkPredictor
faces = LandmarkPredictor.from_pretrained({str(onnx_file)!r})(torch.zeros(3, 90, 90, dtype=torch.uint8), [9, 9, 80, 80])
assert faces[0].landmarks.shape == (19, 2)
heavy = {{"torch_geometric", "torchvision", "timm", "torch._dynamo", "sympy", "scipy", "pydantic", "matplotlib"}}
print(sorted(heavy & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr


def test_the_script_of_the_page_needs_only_onnx_runtime(
    detector: LandmarkDetector, onnx_file: Path, tmp_path: Path
) -> None:
    page = (ROOT / "docs" / "export.md").read_text(encoding="utf-8")
    script = next(block for block in re.findall(r"```py\n(.*?)```", page, re.DOTALL) if "InferenceSession" in block)
    assert len(script.strip().splitlines()) <= 12
    (tmp_path / "lgcn-68.onnx").symlink_to(onnx_file)
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    script = script.replace("print(", "numpy.save('pos.npy', ")
    code = script + "import sys\nassert not {'torch', 'lgcn'} & set(sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    face = LandmarkPredictor(detector, passes=1)(ROOT / "examples" / "astronaut.jpg", [180, 87, 272, 179])[0]
    # Pillow resamples a little differently, which moves single peaks of a random network.
    assert np.median(abs(np.load(tmp_path / "pos.npy") - face.landmarks.numpy())) < 0.5


def test_nan_does_not_agree() -> None:
    assert ParityReport(1, {"pos": 0.0, "score": 1e-4}, 0.0, 0.0, 0.0).agrees
    assert not ParityReport(1, {"pos": 0.0, "score": float("nan")}, 0.0, 0.0, 0.0).agrees

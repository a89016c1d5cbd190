import pickle
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from lgcn.checks import InputError, InputFileError
from lgcn.images import read_image
from lgcn.predict import FACE_DETECTORS, MTCNNFaceDetector, WholeImage, YuNetFaceDetector, create_face_detector

ASTRONAUT = read_image(Path(__file__).resolve().parents[2] / "examples" / "astronaut.jpg")


def test_detectors_are_made_by_name() -> None:
    assert FACE_DETECTORS.names() == ["cascade", "mtcnn", "whole_image", "yunet"]
    assert create_face_detector("cascade", min_face=0.1).min_face == 0.1  # type: ignore[attr-defined]
    with pytest.raises(InputError, match="'face detector' .*whole_image"):
        create_face_detector("whole")
    with pytest.raises(InputError, match="face detector cascade' to be one of max_side"):
        create_face_detector("cascade", maximum=3)


def test_the_whole_image_is_one_face() -> None:
    assert WholeImage()(torch.zeros(3, 10, 20, dtype=torch.uint8)).tolist() == [[-0.5, -0.5, 19.5, 9.5]]


def test_mtcnn_finds_a_face_also_after_pickling() -> None:
    pytest.importorskip("facenet_pytorch")
    detector = MTCNNFaceDetector(min_face=0.1)
    boxes = detector(ASTRONAUT)
    assert (boxes - torch.tensor([[177.0, 66.0, 273.0, 189.0]])).abs().max() < 20
    assert torch.equal(pickle.loads(pickle.dumps(detector))(ASTRONAUT), boxes)
    assert detector(torch.zeros(3, 64, 64, dtype=torch.uint8)).shape == (0, 4)


class FakeYuNet:
    """Finds the brightest pixel of the blue channel, which OpenCV has first."""

    def setInputSize(self, size: tuple[int, int]) -> None:
        self.size = size

    def detect(self, image: np.ndarray) -> tuple[int, np.ndarray | None]:
        assert image.shape == (self.size[1], self.size[0], 3) and image.dtype == np.uint8
        y, x = np.unravel_index(image[..., 0].argmax(), image.shape[:2])
        return 1, None if image.max() == 0 else np.array([[x, y, 1, 1, *[0] * 11]], dtype=np.float32)


def test_yunet_in_pixels_of_the_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = tmp_path / "yunet.onnx"
    with pytest.raises(InputFileError, match=r"yunet\.onnx.*Download"):
        YuNetFaceDetector(weights)
    weights.touch()
    create = SimpleNamespace(create=lambda path, config, size, score: FakeYuNet())
    monkeypatch.setitem(sys.modules, "cv2", SimpleNamespace(FaceDetectorYN=create))
    detector = pickle.loads(pickle.dumps(YuNetFaceDetector(weights, max_side=40)))
    image = torch.zeros(3, 40, 80, dtype=torch.uint8)
    assert detector(image).shape == (0, 4)
    image[2, 20:22, 50:52] = 255
    assert detector(image).tolist() == [[49.5, 19.5, 51.5, 21.5]]


def test_weights_that_opencv_cannot_read_are_refused(tmp_path: Path) -> None:
    pytest.importorskip("cv2")
    for content in ("", "not an ONNX file"):
        (tmp_path / "yunet.onnx").write_text(content)
        with pytest.raises(InputFileError, match=r"yunet\.onnx.*cannot read"):
            YuNetFaceDetector(tmp_path / "yunet.onnx")


@pytest.mark.parametrize(("name", "module"), [("mtcnn", "facenet_pytorch"), ("yunet", "cv2")])
def test_a_missing_package_is_named(name: str, module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    (tmp_path / "weights").touch()
    options = {"weights": tmp_path / "weights"} if name == "yunet" else {}
    with pytest.raises(InputError, match=rf"'{name}' .it is not installed.. pip install"):
        create_face_detector(name, **options)

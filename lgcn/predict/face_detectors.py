"""Face detectors by name: the cascade, the whole image, and adapters to OpenCV's YuNet and facenet-pytorch's MTCNN."""

import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lgcn.checks import InputError, InputFileError, check_options, check_shape
from lgcn.predict.face_detector import CascadeFaceDetector, FaceDetector
from lgcn.registry import Registry

FACE_DETECTORS: Registry[Any] = Registry("face detector")
"""name -> class; each returns a :class:`FaceDetector` and can be sent to worker processes."""

FACE_DETECTORS.register("cascade", CascadeFaceDetector)


@FACE_DETECTORS.register("whole_image")
class WholeImage:
    """Takes the whole image for one face: for images that are cropped around faces already."""

    def __call__(self, image: Tensor) -> Tensor:
        """One box, that of all pixels, [1, 4]."""
        check_shape("image", image, "3 H W")
        return torch.tensor([[-0.5, -0.5, image.shape[2] - 0.5, image.shape[1] - 0.5]])


@FACE_DETECTORS.register("yunet")
class YuNetFaceDetector:
    """OpenCV's YuNet (Wu et al. 2023), which finds small, covered and turned faces; needs ``opencv-python``.

    Args:
        weights: the ONNX file, ``face_detection_yunet_2023mar.onnx`` of OpenCV's model zoo, which no package has.
        max_side: larger images are shrunk to this for the search, in pixels.
        min_score: faces of a lower score are left out.

    Raises:
        InputError: if OpenCV is not installed.
        InputFileError: if there is no file of weights, or OpenCV cannot read it.
    """

    def __init__(self, weights: str | os.PathLike[str], max_side: int = 1280, min_score: float = 0.6) -> None:
        if not Path(weights).is_file():
            raise InputFileError(
                f"Expected YuNet's weights at '{os.fspath(weights)}' (there is no such file). Download "
                "face_detection_yunet_2023mar.onnx from https://github.com/opencv/opencv_zoo."
            )
        self.weights, self.max_side, self.min_score = os.fspath(weights), max_side, min_score
        self._create()

    def __call__(self, image: Tensor) -> Tensor:
        """Boxes [F, 4] in pixels of the image, best first."""
        check_shape("image", image, "3 H W")
        small, zoom = _shrunk(image, self.max_side)
        self._detector.setInputSize((small.shape[2], small.shape[1]))
        # RGB to OpenCV's BGR.
        found = self._detector.detect(small.flip(0).permute(1, 2, 0).contiguous().numpy())[1]
        if found is None:
            return torch.zeros(0, 4)
        corner, size = torch.from_numpy(found[:, :4]).split(2, dim=1)
        return torch.cat([corner, corner + size], dim=1) / zoom - 0.5

    def _create(self) -> None:
        try:
            import cv2
        except ImportError:
            raise InputError(
                "Expected OpenCV for the face detector 'yunet' (it is not installed). "
                "pip install opencv-python-headless"
            ) from None
        try:
            self._detector = cv2.FaceDetectorYN.create(self.weights, "", (320, 320), self.min_score)
        except cv2.error:
            raise InputFileError(
                f"Expected YuNet's weights in '{self.weights}' (OpenCV cannot read them). Download "
                "face_detection_yunet_2023mar.onnx from https://github.com/opencv/opencv_zoo."
            ) from None

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in vars(self).items() if key != "_detector"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._create()


@FACE_DETECTORS.register("mtcnn")
class MTCNNFaceDetector:
    """MTCNN (Zhang et al. 2016) as facenet-pytorch has it, weights included.

    Args:
        max_side: larger images are shrunk to this for the search, in pixels.
        min_face: side of the smallest face looked for, over the longer side of the image.
        min_score: faces of a lower probability are left out.

    Raises:
        InputError: if facenet-pytorch is not installed.
    """

    def __init__(self, max_side: int = 1280, min_face: float = 0.02, min_score: float = 0.9) -> None:
        try:
            from facenet_pytorch import MTCNN
        except ImportError:
            raise InputError(
                "Expected facenet-pytorch for the face detector 'mtcnn' (it is not installed). "
                "pip install --no-deps facenet-pytorch (with dependencies it would replace torch by an older one)"
            ) from None
        self.max_side, self.min_face, self.min_score = max_side, min_face, min_score
        self._mtcnn = MTCNN(keep_all=True)

    def __call__(self, image: Tensor) -> Tensor:
        """Boxes [F, 4] in pixels of the image, large to small."""
        check_shape("image", image, "3 H W")
        small, zoom = _shrunk(image, self.max_side)
        # Its networks see windows of 12 pixels.
        self._mtcnn.min_face_size = max(12, round(self.min_face * max(small.shape[1:])))
        with torch.no_grad():
            boxes, scores = self._mtcnn.detect(small.permute(1, 2, 0).contiguous().numpy())
        if boxes is None:
            return torch.zeros(0, 4)
        found = [box.tolist() for box, score in zip(boxes, scores, strict=True) if score >= self.min_score]
        return torch.tensor(found, dtype=torch.float32).reshape(-1, 4) / zoom - 0.5


def create_face_detector(name: str, **options: Any) -> FaceDetector:
    """A face detector of :data:`FACE_DETECTORS`.

    Raises:
        InputError: for an unknown name, a package that is not installed, or options that the detector does not have.
    """
    check_options(f"option of the face detector {name}", options, FACE_DETECTORS[name])
    detector: FaceDetector = FACE_DETECTORS[name](**options)
    return detector


def _shrunk(image: Tensor, max_side: int) -> tuple[Tensor, float]:
    """An image [3, H, W] on the CPU with sides of at most ``max_side``, and the factor."""
    zoom = min(1.0, max_side / max(image.shape[1:]))
    if zoom == 1:
        return image.cpu(), 1.0
    size = [max(1, round(side * zoom)) for side in image.shape[1:]]
    return torch.nn.functional.interpolate(image.cpu()[None], size, mode="bilinear", antialias=True)[0], zoom

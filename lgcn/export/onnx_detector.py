"""Run an exported ONNX file with ONNX Runtime instead of PyTorch's network."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from lgcn.checks import InputError, InputFileError, check_shape
from lgcn.export.metadata import ExportMetadata
from lgcn.protocols import get_protocol
from lgcn.typing import DetectorOutput

if TYPE_CHECKING:
    from lgcn.models import LandmarkDetector

PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
"""Type of a torch device -> the provider of ONNX Runtime."""


class OnnxDetector(nn.Module):
    """A detector from a file of :func:`lgcn.export.export_detector`, which stands in for a ``LandmarkDetector``.

    It has no parameters. Connectivities and heatmaps are not in the file: with ``return_connectivity`` it raises,
    and ``heatmaps`` of its output are empty.

    >>> predictor = LandmarkPredictor(OnnxDetector("lgcn-68.onnx"))

    Args:
        path: an ``.onnx`` file.
        device: ``"cpu"``, or ``"cuda"`` with the package onnxruntime-gpu.
        threads: number of threads on the CPU; None takes :func:`torch.get_num_threads`.

    Raises:
        InputFileError: if the file is missing, is not ONNX, or was not written by this package.
        InputError: without ONNX Runtime, or for a device that it cannot use here.
    """

    def __init__(
        self, path: str | os.PathLike[str], *, device: str | torch.device = "cpu", threads: int | None = None
    ) -> None:
        super().__init__()
        self.path = Path(path)
        self._session = _open(self.path, torch.device(device), threads)
        try:
            self.metadata = ExportMetadata.from_strings(self._session.get_modelmeta().custom_metadata_map)
            self.scheme, self.protocol = self.metadata.read_scheme(), get_protocol(self.metadata.protocol)
        except InputError as error:
            raise InputFileError(
                f"Expected '{path}' to be a detector exported by 'lgcn export' ({str(error).rstrip('.')})."
            ) from None
        self.input_size = self.metadata.input_size
        self.refiner = self.metadata.refiner
        self.min_confidence = self.metadata.min_confidence
        self._outputs = [output.name for output in self._session.get_outputs()]

    def for_inference(self) -> "OnnxDetector":
        """This detector: it knows nothing but inference."""
        return self

    def forward(self, images: Tensor, mask: Tensor | None = None, return_connectivity: bool = False) -> DetectorOutput:
        """Detect landmarks in crops of faces.

        Args:
            images: [B, 3, H, W] RGB, uint8 or floating point in [0, 1]; converted to the type of the file's input.
            mask: must be None.
            return_connectivity: must be False.

        Raises:
            InputError: for what the file cannot compute.
        """
        height, width = self.input_size
        check_shape("images", images, "B 3 H W", H=height, W=width)
        for name, given in (("mask", mask is not None), ("return_connectivity", return_connectivity)):
            if given:
                raise InputError(
                    f"Expected no '{name}' (got one, which the ONNX file '{self.path}' cannot compute). "
                    "Use the model that was exported."
                )
        images = images.cpu()
        if self.metadata.dtype == "uint8":
            images = images if images.dtype == torch.uint8 else (images * 255).round().clamp(0, 255).to(torch.uint8)
        else:
            images = images.float() if images.is_floating_point() else images.float() / 255
        values = self._session.run(None, {"images": images.contiguous().numpy()})
        found = {name: torch.from_numpy(value) for name, value in zip(self._outputs, values, strict=True)}
        found["heatmaps"] = found["pos"].new_zeros(*found["pos"].shape[:2], 0, 0)
        return DetectorOutput(**found)  # type: ignore[arg-type]

    def extra_repr(self) -> str:
        return f"'{self.path}', {self.scheme.name}, input_size={self.input_size}"


def load_detector(
    source: str | os.PathLike[str], device: str | torch.device = "cpu", flip_test: bool | None = None
) -> "LandmarkDetector | OnnxDetector":
    """Load a detector that runs in PyTorch, or in ONNX Runtime if ``source`` is an ``.onnx`` file.

    Args:
        source: an ``.onnx`` file, or what :meth:`lgcn.models.LandmarkDetector.from_pretrained` takes.
        device: where the network runs.
        flip_test: replaces the model's own (see :class:`~lgcn.models.LandmarkDetector`); None keeps it.

    Raises:
        InputError: for ``flip_test`` with an ONNX file, and as :class:`OnnxDetector` or
            :meth:`~lgcn.models.LandmarkDetector.from_pretrained`.
    """
    if is_onnx(source):
        if flip_test is not None:
            raise InputError(
                f"Expected no 'flip_test' for an ONNX file (got {flip_test} for '{source}'). It is decided by "
                "the export: lgcn export --flip-test or --no-flip-test."
            )
        return OnnxDetector(source, device=device)
    # Imported only here: it takes seconds, which an exported detector does without.
    from lgcn.models import LandmarkDetector

    detector = LandmarkDetector.from_pretrained(os.fspath(source), flip_test=flip_test)
    return detector.to(device)


def is_onnx(source: str | os.PathLike[str]) -> bool:
    """Whether :func:`load_detector` takes ``source`` for a file that ONNX Runtime runs, which needs no lgcn.models."""
    return Path(source).suffix.lower() == ".onnx"


def _open(path: Path, device: torch.device, threads: int | None) -> Any:
    if not path.is_file():
        raise InputFileError(f"Expected an ONNX file at '{path}' (there is none). Write one with 'lgcn export'.")
    try:
        import onnxruntime
    except ImportError as error:
        raise InputError(
            f"Expected the package 'onnxruntime' to run '{path}' (got: {error}). Install it: pip install onnxruntime."
        ) from None
    provider = PROVIDERS.get(device.type)
    if provider not in onnxruntime.get_available_providers():
        raise InputError(
            f"Expected 'device' that this ONNX Runtime can use (got {device}; it has "
            f"{', '.join(onnxruntime.get_available_providers())}). For cuda, install onnxruntime-gpu."
        )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or torch.get_num_threads()
    options.log_severity_level = 3  # errors, which are raised
    choices = [(provider, {"device_id": device.index or 0})] if device.type == "cuda" else [provider]
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=choices)
    except Exception as error:  # ONNX Runtime's exceptions share no base class
        reason = str(error).partition("\n")[0]
        raise InputFileError(f"Expected an ONNX file at '{path}' that ONNX Runtime can load (got: {reason}).") from None

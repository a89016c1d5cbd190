"""Export a detector, from pixels of face crops to landmarks, to ONNX, ``torch.export`` and AOTInductor files."""

import errno
import logging
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from lgcn.checks import InputError, check_choice
from lgcn.export.metadata import DTYPES, OUTPUTS, ExportMetadata
from lgcn.files import replace_when_done

if TYPE_CHECKING:
    from lgcn.models import LandmarkDetector

OPSET = 18
"""Of ONNX; the lowest that has an anti-aliased Resize and that PyTorch's exporter writes without conversion."""

_OF_THE_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO}
"""Errors of the place that is written to, not of the network."""


class ExportModule(nn.Module):
    """A detector with the inputs and outputs of an exported file.

    Args:
        detector: a copy for inference is made of it, on the CPU.
    """

    def __init__(self, detector: "LandmarkDetector") -> None:
        super().__init__()
        self.network = detector.for_inference().cpu()

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Crops [B, 3, H, W], uint8 or floating point in [0, 1], to :data:`OUTPUTS`."""
        output = self.network(images)
        return tuple(getattr(output, name) for name in OUTPUTS if getattr(output, name) is not None)


def export_detector(
    detector: "LandmarkDetector", path: str | os.PathLike[str], format: str = "onnx", dtype: str = "uint8"
) -> ExportMetadata:
    """Write a detector as one file that needs neither its Python classes nor its weights.

    Normalisation of the pixels, decoding of the heatmaps and the graph are inside. The number of crops is free.

    Args:
        detector: a trained detector; it is not changed.
        path: file to write, replaced if it exists.
        format: ``"onnx"``, ``"torch_export"`` (a ``.pt2`` file for :func:`torch.export.load`) or ``"aoti"`` (a ``.pt2``
            file of compiled code for :func:`torch._inductor.aoti_load_package`, which needs a C++ compiler now and the
            same kind of CPU later).
        dtype: type of the input, ``"uint8"`` or ``"float32"`` in [0, 1].

    Returns:
        The properties that are stored in the file.

    Raises:
        InputError: for an unknown format or type, or a network that cannot be exported.
        OSError: if the disk is full or has become read-only.
    """
    write = FORMATS[check_choice("format", format, tuple(FORMATS))]
    check_choice("dtype", dtype, DTYPES)
    metadata = ExportMetadata.of(detector, dtype)
    module = ExportModule(detector).eval()
    # Two images: an export of one would be specialised to it.
    images = torch.zeros(2, 3, *detector.input_size, dtype=getattr(torch, dtype))
    with replace_when_done(Path(path)) as temporary, torch.no_grad(), quiet():
        try:
            write(module, images, metadata.to_strings(), temporary)
        except ImportError:
            raise
        except Exception as error:
            if isinstance(error, OSError) and error.errno in _OF_THE_DISK:
                raise
            reason = str(error).strip().partition("\n")[0] or type(error).__name__
            raise InputError(f"Expected a detector that can be exported as '{format}' (got: {reason}).") from error
    return metadata


def _write_onnx(module: nn.Module, images: Tensor, metadata: dict[str, str], path: Path) -> None:
    check_onnx_installed()
    count = len(module(images))
    program = torch.onnx.export(
        module,
        (images,),
        dynamo=True,
        dynamic_shapes=({0: torch.export.Dim("B")},),
        input_names=["images"],
        output_names=list(OUTPUTS[:count]),
        opset_version=OPSET,
        verbose=False,
    )
    assert program is not None
    program.model.metadata_props.update(metadata)
    program.save(str(path), external_data=False)


def _exported_program(module: nn.Module, images: Tensor) -> Any:
    return torch.export.export(module, (images,), dynamic_shapes=({0: torch.export.Dim("B")},))


def _write_torch_export(module: nn.Module, images: Tensor, metadata: dict[str, str], path: Path) -> None:
    torch.export.save(_exported_program(module, images), str(path), extra_files=cast(dict[str, Any], metadata))


def _write_aoti(module: nn.Module, images: Tensor, metadata: dict[str, str], path: Path) -> None:
    from torch._inductor import aoti_compile_and_package

    options = {"aot_inductor.metadata": metadata, "freezing": True}
    aoti_compile_and_package(_exported_program(module, images), package_path=str(path), inductor_configs=options)


FORMATS: dict[str, Callable[[nn.Module, Tensor, dict[str, str], Path], None]] = {
    "onnx": _write_onnx,
    "torch_export": _write_torch_export,
    "aoti": _write_aoti,
}
SUFFIXES = {"onnx": ".onnx", "torch_export": ".pt2", "aoti": ".pt2"}


def check_onnx_installed() -> None:
    """Check that the packages of the extra ``export`` are there.

    Raises:
        InputError: naming the first that is missing, and the extra.
    """
    for name in ("onnx", "onnxscript", "onnxruntime"):
        try:
            __import__(name)
        except ImportError as error:
            raise InputError(
                f"Expected the package '{name}' for ONNX files (got: {error}). Install it with "
                "pip install 'lgcn[export]'."
            ) from None


@contextmanager
def quiet() -> Iterator[None]:
    """Silences what exporters log about their own internals; what goes wrong is raised."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)

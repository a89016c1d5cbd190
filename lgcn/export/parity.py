"""Comparison of an exported file with the detector that it was made from, on crops of faces."""

import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lgcn.checks import check_choice
from lgcn.export.formats import FORMATS, ExportModule
from lgcn.export.metadata import OUTPUTS
from lgcn.export.onnx_detector import OnnxDetector
from lgcn.geometry import landmark_box

if TYPE_CHECKING:
    from lgcn.models import LandmarkDetector

TOLERANCE = 1e-3
"""Largest difference of positions in pixels of the input with which a file counts as equal."""
_CHUNK = 32
"""Crops in a batch, so that memory does not grow with their number."""

Network = Callable[[Tensor], Sequence[Tensor]]
"""Crops uint8 [B, 3, H, W] -> the outputs in the order of :data:`OUTPUTS`."""


@dataclass(frozen=True)
class ParityReport:
    """Differences between a file and its detector; distances are in pixels of the network's input."""

    num_crops: int
    largest: dict[str, float]
    """Largest absolute difference of each output; of the covariance relative to its largest value; of ``covered`` the
    share of the landmarks that differ: one at the limit may."""
    median_px: float
    """Median distance between the refined landmarks."""
    nme_percent: float
    """Mean of those distances, divided by sqrt(width * height) of the landmark box, in per cent."""
    batch_px: float
    """Largest distance between the refined landmarks of the file for crops one by one and in batches."""

    @property
    def agrees(self) -> bool:
        """Whether positions agree to :data:`TOLERANCE`, and other outputs to a thousandth; NaN does not."""
        return all(difference <= TOLERANCE for difference in (*self.largest.values(), self.batch_px))

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {**asdict(self), "tolerance_px": TOLERANCE, "agrees": self.agrees}


def load_exported(path: str | os.PathLike[str], format: str) -> Network:
    """An exported file as a function of crops, run by the runtime of its format.

    Args:
        path: the file.
        format: one of :data:`FORMATS`.
    """
    check_choice("format", format, tuple(FORMATS))
    if format == "onnx":
        detector = OnnxDetector(path)

        def run(images: Tensor) -> list[Tensor]:
            output = detector(images)
            return [value for name in OUTPUTS if (value := getattr(output, name)) is not None]

        return run
    if format == "torch_export":
        module: Network = torch.export.load(path).module()
        return module
    from torch._inductor import aoti_load_package

    package: Network = aoti_load_package(str(path))
    return package


@torch.inference_mode()
def compare(detector: "LandmarkDetector", network: Network, crops: Tensor) -> ParityReport:
    """Compare the outputs of a network with those of a detector.

    Args:
        detector: in PyTorch.
        network: as :func:`load_exported` returns it.
        crops: uint8 [N, 3, H, W], at least one.
    """
    expected = _in_batches(ExportModule(detector).eval(), crops, _CHUNK)
    found = _in_batches(network, crops, _CHUNK)
    alone = _in_batches(network, crops[:_CHUNK], 1)
    largest = {}
    for name, true, own in zip(OUTPUTS, expected, found, strict=False):
        if true.dtype == torch.bool:
            largest[name] = float((own != true).double().mean())
            continue
        difference = float((own - true).abs().max())
        largest[name] = difference / float(true.abs().max()) if name == "covariance" else difference
    distance = (found[0] - expected[0]).norm(dim=-1)
    box = landmark_box(expected[0])
    side = (box[:, 2:] - box[:, :2]).clamp_min(1.0).prod(dim=-1).sqrt()
    return ParityReport(
        num_crops=len(crops),
        largest=largest,
        median_px=float(distance.median()),
        nme_percent=float(100 * (distance.mean(dim=-1) / side).mean()),
        batch_px=float((alone[0] - found[0][:_CHUNK]).norm(dim=-1).max()),
    )


def compare_file(
    detector: "LandmarkDetector", path: str | os.PathLike[str], format: str, crops: Tensor, dtype: str = "uint8"
) -> ParityReport:
    """:func:`compare` of a file; arguments as :func:`lgcn.export.export_detector` and :func:`compare` take them."""
    network = load_exported(Path(path), format)
    if dtype == "uint8":
        return compare(detector, network, crops)
    return compare(detector, lambda images: network(images.float() / 255), crops)


def _in_batches(network: Network, crops: Tensor, size: int) -> list[Tensor]:
    """The outputs of all crops."""
    parts = [network(batch) for batch in crops.split(size)]
    return [torch.cat(list(each)) for each in zip(*parts, strict=True)]

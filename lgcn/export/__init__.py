"""Detectors as files for ONNX Runtime, ``torch.export`` and AOTInductor."""

from lgcn.export.formats import FORMATS, export_detector
from lgcn.export.metadata import ExportMetadata
from lgcn.export.onnx_detector import OnnxDetector, load_detector
from lgcn.export.parity import ParityReport, compare_file
from lgcn.export.quantization import quantize
from lgcn.export.sample import sample_crops

__all__ = [
    "FORMATS",
    "ExportMetadata",
    "OnnxDetector",
    "ParityReport",
    "compare_file",
    "export_detector",
    "load_detector",
    "quantize",
    "sample_crops",
]

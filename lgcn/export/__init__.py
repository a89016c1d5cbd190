"""Detectors as files for ONNX Runtime, ``torch.export`` and AOTInductor."""

from lgcn.export.formats import FORMATS, export_detector
from lgcn.export.metadata import ExportMetadata
from lgcn.export.onnx_detector import OnnxDetector

__all__ = ["FORMATS", "ExportMetadata", "OnnxDetector", "export_detector"]

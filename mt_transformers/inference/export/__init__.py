"""Models as graphs that run without the backbone's code: ONNX and `torch.export`."""

from __future__ import annotations

from .dynamo import export_dynamo
from .folder import is_exported
from .model import ExportedMultiTaskModel, load_exported
from .onnx import OnnxExport, export_onnx, trace_onnx

__all__ = [
    "ExportedMultiTaskModel",
    "OnnxExport",
    "export_dynamo",
    "export_onnx",
    "is_exported",
    "load_exported",
    "trace_onnx",
]

"""Fast inference on the CPU, and export to other programs."""

from dldl_fast.inference.export import LABELS_KEY, ONNX_OPSET, export_onnx, export_program
from dldl_fast.inference.optimized import TOLERANCE, OptimizedModel, optimize
from dldl_fast.inference.paths import PATHS

__all__ = [
    "LABELS_KEY",
    "ONNX_OPSET",
    "PATHS",
    "TOLERANCE",
    "OptimizedModel",
    "export_onnx",
    "export_program",
    "optimize",
]

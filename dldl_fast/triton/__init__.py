"""The ops as Triton kernels, for CUDA tensors where the compiled kernels are missing.

A program of the loss or the expectation computes a tile of rows x labels, so that every row is
whole. Settings that choose a formula are compile-time constants: each combination in use is
compiled once. Rows of more than 16,384 labels do not fit into the registers of a program: they are
right, and slow. Imported when the first of these ops runs (see dldl_fast/schema.py), since
importing Triton takes time.
"""

from dldl_fast.triton.expectation import expectation, expectation_backward
from dldl_fast.triton.hybrid_pool2d import hybrid_pool2d, hybrid_pool2d_backward
from dldl_fast.triton.label_distribution_loss import (
    label_distribution_loss,
    label_distribution_loss_backward,
)
from dldl_fast.triton.scale_rows import scale_rows_

__all__ = [
    "expectation",
    "expectation_backward",
    "hybrid_pool2d",
    "hybrid_pool2d_backward",
    "label_distribution_loss",
    "label_distribution_loss_backward",
    "scale_rows_",
]

"""Triton's ops on CPU tensors, with the methods of the launchers of csrc/cuda."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from torch import Tensor

from dldl_fast.options import LossOptions
from dldl_fast.triton.expectation import expectation, expectation_backward
from dldl_fast.triton.hybrid_pool2d import hybrid_pool2d, hybrid_pool2d_backward
from dldl_fast.triton.label_distribution_loss import label_distribution_loss
from dldl_fast.triton.scale_rows import scale_rows_
from tests.ptx.runtime import Launch
from tests.triton.launches import PtxLaunches


class TritonLaunchers:
    """What `benchmarks.gpu_launches` calls, in place of `tests.ptx.launchers.PtxLaunchers`."""

    def __init__(self, architecture: int) -> None:
        self._ptx = PtxLaunches(architecture)

    @property
    def launches(self) -> list[Launch]:
        """Those of the last call, in their order."""
        return self._ptx.launches

    def forward(
        self,
        logits: Tensor,
        target: Tensor,
        sigma: float,
        weight: None,
        target_distribution: None,
        labels: Tensor,
        step: float,
        options: LossOptions,
        *,
        needs_grad: bool,
    ) -> None:
        self._call(
            label_distribution_loss, logits, target, sigma, None, weight, target_distribution,
            labels, step, *options.codes, False, False, needs_grad,
        )  # fmt: skip

    def scale_rows(
        self, grad: Tensor, grad_loss: Tensor, scale: Tensor | None, weight: None
    ) -> None:
        self._call(scale_rows_, grad, grad_loss, scale, weight)

    def moments(self, logits: Tensor, labels: Tensor, step: float) -> None:
        self._call(expectation, logits, labels, step, True)

    def moments_backward(
        self, logits: Tensor, labels: Tensor, step: float, grad_mean: Tensor, grad_std: None
    ) -> None:
        self._call(expectation_backward, grad_mean, grad_std, logits, labels, step)

    def pool(self, x: Tensor, kernel_size: int, needs_grad: bool) -> None:
        self._call(hybrid_pool2d, x, kernel_size, needs_grad)

    def pool_backward(
        self,
        grad_pooled: Tensor,
        choices: Tensor,
        height: int,
        width: int,
        kernel_size: int,
        channels_last: bool,
    ) -> None:
        arguments = grad_pooled, choices, height, width, kernel_size, channels_last
        self._call(hybrid_pool2d_backward, *arguments)

    def _call(self, op: Callable[..., Any], *arguments: Any) -> None:
        self._ptx.launches.clear()
        with pytest.MonkeyPatch.context() as patch:
            self._ptx.install(patch)
            op(*arguments)

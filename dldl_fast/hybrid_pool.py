"""Hybrid pooling: a max-pool followed by the mean over what is left of the plane."""

from __future__ import annotations

from torch import Tensor, nn

from dldl_fast import backends, functional


class HybridPool2d(nn.Module):
    r"""Hybrid pooling as one fused operation: max over each window, then the mean over windows.

    See `dldl_fast.functional.hybrid_pool2d` for the formula and what it does with odd sizes, equal
    maxima and NaN.

    Args:
        kernel_size: height and width of a window and its stride.
        backend: "auto", "cpp", "cuda", "triton" or "reference".

    Shape:
        [N, C, H, W] with H and W >= kernel_size to [N, C].

    Raises:
        TypeError: if the kernel size is no integer.
        ValueError: if the kernel size is below 1 or the backend is unknown.

    Source:
        Section 3.4. The max-pool is the fifth one of VGG-16; the released code has no other.

    Example:
        >>> import torch
        >>> HybridPool2d()(torch.arange(16.0).reshape(1, 1, 4, 4))  # mean of 5, 7, 13, 15
        tensor([[10.]])
    """

    def __init__(self, kernel_size: int = 2, *, backend: str = "auto") -> None:
        super().__init__()
        functional.check_kernel_size(kernel_size)
        backends.check_name(backend)
        self.kernel_size = kernel_size
        self.backend = backend

    def forward(self, x: Tensor) -> Tensor:
        """Pool [N, C, H, W] to [N, C]."""
        return functional.hybrid_pool2d(x, self.kernel_size, backend=self.backend)

    def extra_repr(self) -> str:
        """What repr() shows in its parentheses."""
        return f"kernel_size={self.kernel_size}, backend={self.backend!r}"

"""Scaling of feature vectors."""

from __future__ import annotations

import torch
from torch import Tensor


def l2_normalize(features: Tensor) -> Tensor:
    r"""Rows of unit length, :math:`f / \lVert f \rVert_2`; a row of zeros stays one.

    Args:
        features: [..., D], floating point.

    Returns:
        [..., D], in the same dtype.

    Raises:
        TypeError: if the features are not a floating-point tensor.

    Source:
        Section 4.5.3.

    Example:
        >>> l2_normalize(torch.tensor([[3.0, 4.0], [0.0, 0.0]]))
        tensor([[0.6000, 0.8000],
                [0.0000, 0.0000]])
    """
    if not isinstance(features, Tensor) or not features.is_floating_point():
        got = features.dtype if isinstance(features, Tensor) else type(features).__name__
        raise TypeError(f"features must be a floating-point tensor, got {got}")
    return torch.nn.functional.normalize(features, dim=-1)

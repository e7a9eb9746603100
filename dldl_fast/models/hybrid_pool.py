"""Hybrid pooling: a max-pool followed by the mean over what is left of the plane."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class HybridPool2d(nn.Module):
    r"""Hybrid pooling: 2x2 max-pooling with stride 2, then global average pooling.

    .. math::
        z_{n,c} = \frac{1}{|\Omega|} \sum_{(i,j) \in \Omega}
        \max(x_{n,c,2i,2j},\, x_{n,c,2i,2j+1},\, x_{n,c,2i+1,2j},\, x_{n,c,2i+1,2j+1})

    where Omega are the :math:`\lfloor H/2 \rfloor \times \lfloor W/2 \rfloor` windows; a last odd
    row or column is left out.

    Shape:
        [N, C, H, W] with H and W >= 2 to [N, C].

    Source:
        Section 3.4. The max-pool is the fifth one of VGG-16; the released code has no other.

    Example:
        >>> import torch
        >>> HybridPool2d()(torch.arange(16.0).reshape(1, 1, 4, 4))  # mean of 5, 7, 13, 15
        tensor([[10.]])
    """

    def forward(self, x: Tensor) -> Tensor:
        """Pool [N, C, H, W] to [N, C]."""
        return F.max_pool2d(x, 2).mean(dim=(2, 3))

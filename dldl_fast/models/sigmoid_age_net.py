"""Networks of another implementation: sigmoids divided by their sum in place of softmax."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from dldl_fast.models.thin_age_net import ThinAgeNet


class SigmoidThinAgeNet(ThinAgeNet):
    r"""`ThinAgeNet` with sigmoids, divided by their sum, in place of softmax.

    .. math::
        \hat p_k = \frac{\sigma(x_k)}{\sum_j \sigma(x_j)} = \mathrm{softmax}(\log \sigma(x))_k

    ``forward`` gives :math:`\log \sigma(x)`, so that the loss, `predict` and whatever else takes
    logits need not know. The arguments are those of `ThinAgeNet`.

    Source:
        The ThinAge of PuNeal/DLDL-v2-PyTorch; 3,708,229 parameters at K = 101.

    Example:
        >>> import torch
        >>> model, images = SigmoidThinAgeNet(range(3)).eval(), torch.randn(1, 3, 32, 32)
        >>> sigmoids = model.head(model.pool(model.features(images))).sigmoid()
        >>> p = model(images).softmax(1)
        >>> torch.allclose(p, torch.nn.functional.normalize(sigmoids, p=1, dim=1))
        True
    """

    def forward(self, images: Tensor) -> Tensor:
        """Logarithms of the sigmoids, [N, K], for images [N, 3, H, W]."""
        return F.logsigmoid(super().forward(images))


class SigmoidTinyAgeNet(SigmoidThinAgeNet):
    """`SigmoidThinAgeNet` with a quarter of VGG-16's channels and two convolutions in block 3.

    Source:
        The TinyAge of PuNeal/DLDL-v2-PyTorch: 12 convolutions, 897,877 parameters at K = 101.

    Example:
        >>> sum(p.numel() for p in SigmoidTinyAgeNet().parameters())
        897877
    """

    _rate = 0.25
    _depths = (2, 2, 2, 3, 3)

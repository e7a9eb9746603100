"""Score maps: which places of a picture speak for the distribution that was predicted."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from dldl_fast.models.label_distribution_net import LabelDistributionNet, evaluating


class NoMapsError(ValueError):
    """A network whose features are vectors: it does not say what is where."""


def score_map(model: LabelDistributionNet, images: Tensor, *, upsample: bool = True) -> Tensor:
    r"""The share that every place of the last maps has in the predicted labels' logits.

    The last layer is applied to every place of the maps F, as it is to the pooled features, and
    the K results are averaged with the predicted probabilities as weights:

    .. math::
        A^k = \sum_j w_{kj} F^j + b_k, \qquad S = \sum_k \hat p_k A^k

    With mean pooling (``pooling="gap"``), the mean of S over all places is exactly
    :math:`\sum_k \hat p_k x_k`, x being the logits. Hybrid pooling takes the maxima of 2x2 places
    before the mean, which a map of all places cannot know. Softmax does not notice a vector added
    to all rows of W, but S does: compare places within a map, not maps of two models.

    Computed without gradients and with the running statistics of batch normalisation, whatever the
    mode of the model, which stays as it is.

    Args:
        model: a network whose features are maps [N, C, h, w]: the ThinAgeNet family, or a backbone
            without its own pooling.
        images: normalised, [N, 3, H, W], on the device of the model.
        upsample: whether to scale the maps to the size of the images, as the paper does
            (bilinear); False gives a value for every place of the features.

    Returns:
        S, [N, H, W], or [N, h, w] without ``upsample``, on the same device; float32, or float64 for
        a model in float64. For ThinAgeNet h = H // 16 and w = W // 16.

    Raises:
        NoMapsError: if the features of the model are no maps.

    Source:
        Section 5.1, Eqs. 23 and 24.

    Example:
        >>> from dldl_fast.models import TinyAgeNet
        >>> model = TinyAgeNet(pooling="gap").eval()
        >>> images = torch.randn(2, 3, 64, 48)
        >>> score_map(model, images).shape
        torch.Size([2, 64, 48])
        >>> scores = score_map(model, images, upsample=False)
        >>> scores.shape
        torch.Size([2, 4, 3])
        >>> logits = model(images)
        >>> expected = (logits.softmax(1) * logits).sum(1)
        >>> torch.allclose(scores.mean((1, 2)), expected, rtol=1e-4, atol=1e-5)
        True
    """
    found: list[Tensor] = []
    # One pass gives both maps and output, whatever `forward` makes of the logits.
    catching = model.features.register_forward_hook(lambda *call: found.append(call[2]))
    with torch.no_grad(), evaluating(model), catching:
        outputs = model(images)
        (maps,) = found
        if maps.dim() != 4:
            raise NoMapsError(
                "a score map needs features [N, C, h, w], and those of this "
                f"{type(model).__name__} are {list(maps.shape)}"
            )
        dtype = torch.promote_types(outputs.dtype, torch.float32)
        probabilities = outputs.to(dtype).softmax(1)
        # Both sums are linear: weights and bias are averaged, not the K maps.
        weight = probabilities @ model.head.weight.to(dtype)
        bias = probabilities @ model.head.bias.to(dtype)
        scores: Tensor = torch.einsum("nc,nchw->nhw", weight, maps.to(dtype)) + bias[:, None, None]
        if upsample:
            size = images.shape[-2:]
            scores = functional.interpolate(scores[:, None], size, mode="bilinear")[:, 0]
        return scores

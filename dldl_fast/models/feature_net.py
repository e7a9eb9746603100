"""What all networks here are: features, pooling where they are maps, and one linear layer."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from torch import Tensor, nn

from dldl_fast.hybrid_pool import HybridPool2d
from dldl_fast.models.checkpoint import EXTRA_STATE, require_fit, weights_of

POOLINGS: dict[str, Callable[[], nn.Module]] = {
    "hybrid": HybridPool2d,
    "gap": lambda: nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()),
    "gmp": lambda: nn.Sequential(nn.AdaptiveMaxPool2d(1), nn.Flatten()),
}
"""Hybrid pooling, and what the paper's section 4.5.2 compares it with: the mean or the maximum of
every map."""


class FeatureNet(nn.Module):
    """Features of images, pooled where they are maps, and a linear layer on top.

    Args:
        features: images [N, 3, H, W] to maps [N, C, h, w] or to vectors [N, C].
        pool: maps to vectors.
        num_features: C.
        num_outputs: of the linear layer, see `new_head`.
    """

    def __init__(
        self, features: nn.Module, pool: nn.Module, num_features: int, num_outputs: int
    ) -> None:
        super().__init__()
        self.features = features
        self.pool = pool
        self.head = new_head(num_features, num_outputs)

    def forward(self, images: Tensor) -> Tensor:
        """Outputs of the linear layer, [N, K], for images [N, 3, H, W]."""
        features = self.features(images)
        if features.dim() == 4:
            features = self.pool(features)
        if features.dim() != 2 or features.shape[1] != self.head.in_features:
            raise ValueError(
                f"features must be [N, C] or [N, C, H, W] with C = {self.head.in_features}, "
                f"got {list(features.shape)} after pooling; check num_features, and remove "
                "whatever the backbone does after its last features"
            )
        outputs: Tensor = self.head(features)
        return outputs

    def load_weights(self, weights: Mapping[str, Tensor], source: object) -> None:
        """Take all weights and running statistics from tensors; a label grid stays as it is.

        Args:
            weights: names, as in `state_dict`, and tensors.
            source: the file that they came from, for the error.

        Raises:
            CheckpointError: listing everything that is missing, unexpected or of a wrong shape.
        """
        require_fit(weights, weights_of(self), source)
        extra = {key: v for key, v in self.state_dict().items() if key.endswith(EXTRA_STATE)}
        without_memory = any(parameter.is_meta for parameter in self.parameters())
        self.load_state_dict({**weights, **extra}, assign=without_memory)


def new_head(num_features: int, num_outputs: int) -> nn.Linear:
    """A last layer whose weights start as U(-1/sqrt(C), 1/sqrt(C)) and whose bias as 0."""
    head = nn.Linear(num_features, num_outputs)
    bound = 1.0 / math.sqrt(num_features)
    nn.init.uniform_(head.weight, -bound, bound)
    nn.init.zeros_(head.bias)
    return head

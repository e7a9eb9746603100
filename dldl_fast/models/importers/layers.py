"""What the importers need to know of a network."""

from __future__ import annotations

from torch import Tensor, nn

from dldl_fast.hybrid_pool import HybridPool2d
from dldl_fast.models.checkpoint import require_fit, weights_of
from dldl_fast.models.feature_net import FeatureNet
from dldl_fast.models.thin_age_net import ThinVGG16Features


def convolutions_and_norms(net: FeatureNet) -> list[tuple[str, str]]:
    """Names of every convolution and of the batch normalisation behind it, from the input on.

    Raises:
        ValueError: if the network is not of the ThinAgeNet family with hybrid pooling.

    Example:
        >>> from dldl_fast.models import TinyAgeNet
        >>> convolutions_and_norms(TinyAgeNet())[:3]
        [('features.0', 'features.1'), ('features.3', 'features.4'), ('features.7', 'features.8')]
    """
    if not isinstance(net.features, ThinVGG16Features) or not isinstance(net.pool, HybridPool2d):
        raise ValueError(
            "net must be of the ThinAgeNet family with hybrid pooling, got "
            f"{type(net).__name__} with {type(net.features).__name__} and {type(net.pool).__name__}"
        )
    convolutions, norms = (
        [f"features.{i}" for i, layer in enumerate(net.features) if isinstance(layer, kind)]
        for kind in (nn.Conv2d, nn.BatchNorm2d)
    )
    return list(zip(convolutions, norms, strict=True))


def load_renamed(
    net: FeatureNet, found: dict[str, Tensor], names: dict[str, str], source: object
) -> None:
    """Load tensors that have other names elsewhere.

    Args:
        net: the network.
        found: tensors by the names that they have there.
        names: for each of those names that must be there, the name in the network. Counters of
            batches may be missing: old files have none, and nothing here reads them.
        source: the file, for the error.

    Raises:
        CheckpointError: listing everything that is missing, unexpected or of a wrong shape, by
            the names that it has there.
    """
    own = weights_of(net)
    counters = {name: own[ours] for name, ours in names.items() if name.endswith("_tracked")}
    found = {**counters, **found}
    require_fit(found, {name: own[ours] for name, ours in names.items()}, source)
    net.load_weights({names[name]: tensor for name, tensor in found.items()}, source)

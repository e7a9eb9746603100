"""Pre-training on face recognition, after which the same features learn labels."""

from __future__ import annotations

from dldl_fast.models.feature_net import FeatureNet
from dldl_fast.models.label_distribution_net import LabelDistributionNet


class FaceIdentityNet(FeatureNet):
    """The features of a label distribution network, with a head for N identities.

    Features and pooling are those of the network itself, not copies: what the training on
    identities learns is in the network, whose own head waits untouched. To transfer, forget this
    object. Its output are logits, for ``torch.nn.functional.cross_entropy``.

    Args:
        net: the network to pre-train.
        num_identities: N, >= 2.

    Shape:
        images [B, 3, H, W] to logits [B, N].

    Raises:
        ValueError: if there are fewer than two identities.

    Source:
        Section 4.1: ThinAgeNet is pre-trained on MS-Celeb-1M; the released models know 54,073
        persons.

    Example:
        >>> import torch
        >>> from dldl_fast.models import TinyAgeNet
        >>> net = TinyAgeNet()
        >>> faces = FaceIdentityNet(net, num_identities=10)
        >>> logits = faces(torch.randn(2, 3, 64, 64))
        >>> torch.nn.functional.cross_entropy(logits, torch.tensor([3, 7])).backward()
        >>> net.features[0].weight.grad is not None, net.head.weight.grad is None
        (True, True)

        Features of a net with other labels, in a later session:

        >>> from dldl_fast.models import TinyAttNet
        >>> beauty = TinyAttNet()
        >>> beauty.features.load_state_dict(net.features.state_dict())
        <All keys matched successfully>
    """

    def __init__(self, net: LabelDistributionNet, num_identities: int) -> None:
        if num_identities < 2:
            raise ValueError(f"num_identities must be at least 2, got {num_identities}")
        super().__init__(net.features, net.pool, net.head.in_features, num_identities)

"""ALResNet: a residual network that looks again at the regions that an LSTM finds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from dldl_fast.labels import label_grid
from dldl_fast.models.feature_net import new_head
from dldl_fast.models.label_distribution_net import LabelDistributionNet, evaluating
from dldl_fast.models.region_attention import RegionAttention
from dldl_fast.models.thin_age_net import AGES


class ALResNet(LabelDistributionNet):
    r"""Attention LSTM network: features of the face and of the regions that an LSTM finds in it.

    The source's abstract says: a ResNet or RoR, pre-trained on ImageNet and fine-tuned on faces,
    gives global features; an LSTM unit finds the coordinates of a region that tells the age; local
    features come from that region; both are combined. Its text was not at hand. How the LSTM looks,
    what it emits, the number and size of regions and the way of combining are choices of this
    library, see `RegionAttention`.

    With global features g, local features l (the mean over the regions) and attended places f, the
    output is

    .. math::
        x = W_g g + W_l l + W_f f + b.

    One linear layer over all of them is a sum of one prediction from each, whose weights are
    learnt; it is the layer that every network here ends with, so that any loss and recipe serves.

    Args:
        labels: label grid, K increasing numbers; default the ages 0, 1, ..., 100.
        depth: 18, 34 or 50 layers.
        backbone: ``"resnet"`` or ``"ror"`` (residual network of residual networks).
        steps: regions that are looked at, one after the other.
        region: their height and width as shares of those of the image, in (0, 1).
        width: channels of the first convolution: 64 in the original networks, at least 8.
        num_outputs: ``method.out_features`` of a method of `dldl_fast.methods` whose outputs are
            not K logits, such as CORAL; default K. Then take ``method.decode(model(images))``, not
            `predict`.

    Shape:
        images [N, 3, H, W], normalised, to logits [N, K].

    Raises:
        ValueError: if an argument is out of range.

    Source:
        Zhang et al., Fine-Grained Age Estimation in the wild with Attention LSTM Networks, 2018;
        its best network on Adience is AL-ResNet-34.

    Example:
        >>> model = ALResNet(range(8), depth=18, width=8)
        >>> images = torch.randn(2, 3, 64, 64)
        >>> model(images).shape, model.regions(images).shape
        (torch.Size([2, 8]), torch.Size([2, 3, 4]))

        Any method:

        >>> from dldl_fast.methods import make_method
        >>> method = make_method("coral", range(8))
        >>> model = ALResNet(range(8), depth=18, width=8, num_outputs=method.out_features)
        >>> method.loss(model(images), torch.tensor([2.0, 5.0])).backward()
        >>> method.decode(model(images)).shape
        torch.Size([2])
    """

    def __init__(
        self,
        labels: Tensor | Sequence[float] | None = None,
        *,
        depth: int = 34,
        backbone: str = "resnet",
        steps: int = 3,
        region: float = 0.5,
        width: int = 64,
        num_outputs: int | None = None,
    ) -> None:
        if num_outputs is not None and num_outputs < 1:
            raise ValueError(f"num_outputs must be at least 1, got {num_outputs}")
        attention = RegionAttention(backbone, depth, steps, region, width)
        super().__init__(attention, label_grid(*AGES) if labels is None else labels)
        self.depth, self.backbone, self.width = depth, backbone, width
        if num_outputs is not None:
            self.head = new_head(self.head.in_features, num_outputs)

    def architecture(self) -> dict[str, Any]:
        """Arguments, other than the labels, that make this network again."""
        return {
            "depth": self.depth,
            "backbone": self.backbone,
            "steps": self._attention.steps,
            "region": self._attention.region,
            "width": self.width,
            "num_outputs": self.head.out_features,
        }

    def regions(self, images: Tensor) -> Tensor:
        """Where the network looks, step by step.

        Computed without gradients and in evaluation mode, whatever the mode of the model, which
        stays as it is.

        Args:
            images: normalised, [N, 3, H, W], on the device of the model.

        Returns:
            Left, top, right and bottom of each region in pixels, [N, steps, 4]; all are inside the
            images. For drawing: `dldl_fast.explain.region_overlay`.
        """
        with torch.no_grad(), evaluating(self):
            return self._attention.boxes(images)

    def load_torchvision(self, weights: Mapping[str, Tensor], source: object) -> None:
        """Start both networks from a ResNet of torchvision, such as one that knows ImageNet.

        Args:
            weights: its ``state_dict()``, of the same depth; ``fc`` is left out.
            source: where it came from, for the error.

        Raises:
            CheckpointError: listing everything that does not fit.
        """
        for net in (self._attention.global_net, self._attention.local_net):
            net.load_torchvision(weights, source)

    def attention_parameters(self) -> list[nn.Parameter]:
        """Those that decide where to look, for a learning rate of their own.

        From new weights they should learn about ten times slower than the networks: if attention
        settles before there are features to tell places apart, it may settle anywhere.

        Example:
            >>> model = ALResNet(range(8), depth=18, width=8)
            >>> slow = model.attention_parameters()
            >>> fast = [p for p in model.parameters() if all(p is not q for q in slow)]
            >>> groups = [{"params": fast}, {"params": slow, "lr": 1e-4}]
            >>> optimizer = torch.optim.Adam(groups, lr=1e-3)
        """
        net = self._attention
        return [p for part in (net.query, net.lstm, net.move) for p in part.parameters()]

    def _values(self, images: Tensor) -> Tensor:
        if self.head.out_features != len(self.labels):
            raise ValueError(
                f"the {self.head.out_features} outputs are no logits of the {len(self.labels)} "
                "labels; use decode(model(images)) of the method that the model was trained with"
            )
        return super()._values(images)

    @property
    def _attention(self) -> RegionAttention:
        assert isinstance(self.features, RegionAttention)  # for the type checker
        return self.features

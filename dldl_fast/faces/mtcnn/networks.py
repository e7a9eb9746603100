"""The three networks of MTCNN, with the names of weights that facenet-pytorch's files have."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class PNet(nn.Module):
    """Looks for faces of about 12 pixels everywhere in a picture: a window at every second pixel.

    Shape:
        images [N, 3, H, W] in [-1, 1], H and W >= 11, to scores [N, h, w] and offsets
        [N, h, w, 4], with h = (H - 1) // 2 - 4 and w likewise. The window of a cell begins at
        twice its row and column.

    Source:
        Zhang et al., Joint Face Detection and Alignment using Multi-task Cascaded Convolutional
        Networks, IEEE SPL 2016, Fig. 2; layers and weights as in facenet-pytorch 2.6.0.

    Example:
        >>> sum(p.numel() for p in PNet().parameters())
        6632
        >>> scores, offsets = PNet()(torch.zeros(1, 3, 12, 19))
        >>> scores.shape, offsets.shape
        (torch.Size([1, 1, 5]), torch.Size([1, 1, 5, 4]))
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 10, 3)
        self.prelu1 = nn.PReLU(10)
        self.pool1 = nn.MaxPool2d(2, 2, ceil_mode=True)
        self.conv2 = nn.Conv2d(10, 16, 3)
        self.prelu2 = nn.PReLU(16)
        self.conv3 = nn.Conv2d(16, 32, 3)
        self.prelu3 = nn.PReLU(32)
        self.conv4_1 = nn.Conv2d(32, 2, 1)
        self.conv4_2 = nn.Conv2d(32, 4, 1)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Probability of a face in every window, and corrections of its box in sides of it."""
        maps = self.pool1(self.prelu1(self.conv1(images)))
        maps = self.prelu3(self.conv3(self.prelu2(self.conv2(maps))))
        return self.conv4_1(maps).softmax(1)[:, 1], self.conv4_2(maps).permute(0, 2, 3, 1)


class PNetScan:
    """A PNet with its weights prepared for pictures in which few windows are faces.

    The scores are those of the network, up to rounding, in less than half of the time; offsets are
    computed of the windows that are asked for. Changes of the network's weights come too late.

    Example:
        >>> network = PNet().requires_grad_(False)
        >>> images = torch.rand(1, 3, 14, 15)
        >>> scores, features = PNetScan(network)(images)
        >>> torch.allclose(scores, network(images)[0], atol=1e-6)
        True
    """

    def __init__(self, network: PNet) -> None:
        self._network = network
        first = network.conv1
        assert first.bias is not None and network.conv4_1.bias is not None
        # The four values that pooling chooses from are computed as channels, from weights shifted
        # by no or one row and column: channels that lie side by side have a fast maximum.
        shifts = [(row, column) for row in (0, 1) for column in (0, 1)]
        weight = torch.cat([F.pad(first.weight, (c, 1 - c, r, 1 - r)) for r, c in shifts])
        self._weight = weight.contiguous(memory_format=torch.channels_last)
        self._bias = first.bias.repeat(4)
        self._slope = network.prelu1.weight.repeat(4)
        # The softmax of two values is the sigmoid of their difference.
        weight, bias = network.conv4_1.weight[:, :, 0, 0], network.conv4_1.bias
        self._score_weight, self._score_bias = weight[1] - weight[0], bias[1] - bias[0]

    def __call__(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Scores [N, h, w], and what `offsets` are computed from, [N, h, w, 32]."""
        network = self._network
        maps = network.prelu2(network.conv2(self._first_maps(images)))
        features = network.prelu3(network.conv3(maps)).permute(0, 2, 3, 1)
        return (features @ self._score_weight).add_(self._score_bias).sigmoid_(), features

    def offsets(self, features: Tensor) -> Tensor:
        """Corrections [K, 4] of windows with features [K, 32]."""
        last = self._network.conv4_2
        return F.linear(features, last.weight[:, :, 0, 0], last.bias)

    def _first_maps(self, images: Tensor) -> Tensor:
        """Convolution, PReLU and pooling."""
        odd_rows, odd_columns = images.shape[2] % 2, images.shape[3] % 2
        if odd_rows or odd_columns:
            images = F.pad(images, (0, odd_columns, 0, odd_rows))
        maps = F.conv2d(images, self._weight, self._bias, stride=2)
        maps = F.prelu(maps, self._slope).permute(0, 2, 3, 1)
        # The last window of an odd size has one row or column; the padding must not be chosen.
        windows = maps.unflatten(3, (2, 2, -1))
        if odd_rows:
            windows[:, -1, :, 1] = windows[:, -1, :, 0]
        if odd_columns:
            windows[:, :, -1, :, 1] = windows[:, :, -1, :, 0]
        for half in (2 * 10, 10):
            maps = torch.maximum(maps[..., :half], maps[..., half:])
        return maps.permute(0, 3, 1, 2)


class RNet(nn.Module):
    """Tells which windows of the PNet are faces, and where these are.

    Shape:
        images [N, 3, 24, 24] in [-1, 1] to scores [N] and offsets [N, 4].

    Source:
        As of `PNet`.

    Example:
        >>> sum(p.numel() for p in RNet().parameters())
        100178
    """

    size = 24

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 28, 3)
        self.prelu1 = nn.PReLU(28)
        self.pool1 = nn.MaxPool2d(3, 2, ceil_mode=True)
        self.conv2 = nn.Conv2d(28, 48, 3)
        self.prelu2 = nn.PReLU(48)
        self.pool2 = nn.MaxPool2d(3, 2, ceil_mode=True)
        self.conv3 = nn.Conv2d(48, 64, 2)
        self.prelu3 = nn.PReLU(64)
        self.dense4 = nn.Linear(576, 128)
        self.prelu4 = nn.PReLU(128)
        self.dense5_1 = nn.Linear(128, 2)
        self.dense5_2 = nn.Linear(128, 4)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Probability of a face, and corrections of its box in sides of the box."""
        maps = self.pool1(self.prelu1(self.conv1(images)))
        maps = self.pool2(self.prelu2(self.conv2(maps)))
        maps = self.prelu3(self.conv3(maps))
        features = self.prelu4(self.dense4(_flat(maps)))
        return self.dense5_1(features).softmax(1)[:, 1], self.dense5_2(features)


class ONet(nn.Module):
    """Tells which boxes of the RNet are faces, where these are, and where their landmarks.

    Shape:
        images [N, 3, 48, 48] in [-1, 1] to scores [N], offsets [N, 4] and landmarks [N, 5, 2].

    Source:
        As of `PNet`.

    Example:
        >>> sum(p.numel() for p in ONet().parameters())
        389040
    """

    size = 48

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 32, 3)
        self.prelu1 = nn.PReLU(32)
        self.pool1 = nn.MaxPool2d(3, 2, ceil_mode=True)
        self.conv2 = nn.Conv2d(32, 64, 3)
        self.prelu2 = nn.PReLU(64)
        self.pool2 = nn.MaxPool2d(3, 2, ceil_mode=True)
        self.conv3 = nn.Conv2d(64, 64, 3)
        self.prelu3 = nn.PReLU(64)
        self.pool3 = nn.MaxPool2d(2, 2, ceil_mode=True)
        self.conv4 = nn.Conv2d(64, 128, 2)
        self.prelu4 = nn.PReLU(128)
        self.dense5 = nn.Linear(1152, 256)
        self.prelu5 = nn.PReLU(256)
        self.dense6_1 = nn.Linear(256, 2)
        self.dense6_2 = nn.Linear(256, 4)
        self.dense6_3 = nn.Linear(256, 10)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Probability of a face, corrections of its box, and landmarks as parts of the box."""
        maps = self.pool1(self.prelu1(self.conv1(images)))
        maps = self.pool2(self.prelu2(self.conv2(maps)))
        maps = self.pool3(self.prelu3(self.conv3(maps)))
        maps = self.prelu4(self.conv4(maps))
        features = self.prelu5(self.dense5(_flat(maps)))
        # All x come before all y.
        landmarks = self.dense6_3(features).unflatten(1, (2, 5)).transpose(1, 2)
        scores = self.dense6_1(features).softmax(1)[:, 1]
        return scores, self.dense6_2(features), landmarks


def _flat(maps: Tensor) -> Tensor:
    """Maps [N, C, H, W] as rows, in the order of the framework that the weights come from."""
    return maps.permute(0, 3, 2, 1).flatten(1)

"""Global features, an LSTM that looks for regions in their maps, and local features of these."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dldl_fast.models.residual import ResNetMaps, RoRMaps

BACKBONES: dict[str, type[ResNetMaps]] = {"resnet": ResNetMaps, "ror": RoRMaps}
"""Residual networks by name."""

# The second: its places are 8 pixels apart, enough for coordinates, and do not see the whole face.
_STAGE = 1


class RegionAttention(nn.Module):
    r"""Features of a whole image and of the regions that an LSTM finds in it.

    Maps F of the global network's second stage have places i with values :math:`F_i`. For each of
    the steps t = 1 ... T, with :math:`h_0 = c_0 = 0`:

    .. math::
        a_t &= \mathrm{softmax}_i\left( F_i^\top (W h_{t-1} + w) \right) \\
        f_t &= \sum_i a_{t,i} F_i, \qquad q_t = \sum_i a_{t,i} \, p_i \\
        h_t, c_t &= \mathrm{LSTM}([f_t, q_t], (h_{t-1}, c_{t-1})) \\
        z_t &= \mathrm{clip}(q_t + d \tanh(R h_t + r))

    :math:`p_i` is the centre of place i, moved inwards as far as a region around it would reach
    over the edge; d is the distance between two places, and clip keeps the region in the image. So
    attention finds a place, and the LSTM's output moves it by less than to the next one. w starts
    as :math:`1/\sqrt C`: the first look goes to where the maps, which are not negative, are
    largest. The region around :math:`z_t` is cut out bilinearly, with the resolution that it has in
    the image, and goes through the local network. The features are

    .. math::
        \left[ \mathrm{mean}(G), \; \tfrac{1}{T} \sum_t \mathrm{mean}(L_t), \;
        \tfrac{1}{T} \sum_t f_t \right]

    with the last maps G of the global network and :math:`L_t` of the local one. The pixels of a
    region say little of where a better one would be; through :math:`f_t` the loss tells the
    attention directly which places are worth looking at.

    Args:
        backbone: ``"resnet"`` or ``"ror"``, for both networks.
        depth: 18, 34 or 50 layers, of both networks.
        steps: T, at least 1.
        region: height and width of a region as shares of those of the image, in (0, 1).
        width: channels of the first convolution: 64 in the original networks, at least 8.

    Attributes:
        global_net: the network for the whole image.
        local_net: the network for the regions.
        num_features: number of features.

    Shape:
        images [N, 3, H, W] to features [N, num_features].

    Raises:
        ValueError: if an argument is out of range.

    Example:
        >>> attention = RegionAttention("ror", 18, steps=2, region=0.5, width=8)
        >>> attention(torch.zeros(1, 3, 64, 64)).shape
        torch.Size([1, 144])
    """

    def __init__(self, backbone: str, depth: int, steps: int, region: float, width: int) -> None:
        if backbone not in BACKBONES:
            raise ValueError(f"backbone must be one of {tuple(BACKBONES)}, got {backbone!r}")
        if steps < 1:
            raise ValueError(f"steps must be at least 1, got {steps}")
        if not 0 < region < 1:
            raise ValueError(f"region must be in (0, 1), got {region}")
        super().__init__()
        self.steps, self.region = steps, region
        self.global_net = BACKBONES[backbone](depth, width=width)
        self.local_net = BACKBONES[backbone](depth, width=width)
        channels = self.global_net.stage_channels[_STAGE]
        self.query = nn.Linear(channels, channels)
        nn.init.constant_(self.query.bias, 1 / math.sqrt(channels))
        self.lstm = nn.LSTMCell(channels + 2, channels)
        self.move = nn.Linear(channels, 2)
        self.num_features = 2 * self.global_net.stage_channels[-1] + channels

    def forward(self, images: Tensor) -> Tensor:
        """Features [N, num_features] of images [N, 3, H, W]."""
        maps = self.global_net.stage_maps(images)
        centres, seen = self._look(maps[_STAGE])
        local = self.local_net(self.cut_out(images, centres)).mean((2, 3))
        local = local.unflatten(0, (-1, self.steps)).mean(1)
        return torch.cat([maps[-1].mean((2, 3)), local, seen], 1)

    def boxes(self, images: Tensor) -> Tensor:
        """Left, top, right and bottom of the regions in pixels, [N, T, 4]."""
        centres, _ = self._look(self.global_net.stage_maps(images)[_STAGE])
        height, width = images.shape[2:]
        size = centres.new_tensor([width, height])
        middle, half = (centres + 1) / 2 * size, self.region / 2 * size
        return torch.cat([middle - half, middle + half], 2)

    def cut_out(self, images: Tensor, centres: Tensor) -> Tensor:
        """The regions around centres [N, T, 2], x and y in [-1, 1]: [N T, 3, h, w]."""
        height, width = (max(1, round(self.region * side)) for side in images.shape[2:])
        count = len(images) * self.steps
        scale = self.region * torch.eye(2, dtype=images.dtype, device=images.device)
        theta = torch.cat(
            [scale.expand(count, 2, 2), centres.reshape(count, 2, 1).to(images.dtype)], 2
        )
        grid = F.affine_grid(theta, [count, 3, height, width], align_corners=False)
        repeated = images.repeat_interleave(self.steps, 0)
        return F.grid_sample(repeated, grid, align_corners=False)

    def _look(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        """Centres [N, T, 2] of the regions, x and y in [-1, 1], and mean attended maps [N, C]."""
        places = maps.flatten(2).transpose(1, 2)  # [N, h w, C]
        positions, distance = self._positions(maps)
        limit = 1 - self.region
        hidden = cell = maps.new_zeros(len(maps), maps.shape[1])
        centres, seen = [], []
        for _ in range(self.steps):
            attention = (places @ self.query(hidden)[:, :, None]).softmax(1)
            attended = (attention * places).sum(1)
            position = (attention * positions).sum(1)
            hidden, cell = self.lstm(torch.cat([attended, position], 1), (hidden, cell))
            moved = position + distance * torch.tanh(self.move(hidden))
            centres.append(moved.clamp(-limit, limit))
            seen.append(attended)
        return torch.stack(centres, 1), torch.stack(seen).mean(0)

    def _positions(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        """Centres of the places, x and y, [h w, 2], and the distances of two neighbours, [2]."""
        height, width = maps.shape[2:]
        limit = 1 - self.region

        def along(count: int) -> Tensor:
            numbers = torch.arange(count, dtype=maps.dtype, device=maps.device)
            return ((2 * numbers + 1) / count - 1).clamp(-limit, limit)

        y, x = torch.meshgrid(along(height), along(width), indexing="ij")
        return torch.stack([x.flatten(), y.flatten()], 1), maps.new_tensor([2 / width, 2 / height])

from __future__ import annotations

import pytest
import torch
from torch import nn

from dldl_fast.explain import occlusion
from dldl_fast.models import LabelDistributionNet

LABELS = torch.arange(0.0, 41.0)


class Corner(nn.Module):
    """Features that are mean colours of one region alone."""

    def __init__(self, rows: slice, columns: slice) -> None:
        super().__init__()
        self.rows, self.columns = rows, columns
        self.seen = 0

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.seen += len(images)
        return images[:, :, self.rows, self.columns].mean((2, 3))


def net(rows: slice, columns: slice) -> LabelDistributionNet:
    model = LabelDistributionNet(Corner(rows, columns), LABELS, num_features=3).double().eval()
    nn.init.normal_(model.head.weight, std=4)
    return model


def batches(*counts: int, height: int = 28, width: int = 21):
    generator = torch.Generator().manual_seed(5)
    for count in counts:
        images = torch.randn(count, 3, 1, 1, generator=generator) + 0.3 * torch.randn(
            count, 3, height, width, generator=generator
        )
        yield images.double(), 40 * torch.rand(count, generator=generator)


def by_hand(model, data, parts, flip, mirror, fill=0.0):
    """One image and one region at a time."""
    data = [(images[i], target[i]) for images, target in data for i in range(len(images))]
    height, width = data[0][0].shape[1:]
    edges = [
        [(size * i // parts, size * (i + 1) // parts) for i in range(parts)]
        for size in (height, width)
    ]
    regions = [((0, 0), (0, 0))]
    regions += [(row, column) for row in edges[0] for column in edges[1]]
    regions += [(row, (0, width)) for row in edges[0]]

    def value(image):
        return (model(image[None]).softmax(1) @ LABELS.double()).item()

    maes = []
    for (top, bottom), (left, right) in regions:
        total = 0.0
        for image, target in data:
            hidden = image.clone()
            hidden[:, top:bottom, left:right] = fill
            found = value(hidden)
            if flip:
                other = hidden.flip(-1)
                if not mirror:
                    other = image.flip(-1)
                    other[:, top:bottom, left:right] = fill
                found = (found + value(other)) / 2
            total += abs(found - target.item())
        maes.append(total / len(data))
    relative = [(mae - maes[0]) / maes[0] for mae in maes[1:]]
    return maes[0], torch.tensor(relative, dtype=torch.float64)


@pytest.mark.parametrize(("flip", "mirror"), [(False, True), (True, True), (True, False)])
@pytest.mark.parametrize(("parts", "height", "width"), [(7, 28, 21), (3, 10, 8)])
def test_every_region_by_hand(parts, height, width, flip, mirror):
    """Two sizes, one of which does not divide; batches of different sizes."""
    model = net(slice(2, 9), slice(1, 6))
    with torch.no_grad():
        mae, relative = by_hand(
            model, batches(4, 1, height=height, width=width), parts, flip, mirror, 0.25
        )
    found = occlusion(
        model,
        batches(4, 1, height=height, width=width),
        parts=parts,
        fill=0.25,
        flip=flip,
        mirror=mirror,
        batch_size=10,
    )
    assert found.count == 5
    assert found.mae == pytest.approx(mae, rel=1e-10)
    squares, stripes = relative.split([parts**2, parts])
    torch.testing.assert_close(found.squares, squares.view(parts, parts), rtol=1e-8, atol=1e-10)
    torch.testing.assert_close(found.stripes, stripes, rtol=1e-8, atol=1e-10)
    assert found.squares.abs().max() > 0.01
    whole = torch.cat([images for images, _ in batches(4, 1, height=height, width=width)])
    torch.testing.assert_close(found.mean_image, whole.mean(0), rtol=1e-12, atol=1e-12)


def test_only_what_the_model_looks_at_matters():
    model = net(slice(8, 12), slice(3, 6))
    found = occlusion(model, batches(6), flip=False)
    other = torch.ones(7, 7, dtype=torch.bool)
    other[2, 1] = False
    assert found.squares[2, 1].abs() > 0.01
    assert (found.squares[other] == 0).all()
    assert found.stripes[2] == found.squares[2, 1]
    # The same place of the face is on the other side of the mirror image; the same coordinates
    # are not.
    assert occlusion(model, batches(6)).squares[2, 5] != 0
    both = occlusion(model, batches(6), mirror=False).squares
    assert both[2, 1] != 0 and (both[other] == 0).all()


@pytest.mark.parametrize(("flip", "passes"), [(False, 57), (True, 114)])
@pytest.mark.parametrize("mirror", [False, True])
def test_no_more_passes_than_needed(flip, passes, mirror):
    model = net(slice(0, 28), slice(0, 21))
    occlusion(model, batches(3, 2), flip=flip, mirror=mirror, batch_size=16)
    assert model.features.seen == 5 * passes


def test_images_and_model_stay_as_they_were():
    model = net(slice(0, 28), slice(0, 21)).train()
    data = list(batches(3))
    before = data[0][0].clone()
    occlusion(model, data)
    assert torch.equal(data[0][0], before)
    assert model.training


@pytest.mark.parametrize(
    ("data", "options", "message"),
    [
        ([], {}, "batches holds no images"),
        ([(torch.zeros(3, 28, 28), torch.zeros(3))], {}, r"images must be \[N, 3, H, W\]"),
        ([(torch.zeros(2, 3, 28, 28), torch.zeros(3))], {}, "for each of 2 images, got"),
        ([(torch.zeros(1, 3, 28, 28), torch.tensor([torch.nan]))], {}, "must be finite"),
        ([(torch.zeros(1, 3, 6, 28), torch.zeros(1))], {}, "7 parts need as many pixels"),
        ([*batches(1), *batches(1, width=14)], {}, "all images must have one size"),
        ([*batches(1)], {"parts": 0}, "parts must be >= 1, got 0"),
        ([*batches(1)], {"batch_size": 0}, "batch_size must be >= 1, got 0"),
    ],
)
def test_what_cannot_be_measured(data, options, message):
    with pytest.raises(ValueError, match=message):
        occlusion(net(slice(0, 5), slice(0, 5)), data, **options)


def test_no_error_is_relative_to_none():
    model = net(slice(0, 5), slice(0, 5))
    with torch.no_grad():
        model.head.weight.zero_()
        model.head.bias.zero_()
    with pytest.raises(ValueError, match="makes no error"):
        occlusion(model, [(torch.zeros(1, 3, 28, 28).double(), torch.tensor([20.0]))])

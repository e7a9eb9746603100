from __future__ import annotations

import base64
import io
import re

import numpy as np
import pytest
import torch
from torch import nn

from dldl_fast.faces import align_face
from dldl_fast.models import LabelDistributionNet
from dldl_fast.prediction import AgeEstimator
from tests.prediction.conftest import (
    MEAN,
    SIZE,
    STD,
    FakeDetector,
    face,
    model,  # noqa: F401
    picture,
)

pytest.importorskip("matplotlib", reason="the extra faces is not installed")
Image = pytest.importorskip("PIL.Image", reason="the extra faces is not installed")

from dldl_fast.demo.answer import MAX_FACES, answer  # noqa: E402
from dldl_fast.demo.page import answered  # noqa: E402
from dldl_fast.explain import score_overlay  # noqa: E402

FACES = [face(10, 5, 90), face(100, 60, 50)]


def estimator_of(model, *faces):  # noqa: F811
    return AgeEstimator(
        model, detector=FakeDetector(*faces), several="all", no_face="skip", device="cpu"
    )


@pytest.fixture
def photo(tmp_path):
    Image.fromarray(np.maximum(picture(3, 120, 160), 120)).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


def pictures(html, text):
    found = re.findall(f'<img alt="{text}" src="data:image/[a-z]+;base64,([^"]+)">', html)
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(one)))) for one in found]


def test_every_face_has_its_numbers_and_pictures(model, photo):  # noqa: F811
    html = answer(estimator_of(model, *FACES), photo)
    pixels = np.asarray(Image.open(photo))
    crops = [align_face(pixels, one.landmarks, SIZE) for one in FACES]
    inputs = (torch.from_numpy(np.stack(crops)) / 255.0 - torch.tensor(MEAN)) / torch.tensor(STD)
    inputs = inputs.permute(0, 3, 1, 2)
    with torch.no_grad():
        logits = model(inputs).double()
        both = (logits.softmax(1) + model(inputs.flip(3)).double().softmax(1)) / 2
        activations = torch.einsum("kj,njhw->nkhw", model.head.weight, model.features(inputs))
        activations = activations.double() + model.head.bias.double()[:, None, None]
    maps = (logits.softmax(1)[..., None, None] * activations).sum(1)

    values = (both * model.labels).sum(1)
    spreads = ((both * model.labels**2).sum(1) - values**2).sqrt()
    found = re.findall(r"<strong>([\d.]+)</strong> ± ([\d.]+) years", html)
    assert found == [(f"{v:.1f}", f"{s:.1f}") for v, s in zip(values, spreads, strict=True)]
    sums = both.cumsum(1)
    low, high = (model.labels[(sums < level).sum(1)] for level in (0.05, 0.95))
    assert re.findall(r"90&nbsp;% between (\d+) and (\d+)<", html) == [
        (f"{a:g}", f"{b:g}") for a, b in zip(low, high, strict=True)
    ]
    assert len(set(found)) == 2
    assert html.count("image/svg+xml") == 2
    assert "<h2>2 faces, the largest first</h2>" in html

    for shown, crop in zip(pictures(html, "aligned face"), crops, strict=True):
        np.testing.assert_array_equal(shown, crop)
    for shown, crop, scores in zip(pictures(html, "score map"), crops, maps, strict=True):
        expected = np.asarray(score_overlay(crop, scores)).astype(int)
        assert np.abs(shown.astype(int) - expected).max() <= 6  # of one colour to the next
    (whole,) = pictures(html, "the photo")
    assert whole.shape[1] / whole.shape[0] == pytest.approx(160 / 120, rel=0.01)


def test_no_more_faces_than_a_page_can_show(model, photo):  # noqa: F811
    many = [face(2 * n, n, 60 - n) for n in range(MAX_FACES + 3)]
    html = answer(estimator_of(model, *many), photo)
    assert html.count('<article class="face">') == MAX_FACES
    assert "<h2>The 12 largest of 15 faces</h2>" in html


def test_what_is_wrong_with_a_photo(model, tmp_path):  # noqa: F811
    estimator = estimator_of(model, FACES[0])
    Image.new("RGB", (50, 50)).save(tmp_path / "dark.png")
    html = answer(estimator, tmp_path / "dark.png")
    assert html == '<p class="message">dark.png: no face found</p>'
    text = tmp_path / "a<b>.jpg"
    text.write_text("no picture")
    html = answer(estimator, text)
    assert re.fullmatch(r'<p class="message">a&lt;b&gt;.jpg: not a readable picture .*</p>', html)
    assert str(tmp_path) not in html


def test_model_without_places_has_no_score_map(photo):
    backbone = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    net = LabelDistributionNet(backbone, range(3), num_features=3)
    net.config = {
        "image": {"size": SIZE, "mean": MEAN, "std": STD},
        "data": {"unit": "<i>$\\frac"},
    }
    html = answer(estimator_of(net, FACES[0]), photo)
    assert "This model has no score map" in html
    assert not pictures(html, "score map")
    assert "&lt;i&gt;$\\frac</p>" in html
    assert "<i>" not in html


def test_photos_are_deleted_and_no_other_file(model, photo, tmp_path):  # noqa: F811
    sent = tmp_path / "sent"
    sent.mkdir()
    estimator = estimator_of(model, FACES[0])
    html = answered(estimator, sent, str(photo))
    assert html == '<p class="message">photo.png: not a file that was sent to this page</p>'
    (sent / "link.png").symlink_to(photo)
    assert "not a file that was sent" in answered(estimator, sent, str(sent / "link.png"))
    assert photo.is_file()
    assert "years" in answered(estimator, tmp_path, str(photo))
    assert not photo.exists()
    photo.write_text("no picture")
    assert "not a readable picture" in answered(estimator, tmp_path, str(photo))
    assert not photo.exists()
    assert "once there is a photo" in answered(estimator, sent, None)

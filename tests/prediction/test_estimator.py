from __future__ import annotations

import copy
import weakref

import numpy as np
import pytest
import torch

from dldl_fast.data import DataError
from dldl_fast.faces import align_face
from dldl_fast.models import CheckpointError, TinyAgeNet
from dldl_fast.prediction import AgeEstimator
from dldl_fast.prediction.result import predictions_of
from tests.prediction.conftest import MEAN, SIZE, STD, FakeDetector, face, picture

Image = pytest.importorskip("PIL.Image", reason="the extra faces is not installed")


def oracle(model, pixels: np.ndarray) -> np.ndarray:
    """Predicted distribution of aligned pixels [S, S, 3], in float64."""
    images = (pixels.astype(np.float64) / 255 - np.array(MEAN)) / np.array(STD)
    tensor = torch.from_numpy(images.transpose(2, 0, 1)[None].copy())
    with torch.no_grad():
        logits = copy.deepcopy(model).double().eval()(tensor)[0].numpy()
    exponentials = np.exp(logits - logits.max())
    return exponentials / exponentials.sum()


def moments(p: np.ndarray) -> tuple[float, float]:
    labels = np.arange(20.0, 51.0)
    mean = float((p * labels).sum())
    return mean, float(np.sqrt((p * (labels - mean) ** 2).sum()))


def quantile(p: np.ndarray, level: float) -> float:
    total = 0.0
    for label, probability in zip(range(20, 51), p, strict=True):
        total += probability
        if total >= level:
            return float(label)
    raise AssertionError


def test_quantiles_of_a_wide_distribution():
    labels = torch.arange(1.0, 101.0, dtype=torch.float64)
    p = torch.full((1, 100), 0.01, dtype=torch.float64)
    p[0, 99] += p[0, 0].item()
    p[0, 0] = 0
    (prediction,) = predictions_of(p, labels, [None])
    assert (prediction.q05, prediction.q50, prediction.q95) == (6.0, 51.0, 96.0)


@pytest.mark.parametrize("flip", [False, True])
def test_a_prediction_is_that_of_an_independent_computation(model, flip):
    estimator = AgeEstimator(model, align=False, flip=flip, device="cpu")
    pixels = picture(1)
    (prediction,) = estimator(pixels)
    p = oracle(model, pixels)
    if flip:
        mirrored = oracle(model, pixels[:, ::-1])
        assert np.abs(mirrored - p).max() > 1e-3  # or the test would see no difference
        p = (p + mirrored) / 2
    value, std = moments(p)
    np.testing.assert_allclose(prediction.distribution.numpy(), p, atol=1e-5)
    assert prediction.distribution.dtype == torch.float64
    assert prediction.value == pytest.approx(value, abs=1e-3)
    assert prediction.std == pytest.approx(std, abs=1e-3)
    levels = [quantile(p, level) for level in (0.05, 0.5, 0.95)]
    assert [prediction.q05, prediction.q50, prediction.q95] == levels
    assert prediction.face is None


def test_the_flipped_value_is_the_average_of_the_two_values_and_the_models_own(model):
    pixels = picture(2)
    plain = AgeEstimator(model, align=False, flip=False, device="cpu")
    both = AgeEstimator(model, align=False, flip=True, device="cpu")
    (one,), (other,) = plain(pixels), plain(pixels[:, ::-1].copy())
    (average,) = both(pixels)
    assert average.value == pytest.approx((one.value + other.value) / 2, abs=1e-9)
    images = torch.from_numpy(pixels).permute(2, 0, 1)[None] / 255
    images = (images - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]
    assert average.value == pytest.approx(float(model.predict(images, flip=True)), abs=1e-4)


@pytest.mark.parametrize(
    ("data", "flips"),
    [
        ({"unit": "years"}, True),
        ({"unit": "points"}, True),
        ({"unit": "degrees"}, False),
        ({"unit": "label units"}, False),
        ({}, False),
        ({"unit": "years", "mirror": False}, False),
        ({"unit": "degrees", "mirror": True}, True),
    ],
)
def test_the_checkpoint_says_whether_to_flip(model, data, flips):
    pixels = picture(3)
    expected, other = (
        AgeEstimator(model, align=False, flip=choice, device="cpu")(pixels)[0].value
        for choice in (flips, not flips)
    )
    model.config["data"] = data
    value = AgeEstimator(model, align=False, device="cpu")(pixels)[0].value
    assert value == expected != other


def test_files_and_open_pictures_and_pixels_give_the_same(model, tmp_path):
    estimator = AgeEstimator(model, align=False, device="cpu")
    pixels = picture(4, 48, 32)  # the square in the middle is taken
    Image.fromarray(pixels).save(tmp_path / "a.png")
    sources = [tmp_path / "a.png", str(tmp_path / "a.png"), Image.fromarray(pixels), pixels]
    values = [estimator(source)[0].value for source in sources]
    assert len(set(values)) == 1
    assert values[0] == estimator(pixels[8:40].copy())[0].value != estimator(picture(4))[0].value


def test_an_open_picture_is_turned_as_its_exif_data_say(model, tmp_path):
    estimator = AgeEstimator(model, align=False, flip=False, device="cpu")
    exif = Image.Exif()
    exif[0x0112] = 6  # turn it by 90 degrees clockwise
    pixels = picture(5)
    Image.fromarray(np.rot90(pixels).copy()).save(tmp_path / "turned.png", exif=exif)
    expected = estimator(pixels)[0].value
    assert estimator(tmp_path / "turned.png")[0].value == expected
    with Image.open(tmp_path / "turned.png") as opened:
        assert estimator(opened)[0].value == expected


def test_a_face_is_aligned(model):
    found = face(40, 20, 50)
    estimator = AgeEstimator(model, detector=FakeDetector(found), flip=False, device="cpu")
    pixels = picture(6, 100, 120)
    (prediction,) = estimator(pixels)
    assert prediction.face is found
    p = oracle(model, align_face(pixels, found.landmarks, SIZE))
    np.testing.assert_allclose(prediction.distribution.numpy(), p, atol=1e-5)


def test_several_faces(model):
    faces = [face(10, 10, 60), face(70, 30, 30)]
    pixels = picture(7, 100, 120)
    largest, all_faces = (
        AgeEstimator(model, detector=FakeDetector(*faces), several=several, device="cpu")(pixels)
        for several in ("largest", "all")
    )
    assert [prediction.face for prediction in largest] == faces[:1]
    assert [prediction.face for prediction in all_faces] == faces
    assert all_faces[0].value == pytest.approx(largest[0].value, abs=1e-5)
    second = AgeEstimator(model, detector=FakeDetector(faces[1]), device="cpu")(pixels)
    assert all_faces[1].value == pytest.approx(second[0].value, abs=1e-5)


def test_no_face(model):
    dark = picture(8) // 3
    whole, skip, error = (
        AgeEstimator(model, detector=FakeDetector(), no_face=no_face, device="cpu")
        for no_face in ("whole", "skip", "error")
    )
    (aligned,) = AgeEstimator(model, align=False, device="cpu")(dark)
    (prediction,) = whole(dark)
    assert (prediction.face, prediction.value) == (None, aligned.value)
    assert skip(dark) == []
    (result,) = skip.predict_many([dark])
    assert (result.status, result.reason) == ("skipped", "no face found")
    with pytest.raises(DataError, match="no face found"):
        error(dark)


@pytest.mark.parametrize("workers", [0, 3])
@pytest.mark.parametrize("batch_size", [1, 4, 100])
def test_results_are_in_order_and_do_not_depend_on_the_batches(
    model, tmp_path, workers, batch_size
):
    estimator = AgeEstimator(
        model,
        detector=FakeDetector(face(2, 2, 28), face(9, 8, 20)),
        several="all",
        no_face="skip",
        device="cpu",
    )
    (tmp_path / "bad.jpg").write_bytes(b"nothing")
    pixels = [picture(seed) // (1 + 3 * (seed % 5 == 0)) for seed in range(1, 12)]
    pictures = [*pixels[:4], tmp_path / "bad.jpg", *pixels[4:]]
    results = list(estimator.predict_many(pictures, batch_size=batch_size, workers=workers))
    statuses = ["skipped" if (one.mean() <= 100) else "aligned" for one in pixels]
    assert [result.status for result in results] == [*statuses[:4], "error", *statuses[4:]]
    assert "skipped" in statuses
    assert results[4].name == str(tmp_path / "bad.jpg")
    assert "bad.jpg: not a readable picture" in results[4].reason
    assert results[4].predictions == ()
    for one, result in zip(pixels, [*results[:4], *results[5:]], strict=True):
        expected = [prediction.value for prediction in estimator(one)]
        found = [prediction.value for prediction in result.predictions]
        assert found == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("workers", [0, 2])
def test_few_pictures_are_in_memory_at_any_time(model, workers):
    estimator = AgeEstimator(model, align=False, device="cpu")
    alive: set[int] = set()
    most = 0

    class Pixels(np.ndarray):
        """An array that can be referred to weakly."""

    def stream():
        nonlocal most
        for number in range(100):
            pixels = picture(number, 40, 40).view(Pixels)
            alive.add(number)
            weakref.finalize(pixels, alive.discard, number)
            most = max(most, len(alive))
            yield pixels

    assert sum(1 for _ in estimator.predict_many(stream(), batch_size=8, workers=workers)) == 100
    assert most <= 8 * (workers + 2)


def test_results_come_while_pictures_are_still_to_be_read(model):
    estimator = AgeEstimator(model, align=False, device="cpu")
    taken = 0

    def endless():
        nonlocal taken
        while True:
            taken += 1
            yield picture(taken)

    results = estimator.predict_many(endless(), batch_size=4, workers=1)
    for _ in range(10):
        next(results)
    results.close()
    assert taken <= 12 + 2 * 4


def test_an_unknown_configuration_is_refused(model):
    for image, message in [
        (None, "expected an object, got None"),
        ({"size": 10**9, "mean": MEAN, "std": STD}, "size must be an integer in"),
        ({"size": True, "mean": MEAN, "std": STD}, "size must be an integer in"),
        ({"size": SIZE, "mean": MEAN}, "KeyError: 'std'"),
        ({"size": SIZE, "mean": [1, 2], "std": STD}, "not enough values"),
        ({"size": SIZE, "mean": MEAN, "std": [0.2, 0.0, 0.2]}, "std must be > 0"),
        ({"size": SIZE, "mean": [float("nan")] * 3, "std": STD}, "three finite numbers"),
    ]:
        model.config["image"] = image
        with pytest.raises(CheckpointError, match=message):
            AgeEstimator(model, align=False)


def test_arguments_are_checked(model):
    with pytest.raises(ValueError, match="detector is missing"):
        AgeEstimator(model)
    estimator = AgeEstimator(model, align=False, device="cpu")
    with pytest.raises(ValueError, match=r"must be uint8 \[H, W, 3\], got float64 \[4, 4, 3\]"):
        estimator(np.zeros((4, 4, 3)))
    with pytest.raises(ValueError, match="batch_size must be >= 1"):
        list(estimator.predict_many([], batch_size=0))


def test_a_checkpoint_is_used_as_it_was_saved(model, model_folder):
    loaded = AgeEstimator.from_pretrained(model_folder, align=False, device="cpu")
    pixels = picture(9)
    (expected,) = AgeEstimator(model, align=False, device="cpu")(pixels)
    assert loaded(pixels)[0].value == expected.value
    assert (loaded.size, loaded.spec.unit, loaded.spec.sigma) == (SIZE, "years", 2.5)
    before = loaded.digest()
    assert before == AgeEstimator(model, align=False, device="cpu").digest()
    with torch.no_grad():
        model.head.bias[3] += 1e-3
    assert before != AgeEstimator(model, align=False, device="cpu").digest()


def test_half_precision(model):
    pixels = picture(10)
    (expected,) = AgeEstimator(model, align=False, device="cpu")(pixels)
    half = copy.deepcopy(model).bfloat16()
    (prediction,) = AgeEstimator(half, align=False, device="cpu")(pixels)
    assert prediction.value == pytest.approx(expected.value, abs=1.5)
    assert prediction.value != expected.value


def test_probabilities_of_zero_are_no_trouble():
    model = TinyAgeNet([0.0, 1.0, 3.0], rate=0.05)
    model.config["image"] = {"size": SIZE, "mean": MEAN, "std": STD}
    with torch.no_grad():
        model.head.weight.zero_()
        model.head.bias.copy_(torch.tensor([-2000.0, 0.0, 0.0]))
    (prediction,) = AgeEstimator(model, align=False, device="cpu")(picture(11))
    assert prediction.distribution.tolist() == [0.0, 0.5, 0.5]
    assert (prediction.value, prediction.std) == (2.0, 1.0)
    assert (prediction.q05, prediction.q50, prediction.q95) == (1.0, 1.0, 3.0)

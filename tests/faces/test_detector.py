from __future__ import annotations

import numpy as np
import pytest
import torch

from dldl_fast.faces import Face, FaceDetector
from dldl_fast.faces import detector as detector_module
from dldl_fast.faces.detector import _inside
from dldl_fast.faces.mtcnn import proposals
from dldl_fast.faces.mtcnn.sums import SummedPictures
from dldl_fast.faces.mtcnn.weights import read_networks
from tests.faces.photos import golden, photos

CPU = torch.device("cpu")


def assert_same(found: list[Face], expected: list[Face], atol: float = 1e-3) -> None:
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one.box, other.box, atol=atol, rtol=0)
        torch.testing.assert_close(one.landmarks, other.landmarks, atol=atol, rtol=0)
        assert one.score == pytest.approx(other.score, abs=1e-5)


def facenet_faces(name: str) -> list[Face]:
    return [
        Face(tuple(face["box"]), torch.tensor(face["landmarks"]), face["score"])
        for face in golden()[name]
    ]


@pytest.mark.parametrize("name", golden())
def test_finds_what_facenet_pytorch_finds(name, detector):
    (found,) = detector([photos()[name]])
    # Versions of libjpeg differ a little.
    assert_same(found, facenet_faces(name), atol=0.05)
    for face in found:
        assert face.landmarks.dtype == torch.float32
        assert not face.landmarks.is_inference()


def test_several_pictures_in_one_call_are_each_what_they_are_alone(detector):
    all_photos = photos()
    names = ["orl-1", "hopper", "orl-20", "flower", "collage", "orl-7", "hopper", "orl-1"]
    found = detector([all_photos[name] for name in names])
    for name, faces in zip(names, found, strict=True):
        assert_same(faces, facenet_faces(name), atol=0.05)
    assert [len(faces) for faces in found] == [1, 1, 1, 0, 6, 1, 1, 1]


def test_small_tiles_and_batches_change_nothing(detector, mtcnn_weights, monkeypatch):
    picture = photos()["collage"]
    pictures = [picture, picture[:, ::-1], picture[::2, ::2]]
    expected = detector(pictures)
    monkeypatch.setattr(proposals, "_TILE_PIXELS_PER_THREAD", 1000)
    monkeypatch.setattr(proposals, "_TILE_COLUMNS", 48)
    monkeypatch.setattr(detector_module, "_PICTURE_PIXELS", 10)
    monkeypatch.setattr(detector_module, "_BATCH", {"cpu": 3})
    small = FaceDetector.from_folder(mtcnn_weights)
    for found, faces in zip(small(pictures), expected, strict=True):
        assert_same(found, faces)
    assert [len(faces) for faces in expected] == [6, 6, 6]


def test_the_largest_face_comes_first(detector):
    (faces,) = detector([photos()["collage"]])
    areas = [face.area for face in faces]
    assert areas == sorted(areas, reverse=True)
    assert [face.score for face in faces] != sorted((face.score for face in faces), reverse=True)


def test_the_same_numbers_again(detector):
    (first,), (second,) = detector([photos()["collage"]]), detector([photos()["collage"]])
    assert [face.box for face in first] == [face.box for face in second]
    assert [face.score for face in first] == [face.score for face in second]


def test_smaller_faces_only_if_asked_for(detector, mtcnn_weights):
    # About 12 pixels wide.
    picture = photos()["orl-7"][::5, ::5]
    assert detector([picture]) == [[]]
    (faces,) = FaceDetector.from_folder(mtcnn_weights, min_face_size=10)([picture])
    assert len(faces) == 1
    (expected,) = facenet_faces("orl-7")
    torch.testing.assert_close(faces[0].landmarks * 5, expected.landmarks, atol=8, rtol=0)


def test_thresholds(mtcnn_weights):
    def count(*thresholds: float) -> int:
        detector = FaceDetector.from_folder(mtcnn_weights, thresholds=thresholds)
        return len(detector([photos()["collage"]])[0])

    assert count(0.6, 0.7, 0.7) == 6
    assert count(0.6, 0.7, 0.9998) == 1
    assert count(0.6, 1.0, 0.7) == 0
    assert count(1.0, 0.7, 0.7) == 0
    assert count(0.6, 0.7, 0.0) > 6


@pytest.mark.parametrize("shape", [(1, 1), (11, 11), (19, 400), (20, 20), (3, 3000), (2000, 21)])
def test_small_and_long_pictures(shape, detector):
    picture = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    assert detector([picture, np.full_like(picture, 255)]) == [[], []]


def test_a_face_in_a_long_picture(detector):
    picture = np.full((112, 6000, 3), 90, np.uint8)
    picture[:, 5000:5092] = photos()["orl-7"]
    ((face,),) = detector([picture])
    (expected,) = facenet_faces("orl-7")
    moved = expected.landmarks + torch.tensor([5000.0, 0.0])
    torch.testing.assert_close(face.landmarks, moved, atol=2, rtol=0)
    assert detector([picture.swapaxes(0, 1)[:4000]]) == [[]]


def test_boxes_are_cut_to_the_pixels_of_their_picture():
    sums = SummedPictures([np.zeros((9, 8, 3), np.uint8), np.zeros((4, 50, 3), np.uint8)], CPU)
    # MTCNN counts from 1: pixel 3 to 5 are 2, 3 and 4 here.
    boxes = torch.tensor(
        [
            [3.9, 4.2, 5.9, 6.0],
            [-3.7, 0.4, 30.0, 30.0],
            [9.0, 2.0, 12.0, 5.0],  # right of the first picture,
            [-5.0, 2.0, 0.9, 5.0],  # left of it,
            [2.0, 10.0, 5.0, 12.0],  # below it;
            [9.0, 2.0, 12.0, 5.0],  # in the second one
        ]
    )
    picture = torch.tensor([0, 0, 0, 0, 0, 1])
    kept, pictures, pixels = _inside(boxes, picture, sums)
    assert pixels.tolist() == [[2, 3, 5, 6], [0, 0, 8, 9], [8, 1, 12, 4]]
    assert pictures.tolist() == [0, 0, 1]
    assert torch.equal(kept, boxes[[0, 1, 5]])


def test_no_pictures(detector):
    assert detector([]) == []


@pytest.mark.parametrize(
    ("pictures", "message"),
    [
        (np.zeros((20, 20, 3), np.uint8), r"must be a list, got ndarray; for one picture: \[pic"),
        ([np.zeros((20, 20), np.uint8)], r"pictures\[0\] .*uint8 \[H, W, 3\].* uint8 \[20, 20\]"),
        ([np.zeros((20, 20, 4), np.uint8)], r"got uint8 \[20, 20, 4\]"),
        ([np.zeros((20, 20, 3))], r"got float64 \[20, 20, 3\]"),
        ([np.zeros((0, 20, 3), np.uint8)], r"with pixels, got \[0, 20, 3\]"),
        ([np.zeros((9, 9, 3), np.uint8), torch.zeros(2)], r"pictures\[1\] .* got Tensor"),
    ],
)
def test_what_is_no_picture(pictures, message, detector):
    with pytest.raises(ValueError, match=message):
        detector(pictures)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"min_face_size": 0}, "min_face_size must be at least 1 pixel, got 0"),
        ({"min_face_size": float("nan")}, "got nan"),
        ({"thresholds": (0.6, 0.7)}, r"three numbers in \[0, 1\], got \(0.6, 0.7\)"),
        ({"thresholds": (0.6, 0.7, 1.5)}, r"three numbers in \[0, 1\]"),
    ],
)
def test_settings_that_make_no_sense(options, message, mtcnn_weights):
    with pytest.raises(ValueError, match=message):
        FaceDetector(read_networks(mtcnn_weights), **options)


@pytest.mark.gpu
def test_on_a_gpu(mtcnn_weights):
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    detector = FaceDetector.from_folder(mtcnn_weights, device="cuda")
    names = ["collage", "orl-1", "orl-7", "hopper", "flower"]
    for name, faces in zip(names, detector([photos()[name] for name in names]), strict=True):
        assert_same(faces, facenet_faces(name), atol=0.5)
